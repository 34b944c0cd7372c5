import cv2
import numpy as np
import pytest

from rosam_core.runtime.preprocess import PADDING, RESIZE_MODES, Resize, Window
from rosam_core.types import Camera

SIZES = [(640, 384), (1600, 900), (641, 481), (97, 403), (576, 320), (32, 20), (1280, 960)]


def ray(camera: Camera, column: float, row: float) -> tuple[float, float]:
    return (column - camera.cx) / camera.fx, (row - camera.cy) / camera.fy


def test_windows_by_hand() -> None:
    letterbox = Resize.plan("letterbox", 640, 384, 576, 320)
    assert letterbox.source == Window(0, 0, 640, 384)
    assert letterbox.target == Window(21, 0, 533, 320)  # 640 * 320 / 384 = 533.3
    crop = Resize.plan("crop", 640, 384, 576, 320)
    assert crop.source == Window(0, 14, 640, 356)  # 640 * 320 / 576 = 355.6
    assert crop.target == Window(0, 0, 576, 320)
    stretch = Resize.plan("stretch", 640, 384, 576, 320)
    assert (stretch.source, stretch.target) == (Window(0, 0, 640, 384), Window(0, 0, 576, 320))


@pytest.mark.parametrize("mode", RESIZE_MODES)
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_camera_sees_the_same_rays(mode: str, width: int, height: int) -> None:
    # The pixel edges of the source window and of the target window are the same directions.
    plan = Resize.plan(mode, width, height, 576, 320)
    camera = Camera(310.0, 290.0, width / 2.1, height / 1.9, width, height)
    seen = plan.camera(camera)
    assert (seen.width, seen.height) == (576, 320)
    s, t = plan.source, plan.target
    assert ray(seen, t.left - 0.5, t.top - 0.5) == pytest.approx(
        ray(camera, s.left - 0.5, s.top - 0.5)
    )
    assert ray(seen, t.left + t.width - 0.5, t.top + t.height - 0.5) == pytest.approx(
        ray(camera, s.left + s.width - 0.5, s.top + s.height - 0.5)
    )
    if mode != "stretch" and min(width, height) > 50:
        assert seen.fx / seen.fy == pytest.approx(camera.fx / camera.fy, rel=0.006)


@pytest.mark.parametrize("mode", RESIZE_MODES)
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_a_marked_ray_lands_where_the_camera_says(mode: str, width: int, height: int) -> None:
    # A bright spot goes in; its centre of mass must be the ray that both cameras agree on. A
    # shift of half a pixel, the usual mistake, is ten times the tolerance.
    camera = Camera.from_fov(70, width, height)
    plan = Resize.plan(mode, width, height, 576, 320)
    column, row = round(width * 0.45), round(height * 0.55)
    spread = max(4 * plan.source.width / plan.target.width, 2.0)
    across = np.exp(-0.5 * ((np.arange(width) - column) / spread) ** 2)
    down = np.exp(-0.5 * ((np.arange(height) - row) / spread) ** 2)
    image = np.empty((height, width, 3), np.uint8)
    image[:] = np.rint(255 * down[:, None] * across)[..., None]
    out = np.empty((320, 576, 3), np.uint8)
    plan.apply(image, out)
    t = plan.target
    spot = out[t.slices][..., 0].astype(np.float64)
    found = (
        t.left + (spot.sum(0) @ np.arange(t.width)) / spot.sum(),
        t.top + (spot.sum(1) @ np.arange(t.height)) / spot.sum(),
    )
    assert ray(plan.camera(camera), *found) == pytest.approx(
        ray(camera, column, row), abs=0.05 / min(camera.fx, plan.camera(camera).fx)
    )


def test_padding_is_as_in_training_and_nothing_is_left_of_the_last_image() -> None:
    plan = Resize.plan("letterbox", 40, 10, 64, 48)
    assert plan.target == Window(0, 16, 64, 16)
    out = np.full((48, 64, 3), 7, np.uint8)
    plan.apply(np.full((10, 40, 3), 200, np.uint8), out)
    assert (out[:16] == PADDING).all()
    assert (out[32:] == PADDING).all()
    assert (out[16:32] == 200).all()


def test_fine_stripes_become_grey_and_not_moire() -> None:
    image = np.zeros((900, 1600, 3), np.uint8)
    image[:, ::2] = 255
    plan = Resize.plan("letterbox", 1600, 900, 576, 320)
    out = np.empty((320, 576, 3), np.uint8)
    plan.apply(image, out)
    inside = out[plan.target.slices]
    assert inside.min() >= 126
    assert inside.max() <= 129


def test_read_only_and_strided_images_are_read() -> None:
    wide = np.random.default_rng(0).integers(0, 256, (96, 160, 3), np.uint8)
    view = wide[:, :128]
    view.setflags(write=False)
    plan = Resize.plan("letterbox", 128, 96, 64, 48)
    a, b = np.empty((48, 64, 3), np.uint8), np.empty((48, 64, 3), np.uint8)
    plan.apply(view, a)
    plan.apply(view.copy(), b)
    assert (a == b).all()


@pytest.mark.parametrize("mode", RESIZE_MODES)
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_restore_is_the_inverse_on_a_linear_map(mode: str, width: int, height: int) -> None:
    camera = Camera.from_fov(70, width, height)
    plan = Resize.plan(mode, width, height, 576, 320)
    seen = plan.camera(camera)
    tilted = ((np.arange(576) - seen.cx) / seen.fx)[None] + np.zeros((320, 1))
    back = plan.restore(tilted.astype(np.float32), np.nan, np.empty((height, width), np.float32))
    assert back.shape == (height, width)
    s = plan.source
    expected = (np.arange(width) - camera.cx) / camera.fx
    inside = back[s.slices]
    edge = 2 + int(np.ceil(s.width / 576))  # the outermost half pixel is repeated, not extended
    found = inside[:, edge:-edge]
    assert np.abs(found - expected[s.left + edge : s.left + s.width - edge]).max() < 1e-3
    outside = np.ones((height, width), bool)
    outside[s.slices] = False
    assert np.isnan(back[outside]).all()
    assert not np.isnan(inside).any()


def test_restore_never_mixes_padding_into_the_picture() -> None:
    plan = Resize.plan("letterbox", 128, 48, 64, 48)
    values = np.full((48, 64), np.nan, np.float32)
    values[plan.target.slices] = 3.0
    out = np.empty((48, 128), np.float32)
    assert plan.restore(values, 0.0, out) is out
    assert (out == 3.0).all()


def test_extreme_aspect_still_has_a_pixel() -> None:
    plan = Resize.plan("letterbox", 10000, 1, 64, 48)
    assert plan.target.height == 1
    out = np.empty((48, 64, 3), np.uint8)
    plan.apply(np.zeros((1, 10000, 3), np.uint8), out)
    back = np.zeros((1, 10000), np.float32)
    plan.restore(np.ones((48, 64), np.float32), np.nan, back)
    assert (back == 1).all()


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match=r"unknown resize 'zoom'.*letterbox, stretch, crop"):
        Resize.plan("zoom", 64, 48, 64, 48)
    with pytest.raises(ValueError, match="positive sizes, got 0x48"):
        Resize.plan("crop", 0, 48, 64, 48)
    with pytest.raises(ValueError, match="camera is 64x47, image is 64x48"):
        Resize.plan("crop", 64, 48, 64, 48).camera(Camera.from_fov(60, 64, 47))


@pytest.mark.parametrize("size", [(1242, 375), (2047, 1535), (641, 481), (1290, 389)])
def test_odd_sizes_shrink_as_area_does_and_hardly_alias(size):
    width, height = size
    rng = np.random.default_rng(0)
    image = cv2.GaussianBlur(rng.integers(0, 256, (height, width, 3), np.uint8), (0, 0), 2)
    image = ((image.astype(np.float32) - 127) * 4 + 127).clip(0, 255).astype(np.uint8)
    for column in (0, 1):  # stripes of two pixels must turn grey
        image[:, column::4] = 255 - image[:, column::4]
    resize = Resize.plan("letterbox", width, height, 320, 192)
    out = np.empty((192, 320, 3), np.uint8)
    resize.apply(image, out)
    t = resize.target
    exact = cv2.resize(image, (t.width, t.height), interpolation=cv2.INTER_AREA)
    skipping = cv2.resize(image, (t.width, t.height), interpolation=cv2.INTER_LINEAR)
    ours, aliased = (np.abs(a.astype(int) - exact).mean() for a in (out[t.slices], skipping))
    assert ours < 0.25 * aliased
