import math
import re

import pytest

from rosam_core.runtime.camera_model import camera_for_image, camera_from_info
from rosam_core.types import Camera

K = (500.0, 0.0, 320.0, 0.0, 510.0, 240.0, 0.0, 0.0, 1.0)


def test_fields_land_where_they_belong() -> None:
    camera = camera_from_info(640, 480, "plumb_bob", [0.1, -0.2, 0.0, 0.0, 0.0], K)
    assert camera == Camera(
        500.0, 510.0, 320.0, 240.0, 640, 480, "plumb_bob", (0.1, -0.2, 0.0, 0.0, 0.0)
    )


@pytest.mark.parametrize("model", ["", "none", "plumb_bob", "equidistant", "rational_polynomial"])
@pytest.mark.parametrize("d", [[], [0.0] * 5, [0.0] * 8])
def test_zero_distortion_is_none_whatever_its_length(model: str, d: list[float]) -> None:
    camera = camera_from_info(640, 480, model, d, K)
    assert (camera.distortion_model, camera.distortion) == ("", ())


def changed(index: int, value: float) -> tuple[float, ...]:
    return (*K[:index], value, *K[index + 1 :])


BAD = [
    ((0, 480, "", [], K), "size 0x480; expected the image's size"),
    ((640, 0, "", [], K), "size 640x0"),
    ((640, 480, "", [], changed(0, 0.0)), "fx=0 fy=510, so the camera is not calibrated"),
    ((640, 480, "", [], changed(4, 0.0)), "fx=500 fy=0"),
    ((640, 480, "", [], changed(0, -500.0)), "fx=-500"),
    ((640, 480, "", [], (0.0,) * 9), "fx=0 fy=0"),
    ((640, 480, "", [], changed(2, math.nan)), "NaN or infinite value in K"),
    ((640, 480, "", [], changed(4, math.inf)), "NaN or infinite value in K"),
    ((640, 480, "", [], K[:4]), "4 values in K; expected 9"),
    ((640, 480, "omni", [0.1], K), "distortion model 'omni'; known are none, plumb_bob"),
    ((640, 480, "plumb_bob", [0.1, 0.2], K), "2 coefficients for distortion model 'plumb_bob'"),
    ((640, 480, "", [0.1] * 5, K), "5 coefficients for distortion model ''; expected 0"),
    ((640, 480, "equidistant", [0.1, 0, 0, math.nan], K), "NaN or infinite distortion"),
]


@pytest.mark.parametrize(("fields", "message"), BAD)
def test_malformed_camera_info(fields: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        camera_from_info(*fields)
    assert "\n" not in str(caught.value)
    assert str(caught.value).count(":") >= 1  # what is wrong: what to do


def test_only_the_very_size_will_do() -> None:
    camera = camera_from_info(640, 480, "", [], K)
    assert camera_for_image(camera, 640, 480) is camera
    with pytest.raises(ValueError, match="image is 320x240 but its camera_info is 640x480"):
        camera_for_image(camera, 320, 240)
