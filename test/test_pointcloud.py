import struct

import cv2
import numpy as np
import pytest

from rosam_core.geometry.projection import project_points
from rosam_core.runtime.pointcloud import (
    FIELDS,
    POINT_STEP,
    organized_cloud,
    pixel_rays,
    unproject,
)
from rosam_core.types import Camera

CAMERA = Camera(100.0, 50.0, 2.0, 1.0, 5, 3)


def test_points_by_hand() -> None:
    depth = np.full((3, 5), np.nan, np.float32)
    depth[1, 2] = 4.0  # the principal point
    depth[2, 4] = 10.0
    depth[0, 0] = np.inf
    points = unproject(depth, CAMERA)
    assert points.dtype == np.float32
    np.testing.assert_allclose(points, [[0, 0, 4], [0.2, 0.2, 10]], atol=1e-6)


def test_nothing_known_gives_no_points() -> None:
    assert unproject(np.full((3, 5), np.nan, np.float32), CAMERA).shape == (0, 3)


def test_cloud_bytes_are_those_of_pointcloud2() -> None:
    depth = np.full((3, 5), 10.0, np.float32)
    depth[0, 1] = np.inf
    depth[0, 2] = np.nan
    image = np.zeros((3, 5, 3), np.uint8)
    image[2, 4] = (255, 128, 1)
    cloud = organized_cloud(depth, image, CAMERA)
    data = cloud.tobytes()
    assert len(data) == 15 * POINT_STEP
    offsets = dict(FIELDS)
    start = (2 * 5 + 4) * POINT_STEP
    x, y, z = struct.unpack_from("<3f", data, start + offsets["x"])
    assert (x, y, z) == pytest.approx((0.2, 0.2, 10.0))
    assert struct.unpack_from("<I", data, start + offsets["rgb"])[0] == 0x00FF8001
    for unknown in (1, 2):
        assert np.isnan(struct.unpack_from("<3f", data, unknown * POINT_STEP)).all()
    assert not np.isnan(cloud[..., 3]).any()


def test_cloud_equals_the_points_in_every_band() -> None:
    # Wide enough for several bands of rows, with a last band that is not full.
    rng = np.random.default_rng(0)
    camera = Camera.from_fov(80, 1600, 37)
    depth = rng.uniform(1, 50, (37, 1600)).astype(np.float32)
    image = rng.integers(0, 256, (37, 1600, 3), np.uint8)
    cloud = organized_cloud(depth, image, camera)
    np.testing.assert_array_equal(cloud[..., :3].reshape(-1, 3), unproject(depth, camera))
    colour = np.ascontiguousarray(cloud[..., 3]).view("<u4")
    np.testing.assert_array_equal((colour >> 16) & 255, image[..., 0])
    np.testing.assert_array_equal((colour >> 8) & 255, image[..., 1])
    np.testing.assert_array_equal(colour & 255, image[..., 2])


@pytest.mark.parametrize(
    ("model", "distortion"),
    [
        ("plumb_bob", (-0.3, 0.1, 0.001, -0.002, 0.0)),
        ("rational_polynomial", (-0.3, 0.1, 0.0, 0.0, 0.01, 0.02, 0.0, 0.0)),
        ("equidistant", (-0.02, 0.003, 0.0, 0.0)),
        ("equidistant", (0.0, 0.0, 0.0, 0.0)),
    ],
)
def test_rays_undo_the_distortion(model: str, distortion: tuple[float, ...]) -> None:
    camera = Camera(60.0, 62.0, 31.0, 23.0, 64, 48, model, distortion)
    rays = pixel_rays(camera)
    points = np.stack([rays[0], rays[1], np.ones_like(rays[0])], -1).reshape(-1, 1, 3)
    points = points.astype(np.float64)
    zero, coefficients = np.zeros(3), np.array(distortion)
    project = cv2.fisheye.projectPoints if model == "equidistant" else cv2.projectPoints
    pixels, _ = project(points, zero, zero, camera.K, coefficients)
    expected = np.stack(np.meshgrid(np.arange(64), np.arange(48)), -1).reshape(-1, 2)
    assert np.abs(pixels.reshape(-1, 2) - expected).max() < 0.01


@pytest.mark.parametrize(
    ("camera", "share"),
    [
        # 118 degrees from the middle of a wide lens to its corners.
        (Camera(286.0, 286.0, 423.5, 399.5, 848, 800, "equidistant", (0.01, 0.0, 0.0, 0.0)), 0.1),
        # A barrel that folds back before the corners.
        (Camera(30.0, 30.0, 31.5, 23.5, 64, 48, "plumb_bob", (-0.3, 0.0, 0.0, 0.0, 0.0)), 0.02),
    ],
)
def test_where_the_lens_model_cannot_tell_there_is_no_point(camera: Camera, share: float) -> None:
    rays = pixel_rays(camera)
    unknown = np.isnan(rays[0])
    assert share < unknown.mean() < 0.6
    np.testing.assert_array_equal(unknown, np.isnan(rays[1]))
    middle = camera.height // 2, camera.width // 2
    assert not unknown[middle]
    assert np.nanmax(np.abs(rays)) < 1e3
    depth = np.full((camera.height, camera.width), 10.0, np.float32)
    image = np.zeros((camera.height, camera.width, 3), np.uint8)
    cloud = organized_cloud(depth, image, camera)[..., :3]
    np.testing.assert_array_equal(np.isnan(cloud).all(axis=2), unknown)
    np.testing.assert_array_equal(np.isnan(cloud).any(axis=2), unknown)
    points = unproject(depth, camera)
    np.testing.assert_array_equal(points, cloud[~unknown])
    again = project_points(points, camera)
    rows, columns = np.nonzero(~unknown)
    assert np.abs(again - np.column_stack([columns, rows])).max() < 1.0


def test_sizes_must_agree() -> None:
    with pytest.raises(ValueError, match="depth is 4x3 but its camera is 5x3"):
        unproject(np.ones((3, 4), np.float32), CAMERA)
    with pytest.raises(ValueError, match=r"size \[3, 5\], got \[3, 4, 3\]"):
        organized_cloud(np.ones((3, 5), np.float32), np.zeros((3, 4, 3), np.uint8), CAMERA)


def test_cached_rays_cannot_be_changed_by_a_caller() -> None:
    with pytest.raises(ValueError, match="read-only"):
        pixel_rays(CAMERA)[0, 0, 0] = 1.0
