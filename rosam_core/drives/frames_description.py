"""`drive.json` beside a folder of images: what a recording knows about itself."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from rosam_core.drives.condition_words import adverse_condition
from rosam_core.types import CONDITIONS, Camera, Float64

DESCRIPTION = "drive.json"
FORMAT = "rosam-frames-1"


@dataclasses.dataclass(frozen=True)
class Description:
    """Facts about the images of a folder; each may be absent.

    Attributes:
        camera: From `K` (3x3) with `width` and `height` of the images as stored.
        stamps_ns: From `stamps_ns`, or `frame_stamps` in seconds, one for each image [ns].
        fps: From `fps`.
        poses: From `poses`, float64[N,4,4], camera to world.
        condition: From `condition`: one of `CONDITIONS`, or words such as "night, rain".
    """

    camera: Camera | None = None
    stamps_ns: tuple[int, ...] | None = None
    fps: float | None = None
    poses: Float64 | None = None
    condition: str = "unknown"

    @classmethod
    def load(cls, folder: Path) -> Description:
        """Reads `drive.json` of a folder; an empty description if there is none.

        Args:
            folder: The drive's folder.

        Raises:
            ValueError: The file is damaged, or of another format.
        """
        path = folder / DESCRIPTION
        if not path.is_file():
            return cls()
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} is not JSON: {error}") from error
        if not isinstance(values, dict):
            raise ValueError(f"{path} is not a drive description: expected a JSON object")
        if values.get("format", FORMAT) != FORMAT:
            raise ValueError(f"{path} has format {values['format']!r}, expected {FORMAT!r}")
        try:
            return cls(
                camera=_camera(values),
                stamps_ns=_stamps(values),
                fps=_fps(values),
                poses=_poses(values),
                condition=condition_of_words(str(values.get("condition") or "unknown")),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is damaged: {error}") from error

    def check(self, count: int, path: Path) -> None:
        """Refuses a description of another number of images.

        Args:
            count: Images that there are.
            path: The file, for the message.

        Raises:
            ValueError: Stamps or poses are more or fewer.
        """
        for name, values in (("frame_stamps", self.stamps_ns), ("poses", self.poses)):
            if values is not None and len(values) != count:
                raise ValueError(
                    f"{path} has {len(values)} {name} for {count} images: copy the drive again"
                )


def condition_of_words(text: str) -> str:
    """Returns the condition that words tell; see `adverse_condition`.

    Args:
        text: One of `CONDITIONS`, or a description such as "day, clear, urban".
    """
    words = text.lower()
    if words in CONDITIONS:
        return words
    clear = "day-clear" if "day" in words and "clear" in words else "unknown"
    return adverse_condition(words) or clear


def _camera(values: dict[str, Any]) -> Camera | None:
    if values.get("K") is None:
        return None
    K = np.array(values["K"], np.float64)
    if K.shape != (3, 3):
        raise ValueError(f"K has the shape {K.shape}, expected 3x3")
    width, height = int(values["width"]), int(values["height"])
    return Camera(K[0, 0], K[1, 1], K[0, 2], K[1, 2], width, height)


def _stamps(values: dict[str, Any]) -> tuple[int, ...] | None:
    if values.get("stamps_ns") is not None:
        return tuple(int(stamp) for stamp in values["stamps_ns"])
    stamps = values.get("frame_stamps")
    if stamps is None:
        return None
    seconds = np.array(stamps, np.float64)
    if seconds.ndim != 1 or not np.isfinite(seconds).all():
        raise ValueError("frame_stamps must be a list of finite seconds")
    return tuple(round(value * 1e9) for value in seconds.tolist())


def _fps(values: dict[str, Any]) -> float | None:
    fps = values.get("fps")
    if fps is None:
        return None
    if not 0 < float(fps) < float("inf"):
        raise ValueError(f"fps is {fps}, expected a positive number")
    return float(fps)


def _poses(values: dict[str, Any]) -> Float64 | None:
    poses = values.get("poses")
    if poses is None:
        return None
    matrices = np.array(poses, np.float64)
    if matrices.ndim != 3 or matrices.shape[1:] != (4, 4) or not np.isfinite(matrices).all():
        raise ValueError("poses must be finite 4x4 matrices, camera to world")
    return matrices
