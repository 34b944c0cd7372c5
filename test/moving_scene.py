"""A wall over a road, drawn exactly from any pose, for tests of training samples."""

from __future__ import annotations

import numpy as np

from rosam_core.drives.base import Drive, Glance
from rosam_core.runtime.pointcloud import pixel_rays
from rosam_core.types import Camera, Frame

CAMERA = Camera(150.0, 165.0, 74.25, 52.5, 160, 112)
BENT = Camera(150.0, 165.0, 74.25, 52.5, 160, 112, "plumb_bob", (-0.15, 0.05, 0.002, -0.001, 0.0))
WALL_M, ROAD_M = 14.0, 1.5
START_NS = 1_600_000_000_000_000_000
STEP_NS = 100_000_000


def pose(index: int) -> np.ndarray:
    """T_world_camera: 0.4 m on, 0.1 m to the right and 1.2 degrees to the left a frame."""
    a = np.radians(-1.2 * index)
    T = np.eye(4)
    T[:3, :3] = [[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]]
    T[:3, 3] = [0.1 * index, 0.02 * index, 0.4 * index]
    return T


def draw(camera: Camera, T_world_camera: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns uint8[H,W,3] and the exact depth, float32[H,W]: smooth waves on two planes."""
    rays = np.concatenate([pixel_rays(camera), np.ones((1, camera.height, camera.width))])
    t = T_world_camera[:3, 3]
    d = np.einsum("ij,jhw->ihw", T_world_camera[:3, :3], rays.astype(np.float64))
    wall = (WALL_M - t[2]) / np.maximum(d[2], 1e-9)
    road = np.where(d[1] > 1e-6, (ROAD_M - t[1]) / np.maximum(d[1], 1e-6), np.inf)
    depth = np.minimum(wall, road)
    x, y, z = t[:, None, None] + d * depth
    waves = [
        np.sin(1.9 * x) + np.sin(2.3 * y + 1.1 * z),
        np.cos(1.5 * x + 0.7 * z) + np.sin(2.9 * y),
        np.sin(2.2 * x - 1.3 * y) + np.cos(1.2 * z),
    ]
    image = np.stack([127.5 + 55 * wave for wave in waves], axis=-1)
    return np.rint(image).clip(0, 255).astype(np.uint8), depth.astype(np.float32)


class MovingScene(Drive):
    """Frames of the scene from `pose`, with what a test wants to be known."""

    name = "moving"

    def __init__(self, frames=5, camera=CAMERA, *, has_poses=True, has_depth=True, poses=None):
        self.camera, self.has_poses, self.has_depth = camera, has_poses, has_depth
        self.poses = [pose(i) for i in range(frames)] if poses is None else poses
        self.condition = "day-clear"

    def __len__(self):
        return len(self.poses)

    def stamp(self, index):
        return START_NS + index * STEP_NS

    def glance(self, index):
        return Glance(
            self.stamp(index),
            self.camera,
            self.poses[index] if self.has_poses else None,
            self.condition,
            has_depth=self.has_depth,
        )

    def __getitem__(self, index):
        if not 0 <= index < len(self):
            raise IndexError(index)
        known = self.glance(index)
        image, depth = draw(self.camera, self.poses[index])
        return Frame(
            image,
            known.camera,
            known.stamp_ns,
            known.T_world_camera,
            known.condition,
            depth=depth if self.has_depth else None,
        )
