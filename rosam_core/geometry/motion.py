"""Points of a sensor that moved while it measured."""

from __future__ import annotations

import cv2
import numpy as np

from rosam_core.types import Float32, Float64


def moved(points: Float32 | Float64, T_to_from: Float64) -> Float32:
    """Returns points in another frame, float32[N,3] [m].

    Args:
        points: [N,3] [m].
        T_to_from: float64[4,4].
    """
    if not len(points):
        return np.zeros((0, 3), np.float32)
    # A quarter of the time of numpy's product with so short an axis.
    there = cv2.transform(points.astype(np.float64)[None], T_to_from[:3])
    return np.asarray(there[0], np.float32)


def moved_sweep(
    points: Float32 | Float64, share: Float64, T_to_begin: Float64, T_to_end: Float64
) -> Float32:
    """Returns points that were measured one after the other, in one frame, float32[N,3] [m].

    Between the two poses the sensor moves in a straight line at constant speed and turns at a
    constant rate about one axis.

    Args:
        points: [N,3], each in the frame that the sensor had when it measured it [m].
        share: float64[N], when that was: 0 = at the begin, 1 = at the end; beyond, extrapolated.
        T_to_begin: float64[4,4], pose of the sensor at the begin, in the frame to move to.
        T_to_end: float64[4,4], pose at the end.
    """
    turn = cv2.Rodrigues(T_to_begin[:3, :3].T @ T_to_end[:3, :3])[0].ravel()
    angle = float(np.linalg.norm(turn))
    axis = turn / angle if angle > 0 else np.array([0.0, 0.0, 1.0])
    xyz = points.astype(np.float64)
    # Rodrigues' formula with an angle for each point.
    a = (angle * share)[:, None]
    along = (xyz @ axis)[:, None] * axis
    turned = along + np.cos(a) * (xyz - along) + np.sin(a) * np.cross(axis, xyz)
    way = np.outer(share, T_to_end[:3, 3] - T_to_begin[:3, 3])
    in_begin = turned @ T_to_begin[:3, :3].T + T_to_begin[:3, 3]
    return np.asarray(in_begin + way, np.float32)
