"""Things that stand or move in a street, built from tapered boxes and ellipsoids.

An object is a list of parts in its own frame: x forward, y left, z up, origin on the ground. A part is one primitive: a
box whose top may be narrower than its bottom, or an ellipsoid. Lengths are metres.
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
    HOUSE = 11


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


PAINTS: Sequence[Rgb] = (
    (0.75, 0.75, 0.76),
    (0.03, 0.03, 0.035),
    (0.22, 0.23, 0.25),
    (0.45, 0.46, 0.48),
    (0.35, 0.03, 0.03),
    (0.04, 0.09, 0.28),
    (0.55, 0.52, 0.44),
    (0.05, 0.16, 0.10),
    (0.62, 0.40, 0.04),
)
PAINT_SHARES = (0.26, 0.2, 0.16, 0.16, 0.07, 0.07, 0.04, 0.02, 0.02)


def _jitter(rng: np.random.Generator, colour: Sequence[float], amount: float = 0.2) -> Rgb:
    scaled = np.asarray(colour) * (1 + rng.uniform(-amount, amount, 3))
    r, g, b = np.clip(scaled, 0.01, 0.95)
    return (float(r), float(g), float(b))


def car(rng: np.random.Generator) -> tuple[list[Part], float]:
    """Returns the parts of a passenger car and its length [m]."""
    suv = rng.random() < 0.35
    length = rng.uniform(3.8, 4.95)
    width = rng.uniform(1.68, 1.95)
    height = rng.uniform(1.6, 1.82) if suv else rng.uniform(1.38, 1.55)
    belt = height * rng.uniform(0.56, 0.64)
    low = rng.uniform(0.18, 0.28)
    paint = _jitter(rng, PAINTS[rng.choice(len(PAINTS), p=PAINT_SHARES)])
    hx, hy = length / 2, width / 2
    hood = rng.uniform(0.28, 0.45) * (0.8 if suv else 1.0)
    hatch = rng.uniform(0.02, 0.12) if suv or rng.random() < 0.5 else rng.uniform(0.2, 0.3)
    cabin_x0, cabin_x1 = -hx * (1 - hatch), hx * (1 - hood * 1.4)
    parts = [
        Part(
            (0, 0, (low + belt) / 2),
            (hx, hy, (belt - low) / 2),
            Kind.CAR_BODY,
            paint,
            params=(hx, hy, 0.0, 0.0),
            taper=(0.94, 0.96, 0.95),
        ),
        Part(
            ((cabin_x0 + cabin_x1) / 2, 0, (belt + height) / 2),
            ((cabin_x1 - cabin_x0) / 2, hy * 0.93, (height - belt) / 2),
            Kind.CAR_CABIN,
            paint,
            params=(hx, hy, 0.0, 0.0),
            taper=(rng.uniform(0.4, 0.65), rng.uniform(0.7, 0.95), 0.8),
        ),
    ]
    radius = rng.uniform(0.3, 0.36) * (1.08 if suv else 1)
    for sx in (-1, 1):
        for sy in (-1, 1):
            parts.append(
                Part(
                    (sx * hx * 0.62, sy * hy * 0.9, radius),
                    (radius, 0.13, radius),
                    Kind.WHEEL,
                    (0.02, 0.02, 0.02),
                    (0.4, 0.4, 0.42),
                    is_round=True,
                )
            )
    for sy in (-1, 1):  # mirrors
        parts.append(
            Part((cabin_x1 * 0.75, sy * (hy + 0.08), belt + 0.06), (0.08, 0.1, 0.07), colour=paint)
        )
    return parts, length


def van(rng: np.random.Generator) -> tuple[list[Part], float]:
    """Returns the parts of a van, lorry or bus and its length [m]."""
    style = rng.random()
    if style < 0.55:  # delivery van
        length, width, height = (
            rng.uniform(4.8, 6.2),
            rng.uniform(1.9, 2.1),
            rng.uniform(1.95, 2.7),
        )
    elif style < 0.85:  # lorry with a box
        length, width, height = (
            rng.uniform(6.5, 10.5),
            rng.uniform(2.2, 2.5),
            rng.uniform(3.0, 3.8),
        )
    else:  # bus
        length, width, height = (
            rng.uniform(9.5, 12.5),
            rng.uniform(2.45, 2.55),
            rng.uniform(2.9, 3.3),
        )
    paint = _jitter(rng, PAINTS[rng.choice(len(PAINTS), p=PAINT_SHARES)])
    if style < 0.85 and rng.random() < 0.55:
        paint = _jitter(rng, (0.8, 0.8, 0.8), 0.08)
    hx, hy, low = length / 2, width / 2, rng.uniform(0.28, 0.5)
    parts = []
    if 0.55 <= style < 0.85:
        cab = rng.uniform(1.6, 2.2)
        box_paint = _jitter(
            rng, rng.choice(np.array([(0.75, 0.75, 0.75), (0.3, 0.2, 0.1), (0.1, 0.2, 0.4)]))
        )
        parts.append(
            Part(
                (-cab / 2, 0, (low + 0.5 + height) / 2),
                (hx - cab / 2 - 0.05, hy, (height - low - 0.5) / 2),
                Kind.SIGN,
                box_paint,
                _jitter(rng, (0.5, 0.3, 0.2), 0.9),
                params=(1.0, 0.0, 0.0, 0.0),
            )
        )
        parts.append(
            Part((0, 0, low + 0.22), (hx * 0.97, hy * 0.8, 0.2), colour=(0.05, 0.05, 0.05))
        )
        cab_height = min(height, rng.uniform(2.2, 2.9))
        parts.append(
            Part(
                (hx - cab / 2, 0, (low + cab_height * 0.55) / 2),
                (cab / 2, hy * 0.96, (cab_height * 0.55 - low) / 2),
                Kind.CAR_BODY,
                paint,
                params=(cab / 2, hy * 0.96, 1.0, 0.0),
            )
        )
        parts.append(
            Part(
                (hx - cab / 2 - 0.05, 0, cab_height * 0.775),
                (cab / 2 - 0.05, hy * 0.94, cab_height * 0.225),
                Kind.CAR_CABIN,
                paint,
                params=(cab / 2, hy, 0.0, 0.0),
                taper=(0.8, 1.0, 0.92),
            )
        )
    else:
        belt = height * (0.52 if style < 0.55 else 0.4)
        parts.append(
            Part(
                (0, 0, (low + belt) / 2),
                (hx, hy, (belt - low) / 2),
                Kind.CAR_BODY,
                paint,
                params=(hx, hy, 0.0, 0.0),
                taper=(0.97, 0.99, 0.98),
            )
        )
        panel = float(style < 0.55 and rng.random() < 0.7)  # a closed load compartment
        parts.append(
            Part(
                (-hx * 0.03, 0, (belt + height) / 2),
                (hx * 0.95, hy * 0.97, (height - belt) / 2),
                Kind.CAR_CABIN,
                paint,
                params=(hx, hy, panel, 1.0),
                taper=(rng.uniform(0.65, 0.85) if style < 0.55 else 0.98, 0.98, 0.92),
            )
        )
    radius = 0.36 if style < 0.55 else 0.48
    for x in (-hx * 0.62, hx * 0.68):
        for sy in (-1, 1):
            parts.append(
                Part(
                    (x, sy * hy * 0.9, radius),
                    (radius, 0.16, radius),
                    Kind.WHEEL,
                    (0.02, 0.02, 0.02),
                    (0.35, 0.35, 0.36),
                    is_round=True,
                )
            )
    return parts, length


def person(rng: np.random.Generator) -> list[Part]:
    """Returns the parts of a pedestrian in mid-step."""
    height = rng.uniform(1.5, 1.92)
    top = _jitter(rng, rng.uniform(0.03, 0.6, 3), 0.3)
    legs = _jitter(
        rng, rng.choice(np.array([(0.03, 0.04, 0.09), (0.02, 0.02, 0.02), (0.3, 0.26, 0.2)]))
    )
    skin = _jitter(
        rng, rng.choice(np.array([(0.55, 0.36, 0.27), (0.25, 0.14, 0.09), (0.4, 0.26, 0.18)]))
    )
    step = rng.uniform(0.02, 0.2)
    leg, width = 0.48 * height, rng.uniform(0.19, 0.27)
    parts = [
        Part((s * step, s * 0.09, leg / 2), (0.075, 0.075, leg / 2), Kind.CLOTH, legs)
        for s in (-1, 1)
    ]
    parts += [
        Part(
            (0, 0, leg + 0.17 * height),
            (0.14, width, 0.19 * height),
            Kind.CLOTH,
            top,
            _jitter(rng, top, 0.6),
            is_round=True,
        ),
        Part((0, 0, 0.93 * height), (0.1, 0.085, 0.125), Kind.CLOTH, skin, is_round=True),
    ]
    for s in (-1, 1):
        parts.append(
            Part(
                (-s * step * 0.5, s * width, leg + 0.13 * height),
                (0.055, 0.05, 0.17 * height),
                Kind.CLOTH,
                top,
            )
        )
    return parts


def cyclist(rng: np.random.Generator) -> list[Part]:
    """Returns the parts of a bicycle with its rider."""
    frame = _jitter(rng, rng.uniform(0.02, 0.5, 3), 0.3)
    top = _jitter(rng, rng.uniform(0.03, 0.7, 3), 0.3)
    parts = [
        Part(
            (x, 0, 0.34),
            (0.34, 0.03, 0.34),
            Kind.WHEEL,
            (0.03, 0.03, 0.03),
            (0.3, 0.3, 0.3),
            is_round=True,
        )
        for x in (-0.52, 0.52)
    ]
    parts += [
        Part((0, 0, 0.55), (0.42, 0.025, 0.05), colour=frame),
        Part((0.05, 0.1, 0.7), (0.08, 0.07, 0.36), Kind.CLOTH, (0.04, 0.04, 0.06)),
        Part((-0.05, -0.1, 0.75), (0.08, 0.07, 0.33), Kind.CLOTH, (0.04, 0.04, 0.06)),
        Part(
            (0.08, 0, 1.28),
            (0.2, 0.21, 0.34),
            Kind.CLOTH,
            top,
            _jitter(rng, top, 0.5),
            is_round=True,
        ),
        Part((0.2, 0, 1.68), (0.11, 0.09, 0.13), Kind.CLOTH, (0.4, 0.27, 0.2), is_round=True),
        Part((0.35, 0.0, 1.2), (0.2, 0.22, 0.04), Kind.CLOTH, top),
    ]
    return parts


def tree(rng: np.random.Generator) -> list[Part]:
    """Returns the parts of a tree: a trunk and a crown of several ellipsoids."""
    height = rng.uniform(4.0, 13.0)
    radius = rng.uniform(0.09, 0.28) * (0.6 + height / 14)
    bark = _jitter(
        rng, rng.choice(np.array([(0.14, 0.10, 0.07), (0.22, 0.19, 0.16), (0.09, 0.07, 0.06)]))
    )
    leaves = _jitter(
        rng,
        rng.choice(
            np.array(
                [(0.07, 0.14, 0.03), (0.12, 0.18, 0.05), (0.25, 0.14, 0.03), (0.05, 0.09, 0.03)]
            )
        ),
        0.35,
    )
    trunk = height * rng.uniform(0.25, 0.45)
    lean = rng.uniform(-0.2, 0.2, 2)
    parts = [
        Part(
            (0, 0, trunk * 0.65),
            (radius, radius, trunk * 0.65),
            colour=bark,
            params=(1.0, 0, 0, 0),
            taper=(0.7, 0.7, 0.7),
            yaw=rng.uniform(0, 1.5),
        )
    ]
    crown = height - trunk
    spread = crown * rng.uniform(0.28, 0.5)
    for _ in range(int(rng.integers(5, 11))):
        angle, r = rng.uniform(0, 2 * np.pi), spread * np.sqrt(rng.random()) * 0.75
        z = trunk + crown * rng.uniform(0.2, 0.85)
        size = spread * rng.uniform(0.35, 0.65)
        parts.append(
            Part(
                (r * np.cos(angle) + lean[0], r * np.sin(angle) + lean[1], z),
                (size, size * rng.uniform(0.8, 1.2), size * rng.uniform(0.6, 0.95)),
                Kind.FOLIAGE,
                _jitter(rng, leaves, 0.15),
                is_round=True,
                yaw=rng.uniform(0, 3),
            )
        )
    return parts


def bush(rng: np.random.Generator) -> list[Part]:
    """Returns a low bush of a few ellipsoids."""
    leaves = _jitter(rng, (0.08, 0.14, 0.04), 0.4)
    return [
        Part(
            (rng.uniform(-0.8, 0.8), rng.uniform(-0.5, 0.5), rng.uniform(0.2, 0.6)),
            (rng.uniform(0.4, 1.0), rng.uniform(0.4, 0.8), rng.uniform(0.4, 0.9)),
            Kind.FOLIAGE,
            _jitter(rng, leaves, 0.15),
            is_round=True,
        )
        for _ in range(int(rng.integers(2, 5)))
    ]


def street_lamp(rng: np.random.Generator, height: float, reach: float) -> list[Part]:
    """Returns a street lamp whose head hangs `reach` metres along +x at `height`."""
    grey = _jitter(rng, (0.2, 0.2, 0.2), 0.5)
    return [
        Part(
            (0, 0, height / 2),
            (0.09, 0.09, height / 2),
            colour=grey,
            params=(1.0, 0, 0, 0),
            taper=(0.6, 0.6, 0.6),
        ),
        Part((reach / 2, 0, height - 0.05), (reach / 2, 0.04, 0.04), colour=grey),
        Part(
            (reach, 0, height - 0.1),
            (0.35, 0.14, 0.07),
            Kind.LAMP,
            (0.7, 0.7, 0.65),
            (1.0, 0.72, 0.4),
            params=(1, 0, 0, 0),
        ),
    ]


def sign(rng: np.random.Generator) -> list[Part]:
    """Returns a traffic sign, or a traffic light, on a pole; the face looks along -x."""
    colours = np.array(
        [(0.6, 0.04, 0.04), (0.03, 0.12, 0.5), (0.75, 0.55, 0.02), (0.02, 0.3, 0.12)]
    )
    height = rng.uniform(2.1, 3.3)
    parts = [
        Part(
            (0, 0, height / 2),
            (0.035, 0.035, height / 2),
            colour=(0.35, 0.35, 0.36),
            params=(1, 0, 0, 0),
        )
    ]
    if rng.random() < 0.25:
        lamp = int(rng.integers(0, 3))
        parts.append(
            Part(
                (-0.05, 0, height),
                (0.13, 0.16, 0.46),
                Kind.LAMP,
                (0.03, 0.03, 0.03),
                (0, 0, 0),
                params=(2, lamp, 0, 0),
            )
        )
    else:
        parts.append(
            Part(
                (-0.06, 0, height - 0.1),
                (0.012, rng.uniform(0.3, 0.42), rng.uniform(0.3, 0.5)),
                Kind.SIGN,
                (0.8, 0.8, 0.8),
                _jitter(rng, colours[rng.integers(len(colours))]),
                params=(0, 0, 0, 0),
            )
        )
    return parts


def building(rng: np.random.Generator, width: float, deep: float, height: float) -> list[Part]:
    """Returns a block with windows; its front is the face towards -y, centred on the origin.

    Args:
        rng: Source of every choice.
        width: Extent along the street [m].
        deep: Extent away from the street [m].
        height: Up to the eaves [m].
    """
    walls = np.array(
        [
            (0.35, 0.16, 0.11),
            (0.55, 0.5, 0.42),
            (0.42, 0.42, 0.42),
            (0.62, 0.6, 0.56),
            (0.28, 0.2, 0.15),
            (0.5, 0.38, 0.22),
            (0.22, 0.25, 0.3),
            (0.68, 0.66, 0.6),
            (0.4, 0.3, 0.26),
        ]
    )
    wall = _jitter(rng, walls[rng.integers(len(walls))], 0.25)
    trim = _jitter(rng, np.asarray(wall) * rng.uniform(0.4, 1.5), 0.3)
    floor = rng.uniform(2.8, 3.8)
    cell = rng.uniform(1.6, 4.5)
    share = rng.uniform(0.3, 0.62) if rng.random() < 0.8 else rng.uniform(0.8, 0.93)
    params = (cell, floor, share, rng.random())
    parts = [
        Part(
            (0, deep / 2, height / 2),
            (width / 2, deep / 2, height / 2),
            Kind.FACADE,
            wall,
            trim,
            params,
        )
    ]
    if height < 11 and rng.random() < 0.65:  # pitched roof
        roof = _jitter(
            rng, rng.choice(np.array([(0.25, 0.09, 0.06), (0.12, 0.12, 0.13), (0.2, 0.16, 0.13)]))
        )
        rise = rng.uniform(0.15, 0.35) * deep
        parts.append(
            Part(
                (0, deep / 2, height + rise / 2),
                (width / 2 + 0.3, deep / 2 + 0.4, rise / 2),
                colour=roof,
                taper=(1.0, 1.0, 0.03),
            )
        )
    else:
        parts.append(
            Part(
                (0, deep / 2, height + 0.25),
                (width / 2 + 0.15, deep / 2 + 0.15, 0.25),
                colour=trim,
            )
        )
    for _ in range(int(rng.integers(0, 4))):  # balconies, bays, awnings
        w = rng.uniform(0.8, 2.2)
        x = rng.uniform(-width / 2 + w, width / 2 - w) if width > 2 * w else 0.0
        z = floor * int(rng.integers(1, max(2, int(height / floor)))) + 0.1
        parts.append(Part((x, -0.5, z), (w, 0.5, rng.uniform(0.06, 0.5)), colour=trim))
    return parts


def slab(length: float, width: float, height: float, kind: Kind, colour: Rgb) -> list[Part]:
    """Returns a raised strip of pavement or verge, its curb included."""
    return [
        Part(
            (0, 0, height / 2),
            (length / 2, width / 2, height / 2),
            kind,
            colour,
            (0.45, 0.44, 0.42),
        )
    ]


def wall(rng: np.random.Generator, length: float) -> list[Part]:
    """Returns a stretch of fence, hedge, wall or guard rail along x."""
    style = rng.random()
    if style < 0.35:
        h = rng.uniform(0.7, 2.0)
        return [
            Part(
                (0, 0, h / 2),
                (length / 2, 0.12, h / 2),
                colour=_jitter(rng, (0.4, 0.32, 0.26), 0.4),
            )
        ]
    if style < 0.65:
        h = rng.uniform(0.8, 2.0)
        return [
            Part(
                (0, 0, h / 2),
                (length / 2, 0.4, h / 2),
                Kind.FOLIAGE,
                _jitter(rng, (0.07, 0.13, 0.04), 0.3),
            )
        ]
    grey = _jitter(rng, (0.45, 0.46, 0.47), 0.3)
    h = rng.uniform(0.6, 1.1)
    parts = [Part((0, 0, z * h), (length / 2, 0.04, 0.1 * h), colour=grey) for z in (0.55, 0.9)]
    return parts + [
        Part((x, 0, h / 2), (0.05, 0.05, h / 2), colour=grey)
        for x in np.arange(-length / 2 + 0.5, length / 2, 2.5)
    ]


def shape_array(parts: Sequence[Part]) -> Float64:
    """Returns float64[n, PART_FIELDS], one row a part."""
    return np.array([part.shape_row() for part in parts], dtype=np.float64).reshape(
        -1, PART_FIELDS
    )
