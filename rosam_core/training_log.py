"""Figures of a training run, as JSON lines and for TensorBoard."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from rosam_core.whole_file import write_whole


class TrainingLog:
    """Writes `log.jsonl` and TensorBoard event files into a folder.

    Args:
        folder: Exists.
        step: The run continues from here: later lines of a killed run are dropped.
        enabled: False in all but one of several training processes.
    """

    def __init__(self, folder: Path, step: int, enabled: bool = True) -> None:
        self._board = SummaryWriter(str(folder), purge_step=step or None) if enabled else None
        self._stream = None
        if enabled:
            path = folder / "log.jsonl"
            write_whole(path, "".join(_lines_up_to(path, step)).encode(), durable=False)
            self._stream = path.open("a", encoding="utf-8")

    def write(self, kind: str, step: int, minutes: float, values: Mapping[str, float]) -> None:
        """Adds one line and as many points to curves.

        Args:
            kind: `train` or `val`.
            step: Optimisation steps made.
            minutes: Training time so far.
            values: Figures by name.
        """
        if self._stream is None or self._board is None:
            return
        line = {"kind": kind, "step": step, "minutes": minutes, **values}
        self._stream.write(json.dumps(line) + "\n")
        self._stream.flush()
        for name, value in values.items():
            self._board.add_scalar(f"{kind}/{name}", value, step)

    def close(self) -> None:
        """Closes both."""
        if self._stream is not None and self._board is not None:
            self._stream.close()
            self._board.close()


def _lines_up_to(path: Path, step: int) -> list[str]:
    kept = []
    if step and path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                if json.loads(line)["step"] <= step:
                    kept.append(line + "\n")
            except (json.JSONDecodeError, KeyError):
                continue  # the line that was being written when the process died
    return kept
