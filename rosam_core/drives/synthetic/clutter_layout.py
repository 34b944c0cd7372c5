"""Where things of no kind stand: on the pavement, at its edge, on the road and across it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rosam_core.drives.synthetic import clutter

if TYPE_CHECKING:  # which places this among the rest
    from rosam_core.drives.synthetic.layout import Builder


def add_clutter(b: Builder, start: float, end: float, amount: float) -> None:
    """Adds things of no kind.

    Args:
        b: The street and what stands there already.
        start: From here on along the street [m].
        end: To here [m].
        amount: 1 = as many as in a cluttered world.
    """
    rng, street = b.rng, b.street
    half, edge = street.half_width, street.half_width + street.pavement

    def along(pitch: float) -> list[float]:
        return sorted(rng.uniform(start, end, int(rng.poisson(amount * (end - start) / pitch))))

    for side in (-1, 1):
        for s in along(rng.choice([8.0, 16.0, 40.0])):  # on the pavement and behind it
            lateral = half + rng.uniform(0.4, street.pavement + street.setback + 2)
            thing = rng.random()
            if thing < 0.65:
                b.add(clutter.heap(rng), s, side * lateral, rng.uniform(0, math.pi))
            elif thing < 0.8:
                b.add(clutter.bench(rng), s, side * lateral, rng.uniform(-0.3, 0.3))
            else:
                b.add(clutter.odd_tree(rng), s, side * lateral)
        for s in along(rng.choice([20.0, 60.0])):  # at the edge of the road
            lateral = half - rng.uniform(-0.5, 1.5)
            parts = clutter.barrier(rng) if rng.random() < 0.4 else clutter.heap(rng, 2.0)
            b.add(parts, s, side * lateral, rng.normal(0, 0.1), is_traffic=True)
        for s in along(25.0):  # vehicles parked on the pavement, in drives, across
            if not street.is_crossing(s, 4):
                parts, _ = clutter.odd_vehicle(rng)
                lateral = half + rng.uniform(-1.0, 2.0 + street.setback)
                heading = rng.choice([0.0, math.pi / 2, math.pi]) + rng.normal(0, 0.15)
                b.add(parts, s, side * lateral, heading, is_traffic=True)
        if street.pavement and rng.random() < 0.5:
            for s in along(70.0):
                length = rng.uniform(4, 30)
                if not street.is_crossing(s, length / 2 + 1):
                    deep = rng.uniform(1.0, street.pavement + street.setback)
                    parts = clutter.colonnade(rng, length, deep)
                    heading = 0.0 if side > 0 else math.pi
                    lateral = edge + street.setback - deep + rng.uniform(-0.3, 0.3)
                    b.add(parts, s, side * lateral, heading)
    for s in along(rng.choice([25.0, 80.0])):  # on the road
        b.add(clutter.heap(rng, 2.5), s, rng.uniform(-half, half), is_traffic=True)
    for s in along(8.0):
        lateral = rng.uniform(-half, half)
        b.add(clutter.patch(rng), s, lateral, rng.uniform(0, math.pi), is_scenery=True)
    if rng.random() < 0.4:
        for s in along(90.0):
            b.add(clutter.bridge(rng, 2 * edge + rng.uniform(0, 4)), s, 0.0)
