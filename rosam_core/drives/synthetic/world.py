"""A seeded street world: what is in it, where that is at any time and where the camera goes."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt

from rosam_core.drives.synthetic import clearance
from rosam_core.drives.synthetic.layout import Placed, lay_out
from rosam_core.drives.synthetic.parts import Kind
from rosam_core.drives.synthetic.street import Street, random_street
from rosam_core.drives.synthetic.style import WORLD_STYLES, WorldStyle
from rosam_core.drives.synthetic.trajectory import ego_path, random_camera, speed_profile
from rosam_core.types import Camera, Float64


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
        path: float64[m,4], ego path at 0.25 m steps: x, y [m], heading [rad], arc length [m].
        travel: float64[k], arc length driven by frame [m].
        fps: Frames a second.
        camera: Intrinsics.
        mount: Height [m], pitch, roll, yaw [rad] of the camera on the vehicle.
        style: What it has in common with others.
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
    style: WorldStyle

    def __len__(self) -> int:
        """Returns the number of frames."""
        return len(self.travel)

    def on_path(self, distance: float) -> tuple[float, float, float]:
        """Returns x, y [m] and heading [rad] at an arc length of the ego path."""
        arc = self.path[:, 3]
        x, y, heading = (float(np.interp(distance, arc, self.path[:, i])) for i in range(3))
        return x, y, heading

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

    def without(self, gone: npt.NDArray[np.bool_]) -> World:
        """Returns the world without some objects; the others keep their ids.

        Args:
            gone: bool[n], one for each object.
        """
        if not gone.any():
            return self
        stays = ~gone[self.owner]
        return dataclasses.replace(
            self,
            shape=self.shape[stays],
            material=self.material[stays],
            owner=(np.cumsum(~gone) - 1)[self.owner[stays]],
            placed=[thing for thing, out in zip(self.placed, gone, strict=True) if not out],
        )

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
        pitch = pitch + math.radians(0.25) * math.sin(distance * 0.9) * math.sin(distance * 0.23)
        cy, sy = math.cos(heading + yaw), math.sin(heading + yaw)
        T_world_body = np.array([[cy, -sy, 0, x], [sy, cy, 0, y], [0, 0, 1, height], [0, 0, 0, 1]])
        cp, sp, cr, sr = math.cos(pitch), math.sin(pitch), math.cos(roll), math.sin(roll)
        tilt = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])  # positive looks down
        lean = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
        optical = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
        T_body_camera = np.eye(4)
        T_body_camera[:3, :3] = tilt @ lean @ optical
        return T_world_body @ T_body_camera


def generate_world(
    seed: int,
    frames: int,
    fps: float = 10.0,
    size: tuple[int, int] = (576, 320),
    fov_deg: float | None = None,
    style: str = "any",
    camera_height_m: float | None = None,
    camera_pitch_deg: float | None = None,
) -> World:
    """Lays out a street and everything on it.

    Args:
        seed: The same seed gives the same world.
        frames: Length of the drive, >= 1.
        fps: Frames a second, > 0.
        size: Width and height of the images [px].
        fov_deg: Horizontal field of view; random, from 40 to 110 degrees in style "any", if None.
        style: Name of one of `WORLD_STYLES`.
        camera_height_m: Of the camera above the road, random as the style has it if None.
        camera_pitch_deg: How far down the camera looks, random if None.

    Raises:
        ValueError: A count, a rate or a size is not positive, or there is no such style.
    """
    if frames < 1 or fps <= 0 or min(size) < 8:
        raise ValueError(
            f"need frames >= 1, fps > 0 and a size of 8 px or more, got {frames}, {fps}, {size}"
        )
    if style not in WORLD_STYLES:
        raise ValueError(f"no world style '{style}': choose from {', '.join(WORLD_STYLES)}")
    look = WORLD_STYLES[style]
    rng = np.random.default_rng([seed, 7919])
    camera = random_camera(rng, size[0], size[1], fov_deg, look.fov_deg)
    is_low = rng.random() < 0.1
    height = float(rng.uniform(0.9, 1.3) if is_low else rng.uniform(1.3, 1.95))
    if look.height_m is not None:
        height = float(rng.uniform(*look.height_m))
    mount = (
        height,
        math.radians(rng.normal(0.5, 1.8)),
        math.radians(rng.normal(0, 0.8)),
        math.radians(
            rng.normal(0, 1.5) if rng.random() < 0.6 or look.is_front else rng.uniform(-180, 180)
        ),
    )
    mount = (
        mount[0] if camera_height_m is None else camera_height_m,
        mount[1] if camera_pitch_deg is None else math.radians(camera_pitch_deg),
        *mount[2:],
    )
    street_rng, speed_seed = np.random.default_rng([seed, 1]), np.random.default_rng([seed, 2])
    street = random_street(street_rng, frames / fps * 14, look.streets)
    travel = speed_profile(speed_seed, frames, fps, street.style == "highway")
    length = float(travel[-1])
    lane = street.side * (int(rng.integers(0, street.lanes)) + 0.5) * street.lane_width
    path, turn_at = ego_path(rng, street, lane, length)
    traffic_speed = max(3.0, length / max(frames / fps, 0.1))
    placed = lay_out(
        rng,
        street,
        length,
        lane,
        turn_at,
        traffic_speed,
        mount[3],
        look.gaps_m,
        look.clutter,
    )
    shape, material, owner = [], [], []
    for i, thing in enumerate(placed):
        for part in thing.parts:
            shape.append(part.shape_row())
            row = part.material_row(float(rng.uniform(0, 64)))
            if part.kind == Kind.CAR_BODY:
                row[4] = 1.0 if thing.lights else 0.0  # its lamps are lit at night
            material.append(look.material(row))
            owner.append(i)
    world = World(
        seed,
        street,
        np.array(shape),
        np.array(material),
        np.array(owner, dtype=np.int64),
        placed,
        path,
        travel,
        fps,
        camera,
        mount,
        look,
    )
    world = world.without(clearance.near_camera(world))
    return world.without(clearance.colliding(world))
