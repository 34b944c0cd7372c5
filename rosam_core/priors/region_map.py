"""Region maps: from masks that overlap to one object id a pixel, and where they lie on disk.

A region map is uint16[H,W] of the size of its image: 0 = unassigned, 1 to n = regions, the largest
first. `rosam masks` writes them as

    <out>/<drive name>/<camera>/<stamp_ns>.png      16-bit PNG
    <out>/<drive name>/regions.json                 source, settings, hashes and counts

with every character of a name that is no letter, digit, `-`, `_` or `.` replaced by `_`, and
slashes at its ends left out. `region_map_of` reads the map of a frame.
"""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from rosam_core.types import Frame, UInt16

Mask = npt.NDArray[np.bool_]

OVERLAP_RULES = ("largest", "smallest")
MIN_REGION_SHARE = 0.0005
"""Smaller regions, as a share of the image, are unassigned: 0.05 %, a choice of this project."""

MAX_REGIONS = 65535
RECORD_KEY = b"rosam-regions"
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER_BYTES = len(_SIGNATURE) + 25  # signature and IHDR, which comes first
_END = struct.pack(">I4sI", 0, b"IEND", zlib.crc32(b"IEND"))


def region_map(
    masks: Iterable[Mask],
    shape: tuple[int, ...],
    overlap_rule: str = "largest",
    min_region_share: float = MIN_REGION_SHARE,
) -> UInt16:
    """Returns uint16[H,W]: the region of every pixel, 0 where there is none.

    RoSAMDepth (CVPR 2026): every pixel belongs to the largest-area mask that contains it. With
    `smallest` an object inside a big background mask keeps a region of its own. Of masks of one
    area the earlier wins. Ids count from 1 without gaps, the largest region first.

    Args:
        masks: bool[H,W] each; they may overlap, be empty, or be none at all.
        shape: H and W.
        overlap_rule: `largest` or `smallest`.
        min_region_share: Regions of a smaller share of the image become 0, in [0, 1].

    Raises:
        ValueError: Unknown rule, a mask of another shape, or more than 65535 regions.
    """
    if overlap_rule not in OVERLAP_RULES:
        raise ValueError(f"overlap_rule must be one of {OVERLAP_RULES}, got {overlap_rule!r}")
    kept = [np.asarray(mask, dtype=bool) for mask in masks]
    for mask in kept:
        if mask.shape != shape:
            raise ValueError(f"a mask has the shape {mask.shape}, the image has {shape}")
    areas = [int(np.count_nonzero(mask)) for mask in kept]
    sign = 1 if overlap_rule == "largest" else -1
    labels = np.zeros(shape, np.int32)
    # Who paints last keeps the pixel.
    for index in sorted(range(len(kept)), key=lambda i: (sign * areas[i], -i)):
        labels[kept[index]] = index + 1
    return compact(labels, min_region_share)


def compact(labels: npt.NDArray[np.integer[Any]], min_region_share: float = 0.0) -> UInt16:
    """Returns uint16[H,W] with ids 1 to n without gaps, the largest region first.

    Args:
        labels: Integers [H,W], >= 0; 0 = unassigned.
        min_region_share: Regions of a smaller share of the image become 0, in [0, 1].

    Raises:
        ValueError: More than 65535 regions are left.
    """
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    large = np.flatnonzero((areas > 0) & (areas >= min_region_share * labels.size))
    if len(large) > MAX_REGIONS:
        raise ValueError(
            f"{len(large)} regions, at most {MAX_REGIONS} fit: raise min_region_share"
        )
    ids = np.zeros(len(areas), np.uint16)
    ids[large[np.argsort(-areas[large], kind="stable")]] = np.arange(1, len(large) + 1)
    return np.asarray(ids[labels])


def is_compact(regions: UInt16) -> bool:
    """Returns whether the ids are 1 to n without gaps, besides 0."""
    used = np.flatnonzero(np.bincount(regions.ravel(), minlength=1))
    used = used[used > 0]
    return len(used) == 0 or int(used[-1]) == len(used)


def folder_name(name: str) -> str:
    """Returns the name of a drive or camera as the name of a folder.

    Args:
        name: Such as the topic of a camera.
    """
    safe = re.sub(r"[^A-Za-z0-9_.-]", "_", name.strip("/"))
    return "_" + safe if safe.strip(".") == "" else safe


def map_path(folder: Path, camera_name: str, stamp_ns: int) -> Path:
    """Returns where the region map of an image lies.

    Args:
        folder: Of the drive: `<out>/<drive name>`.
        camera_name: Of the frame.
        stamp_ns: Of the frame [ns].
    """
    return folder / folder_name(camera_name) / f"{stamp_ns}.png"


def region_map_of(folder: str | Path, frame: Frame) -> UInt16:
    """Returns the region map of a frame, uint16[H,W] of the size of its image, 0 = unassigned.

    Args:
        folder: Of the frame's drive, `<out>/<drive name>`.
        frame: Its camera's name, stamp and size are used.

    Raises:
        FileNotFoundError: It has not been made; says how.
        ValueError: The file is damaged, or made for an image of another size.
    """
    path = map_path(Path(folder), frame.camera_name, frame.stamp_ns)
    regions = read_map(path)
    if regions.shape != frame.image.shape[:2]:
        found, wanted = regions.shape[::-1], frame.image.shape[1::-1]
        raise ValueError(
            f"{path} is {found[0]}x{found[1]}, its image is {wanted[0]}x{wanted[1]}: "
            "`rosam masks verify` names every such map"
        )
    return regions


def read_map(path: Path) -> UInt16:
    """Returns a stored region map, uint16[H,W].

    Raises:
        FileNotFoundError: There is none.
        ValueError: It is damaged or no 16-bit PNG of one channel.
    """
    try:
        data = np.fromfile(path, np.uint8)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"no region map {path}: `rosam masks DRIVE -o OUT` makes them, and resumes"
        ) from None
    # OpenCV decodes half a file as half a picture, without an error.
    whole = len(data) > len(_END) and data[-len(_END) :].tobytes() == _END
    regions = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if whole else None
    if regions is None:
        raise ValueError(f"damaged region map {path}: `rosam masks` with --recheck makes it again")
    if regions.dtype != np.uint16 or regions.ndim != 2:
        raise ValueError(
            f"{path} is no region map: {regions.dtype} with {regions.ndim} dimensions, expected "
            "uint16 with 2"
        )
    return np.asarray(regions, np.uint16)


def encode_map(regions: UInt16, record: Mapping[str, Any]) -> bytes:
    """Returns a 16-bit PNG that carries what is known of it, which other programs skip.

    Args:
        regions: uint16[H,W].
        record: JSON values; `read_record` reads them without decoding the picture.
    """
    png = cv2.imencode(".png", regions)[1].tobytes()
    body = b"tEXt" + RECORD_KEY + b"\0" + json.dumps(record, sort_keys=True).encode("ascii")
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return png[:_HEADER_BYTES] + chunk + png[_HEADER_BYTES:]


def read_record(path: Path) -> dict[str, Any] | None:
    """Returns the record of a stored region map, None if there is no whole file with one.

    Only the head and the tail of the file are read, so that a run with many maps resumes quickly.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEADER_BYTES + 8)
            if len(head) < _HEADER_BYTES + 8 or not head.startswith(_SIGNATURE):
                return None
            size, kind = struct.unpack(">I4s", head[-8:])
            body, crc = stream.read(size), stream.read(4)
            stream.seek(-len(_END), 2)
            ended = stream.read() == _END
    except FileNotFoundError:
        return None
    is_ours = kind == b"tEXt" and body.startswith(RECORD_KEY + b"\0")
    if not ended or not is_ours or crc != struct.pack(">I", zlib.crc32(kind + body)):
        return None
    record = json.loads(body[len(RECORD_KEY) + 1 :])
    return record if isinstance(record, dict) else None
