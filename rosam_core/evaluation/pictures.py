"""Pictures of depth: panels side by side, contact sheets and a video."""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from rosam_core.types import Float32, UInt8

ERROR_END = 0.5
"""Relative error |g-p|/g at which the error picture is reddest."""

BACKGROUND = (17, 20, 24)
INK = (236, 238, 240)
FAINT = (150, 156, 164)


def colorize_error(truth: Float32, depth: Float32) -> UInt8:
    """Returns the relative error |g-p|/g as a picture, uint8[H,W,3] RGB.

    Blue is right, red is off by `ERROR_END` or more, grey has no truth or no depth.

    Args:
        truth: float32[H,W], true depth [m]; NaN, 0 and +Inf have no error.
        depth: float32[H,W], predicted depth [m].
    """
    return colorize_relative(relative_error(truth, depth))


def relative_error(truth: Float32, depth: Float32) -> Float32:
    """Returns |g-p|/g, float32[H,W]; NaN where that is no number.

    Args:
        truth: float32[H,W], true depth g [m]; NaN, 0 and +Inf have no error.
        depth: float32[H,W], predicted depth p [m].
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        error = np.abs(truth - depth) / truth
    return np.where(np.isfinite(error), error, np.nan).astype(np.float32)


def colorize_relative(error: Float32) -> UInt8:
    """Returns the picture of `colorize_error`, uint8[H,W,3] RGB.

    Args:
        error: float32[H,W], relative; NaN is grey.
    """
    known = ~np.isnan(error)
    scaled = np.where(known, np.clip(error / ERROR_END, 0, 1), 0) * 255
    coloured = cv2.applyColorMap(scaled.astype(np.uint8), cv2.COLORMAP_TURBO)
    picture = np.ascontiguousarray(coloured[..., ::-1], np.uint8)
    picture[~known] = (60, 64, 70)
    return picture


def dilate_sparse(error: Float32, radius: int = 2) -> Float32:
    """Returns errors at lone lidar pixels with each one enlarged, to be seen at all.

    Where two meet, the larger error is seen. Values are enlarged, not colours: the maximum of two
    colours is a third one.

    Args:
        error: float32[H,W] >= 0, NaN where no point is.
        radius: Half size of the enlarged point [px].
    """
    kernel = np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)
    grown = cv2.dilate(np.where(np.isnan(error), np.float32(-1), error), kernel)
    return np.where(grown < 0, np.float32(np.nan), grown)


def fit(picture: UInt8, width: int, height: int) -> UInt8:
    """Returns a picture scaled to fit into a box, centred on the background colour.

    Args:
        picture: uint8[H,W,3].
        width: Width of the box [px].
        height: Height of the box [px].
    """
    scale = min(width / picture.shape[1], height / picture.shape[0])
    size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    resized = cv2.resize(
        picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    )
    canvas = np.full((height, width, 3), BACKGROUND, np.uint8)
    top, left = (height - size[1]) // 2, (width - size[0]) // 2
    canvas[top : top + size[1], left : left + size[0]] = resized
    return canvas


def text_strip(width: int, height: int, left: str, right: str = "", size: int = 15) -> UInt8:
    """Returns a dark strip with a caption, uint8[height,width,3].

    Args:
        width: Width [px].
        height: Height [px].
        left: Text at the left end.
        right: Fainter text at the right end.
        size: Font size [px].
    """
    from PIL import Image, ImageDraw

    strip = Image.new("RGB", (width, height), BACKGROUND)
    draw = ImageDraw.Draw(strip)
    font = _font(size)
    draw.text((10, height / 2), left, INK, font, anchor="lm")
    draw.text((width - 10, height / 2), right, FAINT, font, anchor="rm")
    return np.asarray(strip)


def side_by_side(panels: Sequence[UInt8], height: int, left: str = "", right: str = "") -> UInt8:
    """Returns pictures in a row over a caption, uint8[h,w,3] with even h and w.

    Args:
        panels: uint8[H,W,3] RGB; each is fitted into the shape of the first.
        height: Height of the pictures [px], even; the caption comes on top of it.
        left: Caption, left end.
        right: Caption, right end.
    """
    width = 2 * round(panels[0].shape[1] / panels[0].shape[0] * height / 2)
    gap = np.full((height, 4, 3), BACKGROUND, np.uint8)
    parts = [part for panel in panels for part in (fit(panel, width, height), gap)]
    row = np.hstack(parts[:-1])
    if not (left or right):
        return row
    bar = 2 * max(11, height // 18)
    return np.vstack([row, text_strip(row.shape[1], bar, left, right, bar * 5 // 9)])


def contact_sheet(rows: Sequence[UInt8], title: str) -> UInt8:
    """Returns pictures of equal width one above the other, under a title.

    Args:
        rows: uint8[h,w,3] each.
        title: What is seen.

    Raises:
        ValueError: There are no pictures.
    """
    if not rows:
        raise ValueError("no pictures for a contact sheet")
    width = rows[0].shape[1]
    return np.vstack([text_strip(width, 44, title, size=20), *rows])


class VideoWriter:
    """An MP4 of pictures of one size; use it as a context manager."""

    def __init__(self, path: Path, fps: float) -> None:
        """Opens nothing yet: the first picture tells the size.

        Args:
            path: The file, ending in `.mp4`.
            fps: Pictures a second.
        """
        self._path, self._fps = path, fps
        self._writer: Any = None

    def add(self, picture: UInt8) -> None:
        """Appends a picture, uint8[H,W,3] RGB with even H and W.

        Raises:
            OSError: OpenCV cannot write this file.
        """
        if self._writer is None:
            height, width = picture.shape[:2]
            code = cv2.VideoWriter.fourcc(*"mp4v")  # the one codec every OpenCV wheel can write
            self._writer = cv2.VideoWriter(str(self._path), code, self._fps, (width, height))
            if not self._writer.isOpened():
                raise OSError(f"cannot write the video {self._path}: is the folder writable?")
        self._writer.write(np.ascontiguousarray(picture[..., ::-1]))

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.release()


def encode_png(picture: UInt8) -> bytes:
    """Returns uint8[H,W,3] RGB as PNG bytes."""
    return bytes(cv2.imencode(".png", np.ascontiguousarray(picture[..., ::-1]))[1])


def encode_jpeg(picture: UInt8, quality: int = 88) -> bytes:
    """Returns uint8[H,W,3] RGB as JPEG bytes."""
    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    return bytes(cv2.imencode(".jpg", np.ascontiguousarray(picture[..., ::-1]), options)[1])


def encode_animation(pictures: Sequence[UInt8], frame_ms: int) -> bytes:
    """Returns pictures as an animated WebP, which every browser plays without a player.

    Args:
        pictures: uint8[H,W,3] RGB, of one size.
        frame_ms: Time of each [ms].
    """
    from PIL import Image

    frames = [Image.fromarray(picture) for picture in pictures]
    stream = io.BytesIO()
    frames[0].save(
        stream,
        "WEBP",
        save_all=True,
        append_images=frames[1:],
        duration=frame_ms,
        loop=0,
        quality=60,
        method=2,
    )
    return stream.getvalue()


@functools.cache
def _font(size: int) -> Any:
    """Returns the sans serif font that comes with matplotlib, so that it looks alike anywhere."""
    from matplotlib import font_manager
    from PIL import ImageFont

    return ImageFont.truetype(font_manager.findfont("DejaVu Sans"), size)
