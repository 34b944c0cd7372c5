"""Image files as they lie on disk: pictures and 16-bit depth, whole or refused by name."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np

from rosam_core.drives.synthetic.drive import decode_depth
from rosam_core.runtime.image_codec import decode_compressed
from rosam_core.types import Float32, UInt8

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff")


def natural_key(path: Path) -> tuple[tuple[int, int | str], ...]:
    """Returns a sort key that puts `frame10` after `frame9`.

    Args:
        path: A file; only its stem counts.
    """
    parts = re.split(r"(\d+)", path.stem)
    return tuple((0, int(part)) if part.isdigit() else (1, part) for part in parts if part)


def image_files(folder: Path) -> list[Path]:
    """Returns the image files that lie directly in a folder, in natural order of their names.

    Args:
        folder: May be absent, which holds none.
    """
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES]
    return sorted((path for path in found if path.name[0] != "."), key=natural_key)


def read_image(path: Path) -> UInt8:
    """Returns the picture in a file, uint8[H,W,3] RGB; grey becomes three equal channels.

    EXIF orientation is ignored, because the camera model belongs to the stored pixels.

    Args:
        path: JPEG, PNG, BMP or TIFF.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is truncated or damaged; decoders would paint the missing part grey.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no image {path}: is the copy of the drive complete?")
    data = np.fromfile(path, np.uint8)
    try:
        if path.suffix.lower() in (".jpg", ".jpeg", ".png"):
            return decode_compressed(path.suffix[1:], data)
        if data.size < 8:
            raise ValueError(f"{data.size} bytes are no image")
        if data[:2].tobytes() == b"BM":
            stated = int.from_bytes(data[2:6].tobytes(), "little")
            if data.size < stated:
                raise ValueError(f"truncated: {data.size} of {stated} bytes")
        image = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except (ValueError, cv2.error) as error:
        raise ValueError(f"{path} cannot be read, copy it again or remove it: {error}") from error
    if image is None:
        raise ValueError(f"{path} cannot be read, copy it again or remove it: it is damaged")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def read_depth_image(path: Path, width: int, height: int) -> Float32:
    """Returns the depth in a 16-bit PNG of metres x 256, float32[H,W].

    Args:
        path: The file; a stored 0 means unknown (NaN), 65535 beyond what it can hold (+Inf).
        width: Expected width [px].
        height: Expected height [px].

    Raises:
        ValueError: Another size or type of image, or a damaged one.
    """
    stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if stored is None:
        raise ValueError(f"depth {path} cannot be read: copy it again or remove it")
    if stored.dtype != np.uint16 or stored.ndim != 2:
        raise ValueError(
            f"depth {path} is {stored.dtype} of shape {stored.shape}: expected 16-bit grey, "
            "metres x 256, 0 = none"
        )
    if stored.shape != (height, width):
        raise ValueError(
            f"depth {path} is {stored.shape[1]}x{stored.shape[0]}, its image {width}x{height}"
        )
    return decode_depth(stored)
