"""Where the image shows the vehicle that carries the camera, which is no depth to score."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from rosam_core.geometry.occlusion import MAX_REACH_RAD, scan_spacing, view_angles
from rosam_core.geometry.projection import points_in_view
from rosam_core.types import Camera, Float32, Frame

Mask = npt.NDArray[np.bool_]

NEAREST_M = 0.1  # nearer points are on the camera's own housing
LEAST_SHARE = 0.5
"""A pixel is the vehicle's if it is in at least this share of the frames: others drive away."""


@dataclasses.dataclass(frozen=True)
class VehicleBox:
    """How far the vehicle reaches from the camera, along the camera's axes [m], each >= 0."""

    left: float
    right: float
    up: float
    down: float
    behind: float
    ahead: float

    def __post_init__(self) -> None:
        if not all(value >= 0 for value in dataclasses.astuple(self)):
            raise ValueError(f"a vehicle reaches 0 m or more to every side, got {self}")


def inside_box(points: Float32, box: VehicleBox) -> Mask:
    """Returns which points lie in a box, bool[N].

    Args:
        points: float32[N,3], in the camera's frame [m].
        box: The vehicle.
    """
    low = np.array([-box.left, -box.up, -box.behind])
    high = np.array([box.right, box.down, box.ahead])
    return np.asarray(((points >= low) & (points <= high)).all(axis=1))


def vehicle_pixels(points: Float32, camera: Camera) -> Mask:
    """Returns the pixels that show the vehicle, bool[H,W]: around its points, one spacing far.

    Args:
        points: float32[N,3], points of the vehicle in the camera's frame [m].
        camera: Of the image.
    """
    mask = np.zeros((camera.height, camera.width), np.uint8)
    points, pixels = points_in_view(points, camera, min_depth_m=NEAREST_M, border_px=0.0)
    if len(points):
        columns, rows = np.clip(
            np.rint(pixels).astype(int).T, 0, [[camera.width - 1], [camera.height - 1]]
        )
        mask[rows, columns] = 1
        reach = np.minimum(scan_spacing(view_angles(points.astype(np.float64))), MAX_REACH_RAD)
        size = 2 * np.ceil(reach * (camera.fx, camera.fy)).astype(int) + 1
        mask = cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_RECT, size.tolist()))
    return np.asarray(mask > 0)


def ego_mask_of_lidar(frames: Iterable[Frame], box: VehicleBox) -> Mask:
    """Returns where a camera always sees the vehicle itself, bool[H,W].

    Args:
        frames: Some frames of one camera with lidar, from all over the drive.
        box: The vehicle.

    Raises:
        ValueError: No frame has lidar, or the sizes of images differ.
    """
    seen: npt.NDArray[np.int64] | None = None
    count = 0
    for frame in frames:
        if frame.lidar is None:
            continue
        pixels = vehicle_pixels(frame.lidar[inside_box(frame.lidar, box)], frame.camera)
        if seen is None:
            seen = np.zeros(pixels.shape, np.int64)
        check_mask(pixels, seen.shape)
        seen += pixels
        count += 1
    if seen is None:
        raise ValueError("no frame has lidar, so the vehicle is not seen in it: draw a mask")
    return np.asarray(seen >= max(LEAST_SHARE * count, 1))


def read_ego_mask(path: Path) -> Mask:
    """Returns the mask in an image file, bool[H,W]: any value but 0 (black) is the vehicle.

    Args:
        path: PNG or another lossless image.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no image.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no mask {path}")
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if image is None:
        raise ValueError(f"{path} is no image: a mask is a PNG, white on the vehicle")
    return np.asarray(image > 0)


def check_mask(mask: Mask, shape: tuple[int, ...]) -> None:
    """Raises ValueError if a mask is not of the size of an image."""
    if mask.shape != shape:
        raise ValueError(
            f"the mask is {mask.shape[1]}x{mask.shape[0]}, the image {shape[1]}x{shape[0]}: "
            "a mask is for one camera, choose one"
        )
