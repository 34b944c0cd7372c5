"""The scale that a camera's height gives: the ground is where it is known to be.

How far away everything is, as a whole, is what a network knows least of an image; how its camera
is mounted is known on every robot. No mask is needed: the ground is the level plane that many of
the points lie on that the camera looks down at.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from rosam_core.types import Float32, Float64

LEAST_POINTS = 50
"""A map with fewer that are known has no ground to be sure of."""

BELOW = math.sin(math.radians(3.0))
"""Rays that go down less steeply are not asked."""

BIN = 0.1
"""Width of a bin of the logarithm of heights."""

STRONG = 0.5
"""The ground is the lowest height with this share of what the commonest one has: points of walls,
cars and the own bonnet are higher."""

ROUNDS = 6
"""Fits, each with narrower weights than the one before."""

CLOSE = 0.08
"""A point this near the plane, relative to its depth, weighs a quarter in the last of them."""

LEAST_SHARE = 0.15
"""So many of the points that the camera looks down at must lie on the plane."""

LEVEL = math.cos(math.radians(10.0))
"""Cosine of the largest angle between the plane and what the stated pitch makes level."""

KEPT = 0.2
"""Share of the logarithm of a metric network's own scale that stays: both are estimates."""

MOST_KEPT = 0.05
"""No more of it stays than this: a camera far lower than any in training is no error of 5 %."""

REMEMBERED = 0.1
"""Weight of the newest factor in the mean that serves images without ground."""


@dataclasses.dataclass(frozen=True)
class Ground:
    """The plane of the ground in one image.

    Attributes:
        height: Of the camera above it, in the unit of depth.
        pitch_deg: How far down the camera looks [degrees].
        share: Of the points that the camera looks down at, those that lie on it, in [0, 1].
    """

    height: float
    pitch_deg: float
    share: float


def find_ground(inverse_depth: Float32, slopes: Float64, pitch_deg: float = 0.0) -> Ground | None:
    """Returns the ground in a map of inverse depth, or None where there is none to be sure of.

    Along the ray (x, y, 1) a plane with the unit normal n at the distance h from the camera has
    `1 / Z = n . (x, y, 1) / h`. The lowest height that many points have is where the fit begins;
    weights that fall with the fourth power of the distance leave out what stands on the ground.

    Args:
        inverse_depth: float32[h,w]; nothing is known where it is not > 0 and finite.
        slopes: float64[h,w,2], x and y of the rays; NaN where there is none.
        pitch_deg: About how far down the camera looks, in (-90, 90) [degrees].
    """
    d = inverse_depth.reshape(-1).astype(np.float64)
    rays = np.concatenate([slopes.reshape(-1, 2), np.ones((d.size, 1))], 1)
    down = np.array([0.0, math.cos(math.radians(pitch_deg)), math.sin(math.radians(pitch_deg))])
    with np.errstate(invalid="ignore"):
        asked = np.isfinite(d) & (d > 0) & (rays @ down > BELOW)
    d, rays = d[asked], rays[asked]
    if d.size < LEAST_POINTS:
        return None
    first = down / _lowest_height(rays @ down / d)
    normal, width = first, 4 * CLOSE
    for _ in range(ROUNDS):
        off = np.abs(rays @ normal / d - 1)
        # Between relative errors (d**2), which the horizon rules, and absolute ones, which the
        # nearest rows do.
        weight = np.where(off < 2 * width, 1 / (1 + (off / width) ** 2) ** 2, 0.0) / d**1.5
        moments = rays.T @ (rays * weight[:, None])
        # A narrow strip of ground says little about the tilt: then it stays as stated.
        ridge = 1e-3 * np.trace(moments) / 3 * np.eye(3) + 1e-12 * np.eye(3)
        stated = np.linalg.norm(normal) * down
        normal = np.linalg.solve(moments + ridge, rays.T @ (weight * d) + ridge @ stated)
        width = max(0.6 * width, CLOSE)
    size = float(np.linalg.norm(normal))
    share = float((np.abs(rays @ normal / d - 1) < 1.5 * CLOSE).mean())
    if share < LEAST_SHARE or normal @ down < LEVEL * size:
        return None
    return Ground(1 / size, math.degrees(math.atan2(normal[2], normal[1])), share)


def _lowest_height(heights: Float64) -> float:
    """Returns the lowest of the common heights below the camera, all of them > 0."""
    place = np.floor(np.log(heights) / BIN).astype(np.int64)
    first = place.min()
    count = np.convolve(np.bincount(place - first), [1, 2, 1], "same")
    k = int(np.flatnonzero(count >= STRONG * count.max()).max())
    return math.exp((k + first + 0.5) * BIN)


class Mounting:
    """How one camera is mounted, and what that has said about the scale of its depth so far.

    Attributes:
        height_m: Of the camera above the ground [m].
        pitch_deg: How far down it looks [degrees].
        ground: The ground of the newest image, None if none was found.
        last_factor: What the depth of that image was multiplied by.
        images: How many there have been.
        with_ground: In how many of them ground was found.
    """

    def __init__(self, height_m: float, pitch_deg: float = 0.0) -> None:
        """Notes the mounting.

        Args:
            height_m: Of the camera above the ground [m], > 0.
            pitch_deg: About how far down it looks, in (-90, 90) [degrees]; 10 more or less are
                found from the image.

        Raises:
            ValueError: Outside these ranges.
        """
        if not 0 < height_m < math.inf:
            raise ValueError(f"the camera's height must be positive, got {height_m:g} m")
        if not -90 < pitch_deg < 90:
            raise ValueError(
                f"the camera's pitch must be between -90 and 90 degrees, got {pitch_deg:g}"
            )
        self.height_m, self.pitch_deg = height_m, pitch_deg
        self.ground: Ground | None = None
        self.last_factor = 1.0
        self.images = self.with_ground = 0
        self._usual: float | None = None  # logarithm of the factor

    def factor(self, inverse_depth: Float32, slopes: Float64, is_metric: bool = True) -> float:
        """Returns what to multiply the depth of the next image by.

        Args:
            inverse_depth: float32[h,w] [1/m], see `find_ground`.
            slopes: float64[h,w,2], see there.
            is_metric: The depth is in metres, as far as the network knows; then a little of its
                own scale stays.

        Returns:
            Of this image's ground, or where there is none what it has been of late; 1 before.
        """
        self.ground = find_ground(inverse_depth, slopes, self.pitch_deg)
        self.images += 1
        self.with_ground += self.ground is not None
        self.last_factor = math.exp(self._log_factor(self.ground, is_metric))
        return self.last_factor

    def __str__(self) -> str:
        """Says in how many images ground was found, and the usual factor of late."""
        factor = math.exp(self._usual or 0.0)
        return (
            f"ground found in {self.with_ground} of {self.images} images, depth times {factor:.2f}"
        )

    def _log_factor(self, ground: Ground | None, is_metric: bool) -> float:
        if ground is None:
            return self._usual or 0.0
        log = math.log(self.height_m / ground.height)
        if is_metric:
            log -= min(max(KEPT * log, -MOST_KEPT), MOST_KEPT)
        usual = log if self._usual is None else self._usual
        self._usual = usual + REMEMBERED * (log - usual)
        return log
