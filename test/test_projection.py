"""Points to pixels."""

import cv2
import numpy as np
import pytest

from rosam_core.geometry.projection import points_in_view, project_points, sparse_depth
from rosam_core.runtime.rays import ray_slopes
from rosam_core.types import Camera

CAMERA = Camera(fx=10, fy=20, cx=5, cy=5, width=11, height=11)


def points(*rows: tuple[float, float, float]) -> np.ndarray:
    return np.array(rows, dtype=np.float32)


def test_pinhole_by_hand():
    # (1, -0.5, 4): column 10/4 + 5, row -20*0.5/4 + 5
    np.testing.assert_allclose(project_points(points((1, -0.5, 4)), CAMERA), [[7.5, 2.5]])


def test_nearest_point_wins_whatever_the_order():
    far_first = sparse_depth(points((0, 0, 9), (0, 0, 3)), CAMERA)
    near_first = sparse_depth(points((0, 0, 3), (0, 0, 9)), CAMERA)
    assert far_first[5, 5] == near_first[5, 5] == 3
    assert np.isfinite(far_first).sum() == 1
    assert far_first.dtype == np.float32


def test_points_behind_near_or_at_the_border_are_left_out():
    cloud = points((0, 0, -5), (0, 0, 1), (-2.1, 0, 5), (2.1, 0, 4), (np.nan, 0, 5), (0, 0, 1.01))
    kept, pixels = points_in_view(cloud, CAMERA)
    # (-2.1, 0, 5) falls at column 0.8 (within 1 px of the edge), (2.1, 0, 4) at 10.25.
    assert kept[:, 2].tolist() == pytest.approx([1.01])
    assert pixels.tolist() == [[5, 5]]


def test_every_side_of_an_oblong_image_has_its_border():
    camera = Camera(fx=10, fy=10, cx=10, cy=3, width=21, height=7)
    # Columns and rows of points 1 m away: 0.1 m is one pixel.
    at = {(1.1, 3): True, (0.9, 3): False, (19.9, 3): True, (20.1, 3): False}
    at |= {(10, 1.1): True, (10, 0.9): False, (10, 5.9): True, (10, 6.1): False}
    for (column, row), inside in at.items():
        cloud = 2 * points(((column - 10) / 10, (row - 3) / 10, 1))
        depth = sparse_depth(cloud, camera)
        assert depth.shape == (7, 21)
        assert np.isfinite(depth).sum() == inside
        if inside:
            assert depth[round(row), round(column)] == 2


def test_points_that_are_no_numbers_are_left_out():
    bad = points((np.inf, 0, 5), (0, -np.inf, 5), (0, np.nan, 5), (0, 0, np.inf), (0, 0, np.nan))
    assert np.isnan(sparse_depth(bad, CAMERA)).all()
    assert sparse_depth(np.zeros((0, 3), np.float32), CAMERA).shape == (11, 11)


def test_rounding_rule():
    cloud = points((1, 0, 4))  # column 7.5 + a little
    cloud[0, 0] = 1.1  # column 7.75
    assert np.isfinite(sparse_depth(cloud, CAMERA)[5, 8])
    assert np.isfinite(sparse_depth(cloud, CAMERA, rounding="floor")[5, 7])
    with pytest.raises(ValueError, match="ceil"):
        sparse_depth(cloud, CAMERA, rounding="ceil")


def test_plumb_bob_moves_points_inwards_and_does_not_fold_far_ones_back():
    camera = Camera(100, 100, 50, 50, 101, 101, "plumb_bob", (-0.3, 0.0, 0.0, 0.0, 0.0))
    # r = 0.4: scale 1 - 0.3 * 0.16 = 0.952 -> column 50 + 100 * 0.4 * 0.952
    np.testing.assert_allclose(project_points(points((2, 0, 5)), camera), [[88.08, 50]])
    # At r = 1.8 the polynomial is 1 - 0.972: the point would land 5 px from the centre.
    kept, _ = points_in_view(points((9, 0, 5)), camera)
    assert len(kept) == 0


def test_equidistant():
    camera = Camera(100, 100, 50, 50, 101, 101, "equidistant", (0.0, 0.0, 0.0, 0.0))
    # theta = atan(r), also when every coefficient is zero
    np.testing.assert_allclose(
        project_points(points((2, 0, 5)), camera), [[50 + 100 * np.arctan(0.4), 50]]
    )


def test_what_any_pixel_of_a_wide_lens_sees_is_in_view():
    wide = Camera(640, 640, 640, 480, 1280, 960, "plumb_bob", (-0.30, 0.07, 0.0, 0.0, 0.0))
    columns, rows = np.meshgrid(np.arange(2.0, 1278, 29), np.arange(2.0, 958, 17))
    pixels = np.stack([columns.ravel(), rows.ravel()], axis=1)
    slopes = ray_slopes(pixels, wide)
    points = (20 * np.column_stack([slopes, np.ones(len(slopes))])).astype(np.float32)
    kept, back = points_in_view(points, wide)
    assert len(kept) == len(points)
    np.testing.assert_allclose(back, pixels, atol=0.2)
    # 90 degrees are too much for the five rounds of OpenCV's own inversion.
    corner = np.zeros((1, 1, 2))
    own = cv2.undistortPoints(corner, wide.K, np.array(wide.distortion)).reshape(1, 2)
    there = project_points(np.array([[*own[0], 1]], np.float32), wide)
    assert np.linalg.norm(there) > 40
    exact = np.array([[*ray_slopes(corner[0], wide)[0], 1]], np.float32)
    assert np.linalg.norm(project_points(exact, wide)) < 0.2


def test_a_distortion_without_an_inverse_keeps_the_view_of_a_pinhole():
    folded = Camera(100, 100, 100, 100, 200, 200, "plumb_bob", (-0.6, 0.0, 0.0, 0.0, 0.0))
    points = np.array([[0.9, 0, 1], [1.29, 0, 1], [1.31, 0, 1]], np.float32) * 10
    kept, _ = points_in_view(points, folded)
    assert [round(float(x / z), 2) for x, _, z in kept] == [0.9, 1.29]
