"""Synthetic drives on disk: written atomically frame by frame, read without torch."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from rosam_core.drives.base import Drive
from rosam_core.types import CONDITIONS, Camera, Float32, Frame, UInt8, UInt16

FORMAT = "rosam-synthetic-1"
BEYOND = 65535  # stored depth of the sky; 0 would mean "none"


def save_atomically(path: Path, data: bytes) -> None:
    """Writes a file so that a killed process leaves either all of it or nothing."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(data)
    os.replace(temporary, path)


def encode_depth(depth: Float32) -> bytes:
    """Returns a 16-bit PNG of metres x 256; +Inf and more than 255.99 m become 65535."""
    stored = np.where(np.isfinite(depth), np.round(depth * 256), BEYOND)
    return _encode(".png", np.clip(stored, 1, BEYOND).astype(np.uint16))


def decode_depth(stored: UInt16) -> Float32:
    """Returns float32[H,W] metres; 0 becomes NaN and 65535 +Inf."""
    depth = stored.astype(np.float32) / 256
    depth[stored == BEYOND] = np.inf
    depth[stored == 0] = np.nan
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


class SyntheticDrive(Drive):
    """A drive made by `rosam synth`, in one condition or in one condition a frame."""

    def __init__(self, folder: str | Path, condition: str | Sequence[str] = "day-clear") -> None:
        """Opens a drive.

        Args:
            folder: Holds `drive.json`.
            condition: One of the rendered conditions, or one for each frame.

        Raises:
            FileNotFoundError: There is no drive here.
            ValueError: The drive is unfinished, or was not rendered in this condition.
        """
        self.folder = Path(folder)
        self.name = self.folder.name
        path = self.folder / "drive.json"
        if not path.is_file():
            raise FileNotFoundError(
                f"no drive.json in {self.folder}: `rosam synth --out DIR` makes drives"
            )
        try:
            self.meta = json.loads(path.read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} is not JSON: {error}") from error
        if not isinstance(self.meta, dict) or self.meta.get("format") != FORMAT:
            raise ValueError(f"{path} is not a synthetic drive: its format is not '{FORMAT}'")
        m = self.meta
        try:
            self.camera = Camera(m["fx"], m["fy"], m["cx"], m["cy"], m["width"], m["height"])
            self.frames = m["frames"]
            self.rendered: list[str] = m["conditions"]
            self.suffix: str = m.get("image_suffix", ".jpg")
        except KeyError as error:
            raise ValueError(f"{path} lacks the field {error}") from error
        names = [condition] * len(self.frames) if isinstance(condition, str) else list(condition)
        if len(names) != len(self.frames):
            raise ValueError(
                f"{len(names)} conditions given for {len(self.frames)} frames of {self.name}"
            )
        missing = sorted(set(names) - set(self.rendered))
        if missing:
            raise ValueError(f"{self.name} was not rendered in {missing}: it has {self.rendered}")
        self.conditions = names

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
        condition = self.conditions[index]
        stem = f"{index:06d}"
        image = self._read(f"images/{condition}/{stem}{self.suffix}", cv2.IMREAD_COLOR)
        lidar = self.folder / "lidar" / f"{stem}.npy"
        return Frame(
            image=np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8),
            camera=self.camera,
            stamp_ns=int(self.frames[index]["stamp_ns"]),
            T_world_camera=np.array(self.frames[index]["T_world_camera"], dtype=np.float64),
            condition=condition,
            camera_name="camera",
            lidar=np.load(lidar) if lidar.is_file() else None,
            depth=decode_depth(self._read(f"depth/{stem}.png", cv2.IMREAD_UNCHANGED)),
            instances=self._read(f"instances/{stem}.png", cv2.IMREAD_UNCHANGED),
        )

    def _read(self, name: str, flags: int) -> np.ndarray:
        path = self.folder / name
        if not path.is_file():
            raise FileNotFoundError(
                f"missing {path}: run the same `rosam synth` command again to resume"
            )
        image = cv2.imread(str(path), flags)
        if image is None:
            raise ValueError(
                f"damaged image {path}: delete it and run the same `rosam synth` command"
            )
        if image.shape[:2] != (self.camera.height, self.camera.width):
            raise ValueError(
                f"{path} is {image.shape[1]}x{image.shape[0]}, the drive is "
                f"{self.camera.width}x{self.camera.height}"
            )
        return image


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
