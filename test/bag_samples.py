"""Small bags that several tests read, and a drive to write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from rosam_core.drives.bag_writer import BagWriter
from rosam_core.drives.base import Drive
from rosam_core.types import Camera, Frame

START_NS = 1_700_000_000_000_000_123
STEP_NS = 100_000_000
CAMERA = Camera(64.0, 64.0, 31.5, 23.5, 64, 48)
FRAME_ID = "front_optical"
NAMES = {"mcap": "drive.mcap", "sqlite3": "drive.db3", "ros1": "drive.bag"}


def grey(value: int, width: int = 64, height: int = 48) -> np.ndarray:
    """Returns a picture of one grey, for which the tiny model's answer is known."""
    return np.full((height, width, 3), value, np.uint8)


def write_camera_bag(
    path: Path,
    *,
    frames: int = 3,
    namespace: str = "/front",
    camera: Camera | None = CAMERA,
    compressed: bool = False,
    storage: Any = None,
    greys: tuple[int, ...] = (100,),
    picture: np.ndarray | None = None,
) -> list[int]:
    """Writes a bag with one camera; returns the stamps of its images [ns]."""
    stamps = [START_NS + index * STEP_NS for index in range(frames)]
    with BagWriter(path, storage) as writer:
        for index, stamp in enumerate(stamps):
            shown = grey(greys[index % len(greys)]) if picture is None else picture
            if camera is not None:
                writer.write_camera_info(f"{namespace}/camera_info", stamp, FRAME_ID, camera)
            if compressed:
                topic = f"{namespace}/image_raw/compressed"
                writer.write_compressed(topic, stamp, FRAME_ID, shown, "png")
            else:
                writer.write_image(f"{namespace}/image_raw", stamp, FRAME_ID, shown)
    return stamps


class ShortDrive(Drive):
    """Three frames with noise as pictures, moving 1 m forward a frame, with two lidar points."""

    name = "short"

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> Frame:
        if not 0 <= index < len(self):
            raise IndexError(index)
        generator = np.random.default_rng(index)
        T_world_camera = np.eye(4)
        T_world_camera[2, 3] = index
        return Frame(
            image=generator.integers(0, 255, (48, 64, 3), dtype=np.uint8),
            camera=CAMERA,
            stamp_ns=START_NS + index * STEP_NS,
            T_world_camera=T_world_camera,
            lidar=np.array([[0, 0, 10 - index], [1, 2, 20]], np.float32),
            depth=np.full((48, 64), 5 + index, np.float32),
        )


def moved(x: float = 0.0, y: float = 0.0, z: float = 0.0, turn_z_deg: float = 0.0) -> np.ndarray:
    """Returns a transform: a turn about z, then a shift."""
    angle = np.radians(turn_z_deg)
    T = np.eye(4)
    T[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    T[:3, 3] = x, y, z
    return T
