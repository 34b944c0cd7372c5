"""Which map belongs to which frame, and `regions.json`, which says how the maps were made."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rosam_core.drives.base import Drive, Glance
from rosam_core.drives.repeats import first_of_each
from rosam_core.drives.synthetic.drive import SyntheticDrive
from rosam_core.priors.region_map import folder_name, map_path, read_record
from rosam_core.whole_file import remove_leavings, scratch_name, write_whole

FORMAT = "rosam-regions-1"
INDEX = "regions.json"
CLEAREST = "day-clear"


@dataclasses.dataclass(frozen=True)
class MapJob:
    """One frame and the place of its map.

    Attributes:
        drive: Holds the frame.
        index: Of the frame.
        folder: Of the drive's maps.
        path: Of the map.
    """

    drive: Drive
    index: int
    folder: Path
    path: Path


def plan(drives: Sequence[Drive], out: Path) -> list[MapJob]:
    """Returns a job for every frame of drives, in order.

    Of frames of one camera with one stamp, the first has the map.

    Args:
        drives: Without two renderings of one synthetic drive; see `one_rendering`.
        out: Folder for the folders of the drives.

    Raises:
        ValueError: Frames of two drives would share a map, or there is no frame.
    """

    def place(drive: Drive, index: int, glance: Glance) -> tuple[Path, Path]:
        folder = out / folder_name(drive.name)
        return folder, map_path(folder, glance.camera_name, glance.stamp_ns)

    kept = first_of_each(
        drives, place, lambda key: f"would share {key[1]}: give drives of one name an OUT each"
    )
    if not kept:
        raise ValueError("the drives have no frame: no map to make")
    return [MapJob(*frame, *places) for places, frame in kept.items()]


def one_rendering(drives: Sequence[Drive]) -> list[Drive]:
    """Returns drives without further renderings of the same synthetic drive.

    Its renderings show the same objects at the same pixels and have the same stamps, so they share
    their maps; those are made from the clearest, `day-clear` if there is one.
    """
    chosen: dict[Any, Drive] = {}
    for drive in drives:
        key = drive.folder if isinstance(drive, SyntheticDrive) else id(drive)
        if key not in chosen or rendering_of(drive) == CLEAREST:
            chosen[key] = drive
    return list(chosen.values())


def rendering_of(drive: Drive) -> str | None:
    """Returns the condition that a synthetic drive is read in, None if it has but one look."""
    if not isinstance(drive, SyntheticDrive) or not drive.conditions:
        return None
    return None if len(drive.rendered) == 1 or any(drive.recorded) else drive.conditions[0]


def claim(folder: Path, drive: Drive, described: dict[str, Any]) -> None:
    """Marks a drive's folder as holding maps of one source and its settings, or checks that.

    Several processes may do so at once.

    Args:
        folder: Made if missing.
        drive: Whose maps they are.
        described: `RegionSource.described()`.

    Raises:
        ValueError: The folder holds maps made otherwise, or a damaged `regions.json`.
    """
    header = _header(drive, described)
    path = folder / INDEX
    folder.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        ours = folder / scratch_name(INDEX, "claim")
        ours.write_bytes(_encoded(header, None))
        try:
            os.link(ours, path)  # unlike a rename, it never replaces what another wrote
        except FileExistsError:
            pass
        except OSError:  # a file system without links
            os.replace(ours, path)
        finally:
            ours.unlink(missing_ok=True)
    found = read_index(folder)
    differ = [
        f"{name} {_at(found, name)!r}, now {_at(header, name)!r}"
        for name in sorted(_flat(header) | _flat(found))
        if _at(found, name) != _at(header, name)
    ]
    if differ:
        raise ValueError(
            f"{folder} holds maps made otherwise ({'; '.join(differ)}): use another OUT, or "
            "delete it"
        )


def finish(jobs: Iterable[MapJob], described: dict[str, Any]) -> int:
    """Writes `regions.json` of every drive whose maps are all there; returns how many are not.

    The same maps give the same bytes, so it does not matter which process is the last.

    Args:
        jobs: Of whole drives.
        described: `RegionSource.described()`.
    """
    folders: dict[Path, Drive] = {}
    unfinished: set[Path] = set()
    for job in jobs:
        folders[job.folder] = job.drive
        if not job.path.is_file():
            unfinished.add(job.folder)
    for folder, drive in folders.items():
        if folder in unfinished:
            continue
        found = [path for path in folder.glob("*/*.png") if path.stem.isdigit()]
        maps = sorted(found, key=lambda path: (path.parent.name, int(path.stem)))
        records = {f"{path.parent.name}/{path.stem}": read_record(path) for path in maps}
        write_whole(folder / INDEX, _encoded(_header(drive, described), records), durable=False)
        remove_leavings(folder, ("**/.*.tmp", "**/.*.claim"))
    return len(unfinished)


def read_index(folder: Path) -> dict[str, Any]:
    """Returns the content of a drive's `regions.json`; its `frames` are None until all are made.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It is damaged or of another format.
    """
    path = folder / INDEX
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(
            f"no {path}: `rosam masks DRIVE -o {folder.parent}` makes region maps"
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path} is damaged ({error}): delete this file and run the same command"
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"{path} does not describe region maps: its format is not '{FORMAT}'")
    return content


def _header(drive: Drive, described: dict[str, Any]) -> dict[str, Any]:
    head = {"format": FORMAT, "drive": drive.name, "rendering": rendering_of(drive)}
    return {**head, **described}


def _encoded(header: dict[str, Any], records: dict[str, Any] | None) -> bytes:
    """Returns the file, with one line for every frame."""
    head = json.dumps(header, indent=2)[:-2]
    if records is None:
        return f'{head},\n  "frames": null\n}}\n'.encode()
    lines = ",\n".join(
        f"    {json.dumps(key)}: {json.dumps(record, sort_keys=True)}"
        for key, record in records.items()
    )
    return f'{head},\n  "frames": {{\n{lines}\n  }}\n}}\n'.encode()


def _flat(content: dict[str, Any]) -> set[str]:
    """Returns the names of everything in a header, settings one by one."""
    settings = content.get("settings", {})
    return ({*content} - {"settings", "frames"}) | {f"settings.{name}" for name in settings}


def _at(content: dict[str, Any], name: str) -> Any:
    first, _, rest = name.partition(".")
    value = content.get(first)
    return (value or {}).get(rest) if rest else value
