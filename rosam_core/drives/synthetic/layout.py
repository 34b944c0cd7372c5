"""Where everything stands along a street, and how it moves."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from rosam_core.drives.synthetic import clutter, objects, vehicles
from rosam_core.drives.synthetic.clutter_layout import add_clutter
from rosam_core.drives.synthetic.parts import Kind, Part, jitter
from rosam_core.drives.synthetic.street import REACH_M, Street

BEHIND_M = 25.0  # objects stand from here on, behind the start of a camera that looks ahead


@dataclasses.dataclass(frozen=True)
class Placed:
    """One object in the world.

    Attributes:
        parts: Its primitives.
        s: Position along the street, or along the ego path if `on_path` [m].
        lateral: Position to the left of the centre line [m].
        heading: Relative to the street [rad].
        speed: Along its heading, for objects that move [m/s].
        on_path: Follows the ego path, `s` metres ahead of the camera's start.
        instance: Object id, 0 = scenery.
        lights: Length and half width [m] of a vehicle with its lights on, or None.
        is_traffic: Vehicle, cyclist or pedestrian: never overlaps another.
    """

    parts: list[Part]
    s: float
    lateral: float
    heading: float = 0.0
    speed: float = 0.0
    on_path: bool = False
    instance: int = 0
    lights: tuple[float, float] | None = None
    is_traffic: bool = False


class Builder:
    """Collects objects while a world is laid out."""

    def __init__(self, rng: np.random.Generator, street: Street, is_odd: bool = False) -> None:
        self.rng, self.street, self.is_odd = rng, street, is_odd
        self.placed: list[Placed] = []
        self.instances = 0

    def add(
        self,
        parts: list[Part],
        s: float,
        lateral: float,
        heading: float = 0.0,
        *,
        speed: float = 0.0,
        on_path: bool = False,
        is_scenery: bool = False,
        lights: tuple[float, float] | None = None,
        is_traffic: bool = False,
    ) -> None:
        """Places one object; scenery gets no id."""
        if not is_scenery:
            self.instances += 1
        self.placed.append(
            Placed(
                parts,
                float(s),
                float(lateral),
                float(heading),
                float(speed),
                on_path,
                0 if is_scenery else self.instances,
                lights,
                is_traffic,
            )
        )

    def vehicle(
        self,
        s: float,
        lateral: float,
        heading: float,
        *,
        speed: float = 0.0,
        on_path: bool = False,
        is_lit: bool = True,
    ) -> float:
        """Places a random vehicle and returns its length [m]."""
        rng = self.rng
        heavy = 0.35 if self.street.style == "industrial" else 0.16
        parts, length = vehicles.van(rng) if rng.random() < heavy else vehicles.car(rng)
        if self.is_odd and rng.random() < 0.6:
            parts = clutter.made_over(rng, parts)
        half_width = max(part.half[1] for part in parts)
        self.add(
            parts,
            s,
            lateral,
            heading,
            speed=speed,
            on_path=on_path,
            lights=(length, half_width) if is_lit else None,
            is_traffic=True,
        )
        return length


def _add_road_side(b: Builder, start: float, end: float, turning: bool) -> None:
    rng, street = b.rng, b.street
    half = street.half_width
    paving = jitter(rng, (0.36, 0.35, 0.33), 0.25)
    verge = street.pavement > 0 and rng.random() < 0.3
    for side in (-1, 1):
        edge = half + street.pavement
        if street.pavement:
            s = start
            while s < end:
                piece = 9.0
                if street.is_crossing(s + piece / 2, piece / 2 + 0.5):
                    s += 1.0
                    continue
                kind = Kind.GRASS if verge and rng.random() < 0.8 else Kind.PAVING
                colour = (0.1, 0.16, 0.05) if kind == Kind.GRASS else paving
                stretch = 1 - side * (half + street.pavement / 2) * street.curvature
                parts = objects.slab(
                    piece * stretch + 0.05, street.pavement, street.curb, kind, colour
                )
                b.add(parts, s + piece / 2, side * (half + street.pavement / 2), is_scenery=True)
                s += piece
        _add_buildings(b, side, start, end, edge)
        _add_furniture(b, side, start, end, edge)
    if turning or rng.random() < 0.5:
        _add_side_street_houses(b)


def _add_buildings(b: Builder, side: int, start: float, end: float, edge: float) -> None:
    rng, street = b.rng, b.street
    density = {"urban": 0.97, "suburb": 0.8, "park": 0.25, "industrial": 0.6, "highway": 0.2}[
        street.style
    ]
    tallest_m = {"urban": 34, "suburb": 9, "park": 18, "industrial": 13, "highway": 16}[
        street.style
    ]
    s = start + rng.uniform(0, 10)
    while s < end:
        width = rng.uniform(7, 26) if street.style != "industrial" else rng.uniform(15, 45)
        gap = (
            rng.uniform(2, 9)
            if street.style in ("suburb", "park", "industrial", "highway")
            else rng.choice([0.0, 0.0, 0.3, 3.5])
        )
        middle = s + width / 2
        if rng.random() < density and not street.is_crossing(middle, width / 2 + 2.0):
            height = rng.uniform(0.35, 1.0) * tallest_m * rng.uniform(0.7, 1.0)
            parts = objects.building(rng, width, rng.uniform(8, 18), max(height, 3.2))
            setback = street.setback + rng.uniform(0, 1.5)
            heading = 0.0 if side > 0 else math.pi
            b.add(parts, middle, side * (edge + setback), heading)
        s += width + gap


def _add_furniture(b: Builder, side: int, start: float, end: float, edge: float) -> None:
    rng, street = b.rng, b.street
    half = street.half_width

    def along(low: float, high: float) -> list[float]:
        points, s = [], start + rng.uniform(0, high)
        while s < end:
            if not street.is_crossing(s, 1.5):
                points.append(s)
            s += rng.uniform(low, high)
        return points

    lamp_height, pitch = rng.uniform(4.5, 10), rng.uniform(18, 40)
    if rng.random() < 0.85:
        for s in along(pitch * 0.95, pitch * 1.05):
            heading = -side * math.pi / 2
            b.add(
                objects.street_lamp(rng, lamp_height, rng.uniform(0.6, 2.0)),
                s,
                side * (half + 0.5),
                heading,
            )
    tree_share = {"urban": 0.4, "suburb": 0.75, "park": 1.0, "industrial": 0.3, "highway": 0.7}[
        street.style
    ]
    if rng.random() < tree_share:
        spacing = rng.uniform(5, 16)
        offset = (
            rng.uniform(0.8, max(street.pavement, 1.5))
            if street.style != "highway"
            else rng.uniform(4, 12)
        )
        for s in along(spacing * 0.7, spacing * 1.3):
            b.add(objects.tree(rng), s, side * (half + offset))
    for s in along(6, 40):
        if rng.random() < 0.35:
            b.add(objects.bush(rng), s, side * (edge + rng.uniform(0.8, 3.5)))
    if street.style in ("suburb", "highway", "industrial", "park") and rng.random() < 0.65:
        for s in along(8, 9):
            if rng.random() < 0.75:
                b.add(objects.wall(rng, 8.0), s, side * (edge + 0.4))
    if street.style in ("park", "highway", "suburb"):
        for s in along(4, 14):
            b.add(
                objects.tree(rng),
                s,
                side * (edge + street.setback * rng.uniform(0.2, 1) + rng.uniform(2, 25)),
            )
    for s in along(12, 55):
        heading = 0.0 if side == street.side else math.pi
        b.add(objects.sign(rng), s, side * (half + rng.uniform(0.4, 1.0)), heading)
    if street.pavement:
        for s in along(3, rng.choice([12, 30, 70])):
            direction, turn = rng.choice([0, math.pi]), rng.uniform(-0.2, 0.2)
            speed = rng.choice([0.0, 1.3])
            heading = direction if speed else direction + turn  # walkers keep to the pavement
            b.add(
                objects.person(rng),
                s,
                side * (half + rng.uniform(0.5, max(street.pavement - 0.3, 0.6))),
                heading,
                speed=speed,
                is_traffic=True,
            )
    if rng.random() < 0.5:
        for s in along(15, 80):
            heading = 0.0 if side == street.side else math.pi
            b.add(
                objects.cyclist(rng),
                s,
                side * (half - street.parking - 0.3),  # beside the vehicles of this lane
                heading,
                speed=rng.uniform(2.5, 6),
                is_traffic=True,
            )


def _add_side_street_houses(b: Builder) -> None:
    rng, street = b.rng, b.street
    if abs(street.curvature) > 1e-9:
        return
    for cross, half in street.crossings:
        for flank in (-1, 1):
            for side in (-1, 1):
                lateral = street.half_width + street.pavement + street.setback + 18
                while lateral < 100:
                    width = rng.uniform(8, 20)
                    if rng.random() < 0.75:
                        parts = objects.building(
                            rng, width, rng.uniform(8, 12), rng.uniform(4, 20)
                        )
                        heading = -math.pi / 2 if flank > 0 else math.pi / 2
                        b.add(
                            parts,
                            cross + flank * (half + 2.5),
                            side * (lateral + width / 2),
                            heading,
                        )
                    lateral += width + rng.choice([0.0, 0.5, 4.0])


def _add_traffic(
    b: Builder,
    start: float,
    end: float,
    lane: float,
    turn_at: int | None,
    speeds: float,
    gaps: Sequence[float],
) -> None:
    rng, street = b.rng, b.street
    if street.parking > 1:
        for side in (-1, 1):
            fullness = rng.uniform(0.1, 0.95)
            s = start + rng.uniform(0, 10)
            lateral = side * (street.half_width - street.parking / 2 + rng.uniform(-0.1, 0.2))
            while s < end:
                if rng.random() < fullness and not street.is_crossing(s, 6):
                    heading = (0.0 if side == street.side else math.pi) + rng.normal(0, 0.03)
                    s += b.vehicle(s, lateral + rng.normal(0, 0.08), heading, is_lit=False) / 2
                s += rng.uniform(3.2, 4.5)
    keep = street.side
    traffic = rng.choice(gaps)
    for direction in (-1, 1):
        for number in range(street.lanes):
            lateral = keep * direction * (number + 0.5) * street.lane_width
            own = direction > 0 and abs(lateral - lane) < street.lane_width * 0.6
            if own:
                continue
            s = start - (80 if direction > 0 else 0) + rng.uniform(0, traffic)
            limit = end + (0 if direction > 0 else 150)
            speed = 0.0 if rng.random() < 0.12 else speeds * rng.uniform(0.6, 1.3)
            while s < limit:
                heading = 0.0 if direction > 0 else math.pi
                s += b.vehicle(
                    s, lateral + rng.normal(0, 0.15), heading, speed=speed
                ) + rng.uniform(4, traffic)
    if rng.random() < 0.65:  # somebody drives ahead in our lane
        ahead = rng.uniform(7, 35) if rng.random() < 0.7 else rng.uniform(30, 70)
        for _ in range(int(rng.integers(1, 4))):
            ahead += b.vehicle(ahead, 0.0, 0.0, on_path=True) + rng.uniform(5, 25)
    for i, (cross, half) in enumerate(street.crossings):
        if i != turn_at and rng.random() < 0.5:
            side = rng.choice([-1, 1])
            heading = -side * math.pi / 2
            b.vehicle(
                cross + side * street.side * half * 0.5,
                side * (street.half_width + rng.uniform(3.5, 9)),
                heading,
            )


def _add_horizon(b: Builder, start: float, end: float, yaw: float) -> None:
    rng = b.rng
    near, ahead = 0.4 * end, 1.0
    if math.cos(yaw) < 0:
        near, ahead = 0.4 * start, -1.0
    for _ in range(int(rng.integers(3, 9))):
        size = rng.uniform(60, 160)
        far, angle = rng.uniform(190, 400) + size / 2, rng.uniform(-1.4, 1.4)
        height = rng.uniform(6, 42)
        colour = jitter(rng, (0.08, 0.12, 0.06), 0.3)
        hill = [Part((0, 0, 0), (size * 0.5, size, height), Kind.FOLIAGE, colour, is_round=True)]
        b.add(
            hill,
            near + ahead * far * math.cos(angle),
            far * math.sin(angle),
            angle,
            is_scenery=True,
        )
    if b.street.style != "park":
        for _ in range(int(rng.integers(0, 14))):
            angle, far = rng.uniform(-0.8, 0.8), rng.uniform(150, 330)
            parts = objects.building(rng, rng.uniform(15, 40), 20, rng.uniform(8, 45))
            b.add(
                parts,
                1.25 * near + ahead * far * math.cos(angle),
                far * math.sin(angle) + np.sign(angle) * 40,
                angle - math.pi / 2,
                is_scenery=True,
            )


def lay_out(
    rng: np.random.Generator,
    street: Street,
    length: float,
    lane: float,
    turn_at: int | None,
    traffic_speed: float,
    yaw: float,
    traffic_gaps: Sequence[float] = (15.0, 30.0, 70.0),
    amount_of_clutter: float = 0.0,
) -> list[Placed]:
    """Fills a street with everything that stands or moves on it.

    Args:
        rng: Source of every choice.
        street: The plan.
        length: Distance that the camera drives [m].
        lane: Lateral position of the camera's lane [m].
        turn_at: Index of the side street that the camera turns into, or None.
        traffic_speed: Typical speed of the other vehicles [m/s].
        yaw: Where the camera looks, relative to where it goes [rad].
        traffic_gaps: Mean gaps in the traffic, one of which is drawn [m].
        amount_of_clutter: See `WorldStyle`; vehicles are then made over, too.
    """
    builder = Builder(rng, street, is_odd=amount_of_clutter > 0)
    # The street reaches as far as is seen: ahead, behind, or half as far both ways at the sides.
    forward, backward = (min(max(0.5 + s * math.cos(yaw), 0.0), 1.0) for s in (1, -1))
    start = -max(BEHIND_M, REACH_M * backward)
    end = length + max(BEHIND_M, REACH_M * forward)
    _add_road_side(builder, start, end, turn_at is not None)
    _add_traffic(builder, start, end, lane, turn_at, traffic_speed, traffic_gaps)
    _add_horizon(builder, start, end, yaw)
    if amount_of_clutter:
        add_clutter(builder, start, end, amount_of_clutter)
    return builder.placed
