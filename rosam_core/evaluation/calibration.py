"""Whether a confidence tells the truth: calibration, sparsification and temperature.

A confidence is the probability that a depth is within 25 % of the truth, the event `delta1`
counts. It comes from a Laplace scale b of the log depth: `confidence = 1 - exp(-ln 1.25 / b)`.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from rosam_core.types import Float64

BINS = 15
"""Equal-width bins of the expected calibration error, as in Guo et al. (ICML 2017)."""

LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE = 0.02, 50.0
"""A fit looks for the multiplier of b between these."""


@dataclasses.dataclass(frozen=True)
class Reliability:
    """A reliability histogram; histograms of several images add up.

    Attributes:
        count: int64[bins], samples whose confidence falls into each equal-width bin of [0, 1].
        confidence_sum: float64[bins], sum of their confidences.
        correct_sum: float64[bins], how many of them were correct.
    """

    count: npt.NDArray[np.int64]
    confidence_sum: Float64
    correct_sum: Float64

    @classmethod
    def of(
        cls, confidence: npt.ArrayLike, correct: npt.ArrayLike, bins: int = BINS
    ) -> Reliability:
        """Sorts samples into bins; bin i holds [i/bins, (i+1)/bins), the last one also 1.

        Args:
            confidence: Float array in [0, 1]; samples whose confidence is NaN are left out.
            correct: Bool array of the same size: did the event happen?
            bins: Number of equal-width bins.

        Raises:
            ValueError: Sizes differ, or a confidence lies outside [0, 1].
        """
        c = np.asarray(confidence, dtype=np.float64).ravel()
        y = np.asarray(correct, dtype=bool).ravel()
        if c.size != y.size:
            raise ValueError(f"{c.size} confidences but {y.size} outcomes")
        if np.isnan(c).any():
            known = ~np.isnan(c)
            c, y = c[known], y[known]
        if c.size and (c.min() < 0 or c.max() > 1):
            raise ValueError(f"confidence must be in [0, 1], got {c.min():g} to {c.max():g}")
        index = np.minimum((c * bins).astype(np.intp), bins - 1)
        # Wrong ones in the first half of the counts, correct ones in the second.
        wrong, correct = np.bincount(index + bins * y, minlength=2 * bins).reshape(2, bins)
        return cls(
            (wrong + correct).astype(np.int64),
            np.bincount(index, weights=c, minlength=bins).astype(np.float64),
            correct.astype(np.float64),
        )

    def __add__(self, other: Reliability) -> Reliability:
        return Reliability(
            self.count + other.count,
            self.confidence_sum + other.confidence_sum,
            self.correct_sum + other.correct_sum,
        )

    @property
    def mean_confidence(self) -> Float64:
        """float64[bins], mean confidence in each bin; NaN in an empty one."""
        return np.divide(self.confidence_sum, self.count, where=self.count > 0, out=self._nan())

    @property
    def accuracy(self) -> Float64:
        """float64[bins], share of correct samples in each bin; NaN in an empty one."""
        return np.divide(self.correct_sum, self.count, where=self.count > 0, out=self._nan())

    @property
    def ece(self) -> float:
        """Expected calibration error in [0, 1]; NaN without samples."""
        total = int(self.count.sum())
        if not total:
            return float("nan")
        return float(np.abs(self.confidence_sum - self.correct_sum).sum() / total)

    def _nan(self) -> Float64:
        return np.full(len(self.count), np.nan)


def expected_calibration_error(
    confidence: npt.ArrayLike, correct: npt.ArrayLike, bins: int = BINS
) -> float:
    """Returns `sum_i n_i/n |accuracy_i - confidence_i|` over equal-width bins, in [0, 1].

    Args:
        confidence: Float array in [0, 1]; NaN samples are left out.
        correct: Bool array of the same size: was the depth within 25 % of the truth?
        bins: Number of equal-width bins.
    """
    return Reliability.of(confidence, correct, bins).ece


def reliability_curve(
    confidence: npt.ArrayLike, correct: npt.ArrayLike, bins: int = BINS
) -> tuple[Float64, Float64, npt.NDArray[np.int64]]:
    """Returns mean confidence, accuracy and count of every bin (NaN, NaN, 0 in empty bins).

    Args:
        confidence: Float array in [0, 1]; NaN samples are left out.
        correct: Bool array of the same size.
        bins: Number of equal-width bins.
    """
    histogram = Reliability.of(confidence, correct, bins)
    return histogram.mean_confidence, histogram.accuracy, histogram.count


def risk_coverage(
    error: npt.ArrayLike, confidence: npt.ArrayLike, steps: int = 50
) -> tuple[Float64, Float64]:
    """Returns the mean error of the most confident share of the samples, for each share.

    Args:
        error: float[N] >= 0, error of each sample, for example |g-p|/g.
        confidence: float[N], larger = trusted more, NaN least. Samples of equal confidence have no
            order: a share that ends among them takes their mean error.
        steps: Number of shares.

    Returns:
        coverage: float64[steps], 1/steps ... 1.
        risk: float64[steps], mean error of that share; the last one is the mean of all.

    Raises:
        ValueError: Sizes differ or there are no samples.
    """
    e = np.asarray(error, dtype=np.float64).ravel()
    c = np.asarray(confidence).ravel()
    c = c if c.dtype == np.float32 else c.astype(np.float64)
    if e.size != c.size or not e.size:
        raise ValueError(f"need as many errors as confidences, at least one: {e.size}, {c.size}")
    coverage, kept = _shares(e.size, steps)
    order = _order(c, descending=True)
    falling = -c[order]  # ascending, as a search wants it
    last = falling[kept - 1]
    start, end = (np.searchsorted(falling, last, side) for side in ("left", "right"))
    total = np.append(0.0, np.cumsum(e[order]))
    tied = (total[end] - total[start]) / (end - start)
    return coverage, (total[start] + (kept - start) * tied) / kept


def _shares(size: int, steps: int) -> tuple[Float64, npt.NDArray[np.int64]]:
    """Returns float64[steps], 1/steps ... 1, and how many of `size` samples each share holds."""
    coverage = np.arange(1, steps + 1) / steps
    return coverage, np.maximum(1, np.rint(coverage * size).astype(np.int64))


def _order(values: npt.NDArray[Any], descending: bool = False) -> npt.NDArray[np.intp]:
    """Returns a stable order: of equal values the earlier one comes first; NaN comes last."""
    if values.dtype != np.float32 or not (values.size and values.min() >= 0):
        return np.argsort(-values if descending else values, kind="stable")
    # The bits of a float that is not negative are in the order of the values. Numpy sorts 16-bit
    # integers without comparing them, so twice half of the bits takes half the time of a sort.
    bits = (values + np.float32(0)).view(np.uint32)  # -0 becomes 0
    bits = ~bits if descending else bits
    order = np.argsort(bits.astype(np.uint16), kind="stable")
    return order[np.argsort((bits >> 16).astype(np.uint16)[order], kind="stable")]


def ause(error: npt.ArrayLike, confidence: npt.ArrayLike, steps: int = 50) -> float:
    """Returns the area under the sparsification error, >= 0; 0 = errors perfectly ranked.

    The sparsification curve is the mean error of what is left as the least trusted samples are
    taken away; its error is the distance to the curve of an oracle that takes away the largest
    errors (Ilg et al., Uncertainty Estimates for Optical Flow, ECCV 2018), integrated over the
    removed share from 0 to 1 - 1/steps by the trapezoid rule and, as Poggi et al. (CVPR 2020)
    do for depth, not divided by the mean error: its unit is the unit of `error`.

    Args:
        error: float[N] >= 0, error of each sample.
        confidence: float[N], larger = trusted more.
        steps: Number of shares.

    Raises:
        ValueError: Sizes differ or there are no samples.
    """
    return sparsification_areas(error, confidence, steps)[0]


def sparsification_areas(
    error: npt.ArrayLike, confidence: npt.ArrayLike, steps: int = 50
) -> tuple[float, float]:
    """Returns `ause`, and what it is for samples taken away at random.

    At random the mean error of what is left is expected to stay that of all: a confidence is worth
    what its area lacks of that one.

    Args:
        error: float[N] >= 0, error of each sample.
        confidence: float[N], larger = trusted more.
        steps: Number of shares.

    Raises:
        ValueError: Sizes differ or there are no samples.
    """
    e = np.asarray(error).ravel()
    coverage, risk = risk_coverage(e, confidence, steps)
    _, kept = _shares(e.size, steps)
    oracle = np.cumsum(e[_order(e)].astype(np.float64))[kept - 1] / kept

    def area(gap: Float64) -> float:
        return float(np.sum((gap[1:] + gap[:-1]) / 2 * np.diff(coverage)))

    return area(risk - oracle), area(risk[-1] - oracle)


def tempered(confidence: npt.ArrayLike, temperature: float) -> Float64:
    """Returns the confidence after the Laplace scale b is multiplied by a temperature.

    `1 - exp(-ln 1.25 / (t b))` equals `1 - (1 - c)^(1/t)`, so b itself is not needed.

    Args:
        confidence: Float array in [0, 1].
        temperature: Multiplier t of b, > 0; above 1 lowers every confidence.
    """
    return 1 - (1 - np.asarray(confidence, dtype=np.float64)) ** (1 / temperature)


def fit_temperature(
    confidence: npt.ArrayLike,
    correct: npt.ArrayLike,
    low: float = LOWEST_TEMPERATURE,
    high: float = HIGHEST_TEMPERATURE,
) -> float:
    """Returns the multiplier of b that minimises the negative log likelihood of the event.

    With x = -ln(1 - c) and s = 1/t the loss is `-y ln(1 - e^{-xs}) + (1-y) x s`, convex in s: a
    golden-section search over ln t finds its one minimum.

    Args:
        confidence: Float array in [0, 1] at temperature 1; NaN samples are left out.
        correct: Bool array of the same size: was the depth within 25 % of the truth?
        low: Smallest temperature tried.
        high: Largest temperature tried.

    Raises:
        ValueError: There are no samples.
    """
    c = np.asarray(confidence, dtype=np.float64).ravel()
    y = np.asarray(correct, dtype=bool).ravel()
    known = ~np.isnan(c)
    c, y = c[known], y[known]
    if not c.size:
        raise ValueError("no confidences to fit a temperature to")
    # Beyond 1 - 1e-6 a float32 confidence cannot be told from 1, whose loss would be infinite.
    x = -np.log1p(-np.clip(c, 1e-6, 1 - 1e-6))

    def loss(log_t: float) -> float:
        z = x * np.exp(-log_t)
        return float(-np.log(-np.expm1(-z[y])).sum() + z[~y].sum())

    golden = (np.sqrt(5) - 1) / 2
    a, b = float(np.log(low)), float(np.log(high))
    inner, outer = b - golden * (b - a), a + golden * (b - a)
    at_inner, at_outer = loss(inner), loss(outer)
    while b - a > 1e-4:
        if at_inner < at_outer:
            b, outer, at_outer = outer, inner, at_inner
            inner = b - golden * (b - a)
            at_inner = loss(inner)
        else:
            a, inner, at_inner = inner, outer, at_outer
            outer = a + golden * (b - a)
            at_outer = loss(outer)
    return float(np.exp((a + b) / 2))
