"""Depth error metrics of one image, and their mean over images (METHODS section 5).

What counts, stated once:

- A pixel is scored when its truth is finite and strictly inside `(min_depth_m, max_depth_m)`;
  NaN, 0 (= none), +Inf (= sky) and anything outside the range is not.
- A scored pixel whose prediction is NaN (= unknown) has no error; it lowers `coverage` instead.
- A prediction of +Inf (= beyond range) counts as `max_depth_m`, one <= 0 as `min_depth_m`; no
  scale moves them.
- Median scaling multiplies by median(truth) / median(prediction) over the scored pixels, and
  comes *before* the clamp to the range. Of an even number of pixels the median is the lower of
  the two in the middle, as the published evaluators have it (torch.median).
- Metrics are taken per image and then averaged over images, never pooled over pixels.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rosam_core.types import Float32, Float64

METRICS = ("abs_rel", "sq_rel", "rmse", "rmse_log", "delta1", "delta2", "delta3")
"""Names of the error metrics, in the order of the published tables."""

DELTA1_RATIO = 1.25
"""`delta1` counts depths within this ratio of the truth: also the event a confidence speaks of."""


def depth_metrics(
    truth: Float32,
    prediction: Float32,
    min_depth_m: float,
    max_depth_m: float,
    median_scale: bool = False,
) -> dict[str, float]:
    """Returns the error metrics of one image.

    `abs_rel = mean |g-p|/g`, `sq_rel = mean (g-p)^2/g` [m], `rmse` [m], `rmse_log` (natural
    logarithm), `delta_k = share with max(g/p, p/g) < 1.25^k`.

    Args:
        truth: float32[H,W], true depth g [m]; NaN, 0 and +Inf are not scored.
        prediction: float32[H,W], predicted depth p [m]; NaN = unknown, +Inf = beyond range.
        min_depth_m: Only truth above this is scored; predictions are clamped to it [m].
        max_depth_m: Only truth below this is scored; predictions are clamped to it [m].
        median_scale: Scale the prediction by the ratio of medians first.

    Returns:
        The metrics of `METRICS`, `scale` (1 without median scaling), `n` (scored pixels with a
        prediction) and `coverage` (their share of the scored pixels). Metrics are NaN if n is 0.

    Raises:
        ValueError: Shapes differ, or the range is empty.
    """
    known = _Known.of(truth, prediction, (min_depth_m, max_depth_m))
    return known.scaled_errors() if median_scale else known.errors()


def image_errors(
    truth: Float32, prediction: Float32, min_depth_m: float, max_depth_m: float
) -> tuple[dict[str, float], dict[str, float], list[dict[str, float]]]:
    """Returns `depth_metrics` of one image, the same after median scaling, and `range_errors`.

    What they share is done once.

    Args:
        truth: float32[...], true depth [m].
        prediction: float32, same shape, predicted depth [m].
        min_depth_m: As in `depth_metrics`.
        max_depth_m: As in `depth_metrics`.
    """
    known = _Known.of(truth, prediction, (min_depth_m, max_depth_m))
    edges_m = range_edges(max_depth_m)
    return known.errors(), known.scaled_errors(), known.range_errors(edges_m)


@dataclasses.dataclass(frozen=True)
class _Known:
    """The scored pixels of an image that have a prediction.

    Attributes:
        g: float64[n], true depth [m].
        p: float64[n], predicted depth [m], not clamped.
        coverage: Their share of the scored pixels.
        limits: The range [m].
    """

    g: Float64
    p: Float64
    coverage: float
    limits: tuple[float, float]

    @classmethod
    def of(cls, truth: Float32, prediction: Float32, limits: tuple[float, float]) -> _Known:
        """Picks the pixels; raises the errors of `depth_metrics`."""
        if truth.shape != prediction.shape:
            raise ValueError(
                f"truth is {truth.shape} and prediction {prediction.shape}: resize the prediction "
                "to the truth first (resize_align_corners)"
            )
        if not 0 < limits[0] < limits[1]:
            raise ValueError(f"need 0 < min_depth_m < max_depth_m, got {limits[0]}, {limits[1]}")
        valid = scored_pixels(truth, *limits)
        g, p = kept(truth, valid), kept(prediction, valid)
        known = ~np.isnan(p)
        coverage = float(known.mean()) if p.size else 0.0
        g, p = (kept(values, known).astype(np.float64) for values in (g, p))
        return cls(g, p, coverage, limits)

    def errors(self) -> dict[str, float]:
        """Returns `depth_metrics` without scaling."""
        return self._of(self.p, 1.0)

    def scaled_errors(self) -> dict[str, float]:
        """Returns `depth_metrics` after median scaling."""
        p = self.p
        if not p.size:
            return self.errors()
        scale = median_scale(self.g, p, self.limits)
        return self._of(p * scale, scale)

    def _of(self, p: Float64, scale: float) -> dict[str, float]:
        n = p.size
        if not n:
            return {name: float("nan") for name in (*METRICS, "scale")} | {"n": 0, "coverage": 0.0}
        g, p = self.g, np.clip(p, *self.limits)
        difference, quotient = p - g, p / g
        relative, logarithm = difference / g, np.log(quotient)
        ratio = np.maximum(g / p, quotient)
        # Sums of products by `dot`: no array in between.
        return {
            "abs_rel": float(np.abs(relative).sum() / n),
            "sq_rel": float(relative.dot(difference) / n),
            "rmse": math.sqrt(difference.dot(difference) / n),
            "rmse_log": math.sqrt(logarithm.dot(logarithm) / n),
            "delta1": np.count_nonzero(ratio < DELTA1_RATIO) / n,
            "delta2": np.count_nonzero(ratio < DELTA1_RATIO**2) / n,
            "delta3": np.count_nonzero(ratio < DELTA1_RATIO**3) / n,
            "scale": scale,
            "n": n,
            "coverage": self.coverage,
        }

    def range_errors(self, edges_m: Sequence[float]) -> list[dict[str, float]]:
        """Returns the errors by range."""
        g, bins = self.g, len(edges_m) - 1
        error = np.abs(np.clip(self.p, *self.limits) - g)
        inside = (g >= edges_m[0]) & (g < edges_m[-1])
        g, error = kept(g, inside), kept(error, inside)
        place = np.zeros(g.size, np.uint8)
        for edge in edges_m[1:-1]:  # for so few bins faster than a search for every pixel
            place += (g >= edge).view(np.uint8)
        where = place.astype(np.intp)
        n = np.bincount(where, minlength=bins)
        with np.errstate(invalid="ignore"):  # an empty bin has no mean
            mae = np.bincount(where, error, bins) / n
            abs_rel = np.bincount(where, error / g, bins) / n
        return [
            {
                "from_m": float(edges_m[i]),
                "to_m": float(edges_m[i + 1]),
                "n": int(n[i]),
                "mae": float(mae[i]),
                "abs_rel": float(abs_rel[i]),
            }
            for i in range(bins)
        ]


def kept(values: npt.NDArray[Any], mask: npt.NDArray[np.bool_]) -> npt.NDArray[Any]:
    """Returns `values[mask]` as a row; without the copy where the mask keeps everything."""
    # `take` is several times faster than a mask.
    return values.ravel() if mask.all() else values.ravel().take(np.flatnonzero(mask))


RANGE_EDGES_M = (0.0, 5.0, 10.0, 20.0, 30.0, 40.0, 60.0, 80.0)
"""Ends of the range bins of `range_errors` [m], as far as depth is scored."""


def range_edges(max_depth_m: float) -> tuple[float, ...]:
    """Returns the ends of the bins that hold all scored depth, and nothing beyond [m].

    Args:
        max_depth_m: Where the last one ends: 80 to 150 m is one bin, 40 to 50 m another.
    """
    return (*(edge for edge in RANGE_EDGES_M if edge < max_depth_m), max_depth_m)


def range_errors(
    truth: Float32,
    prediction: Float32,
    min_depth_m: float,
    max_depth_m: float,
    edges_m: Sequence[float] = (),
) -> list[dict[str, float]]:
    """Returns the error of one image by the range of the truth.

    Args:
        truth: float32[H,W], true depth [m].
        prediction: float32[H,W], predicted depth [m].
        min_depth_m: As in `depth_metrics`.
        max_depth_m: As in `depth_metrics`.
        edges_m: Ends of the bins [m], ascending; bin i holds truth in [edge i, edge i+1). By
            default those of `range_edges`.

    Returns:
        For each bin `from_m`, `to_m`, `n` (pixels), `mae` [m] and `abs_rel`, NaN if n is 0.
    """
    known = _Known.of(truth, prediction, (min_depth_m, max_depth_m))
    return known.range_errors(edges_m or range_edges(max_depth_m))


def mean_range_errors(images: Sequence[Sequence[Mapping[str, float]]]) -> list[dict[str, float]]:
    """Returns the mean over images of every bin of `range_errors`, and its images and pixels.

    Args:
        images: Results of `range_errors` with the same edges; an image without a pixel in a bin
            does not count there.
    """
    result = []
    for bins in zip(*images, strict=True):
        some = [b for b in bins if b["n"]]
        row = {"from_m": bins[0]["from_m"], "to_m": bins[0]["to_m"], "frames": len(some)}
        row["n"] = int(sum(b["n"] for b in some))
        for name in ("mae", "abs_rel"):
            row[name] = float(np.mean([b[name] for b in some])) if some else float("nan")
        result.append(row)
    return result


def median_scale(
    truth: npt.NDArray[np.floating[Any]],
    prediction: npt.NDArray[np.floating[Any]],
    limits: tuple[float, float],
) -> float:
    """Returns what a prediction without scale is multiplied by: median of the truth by its own.

    What is predicted beyond every range, +Inf, or before, counts as the end of the range in the
    median. It stays what it is when it is multiplied, and so at that end.

    Args:
        truth: float[n], n > 0 [m].
        prediction: float[n], no NaN [m].
        limits: Nearest and farthest depth that is scored [m].
    """
    ranked = prediction
    if not (prediction.min() > 0 and prediction.max() < np.inf):
        near, far = limits
        ranked = np.where(prediction == np.inf, far, np.where(prediction > 0, prediction, near))
    return lower_median(truth) / lower_median(ranked)


def lower_median(values: npt.NDArray[np.floating[Any]]) -> float:
    """Returns the median; of an even number of values the lower of the two in the middle.

    Args:
        values: float[n], n >= 1, without NaN.
    """
    middle = (values.size - 1) // 2
    return float(np.partition(values, middle)[middle])


def scored_pixels(truth: Float32, min_depth_m: float, max_depth_m: float) -> np.ndarray:
    """Returns bool[H,W]: where the truth is known and strictly inside the range.

    Args:
        truth: float32[H,W], true depth [m].
        min_depth_m: Lower end of the range [m].
        max_depth_m: Upper end of the range [m].
    """
    # NaN compares false on both sides, so unknown pixels drop out without a warning.
    inside = np.asarray(truth > min_depth_m)
    inside &= truth < max_depth_m
    return inside


def scored_places(truth: Float32, min_depth_m: float, max_depth_m: float) -> npt.NDArray[np.intp]:
    """Returns int[n]: the flat indices of `scored_pixels`.

    Args:
        truth: float32[H,W], true depth [m].
        min_depth_m: Lower end of the range [m].
        max_depth_m: Upper end of the range [m].
    """
    above = np.flatnonzero(truth > min_depth_m)
    # Lidar has few points: the other end of the range is looked at for those alone.
    return kept(above, truth.ravel()[above] < max_depth_m)


def within_delta1(truth: Float32, prediction: Float32) -> np.ndarray:
    """Returns bool, same shape: whether max(g/p, p/g) < 1.25, the event of the confidence.

    Args:
        truth: float32, true depth [m], > 0.
        prediction: float32, predicted depth [m]; NaN, +Inf and <= 0 are never within.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.maximum(truth / prediction, prediction / truth)
    return np.asarray((ratio < DELTA1_RATIO) & (prediction > 0))


def mean_metrics(images: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Returns the mean over images of every metric, each image weighing the same.

    Args:
        images: Results of `depth_metrics`; those with `n == 0` have no error and are left out.

    Returns:
        Means of `METRICS`, `scale` and `coverage` (coverage over all images), `n` = pixels in
        all, `frames` = images that were scored.
    """
    scored = [image for image in images if image["n"] > 0]
    result = {
        name: float(np.mean([image[name] for image in scored])) if scored else float("nan")
        for name in (*METRICS, "scale")
    }
    result["coverage"] = float(np.mean([i["coverage"] for i in images])) if images else 0.0
    result["n"] = int(sum(image["n"] for image in scored))
    result["frames"] = len(scored)
    return result


def resize_align_corners(depth: Float32, width: int, height: int) -> Float32:
    """Resizes depth bilinearly with the corner pixels' centres kept (`align_corners=True`).

    Args:
        depth: float32[h,w] [m]; a result touched by a NaN is NaN, by +Inf is +Inf.
        width: New width [px].
        height: New height [px].

    Returns:
        float32[height,width] [m].
    """
    # Not cv2.remap: its weights have only 5 bits.
    top, down = _places(depth.shape[0], height)
    left, right = _places(depth.shape[1], width)

    def interpolate(values: Float32) -> Float32:
        below = values[np.minimum(top + 1, len(values) - 1)]
        rows = values[top] + (below - values[top]) * down[:, None]
        beside = rows[:, np.minimum(left + 1, values.shape[1] - 1)]
        return np.asarray(rows[:, left] + (beside - rows[:, left]) * right, np.float32)

    finite = np.isfinite(depth)
    resized = interpolate(np.where(finite, depth, 0).astype(np.float32))
    if not finite.all():
        resized[interpolate(np.isposinf(depth).astype(np.float32)) > 0] = np.inf
        resized[interpolate(np.isnan(depth).astype(np.float32)) > 0] = np.nan
    return resized


def _places(size: int, new_size: int) -> tuple[npt.NDArray[np.intp], Float32]:
    """Returns int[new_size] and float32[new_size]: lower neighbour, weight of the upper one."""
    at = np.linspace(0, size - 1, new_size)
    whole = np.minimum(at.astype(np.intp), max(size - 2, 0))
    return whole, (at - whole).astype(np.float32)
