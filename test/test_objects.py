"""How far the error varies inside objects, against values by hand."""

from __future__ import annotations

import numpy as np
import pytest

from rosam_core.evaluation.objects import object_spread

RANGE = (0.5, 80.0)


def scene():
    """Two objects of 8 x 10 pixels, 10 and 20 m away, on ground without an id."""
    truth = np.full((20, 30), 40, np.float32)
    ids = np.zeros((20, 30), np.uint16)
    truth[2:10, 5:15], ids[2:10, 5:15] = 10, 3
    truth[11:19, 18:28], ids[11:19, 18:28] = 20, 7
    return truth, ids


def test_objects_in_the_wrong_place_but_in_shape_have_no_spread():
    truth, ids = scene()
    shown = truth.copy()
    shown[ids == 3] *= 2.5
    shown[ids == 0] = 1
    assert object_spread(truth, shown, ids, *RANGE) == pytest.approx(0, abs=1e-7)


def test_spread_is_the_deviation_of_the_log_ratio_averaged_over_objects():
    truth, ids = scene()
    shown = truth.copy()
    shown[2:6, 5:15] *= np.exp(0.2)  # half of one object: deviation 0.1; the other has none
    assert object_spread(truth, shown, ids, *RANGE) == pytest.approx(0.05, rel=1e-5)


def test_unknown_pixels_small_objects_and_what_is_out_of_range_do_not_count():
    truth, ids = scene()
    shown = truth.copy()
    shown[2:6, 5:15] *= np.exp(0.2)
    shown[11:19, 18:28] = np.nan  # the other object is not predicted at all
    assert object_spread(truth, shown, ids, *RANGE) == pytest.approx(0.1, rel=1e-5)
    assert np.isnan(object_spread(truth, shown, ids, *RANGE, min_pixels=81))
    assert np.isnan(object_spread(truth, shown, ids, 15.0, 80.0))
    assert np.isnan(object_spread(truth, shown, np.zeros_like(ids), *RANGE))


def test_a_prediction_is_clamped_to_the_range():
    truth, ids = scene()
    shown = np.where(ids > 0, np.float32(np.inf), truth)
    assert object_spread(truth, shown, ids, *RANGE) == pytest.approx(0, abs=1e-7)


def test_sizes_that_differ_are_refused():
    truth, ids = scene()
    with pytest.raises(ValueError, match="differ in size"):
        object_spread(truth, truth[:-1], ids, *RANGE)
