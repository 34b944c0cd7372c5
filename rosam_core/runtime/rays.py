"""From pixels to the rays that they see, whatever the lens."""

from __future__ import annotations

import cv2
import numpy as np

from rosam_core.types import Camera, Float64

# OpenCV's own five rounds leave more than 40 px in the corners of a 90 degree lens.
_CRITERIA = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 100, 1e-3)


def ray_slopes(pixels: Float64, camera: Camera) -> Float64:
    """Returns the directions that pixels see, as x / z and y / z in the camera frame.

    The inverse of `rosam_core.geometry.projection.project_points`, to 0.001 px where the
    distortion can be inverted.

    Args:
        pixels: float64[N,2], column and row [px].
        camera: Camera with any of the distortion models of `Camera`.

    Returns:
        float64[N,2].
    """
    if not len(pixels) or not any(camera.distortion):
        return (pixels - (camera.cx, camera.cy)) / (camera.fx, camera.fy)
    points = np.ascontiguousarray(pixels, np.float64)[:, None]
    d = np.asarray(camera.distortion, np.float64)
    if camera.distortion_model == "equidistant":
        slopes = cv2.fisheye.undistortPoints(points, camera.K, np.resize(d, 4))
    else:
        slopes = cv2.undistortPointsIter(points, camera.K, d, np.eye(3), np.eye(3), _CRITERIA)
    return np.asarray(slopes[:, 0], np.float64)
