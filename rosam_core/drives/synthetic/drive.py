"""Synthetic drives on disk: written atomically frame by frame, read without torch."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from rosam_core.drives.base import Drive, Glance, height_above_zero
from rosam_core.types import CONDITIONS, Camera, Float32, Float64, Frame, UInt8, UInt16

FORMAT = "rosam-synthetic-1"
UNKNOWN, BEYOND = 0, 65535  # stored depth where there is none, and of the sky
JPEG_END = b"\xff\xd9"
LIDAR_OFFSET_M = (-0.25, 0.0, 0.45)  # in the camera's heading frame: forward, left, up


def lidar_position(T_world_camera: Float64) -> Float64:
    """Returns where the simulated lidar is in the world, float64[3] [m].

    Args:
        T_world_camera: float64[4,4], pose of the camera that it goes with.
    """
    T = T_world_camera
    heading = math.atan2(T[1, 2], T[0, 2])
    c, s = math.cos(heading), math.sin(heading)
    forward, left, up = LIDAR_OFFSET_M
    x, y = T[0, 3] + c * forward - s * left, T[1, 3] + s * forward + c * left
    return np.array([x, y, T[2, 3] + up])


def encode_depth(depth: Float32) -> bytes:
    """Returns a 16-bit PNG of metres x 256; more than 255.99 m becomes 65535, NaN becomes 0."""
    known = ~np.isnan(depth)
    stored = np.clip(np.round(np.where(known, depth, 1.0) * 256.0), 1, BEYOND)
    return _encode(".png", np.where(known, stored, UNKNOWN).astype(np.uint16))


def decode_depth(stored: UInt16) -> Float32:
    """Returns float32[H,W] metres of uint16[H,W]; 0 becomes NaN and 65535 becomes +Inf."""
    depth = stored.astype(np.float32) / 256
    depth[stored == BEYOND] = np.inf
    depth[stored == UNKNOWN] = np.nan
    return depth


def _encode(suffix: str, image: np.ndarray, *options: int) -> bytes:
    ok, data = cv2.imencode(suffix, image, list(options))
    if not ok:
        raise ValueError(f"could not encode an image of {image.shape} {image.dtype} as {suffix}")
    return data.tobytes()


def encode_image(rgb: UInt8, suffix: str) -> bytes:
    """Returns a JPEG (quality 95) or PNG file of uint8[H,W,3] RGB."""
    options = (
        (cv2.IMWRITE_JPEG_QUALITY, 95) if suffix == ".jpg" else (cv2.IMWRITE_PNG_COMPRESSION, 1)
    )
    return _encode(suffix, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), *options)


def encode_ids(ids: UInt16) -> bytes:
    """Returns a 16-bit PNG of object ids."""
    return _encode(".png", ids)


RECORDED = "recorded"  # the condition that each frame was rendered in


class SyntheticDrive(Drive):
    """A drive made by `rosam synth`, in one condition or in one condition a frame."""

    def __init__(self, folder: str | Path, condition: str | Sequence[str] = "day-clear") -> None:
        """Opens a drive.

        Args:
            folder: Holds `drive.json`.
            condition: One of the rendered conditions, or one for each frame, or "recorded": the
                one that each frame of a scheduled drive was rendered in.

        Raises:
            FileNotFoundError: There is no drive here, or an unfinished one.
            ValueError: The drive is damaged, or was not rendered in this condition.
        """
        self.folder = Path(folder)
        self.name = self.folder.name
        self.meta = _read_meta(self.folder)
        m = self.meta
        try:
            self.camera = Camera(m["fx"], m["fy"], m["cx"], m["cy"], m["width"], m["height"])
            self.frames: list[dict[str, Any]] = list(m["frames"])
            self.rendered: list[str] = list(m["conditions"])
            self.suffix: str = m.get("image_suffix", ".jpg")
            self._stamps = [int(frame["stamp_ns"]) for frame in self.frames]
            poses = [frame["T_world_camera"] for frame in self.frames]
            self._poses = np.array(poses, dtype=np.float64).reshape(-1, 4, 4)
            self.recorded: list[str | None] = [frame.get("condition") for frame in self.frames]
        except KeyError as error:
            raise ValueError(
                f"{self.folder / 'drive.json'} lacks the field {error}: render the drive again"
            ) from error
        except (TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"{self.folder / 'drive.json'} is damaged: {error}") from error
        self.conditions = self._choose(condition)

    def _choose(self, condition: str | Sequence[str]) -> list[str]:
        """Returns the condition to read of every frame."""
        if condition == RECORDED:
            recorded = [name for name in self.recorded if name]
            if len(recorded) < len(self.frames):
                raise ValueError(
                    f"{self.name} was not rendered by a schedule: name one of {self.rendered}"
                )
            return recorded
        names = [condition] * len(self.frames) if isinstance(condition, str) else list(condition)
        if len(names) != len(self.frames):
            raise ValueError(
                f"{len(names)} conditions given for {len(self.frames)} frames of {self.name}"
            )
        missing = sorted(set(names) - set(self.rendered))
        if missing:
            raise ValueError(f"{self.name} was not rendered in {missing}: it has {self.rendered}")
        return names

    def __len__(self) -> int:
        """Returns the number of frames."""
        return len(self.frames)

    def __getitem__(self, index: int) -> Frame:
        """Reads one frame.

        Raises:
            IndexError: There is no such frame.
            FileNotFoundError: A file of the frame is missing.
            ValueError: A file of the frame is damaged.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"frame {index} of {len(self)}")
        stem = f"{index:06d}"
        image = self.image(index)
        T = self._poses[index].copy()
        lidar = self._read_lidar(self.folder / "lidar" / f"{stem}.npy")
        origin = None if lidar is None else T[:3, :3].T @ (lidar_position(T) - T[:3, 3])
        return Frame(
            image=image,
            camera=self.camera,
            stamp_ns=self._stamps[index],
            T_world_camera=T,
            condition=self.conditions[index],
            camera_name="camera",
            lidar=lidar,
            depth=decode_depth(self._read(f"depth/{stem}.png", cv2.IMREAD_UNCHANGED, "uint16", 2)),
            instances=self._read(f"instances/{stem}.png", cv2.IMREAD_UNCHANGED, "uint16", 2),
            lidar_origin=origin,
        )

    def image(self, index: int) -> UInt8:
        """Reads an image without its depth, objects and lidar, uint8[H,W,3] RGB."""
        if not 0 <= index < len(self):
            raise IndexError(f"frame {index} of {len(self)}")
        condition, recorded = self.conditions[index], self.recorded[index]
        name = f"images/{condition}/{index:06d}{self.suffix}"
        if recorded and condition != recorded and not (self.folder / name).is_file():
            raise FileNotFoundError(
                f"frame {index} of {self.name} was rendered in {recorded} only, not in "
                f"{condition}: open the drive with the condition '{RECORDED}'"
            )
        image = self._read(name, cv2.IMREAD_COLOR, "uint8", 3)
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)

    def glance(self, index: int) -> Glance:
        """Returns what is known of a frame without reading its files."""
        return Glance(
            stamp_ns=self._stamps[index],
            camera=self.camera,
            T_world_camera=self._poses[index].copy(),
            condition=self.conditions[index],
            has_lidar=(self.folder / "lidar" / f"{index:06d}.npy").is_file(),
            has_depth=True,
        )

    def camera_height(self, index: int) -> float | None:
        """Returns the height of the camera [m]: the road is at z = 0."""
        return height_above_zero(self._poses[index])

    def _read(self, name: str, flags: int, dtype: str, dimensions: int) -> Any:
        path = self.folder / name
        if not path.is_file():
            raise FileNotFoundError(
                f"missing {path}: run the same `rosam synth` command again to resume"
            )
        data = path.read_bytes()
        whole = path.suffix != ".jpg" or data.endswith(JPEG_END)  # half a JPEG decodes to grey
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data and whole else None
        if image is None:
            raise ValueError(
                f"damaged image {path}: delete it and run the same `rosam synth` command"
            )
        if image.shape[:2] != (self.camera.height, self.camera.width):
            raise ValueError(
                f"{path} is {image.shape[1]}x{image.shape[0]}, the drive is "
                f"{self.camera.width}x{self.camera.height}"
            )
        if image.dtype != np.dtype(dtype) or image.ndim != dimensions:
            raise ValueError(
                f"{path} holds {image.dtype} with {image.ndim} dimensions, expected {dtype} with "
                f"{dimensions}"
            )
        return image

    @staticmethod
    def _read_lidar(path: Path) -> Float32 | None:
        if not path.is_file():
            return None
        try:
            points = np.load(path)
        except (ValueError, EOFError) as error:
            raise ValueError(f"damaged lidar sweep {path}: {error}") from error
        if points.ndim != 2 or points.shape[1] != 3:
            raise ValueError(f"{path} has the shape {points.shape}, expected (N, 3)")
        return np.asarray(points, dtype=np.float32)


def _read_meta(folder: Path) -> dict[str, Any]:
    path = folder / "drive.json"
    if not path.is_file():
        if (folder / "recipe.json").is_file():
            raise FileNotFoundError(
                f"no drive.json in {folder}, the drive is unfinished: run the same `rosam synth` "
                "command again to resume"
            )
        raise FileNotFoundError(f"no drive.json in {folder}: `rosam synth --out DIR` makes drives")
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(meta, dict) or meta.get("format") != FORMAT:
        raise ValueError(f"{path} is not a synthetic drive: its format is not '{FORMAT}'")
    return meta


def find_drives(root: str | Path) -> list[Path]:
    """Returns the folders under `root` (itself included) that hold a finished synthetic drive.

    Raises:
        FileNotFoundError: There is none.
    """
    root = Path(root)
    found = sorted(
        {
            path.parent
            for path in [root / "drive.json", *root.glob("*/drive.json")]
            if path.is_file()
        }
    )
    if not found:
        raise FileNotFoundError(
            f"no synthetic drives under {root}: make some with `rosam synth --out {root}`"
        )
    return found


def known_conditions() -> list[str]:
    """Returns the conditions that can be rendered."""
    return [name for name in CONDITIONS if name != "unknown"]
