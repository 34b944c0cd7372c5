"""Things of no kind, for worlds in which being an obstacle must be seen by standing there alone.

A student that has seen cars of two boxes only knows cars by these boxes. So cluttered worlds hold
what streets hold besides cars and houses: heaps of boxes and round shapes in any paint, barriers,
bollards, benches, columns with a roof on them, bridges, vehicles without a straight edge; and, on
the road, patches that differ from it in paint alone and are no obstacle at all.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from rosam_core.drives.synthetic.objects import tree
from rosam_core.drives.synthetic.parts import Kind, Part, Rgb, jitter
from rosam_core.drives.synthetic.vehicles import car, van

ANY_KIND = (
    Kind.PLAIN,
    Kind.PLAIN,
    Kind.SIGN,
    Kind.CLOTH,
    Kind.FOLIAGE,
    Kind.CAR_BODY,
    Kind.PAVING,
    Kind.FACADE,
)


def any_colour(rng: np.random.Generator) -> Rgb:
    """Returns any albedo: grey as often as coloured, dark more often than bright."""
    brightness = 0.9 * rng.random() ** 1.5
    chroma = rng.uniform(0, 1) if rng.random() < 0.5 else rng.uniform(0, 0.15)
    return jitter(rng, brightness * (1 - chroma * rng.random(3)), 0.1)


def heap(rng: np.random.Generator, largest_m: float = 3.5) -> list[Part]:
    """Returns one to seven solids on and beside each other, in one paint or in many.

    Args:
        rng: Source of every choice.
        largest_m: Greatest extent of a solid [m].
    """
    size = float(np.exp(rng.uniform(np.log(0.3), np.log(largest_m))))
    is_of_one_paint = rng.random() < 0.5
    kind, colours = _paint(rng)
    parts: list[Part] = []
    top = 0.0
    for number in range(int(rng.integers(1, 8))):
        half = size / 2 * np.exp(rng.uniform(-0.9, 0.25, 3))
        if rng.random() < 0.3:  # thin in one direction: a board, a pole, a sheet
            half[rng.integers(3)] *= rng.uniform(0.08, 0.3)
        is_stacked = number > 0 and rng.random() < 0.5
        x, y = (0.15 if is_stacked else 0.6) * size * rng.uniform(-1, 1, 2)
        bottom = top if is_stacked else 0.0
        if not is_of_one_paint:
            kind, colours = _paint(rng)
        is_round = bool(rng.random() < 0.4)
        z = bottom + half[2] * (rng.uniform(0.4, 1) if is_round else 1)
        parts.append(
            Part(
                (float(x), float(y), float(z)),
                (float(half[0]), float(half[1]), float(half[2])),
                kind,
                *colours,
                params=_params(rng, kind, half),
                yaw=rng.uniform(0, np.pi),
                taper=(1.0, 1.0, 1.0) if rng.random() < 0.5 else tuple(rng.uniform(0.2, 1, 3)),
                is_round=is_round,
            )
        )
        top = max(top, float(z + half[2] * (0.8 if is_round else 1)))
    return parts


def _paint(rng: np.random.Generator) -> tuple[Kind, tuple[Rgb, Rgb]]:
    return ANY_KIND[rng.integers(len(ANY_KIND))], (any_colour(rng), any_colour(rng))


def _params(
    rng: np.random.Generator, kind: Kind, half: np.ndarray
) -> tuple[float, float, float, float]:
    if kind == Kind.FACADE:  # cells and storeys of a kiosk
        return (rng.uniform(0.3, 2), rng.uniform(0.3, 2), rng.uniform(0.1, 0.9), rng.random())
    if kind == Kind.CAR_BODY:
        return (float(half[0]), float(half[1]), 0.0, 0.0)
    return (float(rng.random() < 0.5), 0.0, 0.0, 0.0)


def barrier(rng: np.random.Generator) -> list[Part]:
    """Returns a row of barriers of a building site along x, red and white, or bollards."""
    pitch, height = rng.uniform(1.0, 2.2), rng.uniform(0.5, 1.15)
    paints = [any_colour(rng), jitter(rng, (0.75, 0.75, 0.72))]
    if rng.random() < 0.5:
        paints[0] = jitter(rng, (0.6, 0.08, 0.04))
    is_bollard = rng.random() < 0.3
    half = (0.08, 0.08) if is_bollard else (pitch * 0.48, rng.uniform(0.05, 0.28))
    return [
        Part(
            (i * pitch, 0, height / 2),
            (*half, height / 2),
            Kind.PLAIN,
            paints[i % 2],
            taper=(1.0, 1.0, rng.uniform(0.3, 1)),
        )
        for i in range(int(rng.integers(2, 12)))
    ]


def bench(rng: np.random.Generator) -> list[Part]:
    """Returns a bench, a table or a rack along x: boards on legs, with air under them."""
    length, seat = rng.uniform(0.6, 1.6), rng.uniform(0.35, 1.0)
    wood, metal = any_colour(rng), jitter(rng, (0.15, 0.15, 0.16), 0.6)
    parts = [
        Part((x, 0, seat / 2), (0.04, rng.uniform(0.04, 0.25), seat / 2), colour=metal)
        for x in (-0.8 * length, 0.8 * length)
    ]
    parts.append(Part((0, 0, seat), (length, rng.uniform(0.15, 0.5), 0.04), colour=wood))
    if rng.random() < 0.6:
        parts.append(Part((0, 0.25, seat + 0.35), (length, 0.03, 0.2), colour=wood))
    return parts


def colonnade(rng: np.random.Generator, length: float, deep: float) -> list[Part]:
    """Returns columns along x that carry a roof, a canopy or an upper storey.

    Args:
        rng: Source of every choice.
        length: Along the street [m].
        deep: Away from it [m]; the front is at y = 0.
    """
    height, thick = rng.uniform(2.6, 6.5), float(np.exp(rng.uniform(np.log(0.2), np.log(9.0))))
    paint = jitter(rng, any_colour(rng), 0.1)
    radius = rng.uniform(0.08, 0.6)
    lean = rng.uniform(0.3, 1.0, 3)
    parts = [
        Part(
            (float(x), y, height / 2),
            (radius, radius, height / 2),
            Kind.PLAIN,
            paint,
            taper=(float(lean[0]), float(lean[1]), float(lean[2])),
            yaw=rng.uniform(0, 1.5),
        )
        for x in np.arange(-length / 2 + radius, length / 2, rng.uniform(2.5, 8.0))
        for y in (radius, deep - radius)
    ]
    kind = Kind.FACADE if thick > 2 and rng.random() < 0.7 else Kind.PLAIN
    over = any_colour(rng)
    params = (rng.uniform(1.2, 4), rng.uniform(2.6, 4), rng.uniform(0.2, 0.9), rng.random())
    parts.append(
        Part(
            (0, deep / 2, height + thick / 2),
            (length / 2 + 0.4, deep / 2 + rng.uniform(0, 1.5), thick / 2),
            kind,
            over,
            jitter(rng, over, 0.8),
            params=params if kind == Kind.FACADE else (0.0, 0.0, 0.0, 0.0),
        )
    )
    return parts


def bridge(rng: np.random.Generator, span: float) -> list[Part]:
    """Returns a bridge, a gantry or a roof across the street, along y, on piers.

    Args:
        rng: Source of every choice.
        span: Between its piers [m].
    """
    height, thick = rng.uniform(4.8, 8.5), rng.uniform(0.3, 2.5)
    half_x = float(np.exp(rng.uniform(np.log(0.2), np.log(12.0))))
    paint = jitter(rng, (0.4, 0.4, 0.38), 0.4) if rng.random() < 0.7 else any_colour(rng)
    beam = Part((0, 0, height + thick / 2), (half_x, span / 2 + 2, thick / 2), colour=paint)
    radius = rng.uniform(0.12, 0.9)
    pier = (min(radius, half_x), radius, height / 2)
    piers = [Part((0, side * span / 2, height / 2), pier, colour=paint) for side in (-1, 1)]
    return [beam, *piers]


def patch(rng: np.random.Generator) -> list[Part]:
    """Returns something flat on the road: mended asphalt, a lid, paint; it is no obstacle."""
    half = np.exp(rng.uniform(np.log(0.2), np.log(3.0), 2))
    grey = rng.uniform(0.02, 0.3)
    colour = jitter(rng, (grey, grey, grey)) if rng.random() < 0.6 else any_colour(rng)
    kind = Kind.PAVING if rng.random() < 0.3 else Kind.PLAIN
    flat = (float(half[0]), float(half[1]), 0.004)
    return [Part((0, 0, 0.004), flat, kind, colour, colour, is_round=bool(rng.random() < 0.4))]


def made_over(rng: np.random.Generator, parts: list[Part]) -> list[Part]:
    """Returns a vehicle with round bodies in the place of boxes, another outline, other paint.

    Args:
        rng: Source of every choice.
        parts: Of a vehicle.
    """
    stretch = np.exp(rng.uniform(-0.15, 0.15, 3))
    result = []
    for part in parts:
        part = dataclasses.replace(
            part,
            centre=_times(part.centre, stretch),
            half=_times(part.half, stretch),
        )
        is_shell = part.kind in (Kind.CAR_BODY, Kind.CAR_CABIN)
        if is_shell and rng.random() < 0.6:
            # An ellipsoid through about the same outline, and the box, smaller, inside of it.
            x, y, z = part.half
            bulge = (1.05 * x, 1.06 * y, z * rng.uniform(1.15, 1.5))
            lower = (part.centre[0], part.centre[1], part.centre[2] - 0.1 * z)
            result.append(dataclasses.replace(part, half=bulge, centre=lower, is_round=True))
            part = dataclasses.replace(part, half=(0.9 * x, 0.97 * y, 0.9 * z))
        result.append(part)
    front = max(part.centre[0] + part.half[0] for part in parts)
    top = max(part.centre[2] + part.half[2] for part in parts)
    width = max(part.half[1] for part in parts)
    if rng.random() < 0.25:  # what is carried on the roof
        load = (rng.uniform(0.3, 0.9), width * rng.uniform(0.3, 0.8), rng.uniform(0.08, 0.3))
        result.append(Part((0, 0, top + load[2]), load, colour=any_colour(rng)))
    if rng.random() < 0.3:  # bars, a spare wheel, a box
        half = (rng.uniform(0.05, 0.3), width * rng.uniform(0.2, 0.9), rng.uniform(0.1, 0.4))
        end = front * rng.choice([-1, 1])
        result.append(Part((float(end), 0, rng.uniform(0.5, 1.2)), half, colour=any_colour(rng)))
    if rng.random() < 0.3:
        paint = any_colour(rng)
        result = [
            dataclasses.replace(part, colour=paint)
            if part.kind in (Kind.CAR_BODY, Kind.CAR_CABIN)
            else part
            for part in result
        ]
    return result


def _times(values: tuple[float, float, float], factors: np.ndarray) -> tuple[float, float, float]:
    x, y, z = (float(value * factor) for value, factor in zip(values, factors, strict=True))
    return (x, y, z)


def odd_vehicle(rng: np.random.Generator) -> tuple[list[Part], float]:
    """Returns the parts of a vehicle that is made over, and its length [m]."""
    parts, length = van(rng) if rng.random() < 0.25 else car(rng)
    return made_over(rng, parts), length


def odd_tree(rng: np.random.Generator) -> list[Part]:
    """Returns a palm, a dead tree or one with a crown that hangs low over the street."""
    if rng.random() < 0.5:
        return [
            dataclasses.replace(
                part,
                half=_times(part.half, np.array([1.5, 1.5, rng.uniform(0.3, 0.7)]))
                if part.is_round
                else part.half,
            )
            for part in tree(rng)
        ]
    height, radius = rng.uniform(3, 11), rng.uniform(0.07, 0.3)
    bark = jitter(rng, (0.3, 0.26, 0.2), 0.5)
    half = (radius, radius, height / 2)
    trunk = Part((0, 0, height / 2), half, colour=bark, params=(1.0, 0, 0, 0))
    leaves = jitter(rng, (0.1, 0.16, 0.05), 0.4)
    fronds = [
        Part(
            (float(0.9 * np.cos(angle)), float(0.9 * np.sin(angle)), height - 0.1),
            (rng.uniform(0.8, 1.6), rng.uniform(0.12, 0.3), rng.uniform(0.1, 0.35)),
            Kind.FOLIAGE,
            leaves,
            is_round=True,
            yaw=float(angle),
        )
        for angle in np.arange(0, 2 * np.pi, rng.uniform(0.6, 1.2))
    ]
    return [trunk, *(fronds if rng.random() < 0.8 else [])]
