"""Where the image shows the vehicle itself."""

import cv2
import numpy as np
import pytest

from rosam_core.evaluation.ego_vehicle import (
    VehicleBox,
    ego_mask_of_lidar,
    inside_box,
    read_ego_mask,
    vehicle_pixels,
)
from rosam_core.types import Camera, Frame

CAMERA = Camera(64, 64, 31.5, 23.5, 64, 48)
BOX = VehicleBox(left=1, right=1, up=0.5, down=2, behind=3, ahead=2)


def bonnet(step=0.05):
    """Points on a plate 0.5 m under the camera, 1 to 1.8 m ahead: rows 41 to 47 and beyond."""
    x, z = (g.ravel() for g in np.meshgrid(np.arange(-0.4, 0.41, step), np.arange(1, 1.8, step)))
    return np.stack([x, np.full_like(x, 0.5), z], axis=1).astype(np.float32)


def frame(points, camera=CAMERA):
    image = np.zeros((camera.height, camera.width, 3), np.uint8)
    return Frame(image, camera, 0, lidar=None if points is None else points.astype(np.float32))


def test_the_box_is_along_the_axes_of_the_camera():
    inside = np.array([[-0.9, 0, 0], [0.9, -0.4, 1.9], [0, 1.9, -2.9]], np.float32)
    outside = np.array(
        [[-1.1, 0, 0], [1.1, 0, 0], [0, -0.6, 0], [0, 2.1, 0], [0, 0, -3.1], [0, 0, 2.1]],
        np.float32,
    )
    assert inside_box(inside, BOX).all()
    assert not inside_box(outside, BOX).any()
    assert not inside_box(np.full((1, 3), np.nan, np.float32), BOX).any()
    with pytest.raises(ValueError, match="0 m or more"):
        VehicleBox(1, 1, 1, -1, 1, 1)


def test_the_mask_closes_the_gaps_between_points():
    mask = vehicle_pixels(bonnet(), CAMERA)
    # The far edge of the plate is at row 23.5 + 64 * 0.5 / 1.75 = 41.8.
    assert mask[43:, 20:44].all()
    assert not mask[:38].any()
    assert not vehicle_pixels(bonnet()[:0], CAMERA).any()


def test_only_what_is_there_in_most_frames_is_the_vehicle():
    wall = np.array([[0, 0, 20.0]], np.float32)
    other = np.array([[-0.5, -0.3, 1.5], [-0.5, -0.29, 1.5]], np.float32)  # someone walks by, once
    frames = [
        frame(np.concatenate([bonnet(), wall])),
        frame(None),
        frame(np.concatenate([bonnet(), other])),
        frame(bonnet()),
    ]
    mask = ego_mask_of_lidar(frames, BOX)
    assert mask[44, 31]
    assert not mask[:38].any()
    row, column = round(23.5 - 64 * 0.2), round(31.5 - 64 / 3)
    assert vehicle_pixels(other, CAMERA)[row, column]
    with pytest.raises(ValueError, match="no frame has lidar"):
        ego_mask_of_lidar([frame(None)], BOX)
    with pytest.raises(ValueError, match="a mask is for one camera"):
        ego_mask_of_lidar([frame(bonnet()), frame(bonnet(), Camera(64, 64, 31, 23, 32, 48))], BOX)


def test_a_mask_of_a_file(tmp_path):
    drawn = np.zeros((4, 6), np.uint8)
    drawn[3] = 255
    drawn[2, 0] = 1
    cv2.imwrite(str(tmp_path / "mask.png"), drawn)
    assert np.array_equal(read_ego_mask(tmp_path / "mask.png"), drawn > 0)
    with pytest.raises(FileNotFoundError, match="no mask"):
        read_ego_mask(tmp_path / "absent.png")
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(ValueError, match="is no image: a mask is a PNG"):
        read_ego_mask(tmp_path / "text.png")
