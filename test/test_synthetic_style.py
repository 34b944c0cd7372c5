"""Styles of synthetic worlds: what they change, and what they leave alone."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math

import numpy as np
import pytest

pytest.importorskip("torch")

from rosam_core.commands.synth import WORLDS
from rosam_core.drives.synthetic.light import random_light
from rosam_core.drives.synthetic.parts import Kind, Part
from rosam_core.drives.synthetic.recipe import DriveRecipe
from rosam_core.drives.synthetic.sensor import random_sensor
from rosam_core.drives.synthetic.style import WORLD_STYLES, WorldStyle
from rosam_core.drives.synthetic.world import generate_world

pytestmark = pytest.mark.torch

SEEDS = range(12)


def field_of_view(world):
    return np.degrees(2 * np.arctan(world.camera.width / 2 / world.camera.fx))


def test_the_command_knows_every_style():
    assert tuple(WORLD_STYLES) == WORLDS


def test_worlds_of_no_style_are_what_they_were():
    world = generate_world(7, 3, 10.0, (160, 96))
    row = Part((0, 0, 0), (1, 1, 1), Kind.FACADE, (0.5, 0.4, 0.2), params=(1, 2, 3, 0.9))
    assert world.style.material(row.material_row(5.0)) == row.material_row(5.0)
    light, sensor = random_light(7, "fog"), random_sensor(7, "night", False)
    assert world.style.light(light) is light
    assert world.style.sensor(sensor) == sensor


@pytest.mark.parametrize(
    ("style", "digest"),
    [
        ("any", "610e926a3ecc02e6ed4572c8a9a1ea48f46f5066817b4fd1de153b548dc5ae06"),
        ("cluttered", "515b6cf672504b54c84ed7921b0fbccd1b4d3cf5ef886b50630c511ed95929b6"),
    ],
)
def test_a_seed_gives_the_world_that_figures_and_begun_drives_were_made_of(style, digest):
    """One more random number in a layout, and every published figure is of other worlds."""
    world = generate_world(7, 3, 10.0, (160, 96), style=style)
    numbers = np.concatenate([world.shape.ravel(), world.material.ravel()]).astype("<f8")
    rounded = np.round(numbers, 4) + 0.0  # no negative zeros
    assert hashlib.sha256(rounded.tobytes()).hexdigest() == digest


@pytest.mark.parametrize("name", ["source", "target"])
def test_cameras_and_streets_are_those_of_the_style(name):
    style = WORLD_STYLES[name]
    for seed in SEEDS:
        world = generate_world(seed, 2, 10.0, (160, 96), style=name)
        assert style.fov_deg[0] <= field_of_view(world) <= style.fov_deg[1]
        assert style.height_m[0] <= world.mount[0] <= style.height_m[1]
        assert abs(np.degrees(world.mount[3])) < 10
        if name == "source":
            assert world.street.style in ("urban", "suburb")


def test_more_vehicles_move_in_target_worlds():
    moving = {
        name: sum(
            thing.speed > 0
            for seed in SEEDS
            for thing in generate_world(seed, 2, 10.0, (160, 96), style=name).placed
            if thing.lights
        )
        for name in ("source", "target")
    }
    assert moving["target"] > 2 * moving["source"]


def test_colours_turn_about_grey():
    style = WorldStyle("turned", hue_deg=120.0)
    row = Part((0, 0, 0), (1, 1, 1), colour=(0.6, 0.2, 0.1), colour2=(0.3, 0.3, 0.3))
    turned = style.material(row.material_row(0.0))
    assert turned[1:4] == pytest.approx([0.1, 0.6, 0.2])  # red becomes green
    assert turned[4:7] == pytest.approx([0.3, 0.3, 0.3])  # grey stays
    lamp = Part((0, 0, 0), (1, 1, 1), Kind.LAMP, (0.6, 0.2, 0.1))
    assert style.material(lamp.material_row(0.0)) == lamp.material_row(0.0)


def test_a_car_keeps_the_switch_of_its_lamps():
    row = Part((0, 0, 0), (1, 1, 1), Kind.CAR_BODY, (0.6, 0.2, 0.1), (1.0, 0.2, 0.2))
    assert WORLD_STYLES["target"].material(row.material_row(0.0))[4:7] == [1.0, 0.2, 0.2]


@pytest.mark.parametrize("seed", SEEDS)
def test_weather_is_heavier_in_target_worlds(seed):
    style = WORLD_STYLES["target"]
    for condition in ("fog", "day-rain"):
        light = random_light(seed, condition)
        assert style.light(light).extinction > light.extinction
    night = random_light(seed, "night")
    assert style.light(night).zenith == pytest.approx(tuple(v / 1.6 for v in night.zenith))
    assert style.light(random_light(seed, "day-clear")) == random_light(seed, "day-clear")
    wet = dataclasses.replace(random_sensor(seed, "day-rain", True), drops=10, rain=0.9)
    assert (style.sensor(wet).drops, style.sensor(wet).rain) == (16, 1.0)
    assert style.sensor(wet).noise == pytest.approx(1.6)


def test_a_stated_mounting_changes_nothing_else():
    usual = generate_world(3, 2)
    low = generate_world(3, 2, camera_height_m=0.4, camera_pitch_deg=12.0)
    assert low.mount == (0.4, math.radians(12), *usual.mount[2:])
    assert low.camera == usual.camera
    np.testing.assert_array_equal(low.path, usual.path)
    T = low.camera_pose(0)
    assert T[2, 3] == pytest.approx(0.4)
    assert -math.degrees(math.asin(T[2, 2])) == pytest.approx(12, abs=0.3)  # the road shakes it


def test_an_unknown_style_is_refused():
    with pytest.raises(ValueError, match="no world style 'moon': choose from any, source, target"):
        generate_world(1, 1, style="moon")
    with pytest.raises(ValueError, match="the sum 1"):
        WorldStyle("half", streets=(0.5, 0, 0, 0, 0))


def test_a_folder_of_one_style_is_not_taken_for_another(tmp_path):
    plain = DriveRecipe(1, 2, ("fog",))
    plain.claim(tmp_path)
    assert "world" not in json.loads((tmp_path / "recipe.json").read_text())
    plain.claim(tmp_path)
    with pytest.raises(ValueError, match="made with other options"):
        dataclasses.replace(plain, world="target").claim(tmp_path)
    with pytest.raises(ValueError, match="made with other options"):
        dataclasses.replace(plain, camera_height_m=0.4).claim(tmp_path)
