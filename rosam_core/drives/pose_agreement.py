"""Whether poses turn as the images do: clocks, focal length and frames of reference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rosam_core.drives.findings import ERROR, WARNING, Finding
from rosam_core.drives.pair_motion import PairMotion, rotation_vector
from rosam_core.drives.survey import Track
from rosam_core.types import Float64

ENOUGH_TURNING_RAD = 0.35
"""Sum of the turns, as poses tell them, from which on there is something to compare (20 deg)."""

LONGEST_OFFSET_S = 0.5
OFFSET_STEP_S = 0.01

AGREEMENT = 0.8
"""Correlation of turns from which on an offset or a focal length is believed."""

STRANGERS = 0.4
"""Correlation, at the best offset, below which poses are not those of the camera."""

FOCAL_TOLERANCE = 0.15


def check_rotations(track: Track, pairs: Sequence[tuple[int, PairMotion]]) -> list[Finding]:
    """Compares the turns between frames that images show with those that poses state.

    Rates of turning are compared as vectors in the camera's frame. The offset is where their
    correlation is highest; the ratio there is that of the true to the stated focal length, as
    small angles are pixels over focal length.

    Args:
        track: Frames of one camera.
        pairs: First frame by place in the track, and what changed to the next one.
    """
    times, rates = _pose_rates(track)
    seen = [(place, m.rotation) for place, m in pairs if m.rotation is not None]
    turning = turning_rad(track, [place for place, _ in seen])
    if len(times) < 4 or len(seen) < 10 or turning < ENOUGH_TURNING_RAD:
        return []
    steps, at = track.steps_s, _middles(track, [place for place, _ in seen])
    shown = np.array([rotation_vector(R) / steps[place] for place, R in seen])
    offsets = np.arange(-LONGEST_OFFSET_S, LONGEST_OFFSET_S + 1e-9, OFFSET_STEP_S)
    scores = np.array([_agreement(shown, _rate_at(times, rates, at + o)) for o in offsets])
    if not np.isfinite(scores).any():
        return []
    best = int(np.nanargmax(scores))
    offset, here = float(offsets[best]), scores[len(offsets) // 2]
    told = f"over {np.degrees(turning):.0f} degrees of turning"
    if scores[best] < STRANGERS:
        remedy = (
            "check that poses are of the camera and not of the vehicle (x right, y down, z "
            "forward), camera to world, and of this very drive"
        )
        if here < -AGREEMENT:
            remedy = "invert them: they seem to map the world to the camera"
        return [
            Finding(
                "poses",
                ERROR,
                f"poses do not turn as the images do (correlation {here:.2f} {told})",
                remedy,
            )
        ]
    if scores[best] < AGREEMENT:
        return []
    found = []
    usual = track.step_s or 0.1
    if abs(offset) > max(2 * OFFSET_STEP_S, 0.3 * usual) and scores[best] > here + 0.01:
        late = "late" if offset > 0 else "early"
        found.append(
            Finding(
                "time offset",
                ERROR,
                f"poses are about {abs(offset):.2f} s {late} (correlation of turns "
                f"{here:.2f}, {scores[best]:.2f} when shifted, {told})",
                f"shift the stamps of the poses by {-offset:+.2f} s, or synchronise the clocks",
            )
        )
    stated = _rate_at(times, rates, at + offset)
    known = np.isfinite(stated[:, 0])
    ratio = float((shown[known] * stated[known]).sum() / (stated[known] ** 2).sum())
    if abs(np.log(ratio)) > np.log(1 + FOCAL_TOLERANCE):
        fx = track.glances[0].camera.fx
        found.append(
            Finding(
                "intrinsics",
                WARNING,
                f"images turn {ratio:.2f} times as far as poses ({told})",
                f"calibrate the camera: a focal length of about {fx * ratio:.0f} px instead of "
                f"{fx:.0f} px would explain it",
            )
        )
    return found


def turning_rad(track: Track, places: Sequence[int]) -> float:
    """Returns by how much the poses turn between frames [rad], in sum; 0 where they are unknown.

    Args:
        track: Frames of one camera.
        places: First frames of the pairs, by place in the track.
    """
    times, rates = _pose_rates(track)
    if not len(times) or not len(places):
        return 0.0
    stated = np.linalg.norm(_rate_at(times, rates, _middles(track, places)), axis=1)
    return float(np.nansum(stated * track.steps_s[list(places)]))


def _middles(track: Track, places: Sequence[int]) -> Float64:
    """Returns the middle of the time to the next frame, float64[N] [s from the first frame]."""
    stamps = (track.stamps_ns - track.stamps_ns[0]) / 1e9
    return np.array([(stamps[place] + stamps[place + 1]) / 2 for place in places])


def _pose_rates(track: Track) -> tuple[Float64, Float64]:
    """Returns middles of the steps between poses [s] and their turns, float64[M,3] [rad/s]."""
    times, rates = [], []
    start = track.stamps_ns[0]
    for before, after in zip(track.glances, track.glances[1:], strict=False):
        step = (after.stamp_ns - before.stamp_ns) / 1e9
        if before.T_world_camera is None or after.T_world_camera is None or step <= 0:
            continue
        turn = after.T_world_camera[:3, :3].T @ before.T_world_camera[:3, :3]
        times.append(((before.stamp_ns + after.stamp_ns) / 2 - start) / 1e9)
        rates.append(rotation_vector(turn) / step)
    return np.array(times), np.array(rates).reshape(-1, 3)


def _rate_at(times: Float64, rates: Float64, at: Float64) -> Float64:
    """Returns the rates between two poses' steps, float64[N,3]; NaN outside."""
    columns = [np.interp(at, times, rates[:, k], np.nan, np.nan) for k in range(3)]
    return np.column_stack(columns)


def _agreement(a: Float64, b: Float64) -> float:
    """Returns the correlation of two series of vectors, NaN if too little of them is known."""
    known = np.isfinite(b[:, 0])
    if known.sum() < max(8, 0.5 * len(b)):
        return float("nan")
    a, b = a[known], b[known]
    norm = np.sqrt((a**2).sum() * (b**2).sum())
    return float((a * b).sum() / norm) if norm > 0 else float("nan")
