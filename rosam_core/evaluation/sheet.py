"""A contact sheet of drives: frames spread over them, with their truth drawn on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from rosam_core.drives.base import Drive
from rosam_core.evaluation.pictures import (
    BACKGROUND,
    INK,
    encode_jpeg,
    encode_png,
    fit,
)
from rosam_core.evaluation.scoring import frame_truth
from rosam_core.types import Float32, Frame, UInt8

COLUMNS = 4
CELL_WIDTH = 400
CAPTION_HEIGHT = 24
DEPTH_END_M = 50.0

SPARSE = 0.25
"""Truth on fewer pixels than this share is drawn on the picture; a dense one would hide it."""


def drive_sheet(drives: Sequence[Drive], frames: int) -> UInt8:
    """Returns frames spread evenly over drives as one picture, uint8[H,W,3] RGB.

    Lidar and sparse depth are drawn over the left half of a picture, near in red: a
    wrong calibration shows where edges do not meet. A frame that cannot be read says why.

    Args:
        drives: At least one frame in all.
        frames: At most so many.
    """
    places = [(drive, index) for drive in drives for index in range(len(drive))]
    count = min(frames, len(places))
    chosen = [places[i * len(places) // count] for i in range(count)]
    shapes = [(g.camera.height, g.camera.width) for d, i in chosen for g in [d.glance(i)]]
    height = round(CELL_WIDTH * float(np.median([h / w for h, w in shapes])))
    height = max(60, min(height, CELL_WIDTH))
    cells = [_cell(drive, index, height) for drive, index in chosen]
    blank = np.full_like(cells[0], BACKGROUND)
    columns = min(COLUMNS, count)
    cells += [blank] * (math.ceil(count / columns) * columns - count)
    rows = [np.hstack(cells[at : at + columns]) for at in range(0, len(cells), columns)]
    return np.vstack(rows)


def save_picture(path: Path, picture: UInt8) -> None:
    """Writes a picture as PNG or JPEG, by the suffix; makes its folder.

    Args:
        path: Ends in `.png`, `.jpg` or `.jpeg`.
        picture: uint8[H,W,3] RGB.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    encode = encode_png if path.suffix.lower() == ".png" else encode_jpeg
    path.write_bytes(encode(picture))


def _cell(drive: Drive, index: int, height: int) -> UInt8:
    try:
        frame = drive[index]
    except (ValueError, OSError) as error:
        picture = np.full((height, CELL_WIDTH, 3), (70, 30, 30), np.uint8)
        for line in range(3):
            part = str(error)[line * 52 : (line + 1) * 52]
            _write(picture, part, (6, 20 + 16 * line), 0.36)
        return np.vstack([picture, _caption(f"{drive.name} {index}")])
    picture = fit(_with_truth(frame, height), CELL_WIDTH, height)
    words = [drive.name, str(index)]
    if frame.camera_name != "camera" and frame.camera_name not in drive.name:
        words.append(frame.camera_name)
    if frame.condition != "unknown":
        words.append(frame.condition)
    return np.vstack([picture, _caption(" ".join(words))])


def _with_truth(frame: Frame, height: int) -> UInt8:
    """Returns the picture at the size of its cell, with sparse truth over its left half."""
    rows, columns = frame.image.shape[:2]
    scale = min(CELL_WIDTH / columns, height / rows)
    size = (max(1, round(columns * scale)), max(1, round(rows * scale)))
    picture = np.asarray(cv2.resize(frame.image, size, interpolation=cv2.INTER_AREA), np.uint8)
    truth = frame_truth(frame)
    if truth is None or not 0 < np.isfinite(truth).mean() < SPARSE:
        return picture
    y, x = np.nonzero(np.isfinite(truth))
    row, column = y * size[1] // truth.shape[0], x * size[0] // truth.shape[1]
    left = column < size[0] // 2
    colours = _near_is_red(truth[y, x][left])
    width = 2 if left.sum() < 0.02 * picture.size else 1  # a few points have to be seen, too
    for shift in range(width):
        picture[row[left], np.minimum(column[left] + shift, size[0] - 1)] = colours
    return picture


def _near_is_red(depth: Float32) -> UInt8:
    """Returns colours for depths, uint8[N,3] RGB: red at 2 m, blue at `DEPTH_END_M`."""
    share = np.log(DEPTH_END_M / np.clip(depth, 2, DEPTH_END_M)) / np.log(DEPTH_END_M / 2)
    coloured = cv2.applyColorMap((255 * share).astype(np.uint8)[:, None], cv2.COLORMAP_TURBO)
    return np.asarray(coloured[:, 0, ::-1], np.uint8)


def _caption(text: str) -> UInt8:
    strip = np.full((CAPTION_HEIGHT, CELL_WIDTH, 3), BACKGROUND, np.uint8)
    shown = text if len(text) <= 56 else "..." + text[-53:]
    _write(strip, shown, (6, 16), 0.4)
    return strip


def _write(picture: UInt8, text: str, at: tuple[int, int], size: float) -> None:
    """Draws text with OpenCV's own letters: no font file or further package is needed."""
    plain = text.encode("ascii", "replace").decode()
    cv2.putText(picture, plain, at, cv2.FONT_HERSHEY_SIMPLEX, size, INK, 1, cv2.LINE_AA)
