"""Flicker of scenes that a hand can work out."""

import math

import numpy as np
import pytest

from rosam_core.evaluation.flicker import (
    KINDS,
    NEAR_S,
    FlickerMeter,
    flicker,
    flicker_rows,
    look,
    mean_flicker,
)
from rosam_core.runtime.pointcloud import pixel_rays
from rosam_core.types import Camera, Frame

CAMERA = Camera(fx=50, fy=50, cx=39.5, cy=29.5, width=80, height=60)
RANGE_M = (0.1, 80.0)


def wall(depth_m):
    return np.full((CAMERA.height, CAMERA.width), depth_m, np.float32)


def pose(x=0.0, y=0.0, z=0.0, yaw=0.0):
    """The camera in a world whose axes are those of the camera at the start."""
    c, s = math.cos(yaw), math.sin(yaw)
    return np.array([[c, 0, s, x], [0, 1, 0, y], [-s, 0, c, z], [0, 0, 0, 1.0]])


def change(depths, truths, T, T_before=None, camera=CAMERA):
    """Flicker between two frames; `truths` may be None."""
    truths = truths or (None, None)
    before = look(depths[0], truths[0], camera, pose() if T_before is None else T_before, RANGE_M)
    return flicker(before, depths[1], truths[1], camera, T, RANGE_M)


def test_a_wall_that_comes_nearer_as_it_should_does_not_flicker():
    truths = wall(10), wall(9)
    for depths in (truths, (wall(12), wall(11))):  # wrong by 2 m, but steady
        found = change(depths, truths, pose(z=1))
        assert found["kind"] == "exact"
        assert found["flicker"] == pytest.approx(0, abs=1e-6)
        assert found["floor"] == pytest.approx(0, abs=1e-6)
    # Half of the depth does not come nearer by the metre that the camera moved: 5 m would be 4.
    assert change((wall(5), wall(4.5)), truths, pose(z=1))["flicker"] == pytest.approx(
        math.log(4.5 / 4)
    )


def test_flicker_is_the_change_of_the_logarithm():
    found = change((wall(10), wall(11)), (wall(10), wall(10)), pose())
    assert found["flicker"] == pytest.approx(math.log(1.1))
    assert found["floor"] == 0
    assert found["n"] == 80 * 60
    assert change((wall(11), wall(10)), None, pose())["flicker"] == pytest.approx(math.log(1.1))
    # Beyond range is the end of the range.
    beyond = change((wall(40), wall(np.inf)), (wall(10), wall(10)), pose())
    assert beyond["flicker"] == pytest.approx(math.log(2))
    # So is what the camera leaves behind: 75 m become 85.
    assert change((wall(75), wall(85)), None, pose(z=-10))["flicker"] == pytest.approx(0, abs=1e-6)


def ground(height_m):
    """Depth of a road under a level camera; NaN above the horizon."""
    below = np.arange(CAMERA.height) - CAMERA.cy
    with np.errstate(divide="ignore"):
        column = np.where(below > 0, height_m * CAMERA.fy / below, np.nan)
    return np.repeat(column[:, None], CAMERA.width, axis=1).astype(np.float32)


@pytest.mark.parametrize("exact", [True, False])
def test_a_road_is_the_same_road_from_the_next_pose(exact):
    truths = ground(1.5), ground(1.5)
    found = change(truths, truths if exact else None, pose(x=0.3, z=0.8, yaw=0.02))
    # Inverse depth between pixels is that of the plane, so nothing is left but rounding.
    assert found["flicker"] == pytest.approx(0, abs=1e-5)
    assert found["n"] > 1000
    # The world does not matter, only the motion.
    moved = pose(x=5, z=-3, yaw=2.0)
    again = change(
        truths,
        truths if exact else None,
        moved @ pose(x=0.3, z=0.8, yaw=0.02),
        T_before=moved,
    )
    assert again["n"] == pytest.approx(found["n"], abs=20)
    assert again["flicker"] == pytest.approx(0, abs=1e-5)


def test_what_moves_or_is_hidden_is_left_out_by_exact_depth():
    truths = wall(10), wall(10)
    truths[1][:, 40:] = 9.7  # something has come nearer by 3 %
    depths = wall(10), wall(10)
    depths[1][:, 40:] = 3
    found = change(depths, truths, pose())
    assert found["flicker"] == pytest.approx(0, abs=1e-6)
    assert found["n"] == pytest.approx(40 * 60, abs=60)  # the column between the two
    # Without exact depth it cannot be told from flicker.
    assert change(depths, None, pose())["flicker"] == pytest.approx(math.log(10 / 3) / 2)


def test_a_point_that_arrives_behind_another_is_hidden():
    """A post at 2 m passes over a wall at 10 m, half a metre of the camera's way to the left."""
    before, now = wall(10), wall(10)
    before[:, 20:30] = 2
    now[:, 32:43] = 2  # 50 * 0.5 / 2 = 12.5 px to the right, the wall 2.5 px
    found = change((before, now), None, pose(x=-0.5))
    seen_behind = change((before, now), None, pose())
    assert seen_behind["flicker"] > 0.1
    # At most the columns at the post's edges are between the two depths.
    assert found["flicker"] < 0.05
    assert found["n"] < 80 * 60 - 10 * 60


def test_what_is_not_known_or_not_in_the_image_is_not_compared():
    depths = wall(10), wall(10)
    depths[0][:30] = np.nan
    depths[1][45:] = np.nan
    # A row between what is known and what is not may be either.
    assert 80 * 14 <= change(depths, None, pose())["n"] <= 80 * 15
    assert change((wall(10), wall(10)), None, pose(yaw=math.pi)) is None
    assert change((wall(np.inf), wall(10)), None, pose()) is None
    # 10 px of the wall leave the image to the left.
    assert change((wall(10), wall(10)), None, pose(x=2))["n"] == 70 * 60


def test_a_lens_with_distortion_is_followed():
    distorted = Camera(50, 50, 39.5, 29.5, 80, 60, "plumb_bob", (-0.2, 0.03, 0, 0, 0))
    down = pixel_rays(distorted)[1]
    road = np.where(down > 0.02, 1.5 / np.maximum(down, 0.02), np.nan).astype(np.float32)
    found = change((road, road), None, pose(x=0.3, z=0.8), camera=distorted)
    assert found["n"] > 1000
    assert found["flicker"] < 0.002  # the road's inverse depth is not quite linear in its image


def test_many_pixels_are_sampled_on_a_grid():
    large = Camera(1000, 1000, 799.5, 449.5, 1600, 900)
    depth = np.full((900, 1600), 10, np.float32)
    found = flicker(look(depth, None, large, pose(), RANGE_M), depth, None, large, pose(), RANGE_M)
    assert 4_000 < found["n"] < 9_000


class Drive:
    """Frames of an exact drive, 0.1 s apart, for the meter."""

    def __init__(self, meter):
        self.meter = meter
        self.step = 0

    def see(self, depth_m, *, after_s=0.1, exact=True, scene="a", **values):
        self.step += round(after_s * 1e9)
        values = {"condition": "night", "T_world_camera": pose(), **values}
        image = np.zeros((60, 80, 3), np.uint8)
        truth = wall(10) if exact else np.where(np.arange(80) % 9, np.float32(np.nan), wall(10))
        frame = Frame(image, CAMERA, self.step, depth=truth if exact else None, **values)
        return self.meter.of(frame, truth, wall(depth_m), self, scene)


def test_the_meter_compares_each_frame_with_the_one_before_it_of_its_camera():
    drive = Drive(FlickerMeter(RANGE_M))
    assert drive.see(10) is None
    found = drive.see(11)
    assert found["gap_s"] == pytest.approx(0.1)
    assert found["flicker"] == pytest.approx(math.log(1.1))
    assert drive.see(20, camera_name="back") is None
    found = drive.see(11)
    assert (found["flicker"], found["gap_s"]) == (0, pytest.approx(0.2))
    assert drive.see(11, after_s=NEAR_S + 0.01) is None
    assert drive.see(11, after_s=0) is None
    assert drive.see(11, condition="fog") is None
    assert drive.see(11, condition="fog", scene="b") is None
    assert drive.see(11, condition="fog", scene="b", T_world_camera=None) is None
    assert drive.see(11, condition="fog", scene="b") is None  # the frame before has no pose
    assert drive.meter.note == ""  # some were measured


def test_why_nothing_was_measured_is_said():
    drive = Drive(FlickerMeter(RANGE_M))
    drive.see(10, T_world_camera=None)
    drive.see(10, T_world_camera=None)
    drive.see(10)
    assert drive.meter.note == (
        "flicker not measured: no pose (2 frames), no frame within 0.25 s before it (1 frames)"
    )
    assert FlickerMeter(RANGE_M).note == ""


def test_without_exact_depth_it_is_measured_on_demand():
    silent, asked = Drive(FlickerMeter(RANGE_M)), Drive(FlickerMeter(RANGE_M, without_exact=True))
    for drive in (silent, asked):
        drive.see(10, exact=False)
    assert silent.see(11, exact=False) is None
    assert silent.meter.note == ""  # nobody asked
    found = asked.see(11, exact=False)
    assert (found["kind"], found["floor"]) == ("own", None)
    assert found["flicker"] == pytest.approx(math.log(1.1))


def test_means_are_over_pairs():
    def pair(kind, value, floor):
        return {"kind": kind, "flicker": value, "floor": floor, "n": 5, "gap_s": 0.1}

    means = mean_flicker([pair("exact", 0.1, 0.0), pair("exact", 0.3, 0.002), None])
    assert means == {
        "exact": {
            "pairs": 2,
            "n": 10,
            "flicker": pytest.approx(0.2),
            "floor": pytest.approx(0.001),
            "gap_s": pytest.approx(0.1),
        }
    }
    own = mean_flicker([pair("own", 0.1, None)])
    assert own["own"]["floor"] is None
    assert mean_flicker([None]) == {}
    rows = flicker_rows({"fog": {"flicker": {**means, **own}}, "night": {}})
    assert rows[1] == ["fog", "2", KINDS["exact"], "0.10", "0.2000", "0.0010"]
    assert rows[2][-1] == ""
    assert len(rows) == 3
