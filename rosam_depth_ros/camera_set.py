"""Several cameras of one node: their names, and which of their frames are run together."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence

from rosam_depth_ros.camera_stream import CameraStream
from rosam_depth_ros.diagnostics import SILENCE_S
from rosam_depth_ros.parameters import NodeParameters

IDLE_S = 0.1
"""How long to sleep when nothing has come; a frame that comes ends it."""


def camera_names(text: str) -> tuple[str, ...]:
    """Returns the names in `cameras`; one empty name for one camera without a name.

    Raises:
        ValueError: One cannot be part of a topic, or comes twice.
    """
    names = tuple(name.strip() for name in text.split(",")) if text.strip() else ("",)
    for name in names:
        if text.strip() and not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
            raise ValueError(f"parameter cameras: {name!r} cannot begin a topic, as in front,left")
    if len(set(names)) < len(names):
        raise ValueError(f"parameter cameras: a name comes twice in {text!r}")
    return names


def patience_s(streams: Sequence[CameraStream], parameters: NodeParameters) -> float:
    """Returns how long to wait for frames before those that are there are run; 0 = not at all.

    Cameras that were heard a moment ago are waited for, so that all go through the network at
    once.

    Args:
        streams: Of all cameras; whoever calls holds the lock of their slots.
        parameters: Of this moment.
    """
    ready = [stream for stream in streams if stream.is_ready(parameters)]
    if not ready:
        return IDLE_S
    now = time.monotonic()
    lacking = [stream for stream in streams if stream not in ready]
    if not any(now - stream.statistics.last_in_s < SILENCE_S for stream in lacking):
        return 0.0
    oldest = min(stream.waiting_since for stream in ready)
    return max(0.0, oldest + parameters.max_wait_ms / 1000 - now)
