"""What a world promises for a drive: nothing is driven through, walkers keep off the road."""

import dataclasses
import math

import numpy as np
import pytest

from rosam_core.drives.synthetic import clearance
from rosam_core.drives.synthetic.layout import Placed
from rosam_core.drives.synthetic.parts import Kind, Part
from rosam_core.drives.synthetic.street import REACH_M, random_street
from rosam_core.drives.synthetic.trajectory import speed_profile
from rosam_core.drives.synthetic.world import generate_world

SECONDS, FPS = 20, 5.0
SEEDS = range(8)


@pytest.fixture(scope="module")
def worlds():
    return [generate_world(seed, int(SECONDS * FPS), FPS) for seed in SEEDS]


def is_person(thing: Placed) -> bool:
    kinds = {part.kind for part in thing.parts}
    return thing.is_traffic and Kind.CAR_BODY not in kinds and Kind.WHEEL not in kinds


def test_the_same_seed_gives_the_same_world() -> None:
    a, b = (generate_world(3, 10, 10.0) for _ in range(2))
    for name in ("shape", "material", "owner", "path", "travel"):
        assert np.array_equal(getattr(a, name), getattr(b, name)), name
    assert a.street.style == b.street.style
    assert not np.array_equal(a.shape[:50], generate_world(4, 10, 10.0).shape[:50])


def test_worlds_differ_in_what_training_needs() -> None:
    many = [generate_world(seed, 4, 10.0) for seed in range(40)]
    assert len({world.street.style for world in many}) == 5
    fov = [world.camera.fov_x_deg for world in many]
    assert min(fov) < 50
    assert max(fov) > 85
    height = [world.mount[0] for world in many]
    assert min(height) < 1.3
    assert max(height) > 1.8
    turned = [abs(world.path[-1, 2] - world.path[0, 2]) > 1.2 for world in many]
    assert 0.03 < np.mean(turned) < 0.6
    principal = [(world.camera.cx - (576 - 1) / 2) / 576 for world in many]
    assert np.std(principal) > 0.01


def test_some_drives_stop() -> None:
    travels = [speed_profile(np.random.default_rng(s), 200, 10.0, False) for s in range(40)]
    assert all((np.diff(travel) >= 0).all() for travel in travels)
    assert 0.1 < np.mean([(np.diff(travel) < 0.02).any() for travel in travels]) < 0.9
    fast = [speed_profile(np.random.default_rng(s), 200, 10.0, True) for s in range(40)]
    assert min(np.diff(travel).min() for travel in fast) > 0.8  # m, at 10 frames/s


def test_nothing_comes_near_the_camera(worlds) -> None:
    for world in worlds:
        assert not clearance.near_camera(world, 1.19).any(), world.seed


def test_traffic_never_overlaps(worlds) -> None:
    for world in worlds:
        assert not clearance.colliding(world).any(), world.seed


def test_people_stay_on_the_pavement(worlds) -> None:
    walkers = 0
    for world in worlds:
        for thing in filter(is_person, world.placed):
            inner, outer = world.street.half_width, world.street.half_width + world.street.pavement
            for time in (0.0, SECONDS):
                lateral = abs(thing.lateral + thing.speed * time * math.sin(thing.heading))
                assert inner < lateral < max(outer, inner + 0.7)
            walkers += thing.speed > 0
    assert walkers > 10


def test_a_long_street_does_not_bend_into_itself() -> None:
    for seed in range(150):
        street = random_street(np.random.default_rng(seed), 40 * 14.0)
        length = (40 * 30 if street.style == "highway" else 40 * 14) + REACH_M
        assert abs(street.curvature) * length <= 5.0 + 1e-9


def moved(things: list[Placed], travel=(0.0, 10.0, 20.0)):
    """A straight street with these things; the camera drives along y = 0, 1.5 m high."""
    made = generate_world(0, 3, 1.0)
    distance = np.arange(-5, 100, 0.25)
    zero = np.zeros_like(distance)
    return dataclasses.replace(
        made,
        street=dataclasses.replace(made.street, curvature=0.0),
        shape=np.array([part.shape_row() for thing in things for part in thing.parts]),
        material=np.array([part.material_row(0.0) for thing in things for part in thing.parts]),
        owner=np.array([i for i, thing in enumerate(things) for _ in thing.parts]),
        placed=things,
        path=np.column_stack([distance, zero, zero, distance]),
        travel=np.array(travel),
        mount=(1.5, 0.0, 0.0, 0.0),
    )


def pillar(s: float, lateral: float, **rest: object) -> Placed:
    return Placed([Part((0, 0, 1), (0.5, 0.25, 1.0))], s, lateral, **rest)  # type: ignore[arg-type]


def test_clearance_is_measured_to_the_box() -> None:
    # The camera is at x = 0, 10 and 20. Sides of the pillars lie 0.25 m from their middle, ends
    # 0.5 m; a turned one shows its end.
    things = [
        pillar(10, 1.44),
        pillar(10, 1.46),
        pillar(10, 1.6, heading=math.pi / 2),
        pillar(10, 1.71, heading=math.pi / 2),
        pillar(5, 0),  # between two frames
        pillar(30, 0.5, speed=-10.0),  # comes to x = 20 when the camera is at 10, x = 10 at 20
        pillar(40, 0.5, speed=-10.0),  # at x = 20 when the camera is
        Placed([Part((0, 0, 0.1), (5, 5, 0.1))], 10, 0),  # pavement
        Placed([Part((0, 0, 4.0), (5, 5, 1.2))], 10, 0),  # a bridge, 1.3 m above the camera
        Placed([Part((0, 0, 4.0), (5, 5, 1.4))], 10, 0),  # 1.1 m
    ]
    expected = [True, False, True, False, False, False, True, False, False, True]
    world = moved(things)
    assert clearance.near_camera(world).tolist() == expected
    rest = world.without(np.array(expected))
    assert len(rest.placed) == 6
    assert len(rest.shape) == len(rest.material) == 6
    assert rest.owner.tolist() == [0, 1, 2, 3, 4, 5]
    assert not clearance.near_camera(rest).any()


def vehicle(s: float, lateral: float, **rest: object) -> Placed:
    return Placed(
        [Part((0, 0, 1), (2.0, 1.0, 0.7), Kind.CAR_BODY)], s, lateral, is_traffic=True, **rest
    )  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("pair", "expected"),
    [
        ((vehicle(0, 5), vehicle(3.9, 5)), [False, True]),  # of equals the first stays
        ((vehicle(0, 5), vehicle(4.2, 5)), [False, False]),
        ((vehicle(0, 5), vehicle(0, 6.9)), [False, True]),
        ((vehicle(0, 5), vehicle(0, 7.2)), [False, False]),
        ((vehicle(0, 5), vehicle(2.6, 5.9, heading=math.pi / 2)), [False, True]),
        ((vehicle(0, 5), vehicle(3.3, 5.9, heading=math.pi / 2)), [False, False]),
        # Diagonal neighbours whose upright boxes overlap, but not they themselves.
        (
            (vehicle(0, 5, heading=math.pi / 4), vehicle(1.7, 3.3, heading=math.pi / 4)),
            [False, False],
        ),
        ((vehicle(20, 5), vehicle(30, 5, speed=-10.0)), [True, False]),  # standing gives way
        ((vehicle(20, 0.5, speed=1.0), vehicle(10, 0, on_path=True)), [True, False]),
        ((pillar(0, 5, is_traffic=True), vehicle(1, 5)), [True, False]),  # people give way
        ((pillar(0, 5), vehicle(1, 5)), [False, False]),  # scenery is left alone
    ],
)
def test_of_two_that_collide_one_goes(pair, expected) -> None:
    assert clearance.colliding(moved(list(pair))).tolist() == expected


def test_what_cannot_be_made_is_said() -> None:
    for arguments in ((0, 10.0, (64, 64)), (1, 0.0, (64, 64)), (1, 10.0, (64, 4))):
        with pytest.raises(ValueError, match="need frames >= 1, fps > 0 and a size of 8 px"):
            generate_world(0, *arguments)
