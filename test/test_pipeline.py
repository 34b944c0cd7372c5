import dataclasses
import logging
import weakref
from pathlib import Path

import numpy as np
import pytest
from support import write_tiny_model

from rosam_core.engines.registry import load_engine
from rosam_core.runtime.pipeline import DepthPipeline
from rosam_core.types import Camera, ModelCard

CARD = ModelCard(
    "fixed", "none", 64, 48, 64.0, (32.0, 128.0), 0.1, 80.0, True, 1.0, "", "Apache-2.0", "none"
)
CAMERA = Camera(64.0, 64.0, 31.5, 23.5, 64, 48)
IMAGE = np.zeros((48, 64, 3), np.uint8)


class FixedEngine:
    """Answers with given maps, whatever the images."""

    name = "fixed"

    def __init__(self, depth: np.ndarray, confidence: np.ndarray, card: ModelCard = CARD) -> None:
        self.card = card
        self.depth = depth.astype(np.float32)
        self.confidence = confidence.astype(np.float32)

    def infer(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        n = len(images)
        return np.repeat(self.depth[None], n, 0), np.repeat(self.confidence[None], n, 0)

    def close(self) -> None:
        pass


def fixed(depth: float | np.ndarray, confidence: float | np.ndarray = 0.9) -> FixedEngine:
    full = np.ones((48, 64))
    return FixedEngine(full * depth, full * confidence)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("model"))


def test_values_by_hand_through_onnx(tiny: Path) -> None:
    engine = load_engine(tiny, "onnx-cpu", threads=1)
    image = np.empty((48, 64, 3), np.uint8)
    image[:] = (0, 90, 210)  # mean 100: network depth 12, confidence 1 - 100 / 510
    got = DepthPipeline(engine).predict(image, CAMERA)
    assert got.depth.dtype == got.confidence.dtype == np.float32
    np.testing.assert_allclose(got.depth, 12.0, rtol=1e-6)
    np.testing.assert_allclose(got.confidence, 1 - 100 / 510, rtol=1e-6)
    assert got.camera == CAMERA


@pytest.mark.parametrize("focal", [40.0, 64.0, 100.0])
@pytest.mark.parametrize("size", [(64, 48), (128, 96), (640, 480)])
def test_metres_follow_the_focal_length_and_not_the_pixels(
    focal: float, size: tuple[int, int]
) -> None:
    # The same view at any resolution is the same depth; a longer lens means farther.
    camera = Camera(focal, focal, 31.5, 23.5, 64, 48).scaled_to(*size)
    image = np.zeros((size[1], size[0], 3), np.uint8)
    got = DepthPipeline(fixed(10.0)).predict(image, camera)
    assert got.depth.shape == size[::-1]
    np.testing.assert_allclose(got.depth, 10.0 * focal / 64.0, rtol=1e-5)


def test_stretch_takes_the_geometric_mean_of_both_focal_lengths() -> None:
    camera = Camera(64.0, 64.0, 31.5, 47.5, 64, 96)  # halved in height: fx 64, fy 32
    image = np.zeros((96, 64, 3), np.uint8)
    got = DepthPipeline(fixed(10.0), resize="stretch").predict(image, camera)
    np.testing.assert_allclose(got.depth, 10.0 * np.sqrt(0.5), rtol=1e-5)


def test_crop_leaves_the_borders_unknown_with_confidence_zero() -> None:
    camera = Camera(64.0, 64.0, 63.5, 23.5, 128, 48)
    got = DepthPipeline(fixed(10.0), resize="crop").predict(
        np.zeros((48, 128, 3), np.uint8), camera
    )
    assert np.isnan(got.depth[:, :32]).all()
    assert np.isnan(got.depth[:, 96:]).all()
    assert (got.confidence[:, :32] == 0).all()
    assert (got.confidence[:, 96:] == 0).all()
    np.testing.assert_allclose(got.depth[:, 32:96], 10.0, rtol=1e-6)
    np.testing.assert_allclose(got.confidence[:, 32:96], 0.9, rtol=1e-6)


def test_letterbox_predicts_the_whole_picture() -> None:
    camera = Camera(64.0, 64.0, 63.5, 23.5, 128, 48)
    got = DepthPipeline(fixed(10.0)).predict(np.zeros((48, 128, 3), np.uint8), camera)
    np.testing.assert_allclose(got.depth, 5.0, rtol=1e-5)  # halved: focal length 32 of 64
    assert (got.confidence > 0.89).all()


def test_network_size_output_has_the_network_camera() -> None:
    camera = Camera(64.0, 64.0, 63.5, 23.5, 128, 48)
    pipeline = DepthPipeline(fixed(10.0), output_size="network")
    got = pipeline.predict(np.zeros((48, 128, 3), np.uint8), camera)
    assert got.depth.shape == (48, 64)
    assert got.camera == Camera(32.0, 32.0, 31.5, 23.5, 64, 48)
    assert np.isnan(got.depth[:12]).all()
    assert np.isnan(got.depth[36:]).all()
    assert (got.confidence[:12] == 0).all()
    np.testing.assert_allclose(got.depth[12:36], 5.0, rtol=1e-5)


def test_beyond_range_is_infinite_in_metres() -> None:
    depth = np.full((48, 64), 50.0)
    depth[:, 32:] = 90.0
    got = DepthPipeline(fixed(depth)).predict(IMAGE, CAMERA)
    assert np.isinf(got.depth[:, 32:]).all()
    np.testing.assert_allclose(got.depth[:, :32], 50.0, rtol=1e-6)
    assert (got.confidence > 0.89).all()  # sure that it is far
    longer = dataclasses.replace(CAMERA, fx=128.0, fy=128.0)  # 50 becomes 100 m
    assert np.isinf(DepthPipeline(fixed(depth)).predict(IMAGE, longer).depth).all()
    near = DepthPipeline(fixed(depth), max_depth_m=20.0).predict(IMAGE, CAMERA)
    assert np.isinf(near.depth).all()
    far = DepthPipeline(fixed(depth), max_depth_m=200.0).predict(IMAGE, CAMERA)
    np.testing.assert_allclose(far.depth, depth, rtol=1e-6)


def test_below_min_confidence_is_nan_and_keeps_its_confidence() -> None:
    confidence = np.full((48, 64), 0.4)
    confidence[24:] = 0.6
    got = DepthPipeline(fixed(10.0, confidence), min_confidence=0.5).predict(IMAGE, CAMERA)
    assert np.isnan(got.depth[:24]).all()
    assert (got.depth[24:] == 10.0).all()
    np.testing.assert_allclose(got.confidence, confidence, rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, 0.0, -3.0, -np.inf])
def test_what_is_no_depth_becomes_nan_with_confidence_zero(bad: float) -> None:
    depth = np.full((48, 64), 10.0)
    depth[5, 7] = bad
    got = DepthPipeline(fixed(depth)).predict(IMAGE, CAMERA)
    assert np.isnan(got.depth[5, 7])
    assert got.confidence[5, 7] == 0
    assert np.isnan(got.depth).sum() == 1


def test_infinite_depth_stays_infinite_when_enlarged() -> None:
    got = DepthPipeline(fixed(np.inf)).predict(
        np.zeros((96, 128, 3), np.uint8), CAMERA.scaled_to(128, 96)
    )
    assert np.isposinf(got.depth).all()


@pytest.mark.parametrize(("raw", "expected"), [(np.nan, 0.0), (-0.2, 0.0), (1.3, 1.0)])
def test_confidence_stays_a_probability(raw: float, expected: float) -> None:
    got = DepthPipeline(fixed(10.0, raw)).predict(IMAGE, CAMERA)
    assert (got.confidence == expected).all()


def test_a_plane_stays_a_plane_when_enlarged() -> None:
    # Flat ground 1.5 m below: depth = 1.5 fy / (row - cy). Interpolating depth itself would be
    # wrong by 10 % near the horizon; inverse depth is exact.
    rows = np.arange(48) - 10.0
    inverse = np.where(rows > 0, rows / (1.5 * 64.0), 1e-4)
    big = Camera(64.0, 64.0, 31.5, 10.0, 64, 48).scaled_to(256, 192)
    pipeline = DepthPipeline(fixed(np.repeat(1 / inverse[:, None], 64, 1)), max_depth_m=1e6)
    got = pipeline.predict(np.zeros((192, 256, 3), np.uint8), big)
    inside = np.arange(60, 184)
    expected = 1.5 * big.fy / (inside - big.cy)
    np.testing.assert_allclose(got.depth[inside, 100], expected, rtol=1e-4)


def test_batch_equals_one_by_one_and_keeps_sizes(tiny: Path) -> None:
    rng = np.random.default_rng(3)
    sizes = [(64, 48), (128, 96), (100, 75)]
    images = [rng.integers(0, 256, (h, w, 3), np.uint8) for w, h in sizes]
    cameras = [Camera.from_fov(60, w, h) for w, h in sizes]
    engine = load_engine(tiny, "onnx-cpu", threads=1)
    pipeline = DepthPipeline(engine)
    together = pipeline.predict_batch(images, cameras)
    for one, image, camera in zip(together, images, cameras, strict=True):
        alone = DepthPipeline(engine).predict(image, camera)
        np.testing.assert_array_equal(one.depth, alone.depth)
        np.testing.assert_array_equal(one.confidence, alone.confidence)
        assert one.depth.shape == image.shape[:2]
        assert one.camera == camera
    assert pipeline.predict_batch([], []) == []


def test_results_are_not_overwritten_by_the_next_frame() -> None:
    engine = fixed(10.0)
    pipeline = DepthPipeline(engine)
    first = pipeline.predict(IMAGE, CAMERA)
    engine.depth = engine.depth * 3
    second = pipeline.predict(IMAGE, CAMERA)
    assert (first.depth == 10.0).all()
    np.testing.assert_allclose(second.depth, 30.0, rtol=1e-6)
    assert (engine.depth == 30.0).all()  # the engine's own memory is left alone


def test_outputs_of_six_cameras_are_recycled() -> None:
    pipeline = DepthPipeline(fixed(10.0))
    got = pipeline.predict_batch([IMAGE] * 6, [CAMERA] * 6)
    kept = [weakref.ref(part) for one in got for part in (one.depth, one.confidence)]
    del got
    for count in (6, 5, 1, 6):
        pipeline.predict_batch([IMAGE] * count, [CAMERA] * count)
    assert all(part() is not None for part in kept)


def test_unseen_view_warns_once_a_camera(caplog: pytest.LogCaptureFixture) -> None:
    pipeline = DepthPipeline(fixed(10.0))
    fisheye = dataclasses.replace(CAMERA, fx=20.0, fy=20.0)
    tele = dataclasses.replace(CAMERA, fx=400.0, fy=400.0)
    with caplog.at_level(logging.WARNING):
        for camera in (CAMERA, fisheye, fisheye, tele, fisheye, tele):
            pipeline.predict(IMAGE, camera)
    assert len(caplog.messages) == 2
    assert "trained on focal lengths of 32 to 128 px" in caplog.messages[0]
    assert "this camera has 20 px (116 degrees)" in caplog.messages[0]
    assert "400 px" in caplog.messages[1]


@pytest.mark.parametrize(
    ("width", "height", "proposed"), [(640, 192, "96x64"), (100, 320, "64x96"), (64, 40, "")]
)
def test_images_that_leave_the_network_empty_get_a_hint(
    caplog: pytest.LogCaptureFixture, width: int, height: int, proposed: str
) -> None:
    image = np.zeros((height, width, 3), np.uint8)
    camera = Camera(64.0, 64.0, width / 2, height / 2, width, height)
    pipeline = DepthPipeline(fixed(10.0))
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            pipeline.predict(image, camera)
    hints = [text for text in caplog.messages if "sees more of them" in text]
    assert len(hints) == bool(proposed)
    assert all(f"--size {proposed}" in text for text in hints)


def test_relative_models_say_so(caplog: pytest.LogCaptureFixture) -> None:
    engine = fixed(10.0)
    engine.card = dataclasses.replace(CARD, is_metric=False)
    with caplog.at_level(logging.WARNING):
        DepthPipeline(engine)
    assert "relative depth, not metres" in caplog.text


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"resize": "zoom"}, "unknown resize 'zoom'"),
        ({"output_size": "half"}, "unknown output size 'half'"),
        ({"min_confidence": 1.5}, r"between 0 and 1, got 1\.5"),
        ({"min_confidence": float("nan")}, "between 0 and 1, got nan"),
        ({"max_depth_m": 0.0}, r"positive, got 0\.0"),
    ],
)
def test_settings_out_of_range(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DepthPipeline(fixed(1.0), **settings)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((48, 64), np.uint8), r"uint8\[H,W,3\] RGB, got uint8\[48, 64\]"),
        (np.zeros((48, 64, 4), np.uint8), r"got uint8\[48, 64, 4\]"),
        (np.zeros((48, 64, 3), np.float32), r"got float32\[48, 64, 3\]"),
        (np.zeros((47, 64, 3), np.uint8), "camera is 64x48, image is 64x47"),
    ],
)
def test_images_that_do_not_fit(image: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DepthPipeline(fixed(1.0)).predict(image, CAMERA)
    with pytest.raises(ValueError, match="got 2 images but 1 cameras"):
        DepthPipeline(fixed(1.0)).predict_batch([IMAGE, IMAGE], [CAMERA])
