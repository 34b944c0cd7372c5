"""What a synthetic drive is made from. No torch: commands plan with it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from rosam_core.drives.synthetic import drive as disk
from rosam_core.whole_file import write_whole


@dataclasses.dataclass(frozen=True)
class DriveRecipe:
    """Everything a drive is made from.

    Attributes:
        seed: Of the world; the same recipe gives the same bytes.
        frames: Number of frames.
        conditions: What to render, frame by frame in every one of them.
        size: Width and height [px].
        fps: Frames a second.
        fov_deg: Horizontal field of view, random if None.
        suffix: `.jpg` or `.png`.
        lidar: Whether to simulate the lidar.
        supersample: Render at this multiple of the size and average.
        world: Style of the world, one of `style.WORLD_STYLES`.
        camera_height_m: Of the camera above the road, random if None.
        camera_pitch_deg: How far down the camera looks, random if None.
    """

    seed: int
    frames: int
    conditions: tuple[str, ...]
    size: tuple[int, int] = (576, 320)
    fps: float = 10.0
    fov_deg: float | None = None
    suffix: str = ".jpg"
    lidar: bool = False
    supersample: int = 1
    world: str = "any"
    camera_height_m: float | None = None
    camera_pitch_deg: float | None = None

    def check(self, schedule: Sequence[str] | None = None) -> None:
        """Refuses what cannot be rendered.

        Args:
            schedule: One condition a frame, or None for every condition of every frame.

        Raises:
            ValueError: A condition is unknown, or the schedule does not fit.
        """
        unknown = sorted(set(self.conditions) - set(disk.known_conditions()))
        if unknown:
            raise ValueError(
                f"unknown conditions {unknown}: choose from {disk.known_conditions()}"
            )
        if schedule is None:
            return
        if len(schedule) != self.frames:
            raise ValueError(
                f"the schedule names {len(schedule)} conditions for {self.frames} frames"
            )
        foreign = sorted(set(schedule) - set(self.conditions))
        if foreign:
            raise ValueError(f"the schedule names {foreign}, the recipe has {self.conditions}")

    def claim(self, folder: Path, schedule: Sequence[str] | None = None) -> None:
        """Marks a folder as this recipe's.

        Args:
            folder: Of the drive; it exists.
            schedule: One condition a frame, or None.

        Raises:
            ValueError: It holds a drive of another recipe.
        """
        described = dataclasses.asdict(self)
        # As it was written before there were others.
        later = {"world": "any", "camera_height_m": None, "camera_pitch_deg": None}
        described = {k: v for k, v in described.items() if k not in later or v != later[k]}
        if schedule is not None:
            described["schedule"] = list(schedule)
        text, mark = json.dumps(described), folder / "recipe.json"
        if not mark.is_file():
            write_whole(mark, text.encode(), durable=False)
        elif mark.read_text(encoding="utf-8") != text:
            raise ValueError(
                f"{folder} holds a drive made with other options: choose another --out, or "
                "delete it"
            )
