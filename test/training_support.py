"""A small folder of made-up drives in the format of `rosam synth`, and a recipe that fits it."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

CONDITIONS = ("day-clear", "night")


def write_fake_drives(root: Path, drives: int = 2, frames: int = 3, seed: int = 0) -> Path:
    """Writes drives of 96x64 pictures: a ground plane, a wall, and sky; returns `root`."""
    rng = np.random.default_rng(seed)
    width, height = 96, 64
    for d in range(drives):
        folder = root / f"drive_{d:06d}"
        focal = float(width * rng.uniform(0.7, 1.0))
        (folder / "depth").mkdir(parents=True)
        (folder / "instances").mkdir()
        for condition in CONDITIONS:
            (folder / "images" / condition).mkdir(parents=True)
        for i in range(frames):
            row = np.arange(height, dtype=np.float64)[:, None] - height / 2
            depth = np.where(row > 1, 1.5 * focal / np.maximum(row, 1), np.inf)
            depth = np.repeat(depth, width, axis=1)
            left = int(rng.integers(0, width // 2))
            wall = np.zeros((height, width), np.uint16)
            wall[10:50, left : left + 30] = 1
            depth = np.where(wall, np.minimum(depth, 12.0), depth)
            shade = 255 * np.exp(-depth[..., None] / np.array([5.0, 20.0, 60.0]))
            shade = np.clip(shade + rng.normal(0, 5, shade.shape), 0, 255)
            for k, condition in enumerate(CONDITIONS):
                path = folder / "images" / condition / f"{i:06d}.png"
                cv2.imwrite(str(path), (shade / (1 + 2 * k)).astype(np.uint8))
            stored = np.where(depth < 255, depth * 256, 65535).astype(np.uint16)
            cv2.imwrite(str(folder / "depth" / f"{i:06d}.png"), stored)
            cv2.imwrite(str(folder / "instances" / f"{i:06d}.png"), wall)
        stamps = [
            {"stamp_ns": i * 10**8, "T_world_camera": forward(i).tolist()} for i in range(frames)
        ]
        drive = {
            "format": "rosam-synthetic-1",
            "seed": 1000 * seed + d,
            "fps": 10,
            "width": width,
            "height": height,
            "fx": focal,
            "fy": focal,
            "cx": (width - 1) / 2,
            "cy": (height - 1) / 2,
            "conditions": list(CONDITIONS),
            "image_suffix": ".png",
            "frames": stamps,
        }
        (folder / "drive.json").write_text(json.dumps(drive), encoding="utf-8")
    return root


def write_train_and_val(folder: Path, drives: int = 2) -> Path:
    """Writes fake drives to train on and others to validate with; returns the folder."""
    write_fake_drives(folder / "train", drives=drives, frames=3, seed=0)
    write_fake_drives(folder / "val", drives=1, frames=2, seed=7)
    return folder


def forward(frame: int) -> np.ndarray:
    """Returns a pose half a metre farther along the optical axis with each frame."""
    pose = np.eye(4)
    pose[2, 3] = 0.5 * frame
    return pose


def small_overrides(folder: Path) -> list[str]:
    """Returns overrides of any recipe: these drives, 96x64, six steps, bit-exact arithmetic."""
    return [
        f"data.drives={folder / 'train'}",
        f"data.val_drives={folder / 'val'}",
        "data.width=96",
        "data.height=64",
        "data.canonical_focal_px=80",
        "data.workers=0",
        "data.condition_weights={}",
        "train.batch_size=2",
        "train.steps=6",
        "train.max_minutes=null",
        "train.precision=32-true",
        "train.threads=1",
        "train.accelerator=cpu",
        "train.log_every=1",
        "train.val_every=3",
        "train.val_samples=4",
        "train.checkpoint_every=2",
        "train.compile=false",
        "model.name=light",
        "model.init=null",
        "model.encoder_checkpoint=null",
    ]
