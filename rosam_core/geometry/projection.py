"""Points to pixels: projecting a lidar sweep into a sparse depth image."""

from __future__ import annotations

import functools

import cv2
import numpy as np

from rosam_core.runtime.rays import equidistant_coefficients, is_pinhole, ray_slopes
from rosam_core.types import Camera, Float32, Float64


def project_points(points: Float32, camera: Camera) -> Float64:
    """Projects points in front of a camera, with its distortion.

    Args:
        points: float32[N,3], in the camera frame (x right, y down, z forward) [m], z > 0.
        camera: Camera with any of the distortion models of `Camera`.

    Returns:
        float64[N,2], column and row [px]; the centre of the top-left pixel is (0, 0).
    """
    xyz = points.astype(np.float64)
    if not len(xyz) or is_pinhole(camera):
        undistorted = np.empty((len(xyz), 2))
        # Column by column: numpy is several times slower over an inner axis of two.
        np.add(xyz[:, 0] / xyz[:, 2] * camera.fx, camera.cx, out=undistorted[:, 0])
        np.add(xyz[:, 1] / xyz[:, 2] * camera.fy, camera.cy, out=undistorted[:, 1])
        return undistorted
    zero = np.zeros(3)
    if camera.distortion_model == "equidistant":
        d = equidistant_coefficients(camera)
        pixels, _ = cv2.fisheye.projectPoints(xyz[:, None], zero, zero, camera.K, d)
    else:
        d = np.asarray(camera.distortion, dtype=np.float64)
        pixels, _ = cv2.projectPoints(xyz[:, None], zero, zero, camera.K, d)
    return np.asarray(pixels.reshape(-1, 2), dtype=np.float64)


def points_in_view(
    points: Float32, camera: Camera, min_depth_m: float = 1.0, border_px: float = 1.0
) -> tuple[Float32, Float64]:
    """Keeps the points that fall inside the image.

    Args:
        points: float32[N,3], in the camera frame [m].
        camera: Camera.
        min_depth_m: Points must be farther than this along the optical axis [m].
        border_px: Points must be more than this inside the image [px].

    Returns:
        points: float32[M,3], the kept points [m].
        pixels: float64[M,2], where they fall [px].
    """
    x, y, z = points.T  # by column, see project_points
    finite = np.isfinite(x) & np.isfinite(y) & np.isfinite(z)
    # `take` of rows is several times faster than an index.
    points = points.take(np.flatnonzero(finite & (z > min_depth_m)), axis=0)
    if any(camera.distortion) and camera.distortion_model != "equidistant":
        # A polynomial distortion folds far-off points back into the image.
        slope_x, slope_y = _steepest(camera)
        slopes = np.abs(points[:, :2]) / points[:, 2:]
        points = points[(slopes[:, 0] < slope_x) & (slopes[:, 1] < slope_y)]
    pixels = project_points(points, camera)
    u, v = pixels.T
    inside = (u > border_px) & (u < camera.width - border_px)
    inside &= (v > border_px) & (v < camera.height - border_px)
    kept = np.flatnonzero(inside)
    return points.take(kept, axis=0), pixels.take(kept, axis=0)


@functools.lru_cache(maxsize=64)
def _steepest(camera: Camera) -> tuple[float, float]:
    """Returns the largest |x / z| and |y / z| that the image shows, with a margin of 5 %.

    Where the distortion cannot be inverted at the image's edges it is the pinhole's view, with a
    margin of 30 %.
    """
    width, height = camera.width - 1, camera.height - 1
    along = np.linspace(0, 1, 65)
    ends = np.zeros_like(along), np.ones_like(along)
    edges = [(along, ends[0]), (along, ends[1]), (ends[0], along), (ends[1], along)]
    pixels = np.concatenate([np.column_stack(edge) for edge in edges]) * (width, height)
    slopes = ray_slopes(pixels, camera)
    if np.isnan(slopes).any():
        x = 1.3 * max(camera.cx, camera.width - camera.cx) / camera.fx
        return x, 1.3 * max(camera.cy, camera.height - camera.cy) / camera.fy
    x, y = 1.05 * np.abs(slopes).max(axis=0)
    return float(x), float(y)


def sparse_depth(
    points: Float32,
    camera: Camera,
    min_depth_m: float = 1.0,
    border_px: float = 1.0,
    rounding: str = "nearest",
) -> Float32:
    """Renders points as a depth image with one pixel a point; the nearest point wins.

    Args:
        points: float32[N,3], in the camera frame [m].
        camera: Camera.
        min_depth_m: Points must be farther than this along the optical axis [m].
        border_px: Points must be more than this inside the image [px].
        rounding: `"nearest"` pixel centre, or `"floor"` as the nuScenes ground truth is made.

    Returns:
        float32[H,W] [m]; NaN where no point falls.

    Raises:
        ValueError: `rounding` is neither.
    """
    if rounding not in ("nearest", "floor"):
        raise ValueError(f"rounding must be 'nearest' or 'floor', got {rounding!r}")
    points, pixels = points_in_view(points, camera, min_depth_m, border_px)
    u, v = (np.floor if rounding == "floor" else np.rint)(pixels.T).astype(np.intp)
    if border_px < 1:  # otherwise no rounding leaves the image
        u, v = np.clip(u, 0, camera.width - 1), np.clip(v, 0, camera.height - 1)
    depth = np.full(camera.height * camera.width, np.nan, dtype=np.float32)
    # fmin takes the point over the NaN that is there; one flat index is ufunc.at's fast path.
    np.fmin.at(depth, v * camera.width + u, points[:, 2].astype(np.float32))
    return depth.reshape(camera.height, camera.width)
