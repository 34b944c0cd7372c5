"""Depth metrics against values worked out by hand."""

import math

import numpy as np
import pytest

from rosam_core.evaluation.metrics import (
    depth_metrics,
    image_errors,
    lower_median,
    mean_metrics,
    median_scale,
    range_errors,
    resize_align_corners,
    scored_pixels,
    scored_places,
    within_delta1,
)


def image(*values: float) -> np.ndarray:
    return np.array([values], dtype=np.float32)


def test_metrics_by_hand():
    # g = 10, 20; p = 11, 30: errors 1 and 10, ratios 1.1 and 1.5
    m = depth_metrics(image(10, 20), image(11, 30), 0.1, 80)
    assert m["abs_rel"] == pytest.approx((0.1 + 0.5) / 2)
    assert m["sq_rel"] == pytest.approx((1 / 10 + 100 / 20) / 2)
    assert m["rmse"] == pytest.approx(math.sqrt((1 + 100) / 2))
    assert m["rmse_log"] == pytest.approx(
        math.sqrt((math.log(1.1) ** 2 + math.log(1.5) ** 2) / 2), rel=1e-6
    )
    assert (m["delta1"], m["delta2"], m["delta3"]) == (0.5, 1.0, 1.0)
    assert (m["n"], m["coverage"], m["scale"]) == (2, 1.0, 1.0)


def test_delta_bounds_are_strict_and_symmetric():
    # A ratio of exactly 1.25 is outside, on either side.
    m = depth_metrics(image(8, 10), image(10, 8), 0.1, 80)
    assert m["delta1"] == 0.0
    assert m["delta2"] == 1.0
    assert within_delta1(image(8, 8, 8, 8), image(10, 9.99, np.nan, np.inf)).tolist() == [
        [False, True, False, False]
    ]
    assert not within_delta1(image(8), image(-8)).any()


def test_truth_outside_the_range_is_not_scored():
    truth = image(np.nan, 0, np.inf, 0.05, 81, 80, 0.1, 5)
    m = depth_metrics(truth, np.full_like(truth, 6), 0.1, 80)
    assert m["n"] == 1
    assert m["abs_rel"] == pytest.approx(0.2)


def test_prediction_is_clamped_and_unknown_lowers_coverage():
    truth = image(40, 40, 1, 40)
    m = depth_metrics(truth, image(np.inf, 500, -3, np.nan), 0.5, 80)
    assert m["n"] == 3
    assert m["coverage"] == 0.75
    # clamped to 80, 80 and 0.5: errors 1, 1, 0.5
    assert m["abs_rel"] == pytest.approx(2.5 / 3)


def test_median_scaling_comes_before_the_clamp():
    truth, prediction = image(10, 20, 70), image(100, 200, 700)
    m = depth_metrics(truth, prediction, 0.1, 80, median_scale=True)
    # scaled first the prediction is perfect; clamped first it would be a constant
    assert m["scale"] == pytest.approx(0.1)
    assert m["abs_rel"] == pytest.approx(0, abs=1e-9)
    assert depth_metrics(truth, prediction, 0.1, 80)["abs_rel"] > 1


def test_median_scaling_sees_only_scored_pixels():
    truth, prediction = image(10, 10, np.nan, np.inf), image(5, 5, 900, 900)
    assert depth_metrics(truth, prediction, 0.1, 80, median_scale=True)["scale"] == 2.0


def test_mean_is_over_images_not_pixels():
    one = depth_metrics(image(10), image(20), 0.1, 80)  # abs_rel 1
    many = depth_metrics(np.full((1, 99), 10, np.float32), np.full((1, 99), 10.0), 0.1, 80)
    none = depth_metrics(image(np.nan), image(3), 0.1, 80)
    mean = mean_metrics([one, many, none])
    assert mean["abs_rel"] == pytest.approx(0.5)
    assert mean["frames"] == 2
    assert mean["n"] == 100
    assert math.isnan(none["abs_rel"])


def test_nothing_scored_is_nan_not_zero():
    assert math.isnan(mean_metrics([])["abs_rel"])
    assert mean_metrics([])["frames"] == 0


def test_wrong_input_says_what_was_found():
    with pytest.raises(ValueError, match=r"\(1, 2\).*\(1, 3\)"):
        depth_metrics(image(1, 2), image(1, 2, 3), 0.1, 80)
    with pytest.raises(ValueError, match="min_depth_m"):
        depth_metrics(image(1), image(1), 80, 0.1)


def test_align_corners_keeps_corners_and_interpolates_by_hand():
    source = np.array([[0, 4], [8, 12]], dtype=np.float32)
    resized = resize_align_corners(source, 5, 3)
    expected = np.array([[0, 1, 2, 3, 4], [4, 5, 6, 7, 8], [8, 9, 10, 11, 12]])
    np.testing.assert_allclose(resized, expected, atol=1e-5)


def test_resizing_spreads_unknown_and_beyond_range():
    source = np.array([[1, np.nan, 3, np.inf]], dtype=np.float32)
    resized = resize_align_corners(source, 7, 1)[0]
    assert resized[0] == 1
    assert np.isnan(resized[[1, 2, 3]]).all()
    assert resized[4] == 3
    assert np.isposinf(resized[[5, 6]]).all()


def test_median_of_an_even_number_is_the_lower_as_in_the_published_evaluators():
    assert lower_median(np.array([4.0, 1.0, 3.0, 2.0])) == 2
    assert lower_median(np.array([3.0, 1.0, 2.0])) == 2
    truth, depth = np.float32([[2, 4, 8, 16]]), np.float32([[1, 1, 2, 2]])
    scaled = depth_metrics(truth, depth, 0.1, 80, median_scale=True)
    assert scaled["scale"] == 4
    assert scaled["abs_rel"] == pytest.approx((1 + 0 + 0 + 0.5) / 4)


def test_resize_weighs_exactly():
    """A weight of 1/37, which fixed-point interpolation would round to 1/32."""
    small = np.float32([[0, 37], [74, 111]])
    large = resize_align_corners(small, 38, 3)
    np.testing.assert_allclose(large[0], np.arange(38), rtol=1e-6)
    np.testing.assert_allclose(large[1], np.arange(38) + 37, rtol=1e-6)
    assert resize_align_corners(np.float32([[5]]), 3, 2).tolist() == [[5] * 3] * 2


def test_errors_by_range_by_hand():
    truth = image(1, 5, 9.9, 10, 79, 80, 0.05, np.nan, 20)
    depth = image(2, 6, 9.9, 12, np.inf, 1, 1, 1, np.nan)
    bins = range_errors(truth, depth, 0.1, 90, edges_m=(1, 5, 10, 80))
    # 80 m lies past the last edge, 0.05 m before the range; the last one has no depth. +Inf is
    # the end of the range, 11 m too far for 79 m.
    assert [(b["from_m"], b["to_m"], b["n"]) for b in bins] == [(1, 5, 1), (5, 10, 2), (10, 80, 2)]
    assert [b["mae"] for b in bins] == pytest.approx([1, 0.5, (2 + 11) / 2], rel=1e-6)
    assert bins[2]["abs_rel"] == pytest.approx((2 / 10 + 11 / 79) / 2, rel=1e-6)
    empty = range_errors(truth, depth, 0.1, 90, edges_m=(85, 90))
    assert empty[0]["n"] == 0
    assert math.isnan(empty[0]["mae"])


def test_a_median_of_what_is_beyond_is_the_end_of_the_range():
    truth = np.array([20.0, 20.0, 20.0])
    assert median_scale(truth, np.array([10.0, np.inf, np.inf]), (0.1, 80)) == 20 / 80
    assert median_scale(truth, np.array([0.0, -1.0, 7.0]), (0.5, 80)) == 20 / 0.5
    assert median_scale(truth, np.array([1.0, 10.0, np.inf]), (0.1, 80)) == 2


def test_median_scaling_leaves_what_has_no_ratio_at_the_ends_of_the_range():
    # In the median +Inf counts as 80 m and -1 as 0.5 m: of 80, 0.5 and 10 it is 10.
    truth, depth = image(20, 20, 20), image(np.inf, -1, 10)
    scaled = depth_metrics(truth, depth, 0.5, 80, median_scale=True)
    assert scaled["scale"] == 2
    assert scaled["abs_rel"] == pytest.approx((3 + 19.5 / 20 + 0) / 3)


@pytest.mark.parametrize("far", [np.inf, 1e6])
def test_a_scale_below_one_does_not_bring_nearer_what_is_beyond_the_range(far):
    # 40 and 40 m for 20 m, so half: the last pixel stays at 80 m, a quarter too far for 64 m.
    scaled = depth_metrics(image(20, 20, 64), image(40, 40, far), 0.1, 80, median_scale=True)
    assert scaled["scale"] == 0.5
    assert scaled["abs_rel"] == pytest.approx(0.25 / 3)


def test_errors_made_together_are_those_made_one_by_one():
    truth = image(10, 20, 70, np.nan, 0, np.inf, 5, 90, 3)
    for depth in (
        image(12, 15, np.inf, 3, 3, 3, -1, 4, 6),
        image(12, np.nan, 60, 3, 3, 3, 9, 4, 6),
        np.full_like(truth, np.nan),
    ):
        metric, scaled, ranges = image_errors(truth, depth, 0.1, 80)
        np.testing.assert_equal(metric, depth_metrics(truth, depth, 0.1, 80))
        np.testing.assert_equal(scaled, depth_metrics(truth, depth, 0.1, 80, median_scale=True))
        np.testing.assert_equal(ranges, range_errors(truth, depth, 0.1, 80))
    places = np.flatnonzero(scored_pixels(truth, 0.1, 80))
    assert scored_places(truth, 0.1, 80).tolist() == places.tolist() == [0, 1, 2, 6, 8]
