"""Cameras keep their rays through resizing and cropping; cards refuse what they cannot mean."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rosam_core.types import Camera, ModelCard, card_path, file_sha256

CAMERA = Camera(400.0, 410.0, 319.5, 239.5, 640, 480)
CARD = ModelCard(
    name="tiny",
    architecture="light",
    input_width=64,
    input_height=48,
    training_focal_px=60.0,
    focal_range_px=(40.0, 90.0),
    min_depth_m=0.1,
    max_depth_m=80.0,
    is_metric=True,
    confidence_temperature=1.0,
    sha256="0" * 64,
    licence="Apache-2.0",
    training_data="none",
    results={"synthetic": {"abs_rel": 0.1}},
)


def _ray(camera: Camera, column: float, row: float) -> tuple[float, float]:
    return (column - camera.cx) / camera.fx, (row - camera.cy) / camera.fy


def test_intrinsic_matrix_projects_the_axis_to_the_principal_point() -> None:
    np.testing.assert_array_equal(CAMERA.K @ [0, 0, 1], [319.5, 239.5, 1])
    np.testing.assert_array_equal(CAMERA.K @ [1, 1, 1], [719.5, 649.5, 1])


def test_field_of_view_by_hand() -> None:
    camera = Camera.from_fov(90.0, 640, 480)
    assert camera.fx == pytest.approx(320.0)
    assert camera.fy == camera.fx
    assert (camera.cx, camera.cy) == (319.5, 239.5)
    assert camera.fov_x_deg == pytest.approx(90.0)


def test_halving_keeps_the_rays_of_the_corners_of_pixels() -> None:
    half = CAMERA.scaled_to(320, 240)
    assert (half.width, half.height) == (320, 240)
    assert (half.fx, half.fy) == (200.0, 205.0)
    assert (half.cx, half.cy) == (159.5, 119.5)
    # The outer edge of the picture, half a pixel outside the first centre, stays where it is.
    assert _ray(half, -0.5, -0.5) == pytest.approx(_ray(CAMERA, -0.5, -0.5))
    assert _ray(half, 319.5, 239.5) == pytest.approx(_ray(CAMERA, 639.5, 479.5))


def test_scaling_there_and_back_is_the_same_camera() -> None:
    back = CAMERA.scaled_to(333, 77).scaled_to(640, 480)
    assert dataclasses.astuple(back)[:6] == pytest.approx(dataclasses.astuple(CAMERA)[:6])


def test_cropping_moves_only_the_principal_point() -> None:
    window = CAMERA.cropped(100, -20, 300, 520)
    assert (window.fx, window.fy) == (CAMERA.fx, CAMERA.fy)
    assert (window.cx, window.cy, window.width, window.height) == (219.5, 259.5, 300, 520)
    assert _ray(window, 0, 20) == _ray(CAMERA, 100, 0)


def test_distortion_survives_resizing() -> None:
    camera = dataclasses.replace(
        CAMERA, distortion_model="plumb_bob", distortion=(0.1, 0, 0, 0, 0)
    )
    scaled = camera.scaled_to(320, 240)
    assert scaled.distortion_model == "plumb_bob"
    assert scaled.distortion == (0.1, 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((0, 1, 0, 0, 4, 4), "positive focal lengths"),
        ((1, -1, 0, 0, 4, 4), "is the camera calibrated"),
        ((math.nan, 1, 0, 0, 4, 4), "finite intrinsics"),
        ((1, 1, math.inf, 0, 4, 4), "finite intrinsics"),
        ((1, 1, 0, 0, 0, 4), "positive size, got 0x4"),
        ((1, 1, 0, 0, 4, -1), "positive size, got 4x-1"),
    ],
)
def test_impossible_cameras_are_refused(values: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Camera(*values)


@pytest.mark.parametrize("degrees", [0.0, 180.0, -10.0, math.nan])
def test_impossible_fields_of_view_are_refused(degrees: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 180"):
        Camera.from_fov(degrees, 4, 4)


def test_card_survives_its_file(tmp_path: Path) -> None:
    path = card_path(tmp_path / "model.onnx")
    assert path == tmp_path / "model.json"
    path.write_text(CARD.to_json())
    assert ModelCard.load(path) == CARD


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"focal_range_px": [40]}, "card.json"),
        ({"input_width": 0}, "input size must be positive, got 0x48"),
        ({"training_focal_px": 0}, "training_focal_px must be positive"),
        ({"min_depth_m": 90}, "0 < min_depth_m < max_depth_m, got 90.0 and 80.0"),
        ({"max_depth_m": "far"}, "could not convert"),
        ({"colour": "red"}, r"missing \[\], unknown \['colour'\]"),
        ({"name": None, "licence": None}, r"missing \['licence', 'name'\]"),
    ],
)
def test_bad_cards_name_the_field(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    values = json.loads(CARD.to_json()) | change
    path = tmp_path / "card.json"
    path.write_text(json.dumps({k: v for k, v in values.items() if v is not None}))
    with pytest.raises(ValueError, match=message):
        ModelCard.load(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"{", "is not JSON"), (b"\xff\xfe", "is not JSON"), (b"[1]", "is not a JSON object")],
)
def test_files_that_are_no_cards(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "card.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        ModelCard.load(path)


def test_a_missing_card_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="rosam export"):
        ModelCard.load(tmp_path / "model.json")


def test_hash_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    # The example of FIPS 180-2, appendix B.1.
    assert file_sha256(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
