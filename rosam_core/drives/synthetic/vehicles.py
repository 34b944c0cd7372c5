"""Cars, vans, lorries and buses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rosam_core.drives.synthetic.parts import Kind, Part, Rgb, jitter

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


def car(rng: np.random.Generator) -> tuple[list[Part], float]:
    """Returns the parts of a passenger car and its length [m]."""
    suv = rng.random() < 0.35
    length = rng.uniform(3.8, 4.95)
    width = rng.uniform(1.68, 1.95)
    height = rng.uniform(1.6, 1.82) if suv else rng.uniform(1.38, 1.55)
    belt = height * rng.uniform(0.56, 0.64)
    low = rng.uniform(0.18, 0.28)
    paint = jitter(rng, PAINTS[rng.choice(len(PAINTS), p=PAINT_SHARES)])
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
    for front in (-1, 1):
        for side in (-1, 1):
            place = (front * hx * 0.62, side * hy * 0.9, radius)
            parts.append(_wheel(place, (radius, 0.13, radius), (0.4, 0.4, 0.42)))
    for sy in (-1, 1):  # mirrors
        parts.append(
            Part((cabin_x1 * 0.75, sy * (hy + 0.08), belt + 0.06), (0.08, 0.1, 0.07), colour=paint)
        )
    return parts, length


def van(rng: np.random.Generator) -> tuple[list[Part], float]:
    """Returns the parts of a delivery van, lorry or bus and its length [m]."""
    style = rng.random()
    if style < 0.55:
        size = (rng.uniform(4.8, 6.2), rng.uniform(1.9, 2.1), rng.uniform(1.95, 2.7))
    elif style < 0.85:
        size = (rng.uniform(6.5, 10.5), rng.uniform(2.2, 2.5), rng.uniform(3.0, 3.8))
    else:
        size = (rng.uniform(9.5, 12.5), rng.uniform(2.45, 2.55), rng.uniform(2.9, 3.3))
    length, width, height = size
    is_van, is_lorry = style < 0.55, 0.55 <= style < 0.85
    paint = jitter(rng, PAINTS[rng.choice(len(PAINTS), p=PAINT_SHARES)])
    if style < 0.85 and rng.random() < 0.55:
        paint = jitter(rng, (0.8, 0.8, 0.8), 0.08)
    half = (length / 2, width / 2, height / 2)
    low = rng.uniform(0.28, 0.5)
    parts = _lorry(rng, half, low, paint) if is_lorry else _one_box(rng, half, low, paint, is_van)
    radius = 0.36 if is_van else 0.48
    for x in (-half[0] * 0.62, half[0] * 0.68):
        for side in (-1, 1):
            place = (x, side * half[1] * 0.9, radius)
            parts.append(_wheel(place, (radius, 0.16, radius), (0.35, 0.35, 0.36)))
    return parts, length


def _wheel(place: tuple[float, float, float], half: tuple[float, float, float], rim: Rgb) -> Part:
    return Part(place, half, Kind.WHEEL, (0.02, 0.02, 0.02), rim, is_round=True)


def _lorry(
    rng: np.random.Generator, half: tuple[float, float, float], low: float, paint: Rgb
) -> list[Part]:
    """Returns the load box, the chassis, and the cab of a lorry."""
    hx, hy, height = half[0], half[1], 2 * half[2]
    cab = rng.uniform(1.6, 2.2)
    box_paints = np.array([(0.75, 0.75, 0.75), (0.3, 0.2, 0.1), (0.1, 0.2, 0.4)])
    load = Part(
        (-cab / 2, 0, (low + 0.5 + height) / 2),
        (hx - cab / 2 - 0.05, hy, (height - low - 0.5) / 2),
        Kind.SIGN,
        jitter(rng, rng.choice(box_paints)),
        jitter(rng, (0.5, 0.3, 0.2), 0.9),
        params=(1.0, 0.0, 0.0, 0.0),
    )
    chassis = Part((0, 0, low + 0.22), (hx * 0.97, hy * 0.8, 0.2), colour=(0.05, 0.05, 0.05))
    cab_height = min(height, rng.uniform(2.2, 2.9))
    body = Part(
        (hx - cab / 2, 0, (low + cab_height * 0.55) / 2),
        (cab / 2, hy * 0.96, (cab_height * 0.55 - low) / 2),
        Kind.CAR_BODY,
        paint,
        params=(cab / 2, hy * 0.96, 1.0, 0.0),
    )
    cabin = Part(
        (hx - cab / 2 - 0.05, 0, cab_height * 0.775),
        (cab / 2 - 0.05, hy * 0.94, cab_height * 0.225),
        Kind.CAR_CABIN,
        paint,
        params=(cab / 2, hy, 0.0, 0.0),
        taper=(0.8, 1.0, 0.92),
    )
    return [load, chassis, body, cabin]


def _one_box(
    rng: np.random.Generator,
    half: tuple[float, float, float],
    low: float,
    paint: Rgb,
    is_van: bool,
) -> list[Part]:
    """Returns the lower and the upper half of a van or bus."""
    hx, hy, height = half[0], half[1], 2 * half[2]
    belt = height * (0.52 if is_van else 0.4)
    is_closed = float(is_van and rng.random() < 0.7)  # a load compartment without windows
    body = Part(
        (0, 0, (low + belt) / 2),
        (hx, hy, (belt - low) / 2),
        Kind.CAR_BODY,
        paint,
        params=(hx, hy, 0.0, 0.0),
        taper=(0.97, 0.99, 0.98),
    )
    cabin = Part(
        (-hx * 0.03, 0, (belt + height) / 2),
        (hx * 0.95, hy * 0.97, (height - belt) / 2),
        Kind.CAR_CABIN,
        paint,
        params=(hx, hy, is_closed, 1.0),
        taper=(rng.uniform(0.65, 0.85) if is_van else 0.98, 0.98, 0.92),
    )
    return [body, cabin]
