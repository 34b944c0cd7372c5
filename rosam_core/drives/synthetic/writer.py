"""Renders drives to disk, resumable: a frame whose files exist is not rendered again."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch.nn.functional as F  # noqa: N812

from rosam_core.drives.synthetic import drive as disk
from rosam_core.drives.synthetic.lidar import scan
from rosam_core.drives.synthetic.recipe import DriveRecipe
from rosam_core.drives.synthetic.renderer import Renderer
from rosam_core.drives.synthetic.world import World, generate_world
from rosam_core.whole_file import remove_leavings, write_whole

START_NS = 1_700_000_000_000_000_000


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
        progress: Called with the number of frames after each; once if there is nothing to do.
        schedule: One condition a frame: only that one is rendered of each frame, and
            `SyntheticDrive(folder, "recorded")` reads it.
        device: A torch device.
        indices: Only these frames, as one of several processes does; `drive.json` is left to a
            last call without it, which finds every frame rendered.

    Raises:
        ValueError: The folder holds a drive of another recipe, a condition is unknown, or the
            schedule does not fit.
    """
    recipe.check(schedule)
    folder.mkdir(parents=True, exist_ok=True)
    recipe.claim(folder, schedule)
    for name in recipe.conditions:
        (folder / "images" / name).mkdir(parents=True, exist_ok=True)
    for name in ("depth", "instances", *(("lidar",) if recipe.lidar else ())):
        (folder / name).mkdir(exist_ok=True)
    if (folder / "drive.json").is_file() and all(
        _is_complete(folder, recipe, i, _names(recipe, i, schedule)) for i in range(recipe.frames)
    ):
        progress(recipe.frames if indices is None else len(indices))
        return
    k, (width, height) = recipe.supersample, recipe.size
    world = _world(recipe, recipe.size)
    fine = world
    if k > 1:  # the same world seen by a camera of k times as many pixels
        fine = _world(recipe, (width * k, height * k))
    renderer = Renderer(device)
    for index in range(recipe.frames) if indices is None else indices:
        names = _names(recipe, index, schedule)
        if not _is_complete(folder, recipe, index, names):
            _write_frame(folder, recipe, renderer, world, fine, index, names)
        progress(1)
    if indices is None:
        remove_leavings(folder)
        described = json.dumps(_describe(recipe, world, schedule))
        write_whole(folder / "drive.json", described.encode(), durable=False)


def _names(recipe: DriveRecipe, index: int, schedule: Sequence[str] | None) -> tuple[str, ...]:
    """Returns the conditions that a frame is rendered in."""
    return recipe.conditions if schedule is None else (schedule[index],)


def _world(recipe: DriveRecipe, size: tuple[int, int]) -> World:
    return generate_world(
        *(recipe.seed, recipe.frames, recipe.fps, size, recipe.fov_deg, recipe.world),
        camera_height_m=recipe.camera_height_m,
        camera_pitch_deg=recipe.camera_pitch_deg,
    )


def _paths(folder: Path, recipe: DriveRecipe, index: int, names: Sequence[str]) -> dict[str, Path]:
    """Returns every file of a frame, images by condition."""
    stem = f"{index:06d}"
    paths = {name: folder / "images" / name / f"{stem}{recipe.suffix}" for name in names}
    paths["depth"] = folder / "depth" / f"{stem}.png"
    paths["instances"] = folder / "instances" / f"{stem}.png"
    if recipe.lidar:
        paths["lidar"] = folder / "lidar" / f"{stem}.npy"
    return paths


def _is_complete(folder: Path, recipe: DriveRecipe, index: int, names: Sequence[str]) -> bool:
    return all(path.is_file() for path in _paths(folder, recipe, index, names).values())


def _write_frame(
    folder: Path,
    recipe: DriveRecipe,
    renderer: Renderer,
    world: World,
    fine: World,
    index: int,
    names: Sequence[str],
) -> None:
    k, paths = recipe.supersample, _paths(folder, recipe, index, names)
    frame = renderer.render([fine], [index], names)
    for name in names:
        picture = frame.images[name]
        if k > 1:
            small = F.avg_pool2d(picture.permute(0, 3, 1, 2).float(), k).round().byte()
            picture = small.permute(0, 2, 3, 1)
        pixels = picture[0].cpu().numpy()
        write_whole(paths[name], disk.encode_image(pixels, recipe.suffix), durable=False)
    if k > 1:  # depth at the centres of the small pixels, not of one of the fine ones
        frame = renderer.render([world], [index], ())
    write_whole(paths["depth"], disk.encode_depth(frame.depth[0].cpu().numpy()), durable=False)
    ids = frame.instances[0].cpu().numpy().astype(np.uint16)
    write_whole(paths["instances"], disk.encode_ids(ids), durable=False)
    if recipe.lidar:
        sweep = io.BytesIO()
        np.save(sweep, scan(world, index))
        write_whole(paths["lidar"], sweep.getvalue(), durable=False)


def _describe(recipe: DriveRecipe, world: World, schedule: Sequence[str] | None) -> dict[str, Any]:
    """Returns the content of `drive.json`."""
    camera = world.camera
    return {
        "format": disk.FORMAT,
        "seed": recipe.seed,
        "style": world.street.style,
        "world": recipe.world,
        "fps": recipe.fps,
        "width": camera.width,
        "height": camera.height,
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


__all__ = ["DriveRecipe", "write_drive"]
