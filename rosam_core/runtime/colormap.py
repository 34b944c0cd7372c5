"""Depth and confidence as pictures for people."""

from __future__ import annotations

import cv2
import numpy as np

from rosam_core.types import Float32, UInt8

NEAREST_M = 1.0
"""Depth that gets the brightest colour [m]."""


def _table(colormap: int) -> UInt8:
    """Returns OpenCV's colour table as uint8[256,1,3] RGB."""
    ramp = np.arange(256, dtype=np.uint8)[:, None]
    return np.ascontiguousarray(cv2.applyColorMap(ramp, colormap)[..., ::-1], np.uint8)


_DEPTH_TABLE = _table(cv2.COLORMAP_MAGMA)
_DEPTH_TABLE[0] = 0
_CONFIDENCE_TABLE = _table(cv2.COLORMAP_VIRIDIS)
_FARTHEST = 30  # magma's first entries are nearly black, which is kept for unknown


def colorize_depth(depth: Float32, max_depth_m: float = 80.0) -> UInt8:
    """Returns a picture of depth: near is bright, far is dark violet, unknown is black.

    The colour runs with the square root of inverse depth, from 1 m to `max_depth_m`: plain
    inverse depth would spend nine tenths of its colours on the first ten metres.

    Args:
        depth: float32[H,W] [m], NaN = unknown, +Inf = beyond range.
        max_depth_m: Depth from which on the colour is the farthest [m], > 1.

    Returns:
        uint8[H,W,3], RGB.

    Raises:
        ValueError: `max_depth_m` is not greater than 1.
    """
    if not max_depth_m > NEAREST_M:
        raise ValueError(f"max_depth_m must be greater than {NEAREST_M:g}, got {max_depth_m}")
    farthest = np.float32((NEAREST_M / max_depth_m) ** 0.5)
    slope = np.float32(255 - _FARTHEST) / (1 - farthest)
    with np.errstate(divide="ignore", invalid="ignore"):
        index = np.sqrt(np.float32(NEAREST_M) / depth)
        index *= slope
        index += np.float32(_FARTHEST) - slope * farthest
        np.clip(index, _FARTHEST, 255, out=index)
    np.fmax(index, 0, out=index)  # NaN becomes 0, the table's black
    return _look_up(index, _DEPTH_TABLE)


def colorize_confidence(confidence: Float32) -> UInt8:
    """Returns a picture of confidence: 0 is dark violet, 1 is yellow.

    Args:
        confidence: float32[H,W] in [0, 1]; NaN counts as 0.

    Returns:
        uint8[H,W,3], RGB.
    """
    index = np.clip(confidence, 0, 1) * np.float32(255)
    np.fmax(index, 0, out=index)
    return _look_up(index, _CONFIDENCE_TABLE)


def _look_up(index: Float32, table: UInt8) -> UInt8:
    rgb: UInt8 = cv2.applyColorMap(index.astype(np.uint8), table)  # type: ignore[assignment]
    return rgb
