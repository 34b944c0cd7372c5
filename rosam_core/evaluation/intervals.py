"""How sure a mean over images is: bootstrap over scenes.

Images of one scene resemble each other, so scenes are drawn, not images: an interval from images
alone would be several times too narrow.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

RESAMPLES = 2000
LEVEL = 0.95


def scene_interval(
    values: npt.ArrayLike,
    scenes: Sequence[str],
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> tuple[float, float] | None:
    """Returns the percentile bootstrap interval of the mean over images, drawn scene by scene.

    Every resample draws as many scenes as there are, with replacement, and takes the mean over
    all their images (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13).

    Args:
        values: float[n], one figure an image; NaN is left out.
        scenes: Scene of each image.
        resamples: Number of resamples.
        level: Of the interval, in (0, 1).
        seed: Of the draws: the same figures give the same interval.

    Returns:
        Lower and upper end, or None with fewer than two scenes, which say nothing about others.

    Raises:
        ValueError: There are not as many scenes as values.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if len(numbers) != len(scenes):
        raise ValueError(f"{len(numbers)} values but {len(scenes)} scenes")
    known = ~np.isnan(numbers)
    names, index = np.unique(np.asarray(scenes, dtype=str)[known], return_inverse=True)
    if len(names) < 2:
        return None
    sums = np.bincount(index, weights=numbers[known])
    counts = np.bincount(index).astype(np.float64)
    drawn = np.random.default_rng(seed).integers(0, len(names), (resamples, len(names)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
