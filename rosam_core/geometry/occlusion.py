"""Lidar points that the camera cannot see: the lidar looks past what stands in the camera's way.

A lidar above a camera sees the street over the roof of a car; projected into the image, those
points fall onto the car. A z-buffer of single pixels cannot tell, because the car's own points lie
tens of pixels apart.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from rosam_core.types import Float32, Float64

Bool = npt.NDArray[np.bool_]
Index = npt.NDArray[np.int64]

CELL_RAD = 0.003
MAX_REACH_RAD = 0.035
"""A point says nothing about directions farther from it than this, however sparse the scan."""
LEAST_STEP_RAD = 0.001
"""No lidar steps by less: nearer directions are the same one again, of several scans together."""
SURROUNDED_REACH = 1.1  # spacings: the next columns of the scan, not the ones after them
SAMPLES = 128  # points whose neighbours tell the spacing of a scan


@dataclasses.dataclass(frozen=True)
class OcclusionOptions:
    """When a point counts as hidden behind nearer ones.

    Attributes:
        nearer: Only what is nearer by more than this share of the depth can hide a point.
        reach: A point hides directions up to so many spacings of the scan from it.
        shift: A point is hidden if its angle to a nearer one has shrunk below this share of what
            the lidar sees; below 0 it has passed to the other side. The edge between the two lies
            anywhere in that angle, so the point is seen with a probability of just this share.
    """

    nearer: float = 0.05
    reach: float = 0.75
    shift: float = 0.5


def hidden_points(
    points: Float32,
    lidar_origin: Float64 | None,
    options: OcclusionOptions | None = None,
) -> Bool:
    """Returns which points the camera cannot see.

    With d the angle between a point and a nearer one as the lidar sees it, and d' as the camera
    does, the point is hidden if d . d' < shift |d|^2. Without a lidar position (scans of many
    places put together) a point is hidden if it has nearer ones on opposite sides.

    Args:
        points: float32[N,3], in the camera's frame, in front of it [m].
        lidar_origin: float64[3], where the lidar was, in the same frame [m]; None if not known or
            not one place.
        options: When a point is hidden.

    Returns:
        bool[N].
    """
    options = options or OcclusionOptions()
    points = points.astype(np.float64)
    if len(points) < 3:
        return np.zeros(len(points), bool)
    seen = view_angles(points)
    if lidar_origin is None:
        return _surrounded(seen, points[:, 2], options.nearer)
    scanned = view_angles(points - lidar_origin)
    reach = np.minimum(options.reach * np.array(scan_spacing(scanned)), MAX_REACH_RAD)
    hidden = np.zeros(len(points), bool)
    for behind, front in _near_pairs(seen, points[:, 2], reach, options.nearer):
        now, before = seen[behind] - seen[front], scanned[behind] - scanned[front]
        passed = (now * before).sum(axis=1) < options.shift * (before**2).sum(axis=1)
        hidden[behind[passed]] = True
    return hidden


def view_angles(points: Float64) -> Float64:
    """Returns where points are seen from the origin, float64[N,2]: right and down [rad].

    Args:
        points: float64[N,3], x right, y down, z forward.
    """
    x, y, z = points.T
    return np.stack([np.arctan2(x, z), np.arctan2(y, np.hypot(x, z))], axis=1)


def scan_spacing(angles: Float64) -> tuple[float, float]:
    """Returns how far apart the directions of a scan are, sideways and up and down [rad].

    Both are medians, of the distance to the nearest neighbour within 27 degrees of that axis;
    infinite where a scan has one row, or one column.

    Args:
        angles: float64[N,2] of `view_angles` from the lidar.
    """
    sampled = angles[np.linspace(0, len(angles) - 1, min(SAMPLES, len(angles))).astype(int)]
    sideways, upright = [], []
    for part in np.array_split(sampled, max(len(sampled) // 32, 1)):
        across = np.abs(part[:, None, 0] - angles[None, :, 0])
        along = np.abs(part[:, None, 1] - angles[None, :, 1])
        beside = across > np.maximum(2 * along, LEAST_STEP_RAD)
        sideways.append(np.where(beside, across, np.inf).min(axis=1))
        upright.append(np.where(along > 2 * across, along, np.inf))
        # Not the jitter of one beam: the next beam is at least half as far as the next column.
        least = max(0.5 * float(np.median(sideways[-1])), LEAST_STEP_RAD)
        upright[-1] = np.where(upright[-1] > least, upright[-1], np.inf).min(axis=1)
    return float(np.median(np.concatenate(sideways))), float(np.median(np.concatenate(upright)))


def _surrounded(seen: Float64, depth: Float64, nearer: float) -> Bool:
    """Returns which points have nearer ones on opposite sides, about one spacing away."""
    reach = np.minimum(SURROUNDED_REACH * np.array(scan_spacing(seen)), MAX_REACH_RAD)
    sides = np.zeros((len(seen), 4), bool)
    for behind, front in _near_pairs(seen, depth, reach, nearer):
        right, below = (seen[behind] > seen[front]).T.astype(np.int64)
        sides[behind, 2 * right + below] = True
    return (sides[:, 0] & sides[:, 3]) | (sides[:, 1] & sides[:, 2])


def _near_pairs(
    seen: Float64, depth: Float64, reach: Float64, nearer: float
) -> Iterator[tuple[Index, Index]]:
    """Yields index arrays of points and of nearer points within reach of them in the image.

    Of points in one cell of `CELL_RAD` only the nearest one is offered.
    """
    cell = np.minimum(reach, CELL_RAD)
    steps = np.ceil(reach / cell).astype(np.int64)
    at = np.floor((seen - seen.min(axis=0)) / cell).astype(np.int64) + steps
    nearest = np.full(at.max(axis=0) + steps + 1, -1, np.int64)
    far_to_near = np.argsort(-depth, kind="stable")
    nearest[at[far_to_near, 0], at[far_to_near, 1]] = far_to_near
    for column in range(-steps[0], steps[0] + 1):
        for row in range(-steps[1], steps[1] + 1):
            other = nearest[at[:, 0] + column, at[:, 1] + row]
            behind = np.flatnonzero(other >= 0)
            front = other[behind]
            close = depth[front] < (1 - nearer) * depth[behind]
            close &= (np.abs(seen[behind] - seen[front]) <= reach).all(axis=1)
            yield behind[close], front[close]
