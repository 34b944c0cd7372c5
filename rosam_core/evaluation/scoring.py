"""Scores of single images and their summary by condition: what `rosam eval` and the demo print."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rosam_core.evaluation.boundaries import boundary_scores, mean_boundaries
from rosam_core.evaluation.calibration import Reliability, sparsification_areas
from rosam_core.evaluation.flat_ground import flat_ground_depth
from rosam_core.evaluation.flicker import mean_flicker
from rosam_core.evaluation.intervals import scene_interval
from rosam_core.evaluation.metrics import (
    depth_metrics,
    image_errors,
    kept,
    mean_metrics,
    mean_range_errors,
    resize_align_corners,
    scored_places,
    within_delta1,
)
from rosam_core.geometry.projection import sparse_depth
from rosam_core.types import CONDITIONS, DepthPrediction, Float32, Frame

FLAT_GROUND_CAP_M = 35.0
"""Depth the flat-ground baseline gives at and above the horizon. A lower cap than the range is a
stronger baseline, as what stands above the horizon is mostly buildings: on the two real nuScenes
key frames (mean over six cameras) the median-scaled AbsRel is .36 and .49 with 35 m, .70 and .76
with 80 m."""

TITLES = {
    "abs_rel": "AbsRel",
    "sq_rel": "SqRel",
    "rmse": "RMSE",
    "rmse_log": "RMSElog",
    "delta1": "delta1",
}


@dataclasses.dataclass(frozen=True)
class ImageScore:
    """The errors of one image.

    Attributes:
        condition: One of `CONDITIONS`.
        camera_name: Which camera took it.
        stamp_ns: Time of the image [ns].
        metric: `depth_metrics` of the metres as published.
        scaled: `depth_metrics` after median scaling.
        flat: `depth_metrics` of the flat-ground baseline; None if the camera height is unknown.
        flat_scaled: The same after median scaling.
        reliability: Histogram of the confidence against the delta1 event.
        ause: Area under the sparsification error of |g-p|/g; NaN if nothing was scored.
        ause_random: The same for samples taken away at random; NaN likewise.
        ranges: `range_errors` of the metres as published.
        scene: Drive or scene the image belongs to.
        flipped: `depth_metrics` with flip post-processing, None if it was not asked for.
        flipped_scaled: The same after median scaling.
        boundaries: `boundary_scores` of the metres as published; None if they are not known.
        flicker: `FlickerMeter.of` since the frame before; None if it is not known.
    """

    condition: str
    camera_name: str
    stamp_ns: int
    metric: Mapping[str, float]
    scaled: Mapping[str, float]
    flat: Mapping[str, float] | None
    flat_scaled: Mapping[str, float] | None
    reliability: Reliability
    ause: float
    ranges: Sequence[Mapping[str, float]] = ()
    scene: str = ""
    flipped: Mapping[str, float] | None = None
    flipped_scaled: Mapping[str, float] | None = None
    boundaries: Mapping[str, Any] | None = None
    flicker: Mapping[str, Any] | None = None
    ause_random: float = float("nan")


def frame_truth(frame: Frame, rounding: str = "nearest") -> Float32 | None:
    """Returns the true depth of a frame: exact where it has it, else its lidar.

    Args:
        frame: Frame of a drive.
        rounding: How lidar points become pixels, see `sparse_depth`.

    Returns:
        float32[H,W] [m], NaN = unknown; None if the frame has neither.
    """
    if frame.depth is not None:
        return frame.depth
    if frame.lidar is not None:
        return sparse_depth(frame.lidar, frame.camera, rounding=rounding)
    return None


def score_image(
    frame: Frame,
    truth: Float32,
    prediction: DepthPrediction,
    min_depth_m: float,
    max_depth_m: float,
    camera_height_m: float | None = None,
    scene: str = "",
    flipped: DepthPrediction | None = None,
    lidar_boundaries: bool = False,
    scored: npt.NDArray[np.intp] | None = None,
) -> ImageScore:
    """Scores one prediction, metric and median-scaled, with its confidence and the baseline.

    Args:
        frame: The frame it was made from.
        truth: float32[H,W], true depth [m], NaN = unknown.
        prediction: Depth and confidence; resized to the truth if they differ in size.
        min_depth_m: Lower end of the scored range [m].
        max_depth_m: Upper end of the scored range [m].
        camera_height_m: Height for the flat-ground baseline [m]; None leaves it out.
        scene: Drive or scene the frame belongs to.
        flipped: The prediction with flip post-processing, or None.
        lidar_boundaries: Score boundaries where the truth is sparse, too.
        scored: `scored_places` of the truth, if the caller has them.
    """
    height, width = truth.shape
    limits = (min_depth_m, max_depth_m)
    # Of lidar a few thousand of a million pixels: everything below is done with those alone.
    scored = scored_places(truth, *limits) if scored is None else scored
    whole, certainty = (sized_to(a, truth) for a in (prediction.depth, prediction.confidence))
    g, depth, confidence = (values.ravel()[scored] for values in (truth, whole, certainty))
    other = None if flipped is None else sized_to(flipped.depth, truth).ravel()[scored]
    flat = None
    if camera_height_m is not None:
        view = frame.camera.scaled_to(width, height)
        flat = flat_ground_depth(view, camera_height_m, FLAT_GROUND_CAP_M).ravel()[scored]
    known = ~np.isnan(depth)
    known_g, known_depth, c = (kept(values, known) for values in (g, depth, confidence))
    clamped = np.clip(known_depth, *limits)  # +Inf becomes the end of the range
    c = np.clip(c, 0, 1)
    error = np.abs(clamped - known_g) / known_g
    metric, scaled, ranges = image_errors(g, depth, *limits)
    boundaries = None
    if frame.depth is not None or lidar_boundaries:
        boundaries = boundary_scores(truth, whole, *limits, frame.instances, lidar_boundaries)
    ranked = np.isfinite(c).any()
    areas = sparsification_areas(error, c) if ranked else (float("nan"), float("nan"))
    return ImageScore(
        condition=frame.condition,
        camera_name=frame.camera_name,
        stamp_ns=frame.stamp_ns,
        metric=metric,
        scaled=scaled,
        flat=None if flat is None else depth_metrics(g, flat, *limits),
        flat_scaled=None if flat is None else depth_metrics(g, flat, *limits, True),
        reliability=Reliability.of(c, within_delta1(known_g, clamped)),
        ause=areas[0],
        ause_random=areas[1],
        ranges=ranges,
        scene=scene,
        flipped=None if other is None else depth_metrics(g, other, *limits),
        flipped_scaled=None if other is None else depth_metrics(g, other, *limits, True),
        boundaries=boundaries,
    )


def sized_to(values: Float32, truth: Float32) -> Float32:
    """Returns a map of a prediction at the size of the truth, float32[H,W]."""
    height, width = truth.shape
    return values if values.shape == truth.shape else resize_align_corners(values, width, height)


def summarise(scores: Sequence[ImageScore]) -> dict[str, Any]:
    """Returns the mean scores of a set of images as plain numbers, ready for JSON.

    Args:
        scores: Scores of images; those where nothing was scored are counted in `frames` only.

    Returns:
        `frames`, `scenes`, `metric`, `median_scaled`, `flip` and `flip_median_scaled` (if they
        were measured), `intervals` (95 %, over scenes; None with a single scene), `ranges`
        (`mean_range_errors`), `ece`, `ause`, `ause_random`, `reliability` and, where the camera
        height is known, `flat_ground`, `flat_ground_median_scaled` and `flat_ground_ratio`
        (AbsRel of the baseline over AbsRel of the model, metric), and `boundaries`
        (`mean_boundaries`) and `flicker` (`mean_flicker`) where known.
    """
    if not scores:
        raise ValueError("no images to summarise")
    histogram = sum((s.reliability for s in scores[1:]), start=scores[0].reliability)
    ranked = [(s.ause, s.ause_random) for s in scores if not np.isnan(s.ause)]
    areas = np.mean(ranked, axis=0).tolist() if ranked else [float("nan")] * 2
    result: dict[str, Any] = {
        "frames": len(scores),
        "metric": mean_metrics([s.metric for s in scores]),
        "median_scaled": mean_metrics([s.scaled for s in scores]),
        "ece": histogram.ece,
        "ause": areas[0],
        "ause_random": areas[1],
        "reliability": {
            "count": histogram.count.tolist(),
            "confidence": finite(histogram.mean_confidence.tolist()),
            "accuracy": finite(histogram.accuracy.tolist()),
        },
    }
    result["ranges"] = mean_range_errors([s.ranges for s in scores if s.ranges])
    if boundaries := mean_boundaries([s.boundaries for s in scores]):
        result["boundaries"] = boundaries
    if flicker := mean_flicker([s.flicker for s in scores]):
        result["flicker"] = flicker
    result["scenes"] = len({s.scene for s in scores})
    result["intervals"] = {
        scaling: {
            name: scene_interval([s[name] for s in images], [s.scene for s in scores])
            for name in ("abs_rel", "rmse", "delta1")
        }
        for scaling, images in (
            ("metric", [s.metric for s in scores]),
            ("median_scaled", [s.scaled for s in scores]),
        )
    }
    for name, images in (
        ("flip", [s.flipped for s in scores if s.flipped is not None]),
        ("flip_median_scaled", [s.flipped_scaled for s in scores if s.flipped_scaled is not None]),
    ):
        if images:
            result[name] = mean_metrics(images)
    flat = [s.flat for s in scores if s.flat is not None]
    if flat:
        result["flat_ground"] = mean_metrics(flat)
        result["flat_ground_median_scaled"] = mean_metrics(
            [s.flat_scaled for s in scores if s.flat_scaled is not None]
        )
        own = result["metric"]["abs_rel"]
        result["flat_ground_ratio"] = result["flat_ground"]["abs_rel"] / own if own > 0 else None
    return result


def by_condition(scores: Iterable[ImageScore]) -> dict[str, dict[str, Any]]:
    """Returns `summarise` of every condition that occurs, in the order of `CONDITIONS`.

    Args:
        scores: Scores of images; with several conditions, `all` comes last.
    """
    scores = list(scores)
    result = {
        condition: summarise(own)
        for condition in CONDITIONS
        if (own := [s for s in scores if s.condition == condition])
    }
    if len(result) > 1:
        result["all"] = summarise(scores)
    return result


def table_rows(
    summaries: Mapping[str, Mapping[str, Any]],
    scalings: Sequence[str] = ("metric", "median_scaled"),
) -> list[list[str]]:
    """Returns the table of a summary: a header, then rows of condition and scaling.

    Args:
        summaries: Result of `by_condition`.
        scalings: Which of `"metric"` and `"median_scaled"` to show.
    """
    named = {
        "metric": {
            "metric": "metric",
            "flip": "metric, flip",
            "flat_ground": "flat ground, metric",
        },
        "median_scaled": {
            "median_scaled": "median-scaled",
            "flip_median_scaled": "median-scaled, flip",
            "flat_ground_median_scaled": "flat ground, median-scaled",
        },
    }
    rows = [["condition", "frames", "scaling", *TITLES.values(), "ECE", "AUSE"]]
    for condition, summary in summaries.items():
        shown = [(key, name) for s in scalings for key, name in named[s].items() if key in summary]
        for index, (key, name) in enumerate(shown):
            m = summary[key]
            first = index == 0
            rows.append(
                [
                    condition if first else "",
                    str(summary["frames"]) if first else "",
                    name,
                    *(f"{m[s]:.3f}" for s in TITLES),
                    # The confidence speaks of the metres as published, not of scaled ones.
                    *(
                        f"{summary[name]:.3f}" if key == "metric" and summary[name] >= 0 else ""
                        for name in ("ece", "ause")
                    ),
                ]
            )
    return rows


def format_table(rows: Sequence[Sequence[str]], left: Sequence[int] = (0, 2)) -> str:
    """Returns rows of text as aligned lines, with a rule under the header.

    Args:
        rows: Header first; all of the same length.
        left: Columns that are aligned to the left; the others are numbers.
    """
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join([lines[0], "-" * (sum(widths) + 2 * len(widths) - 2), *lines[1:]])


def finite(value: Any) -> Any:
    """Returns the same structure with NaN and infinity as None, which JSON can hold.

    Args:
        value: Nested dicts, lists and numbers.
    """
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
