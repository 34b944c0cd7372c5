"""Scores a recorded run of the node and writes its report, contact sheet, video and bag."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from rosam_core.drives.bag_writer import BagWriter
from rosam_core.drives.base import Drive
from rosam_core.evaluation.boundaries import is_dense
from rosam_core.evaluation.eval_page import extremes
from rosam_core.evaluation.ground_truth import GroundTruth
from rosam_core.evaluation.live import LiveRun, LiveTopics
from rosam_core.evaluation.metrics import scored_pixels
from rosam_core.evaluation.pictures import (
    BACKGROUND,
    VideoWriter,
    contact_sheet,
    encode_png,
    side_by_side,
)
from rosam_core.evaluation.recording import (
    frame_stamps,
    recorded_prediction,
    recorded_predictions,
    write_frame,
)
from rosam_core.evaluation.report import Example, example_panels, write_report
from rosam_core.evaluation.run_page import (
    RANGE_M,
    Collected,
    conditions_in_words,
    graph_figures,
    percentiles,
    run_page,
)
from rosam_core.evaluation.scoring import (
    ImageScore,
    by_condition,
    finite,
    format_table,
    score_image,
)
from rosam_core.runtime.colormap import colorize_confidence, colorize_depth
from rosam_core.types import DepthPrediction, Float32, Frame, ModelCard, UInt8

VIDEO_HEIGHT = 240
HERO_FRAMES = 48
HERO_HEIGHT = 150
SHEET_ROWS = 9
SAMPLED_PIXELS = 1000
"""Pixels of each frame that enter the risk-coverage plot."""


def write_demo(
    drive: Drive, run: LiveRun, topics: LiveTopics, card: ModelCard, out: Path, fps: float
) -> dict[str, Any]:
    """Writes the report, its pictures, a video, a bag and the figures.

    These are `report.html`, `contact_sheet.png`, `overview.png` (one frame of each condition),
    `demo.mp4`, `demo.mcap` and `results.json`.

    Args:
        drive: What was replayed; scored where it has exact depth or lidar.
        run: The recorded run.
        topics: Its topics.
        card: Card of the model.
        out: Folder of the results.
        fps: Frames a second of the drive, for the video.

    Returns:
        The figures; `table` holds them as text for a terminal.

    Raises:
        ValueError: The node published nothing that belongs to the drive.
    """
    collected = _collect(drive, run, topics, out, fps)
    summaries = by_condition(collected.scores) if collected.scores else {}
    chosen = _choose(collected)
    index_of = frame_stamps(drive)
    examples = [
        _example(title, drive, index_of[stamp], run, topics, collected.scores)
        for title, stamp in chosen
    ]
    title = f"{card.name}: {conditions_in_words(collected.conditions)}"
    rows = [
        side_by_side(
            [picture for _, picture in example_panels(example, RANGE_M[1])],
            160,
            example.title,
            example.caption,
        )
        for example in examples[:SHEET_ROWS]
    ]
    (out / "contact_sheet.png").write_bytes(encode_png(contact_sheet(rows, title)))
    (out / "overview.png").write_bytes(encode_png(_overview(examples)))
    results = {
        "model": card.name,
        "sha256": card.sha256,
        "drive": drive.name,
        "range_m": list(RANGE_M),
        "conditions": summaries,
        "graph": graph_figures(run),
    }
    write_report(
        out / "report.html",
        run_page(title, collected, summaries, run, card, examples, drive),
    )
    (out / "results.json").write_text(json.dumps(finite(results), indent=2) + "\n", "utf-8")
    text = format_table(compact_rows(summaries), left=(0,)) + "\n\n" if summaries else ""
    return {**results, "table": text + graph_line(run)}


def compact_rows(summaries: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """Returns the table of the demo: one row a condition, metric depth, no scaling.

    Args:
        summaries: Result of `by_condition`.
    """
    has_flat = any("flat_ground" in summary for summary in summaries.values())
    head = ["condition", "frames", "AbsRel", "RMSE [m]", "delta1", "ECE", "AUSE"]
    rows = [head + (["flat ground AbsRel"] if has_flat else [])]
    for condition, summary in summaries.items():
        m = summary["metric"]
        row = [condition, str(summary["frames"]), f"{m['abs_rel']:.3f}", f"{m['rmse']:.2f}"]
        row += [f"{m['delta1']:.3f}", f"{summary['ece']:.3f}", f"{summary['ause']:.3f}"]
        if has_flat:
            flat = summary.get("flat_ground")
            row.append(f"{flat['abs_rel']:.3f}" if flat else "")
        rows.append(row)
    return rows


def graph_line(run: LiveRun) -> str:
    """Returns rate, latency and drops of a run in one line.

    Args:
        run: The recorded run.
    """
    p50, p95 = percentiles(run)
    return (
        f"{run.rate_hz:.1f} Hz, latency p50 {p50:.1f} ms, p95 {p95:.1f} ms, "
        f"{run.drops} of {run.frames} frames dropped, node ended with status {run.node_status}"
    )


def _collect(drive: Drive, run: LiveRun, topics: LiveTopics, out: Path, fps: float) -> Collected:
    """Goes through the run once: scores, video, bag and the pictures for the top."""
    found = Collected()
    index_of = frame_stamps(drive)
    keep_every = max(1, len(index_of) // HERO_FRAMES)
    first_ns = min(index_of)
    with (
        VideoWriter(out / "demo.mp4", fps) as video,
        BagWriter(out / "demo.mcap", overwrite=True, compress=True) as bag,
    ):
        pairs = recorded_predictions(run.bag, topics)
        for stamp, prediction, messages in tqdm(
            pairs, total=run.depths, desc="score", unit="frame", disable=None, file=sys.stderr
        ):
            if stamp not in index_of:
                continue
            frame = drive[index_of[stamp]]
            write_frame(bag, topics, frame, prediction, messages, RANGE_M[1])
            score = _score(frame, drive, index_of[stamp], prediction, found.samples)
            if score is not None:
                found.scores.append(score)
            found.stamps.append(stamp)
            found.conditions.append(frame.condition)
            picture = side_by_side(
                [
                    frame.image,
                    colorize_depth(prediction.depth, RANGE_M[1]),
                    colorize_confidence(prediction.confidence),
                ],
                VIDEO_HEIGHT,
                f"{frame.condition}   {(stamp - first_ns) / 1e9:.1f} s",
                _caption(score),
            )
            video.add(picture)
            if (len(found.stamps) - 1) % keep_every == 0:
                found.hero.append(side_by_side([picture], HERO_HEIGHT))
        if not found.stamps:
            said = " | ".join(run.node_log.split("\n")[-5:])
            raise ValueError(f"the node published no depth for {drive.name}: {said}")
    return found


def _score(
    frame: Frame,
    drive: Drive,
    index: int,
    prediction: DepthPrediction,
    samples: dict[str, list[Any]],
) -> ImageScore | None:
    """Scores a frame that has a truth, and keeps some of its pixels for the plots."""
    truth = GroundTruth().of(frame, drive)
    if truth is None:
        return None
    score = score_image(frame, truth, prediction, *RANGE_M, drive.camera_height(index))
    if prediction.depth.shape == truth.shape:
        valid = scored_pixels(truth, *RANGE_M) & ~np.isnan(prediction.depth)
        step = max(1, int(valid.sum()) // SAMPLED_PIXELS)
        g = truth[valid][::step]
        error = np.abs(np.clip(prediction.depth[valid][::step], *RANGE_M) - g) / g
        samples.setdefault(frame.condition, []).append(
            (error, prediction.confidence[valid][::step])
        )
    return score


def _choose(collected: Collected) -> list[tuple[str, int]]:
    """Returns titles and stamps of the frames to show: best, median and worst of a condition.

    Without a truth nothing is best: frames spread over the drive are shown.
    """
    if not collected.scores:
        stamps = collected.stamps
        spread = [stamps[i * (len(stamps) - 1) // 5] for i in range(min(6, len(stamps)))]
        first = stamps[0]
        return [(f"{(stamp - first) / 1e9:.1f} s", stamp) for stamp in dict.fromkeys(spread)]
    return [
        (title, collected.scores[place].stamp_ns) for title, place in extremes(collected.scores)
    ]


def _example(
    title: str,
    drive: Drive,
    index: int,
    run: LiveRun,
    topics: LiveTopics,
    scores: Sequence[ImageScore],
) -> Example:
    frame = drive[index]
    prediction = recorded_prediction(run.bag, topics, frame.stamp_ns)
    score = next((s for s in scores if s.stamp_ns == frame.stamp_ns), None)
    truth: Float32 | None = GroundTruth().of(frame, drive)
    return Example(
        title,
        _caption(score),
        frame.image,
        prediction.depth,
        prediction.confidence,
        truth,
        is_sparse=truth is None or not is_dense(truth),
    )


def _overview(examples: Sequence[Example]) -> UInt8:
    """Returns one frame of each condition as image, depth and confidence: a picture for a page."""
    median = [example for example in examples if example.title.endswith("median")]
    rows = [
        side_by_side(
            [
                example.image,
                colorize_depth(example.depth, RANGE_M[1]),
                colorize_confidence(example.confidence),
            ],
            216,
        )
        for example in median or examples[:3]
    ]
    gap = np.full((4, rows[0].shape[1], 3), BACKGROUND, np.uint8)
    return np.vstack([part for row in rows for part in (row, gap)][:-1])


def _caption(score: ImageScore | None) -> str:
    if score is None or not score.metric["n"]:
        return ""
    m = score.metric
    return f"AbsRel {m['abs_rel']:.3f}   RMSE {m['rmse']:.2f} m   delta1 {m['delta1']:.1%}"
