"""The baseline that looks at no picture: a flat road under a level camera."""

from __future__ import annotations

import numpy as np

from rosam_core.types import Camera, Float32


def flat_ground_depth(
    camera: Camera, camera_height_m: float, max_depth_m: float = 80.0
) -> Float32:
    """Returns the depth of a flat ground seen by a level camera.

    A pixel in row v below the horizon (the principal point's row) sees the ground at
    `camera_height * fy / (v - cy)`; everything at or above the horizon gets the largest depth.

    Args:
        camera: Camera, taken as an undistorted pinhole.
        camera_height_m: Height of the camera above the ground [m], > 0.
        max_depth_m: Cap, and the depth at and above the horizon [m].

    Returns:
        float32[H,W] [m], in (0, max_depth_m].

    Raises:
        ValueError: The height is not positive.
    """
    if not camera_height_m > 0:
        raise ValueError(f"camera height must be positive, got {camera_height_m} m")
    below = np.arange(camera.height, dtype=np.float64) - camera.cy
    column = np.full(camera.height, max_depth_m, dtype=np.float64)
    ground = below > 0
    column[ground] = np.minimum(camera_height_m * camera.fy / below[ground], max_depth_m)
    return np.repeat(column[:, None], camera.width, axis=1).astype(np.float32)
