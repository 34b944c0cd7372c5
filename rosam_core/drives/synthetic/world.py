"""A seeded street world: where everything stands, how it moves and where the camera goes.

A street is described in its own coordinates, `s` along the centre line and `lateral` to the left
of it, and bent onto a circle of constant curvature. All lengths are metres, z is up, the ground is z = 0.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from rosam_core.drives.synthetic import objects
from rosam_core.drives.synthetic.objects import Kind, Part
from rosam_core.types import Camera, Float64

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
        lane_width: [m].
        parking: Width of the parking strip on each side [m], 0 = none.
        pavement: Width of the raised pavement [m], 0 = none.
        curb: Height of the pavement [m].
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
        lights: Length and half width of a vehicle with its lights on, or None.
    """

    parts: list[Part]
    s: float
    lateral: float
    heading: float = 0.0
    speed: float = 0.0
    on_path: bool = False
    instance: int = 0
    lights: tuple[float, float] | None = None


@dataclasses.dataclass(frozen=True)
class World:
    """Everything a renderer needs, at any time.

    Attributes:
        seed: It was generated from this.
        street: The plan.
        shape: float64[n, PART_FIELDS].
        material: float64[n, MATERIAL_FIELDS].
        owner: int64[n], index of the object a part belongs to.
        placed: The objects.
        path: float64[m,4], ego path at 0.25 m steps: x, y, heading, arc length.
        travel: float64[k], arc length driven by frame [m].
        fps: Frames a second.
        camera: Intrinsics.
        mount: Height [m], pitch, roll, yaw [rad] of the camera on the vehicle.
    """

    seed: int
    street: Street
    shape: Float64
    material: Float64
    owner: np.ndarray
    placed: list[Placed]
    path: Float64
    travel: Float64
    fps: float
    camera: Camera
    mount: tuple[float, float, float, float]

    def __len__(self) -> int:
        """Returns the number of frames."""
        return len(self.travel)

    def on_path(self, distance: float) -> tuple[float, float, float]:
        """Returns x, y [m] and heading [rad] at an arc length of the ego path."""
        arc = self.path[:, 3]
        return tuple(float(np.interp(distance, arc, self.path[:, i])) for i in range(3))  # type: ignore[return-value]

    def object_poses(self, index: int) -> Float64:
        """Returns float64[n,3], x, y [m] and heading [rad] of every object at a frame."""
        time = index / self.fps
        poses = np.empty((len(self.placed), 3))
        for i, thing in enumerate(self.placed):
            if thing.on_path:
                poses[i] = self.on_path(self.travel[index] + thing.s)
                continue
            direction = math.cos(thing.heading)
            s = thing.s + thing.speed * time * direction
            lateral = thing.lateral + thing.speed * time * math.sin(thing.heading)
            x, y, angle = self.street.to_world(s, lateral)
            poses[i] = (x, y, angle + thing.heading)
        return poses

    def speed(self, index: int) -> float:
        """Returns the speed of the camera at a frame [m/s]."""
        if len(self.travel) < 2:
            return 0.0
        i = min(index, len(self.travel) - 2)
        return float(self.travel[i + 1] - self.travel[i]) * self.fps

    def camera_pose(self, index: int) -> Float64:
        """Returns T_world_camera of a frame, float64[4,4], camera x right, y down, z forward."""
        return self.camera_pose_at(float(self.travel[index]))

    def camera_pose_at(self, distance: float) -> Float64:
        """Returns T_world_camera, float64[4,4], `distance` metres along the ego path."""
        x, y, heading = self.on_path(distance)
        height, pitch, roll, yaw = self.mount
        phase = distance
        pitch = pitch + math.radians(0.25) * math.sin(phase * 0.9) * math.sin(phase * 0.23)
        cy, sy = math.cos(heading + yaw), math.sin(heading + yaw)
        T_world_body = np.array([[cy, -sy, 0, x], [sy, cy, 0, y], [0, 0, 1, height], [0, 0, 0, 1]])
        cp, sp, cr, sr = math.cos(pitch), math.sin(pitch), math.cos(roll), math.sin(roll)
        R_pitch = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])  # positive looks down
        R_roll = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
        R_body_optical = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
        T_body_camera = np.eye(4)
        T_body_camera[:3, :3] = R_pitch @ R_roll @ R_body_optical
        return T_world_body @ T_body_camera


def random_camera(
    rng: np.random.Generator, width: int, height: int, fov_deg: float | None
) -> Camera:
    """Returns a camera of random field of view (40-95 degrees) and principal point."""
    fov = fov_deg if fov_deg is not None else float(rng.uniform(40, 95))
    f = width / (2 * math.tan(math.radians(fov) / 2))
    cx = (width - 1) / 2 + width * rng.uniform(-0.04, 0.04)
    cy = (height - 1) / 2 + height * rng.uniform(-0.06, 0.06)
    return Camera(f, f * rng.uniform(0.99, 1.01), cx, cy, width, height)


def _random_street(rng: np.random.Generator, length: float) -> Street:
    style = str(rng.choice(np.array(STYLES), p=STYLE_SHARES))
    is_highway = style == "highway"
    lanes = int(rng.integers(2, 4)) if is_highway else int(rng.choice([1, 1, 1, 2, 2, 3]))
    bends = rng.random() < 0.45
    crossings = []
    if not is_highway:
        s = rng.uniform(-40, 60)
        while s < length + REACH_M:
            crossings.append((s, rng.uniform(3.0, 7.0)))
            s += rng.uniform(45, 160)
    asphalt = rng.uniform(0.05, 0.26) * (1 + rng.uniform(-0.06, 0.06, 3))
    land = rng.choice(
        np.array([(0.1, 0.16, 0.05), (0.2, 0.17, 0.1), (0.3, 0.29, 0.27), (0.14, 0.15, 0.06)])
    )
    return Street(
        style=style,
        curvature=float(rng.choice([-1, 1]) / rng.uniform(70, 500)) if bends else 0.0,
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


def _ego_path(
    rng: np.random.Generator, street: Street, lane: float, length: float
) -> tuple[Float64, int | None]:
    """Returns the path and, where it turns off, the index of the side street."""
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


def _speed_profile(rng: np.random.Generator, frames: int, fps: float, fast: bool) -> Float64:
    """Returns the distance driven by each frame; cruises, slows down, stops, starts."""
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


class _Builder:
    """Collects objects while a world is laid out."""

    def __init__(self, rng: np.random.Generator, street: Street) -> None:
        self.rng, self.street = rng, street
        self.placed: list[Placed] = []
        self.instances = 0

    def add(
        self,
        parts: list[Part],
        s: float,
        lateral: float,
        heading: float = 0.0,
        *,
        scenery: bool = False,
        **rest: object,
    ) -> None:
        if not scenery:
            self.instances += 1
        self.placed.append(
            Placed(
                parts,
                float(s),
                float(lateral),
                float(heading),
                instance=0 if scenery else self.instances,
                **rest,
            )  # type: ignore[arg-type]
        )

    def vehicle(
        self,
        s: float,
        lateral: float,
        heading: float,
        speed: float = 0.0,
        lit: bool = True,
        **rest: object,
    ) -> float:
        rng = self.rng
        heavy = 0.35 if self.street.style == "industrial" else 0.16
        parts, length = objects.van(rng) if rng.random() < heavy else objects.car(rng)
        half_width = max(part.half[1] for part in parts)
        self.add(
            parts,
            s,
            lateral,
            heading,
            speed=speed,
            lights=(length, half_width) if lit else None,
            **rest,
        )
        return length


def _add_road_side(b: _Builder, start: float, end: float, turning: bool) -> None:
    rng, street = b.rng, b.street
    half = street.half_width
    paving = objects._jitter(rng, (0.36, 0.35, 0.33), 0.25)
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
                b.add(parts, s + piece / 2, side * (half + street.pavement / 2), scenery=True)
                s += piece
        _add_buildings(b, side, start, end, edge)
        _add_furniture(b, side, start, end, edge)
    if turning or rng.random() < 0.5:
        _add_side_street_houses(b)


def _add_buildings(b: _Builder, side: int, start: float, end: float, edge: float) -> None:
    rng, street = b.rng, b.street
    density = {"urban": 0.97, "suburb": 0.8, "park": 0.25, "industrial": 0.6, "highway": 0.2}[
        street.style
    ]
    tallest = {"urban": 34, "suburb": 9, "park": 18, "industrial": 13, "highway": 16}[street.style]
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
            height = rng.uniform(0.35, 1.0) * tallest * rng.uniform(0.7, 1.0)
            parts = objects.building(rng, width, rng.uniform(8, 18), max(height, 3.2))
            setback = street.setback + rng.uniform(0, 1.5)
            heading = 0.0 if side > 0 else math.pi
            b.add(parts, middle, side * (edge + setback), heading)
        s += width + gap


def _add_furniture(b: _Builder, side: int, start: float, end: float, edge: float) -> None:
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
                b.add(objects.wall(rng, 8.0), s, side * (edge + 0.4), scenery=False)
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
            heading = rng.choice([0, math.pi]) + rng.uniform(-0.2, 0.2)
            speed = rng.choice([0.0, 1.3])
            b.add(
                objects.person(rng),
                s,
                side * (half + rng.uniform(0.5, max(street.pavement - 0.3, 0.6))),
                heading,
                speed=speed,
            )
    if rng.random() < 0.5:
        for s in along(15, 80):
            heading = 0.0 if side == street.side else math.pi
            b.add(
                objects.cyclist(rng),
                s,
                side * (half - street.parking - 0.5),
                heading,
                speed=rng.uniform(2.5, 6),
            )


def _add_side_street_houses(b: _Builder) -> None:
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
    b: _Builder, start: float, end: float, lane: float, turn_at: int | None, speeds: float
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
                    s += b.vehicle(s, lateral + rng.normal(0, 0.08), heading, lit=False) / 2
                s += rng.uniform(3.2, 4.5)
    keep = street.side
    traffic = rng.choice([15.0, 30.0, 70.0])
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


def _add_horizon(b: _Builder, end: float) -> None:
    rng = b.rng
    for _ in range(int(rng.integers(3, 9))):
        size = rng.uniform(60, 160)
        far, angle = rng.uniform(190, 400) + size / 2, rng.uniform(-1.4, 1.4)
        height = rng.uniform(6, 42)
        colour = objects._jitter(rng, (0.08, 0.12, 0.06), 0.3)
        hill = [Part((0, 0, 0), (size * 0.5, size, height), Kind.FOLIAGE, colour, is_round=True)]
        b.add(hill, end * 0.4 + far * math.cos(angle), far * math.sin(angle), angle, scenery=True)
    if b.street.style != "park":
        for _ in range(int(rng.integers(0, 14))):
            angle, far = rng.uniform(-0.8, 0.8), rng.uniform(150, 330)
            parts = objects.building(rng, rng.uniform(15, 40), 20, rng.uniform(8, 45))
            b.add(
                parts,
                end * 0.5 + far * math.cos(angle),
                far * math.sin(angle) + np.sign(angle) * 40,
                angle - math.pi / 2,
                scenery=True,
            )


def generate_world(
    seed: int,
    frames: int,
    fps: float = 10.0,
    size: tuple[int, int] = (576, 320),
    fov_deg: float | None = None,
) -> World:
    """Lays out a street and everything on it.

    Args:
        seed: The same seed gives the same world.
        frames: Length of the drive, >= 1.
        fps: Frames a second, > 0.
        size: Width and height of the images [px].
        fov_deg: Horizontal field of view; random between 40 and 95 degrees if None.

    Raises:
        ValueError: A count, a rate or a size is not positive.
    """
    if frames < 1 or fps <= 0 or min(size) < 8:
        raise ValueError(
            f"need frames >= 1, fps > 0 and a size of 8 px or more, got {frames}, {fps}, {size}"
        )
    rng = np.random.default_rng([seed, 7919])
    camera = random_camera(rng, size[0], size[1], fov_deg)
    is_low = rng.random() < 0.1
    height = float(rng.uniform(0.9, 1.3) if is_low else rng.uniform(1.3, 1.95))
    mount = (
        height,
        math.radians(rng.normal(0.5, 1.8)),
        math.radians(rng.normal(0, 0.8)),
        math.radians(rng.normal(0, 1.5) if rng.random() < 0.8 else rng.uniform(-60, 60)),
    )
    street_rng, speed_seed = np.random.default_rng([seed, 1]), np.random.default_rng([seed, 2])
    street = _random_street(street_rng, frames / fps * 14)
    travel = _speed_profile(speed_seed, frames, fps, street.style == "highway")
    length = float(travel[-1])
    lane = street.side * (int(rng.integers(0, street.lanes)) + 0.5) * street.lane_width
    path, turn_at = _ego_path(rng, street, lane, length)
    builder = _Builder(rng, street)
    start, end = -25.0, length + REACH_M
    _add_road_side(builder, start, end, turn_at is not None)
    _add_traffic(builder, start, end, lane, turn_at, max(3.0, length / max(frames / fps, 0.1)))
    _add_horizon(builder, end)
    shape, material, owner = [], [], []
    for i, thing in enumerate(builder.placed):
        for part in thing.parts:
            shape.append(part.shape_row())
            row = part.material_row(float(rng.uniform(0, 64)))
            if part.kind == Kind.CAR_BODY:
                row[4] = 1.0 if thing.lights else 0.0  # its lamps are lit at night
            material.append(row)
            owner.append(i)
    return World(
        seed,
        street,
        np.array(shape),
        np.array(material),
        np.array(owner, dtype=np.int64),
        builder.placed,
        path,
        travel,
        fps,
        camera,
        mount,
    )
