"""Renders drives to disk, resumable: a frame whose files exist is not rendered again."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch.nn.functional as F  # noqa: N812

from rosam_core.drives.synthetic import drive as disk
from rosam_core.drives.synthetic.lidar import scan
from rosam_core.drives.synthetic.renderer import Renderer
from rosam_core.drives.synthetic.world import generate_world

START_NS = 1_700_000_000_000_000_000


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


def write_drive(
    folder: Path,
    recipe: DriveRecipe,
    progress: Callable[[int], None] = lambda done: None,
    schedule: Sequence[str] | None = None,
    device: str = "cpu",
    indices: Sequence[int] | None = None,
) -> None:
    """Renders one drive, or what is missing of it.

    Args:
        folder: Where it goes; made if missing.
        recipe: What to render.
        progress: Called with 1 after each frame.
        schedule: One condition a frame: only that one is rendered of each frame.
        device: A torch device.
        indices: Only these frames, as one of several processes does; `drive.json` is left to a
            last call without it, which finds every frame rendered.

    Raises:
        ValueError: The folder holds a drive of another recipe, or a condition is unknown.
    """
    unknown = sorted(set(recipe.conditions) - set(disk.known_conditions()))
    if unknown:
        raise ValueError(f"unknown conditions {unknown}: choose from {disk.known_conditions()}")
    folder.mkdir(parents=True, exist_ok=True)
    stamp = json.dumps(dataclasses.asdict(recipe))
    mark = folder / "recipe.json"
    if mark.is_file() and mark.read_text(encoding="utf-8") != stamp:
        raise ValueError(
            f"{folder} holds a drive made with other options: choose another --out, or delete it"
        )
    disk.save_atomically(mark, stamp.encode())
    for name in recipe.conditions:
        (folder / "images" / name).mkdir(parents=True, exist_ok=True)
    for name in ("depth", "instances", *(("lidar",) if recipe.lidar else ())):
        (folder / name).mkdir(exist_ok=True)
    k = recipe.supersample
    width, height = recipe.size
    world = generate_world(
        recipe.seed, recipe.frames, recipe.fps, (width * k, height * k), recipe.fov_deg
    )
    renderer = Renderer(device)
    for index in range(recipe.frames) if indices is None else indices:
        names = recipe.conditions if schedule is None else (schedule[index],)
        stem = f"{index:06d}"
        images = {name: folder / "images" / name / f"{stem}{recipe.suffix}" for name in names}
        last = folder / "instances" / f"{stem}.png"  # written last: the frame is complete
        if last.is_file() and all(path.is_file() for path in images.values()):
            progress(1)
            continue
        frame = renderer.render([world], [index], names)
        for name, path in images.items():
            picture = frame.images[name]
            if k > 1:
                small = F.avg_pool2d(picture.permute(0, 3, 1, 2).float(), k).round().byte()
                picture = small.permute(0, 2, 3, 1)
            disk.save_atomically(path, disk.encode_image(picture[0].cpu().numpy(), recipe.suffix))
        depth, ids = (
            frame.depth[0, k // 2 :: k, k // 2 :: k],
            frame.instances[0, k // 2 :: k, k // 2 :: k],
        )
        disk.save_atomically(
            folder / "depth" / f"{stem}.png", disk.encode_depth(depth.cpu().numpy())
        )
        if recipe.lidar:
            points = folder / "lidar" / f".{stem}.tmp.npy"
            np.save(points, scan(world, index))
            points.replace(folder / "lidar" / f"{stem}.npy")
        disk.save_atomically(last, disk.encode_ids(ids.cpu().numpy().astype(np.uint16)))
        progress(1)
    if indices is not None:
        return
    camera = world.camera.scaled_to(width, height)
    meta = {
        "format": disk.FORMAT,
        "seed": recipe.seed,
        "style": world.street.style,
        "fps": recipe.fps,
        "width": width,
        "height": height,
        "fx": camera.fx,
        "fy": camera.fy,
        "cx": camera.cx,
        "cy": camera.cy,
        "camera_height_m": world.mount[0],
        "conditions": list(recipe.conditions),
        "image_suffix": recipe.suffix,
        "frames": [
            {
                "stamp_ns": START_NS + round(i * 1e9 / recipe.fps),
                "T_world_camera": world.camera_pose(i).tolist(),
                **({"condition": schedule[i]} if schedule is not None else {}),
            }
            for i in range(recipe.frames)
        ],
    }
    disk.save_atomically(folder / "drive.json", json.dumps(meta).encode())
