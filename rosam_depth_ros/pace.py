"""Whether the network is quicker than a camera, so that it can catch up after a short stall."""

from __future__ import annotations

import statistics
import threading
from collections import deque

QUICKER = 0.75
"""The network keeps up if a run takes at most this part of the time between two frames."""

WINDOW = 30
"""Medians are of so many frames: a stall among them moves them little."""

LEAST = 10
"""With fewer frames than this nothing is known."""


class Pace:
    """Medians of the time between frames and of the time that a run takes; for several threads."""

    def __init__(self) -> None:
        """Starts knowing nothing."""
        self._lock = threading.Lock()
        self._last_s: float | None = None
        self._periods: deque[float] = deque(maxlen=WINDOW)
        self._runs: deque[float] = deque(maxlen=WINDOW)

    def came(self, now_s: float, frames: int = 1) -> None:
        """Notes the arrival of frames, monotonic [s]; several that came as one share the time."""
        with self._lock:
            if self._last_s is not None:
                self._periods.append((now_s - self._last_s) / frames)
            self._last_s = now_s

    def ran(self, seconds: float) -> None:
        """Notes how long a frame kept the worker, from message to message [s]."""
        with self._lock:
            self._runs.append(seconds)

    @property
    def keeps_up(self) -> bool:
        """Whether the network is quicker than the camera; not before that is known."""
        with self._lock:
            if min(len(self._periods), len(self._runs)) < LEAST:
                return False
            return statistics.median(self._runs) <= QUICKER * statistics.median(self._periods)
