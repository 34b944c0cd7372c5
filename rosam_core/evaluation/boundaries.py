"""Occluding boundaries: does depth jump where one thing stands before another?

Bochkovskii et al., "Depth Pro: Sharp Monocular Metric Depth in Less Than a Second",
arXiv 2410.02073, section on boundary metrics: between neighbouring pixels i and j there is a
boundary if `d_j / d_i > 1 + t`, in that direction. Precision and recall compare the pairs of a
prediction with those of the truth; their F1 is averaged over ten t from 5 % to 25 %, each weighed
by its ratio `1 + t`. The metric does not change with the scale of a depth map.

Two things differ from the paper. Depth is clamped to the scored range first, so that what lies
beyond it, the sky too, is one surface. And a true jump inside one object is a slope, not a
boundary (a road near the horizon is full of them): where instances are known such pairs are left
out.

Where only lidar is known, the pairs are lidar points next to each other. That tells whether depth
jumps somewhere between two points as it should, so it ranks models on one drive. It cannot tell
where between them, sees nothing thinner than the gaps of the scan, takes a steep road for jumps,
and counts points that round into the pixel of the thing beside them, or that the lidar sees behind
an edge and the camera does not: even exact depth scores far below 1, so its figures are never
mixed with those of exact depth (`benchmarks/boundary_limits.py` prints how far).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rosam_core.types import Float32, UInt16

RATIOS = np.linspace(1.05, 1.25, 10)
"""Depth ratios of neighbours, 1 + t, above which there is a boundary."""

DENSE = 0.25
"""Truth on a smaller share of the pixels than this is lidar: it has no neighbouring pixels."""

LIDAR_GAP, LIDAR_BAND = 0.01, 0.006
"""Lidar pixels are neighbours up to the first share of the image's width apart, in a band of rows
as high as the second: a jump in depth moves the points of one beam up or down in the image."""

KINDS = {
    "exact": "exact depth",
    "lidar": "between lidar points",
}
"""What pairs of pixels were compared, in words."""

Pairs = tuple[npt.NDArray[np.floating[Any]], npt.NDArray[np.floating[Any]]]


def boundary_scores(
    truth: Float32,
    prediction: Float32,
    min_depth_m: float,
    max_depth_m: float,
    instances: UInt16 | None = None,
    of_lidar: bool = True,
) -> dict[str, Any] | None:
    """Returns how well the boundaries of a prediction meet those of the truth.

    Args:
        truth: float32[H,W], true depth [m]; NaN = unknown, +Inf = sky.
        prediction: float32[H,W], predicted depth [m]; NaN = unknown, which shows no boundary.
        min_depth_m: Depth is clamped to here [m].
        max_depth_m: Depth is clamped to here [m].
        instances: uint16[H,W], object ids, or None if they are not known.
        of_lidar: Score sparse truth as well, between its points.

    Returns:
        `kind` (one of `KINDS`, by how dense the truth is), `precision`, `recall`, `f1`: means
        over `RATIOS`, NaN if there is nothing to find or nothing was found; and `n`, the true
        boundary pairs at the smallest ratio. None if no pair of pixels can be looked at.

    Raises:
        ValueError: Shapes differ.
    """
    shapes = [a.shape for a in (truth, prediction, instances) if a is not None]
    if len(set(shapes)) > 1:
        raise ValueError(f"truth, prediction and instances differ in size: {shapes}")
    limits = (min_depth_m, max_depth_m)
    if is_dense(truth):
        return {"kind": "exact", **_f1(*_dense_jumps(truth, prediction, limits, instances))}
    known = truth > 0
    if not of_lidar or not known.any():
        return None
    return {"kind": "lidar", **_f1(*_sparse_jumps(truth, prediction, known, limits))}


def is_dense(truth: Float32) -> bool:
    """Returns whether true depth is a whole map, not that of lidar points.

    Args:
        truth: float32[H,W] [m]; NaN = unknown, +Inf = sky, which is known.
    """
    return bool(np.count_nonzero(truth > 0) >= DENSE * truth.size)


def _log_depth(depth: npt.NDArray[Any], limits: tuple[float, float]) -> npt.NDArray[Any]:
    """Returns the logarithm of clamped depth; NaN stays."""
    return np.asarray(np.log(np.clip(depth, *limits)))


def _dense_jumps(
    truth: Float32,
    prediction: Float32,
    limits: tuple[float, float],
    instances: UInt16 | None,
) -> Pairs:
    """Returns log ratios of the pairs, below and beside, that are a boundary in either map."""
    g, p = _log_depth(truth, limits), _log_depth(prediction, limits)
    least = float(np.log(RATIOS[0]))
    found: list[Pairs] = []
    for one, two in ((np.s_[:-1], np.s_[1:]), (np.s_[:, :-1], np.s_[:, 1:])):
        of_g, of_p = g[two] - g[one], p[two] - p[one]
        # Few pairs are left here, so that all that follows is cheap. NaN compares false: a pair
        # whose truth is not known is dropped, one whose prediction is not known has no jump.
        jump = (np.abs(of_g) > least) | ((np.abs(of_p) > least) & ~np.isnan(of_g))
        at = np.flatnonzero(jump)
        pair = of_g.ravel()[at], of_p.ravel()[at]
        if instances is not None:
            same = instances[one].ravel()[at] == instances[two].ravel()[at]
            # Scenery has the sky's id, 0, but nothing slopes into the sky.
            solid = np.isfinite(truth[one].ravel()[at] + truth[two].ravel()[at])
            slope = same & solid & (np.abs(pair[0]) > least)
            pair = pair[0][~slope], pair[1][~slope]
        found.append(pair)
    return np.concatenate([a for a, _ in found]), np.concatenate([b for _, b in found])


def _sparse_jumps(
    truth: Float32,
    prediction: Float32,
    known: npt.NDArray[np.bool_],
    limits: tuple[float, float],
) -> Pairs:
    """Returns log ratios of pixels with truth and the next one in their band, if it is near."""
    width = truth.shape[1]
    gap, height = (max(1, round(share * width)) for share in (LIDAR_GAP, LIDAR_BAND))
    rows, columns = np.nonzero(known)
    along = rows // height * (width + gap) + columns  # no pair reaches into the next band
    order = np.argsort(along, kind="stable")
    g, p = (_log_depth(v[rows[order], columns[order]], limits) for v in (truth, prediction))
    pair = np.flatnonzero(np.diff(along[order]) <= gap)
    return g[pair + 1] - g[pair], p[pair + 1] - p[pair]


def _f1(of_g: npt.NDArray[Any], of_p: npt.NDArray[Any]) -> dict[str, Any]:
    """Returns the scores of pairs with the log ratios of truth and prediction."""
    levels = np.log(RATIOS)
    # How many of the ratios a pair exceeds; it is found at a ratio if both do in one direction.
    true = np.searchsorted(levels, np.abs(of_g))
    said = np.searchsorted(levels, np.where(np.isnan(of_p), 0, np.abs(of_p)))
    found = np.where(of_g * of_p > 0, np.minimum(true, said), 0)
    # Pairs above each ratio: all but those that exceed fewer.
    n_true, n_said, n_found = (
        np.bincount(count, minlength=len(levels) + 1)[::-1].cumsum()[::-1][1:]
        for count in (true, said, found)
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "precision": _mean(n_found / n_said),
            "recall": _mean(n_found / n_true),
            "f1": _mean(2 * n_found / (n_true + n_said)),
            "n": int(n_true[0]),
        }


def _mean(by_ratio: npt.NDArray[Any]) -> float:
    """Returns the mean weighed by the ratios, without those that have no boundary at all."""
    some = ~np.isnan(by_ratio)
    return float(np.average(by_ratio[some], weights=RATIOS[some])) if some.any() else float("nan")


def mean_boundaries(images: Sequence[Mapping[str, Any] | None]) -> dict[str, dict[str, Any]]:
    """Returns the means over images by kind, for the kinds that occur.

    Args:
        images: Results of `boundary_scores`; a figure that is NaN in an image is left out of its
            mean, and an image in which all are is not counted.
    """
    result: dict[str, dict[str, Any]] = {}
    for kind in KINDS:
        own = [i for i in images if i is not None and i["kind"] == kind and i["f1"] >= 0]
        if own:
            row: dict[str, Any] = {"frames": len(own), "n": sum(i["n"] for i in own)}
            for name in ("precision", "recall", "f1"):
                values = [i[name] for i in own if not np.isnan(i[name])]
                row[name] = float(np.mean(values)) if values else float("nan")
            result[kind] = row
    return result


def boundary_rows(summaries: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """Returns a table of the boundaries, header first; only the header if none are known.

    Args:
        summaries: By condition; those with `boundaries`, of `mean_boundaries`, are shown.
    """
    rows = [["boundaries", "frames", "truth", "precision", "recall", "F1"]]
    for condition, summary in summaries.items():
        for kind, m in summary.get("boundaries", {}).items():
            values = (m[name] for name in ("precision", "recall", "f1"))
            figures = ["-" if np.isnan(value) else f"{value:.3f}" for value in values]
            rows.append([condition, str(m["frames"]), KINDS[kind], *figures])
    return rows
