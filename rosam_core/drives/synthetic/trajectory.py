"""The camera of a drive and the way it goes: intrinsics, path and speed."""

from __future__ import annotations

import math

import numpy as np

from rosam_core.drives.synthetic.street import REACH_M, Street
from rosam_core.types import Camera, Float64


def random_camera(
    rng: np.random.Generator,
    width: int,
    height: int,
    fov_deg: float | None,
    fov_range: tuple[float, float] = (40, 110),
) -> Camera:
    """Draws a camera with a random principal point.

    Args:
        rng: Source of every choice.
        width: Image width [px].
        height: Image height [px].
        fov_deg: Horizontal field of view [degrees], random if None.
        fov_range: From and to where, then [degrees].
    """
    fov = fov_deg if fov_deg is not None else float(rng.uniform(*fov_range))
    f = width / (2 * math.tan(math.radians(fov) / 2))
    cx = (width - 1) / 2 + width * rng.uniform(-0.04, 0.04)
    cy = (height - 1) / 2 + height * rng.uniform(-0.06, 0.06)
    return Camera(f, f * rng.uniform(0.99, 1.01), cx, cy, width, height)


def ego_path(
    rng: np.random.Generator, street: Street, lane: float, length: float
) -> tuple[Float64, int | None]:
    """Draws the way the camera goes: along its lane, or off into a side street.

    Args:
        rng: Source of every choice.
        street: The plan.
        lane: Lateral position of the camera's lane [m].
        length: Distance that will be driven [m].

    Returns:
        path: float64[m,4] at 0.25 m steps: x, y [m], heading [rad], arc length [m].
        turn_at: Index of the side street that the path turns into, or None.
    """
    turn_at: int | None = None
    points: list[tuple[float, float]] = []
    straight = abs(street.curvature) < 1e-9
    ahead = np.flatnonzero(
        (street.crossings[:, 0] > 14) & (street.crossings[:, 0] < max(length * 0.8, 30))
    )
    wander, phase = rng.uniform(0, 0.35), rng.uniform(0, 6)
    if straight and len(ahead) and rng.random() < 0.45:
        turn_at = int(ahead[0])
        cross, half = street.crossings[turn_at]
        sign = 1 if rng.random() < 0.5 else -1  # +1 turns left
        target_s = cross + street.side * sign * -1 * half * 0.5
        radius = float(
            np.clip(abs(target_s - cross) + 5.5 + (3 if sign != street.side else 0), 5.5, 14)
        )
        start = target_s - radius
        points += [(s, lane) for s in np.arange(-5, start, 0.25)]
        angles = np.arange(0, math.pi / 2, 0.25 / radius)
        points += [
            (start + radius * math.sin(a), lane + sign * radius * (1 - math.cos(a)))
            for a in angles
        ]
        points += [
            (target_s, lane + sign * (radius + d)) for d in np.arange(0, length + REACH_M, 0.25)
        ]
    else:
        for s in np.arange(-5, length + REACH_M, 0.25):
            offset = wander * math.sin(0.05 * s + phase)
            x, y, _ = street.to_world(float(s), lane + offset)
            points.append((x, y))
    xy = np.array(points)
    step = np.diff(xy, axis=0)
    heading = np.unwrap(np.arctan2(step[:, 1], step[:, 0]))
    kernel = np.ones(9) / 9
    heading = np.convolve(np.pad(heading, 4, mode="edge"), kernel, mode="valid")
    arc = np.concatenate([[0], np.cumsum(np.hypot(step[:, 0], step[:, 1]))])[:-1] - 5.0
    return np.column_stack([xy[:-1], heading, arc]), turn_at


def speed_profile(rng: np.random.Generator, frames: int, fps: float, fast: bool) -> Float64:
    """Draws how far the camera has driven: it cruises, slows down, stops and starts.

    Args:
        rng: Source of every choice.
        frames: Length of the drive.
        fps: Frames a second.
        fast: On a highway: faster, and without stops.

    Returns:
        float64[frames], distance from the start [m].
    """
    count = max(2, int(frames / fps / 4) + 2)
    top = rng.uniform(14, 30) if fast else rng.uniform(4, 14)
    knots = top * rng.uniform(0.6, 1.0, count)
    if not fast:
        knots[rng.random(count) < 0.15] = 0.0
        if np.all(knots == 0):
            knots[:] = top * 0.5
    times = np.arange(frames) / fps
    speed = np.interp(times, np.linspace(0, max(times[-1], 1e-3), count), knots)
    return np.concatenate([[0.0], np.cumsum(speed[:-1] / fps)])
