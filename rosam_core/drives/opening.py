"""Opens whatever lies at a path as drives: synthetic folders, nuScenes trees or bags."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rosam_core.drives.base import Drive

KINDS = ("synthetic", "nuscenes", "bag")
BAG_SUFFIXES = (".bag", ".mcap", ".db3")
SYNTHETIC_FORMAT = "rosam-synthetic-1"


def find_kind(path: Path) -> str:
    """Returns which of `KINDS` lies at a path.

    Args:
        path: A file or folder.

    Raises:
        FileNotFoundError: There is nothing at the path.
        ValueError: It is none of them; the message says what was looked for.
    """
    if not path.exists():
        raise FileNotFoundError(f"no drive at {path}")
    if path.suffix in BAG_SUFFIXES or (path / "metadata.yaml").is_file():
        return "bag"
    if any(path.glob("v1.0-*/sample_data.json")):
        return "nuscenes"
    described = path / "drive.json"
    if described.is_file():
        try:
            found = json.loads(described.read_text(encoding="utf-8")).get("format")
        except (json.JSONDecodeError, AttributeError) as error:
            raise ValueError(f"{described} is not a drive description: {error}") from error
        if found != SYNTHETIC_FORMAT:
            raise ValueError(f"{described} has format {found!r}, expected {SYNTHETIC_FORMAT!r}")
        return "synthetic"
    if any(path.glob("*/drive.json")):
        return "synthetic"
    raise ValueError(
        f"{path} is no drive: expected a bag ({', '.join(BAG_SUFFIXES)} or a rosbag2 folder), a "
        "nuScenes root (v1.0-*/sample_data.json), or synthetic drives (drive.json here or one "
        "folder below; `rosam synth` makes them)"
    )


def open_drives(
    path: str | Path, kind: str = "auto", conditions: Sequence[str] = ()
) -> list[Drive]:
    """Opens the drives at a path, one for every folder, camera or condition it holds.

    Args:
        path: Bag, nuScenes root, synthetic drive, or folder of synthetic drives.
        kind: One of `KINDS`, or `"auto"` to look.
        conditions: For synthetic drives, which renderings to open; every one there is if empty.
            Other kinds have one condition a frame, which the caller picks.

    Raises:
        FileNotFoundError: There is nothing at the path.
        ValueError: It cannot be read as that kind, or lacks a condition.
    """
    path = Path(path)
    kind = find_kind(path) if kind == "auto" else kind
    if kind == "nuscenes":
        from rosam_core.drives.nuscenes import NuscenesDrive

        return [NuscenesDrive(path)]
    if kind == "bag":
        return _open_bag(path)
    if kind != "synthetic":
        raise ValueError(f"unknown kind of drive {kind!r}: expected auto, {', '.join(KINDS)}")
    from rosam_core.drives.synthetic.drive import RECORDED, SyntheticDrive, find_drives

    folders = [path] if (path / "drive.json").is_file() else find_drives(path)
    drives: list[Drive] = []
    for folder in folders:
        described = json.loads((folder / "drive.json").read_text(encoding="utf-8"))
        rendered = described.get("conditions", [])
        if all("condition" in frame for frame in described.get("frames", [{}])):
            drives.append(SyntheticDrive(folder, RECORDED))  # one condition a frame
            continue
        drives += [
            SyntheticDrive(folder, name) for name in conditions or rendered if name in rendered
        ]
    if not drives:
        raise ValueError(f"{path} has no synthetic drive in {list(conditions) or 'any condition'}")
    return drives


def _open_bag(path: Path) -> list[Drive]:
    """Opens every camera of a bag that has a camera_info."""
    from rosam_core.drives.bag_reader import BagReader
    from rosam_core.drives.rosbag import RosbagDrive

    with BagReader(path) as bag:
        usable = [camera for camera in bag.cameras if camera.camera is not None]
        problems = [f"{camera.topic}: {camera.problem}" for camera in bag.cameras]
    if not usable:
        raise ValueError(
            f"{path} has no camera that can be scored: " + ("; ".join(problems) or "no images")
        )
    return [RosbagDrive(path, camera.topic) for camera in usable]
