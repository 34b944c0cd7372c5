"""A contact sheet of region maps, each drawn over its image."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from rosam_core.evaluation.pictures import BACKGROUND, contact_sheet, fit, side_by_side
from rosam_core.priors.index import MapJob
from rosam_core.priors.region_map import read_map
from rosam_core.types import UInt8, UInt16

CELL_WIDTH = 384
PER_ROW = 2
GAP = 16
COLOUR_SHARE = 0.5
DIM = 0.35
FAILED = (70, 30, 30)


def overlay(image: UInt8, regions: UInt16) -> UInt8:
    """Returns regions over an image, uint8[H,W,3] RGB: a colour each, white borders.

    Pixels without a region are grey and dark.

    Args:
        image: uint8[H,W,3] RGB.
        regions: uint16[H,W], 0 = unassigned.
    """
    grey = np.repeat(image.mean(2, keepdims=True), 3, 2)
    # Hues a golden section apart: neighbours in number never look alike.
    hue = (np.arange(int(regions.max()) + 1) * 0.618034 % 1 * 180).astype(np.uint8)
    hsv = np.stack([hue, np.full_like(hue, 200), np.full_like(hue, 255)], 1)[:, None]
    colours = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[:, 0].astype(np.float32)
    shown = (1 - COLOUR_SHARE) * image + COLOUR_SHARE * colours[regions]
    shown[regions == 0] = DIM * grey[regions == 0]
    border = np.zeros(regions.shape, bool)
    border[:, 1:] = regions[:, 1:] != regions[:, :-1]
    border[1:] |= regions[1:] != regions[:-1]
    shown[border] = 255
    return np.asarray(shown, np.uint8)


def region_sheet(jobs: Sequence[MapJob], frames: int) -> UInt8:
    """Returns images beside their region maps, spread evenly over drives, uint8[H,W,3] RGB.

    A frame or map that cannot be read says why.

    Args:
        jobs: At least one.
        frames: At most so many.
    """
    count = min(frames, len(jobs))
    chosen = [jobs[i * len(jobs) // count] for i in range(count)]
    cameras = [job.drive.glance(job.index).camera for job in chosen]
    ratio = float(np.median([camera.height / camera.width for camera in cameras]))
    height = 2 * round(max(60, min(CELL_WIDTH * ratio, CELL_WIDTH)) / 2)
    cells = [_cell(job, height) for job in chosen]
    columns = min(PER_ROW, count)
    cells += [np.zeros_like(cells[0])] * (-count % columns)
    gap = np.full((cells[0].shape[0], GAP, 3), BACKGROUND, np.uint8)
    rows = []
    for at in range(0, len(cells), columns):
        parts = [part for cell in cells[at : at + columns] for part in (cell, gap)]
        rows.append(np.hstack(parts[:-1]))
    return contact_sheet(rows, f"{count} of {len(jobs)} images")


def _cell(job: MapJob, height: int) -> UInt8:
    camera = job.drive.glance(job.index).camera_name
    is_told = camera == "camera" or camera in job.drive.name
    name = f"{job.drive.name} {job.index}{'' if is_told else f' {camera}'}"
    panels = [np.full((height, CELL_WIDTH, 3), FAILED, np.uint8)] * 2
    try:
        image = job.drive.image(job.index)
        panels[0] = fit(image, CELL_WIDTH, height)
        regions = read_map(job.path)
        if regions.shape != image.shape[:2]:
            raise ValueError("wrong size")
    except (ValueError, OSError) as error:
        why = "no map" if isinstance(error, FileNotFoundError) else str(error)
        return side_by_side(panels, height, name, why[:40])
    scale = min(CELL_WIDTH / image.shape[1], height / image.shape[0])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    ids = np.asarray(cv2.resize(regions, size, interpolation=cv2.INTER_NEAREST), np.uint16)
    panels[1] = fit(overlay(small, ids), CELL_WIDTH, height)
    told = f"{regions.max()} regions, {(regions == 0).mean():.1%} unassigned"
    return side_by_side(panels, height, name, told)
