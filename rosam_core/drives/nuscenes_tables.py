"""The tables of nuScenes as arrays: streamed, because `sample_data.json` alone is a gigabyte."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rosam_core.types import Float64
from rosam_core.whole_file import replaced

log = logging.getLogger(__name__)

CAMERAS = (
    "CAM_FRONT",
    "CAM_FRONT_RIGHT",
    "CAM_BACK_RIGHT",
    "CAM_BACK",
    "CAM_BACK_LEFT",
    "CAM_FRONT_LEFT",
)
LIDAR = "LIDAR_TOP"
CHUNK_CHARS = 8 << 20
ROW_END = re.compile(r"\}\s*,\s*\{")
TOKEN = re.compile(r'"token"\s*:\s*"([^"]*)"')
KEY_FRAME = re.compile(r'"is_key_frame"\s*:\s*true')
CACHE_FROM_BYTES = 50 << 20  # smaller tables are read faster than a cache is looked after
TABLES = ("scene", "sample", "sensor", "calibrated_sensor", "sample_data", "ego_pose")
INDEX_FORMAT = 1


@dataclasses.dataclass(frozen=True)
class NuscenesIndex:
    """Images of the six cameras with what belongs to each, one element an image.

    Attributes:
        file: bytes[n], path of the image below the root.
        stamp_us: int64[n], time of exposure [us].
        sample_us: int64[n], time of the sample (key frame) it belongs to [us].
        is_key: bool[n], key frame, not sweep.
        channel: int16[n], index into `CAMERAS`.
        scene: int32[n], index into `scenes`.
        calibration: int32[n], index into `calibrations`.
        size: int32[n,2], width and height [px].
        pose: float64[n,7], ego pose: quaternion (w, x, y, z), translation [m].
        lidar: int32[n], index into the lidar arrays, -1 = none.
        lidar_file: bytes[m], path of the sweep below the root.
        lidar_calibration: int32[m], index into `calibrations`.
        lidar_pose: float64[m,7], ego pose at the time of the sweep.
        scenes: `token`, `name` and `description` of every scene.
        calibrations: `calibrated_sensor` rows.
    """

    file: npt.NDArray[np.bytes_]
    stamp_us: npt.NDArray[np.int64]
    sample_us: npt.NDArray[np.int64]
    is_key: npt.NDArray[np.bool_]
    channel: npt.NDArray[np.int16]
    scene: npt.NDArray[np.int32]
    calibration: npt.NDArray[np.int32]
    size: npt.NDArray[np.int32]
    pose: Float64
    lidar: npt.NDArray[np.int32]
    lidar_file: npt.NDArray[np.bytes_]
    lidar_calibration: npt.NDArray[np.int32]
    lidar_pose: Float64
    scenes: list[dict[str, str]]
    calibrations: list[dict[str, Any]]


def load_index(folder: Path, sweeps: bool = False, cache: Path | None = None) -> NuscenesIndex:
    """Reads the tables of a version, or what an earlier call kept of large ones.

    Args:
        folder: `ROOT/v1.0-...`.
        sweeps: Also the images between the key frames.
        cache: Folder of kept indices; by default the user's cache folder.

    Raises:
        FileNotFoundError: A table is missing.
        ValueError: A table is damaged, or names a row that another one lacks.
    """
    sizes = [_table(folder, name).stat().st_size for name in TABLES]
    if sum(sizes) < CACHE_FROM_BYTES:
        return read_index(folder, sweeps)
    kept = (cache or _cache_folder()) / f"nuscenes-{_fingerprint(folder, sweeps)}.npz"
    if kept.is_file():
        try:
            return _load(kept)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            log.warning("%s is damaged and made anew: %s", kept, error)
    index = read_index(folder, sweeps)
    try:
        _save(kept, index)
    except OSError as error:
        log.warning("the index of %s is not kept for next time: %s", folder, error)
    return index


def read_index(folder: Path, sweeps: bool = False) -> NuscenesIndex:
    """Reads the tables of a version; see `load_index`."""
    scenes = rows(_table(folder, "scene"))
    scene_number = {row["token"]: i for i, row in enumerate(scenes)}
    samples = {
        row["token"]: (int(row["timestamp"]), row["scene_token"])
        for row in rows(_table(folder, "sample"))
    }
    sensors = {row["token"]: row["channel"] for row in rows(_table(folder, "sensor"))}
    calibrations = rows(_table(folder, "calibrated_sensor"))
    used: dict[str, tuple[int, int]] = {}  # calibration token: its number, channel (-1 = lidar)
    for number, row in enumerate(calibrations):
        channel = _find(sensors, row["sensor_token"], "sensor")
        if channel in CAMERAS or channel == LIDAR:
            used[row["token"]] = (number, CAMERAS.index(channel) if channel != LIDAR else -1)
    others = {row["token"] for row in calibrations} - set(used)

    images, lidars = _Columns(), _Columns()
    lidar_of_sample: dict[str, int] = {}
    sample_of_image: list[str] = []
    slots: dict[str, int] = {}  # ego pose token: its number
    for row in chosen_rows(
        _table(folder, "sample_data"), lambda text: sweeps or KEY_FRAME.search(text) is not None
    ):
        if row["calibrated_sensor_token"] in others:
            continue
        number, channel = _find(used, row["calibrated_sensor_token"], "calibrated_sensor")
        slot = slots.setdefault(row["ego_pose_token"], len(slots))
        if channel < 0:
            if row["is_key_frame"]:
                lidar_of_sample[row["sample_token"]] = len(lidars.file)
                lidars.add(row["filename"].encode(), number, slot)
            continue
        sample_us, scene_token = _find(samples, row["sample_token"], "sample")
        scene = _find(scene_number, scene_token, "scene")
        images.add(row["filename"].encode(), number, slot)
        images.more.append(
            (
                int(row["timestamp"]),
                sample_us,
                bool(row["is_key_frame"]),
                channel,
                scene,
                int(row["width"]),
                int(row["height"]),
            )
        )
        sample_of_image.append(row["sample_token"] if row["is_key_frame"] else "")
    poses = np.full((len(slots), 7), np.nan)
    for row in chosen_rows(_table(folder, "ego_pose"), lambda text: _token_of(text) in slots):
        poses[slots[row["token"]]] = (*row["rotation"], *row["translation"])
    if np.isnan(poses).any():
        lost = int(np.flatnonzero(np.isnan(poses).any(axis=1))[0])
        _find({}, next(token for token, slot in slots.items() if slot == lost), "ego_pose")
    more = np.array(images.more, np.int64).reshape(-1, 7)
    order = np.lexsort((more[:, 3], more[:, 0] if sweeps else more[:, 1]))
    more = more[order]
    pick = images.arrays(poses, order)
    lidar = [lidar_of_sample.get(sample_of_image[i], -1) for i in order.tolist()]
    lidar_arrays = lidars.arrays(poses, np.arange(len(lidars.file)))
    return NuscenesIndex(
        file=pick[0],
        stamp_us=more[:, 0],
        sample_us=more[:, 1],
        is_key=more[:, 2].astype(bool),
        channel=more[:, 3].astype(np.int16),
        scene=more[:, 4].astype(np.int32),
        calibration=pick[1],
        size=more[:, 5:].astype(np.int32),
        pose=pick[2],
        lidar=np.array(lidar, np.int32),
        lidar_file=lidar_arrays[0],
        lidar_calibration=lidar_arrays[1],
        lidar_pose=lidar_arrays[2],
        scenes=[
            {
                "token": row["token"],
                "name": str(row.get("name", row["token"])),
                "description": str(row["description"]),
            }
            for row in scenes
        ],
        calibrations=calibrations,
    )


def rows(path: Path) -> list[dict[str, Any]]:
    """Returns the rows of one of the small tables.

    Args:
        path: A JSON array of objects.

    Raises:
        ValueError: It is not such an array, or ends too early.
    """
    text = path.read_text(encoding="utf-8").lstrip()
    _check_start(text, path)
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"nuScenes table {path} is not JSON: {error}") from error
    if not all(isinstance(row, dict) for row in found):
        raise ValueError(f"nuScenes table {path} is no array of objects")
    return found  # type: ignore[no-any-return]


def _check_start(text: str, path: Path) -> None:
    if not text.startswith("["):
        raise ValueError(f"nuScenes table {path} is not JSON: it does not start with [")


def chosen_rows(path: Path, wanted: Callable[[str], bool]) -> Iterator[dict[str, Any]]:
    """Yields some rows of a large table, a few megabytes of text at a time.

    Its rows hold no objects. Rows that are not wanted are not even decoded.

    Args:
        path: A JSON array of objects that hold no objects.
        wanted: Says it of the text of a row, without its braces.

    Raises:
        ValueError: It is not such an array, or ends too early.
    """
    with path.open(encoding="utf-8") as stream:
        text, more = stream.read(CHUNK_CHARS).lstrip(), ""
        _check_start(text, path)
        text = text[1:].lstrip()
        while not text and (more := stream.read(CHUNK_CHARS)):
            text = more.lstrip()
        if text.startswith("]"):
            return
        text = text.removeprefix("{")
        while more := stream.read(CHUNK_CHARS):
            *whole, text = ROW_END.split(text + more)
            yield from _decoded(whole, wanted, path)
        *whole, last = ROW_END.split(text)
        tail = last.rstrip()
        if not tail.endswith("]") or not tail[:-1].rstrip().endswith("}"):
            raise ValueError(f"nuScenes table {path} is not JSON: it ends too early")
        yield from _decoded([*whole, tail[:-1].rstrip()[:-1]], wanted, path)


def _decoded(
    found: list[str], wanted: Callable[[str], bool], path: Path
) -> Iterator[dict[str, Any]]:
    kept = "},{".join(row for row in found if wanted(row))
    try:
        yield from json.loads(f"[{{{kept}}}]") if kept else ()
    except json.JSONDecodeError as error:
        raise ValueError(f"nuScenes table {path} is not JSON: {error}") from error


class _Columns:
    """Rows of `sample_data` on their way into arrays."""

    def __init__(self) -> None:
        self.file: list[bytes] = []
        self.calibration: list[int] = []
        self.slot: list[int] = []
        self.more: list[tuple[int, ...]] = []

    def add(self, file: bytes, calibration: int, slot: int) -> None:
        self.file.append(file)
        self.calibration.append(calibration)
        self.slot.append(slot)

    def arrays(self, poses: Float64, order: npt.NDArray[np.intp]) -> tuple[Any, Any, Any]:
        files = np.array(self.file, np.bytes_) if self.file else np.zeros(0, "S1")
        slots = np.array(self.slot, np.int64)
        return files[order], np.array(self.calibration, np.int32)[order], poses[slots[order]]


def _token_of(text: str) -> str:
    found = TOKEN.search(text)
    return found[1] if found else ""


def _find(table: dict[str, Any], token: str, name: str) -> Any:
    """Returns the row of a token, or says which table lacks it."""
    if token not in table:
        raise ValueError(f"nuScenes table {name}.json lacks the token {token}: incomplete copy?")
    return table[token]


def _table(folder: Path, name: str) -> Path:
    path = folder / f"{name}.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"no nuScenes table {path}: expected ROOT/{folder.name}/{name}.json"
        )
    return path


def _cache_folder() -> Path:
    stated = os.environ.get("XDG_CACHE_HOME")
    return (Path(stated) if stated else Path.home() / ".cache") / "rosam"


def _fingerprint(folder: Path, sweeps: bool) -> str:
    """Returns a name that changes with the tables: of sizes, times and both ends of each."""
    digest = hashlib.sha256(f"{INDEX_FORMAT} {sweeps}".encode())
    for name in TABLES:
        path = _table(folder, name)
        status = path.stat()
        digest.update(f"{name} {status.st_size} {status.st_mtime_ns}".encode())
        with path.open("rb") as stream:
            digest.update(stream.read(1 << 16))
            stream.seek(-min(1 << 16, status.st_size), os.SEEK_END)
            digest.update(stream.read())
    return digest.hexdigest()[:24]


def _save(path: Path, index: NuscenesIndex) -> None:
    values = {f"{f.name}_": getattr(index, f.name) for f in dataclasses.fields(index)}
    for name in ("scenes_", "calibrations_"):  # `file` alone is savez's own argument
        values[name] = np.frombuffer(json.dumps(values[name]).encode(), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced(path, durable=False) as scratch, scratch.open("wb") as stream:
        np.savez(stream, **values)


def _load(path: Path) -> NuscenesIndex:
    names = [field.name for field in dataclasses.fields(NuscenesIndex)]
    with np.load(path, allow_pickle=False) as stored:
        values: dict[str, Any] = {name: stored[f"{name}_"] for name in names}
    for name in ("scenes", "calibrations"):
        values[name] = json.loads(values[name].tobytes())
    return NuscenesIndex(**values)
