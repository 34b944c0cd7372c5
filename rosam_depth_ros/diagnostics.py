"""What the node says about itself: rates, latency, drops, and errors that do not flood the log."""

from __future__ import annotations

import dataclasses
import logging
import re
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

ERROR_PERIOD_S = 5.0
"""An error of one kind is logged at once and then at most this often."""

SILENCE_S = 2.0
"""Without an image for this long the status is a warning."""

MAX_KINDS = 64


class ErrorLog:
    """Counts errors by kind and passes each kind on at most once every `ERROR_PERIOD_S`.

    The kind of an error is its stage and its text without the numbers, so that two truncated
    frames are one kind, and a truncated frame and an unknown encoding are two.
    """

    def __init__(
        self,
        log: Callable[[str], object],
        clock: Callable[[], float] = time.monotonic,
        subject: str = "",
    ):
        """Starts empty.

        Args:
            log: Takes one line.
            clock: Monotonic seconds.
            subject: What every line begins with, such as the topic of one camera of several.
        """
        self._subject = f"{subject}: " if subject else ""
        self.counts: Counter[str] = Counter()
        self.last_text = ""
        self.last_time_s = -1e9
        self._log = log
        self._clock = clock
        self._logged_at: dict[str, float] = {}
        self._held_back: Counter[str] = Counter()

    def add(self, stage: str, error: Exception | str) -> None:
        """Counts one error and logs it unless its kind was logged a moment ago.

        Args:
            stage: `model`, `image`, `camera`, `inference` or `output`.
            error: What went wrong.
        """
        text = " ".join(str(error).split()) or type(error).__name__
        now = self._clock()
        self.counts[stage] += 1
        self.last_text, self.last_time_s = f"{stage}: {text}", now
        kind = stage + re.sub(r"\d+(\.\d+)?", "#", text)
        if kind not in self._logged_at and len(self._logged_at) >= MAX_KINDS:
            kind = stage
        if now - self._logged_at.get(kind, -1e9) < ERROR_PERIOD_S:
            self._held_back[kind] += 1
            return
        self._logged_at[kind] = now
        held_back = self._held_back.pop(kind, 0)
        self._log(
            f"{self._subject}{stage}: {text}"
            + (f" ({held_back} more like it)" if held_back else "")
        )


class RosLogHandler(logging.Handler):
    """Passes what library code logs on to the node's ROS logger."""

    def __init__(self, logger: Any) -> None:
        """Keeps the logger.

        Args:
            logger: A rclpy logger.
        """
        super().__init__(logging.INFO)
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        """Logs one record; one line each, as rclpy fixes the severity of a calling line."""
        text = record.getMessage()
        if record.levelno >= logging.ERROR:
            self._logger.error(text)
        elif record.levelno >= logging.WARNING:
            self._logger.warning(text)
        else:
            self._logger.info(text)


class StreamStatistics:
    """Rates, latencies and drops of one camera; safe to use from several threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Starts empty.

        Args:
            clock: Monotonic seconds.
        """
        self.dropped = 0
        self.received = 0
        self.published = 0
        self.last_in_s = -1e9
        self.last_out_s = -1e9
        self._clock = clock
        self._lock = threading.Lock()
        self._latencies_ms: deque[float] = deque(maxlen=300)
        self._mark = (clock(), 0, 0)

    def image_in(self, replaced: int) -> None:
        """Notes an arrival, and how many waiting frames made room for it."""
        with self._lock:
            self.received += 1
            self.dropped += replaced
            self.last_in_s = self._clock()

    def image_unused(self) -> None:
        """Notes that a frame was let go because no model is loaded."""
        with self._lock:
            self.dropped += 1

    def image_out(self, arrived_s: float) -> None:
        """Notes that the outputs of the frame that arrived at `arrived_s` are published."""
        with self._lock:
            self.published += 1
            self.last_out_s = self._clock()
            self._latencies_ms.append((self.last_out_s - arrived_s) * 1000)

    def figures(self) -> dict[str, str]:
        """Returns rates since the last call, and latency of the last 300 frames, as text."""
        with self._lock:
            now = self._clock()
            then, received, published = self._mark
            self._mark = (now, self.received, self.published)
            elapsed = max(now - then, 1e-6)
            ordered = sorted(self._latencies_ms)
            figures = {
                "images_in": str(self.received),
                "images_out": str(self.published),
                "dropped": str(self.dropped),
                "fps_in": f"{(self.received - received) / elapsed:.2f}",
                "fps_out": f"{(self.published - published) / elapsed:.2f}",
            }
        for name, share in (("latency_ms_p50", 0.5), ("latency_ms_p95", 0.95)):
            index = min(len(ordered) - 1, int(share * len(ordered)))
            figures[name] = f"{ordered[index]:.2f}" if ordered else "nan"
        return figures


@dataclasses.dataclass(frozen=True)
class EngineStatus:
    """Which engine runs, and why.

    Attributes:
        name: Of the running engine, empty while none is loaded.
        model: Path of its model, or of the one that is asked for.
        reason: Why it is this one, and what becomes of others.
        degraded: Something else is asked for and cannot be had.
    """

    name: str = ""
    model: str = ""
    reason: str = ""
    degraded: bool = False


def in_words(error: Exception) -> str:
    """Returns the text of an expected error; the type too of any other."""
    expected = isinstance(error, (ValueError, OSError))
    return str(error) if expected else f"{type(error).__name__}: {error}"


def status_message(
    name: str,
    statistics: StreamStatistics,
    logs: Sequence[ErrorLog],
    engine: EngineStatus,
    more: Mapping[str, str] | None = None,
) -> DiagnosticStatus:
    """Returns the status of a camera.

    ERROR without a model or while the newest event is an error, WARN without images or with
    another engine than asked for, else OK.

    Args:
        name: Of the node and its image topic.
        statistics: Of its camera.
        logs: Errors of this camera, and those that all cameras share.
        engine: What runs the network.
        more: Values beside these.
    """
    now = time.monotonic()
    errors = max(logs, key=lambda log: log.last_time_s)
    counts = sum((Counter(dict(log.counts)) for log in logs), Counter())
    status = DiagnosticStatus(name=name, hardware_id=engine.name or "none")
    if not engine.name or (
        errors.last_time_s > statistics.last_out_s and now - errors.last_time_s < ERROR_PERIOD_S
    ):
        status.level, status.message = DiagnosticStatus.ERROR, errors.last_text or "loading model"
    elif now - statistics.last_in_s > SILENCE_S:
        status.level, status.message = DiagnosticStatus.WARN, "no image arrives"
    elif engine.degraded:
        status.level = DiagnosticStatus.WARN
        status.message = f"publishing depth with {engine.name}: {engine.reason}"
    else:
        status.level, status.message = DiagnosticStatus.OK, "publishing depth"
    values = statistics.figures()
    values |= {"engine": engine.name, "engine_reason": engine.reason, "model": engine.model}
    values |= {"last_error": errors.last_text, **(more or {})}
    values |= {f"errors_{stage}": str(n) for stage, n in sorted(counts.items())}
    status.values = [KeyValue(key=key, value=value) for key, value in values.items()]
    return status
