"""How much accuracy an 8-bit model loses: both models on the same frames, by condition."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from rosam_core.drives.places import Place
from rosam_core.engines.registry import load_engine
from rosam_core.evaluation.ground_truth import GroundTruth
from rosam_core.evaluation.metrics import depth_metrics, resize_align_corners
from rosam_core.evaluation.scoring import finite
from rosam_core.runtime.pipeline import DepthPipeline
from rosam_core.runtime.preprocess import Resize
from rosam_core.types import CONDITIONS, Float32, ModelCard, UInt8

RANGE_M = (0.1, 80.0)
"""Of the true depth that is scored, as in `rosam eval` [m]."""


@dataclasses.dataclass(frozen=True)
class Checked:
    """The accuracy of two models on the same frames.

    Attributes:
        conditions: For each that occurs `frames`, `abs_rel_float`, `abs_rel`, `loss` (relative
            growth of AbsRel; NaN without true depth) and `depth_difference` (median of
            |d8 - d| / d over pixels, mean over frames).
        loss: Largest `loss` of a condition; of `depth_difference` if no frame has true depth.
        has_truth: Whether `loss` is that of AbsRel.
        engine: What ran both.
    """

    conditions: dict[str, dict[str, float]]
    loss: float
    has_truth: bool
    engine: str

    def words(self) -> str:
        """Returns the loss as part of a sentence."""
        key = "loss" if self.has_truth else "depth_difference"
        worst = max(self.conditions, key=lambda name: _number(self.conditions[name][key]))
        what = "AbsRel grows by" if self.has_truth else "depth differs by a median of"
        return f"{what} {self.loss:.1%} in {worst}"

    def as_dict(self) -> dict[str, Any]:
        """Returns the figures for a card."""
        return {
            "loss": self.loss,
            "loss_is": "growth of AbsRel" if self.has_truth else "median depth difference",
            "engine": self.engine,
            "conditions": finite(self.conditions),
        }


def hold_out(places: Sequence[Place]) -> tuple[list[Place], list[Place]]:
    """Splits frames of drives into a part to calibrate with and a quarter to check on.

    Whole recordings are held out where there are four or more. Of a condition that none of them
    shows, and where there are fewer, it is the end of each recording in each condition.

    Args:
        places: In the order of the drives.

    Raises:
        ValueError: There are fewer than four frames.
    """
    if len(places) < 4:
        raise ValueError(
            f"only {len(places)} frames to calibrate with and to check on: give more, or others "
            "with --check"
        )
    groups: dict[tuple[str, str], list[int]] = {}
    for number, (drive, index) in enumerate(places):
        key = (drive.scene(index), drive.glance(index).condition)
        groups.setdefault(key, []).append(number)
    scenes = sorted({scene for scene, _ in groups})
    held = set(scenes[3::4])
    shown = {condition for scene, condition in groups if scene in held}
    rest: set[int] = set()
    for (scene, condition), mine in groups.items():
        if scene in held:
            rest.update(mine)
        elif condition not in shown:
            rest.update(mine[max(1, len(mine) * 3 // 4) :])
    if not rest:  # every condition of every recording has but one frame
        rest.update(range(len(places) * 3 // 4, len(places)))
    own = [place for number, place in enumerate(places) if number not in rest]
    return own, [places[number] for number in sorted(rest)]


def read_frames(places: Sequence[Place], card: ModelCard, what: str = "frames") -> UInt8:
    """Returns frames as the network gets them, uint8[n,h,w,3].

    Args:
        places: Where; frames that cannot be read are left out.
        card: Says the size.
        what: For the progress bar.

    Raises:
        ValueError: None can be read.
    """
    size = (card.input_width, card.input_height)
    pictures = np.empty((len(places), size[1], size[0], 3), np.uint8)
    count, reason = 0, "there are none"
    for drive, index in tqdm(places, desc=what, disable=None, file=sys.stderr, leave=False):
        try:
            image = drive[index].image
        except (ValueError, OSError) as error:
            reason = str(error)
            continue
        height, width = image.shape[:2]
        Resize.plan("letterbox", width, height, *size).apply(image, pictures[count])
        count += 1
    if not count:
        raise ValueError(f"no frame can be read: {reason}")
    return pictures[:count]


def compare(
    model: Path, quantized: Path, places: Sequence[Place], engine: str, threads: int
) -> Checked:
    """Runs two models over the same frames.

    Args:
        model: The float model.
        quantized: The 8-bit model.
        places: Frames.
        engine: Which engine runs both.
        threads: CPU threads; 0 = every core.

    Raises:
        ValueError: No frame can be read.
    """
    rows: dict[str, list[tuple[float, float, float]]] = {}
    first = load_engine(model, engine, threads)
    second = load_engine(quantized, engine, threads)
    reason = "there are none"
    try:
        pipelines = DepthPipeline(first), DepthPipeline(second)
        truths = GroundTruth()
        for drive, index in tqdm(places, desc="check", disable=None, file=sys.stderr, leave=False):
            try:
                frame = drive[index]
                truth = truths.of(frame, drive)
            except (ValueError, OSError) as error:
                reason = str(error)
                continue
            depth, changed = (p.predict(frame.image, frame.camera).depth for p in pipelines)
            errors = (math.nan, math.nan)
            if truth is not None:
                errors = (_abs_rel(truth, depth), _abs_rel(truth, changed))
            rows.setdefault(frame.condition, []).append((*errors, difference(depth, changed)))
    finally:
        first.close()
        second.close()
    if not rows:
        raise ValueError(f"no frame to check on can be read: {reason}")
    return summarise(rows, first.name)


def summarise(rows: dict[str, list[tuple[float, float, float]]], engine: str) -> Checked:
    """Returns the figures of `Checked`.

    Args:
        rows: For each condition and frame: AbsRel of the float model and of the 8-bit one (NaN
            without true depth), and the depth difference.
        engine: Name of the engine.
    """
    conditions = {}
    for name in [c for c in CONDITIONS if c in rows]:
        values = np.array(rows[name])
        scored = values[np.isfinite(values[:, :2]).all(axis=1)]
        before, after = (float(scored[:, i].mean()) if len(scored) else math.nan for i in (0, 1))
        conditions[name] = {
            "frames": len(values),
            "frames_with_truth": len(scored),
            "abs_rel_float": before,
            "abs_rel": after,
            "loss": after / before - 1 if before > 0 else math.nan,
            "depth_difference": float(np.mean(values[:, 2])),
        }
    losses = [row["loss"] for row in conditions.values() if not math.isnan(row["loss"])]
    differences = [row["depth_difference"] for row in conditions.values()]
    worst = max(losses) if losses else max(map(_number, differences))
    return Checked(conditions, worst, bool(losses), engine)


def difference(depth: Float32, other: Float32) -> float:
    """Returns the median of |other - depth| / depth where either is finite.

    Args:
        depth: float32[H,W] [m].
        other: float32[H,W] [m]; where only one of the two is finite the difference is 1.
    """
    finite_one, finite_other = np.isfinite(depth), np.isfinite(other)
    either = finite_one | finite_other
    if not either.any():
        return 0.0
    relative = np.ones(depth.shape, np.float32)
    both = finite_one & finite_other
    relative[both] = np.abs(other[both] - depth[both]) / depth[both]
    return float(np.median(relative[either]))


def _abs_rel(truth: Float32, depth: Float32) -> float:
    if depth.shape != truth.shape:
        depth = resize_align_corners(depth, truth.shape[1], truth.shape[0])
    return float(depth_metrics(truth, depth, *RANGE_M)["abs_rel"])


def _number(value: float) -> float:
    return math.inf if math.isnan(value) else value
