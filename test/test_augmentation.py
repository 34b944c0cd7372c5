import dataclasses

import numpy as np
import pytest

cv2 = pytest.importorskip("cv2")

from rosam_core.drives.augmentation import (
    AugmentationOptions,
    letterbox_view,
    mix_conditions,
    random_look,
    random_view,
    view,
)
from rosam_core.runtime.preprocess import Resize
from rosam_core.types import Camera

PLAIN = AugmentationOptions(
    **{f.name: 0.0 for f in dataclasses.fields(AugmentationOptions) if f.type == "float"}
)
CAMERA = Camera(150.0, 150.0, 119.5, 79.5, 240, 160)


def columns(camera):
    """A picture and a depth map that both state the column of each pixel."""
    x = np.tile(np.arange(camera.width, dtype=np.float32), (camera.height, 1))
    return np.repeat(x[..., None], 3, axis=2).astype(np.uint8), x


def rows(camera):
    y = np.tile(np.arange(camera.height, dtype=np.float32)[:, None], (1, camera.width))
    return np.repeat(y[..., None], 3, axis=2).astype(np.uint8), y


def away_from_edges(mask):
    """Without the pixels where interpolation blends the picture with the black around it."""
    mask = np.pad(mask, 1).astype(np.uint8)
    return cv2.erode(mask, np.ones((7, 7)))[1:-1, 1:-1] > 0


def options(**changes):
    return dataclasses.replace(PLAIN, **changes)


def test_plain_options_change_nothing():
    assert PLAIN.flip == PLAIN.tone == PLAIN.noise_max == 0
    image, _ = columns(CAMERA)
    assert np.array_equal(random_look(image, PLAIN, np.random.default_rng(0)), image)


def test_a_window_of_half_the_width_doubles_the_focal_length():
    image, depth = columns(CAMERA)
    image, depth, focal = view(
        image, depth, CAMERA, (60, 40, 120, 80), (240, 160), cv2.INTER_LINEAR
    )
    assert focal == pytest.approx(300)
    assert image.shape == (160, 240, 3)
    assert depth.shape == (160, 240)
    assert (depth[0, 0], depth[0, -1]) == (60, 179)
    assert np.array_equal(np.unique(depth), np.arange(60, 180))  # copied, never interpolated


def test_unequal_stretch_gives_the_geometric_mean_of_the_focal_lengths():
    image, depth = columns(CAMERA)
    window = (0, 0, 240, 40)  # across: 96 of 240; down: 64 of 40
    _, _, focal = view(image, depth, CAMERA, window, (96, 64), cv2.INTER_LINEAR)
    assert focal == pytest.approx(np.sqrt((150 * 0.4) * (150 * 1.6)))


def test_outside_the_frame_the_picture_is_black_and_the_depth_unknown():
    image, depth = columns(CAMERA)
    image = np.maximum(image, 1)
    window = (-40, -20, 320, 200)
    image, depth, _ = view(image, depth, CAMERA, window, (320, 200), cv2.INTER_LINEAR)
    outside = np.ones((200, 320), bool)
    outside[20:180, 40:280] = False
    assert np.array_equal(np.isnan(depth), outside)
    assert (image[outside] == 0).all()
    assert (image[~outside] > 0).all()


@pytest.mark.parametrize("size", [(40, 24), (24, 16), (80, 56), (60, 40)])
@pytest.mark.parametrize("pattern", [columns, rows])
def test_depth_lies_where_the_picture_shows_it(size, pattern):
    """A shift of half a pixel, as cv2.INTER_NEAREST makes it, biases the depth of the road."""
    camera = Camera(50.0, 50.0, 29.5, 19.5, 60, 40)
    image, depth = pattern(camera)
    image, depth, focal = letterbox_view(4 * image, depth, camera, size)
    inside = away_from_edges(~np.isnan(depth))
    difference = (depth - image[..., 0].astype(np.float32) / 4)[inside]
    in_pixels = difference * focal / camera.fx  # of the network's picture
    assert abs(in_pixels.mean()) < 0.1
    assert abs(in_pixels).max() < 0.7  # half a pixel, and the rounding of the picture


@pytest.mark.parametrize("seed", range(6))
def test_a_wide_view_is_a_band_of_the_frame_between_bars(seed):
    wide = options(wide=1.0, wide_aspect=4.0)
    picture, truth = rows(CAMERA)
    size = (120, 80)
    image, depth, focal = random_view(
        picture, truth, CAMERA, size, wide, np.random.default_rng(seed)
    )
    assert image.shape == (80, 120, 3)
    assert focal == pytest.approx(75, rel=0.02)  # its width fills the picture, half as wide
    seen = np.flatnonzero(~np.isnan(depth).all(axis=1))
    assert 29 <= len(seen) <= 80  # 4:1 to the frame's own 3:2
    assert abs(np.diff(depth[seen, 60]) - 2).max() <= 1  # not squeezed
    assert (image[away_from_edges(np.isnan(depth))] == 0).all()


@pytest.mark.parametrize("seed", range(12))
def test_focal_length_is_that_of_the_geometry(seed):
    """Pixels of the frame for each pixel of the view, measured across and down."""
    every = options(flip=0.5, full_view=0.3, aspect=0.1, crop=(0.4, 1.0))
    size = (160, 96)
    steps = []
    for axis, pattern in ((1, columns), (0, rows)):
        image, depth = pattern(CAMERA)
        image, depth, focal = random_view(
            image, depth, CAMERA, size, every, np.random.default_rng(seed)
        )
        line = depth[48] if axis else depth[:, 80]
        places = np.flatnonzero(~np.isnan(line))
        steps.append(abs(np.polyfit(places, line[places], 1)[0]))
    expected = np.sqrt((CAMERA.fx / steps[0]) * (CAMERA.fy / steps[1]))
    assert focal == pytest.approx(expected, rel=0.02)


def test_a_flip_mirrors_picture_and_depth():
    image, depth = columns(CAMERA)
    views = [
        random_view(
            image, depth, CAMERA, (96, 64), options(flip=p, full_view=1), np.random.default_rng(3)
        )
        for p in (0.0, 1.0)
    ]
    (plain, plain_depth, focal), (flipped, flipped_depth, flipped_focal) = views
    assert np.array_equal(flipped, plain[:, ::-1])
    np.testing.assert_array_equal(flipped_depth, plain_depth[:, ::-1])
    assert focal == flipped_focal


@pytest.mark.parametrize("seed", range(6))
def test_a_roll_turns_picture_and_depth_alike_and_keeps_values(seed):
    image, depth = columns(CAMERA)
    rolled = options(rotate=1.0, rotate_deg=10.0, full_view=1.0)
    image, depth, focal = random_view(
        image, depth, CAMERA, (240, 160), rolled, np.random.default_rng(seed)
    )
    assert focal == pytest.approx(150)
    known = ~np.isnan(depth)
    assert known.mean() > 0.7
    assert set(np.unique(depth[known])) <= set(range(240))  # an interpolated depth is none
    core = away_from_edges(known)
    difference = depth[core] - image[core][:, 0].astype(np.float32)
    assert abs(difference.mean()) < 0.1
    assert abs(difference).max() <= 1


@pytest.mark.parametrize("camera_size", [(240, 160), (100, 100), (400, 100)])
def test_whole_view_is_what_the_runtime_feeds_the_network(camera_size):
    """Same bars, same colour of bars, same focal length: training and robot must agree."""
    width, height = camera_size
    camera = Camera(120.0, 130.0, width / 2, height / 2, width, height)
    image = np.full((height, width, 3), 200, np.uint8)
    depth = np.full((height, width), 5.0, np.float32)
    image_seen, depth_seen, focal = letterbox_view(image, depth, camera, (128, 64))
    runtime = np.empty((64, 128, 3), np.uint8)
    resize = Resize.plan("letterbox", width, height, 128, 64)
    resize.apply(image, runtime)
    assert np.array_equal(image_seen, runtime)
    assert np.array_equal(np.isnan(depth_seen), (runtime == 0).all(axis=2))
    network = resize.camera(camera)
    assert focal == pytest.approx(np.sqrt(network.fx * network.fy), rel=0.02)


def test_looks_are_pictures_and_leave_the_original_alone():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (64, 96, 3), np.uint8)
    original = image.copy()
    always = AugmentationOptions(
        tone=1, colour=1, gray=0.5, blur=1, noise=1, jpeg=1, blotches=1, noise_max=0.1
    )
    for seed in range(20):
        look = random_look(image, always, np.random.default_rng(seed))
        assert (look.dtype, look.shape) == (np.uint8, (64, 96, 3))
        assert not np.array_equal(look, original)
        assert np.array_equal(image, original)
        again = random_look(image, always, np.random.default_rng(seed))
        assert np.array_equal(look, again)


def test_gray_makes_the_channels_equal_with_the_weights_of_luminance():
    image = np.zeros((64, 64, 3), np.uint8)
    image[..., 1] = 200  # RGB green: .587 of 200
    look = random_look(image, options(gray=1.0), np.random.default_rng(0))
    assert np.unique(look).tolist() == [117]


def test_colour_keeps_greys_and_brightness():
    image = np.full((64, 64, 3), 90, np.uint8)
    look = random_look(image, options(colour=1.0), np.random.default_rng(1))
    assert np.array_equal(look, image)


@pytest.mark.parametrize("seed", range(10))
def test_tone_keeps_the_order_of_brightness_and_what_is_in_the_dark(seed):
    ramp = np.tile(np.arange(40, dtype=np.uint8), (64, 1))
    night = np.repeat(ramp[..., None], 3, axis=2)
    look = random_look(night, options(tone=1.0), np.random.default_rng(seed)).astype(int)
    assert (np.diff(look, axis=1) >= 0).all()
    assert look.max() >= 10
    assert len(np.unique(look[..., 0])) >= 8


@pytest.mark.parametrize("level", [0, 255])
def test_black_and_white_pictures_pass(level):
    image = np.full((64, 96, 3), level, np.uint8)
    for seed in range(10):
        look = random_look(image, AugmentationOptions(), np.random.default_rng(seed))
        assert look.shape == image.shape


def test_a_mix_lies_between_its_two_pictures_and_of_equals_is_the_same():
    low, high = np.full((40, 60, 3), 50, np.uint8), np.full((40, 60, 3), 150, np.uint8)
    kinds = set()
    for seed in range(20):
        mixed = mix_conditions(low, high, np.random.default_rng(seed))
        assert 50 <= mixed.min() <= mixed.max() <= 150
        kinds.add(bool(np.ptp(mixed) == 0))
        same = mix_conditions(low, low, np.random.default_rng(seed)).astype(int)
        assert abs(same - 50).max() <= 1
    assert kinds == {True, False}  # even blends, and soft lines
