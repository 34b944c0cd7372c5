"""Point clouds from depth, laid out for `sensor_msgs/PointCloud2` without a copy."""

from __future__ import annotations

import functools

import cv2
import numpy as np

from rosam_core.runtime.rays import is_pinhole, ray_slopes
from rosam_core.types import Camera, Float32, UInt8

POINT_STEP = 16
"""Bytes a point: x, y, z float32 [m] and rgb, little-endian 0x00RRGGBB read as float32."""

FIELDS = (("x", 0), ("y", 4), ("z", 8), ("rgb", 12))
"""Name and byte offset of each PointCloud2 field; every one is FLOAT32 (datatype 7), count 1."""


@functools.lru_cache(maxsize=8)
def pixel_rays(camera: Camera) -> Float32:
    """Returns the direction of every pixel at depth 1, undistorted by the camera's model.

    Args:
        camera: Intrinsics and distortion.

    Returns:
        float32[2,H,W]: x / z and y / z, NaN where the lens model cannot tell; read-only and cached
        by camera.
    """
    columns = np.arange(camera.width, dtype=np.float64)
    rows = np.arange(camera.height, dtype=np.float64)
    if not is_pinhole(camera):
        grid = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2)
        slopes = ray_slopes(grid, camera).reshape(camera.height, camera.width, 2)
        rays = np.ascontiguousarray(np.moveaxis(slopes, 2, 0), np.float32)
    else:
        rays = np.empty((2, camera.height, camera.width), np.float32)
        rays[0] = (columns - camera.cx) / camera.fx
        rays[1] = ((rows - camera.cy) / camera.fy)[:, None]
    rays.setflags(write=False)
    return rays


def unproject(depth: Float32, camera: Camera) -> Float32:
    """Returns the points of every pixel whose depth is finite and whose ray is known.

    Args:
        depth: float32[H,W] [m] along the optical axis.
        camera: Its intrinsics.

    Returns:
        float32[N,3] [m], camera frame (x right, y down, z forward), row by row.

    Raises:
        ValueError: Sizes differ.
    """
    rays = _rays_for(depth, camera)
    seen = np.flatnonzero(np.isfinite(depth) & np.isfinite(rays[0]))
    points = np.empty((seen.size, 3), np.float32)
    z = depth.reshape(-1)[seen]
    points[:, 0] = rays[0].reshape(-1)[seen] * z
    points[:, 1] = rays[1].reshape(-1)[seen] * z
    points[:, 2] = z
    return points


def organized_cloud(depth: Float32, image: UInt8, camera: Camera) -> Float32:
    """Returns a cloud in image order: its bytes are PointCloud2's data.

    Use `FIELDS`, `POINT_STEP`, width W, height H, row_step 16 W, is_bigendian False and is_dense
    False.

    Args:
        depth: float32[H,W] [m]; where it is NaN or infinite, or the lens model cannot tell where a
            pixel looks, x, y and z are NaN, as REP 117 asks.
        image: uint8[H,W,3], RGB.
        camera: Intrinsics of both.

    Returns:
        float32[H,W,4]: x, y, z, rgb.

    Raises:
        ValueError: Sizes differ.
    """
    rays = _rays_for(depth, camera)
    if image.shape != (*depth.shape, 3):
        raise ValueError(
            f"point cloud needs an image of the depth's size {list(depth.shape)}, got "
            f"{list(image.shape)}"
        )
    height, width = depth.shape
    is_partial = not is_pinhole(camera)
    cloud: Float32 = np.empty((height, width, 4), np.float32)
    # Bands whose temporaries stay in cache and off mmap: three times quicker than whole images.
    band = max(1, 16384 // width)
    for top in range(0, height, band):
        rows = slice(top, top + band)
        known = np.isfinite(depth[rows])
        if is_partial:
            known &= np.isfinite(rays[0, rows])
        z = np.where(known, depth[rows], np.float32(np.nan))
        # Bytes B, G, R, 0 in memory are 0x00RRGGBB; OpenCV's opaque alpha could make it a NaN.
        colour = cv2.cvtColor(image[rows], cv2.COLOR_RGB2BGRA).view("<u4")
        colour &= np.uint32(0x00FFFFFF)
        columns = [
            rays[0, rows] * z,
            rays[1, rows] * z,
            z,
            colour.reshape(z.shape).view(np.float32),
        ]
        cv2.merge(columns, dst=cloud[rows])
    return cloud


def _rays_for(depth: Float32, camera: Camera) -> Float32:
    if depth.shape != (camera.height, camera.width):
        raise ValueError(
            f"depth is {depth.shape[1]}x{depth.shape[0]} but its camera is "
            f"{camera.width}x{camera.height}: use DepthPrediction's own camera"
        )
    return pixel_rays(camera)
