"""The flat-ground baseline against the geometry of one ray."""

import numpy as np
import pytest

from rosam_core.evaluation.flat_ground import flat_ground_depth
from rosam_core.types import Camera

CAMERA = Camera(fx=100, fy=50, cx=3.5, cy=4, width=8, height=10)


def test_depth_of_rows_by_hand():
    depth = flat_ground_depth(CAMERA, camera_height_m=1.5, max_depth_m=60)
    assert depth.shape == (10, 8)
    assert depth.dtype == np.float32
    # One row below the horizon 1.5 * 50 / 1 = 75 m, capped; two rows 37.5 m; five rows 15 m.
    assert depth[:, 0].tolist() == [60, 60, 60, 60, 60, 60, 37.5, 25, 18.75, 15]
    assert (depth == depth[:, :1]).all()


def test_is_exact_on_a_flat_road():
    height = 1.7
    depth = flat_ground_depth(CAMERA, height)
    row = 9
    y = (row - CAMERA.cy) / CAMERA.fy * depth[row, 0]  # camera y points down
    assert y == pytest.approx(height)


def test_height_must_be_positive():
    with pytest.raises(ValueError, match="-1"):
        flat_ground_depth(CAMERA, -1)
