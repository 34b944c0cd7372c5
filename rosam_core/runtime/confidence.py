"""Confidence: from the scale of a Laplace error in log depth to a probability, and back."""

from __future__ import annotations

import math

import numpy as np

from rosam_core.types import Float32

TOLERANCE = math.log(1.25)
"""The event that confidence is the probability of: |log(depth / truth)| < ln 1.25."""

_LARGEST = 1.0 - 2.0**-24  # the largest float32 below 1


def confidence_from_scale(b: Float32, temperature: float = 1.0) -> Float32:
    """Returns 1 - exp(-ln 1.25 / (temperature b)).

    Args:
        b: float32[...], Laplace scale of the error in log depth, >= 0.
        temperature: Fitted multiplier of b, > 0.

    Returns:
        float32[...] in [0, 1]; NaN where b is NaN or negative.

    Raises:
        ValueError: The temperature is not positive.
    """
    if not temperature > 0:
        raise ValueError(f"confidence temperature must be positive, got {temperature}")
    wide = np.asarray(b, np.float64) * temperature
    with np.errstate(divide="ignore", invalid="ignore"):
        value = -np.expm1(-TOLERANCE / wide)
    return np.where(wide >= 0, value, np.nan).astype(np.float32)


def scale_from_confidence(confidence: Float32, temperature: float = 1.0) -> Float32:
    """Returns the Laplace scale b that gives a confidence; the inverse of the above.

    Args:
        confidence: float32[...] in [0, 1].
        temperature: Fitted multiplier of b, > 0.

    Returns:
        float32[...]: b; +Inf for confidence 0. A confidence of 1 has lost its b to rounding and
        gives the smallest that float32 can tell from it. NaN outside [0, 1].

    Raises:
        ValueError: The temperature is not positive.
    """
    if not temperature > 0:
        raise ValueError(f"confidence temperature must be positive, got {temperature}")
    wide = np.asarray(confidence, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = -TOLERANCE / np.log1p(-np.minimum(wide, _LARGEST)) / temperature
        value = np.where(wide == 0, np.inf, value)
    return np.where((wide >= 0) & (wide <= 1), value, np.nan).astype(np.float32)
