"""A synthetic drive written by hand, so that region maps are tested without torch."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

START_NS = 1_700_000_000_000_000_000
STEP_NS = 100_000_000


def write_synthetic_drive(
    folder: Path,
    frames: int = 3,
    conditions: tuple[str, ...] = ("day-clear",),
    size: tuple[int, int] = (96, 64),
) -> Path:
    """Writes what `rosam synth` would: a few boxes that move over ground and sky.

    Args:
        folder: Made if missing.
        frames: How many.
        conditions: Renderings; each is a plain picture of another brightness.
        size: Width and height [px].
    """
    width, height = size
    for name in ("depth", "instances", *(f"images/{c}" for c in conditions)):
        (folder / name).mkdir(parents=True)
    for index in range(frames):
        ids = np.zeros((height, width), np.uint16)
        for box in range(5):
            left = (11 * box + 3 * index) % (width - 12)
            ids[20 + 6 * box : 34 + 6 * box, left : left + 12] = box + 1
        depth = np.full((height, width), 10 * 256, np.uint16)
        depth[:20] = 65535
        cv2.imwrite(str(folder / f"depth/{index:06d}.png"), depth)
        cv2.imwrite(str(folder / f"instances/{index:06d}.png"), ids)
        for number, condition in enumerate(conditions):
            image = np.repeat((ids * 40 + 30 + number).astype(np.uint8)[..., None], 3, 2)
            cv2.imwrite(str(folder / f"images/{condition}/{index:06d}.png"), image)
    described = {
        "format": "rosam-synthetic-1",
        "seed": 0,
        "width": width,
        "height": height,
        "fx": 80.0,
        "fy": 80.0,
        "cx": (width - 1) / 2,
        "cy": (height - 1) / 2,
        "conditions": list(conditions),
        "image_suffix": ".png",
        "frames": [
            {"stamp_ns": START_NS + STEP_NS * i, "T_world_camera": np.eye(4).tolist()}
            for i in range(frames)
        ],
    }
    (folder / "drive.json").write_text(json.dumps(described))
    return folder


def tree(folder: Path) -> dict[str, bytes]:
    """Returns every file below a folder, hidden ones too, with its content."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
