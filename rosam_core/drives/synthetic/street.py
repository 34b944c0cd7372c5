"""The plan of a street.

A street is described in its own coordinates, `s` along the centre line and `lateral` to the left
of it, and bent onto a circle of constant curvature. All lengths are metres, z is up, the ground is
z = 0.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from rosam_core.types import Float64

REACH_M = 170.0  # how far ahead a world is built; beyond stand only hills and a skyline
STYLES = ("urban", "suburb", "park", "industrial", "highway")
STYLE_SHARES = (0.38, 0.3, 0.12, 0.08, 0.12)


@dataclasses.dataclass(frozen=True)
class Street:
    """The plan of a street.

    Attributes:
        style: One of `STYLES`.
        curvature: 1 / radius [1/m], positive bends left.
        lanes: Lanes in each direction.
        lane_width: Width of a lane [m].
        parking: Width of the parking strip on each side [m], 0 = none.
        pavement: Width of the raised pavement [m], 0 = none.
        curb: Height of the pavement above the road [m].
        setback: Distance from the pavement to the houses [m].
        side: -1 where traffic keeps right, +1 where it keeps left.
        crossings: float64[n,2], s of a side street and half its width [m].
        marking: Four numbers for the paint: centre style, edge line, dash length, wear.
        ground: Linear albedo of the asphalt and of the land beside the road, 6 numbers.
    """

    style: str
    curvature: float
    lanes: int
    lane_width: float
    parking: float
    pavement: float
    curb: float
    setback: float
    side: int
    crossings: Float64
    marking: tuple[float, float, float, float]
    ground: tuple[float, ...]

    @property
    def half_width(self) -> float:
        """Half the width of the carriageway [m]."""
        return self.lanes * self.lane_width + self.parking

    def to_world(self, s: float, lateral: float) -> tuple[float, float, float]:
        """Returns x, y [m] and heading [rad] of a point of the street."""
        if abs(self.curvature) < 1e-9:
            return s, lateral, 0.0
        radius, angle = 1 / self.curvature, s * self.curvature
        return (
            (radius - lateral) * math.sin(angle),
            radius - (radius - lateral) * math.cos(angle),
            angle,
        )

    def is_crossing(self, s: float, margin: float) -> bool:
        """Returns whether `s` lies in a side street, widened by `margin` metres."""
        return bool(np.any(np.abs(self.crossings[:, 0] - s) < self.crossings[:, 1] + margin))


def random_street(
    rng: np.random.Generator, length: float, shares: Sequence[float] = STYLE_SHARES
) -> Street:
    """Draws a street.

    Args:
        rng: Source of every choice.
        length: Distance that the camera may drive in a town [m].
        shares: Probability of each of `STYLES`.
    """
    style = str(rng.choice(np.array(STYLES), p=shares))
    is_highway = style == "highway"
    lanes = int(rng.integers(2, 4)) if is_highway else int(rng.choice([1, 1, 1, 2, 2, 3]))
    bends = rng.random() < 0.45
    crossings = []
    if not is_highway:
        s = rng.uniform(-40, 60)
        while s < length + REACH_M:
            crossings.append((s, rng.uniform(3.0, 7.0)))
            s += rng.uniform(45, 160)
    # Traffic on a highway is at most 30 m/s fast, elsewhere 14.
    reach = (30 / 14 if is_highway else 1) * length + REACH_M
    asphalt = rng.uniform(0.05, 0.26) * (1 + rng.uniform(-0.06, 0.06, 3))
    land = rng.choice(
        np.array([(0.1, 0.16, 0.05), (0.2, 0.17, 0.1), (0.3, 0.29, 0.27), (0.14, 0.15, 0.06)])
    )
    return Street(
        style=style,
        # The street must not bend round into itself.
        curvature=float(rng.choice([-1, 1]) / max(rng.uniform(70, 500), reach / 5))
        if bends
        else 0.0,
        lanes=lanes,
        lane_width=float(rng.uniform(2.8, 3.75)),
        parking=float(rng.uniform(2.0, 2.6)) if not is_highway and rng.random() < 0.65 else 0.3,
        pavement=0.0 if is_highway or rng.random() < 0.08 else float(rng.uniform(1.4, 4.5)),
        curb=float(rng.uniform(0.06, 0.18)),
        setback={
            "urban": float(rng.uniform(0, 2.5)),
            "suburb": float(rng.uniform(3, 11)),
            "park": float(rng.uniform(8, 25)),
            "industrial": float(rng.uniform(5, 20)),
            "highway": float(rng.uniform(15, 40)),
        }[style],
        side=-1 if rng.random() < 0.75 else 1,
        crossings=np.array(crossings).reshape(-1, 2),
        marking=(
            float(rng.integers(0, 4)),
            float(rng.random() < 0.6),
            float(rng.uniform(1.5, 5.0)),
            float(rng.uniform(0.0, 0.8)),
        ),
        ground=(*asphalt, *(land * rng.uniform(0.7, 1.3))),
    )
