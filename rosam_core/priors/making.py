"""Makes the region maps of drives: resumable after any interruption, and shared among processes.

A map is complete when its file is there, for it appears whole and carries its own record, so
processes need no messages: each takes every WORLD_SIZE-th frame from RANK on, as `torchrun` and
schedulers set them, and who comes last writes `regions.json`.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rosam_core.priors.index import MapJob, claim, finish
from rosam_core.priors.region_map import encode_map, is_compact, read_map, read_record
from rosam_core.priors.source import RegionSource, UnusableDriveError, digest
from rosam_core.types import UInt16
from rosam_core.whole_file import write_whole


@dataclasses.dataclass
class Tally:
    """What became of the frames of this process.

    Attributes:
        made: Maps made.
        kept: Maps that were there.
        unreadable: Why, by the name of the frame, for frames that could not be read.
        regions: Regions in all maps made.
        unfinished: Drives without all of their maps at the end.
    """

    made: int = 0
    kept: int = 0
    unreadable: dict[str, str] = dataclasses.field(default_factory=dict)
    regions: int = 0
    unfinished: int = 0


def shard_of(environment: Mapping[str, str] = os.environ) -> tuple[int, int]:
    """Returns the number of this process, from 0, and how many there are.

    Args:
        environment: Where `torchrun` puts RANK and WORLD_SIZE; alone if they are missing.

    Raises:
        ValueError: They are no numbers, or do not fit together.
    """
    texts = environment.get("RANK", "0"), environment.get("WORLD_SIZE", "1")
    try:
        rank, world = int(texts[0]), int(texts[1])
    except ValueError:
        rank, world = -1, 0
    if not 0 <= rank < world:
        raise ValueError(f"RANK={texts[0]} and WORLD_SIZE={texts[1]}: expected 0 <= RANK < SIZE")
    return rank, world


def make_maps(
    jobs: Sequence[MapJob],
    source: RegionSource,
    tally: Tally,
    *,
    shard: tuple[int, int] = (0, 1),
    recheck: bool = False,
    progress: Callable[[], object] = lambda: None,
) -> None:
    """Makes every map that is not there.

    A frame that cannot be read is noted in `tally` and the others go on.

    Args:
        jobs: Of whole drives; see `plan`.
        source: Makes the maps.
        tally: Counted in as it happens, so that an interrupted run can tell.
        shard: Number of this process and of all.
        recheck: Also read the maps that are there and their frames; make those again that are
            damaged or do not belong to their frame any more.
        progress: Called after each frame.

    Raises:
        ValueError: The folders hold maps made otherwise or of other images, or the source cannot
            use the drives.
    """
    described = source.described()
    for folder, drive in {job.folder: job.drive for job in jobs}.items():
        claim(folder, drive, described)
    if not recheck:
        _refuse_others(jobs, source)
    rank, world = shard
    for job in jobs[rank::world]:
        _make(job, source, tally, recheck)
        progress()
    tally.unfinished = finish(jobs, described)


def find_fault(job: MapJob, seen: npt.NDArray[Any]) -> str | None:
    """Returns what is wrong with the map of a frame, None if nothing is.

    Args:
        job: The frame.
        seen: What the source of the map sees of the frame.
    """
    try:
        regions = read_map(job.path)
    except FileNotFoundError:
        return "missing"
    except ValueError:
        return "damaged"
    record = read_record(job.path)
    if record is None:
        return "damaged: its record is missing or spoilt"
    if regions.shape != seen.shape[:2]:
        (height, width), (rows, columns) = regions.shape, seen.shape[:2]
        return f"wrong size: {width}x{height}, its image is {columns}x{rows}"
    if record.get("input_sha256") != digest(seen):
        return "stale: made from another image"
    if not is_compact(regions):
        return "ids are not compact: 1 to n without gaps"
    if record.get("regions") != int(regions.max()):
        return f"damaged: {regions.max()} regions, its record says {record.get('regions')}"
    return None


def _refuse_others(jobs: Sequence[MapJob], source: RegionSource) -> None:
    """Refuses folders whose maps are those of another drive of the same name and stamps.

    Drives of images, videos and `rosam synth` all begin at one stamp. The first and the last map
    of each drive are compared with their images.
    """
    by_drive: dict[int, list[MapJob]] = {}
    for job in jobs:
        by_drive.setdefault(id(job.drive), []).append(job)
    for own in by_drive.values():
        if _refuse_other(own, source):
            _refuse_other(own[::-1], source)


def _refuse_other(jobs: Sequence[MapJob], source: RegionSource) -> bool:
    """Compares the first map that is there, and whose frame is readable, with its image.

    Returns whether there is one.
    """
    for job in jobs:
        record = read_record(job.path)
        if record is None:
            continue
        try:
            seen = source.sees(job.drive, job.index)
        except UnusableDriveError:
            raise
        except (ValueError, OSError):
            continue
        if record.get("input_sha256") != digest(seen):
            raise ValueError(
                f"{job.path} was made from another image than frame {job.index} of "
                f"{job.drive.name}: give another drive of that name another OUT; if the images "
                "of this drive changed, --recheck makes their maps again"
            )
        return True
    return False


def _make(job: MapJob, source: RegionSource, tally: Tally, recheck: bool) -> None:
    if not recheck and read_record(job.path) is not None:
        tally.kept += 1
        return
    try:
        seen = source.sees(job.drive, job.index)
    except UnusableDriveError:
        raise
    except (ValueError, OSError) as error:
        tally.unreadable[f"{job.drive.name} frame {job.index}"] = str(error)
        return
    if recheck and find_fault(job, seen) is None:
        tally.kept += 1
        return
    # First remove the old: `finish` in another process then knows that this drive is not ready.
    job.path.unlink(missing_ok=True)
    regions = source.regions(seen)
    job.path.parent.mkdir(exist_ok=True)
    write_whole(job.path, encode_map(regions, _record(regions, seen)), durable=False)
    tally.made += 1
    tally.regions += int(regions.max())


def _record(regions: UInt16, seen: npt.NDArray[Any]) -> dict[str, Any]:
    """Returns what a map carries and `regions.json` lists."""
    return {
        "input_sha256": digest(seen),
        "width": regions.shape[1],
        "height": regions.shape[0],
        "regions": int(regions.max()),
        "unassigned": round(float(np.mean(regions == 0)), 4),
    }
