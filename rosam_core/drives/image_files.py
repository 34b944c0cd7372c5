"""Image files as they lie on disk: pictures and 16-bit depth, whole or refused by name."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import cv2
import numpy as np

from rosam_core.drives.synthetic.drive import decode_depth
from rosam_core.runtime.image_codec import decode_compressed, decode_image
from rosam_core.types import Float32, UInt8

MOSAIC_RATIO = 1.2
"""By so much, across and down, do neighbours of a mosaic differ more than pixels two apart, which
show one colour. Six raw images of Oxford RobotCar have 1.33 or more, 105 pictures of nuScenes,
KITTI and others in grey 1.13 or less."""

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


def read_image(path: Path, bayer: str | None = None) -> UInt8:
    """Returns the picture in a file, uint8[H,W,3] RGB; grey becomes three equal channels.

    EXIF orientation is ignored, because the camera model belongs to the stored pixels.

    Args:
        path: JPEG, PNG, BMP or TIFF.
        bayer: One of `opening.BAYER_PATTERNS` if it is a raw mosaic, which is then demosaiced.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is truncated or damaged; decoders would paint the missing part grey.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no image {path}: is the copy of the drive complete?")
    data = np.fromfile(path, np.uint8)
    try:
        if bayer is None and path.suffix.lower() in (".jpg", ".jpeg", ".png"):
            return decode_compressed(path.suffix[1:], data)
        if bayer is not None:
            return _demosaiced(data, bayer, path.suffix.lower())
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


def _demosaiced(data: UInt8, bayer: str, suffix: str) -> UInt8:
    if suffix in (".jpg", ".jpeg"):
        raise ValueError("a JPEG is no raw mosaic: its compression mixes neighbours")
    stored = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    if stored is None:
        raise ValueError("it is damaged")
    if stored.ndim != 2:
        raise ValueError(f"it is in colour, no raw mosaic ({bayer}) as stated")
    height, width = stored.shape
    name = f"bayer_{bayer}{8 * stored.itemsize}"
    is_bigendian = sys.byteorder == "big"
    step = width * stored.itemsize
    return decode_image(name, width, height, step, is_bigendian, stored.tobytes())


def looks_like_mosaic(image: UInt8) -> bool:
    """Returns whether a picture that was read as grey may be a raw Bayer mosaic.

    A guess: mosaics of little colour or in deep night are not seen.

    Args:
        image: uint8[H,W,3].
    """
    grey = image[..., 0]
    if min(grey.shape) < 16 or (image[..., 1] != grey).any() or (image[..., 2] != grey).any():
        return False
    levels = grey.astype(np.int16)
    for across in (levels, levels.T):
        beside = np.abs(across[:, 1:] - across[:, :-1]).mean()
        if not beside > MOSAIC_RATIO * np.abs(across[:, 2:] - across[:, :-2]).mean():
            return False
    return True


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
