"""Finds region maps that are missing, damaged or do not belong to their frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rosam_core.priors.index import INDEX, MapJob, read_index, rendering_of
from rosam_core.priors.making import find_fault
from rosam_core.priors.region_map import read_record
from rosam_core.priors.source import source_class


def verify(
    jobs: Sequence[MapJob], progress: Callable[[], object] = lambda: None
) -> Iterator[tuple[Path, str]]:
    """Yields every map with a fault, or other file, and what is wrong with it.

    Args:
        jobs: Of whole drives; see `plan`.
        progress: Called after each frame.
    """
    folders: dict[Path, list[MapJob]] = {}
    for job in jobs:
        folders.setdefault(job.folder, []).append(job)
    for folder, own in folders.items():
        try:
            index = read_index(folder)
            source = source_class(str(index.get("source")))
        except (ValueError, OSError) as error:
            yield folder / INDEX, str(error)
            for _ in own:
                progress()
            continue
        if index.get("rendering") != rendering_of(own[0].drive):
            yield (
                folder / INDEX,
                f"maps of the rendering {index.get('rendering')}, compared with "
                f"{rendering_of(own[0].drive)}: name it with --condition",
            )
        yield from _unlisted(folder, index, own)
        for job in own:
            try:
                fault = find_fault(job, source.sees(job.drive, job.index))
            except (ValueError, OSError) as error:
                fault = f"its frame cannot be read: {error}"
            if fault:
                yield job.path, fault
            progress()


def _unlisted(folder: Path, index: dict[str, Any], jobs: Sequence[MapJob]) -> Iterator[Any]:
    """Yields what `regions.json` does not say, or not as the maps do."""
    listed = index.get("frames")
    if not isinstance(listed, dict):
        yield folder / INDEX, "unfinished: run the same `rosam masks` command again"
        return
    for job in jobs:
        record = read_record(job.path)
        if record is not None and listed.get(f"{job.path.parent.name}/{job.path.stem}") != record:
            yield job.path, f"not listed so in {INDEX}: run the same `rosam masks` command again"
