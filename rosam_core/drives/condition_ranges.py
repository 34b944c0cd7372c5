"""Conditions of a recording, as a person notes them: a YAML file of time ranges beside it.

# night.mcap.conditions.yaml, or conditions.yaml inside a rosbag2 folder
- {from: 0, to: 95.5, condition: day-clear}   # seconds since the camera's first image
- {from: 95.5, condition: night}              # to the end
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from rosam_core.types import CONDITIONS

FIELDS = {"from", "to", "condition"}


@dataclasses.dataclass(frozen=True)
class ConditionRange:
    """One condition from `begin_s` on, up to but without `end_s`, since the first image."""

    begin_s: float
    end_s: float
    condition: str


def sidecar_of(path: Path) -> Path:
    """Returns where the conditions of a recording are looked for.

    Args:
        path: A file or a folder.
    """
    if path.is_dir():
        return path / "conditions.yaml"
    return path.with_name(path.name + ".conditions.yaml")


def load_ranges(path: Path) -> list[ConditionRange]:
    """Reads a file of conditions.

    Args:
        path: The YAML file.

    Returns:
        The ranges, by time.

    Raises:
        ValueError: It is no list of ranges, or two overlap; the message names the entry.
    """
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(entries, list) or not entries:
        raise ValueError(f"{path} must be a list of {{from, to, condition}}")
    ranges = sorted((_range(entry, path) for entry in entries), key=lambda r: r.begin_s)
    for before, after in itertools.pairwise(ranges):
        if after.begin_s < before.end_s:
            raise ValueError(
                f"{path}: {before.condition} until {before.end_s:g} s overlaps "
                f"{after.condition} from {after.begin_s:g} s"
            )
    return ranges


def _range(entry: Any, path: Path) -> ConditionRange:
    if not isinstance(entry, dict) or not {"from", "condition"} <= set(entry) <= FIELDS:
        raise ValueError(f"{path}: {entry} is not {{from: s, to: s, condition: name}}")
    try:
        begin, end = float(entry["from"]), float(entry.get("to", math.inf))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {entry} needs times in seconds") from error
    if not 0 <= begin < end:
        raise ValueError(f"{path}: {entry} needs 0 <= from < to")
    if entry["condition"] not in CONDITIONS:
        raise ValueError(f"{path}: condition {entry['condition']!r} is none of {CONDITIONS}")
    return ConditionRange(begin, end, entry["condition"])


def save_ranges(path: Path, stamps_ns: Sequence[int], conditions: Sequence[str]) -> None:
    """Writes the conditions of frames as a file of ranges; none if all are unknown.

    A file that is there is of an earlier recording of that name: it goes.

    Args:
        path: The YAML file.
        stamps_ns: Of the frames [ns].
        conditions: Of the frames.
    """
    entries: list[dict[str, Any]] = []
    order = sorted(range(len(stamps_ns)), key=lambda i: stamps_ns[i])
    for i in order:
        # A millisecond early: a float of seconds must not put the frame before its range.
        begin = max((stamps_ns[i] - stamps_ns[order[0]]) / 1e9 - 1e-3, 0.0)
        if not entries or entries[-1]["condition"] != conditions[i]:
            if entries:
                entries[-1]["to"] = begin
            entries.append({"from": begin, "condition": conditions[i]})
    known = [entry for entry in entries if entry["condition"] != "unknown"]
    if known:
        path.write_text(yaml.safe_dump(known, sort_keys=False), encoding="utf-8")
    else:
        path.unlink(missing_ok=True)


def condition_at(ranges: list[ConditionRange], seconds: float) -> str:
    """Returns the condition at a time, `unknown` where no range says one.

    Args:
        ranges: Of `load_ranges`.
        seconds: Since the camera's first image.
    """
    return next((r.condition for r in ranges if r.begin_s <= seconds < r.end_s), "unknown")
