"""What is wrong with a drive: one finding a fault, with its frames and what mends it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

ERROR, WARNING = "error", "warning"


@dataclasses.dataclass(frozen=True)
class Finding:
    """One fault of the frames of a camera.

    Attributes:
        check: Short name of what was looked at.
        severity: `ERROR` (training or scores would be wrong) or `WARNING` (they suffer).
        message: What was found, with figures.
        remedy: What to do about it.
        frames: Indices in the drive that are concerned; empty if all are.
    """

    check: str
    severity: str
    message: str
    remedy: str
    frames: tuple[int, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Returns the finding as JSON values; frames become ranges [first, last]."""
        values = dataclasses.asdict(self)
        values["frames"] = [list(pair) for pair in ranges(self.frames)]
        return values

    def line(self) -> str:
        """Returns the finding as one line without the remedy."""
        where = f" (frames {in_words(self.frames)})" if self.frames else ""
        return f"{self.severity}: {self.check}: {self.message}{where}"


def ranges(indices: Iterable[int]) -> list[tuple[int, int]]:
    """Returns runs of consecutive numbers as (first, last).

    Args:
        indices: In any order.
    """
    found: list[tuple[int, int]] = []
    for index in sorted(set(indices)):
        if found and index == found[-1][1] + 1:
            found[-1] = (found[-1][0], index)
        else:
            found.append((index, index))
    return found


def missing_in_words(names: Sequence[str]) -> str:
    """Returns a line on images that a recording lists and that are not there.

    Args:
        names: Of the images, at least one.
    """
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"{len(names)} listed images are missing: {', '.join(names[:5])}{more}"


def in_words(indices: Sequence[int], most: int = 6) -> str:
    """Returns runs of numbers as text, such as `3-9, 12 and 4 more`.

    Args:
        indices: In any order.
        most: Runs to write out.
    """
    runs = ranges(indices)
    words = ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs[:most])
    return words + (f" and {len(runs) - most} more" if len(runs) > most else "")
