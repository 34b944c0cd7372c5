"""The page of an evaluation: key figures, tables, plots, and the best, median and worst frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rosam_core.evaluation import figures
from rosam_core.evaluation.boundaries import boundary_rows, is_dense
from rosam_core.evaluation.crops import crop_words
from rosam_core.evaluation.flicker import flicker_rows
from rosam_core.evaluation.protocol import Evaluation, Predict
from rosam_core.evaluation.report import Card, Example, Figure, Report, Table
from rosam_core.evaluation.scoring import ImageScore, sized_to, table_rows
from rosam_core.types import DepthPrediction


def eval_page(
    title: str,
    found: Evaluation,
    summaries: Mapping[str, Mapping[str, Any]],
    predict: Predict,
    range_m: tuple[float, float],
    notes: Sequence[str],
) -> Report:
    """Returns the report of an evaluation.

    Args:
        title: Heading.
        found: What was scored.
        summaries: Result of `by_condition`.
        predict: Makes the predictions of the frames that are shown again.
        range_m: Truth that was scored [m].
        notes: Lines on the model, the drive and the machine.
    """
    overall = summaries.get("all") or next(iter(summaries.values()))
    m, interval = overall["metric"], overall["intervals"]["metric"]["abs_rel"]
    ratio = overall.get("flat_ground_ratio")
    cards = [
        Card("AbsRel", f"{m['abs_rel']:.3f}", in_words(interval) or "metric, no scaling"),
        Card("median-scaled", f"{overall['median_scaled']['abs_rel']:.3f}", "AbsRel, scale right"),
        Card("within 25 %", f"{m['delta1']:.0%}", "delta1, share of pixels"),
    ]
    if overall["ece"] >= 0:
        cards.append(Card("confidence ECE", f"{overall['ece']:.3f}", "0 = perfectly calibrated"))
    if ratio:
        cards.append(Card("flat ground", f"{ratio:.1f}x", "worse than this model"))
    cards.append(Card("frames", str(len(found.scores)), f"{overall['scenes']} scenes"))
    window = f", {words}" if (words := crop_words(found.crop)) else ""
    detail = (
        f"Truth from {range_m[0]:g} to {range_m[1]:g} m{window}; metrics per image, then averaged "
        "over images. Median-scaled rows say how much is left once the overall scale is right."
    )
    tables = [
        Table("Accuracy by condition", table_rows(summaries), detail, left=(0, 2)),
        Table("AbsRel with 95 % intervals", interval_rows(summaries), _INTERVALS),
        Table("By range", range_rows(overall["ranges"]), "Metric, all conditions together."),
    ]
    if len(boundaries := boundary_rows(summaries)) > 1:
        tables.append(Table("Occluding boundaries", boundaries, _BOUNDARIES, left=(0, 2)))
    if len(changes := flicker_rows(summaries)) > 1:
        tables.append(Table("Flicker", changes, _FLICKER, left=(0, 2)))
    by_camera = camera_rows(found.scores)
    if len(by_camera) > 2:
        tables.append(Table("By camera", by_camera, "Metric."))
    plots = [
        Figure(
            "Error by range",
            figures.error_by_range({c: s["ranges"] for c, s in summaries.items()}),
            "AbsRel of the pixels whose truth lies in the bin.",
        )
    ]
    if overall["ece"] >= 0:
        plots.append(
            Figure(
                "Does the confidence tell the truth?",
                figures.reliability_diagram(summaries),
                "Of all pixels with a confidence, the share that is within 25 % of the truth.",
                "tall",
            )
        )
    counted = [f"{len(found.scores)} frames scored, {found.without_truth} without truth left out."]
    if found.skipped:
        counted.append(f"{len(found.skipped)} were skipped; the first: {found.skipped[0]}")
    return Report(
        title=title,
        lead="How good the depth is, by condition, range and camera, and where it fails.",
        hero=b"",
        cards=cards,
        tables=tables,
        figures=plots,
        examples=_examples(found, predict),
        notes=[*notes, *counted],
        links=[],
        max_depth_m=range_m[1],
    )


_BOUNDARIES = (
    "Jumps between neighbours by 5 to 25 % (Bochkovskii et al., arXiv 2410.02073): of those "
    "predicted the share that is true, of the true ones the share that is found."
)

_FLICKER = (
    "Mean change of the logarithm of depth from frame to frame along what is seen, the camera's "
    "own motion taken out; of truth: what the measure itself adds."
)

_INTERVALS = (
    "Bootstrap over scenes, 2000 resamples: images of one scene resemble each other, so whole "
    "scenes are drawn. Empty with a single scene, which says nothing about others."
)


def in_words(interval: Sequence[float] | None) -> str:
    """Returns an interval as text, empty if there is none."""
    return f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else ""


def interval_rows(summaries: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """Returns the rows of AbsRel with its intervals, header first."""
    rows = [["condition", "scenes", "metric", "95 %", "median-scaled", "95 %"]]
    for condition, s in summaries.items():
        cells = [condition, str(s["scenes"])]
        for scaling in ("metric", "median_scaled"):
            interval = s["intervals"][scaling]["abs_rel"]
            cells += [f"{s[scaling]['abs_rel']:.3f}", in_words(interval)]
        rows.append(cells)
    return rows


def range_rows(ranges: Sequence[Mapping[str, float]]) -> list[list[str]]:
    """Returns the rows of the error by range, header first."""
    rows = [["range [m]", "frames", "pixels", "MAE [m]", "AbsRel"]]
    for r in ranges:
        if r["n"]:
            name = f"{r['from_m']:g} to {r['to_m']:g}"
            errors = [f"{r['mae']:.2f}", f"{r['abs_rel']:.3f}"]
            rows.append([name, str(r["frames"]), str(r["n"]), *errors])
    return rows


def camera_rows(scores: Sequence[ImageScore]) -> list[list[str]]:
    """Returns the mean errors of every camera, header first."""
    rows = [["camera", "frames", "AbsRel", "median-scaled", "delta1"]]
    for name in dict.fromkeys(s.camera_name for s in scores):
        own = [s for s in scores if s.camera_name == name and s.metric["n"] > 0]
        if own:
            means = [
                np.mean([s.metric["abs_rel"] for s in own]),
                np.mean([s.scaled["abs_rel"] for s in own]),
                np.mean([s.metric["delta1"] for s in own]),
            ]
            rows.append([name, str(len(own)), *(f"{v:.3f}" for v in means)])
    return rows


def extremes(scores: Sequence[ImageScore]) -> list[tuple[str, int]]:
    """Returns titles and places of the best, median and worst frame of every condition.

    Args:
        scores: Of frames; the place is the index here.
    """
    chosen = []
    for condition in dict.fromkeys(s.condition for s in scores):
        own = [i for i, s in enumerate(scores) if s.condition == condition and s.metric["n"] > 0]
        own.sort(key=lambda i: scores[i].metric["abs_rel"])
        picks = {"best": 0, "median": len(own) // 2, "worst": len(own) - 1} if own else {}
        shown: set[int] = set()
        for name, place in picks.items():
            if own[place] not in shown:
                shown.add(own[place])
                chosen.append((f"{condition}, {name}", own[place]))
    return chosen


def _examples(found: Evaluation, predict: Predict) -> list[Example]:
    examples = []
    for title, place in extremes(found.scores):
        drive, index = found.places[place]
        score = found.scores[place]
        frame = drive[index]
        prediction: DepthPrediction = predict(frame, drive, index)[0]
        depth = sized_to(prediction.depth, frame.image[..., 0])
        confidence = np.nan_to_num(sized_to(prediction.confidence, frame.image[..., 0]))
        m, truth = score.metric, found.truth(frame, drive)
        caption = f"{score.scene} {score.camera_name} {index}: AbsRel {m['abs_rel']:.3f}"
        examples.append(
            Example(
                title,
                f"{caption}, RMSE {m['rmse']:.2f} m, delta1 {m['delta1']:.1%}",
                frame.image,
                depth,
                confidence,
                truth,
                is_sparse=truth is None or not is_dense(truth),
            )
        )
    return examples
