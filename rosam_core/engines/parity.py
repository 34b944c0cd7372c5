"""How far one engine is from another on pictures that every student has to cope with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rosam_core.engines.base import DepthEngine
from rosam_core.types import UInt8

DEPTH_LIMITS = {"fp32": 1e-3, "fp16": 2e-2, "int8": 5e-2}
"""Largest p99 of the relative depth error for which an engine of a precision is kept.

The probe images are harder than any road: noise, black and white are among them. The event that
confidence speaks of, 25 %, is far beyond the loosest of them.
"""


def measure_parity(
    engine: DepthEngine, reference: DepthEngine, batches: Sequence[int]
) -> dict[str, Any]:
    """Runs both engines on the probe images, in batches of each size.

    Args:
        engine: The one in question.
        reference: Usually ONNX Runtime on the CPU.
        batches: Batch sizes; the probe images are repeated to fill them.

    Returns:
        `depth_p50`, `depth_p99`, `depth_max` (relative error), `confidence_max` (absolute error),
        `batches`. NaN where an answer is not finite.
    """
    card = engine.card
    pictures = probe_images((card.input_width, card.input_height))
    expected_depth, expected_confidence = (
        np.concatenate(parts)
        for parts in zip(*(reference.infer(p[None]) for p in pictures), strict=True)
    )
    depth_errors, confidence_error = [], 0.0
    for batch in batches:
        for first in range(0, len(pictures), batch):
            chosen = np.arange(first, first + batch) % len(pictures)
            depth, confidence = engine.infer(pictures[chosen])
            with np.errstate(invalid="ignore"):
                depth_errors.append(
                    (np.abs(depth - expected_depth[chosen]) / expected_depth[chosen]).ravel()
                )
            error = float(np.abs(confidence - expected_confidence[chosen]).max())
            confidence_error = float(np.maximum(confidence_error, error))  # keeps NaN
    errors = np.concatenate(depth_errors)
    p50, p99 = np.quantile(errors, (0.5, 0.99))
    return {
        "depth_p50": float(p50),
        "depth_p99": float(p99),
        "depth_max": float(errors.max()),
        "confidence_max": confidence_error,
        "batches": list(batches),
    }


def refuse_beyond(parity: Mapping[str, Any], precision: str) -> None:
    """Refuses an engine that is too far from its reference.

    Args:
        parity: From `measure_parity`.
        precision: A key of `DEPTH_LIMITS`.

    Raises:
        ValueError: The p99 of the relative depth error is beyond the limit, or not a number.
    """
    limit = DEPTH_LIMITS[precision]
    if not parity["depth_p99"] <= limit:  # written so that NaN fails too
        other = "fp32" if precision != "fp32" else "another version of TensorRT"
        raise ValueError(
            f"engine refused: its depth differs from ONNX Runtime by {parity['depth_p99']:.2e} "
            f"(p99, relative), the limit of {precision} is {limit:g}: build with {other}"
        )


def probe_images(size: tuple[int, int]) -> UInt8:
    """Returns uint8[8,h,w,3]: road-like pictures by day and night, bars, noise, black, white."""
    width, height = size
    rng = np.random.default_rng(0)
    y = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    pictures = []
    for brightness in (1.0, 0.5, 0.15, 0.05):
        sky, road = np.array([0.6, 0.75, 0.95]), np.array([0.35, 0.34, 0.33])
        scene = np.where(y < 0.45, sky * (1 - 0.4 * y), road * (0.6 + 0.4 * y))
        scene = np.broadcast_to(scene, (height, width, 3)).copy()
        for _ in range(12):
            w, h = rng.integers(6, width // 4), rng.integers(6, height // 2)
            left, top = rng.integers(0, width - w), rng.integers(0, height - h)
            scene[top : top + h, left : left + w] = rng.uniform(0, 1, 3)
        scene += rng.normal(0, 0.03, scene.shape)
        pictures.append(np.clip(scene * brightness * 255, 0, 255))
    bars = pictures[0].copy()
    bars[: height // 8], bars[-height // 8 :] = 0, 0
    noise = rng.integers(0, 256, (height, width, 3))
    black, white = np.zeros((height, width, 3)), np.full((height, width, 3), 255)
    stacked: UInt8 = np.stack([*pictures, bars, noise, black, white]).astype(np.uint8)
    return stacked
