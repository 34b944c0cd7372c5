"""From the fields of a ROS `camera_info` to a `Camera`, or to an error that says what to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rosam_core.types import Camera, Float64

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


def camera_of_info(info: Any, image_topic: str = "") -> Camera:
    """Returns the intrinsics that a CameraInfo message states for the images of a topic.

    A rectified topic (`image_rect*`) has the projection matrix P and no distortion, any other
    one K and D. Region of interest and binning are applied.

    Args:
        info: The message, of rclpy or of rosbags: only its fields count.
        image_topic: Topic of the images.

    Raises:
        ValueError: The message cannot be a calibrated camera; says which field and the remedy.
    """
    if is_rectified(image_topic) and info.p[0] > 0:
        k = _projection(info)[:, :3].ravel().tolist()
        camera = camera_from_info(info.width, info.height, "", (), k)
    else:
        d, k = [float(v) for v in info.d], [float(v) for v in info.k]
        camera = camera_from_info(info.width, info.height, info.distortion_model, d, k)
    roi = info.roi
    if roi.width and roi.height:
        right, bottom = roi.x_offset + roi.width, roi.y_offset + roi.height
        if right > info.width or bottom > info.height:
            raise ValueError(
                f"camera_info has a region of interest up to ({right}, {bottom}) in an image of "
                f"{info.width}x{info.height}: let the camera driver fill roi"
            )
        camera = camera.cropped(roi.x_offset, roi.y_offset, roi.width, roi.height)
    across, down = max(1, info.binning_x), max(1, info.binning_y)
    if (across, down) != (1, 1):
        if across > camera.width or down > camera.height:
            raise ValueError(
                f"camera_info has a binning of {across}x{down} for {camera.width}x"
                f"{camera.height}: let the camera driver fill binning_x and binning_y"
            )
        camera = camera.scaled_to(camera.width // across, camera.height // down)
    return camera


def is_rectified(image_topic: str) -> bool:
    """Returns whether a topic carries rectified images, as image_proc names them."""
    return any(part.startswith("image_rect") for part in image_topic.split("/"))


def _projection(info: Any) -> Float64:
    return np.asarray(info.p, dtype=np.float64).reshape(3, 4)


def rectification_of(
    info: Any, camera: Camera, image_topic: str = ""
) -> tuple[list[float], list[float]] | None:
    """Returns R and P of a picture made from one that a CameraInfo message describes.

    P is taken along with whatever crop and resize the picture went through: what turned the
    message's K (its P where the images are rectified already) into the camera's.

    Args:
        info: The message; see `camera_of_info`.
        camera: Intrinsics of the picture.
        image_topic: Topic of the images.

    Returns:
        The 9 values of R and the 12 of P, row by row; None if the message has no P.
    """
    if not (info.p[0] > 0 and info.p[5] > 0):
        return None
    p, r = _projection(info), [float(v) for v in info.r]
    k = np.asarray(info.k, dtype=np.float64).reshape(3, 3)
    if is_rectified(image_topic):
        k, r = p[:, :3], np.eye(3).ravel().tolist()  # nothing is left to rectify
    resize = camera.K @ np.linalg.inv(k)
    return r, (resize @ p).ravel().tolist()


def camera_for_image(
    camera: Camera, width: int, height: int, source: str = "its camera_info"
) -> Camera:
    """Returns the camera if it is of exactly this image size.

    Args:
        camera: Intrinsics.
        width: Image width [px].
        height: Image height [px].
        source: Where the intrinsics come from, for the message.

    Raises:
        ValueError: Sizes differ; a resize or a crop would be a guess, so none is made.
    """
    if (camera.width, camera.height) != (width, height):
        remedy = (
            "publish the camera_info of this very image (image_proc resizes both together)"
            if source == "its camera_info"
            else "give the calibration of images of this size"
        )
        raise ValueError(
            f"image is {width}x{height} but {source} is {camera.width}x{camera.height}: {remedy}"
        )
    return camera
