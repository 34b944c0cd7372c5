"""What stands or walks in a street: people, trees, lamps, signs, houses, walls, pavements."""

from __future__ import annotations

import numpy as np

from rosam_core.drives.synthetic.parts import Kind, Part, Rgb, jitter


def person(rng: np.random.Generator) -> list[Part]:
    """Returns the parts of a pedestrian in mid-step."""
    height = rng.uniform(1.5, 1.92)
    top = jitter(rng, rng.uniform(0.03, 0.6, 3), 0.3)
    legs = jitter(
        rng, rng.choice(np.array([(0.03, 0.04, 0.09), (0.02, 0.02, 0.02), (0.3, 0.26, 0.2)]))
    )
    skin = jitter(
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
            jitter(rng, top, 0.6),
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
    frame = jitter(rng, rng.uniform(0.02, 0.5, 3), 0.3)
    top = jitter(rng, rng.uniform(0.03, 0.7, 3), 0.3)
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
            jitter(rng, top, 0.5),
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
    bark = jitter(
        rng, rng.choice(np.array([(0.14, 0.10, 0.07), (0.22, 0.19, 0.16), (0.09, 0.07, 0.06)]))
    )
    leaves = jitter(
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
                jitter(rng, leaves, 0.15),
                is_round=True,
                yaw=rng.uniform(0, 3),
            )
        )
    return parts


def bush(rng: np.random.Generator) -> list[Part]:
    """Returns a low bush of a few ellipsoids."""
    leaves = jitter(rng, (0.08, 0.14, 0.04), 0.4)
    return [
        Part(
            (rng.uniform(-0.8, 0.8), rng.uniform(-0.5, 0.5), rng.uniform(0.2, 0.6)),
            (rng.uniform(0.4, 1.0), rng.uniform(0.4, 0.8), rng.uniform(0.4, 0.9)),
            Kind.FOLIAGE,
            jitter(rng, leaves, 0.15),
            is_round=True,
        )
        for _ in range(int(rng.integers(2, 5)))
    ]


def street_lamp(rng: np.random.Generator, height: float, reach: float) -> list[Part]:
    """Returns a street lamp whose head hangs `reach` metres along +x at `height`."""
    grey = jitter(rng, (0.2, 0.2, 0.2), 0.5)
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
                jitter(rng, colours[rng.integers(len(colours))]),
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
    wall = jitter(rng, walls[rng.integers(len(walls))], 0.25)
    trim = jitter(rng, np.asarray(wall) * rng.uniform(0.4, 1.5), 0.3)
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
        roof = jitter(
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
                colour=jitter(rng, (0.4, 0.32, 0.26), 0.4),
            )
        ]
    if style < 0.65:
        h = rng.uniform(0.8, 2.0)
        return [
            Part(
                (0, 0, h / 2),
                (length / 2, 0.4, h / 2),
                Kind.FOLIAGE,
                jitter(rng, (0.07, 0.13, 0.04), 0.3),
            )
        ]
    grey = jitter(rng, (0.45, 0.46, 0.47), 0.3)
    h = rng.uniform(0.6, 1.1)
    parts = [Part((0, 0, z * h), (length / 2, 0.04, 0.1 * h), colour=grey) for z in (0.55, 0.9)]
    return parts + [
        Part((x, 0, h / 2), (0.05, 0.05, h / 2), colour=grey)
        for x in np.arange(-length / 2 + 0.5, length / 2, 2.5)
    ]
