"""Plots of a report, as PNG bytes: calibration, error over time, latency."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

COLOURS = {
    "day-clear": "#e09f1f",
    "day-rain": "#2f7fc1",
    "fog": "#7d8b99",
    "night": "#5b4b9a",
    "unknown": "#3f8f6b",
    "all": "#22262b",
}
"""One colour a condition, the same in every plot."""


def reliability_diagram(summaries: Mapping[str, Mapping[str, Any]]) -> bytes:
    """Returns the reliability diagram: how often a depth is right, by its confidence.

    Args:
        summaries: Result of `by_condition`.
    """
    figure, (top, bottom) = _subplots(2, (5.2, 5.6), (3.4, 1))
    top.plot([0, 1], [0, 1], color="#9aa1a9", lw=1, ls=(0, (4, 3)))
    top.text(0.3, 0.34, "perfectly calibrated", color="#858c94", fontsize=8, rotation=36)
    for condition, summary in summaries.items():
        if condition == "all":
            continue
        curve = summary["reliability"]
        count = np.array(curve["count"])
        # A bin with a thousandth of the pixels is noise: its point would mislead.
        shown = count > max(1, count.sum() // 1000)
        x = np.array(curve["confidence"], dtype=float)[shown]
        y = np.array(curve["accuracy"], dtype=float)[shown]
        label = f"{condition}  (ECE {summary['ece']:.3f})"
        colour = COLOURS[condition]
        top.plot(x, y, "o-", ms=4.5, lw=1.8, color=colour, label=label)
        edges = np.linspace(0, 1, len(count) + 1)
        share = count / max(1, count.sum())
        bottom.stairs(share, edges, color=colour, lw=1.4, fill=False)
    top.set(xlim=(0, 1), ylim=(0, 1), ylabel="share within 25 % of the truth")
    top.legend(frameon=False, fontsize=8.5, loc="upper left")
    bottom.set(xlim=(0, 1), xlabel="confidence", ylabel="share of pixels")
    return _png(figure)


def error_over_time(
    seconds: Sequence[float],
    abs_rel: Sequence[float],
    conditions: Sequence[str],
    flat: Sequence[float] = (),
) -> bytes:
    """Returns AbsRel of every frame over time, with the conditions as coloured bands.

    Args:
        seconds: Time of each frame [s].
        abs_rel: AbsRel of each frame.
        conditions: Condition of each frame.
        flat: AbsRel of the flat-ground baseline for each frame; empty leaves it out.
    """
    figure, (axis,) = _subplots(1, (9.6, 3.0))
    values = [*abs_rel, *flat]
    top = 1.15 * max([v for v in values if np.isfinite(v)], default=1.0)
    _bands(axis, seconds, conditions, top)
    if len(flat):
        axis.plot(seconds, flat, lw=1.3, color="#a8afb7", label="flat ground")
    axis.plot(seconds, abs_rel, lw=1.8, color="#c2303f", label="model")
    axis.set(xlabel="time in the drive [s]", ylabel="AbsRel", ylim=(0, top))
    axis.margins(x=0)
    # Above the axes: inside it would cover a condition's name or the curve.
    axis.legend(frameon=False, fontsize=8.5, loc="lower right", bbox_to_anchor=(1, 1), ncols=2)
    return _png(figure)


def latency_histogram(latency_ms: npt.ArrayLike) -> bytes:
    """Returns the distribution of the latency, with its median and 95th percentile.

    Args:
        latency_ms: From image to depth, of every frame [ms].
    """
    values = np.asarray(latency_ms, dtype=float)
    figure, (axis,) = _subplots(1, (5.2, 2.6))
    end = max(float(np.percentile(values, 99.5)), 1.0)
    axis.hist(np.clip(values, 0, end), bins=40, range=(0, end), color="#7f9fc4")
    for percent, style in ((50, "-"), (95, "--")):
        at = float(np.percentile(values, percent))
        axis.axvline(at, color="#22262b", lw=1.3, ls=style, label=f"p{percent} = {at:.1f} ms")
    axis.set(xlabel="latency, image to depth [ms]", ylabel="frames", xlim=(0, end))
    axis.legend(frameon=False, fontsize=8.5)
    return _png(figure)


def risk_coverage_plot(curves: Mapping[str, tuple[Any, Any]]) -> bytes:
    """Returns the error of what is kept when the least trusted depth is dropped.

    Args:
        curves: Coverage and mean AbsRel (`risk_coverage`) of every condition.
    """
    figure, (axis,) = _subplots(1, (5.2, 2.6))
    for condition, (coverage, risk) in curves.items():
        axis.plot(100 * coverage, risk, lw=1.8, color=COLOURS[condition], label=condition)
    axis.set(xlabel="most trusted share of the pixels [%]", ylabel="AbsRel", xlim=(0, 100))
    axis.set_ylim(bottom=0)
    axis.legend(frameon=False, fontsize=8.5)
    return _png(figure)


def error_by_range(by_condition: Mapping[str, Sequence[Mapping[str, float]]]) -> bytes:
    """Returns AbsRel over the range of the truth.

    Args:
        by_condition: `mean_range_errors` of every condition.
    """
    figure, (axis,) = _subplots(1, (5.2, 2.6))
    for condition, bins in by_condition.items():
        shown = [b for b in bins if b["n"]]
        middle = [(b["from_m"] + b["to_m"]) / 2 for b in shown]
        errors = [b["abs_rel"] for b in shown]
        axis.plot(middle, errors, "o-", ms=4, lw=1.8, color=COLOURS[condition], label=condition)
    axis.set(xlabel="range [m]", ylabel="AbsRel")
    axis.set_xlim(left=0)
    axis.set_ylim(bottom=0)
    axis.legend(frameon=False, fontsize=8.5)
    return _png(figure)


def _bands(axis: Any, seconds: Sequence[float], conditions: Sequence[str], top: float) -> None:
    """Shades each run of one condition and writes its name."""
    start = 0
    for index in range(1, len(conditions) + 1):
        if index < len(conditions) and conditions[index] == conditions[start]:
            continue
        end = seconds[index] if index < len(seconds) else seconds[-1]
        colour = COLOURS[conditions[start]]
        axis.axvspan(seconds[start], end, color=colour, alpha=0.13, lw=0)
        axis.text(seconds[start], top * 0.97, f" {conditions[start]}", color=colour, va="top")
        start = index


def _subplots(
    rows: int, size: tuple[float, float], ratios: Sequence[float] = (1,)
) -> tuple[Any, Any]:
    """Returns a figure with a clean style that needs no display."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=144, layout="constrained")
    axes = figure.subplots(rows, 1, squeeze=False, height_ratios=ratios)[:, 0]
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.spines[["left", "bottom"]].set_color("#9aa1a9")
        axis.tick_params(colors="#4a5058", labelsize=8.5)
        axis.grid(color="#e4e7ea", lw=0.7)
        axis.set_axisbelow(True)
    return figure, axes


def _png(figure: Any) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", facecolor="white")
    return stream.getvalue()
