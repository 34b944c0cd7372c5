"""Small made scenes for the tests of the synthetic world; needs torch."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import torch

from rosam_core.drives.synthetic.layout import Placed
from rosam_core.drives.synthetic.parts import Part
from rosam_core.drives.synthetic.raycast import TILE, Solids, cast, solids_of
from rosam_core.drives.synthetic.world import World, generate_world
from rosam_core.types import Camera

CAMERA = Camera(100.0, 100.0, 63.5, 31.5, 128, 64)
BEHIND = Placed([Part((0, 0, 1), (0.5, 0.5, 1))], -40.0, 0.0)  # a world is never quite empty


def scene(
    placed: Sequence[Placed],
    camera: Camera = CAMERA,
    mount: tuple[float, float, float, float] = (1.5, 0.0, 0.0, 0.0),
    travel: Sequence[float] = (0.0,),
) -> World:
    """A straight street along x with just these things on it; the camera drives along y = 0."""
    things = [*placed, BEHIND]
    made = generate_world(0, 1)
    distance = np.arange(-5, 200, 0.25)
    zero = np.zeros_like(distance)
    street = dataclasses.replace(made.street, curvature=0.0, crossings=np.zeros((0, 2)))
    return dataclasses.replace(
        made,
        street=street,
        shape=np.array([part.shape_row() for thing in things for part in thing.parts]),
        material=np.array([part.material_row(1.0) for thing in things for part in thing.parts]),
        owner=np.array([i for i, thing in enumerate(things) for _ in thing.parts]),
        placed=things,
        path=np.column_stack([distance, zero, zero, distance]),
        travel=np.array(travel),
        camera=camera,
        mount=mount,
    )


def solids(*placed: Placed) -> Solids:
    """Primitives of such a scene, without the one that stands behind."""
    made = solids_of(scene(placed), 0, torch.device("cpu"))
    return made.take(torch.arange(len(made.half) - 1))


def block(
    half: tuple[float, float, float], x: float, y: float = 0.0, z: float = 1.0, **shape: object
) -> Placed:
    """One primitive whose middle is at (x, y, z)."""
    return Placed([Part((0, 0, z), half, **shape)], x, y)  # type: ignore[arg-type]


def shoot(
    primitives: Solids, origin: Sequence[float], direction: Sequence[float]
) -> tuple[float, int]:
    """Casts one ray; returns its parameter and the primitive it hits."""
    everywhere = torch.tensor([[0.0, 0.0, TILE - 1, TILE - 1]]).expand(len(primitives.half), 4)
    rays = torch.tensor([[direction]]).float().expand(1, TILE * TILE, 3)
    t, index = cast(primitives, everywhere, torch.tensor([[origin]]).float(), rays, 1, 1)
    assert torch.equal(t, t[:, :1].expand_as(t))
    return float(t[0, 0]), int(index[0, 0])


def clutter(count: int, seed: int) -> list[Placed]:
    """Random boxes, tapered boxes and ellipsoids in front of the camera."""
    rng = np.random.default_rng(seed)
    things = []
    for i in range(count):
        half = tuple(rng.uniform(0.2, 2.0, 3))
        part = Part(
            (0, 0, rng.uniform(0.2, 5)),
            half,
            yaw=rng.uniform(0, math.pi),
            taper=tuple(rng.uniform(0.1, 1.0, 3)),
            is_round=bool(i % 3 == 0),
        )
        s, lateral = rng.uniform(1.0, 45), rng.uniform(-15, 15)
        things.append(Placed([part], s, lateral, rng.uniform(0, 6), instance=i + 1))
    return things
