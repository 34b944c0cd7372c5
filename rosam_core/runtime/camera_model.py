"""From the fields of a ROS `camera_info` to a `Camera`, or to an error that says what to do."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rosam_core.types import Camera

_CALIBRATE = (
    "calibrate the camera (camera_calibration) and let its driver publish the result, or fill K"
)
# Number of coefficients that ROS defines for each model; an empty list means no distortion.
_COEFFICIENTS: dict[str, tuple[int, ...]] = {
    "": (0,),
    "none": (0,),
    "plumb_bob": (0, 4, 5),
    "rational_polynomial": (0, 8, 12, 14),
    "equidistant": (0, 4),
}


def camera_from_info(
    width: int,
    height: int,
    distortion_model: str,
    d: Sequence[float],
    k: Sequence[float],
) -> Camera:
    """Returns the camera that a `sensor_msgs/CameraInfo` describes.

    Args:
        width: Image width [px].
        height: Image height [px].
        distortion_model: `""`, `plumb_bob`, `rational_polynomial` or `equidistant`.
        d: Coefficients of that model.
        k: The nine values of K, row by row [px].

    Raises:
        ValueError: The message cannot be a calibrated camera; says which field and the remedy.
    """
    if width <= 0 or height <= 0:
        raise ValueError(
            f"camera_info has size {width}x{height}; expected the image's size: let the camera "
            "driver fill width and height"
        )
    values = [float(v) for v in k]
    if len(values) != 9:
        raise ValueError(f"camera_info has {len(values)} values in K; expected 9: {_CALIBRATE}")
    if not np.isfinite(values).all():
        raise ValueError(f"camera_info has a NaN or infinite value in K: {_CALIBRATE}")
    fx, fy = values[0], values[4]
    if fx <= 0 or fy <= 0:
        raise ValueError(
            f"camera_info has focal lengths fx={fx:g} fy={fy:g}, so the camera is not "
            f"calibrated; expected positive pixels: {_CALIBRATE}"
        )
    if distortion_model not in _COEFFICIENTS:
        known = ", ".join(name for name in _COEFFICIENTS if name)
        raise ValueError(
            f"camera_info has distortion model {distortion_model!r}; known are {known}: "
            "rectify the images first (image_proc) and use their camera_info"
        )
    coefficients = tuple(float(v) for v in d)
    if len(coefficients) not in _COEFFICIENTS[distortion_model] and any(coefficients):
        expected = " or ".join(str(n) for n in _COEFFICIENTS[distortion_model])
        raise ValueError(
            f"camera_info has {len(coefficients)} coefficients for distortion model "
            f"{distortion_model!r}; expected {expected}: {_CALIBRATE}"
        )
    if not np.isfinite(coefficients).all():
        raise ValueError(f"camera_info has a NaN or infinite distortion: {_CALIBRATE}")
    if not any(coefficients):
        distortion_model, coefficients = "", ()
    return Camera(fx, fy, values[2], values[5], width, height, distortion_model, coefficients)


def camera_for_image(camera: Camera, width: int, height: int) -> Camera:
    """Returns the camera if it is of exactly this image size.

    Args:
        camera: Intrinsics.
        width: Image width [px].
        height: Image height [px].

    Raises:
        ValueError: Sizes differ; a resize or a crop would be a guess, so none is made.
    """
    if (camera.width, camera.height) != (width, height):
        raise ValueError(
            f"image is {width}x{height} but its camera_info is {camera.width}x{camera.height}: "
            "publish the camera_info of this very image (image_proc resizes both together)"
        )
    return camera
