"""The ground in a depth map, and the scale that a camera's height gives."""

import dataclasses
import json
import math

import cv2
import numpy as np
import pytest
from support import ground_picture, write_tiny_model
from test_pipeline import CARD, FixedEngine

from rosam_core.cli import main
from rosam_core.engines.registry import load_engine
from rosam_core.runtime.ground import KEPT, MOST_KEPT, Mounting, find_ground
from rosam_core.runtime.pipeline import DepthPipeline
from rosam_core.types import Camera

H, W, F = 48, 80, 64.0
SLOPES = np.stack(np.meshgrid((np.arange(W) - (W - 1) / 2) / F, (np.arange(H) - 15.5) / F), axis=2)


def plane(height, pitch_deg=0.0, roll_deg=0.0, slopes=SLOPES, farthest=80.0):
    """Inverse depth of a level ground and of a sky, seen by a camera that looks down so far."""
    pitch, roll = math.radians(pitch_deg), math.radians(roll_deg)
    down = slopes[..., 0] * math.sin(roll) + slopes[..., 1] * math.cos(roll)
    below = down * math.cos(pitch) + math.sin(pitch)
    return np.maximum(below / height, 1 / farthest).astype(np.float32)


@pytest.mark.parametrize("height", [0.1, 1.5, 8.0])
@pytest.mark.parametrize(("pitch", "roll"), [(0, 0), (5, -3), (-4, 2)])
def test_a_plane_is_found_wherever_the_camera_is(height, pitch, roll):
    found = find_ground(plane(height, pitch, roll, farthest=50 * height), SLOPES)
    assert found.height == pytest.approx(height, rel=0.02)
    assert found.pitch_deg == pytest.approx(pitch, abs=0.3)
    assert found.share > 0.7


def test_a_camera_that_looks_down_steeply_says_so():
    map_seen = plane(0.4, 40)
    assert find_ground(map_seen, SLOPES) is None  # 40 degrees are no level plane
    found = find_ground(map_seen, SLOPES, 33)
    assert (found.height, found.pitch_deg) == pytest.approx((0.4, 40), rel=0.01)


def test_what_stands_on_the_ground_does_not_raise_it():
    d = plane(1.5)
    d[10:40, :30] = np.maximum(d[10:40, :30], 1 / 12)  # a wall from 12 m on: less than half
    d[20:34, 50:70] = 1 / 5  # a car
    d[44:] = np.maximum(d[44:], 1.2)  # the own bonnet
    noise = np.random.default_rng(0).normal(0, 0.03, d.shape)
    found = find_ground((d * np.exp(noise)).astype(np.float32), SLOPES)
    assert found.height == pytest.approx(1.5, rel=0.02)


def test_the_ground_is_the_lowest_of_what_is_level():
    """A table, or a long bonnet, fills more of the image than the floor below it."""
    d = plane(1.5)
    d[30:] = plane(0.5)[30:]
    found = find_ground(d, SLOPES)
    assert found.height == pytest.approx(1.5, rel=0.02)
    assert found.share < 0.5


def test_what_is_not_known_is_not_asked():
    d, slopes = plane(1.5), SLOPES.copy()
    d[30:40, 10:30] = np.nan
    d[42:, 40:60] = 0
    d[:, :5] = 9.0  # padding
    slopes[:, :5] = np.nan
    assert find_ground(d, slopes).height == pytest.approx(1.5, rel=0.01)


@pytest.mark.parametrize(
    "nothing",
    [
        np.full((H, W), 1 / 10),  # a wall
        np.full((H, W), np.nan),
        np.zeros((H, W)),
        np.abs(SLOPES[..., 0]) / 2 + 0.01,  # the walls of a canyon
    ],
)
def test_without_ground_there_is_none(nothing):
    assert find_ground(nothing.astype(np.float32), SLOPES) is None


def test_the_factor_is_that_of_the_heights_but_for_what_is_kept():
    near = Mounting(1.5)
    # A tenth more: log 1.1 = 0.0953, a fifth of it stays.
    assert near.factor(plane(1.65), SLOPES) == pytest.approx(1.1 ** -(1 - KEPT), rel=2e-3)
    far = Mounting(0.3)  # of a robot far lower than any car
    assert far.factor(plane(1.5), SLOPES) == pytest.approx(math.exp(MOST_KEPT) / 5, rel=2e-3)
    relative = Mounting(0.3)
    assert relative.factor(plane(1.5), SLOPES, is_metric=False) == pytest.approx(1 / 5, rel=2e-3)
    assert relative.last_factor == pytest.approx(1 / 5, rel=2e-3)


def test_an_image_without_ground_has_the_factor_of_late():
    mounting, wall = Mounting(3.0), np.full((H, W), 0.1, np.float32)
    assert mounting.factor(wall, SLOPES) == 1.0
    assert mounting.ground is None
    first = mounting.factor(plane(1.5), SLOPES)
    assert first == pytest.approx(2 * math.exp(-MOST_KEPT), rel=2e-3)
    assert mounting.factor(wall, SLOPES) == pytest.approx(first)
    second = mounting.factor(plane(3.0), SLOPES)  # its own ground counts, not the mean
    assert second == pytest.approx(1.0, rel=2e-3)
    assert mounting.factor(wall, SLOPES) == pytest.approx(first**0.9, rel=3e-3)
    assert str(mounting) == "ground found in 2 of 5 images, depth times 1.78"


@pytest.mark.parametrize("height", [0.0, -1.0, math.inf, math.nan])
def test_a_height_is_positive(height):
    with pytest.raises(ValueError, match="height must be positive"):
        Mounting(height)


def test_a_pitch_is_less_than_a_right_angle():
    with pytest.raises(ValueError, match="pitch must be between"):
        Mounting(1.0, 90)


@pytest.mark.parametrize(
    "lens",
    [
        {},
        {"distortion_model": "plumb_bob", "distortion": (-0.2, 0.05, 0.0, 0.0, 0.0)},
        {"distortion_model": "equidistant", "distortion": (0.02, 0.0, 0.0, 0.0)},
    ],
)
@pytest.mark.parametrize("is_metric", [True, False])
def test_the_pipeline_puts_the_ground_where_it_is(lens, is_metric):
    card = dataclasses.replace(
        CARD, input_width=160, input_height=128, training_focal_px=160.0, is_metric=is_metric
    )
    camera = Camera(160.0, 160.0, 79.5, 17.5, 160, 64, **lens)
    # What the network says in its whole input, with a deeper ground in the border below.
    points = np.stack(np.meshgrid(np.arange(160.0), np.arange(64.0)), 2).reshape(-1, 1, 2)
    if camera.distortion_model == "equidistant":
        rays = cv2.fisheye.undistortPoints(points, camera.K, np.array(camera.distortion))
    else:
        rays = cv2.undistortPoints(points, camera.K, np.array(camera.distortion or [0.0] * 5))
    truth = 1 / plane(1.2, slopes=rays.reshape(64, 160, 2), farthest=60.0)
    depth = np.full((128, 160), 0.3)
    depth[96:] = 4.0 / ((np.arange(96, 128) - 49.5) / 160)[:, None]
    depth[32:96] = 1.25 * truth
    engine = FixedEngine(depth, np.full((128, 160), 0.9), card)
    mounting = Mounting(1.2)
    image = np.zeros((64, 160, 3), np.uint8)
    pipeline = DepthPipeline(engine, max_depth_m=math.inf)
    plain = pipeline.predict(image, camera).depth
    got = pipeline.predict(image, camera, mounting).depth
    kept = math.exp(min(KEPT * math.log(1.25), MOST_KEPT)) if is_metric else 1.0
    np.testing.assert_allclose(plain, 1.25 * truth, rtol=1e-4)
    np.testing.assert_allclose(got, kept * truth, rtol=0.01)
    # The mountings are those of the images, one by one.
    both = pipeline.predict_batch([image, image], [camera, camera], [None, mounting])
    np.testing.assert_array_equal(both[0].depth, plain)
    np.testing.assert_array_equal(both[1].depth, got)
    with pytest.raises(ValueError, match="2 cameras and 1 mountings"):
        pipeline.predict_batch([image, image], [camera, camera], [mounting])


@pytest.fixture(scope="module")
def drive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drive")
    options = ["--frames", "1", "--size", "64x48", "--conditions", "day-clear"]
    assert main(["synth", "--out", str(folder / "one"), *options]) == 0
    return str(folder / "one")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--camera-pitch", "5"], "--scale-by-height alone"),
        (["--camera-height", "0"], "must be positive, got 0 m"),
        (["--scale-by-height", "--predictions", "."], "--scale-by-height and --resize"),
    ],
)
def test_eval_tells_what_it_cannot_scale_by(drive, capsys, more, words):
    assert main(["eval", "--drive", drive, *more]) == 1
    assert words in capsys.readouterr().err


def test_eval_needs_a_height_that_is_known(drive, tmp_path, capsys):
    """A synthetic drive tells it, a folder of images with depth does not."""
    arguments = ["eval", "--model", str(write_tiny_model(tmp_path)), "--scale-by-height", "--json"]
    assert main([*arguments, "--drive", drive]) == 0
    assert '"scale": "the camera\'s height"' in capsys.readouterr().out
    (tmp_path / "images").mkdir()
    (tmp_path / "depth").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "0.png"), ground_picture(1.5))
    cv2.imwrite(str(tmp_path / "depth" / "0.png"), np.full((48, 64), 12 * 256, np.uint16))
    source = [
        *("--drive", str(tmp_path / "images"), "--depth", str(tmp_path / "depth")),
        *("--fov", "53.13"),
    ]
    assert main([*arguments, *source]) == 1
    assert "state --camera-height" in capsys.readouterr().err
    found = []
    for height in ("3", "1.5"):
        assert main([*arguments, *source, "--camera-height", height]) == 0
        (scores,) = json.loads(capsys.readouterr().out)["conditions"].values()
        found.append(scores["metric"]["abs_rel"])
    assert found[0] != found[1]
    page = ("--flip", "--report", str(tmp_path / "page.html"))  # show the frame again
    assert main([*arguments[:-1], *source, *page, "--camera-height", "3"]) == 0
    assert "by the camera's height: ground found in 1 of 1 images" in capsys.readouterr().out


def test_a_ground_that_the_tiny_model_sees(tmp_path):
    """The picture that tests of the node and of bags use: ground 1.5 m below."""
    engine = load_engine(write_tiny_model(tmp_path), "onnx-cpu", threads=1)
    camera = Camera(64.0, 64.0, 31.5, 23.5, 64, 48)
    got = DepthPipeline(engine).predict(ground_picture(1.5), camera, Mounting(3.0))
    assert got.depth[47, 0] == pytest.approx(3 * 64 / 23.5 * math.exp(-MOST_KEPT), rel=0.02)
