import math

import numpy as np
import pytest

from rosam_core.runtime.confidence import confidence_from_scale, scale_from_confidence


def test_values_by_hand() -> None:
    b = np.array([math.log(1.25), math.log(1.25) / 2, math.inf, 0.0], np.float32)
    expected = [1 - math.exp(-1), 1 - math.exp(-2), 0.0, 1.0]
    np.testing.assert_allclose(confidence_from_scale(b), expected, rtol=1e-6)


def test_it_is_the_probability_of_delta1() -> None:
    # Draw Laplace errors in log depth: the share within 25 % must be the confidence.
    rng = np.random.default_rng(0)
    for b in (0.05, 0.2, 0.8):
        ratio = np.exp(rng.laplace(0, b, 200_000))
        share = np.mean(np.maximum(ratio, 1 / ratio) < 1.25)
        assert confidence_from_scale(np.float32(b)) == pytest.approx(share, abs=0.004)


def test_temperature_widens_b() -> None:
    b = np.array([0.1, 0.3], np.float32)
    np.testing.assert_allclose(confidence_from_scale(b, 2.0), confidence_from_scale(2 * b))
    assert (confidence_from_scale(b, 2.0) < confidence_from_scale(b)).all()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_there_and_back(temperature: float) -> None:
    b = np.geomspace(0.03, 50, 40).astype(np.float32)
    confidence = confidence_from_scale(b, temperature)
    assert (np.diff(confidence) <= 0).all()
    # float32 cannot tell confidences near 1 apart any better.
    np.testing.assert_allclose(scale_from_confidence(confidence, temperature), b, rtol=5e-3)


def test_ends_and_nonsense() -> None:
    got = scale_from_confidence(np.array([0.0, 1.0, 1.1, -0.1, np.nan], np.float32))
    assert np.isposinf(got[0])
    assert 0 < got[1] < 0.02
    assert np.isnan(got[2:]).all()
    assert np.isnan(confidence_from_scale(np.array([-0.1, np.nan], np.float32))).all()


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
def test_temperature_must_be_positive(temperature: float) -> None:
    with pytest.raises(ValueError, match="temperature must be positive"):
        confidence_from_scale(np.float32(0.1), temperature)
    with pytest.raises(ValueError, match="temperature must be positive"):
        scale_from_confidence(np.float32(0.1), temperature)
