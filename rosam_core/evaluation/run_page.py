"""The page of a recorded run: key figures, table, plots and notes for its report."""

from __future__ import annotations

import dataclasses
import os
import platform
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rosam_core.drives.base import Drive
from rosam_core.evaluation import figures
from rosam_core.evaluation.calibration import risk_coverage
from rosam_core.evaluation.live import LiveRun
from rosam_core.evaluation.pictures import encode_animation
from rosam_core.evaluation.report import Card, Example, Figure, Report, Table
from rosam_core.evaluation.scoring import ImageScore, table_rows
from rosam_core.types import ModelCard, UInt8

RANGE_M = (0.1, 80.0)
"""Truth that is scored [m]."""


@dataclasses.dataclass
class Collected:
    """What one pass over the run leaves behind.

    Attributes:
        scores: Of the frames that have a truth.
        stamps: Of every frame that got depth [ns].
        conditions: Of the same frames.
        hero: Pictures for the animation at the top.
        samples: Relative errors and confidences of some pixels, by condition.
    """

    scores: list[ImageScore] = dataclasses.field(default_factory=list)
    stamps: list[int] = dataclasses.field(default_factory=list)
    conditions: list[str] = dataclasses.field(default_factory=list)
    hero: list[UInt8] = dataclasses.field(default_factory=list)
    samples: dict[str, list[Any]] = dataclasses.field(default_factory=dict)


def percentiles(run: LiveRun) -> tuple[float, float]:
    """Returns the median and the 95th percentile of the latency [ms]; NaN if none was measured.

    Args:
        run: The recorded run.
    """
    if not len(run.latency_ms):
        return float("nan"), float("nan")
    p50, p95 = np.percentile(run.latency_ms, (50, 95))
    return float(p50), float(p95)


def graph_figures(run: LiveRun) -> dict[str, Any]:
    """Returns rate, latency and drops of a run, ready for JSON.

    Args:
        run: The recorded run.
    """
    p50, p95 = percentiles(run)
    return {
        "rate_hz": run.rate_hz,
        "latency_p50_ms": p50,
        "latency_p95_ms": p95,
        "frames": run.frames,
        "depths": run.depths,
        "drops": run.drops,
        "node_status": run.node_status,
    }


def conditions_in_words(conditions: Sequence[str]) -> str:
    """Returns the conditions in the order in which the drive meets them.

    Args:
        conditions: Condition of every frame.
    """
    met = list(dict.fromkeys(conditions))
    return ", ".join(met) if met != ["unknown"] else "depth and confidence"


def run_page(
    title: str,
    collected: Collected,
    summaries: Mapping[str, Any],
    run: LiveRun,
    card: ModelCard,
    examples: Sequence[Example],
    drive: Drive,
) -> Report:
    """Returns the report of a run.

    Args:
        title: Heading.
        collected: What one pass over the run found.
        summaries: Result of `by_condition`; empty without a truth.
        run: The recorded run.
        card: Card of the model.
        examples: Frames to show.
        drive: What was replayed.
    """
    p50, p95 = percentiles(run)
    cards, tables, plots = [], [], []
    if summaries:
        overall = summaries.get("all") or next(iter(summaries.values()))
        m = overall["metric"]
        ratio = overall.get("flat_ground_ratio")
        note = f"flat ground: {ratio:.1f}x worse" if ratio else "metric, no scaling"
        cards += [
            Card("AbsRel", f"{m['abs_rel']:.3f}", note),
            Card("within 25 %", f"{m['delta1']:.0%}", "delta1, share of pixels"),
            Card("confidence ECE", f"{overall['ece']:.3f}", "0 = perfectly calibrated"),
        ]
        detail = (
            f"Truth from {RANGE_M[0]:g} to {RANGE_M[1]:g} m. Metrics are taken per image and "
            "averaged over images. Metric rows are the metres as published; median-scaled rows "
            "say how much is left once the overall scale is right. AUSE: area between the "
            "sparsification curve and the oracle's, in AbsRel."
        )
        tables = [Table("Accuracy by condition", table_rows(summaries), detail, left=(0, 2))]
        plots = _plots(collected, summaries)
    cards += [
        Card("rate", f"{run.rate_hz:.1f} Hz", f"{run.depths} depth images"),
        Card("latency", f"{p50:.0f} ms", f"p95 {p95:.0f} ms"),
        Card("dropped", str(run.drops), f"of {run.frames} frames"),
    ]
    if len(run.latency_ms):
        plots.append(
            Figure(
                "Latency on the graph",
                figures.latency_histogram(run.latency_ms),
                "From the arrival of an image to the arrival of its depth, in a third process.",
            )
        )
    truth = (
        "exact depth of the synthetic drive"
        if any(not e.is_sparse for e in examples)
        else "lidar of the drive"
    )
    notes = [
        f"Drive: {drive.name}, {len(drive)} frames, replayed in real time by replay_node.",
        f"Model: {card.name} ({card.architecture}, {card.input_width}x{card.input_height}), "
        f"sha256 {card.sha256[:12]}, weights {card.licence}.",
        f"Truth: {truth}." if summaries else "Truth: none in this recording, so no accuracy.",
        "Node, replay and recorder were processes of their own on a ROS 2 graph; nothing was "
        f"computed outside the node. It ended with status {run.node_status} on SIGINT.",
        f"Machine: {platform.system()} {platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}.",
    ]
    lead = (
        "A camera went through the real ROS 2 node. Left to right: what the camera saw, the depth "
        "in metres that the node published, and the confidence it put on it."
    )
    return Report(
        title=title,
        lead=lead,
        hero=encode_animation(collected.hero, 200),
        cards=cards,
        tables=tables,
        figures=plots,
        examples=examples,
        notes=notes,
        links=[
            ("video", "demo.mp4"),
            ("contact sheet", "contact_sheet.png"),
            ("bag for RViz or Foxglove", "demo.mcap"),
            ("figures as JSON", "results.json"),
        ],
        max_depth_m=RANGE_M[1],
    )


def _plots(collected: Collected, summaries: Mapping[str, Any]) -> list[Figure]:
    first = collected.stamps[0]
    seconds = [(s.stamp_ns - first) / 1e9 for s in collected.scores]
    flat = [s.flat["abs_rel"] for s in collected.scores if s.flat is not None]
    over_time = figures.error_over_time(
        seconds,
        [s.metric["abs_rel"] for s in collected.scores],
        [s.condition for s in collected.scores],
        flat if len(flat) == len(seconds) else (),
    )
    curves = {
        condition: risk_coverage(*(np.concatenate(v) for v in zip(*pairs, strict=True)))
        for condition, pairs in collected.samples.items()
    }
    plots = [
        Figure(
            "Error over the drive",
            over_time,
            "AbsRel of every frame"
            + ("; the baseline is a flat road under a level camera." if flat else "."),
            "wide",
        ),
        Figure(
            "Does the confidence tell the truth?",
            figures.reliability_diagram(summaries),
            "Of all pixels with a confidence, the share that is within 25 % of the truth. On the "
            "diagonal the confidence can be taken at its word.",
            "tall",
        ),
    ]
    if curves:
        plots.append(
            Figure(
                "Dropping what is not trusted",
                figures.risk_coverage_plot(curves),
                "Error of the most trusted share of the pixels: it should fall to the left.",
            )
        )
    return plots
