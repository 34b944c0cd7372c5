"""Calibration measures against values worked out by hand and known distributions."""

import math

import numpy as np
import pytest

from rosam_core.evaluation.calibration import (
    Reliability,
    ause,
    expected_calibration_error,
    fit_temperature,
    reliability_curve,
    risk_coverage,
    sparsification_areas,
    tempered,
)


def test_ece_by_hand():
    # Two bins of [0, 0.5) and [0.5, 1]: 0.2, 0.4 with one hit; 0.9, 0.9 with one hit.
    confidence, correct = [0.2, 0.4, 0.9, 0.9], [True, False, True, False]
    # |0.5 - 0.3| * 2/4 + |0.5 - 0.9| * 2/4
    assert expected_calibration_error(confidence, correct, bins=2) == pytest.approx(0.3)


def test_bin_edges_and_certainty():
    mean, accuracy, count = reliability_curve([0.5, 1.0, np.nan], [True, False, True], bins=2)
    assert count.tolist() == [0, 2]
    assert np.isnan(mean[0])
    assert mean[1] == pytest.approx(0.75)
    assert accuracy[1] == pytest.approx(0.5)


def test_histograms_add_up_to_the_pooled_one():
    rng = np.random.default_rng(0)
    c, y = rng.random(1000), rng.random(1000) < 0.5
    parts = Reliability.of(c[:300], y[:300]) + Reliability.of(c[300:], y[300:])
    assert parts.ece == pytest.approx(expected_calibration_error(c, y))


def test_calibrated_confidence_has_no_error_and_overconfidence_has():
    rng = np.random.default_rng(1)
    c = rng.random(200_000)
    y = rng.random(c.size) < c
    assert expected_calibration_error(c, y) < 0.01
    assert expected_calibration_error(c**0.3, y) > 0.15


def test_no_samples_is_nan_and_wrong_input_raises():
    assert math.isnan(expected_calibration_error([], []))
    with pytest.raises(ValueError, match="2 confidences but 1"):
        expected_calibration_error([0.1, 0.2], [True])
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        expected_calibration_error([1.2], [True])


def test_risk_coverage_by_hand():
    coverage, risk = risk_coverage([4, 1, 3, 2], [0.1, 0.9, 0.2, 0.8], steps=4)
    assert coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert risk.tolist() == pytest.approx([1, 1.5, 2, 2.5])


def test_equal_confidence_has_no_order():
    # The first two are 1 on average, the tied three 4: 1, (2 + 4) / 3, (2 + 8) / 4, (2 + 12) / 5.
    error, confidence = np.array([2.0, 0, 3, 4, 5]), np.array([0.9, 0.9, 0.1, 0.1, 0.1])
    for order in ([0, 1, 2, 3, 4], [1, 0, 4, 3, 2], [3, 1, 4, 0, 2]):
        for precision in (np.float32, np.float64):
            _, risk = risk_coverage(error[order], confidence[order].astype(precision), steps=5)
            assert risk.tolist() == pytest.approx([1, 1, 2, 2.5, 2.8])
    # A confidence that says nothing is worth what a random order is.
    falling, same = np.linspace(1, 0, 100), np.full(100, 0.5, np.float32)
    for error in (falling, falling[::-1]):
        own, random = sparsification_areas(error, same)
        assert own == pytest.approx(random)
    unknown = [np.nan, 0.5, np.nan]
    assert risk_coverage([4, 1, 2], unknown, steps=3)[1].tolist() == pytest.approx([1, 2, 7 / 3])


def test_ause_by_hand():
    # Oracle keeps [1], [1,2], [1,2,3], all: 1, 1.5, 2, 2.5. The reverse order keeps 4 first:
    # 4, 3.5, 3, 2.5. Gap 3, 2, 1, 0 at steps of 0.25: trapezoids 2.5 + 1.5 + 0.5, times 0.25.
    error = np.array([1.0, 2.0, 3.0, 4.0])
    assert ause(error, -error, steps=4) == pytest.approx(0)
    assert ause(error, error, steps=4) == pytest.approx(4.5 * 0.25)
    # At random 2.5 is expected to be left: gap 1.5, 1, 0.5, 0, so 1.25 + 0.75 + 0.25.
    assert sparsification_areas(error, error, steps=4) == pytest.approx((1.125, 2.25 * 0.25))


def test_a_random_order_has_the_area_that_is_stated_for_it():
    rng = np.random.default_rng(3)
    error = rng.exponential(size=4000)
    found = [sparsification_areas(error, rng.random(4000)) for _ in range(30)]
    drawn, stated = np.array(found).T
    assert np.ptp(stated) < 1e-9
    assert drawn.mean() == pytest.approx(stated[0], rel=0.03)


@pytest.mark.parametrize("size", [3, 50, 999])
def test_a_networks_confidences_are_ranked_as_a_sort_ranks_them(size):
    """Single precision has a path of its own; ties, signs and NaN must not change it."""
    rng = np.random.default_rng(size)
    error = rng.exponential(size=size)
    confidence = rng.integers(-3, 4, size).astype(np.float32)  # nearly all are ties
    confidence[rng.random(size) < 0.1] = np.nan
    confidence[rng.random(size) < 0.1] = -0.0
    confidence[0] = -np.float32(np.nan)
    _, slow = risk_coverage(error, confidence.astype(np.float64))
    _, fast = risk_coverage(error, confidence)
    np.testing.assert_allclose(fast, slow, rtol=1e-12)
    order = np.argsort(-confidence.astype(np.float64), kind="stable")
    level = np.nan_to_num(confidence, nan=-9)
    for tied in (level == value for value in np.unique(level)):
        error[tied] = error[tied].mean()
    kept = np.maximum(1, np.rint(np.arange(1, 51) / 50 * size).astype(int))
    np.testing.assert_allclose(fast, np.cumsum(error[order])[kept - 1] / kept, rtol=1e-12)


def test_confidence_that_shrinks_with_trust_is_found_out():
    rng = np.random.default_rng(2)
    error = rng.exponential(size=5000)
    good, random, bad = ause(error, -error), ause(error, rng.random(5000)), ause(error, error)
    assert good < random < bad


def test_temperature_recovers_the_scale_that_was_wrong():
    # Log errors are Laplace(b); the model states b / 2, so the multiplier to find is 2.
    rng = np.random.default_rng(3)
    b = rng.uniform(0.05, 0.6, 100_000)
    correct = np.abs(rng.laplace(scale=b)) < math.log(1.25)
    stated = 1 - np.exp(-math.log(1.25) / (b / 2))
    t = fit_temperature(stated, correct)
    assert t == pytest.approx(2, rel=0.03)
    assert expected_calibration_error(stated, correct) > 0.1
    assert expected_calibration_error(tempered(stated, t), correct) < 0.01


def test_tempered_is_the_confidence_of_the_multiplied_scale():
    b, t = 0.3, 1.7
    c = 1 - math.exp(-math.log(1.25) / b)
    assert tempered(c, t) == pytest.approx(1 - math.exp(-math.log(1.25) / (t * b)))


def test_temperature_survives_certainty_and_refuses_nothing():
    assert math.isfinite(fit_temperature([1.0, 1.0, 0.5], [True, False, True]))
    with pytest.raises(ValueError, match="no confidences"):
        fit_temperature([np.nan], [True])
