"""Is an object one thing in a depth map? How far its error varies inside it."""

from __future__ import annotations

import numpy as np

from rosam_core.evaluation.metrics import scored_pixels
from rosam_core.types import Float32, UInt16

MIN_PIXELS = 30
"""Smaller objects are not looked at: their shape is a matter of single pixels."""


def object_spread(
    truth: Float32,
    prediction: Float32,
    instances: UInt16,
    min_depth_m: float,
    max_depth_m: float,
    min_pixels: int = MIN_PIXELS,
) -> float:
    """Returns the mean over objects of the standard deviation of log(p / g) inside each.

    0 if every object has its true shape, wherever it is put: a whole car at twice its distance
    has no spread, one that is smeared into the wall behind it has.

    Args:
        truth: float32[H,W], true depth g [m]; NaN, 0 and +Inf are left out.
        prediction: float32[H,W], predicted depth p [m]; NaN is left out, +Inf counts as
            `max_depth_m`.
        instances: uint16[H,W], object ids, 0 = none.
        min_depth_m: Only truth above this is looked at; predictions are clamped to it [m].
        max_depth_m: Only truth below this is looked at; predictions are clamped to it [m].
        min_pixels: Objects with fewer pixels are left out.

    Returns:
        The mean, NaN without an object.

    Raises:
        ValueError: Shapes differ.
    """
    if not truth.shape == prediction.shape == instances.shape:
        raise ValueError(
            f"truth, prediction and instances differ in size: {truth.shape}, {prediction.shape}, "
            f"{instances.shape}"
        )
    seen = scored_pixels(truth, min_depth_m, max_depth_m) & ~np.isnan(prediction) & (instances > 0)
    ids = instances[seen].astype(np.intp)
    shown = np.clip(prediction[seen].astype(np.float64), min_depth_m, max_depth_m)
    error = np.log(shown / truth[seen])
    count = np.bincount(ids)
    large = count >= min_pixels
    if not large.any():
        return float("nan")
    mean = np.bincount(ids, error) / np.maximum(count, 1)
    variance = np.bincount(ids, (error - mean[ids]) ** 2)[large] / count[large]
    return float(np.mean(np.sqrt(variance)))
