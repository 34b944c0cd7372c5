"""What things in a street are built from: tapered boxes and ellipsoids, with their surface.

An object is a list of parts in its own frame: x forward, y left, z up, origin on the ground. A
part is one primitive: a box whose top may be narrower than its bottom, or an ellipsoid. Lengths
are metres.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Sequence

import numpy as np

from rosam_core.types import Float64

Rgb = tuple[float, float, float]


class Kind(enum.IntEnum):
    """Surface kinds the materials know how to paint."""

    PLAIN = 0
    FACADE = 1
    FOLIAGE = 2
    CAR_BODY = 3
    CAR_CABIN = 4
    WHEEL = 5
    SIGN = 6
    LAMP = 7
    CLOTH = 8
    PAVING = 9
    GRASS = 10
    LEAVES = 11


PART_FIELDS = 11  # x y z yaw hx hy hz taper_front taper_back taper_side is_round
MATERIAL_FIELDS = 12  # kind rgb rgb2 seed p0 p1 p2 p3


@dataclasses.dataclass
class Part:
    """One primitive of an object.

    Attributes:
        centre: x, y, z of the middle in the object's frame [m].
        half: Half extents along x, y, z [m].
        kind: What its surface looks like.
        colour: Linear albedo, each in [0, 1].
        colour2: Second albedo where the kind uses one.
        params: Four numbers whose meaning depends on the kind.
        yaw: Rotation about z in the object's frame [rad].
        taper: Top extent as a share of the bottom's: front x, back x, sides y.
        is_round: Ellipsoid instead of box.
    """

    centre: tuple[float, float, float]
    half: tuple[float, float, float]
    kind: Kind = Kind.PLAIN
    colour: Rgb = (0.4, 0.4, 0.4)
    colour2: Rgb = (0.2, 0.2, 0.2)
    params: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    yaw: float = 0.0
    taper: tuple[float, float, float] = (1.0, 1.0, 1.0)
    is_round: bool = False

    def shape_row(self) -> list[float]:
        """Returns the `PART_FIELDS` numbers of the shape."""
        return [*self.centre, self.yaw, *self.half, *self.taper, float(self.is_round)]

    def material_row(self, seed: float) -> list[float]:
        """Returns the `MATERIAL_FIELDS` numbers of the surface."""
        return [float(self.kind), *self.colour, *self.colour2, seed, *self.params]


def jitter(
    rng: np.random.Generator, colour: Sequence[float] | Float64, amount: float = 0.2
) -> Rgb:
    """Returns a colour whose channels vary by up to `amount` of their value, in [0.01, 0.95]."""
    scaled = np.asarray(colour) * (1 + rng.uniform(-amount, amount, 3))
    r, g, b = np.clip(scaled, 0.01, 0.95)
    return (float(r), float(g), float(b))
