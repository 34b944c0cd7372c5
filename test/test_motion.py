"""A sweep of a moving sensor, by hand."""

import numpy as np
import pytest
from bag_samples import moved as pose

from rosam_core.geometry.motion import moved, moved_sweep


def test_every_point_has_the_pose_of_its_time():
    begin, end = pose(x=1), pose(x=1, y=4, turn_z_deg=90)
    point = np.tile(np.array([[2.0, 0, 5]], np.float32), (3, 1))
    out = moved_sweep(point, np.array([0.0, 0.5, 1.0]), begin, end)
    half = np.sqrt(2)  # 2 m to the side at 45 degrees
    np.testing.assert_allclose(out, [[3, 0, 5], [1 + half, 2 + half, 5], [1, 6, 5]], atol=1e-6)
    assert out.dtype == np.float32


def test_the_ends_are_the_poses_and_rest_needs_no_times():
    rng = np.random.default_rng(1)
    points = rng.normal(size=(20, 3)).astype(np.float32)
    begin, end = pose(x=1, z=2, turn_z_deg=30), pose(y=-3, turn_z_deg=-100)
    np.testing.assert_allclose(
        moved_sweep(points, np.ones(20), begin, end), moved(points, end), atol=1e-5
    )
    np.testing.assert_allclose(
        moved_sweep(points, rng.random(20), begin, begin), moved(points, begin), atol=1e-5
    )
    assert moved_sweep(points[:0], np.zeros(0), begin, end).shape == (0, 3)


def test_distances_within_one_instant_stay():
    points = np.array([[0, 0, 10], [3, 4, 10.0]], np.float32)
    out = moved_sweep(points, np.full(2, 0.3), pose(), pose(x=5, turn_z_deg=70))
    assert np.linalg.norm(out[1] - out[0]) == pytest.approx(5, abs=1e-5)
