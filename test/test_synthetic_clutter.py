"""Things of no kind: solid, on the ground, out of the way, and in cluttered worlds alone."""

from __future__ import annotations

import numpy as np
import pytest

from rosam_core.drives.synthetic import clutter, vehicles
from rosam_core.drives.synthetic.clearance import near_camera
from rosam_core.drives.synthetic.parts import Kind
from rosam_core.drives.synthetic.world import generate_world

SEEDS = range(40)
BUILDERS = {
    "heap": clutter.heap,
    "barrier": clutter.barrier,
    "bench": clutter.bench,
    "colonnade": lambda rng: clutter.colonnade(rng, 12.0, 4.0),
    "bridge": lambda rng: clutter.bridge(rng, 14.0),
    "patch": clutter.patch,
    "odd_vehicle": lambda rng: clutter.odd_vehicle(rng)[0],
    "odd_tree": clutter.odd_tree,
}


@pytest.mark.parametrize("name", BUILDERS)
def test_everything_is_solid_and_stands_on_the_ground(name):
    for seed in SEEDS:
        parts = BUILDERS[name](np.random.default_rng(seed))
        assert parts
        assert min(min(part.half) for part in parts) > 0
        assert min(part.centre[2] - part.half[2] for part in parts) < 0.4  # vehicles have wheels
        assert all(part.centre[2] > 0 for part in parts)
        assert all(0 < value < 1 for part in parts for value in (*part.colour, *part.colour2))


def test_a_patch_is_no_obstacle_and_a_bridge_leaves_room_for_a_lorry():
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        assert max(p.centre[2] + p.half[2] for p in clutter.patch(rng)) < 0.01
        beam = clutter.bridge(rng, 14.0)[0]
        assert beam.centre[2] - beam.half[2] > 4.5


def test_a_vehicle_that_is_made_over_keeps_about_its_length_and_its_wheels():
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        parts, length = vehicles.car(rng)
        odd = clutter.made_over(rng, parts)
        ends = [p.centre[0] + s * p.half[0] for p in odd for s in (-1, 1)]
        assert 0.8 * length < max(ends) - min(ends) < 1.4 * length
        assert sum(p.kind == Kind.WHEEL for p in odd) == 4


def test_only_cluttered_worlds_hold_clutter(monkeypatch):
    plain = generate_world(3, 2, 10.0, (160, 96))
    full = generate_world(3, 2, 10.0, (160, 96), style="cluttered")
    assert len(full.placed) > 1.1 * len(plain.placed)
    kinds = {int(kind) for kind in full.material[:, 0]}
    assert int(Kind.LEAVES) in kinds
    assert int(Kind.LEAVES) not in {int(kind) for kind in plain.material[:, 0]}

    def never(*_, **__):
        raise AssertionError("clutter in a tidy world")

    for name in ("heap", "made_over", "patch", "bridge", "colonnade"):
        monkeypatch.setattr(clutter, name, never)
    assert np.array_equal(generate_world(3, 2, 10.0, (160, 96)).shape, plain.shape)


def test_the_camera_drives_through_none_of_it():
    for seed in range(4):
        assert not near_camera(generate_world(seed, 3, 2.0, (160, 96), style="cluttered")).any()
