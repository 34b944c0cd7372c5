"""From pixels to the rays that they see, whatever the lens."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from rosam_core.types import Camera, Float64

MISSED_PX = 1.0
"""Where the distortion cannot be inverted, the ray that is found is seen by another pixel."""

STEEPEST = 1e3
"""x / z or y / z of a ray that goes sideways; OpenCV says 1e6 beyond 90 degrees."""

PART = 65536
"""Points that are projected at a time."""

# OpenCV's own five rounds leave more than 40 px in the corners of a 90 degree lens.
_CRITERIA = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 100, 1e-3)


def is_pinhole(camera: Camera) -> bool:
    """Returns whether a camera has no distortion; `equidistant` is one even with zeros.

    A camera_info that states zeros does not come as one: to ROS it has no distortion
    (`camera_model.camera_from_info`).
    """
    return camera.distortion_model != "equidistant" and not any(camera.distortion)


def equidistant_coefficients(camera: Camera) -> Float64:
    """Returns the four coefficients of an `equidistant` camera, float64[4]; none are zeros."""
    d = np.asarray(camera.distortion, np.float64)
    return np.resize(d, 4) if d.size >= 4 else np.zeros(4)


def ray_slopes(pixels: Float64, camera: Camera) -> Float64:
    """Returns the directions that pixels see, as x / z and y / z in the camera frame.

    The inverse of `rosam_core.geometry.projection.project_points`, to 0.001 px.

    Args:
        pixels: float64[N,2], column and row [px].
        camera: Camera with any of the distortion models of `Camera`.

    Returns:
        float64[N,2]; NaN where the distortion cannot be inverted, or the ray does not go forward.
    """
    if not len(pixels) or is_pinhole(camera):
        return (pixels - (camera.cx, camera.cy)) / (camera.fx, camera.fy)
    points = np.ascontiguousarray(pixels, np.float64)[:, None]
    d = np.asarray(camera.distortion, np.float64)
    if camera.distortion_model == "equidistant":
        d = equidistant_coefficients(camera)
        found = cv2.fisheye.undistortPoints(points, camera.K, d)
    else:
        found = cv2.undistortPointsIter(points, camera.K, d, np.eye(3), np.eye(3), _CRITERIA)
    slopes: Float64 = np.asarray(found[:, 0], np.float64)
    slopes[~_leads_back(slopes, points[:, 0], camera, d)] = np.nan
    return slopes


def _leads_back(
    slopes: Float64, pixels: Float64, camera: Camera, d: Float64
) -> npt.NDArray[np.bool_]:
    """Returns whether rays are seen by the pixels that they were found for, bool[N]."""
    zero, found = np.zeros(3), np.zeros(len(slopes), bool)
    equidistant = camera.distortion_model == "equidistant"
    project = cv2.fisheye.projectPoints if equidistant else cv2.projectPoints
    # In parts: OpenCV makes a Jacobian of 200 bytes and more for each of its points.
    for start in range(0, len(slopes), PART):
        part = slice(start, start + PART)
        possible = np.abs(slopes[part]).max(axis=1) < STEEPEST
        rays = np.ones((len(possible), 1, 3))
        rays[:, 0, :2] = np.where(possible[:, None], slopes[part], 0.0)
        again, _ = project(rays, zero, zero, camera.K, d)
        missed = np.abs(again.reshape(-1, 2) - pixels[part]).max(axis=1)
        found[part] = possible & (missed < MISSED_PX)
    return found
