"""Regions from the true object ids of synthetic drives, spoilt the way Segment-Anything errs.

Seen against the truth, the masks of Segment-Anything come as parts of an object instead of, or
besides, the whole; two neighbours come as one; some never come; borders wander by pixels, and
between two masks a strip often belongs to none. Every kind of fault has its own setting here, and
`strength` scales them all. The faults of a frame follow from its ids and the seed alone.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import cv2
import numpy as np
import numpy.typing as npt

from rosam_core.drives.base import Drive
from rosam_core.priors.region_map import Mask, region_map
from rosam_core.priors.source import (
    RegionSettings,
    RegionSource,
    UnusableDriveError,
    digest,
    require,
)
from rosam_core.types import Frame, UInt16

SKY = 65535
"""The label of pixels without an object at infinite depth; drives count objects from 1."""

Labels = npt.NDArray[np.int32]


@dataclasses.dataclass(frozen=True)
class InstanceSettings(RegionSettings):
    """How true ids become masks; the values are choices of this project.

    Attributes:
        overlap_rule: Which of two masks keeps a pixel, `largest` or `smallest`.
        strength: Multiplies every fault below; 0 = the truth.
        parts: Chance that a large object, or the ground or the sky, comes as parts.
        whole: Chance that the whole comes besides its parts; `overlap_rule` then decides.
        merged: Chance that an object comes as one mask with a neighbour.
        missing: Chance that a mask is missing; it falls with the mask's size to none at
            `FOUND_SHARE` of the image, for the road or the sky are hardly ever overlooked.
        border: How far borders wander, as a share of the image's width (standard deviation).
        gap: How much of a mask's border it lacks, as a share of the image's width.
        seed: Of the faults.
    """

    overlap_rule: str = "largest"
    strength: float = 1.0
    parts: float = 0.3
    whole: float = 0.5
    merged: float = 0.1
    missing: float = 0.1
    border: float = 0.002
    gap: float = 0.002
    seed: int = 0

    def check(self) -> None:
        """Refuses values without a meaning."""
        super().check()
        require(self, "strength", 0, 100)
        for name in ("parts", "whole", "merged", "missing"):
            require(self, name, 0, 1)
        for name in ("border", "gap"):
            require(self, name, 0, 0.1)
        require(self, "seed", 0, 2**63)


MIN_PARTED_SHARE = 0.004
"""Smaller objects, as a share of the image, do not come as parts."""
FOUND_SHARE = 0.05
"""Masks of this share of the image are never missing."""
WANDER = 0.02
"""A border wanders over this share of the image's width before it turns."""


class InstanceSource(RegionSource):
    """True object ids of a synthetic drive, with faults."""

    name: ClassVar[str] = "instances"
    Settings: ClassVar[type[RegionSettings]] = InstanceSettings

    def __init__(self, settings: InstanceSettings | None = None) -> None:
        """Prepares the source.

        Args:
            settings: Kinds and amounts of faults; the defaults if None.
        """
        self.settings: InstanceSettings = settings or InstanceSettings()

    @staticmethod
    def sees(drive: Drive, index: int) -> npt.NDArray[Any]:
        """Returns `true_labels` of a frame."""
        return true_labels(drive[index])

    def regions(self, seen: npt.NDArray[Any]) -> UInt16:
        """Returns the region map of true ids, uint16[H,W]."""
        s = self.settings
        masks = spoilt_masks(seen, s)
        return region_map(masks, seen.shape[:2], s.overlap_rule, s.min_region_share)


def true_labels(frame: Frame) -> UInt16:
    """Returns uint16[H,W]: object ids, 0 = ground and scenery, `SKY`.

    Args:
        frame: Its object ids are used, and its depth, where there is some, to tell the sky.

    Raises:
        UnusableDriveError: The frame has no object ids.
    """
    if frame.instances is None:
        raise UnusableDriveError(
            "this drive has no object ids, only synthetic drives do: use another --source"
        )
    labels = frame.instances.copy()
    if frame.depth is not None:
        labels[(labels == 0) & np.isposinf(frame.depth)] = SKY
    return labels


def spoilt_masks(seen: UInt16, settings: InstanceSettings) -> list[Mask]:
    """Returns masks, bool[H,W] each, that may overlap.

    Args:
        seen: uint16[H,W], true ids.
        settings: Kinds and amounts of faults.
    """
    s = settings
    rng = np.random.default_rng([s.seed, int(digest(seen)[:16], 16)])
    width = seen.shape[1]
    labels = _connected(_wandering(seen, s.strength * s.border * width, rng))
    masks: list[Mask] = []
    for group in _merged(labels, _chance(s.strength * s.merged), rng):
        whole = labels == group[0]
        for label in group[1:]:
            whole |= labels == label
        parts = [whole]
        if rng.random() < _chance(s.strength * s.parts) and whole.mean() >= MIN_PARTED_SHARE:
            parts = _split(whole, rng)
            if rng.random() < s.whole:
                parts.append(whole)
        masks += [part for part in parts if rng.random() >= _missing(part, s)]
    return [_shrunk(mask, s.strength * s.gap * width, rng) for mask in masks]


def _chance(value: float) -> float:
    return min(value, 1.0)


def _missing(mask: Mask, settings: InstanceSettings) -> float:
    """Returns the chance that a mask is missing."""
    small = max(0.0, 1.0 - float(mask.mean()) / FOUND_SHARE)
    return _chance(settings.strength * settings.missing) * small


def _wandering(seen: UInt16, amplitude_px: float, rng: np.random.Generator) -> UInt16:
    """Returns the ids with borders moved by a smooth random field; neighbours keep touching."""
    if amplitude_px <= 0:
        return seen
    height, width = seen.shape
    field = rng.standard_normal((2, height, width)).astype(np.float32)
    for axis in range(2):
        smooth = cv2.GaussianBlur(field[axis], (0, 0), max(WANDER * width / 4, 0.5))
        field[axis] = smooth * (amplitude_px / max(float(smooth.std()), 1e-6))
    columns, rows = np.meshgrid(
        np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)
    )
    moved = cv2.remap(
        seen, columns + field[0], rows + field[1], cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT
    )
    return np.asarray(moved, np.uint16)


def _connected(seen: UInt16) -> Labels:
    """Returns ids of objects, and one for every connected piece of what shares the id 0."""
    _, pieces = cv2.connectedComponents((seen == 0).astype(np.uint8), connectivity=4)
    return np.where(seen == 0, pieces + SKY, seen.astype(np.int32)).astype(np.int32)


def _merged(labels: Labels, chance: float, rng: np.random.Generator) -> list[list[int]]:
    """Returns the labels in groups of one, or of two objects with a common border."""
    ids = np.unique(labels)
    neighbours = _neighbours(labels)
    groups, taken = [], set()
    for label in ids.tolist():
        if label in taken:
            continue
        taken.add(label)
        free = [other for other in neighbours.get(label, []) if other not in taken]
        joins = rng.random() < chance
        if joins and free and label < SKY:
            other = free[int(rng.integers(len(free)))]
            taken.add(other)
            groups.append([label, other])
        else:
            groups.append([label])
    return groups


def _neighbours(labels: Labels) -> dict[int, list[int]]:
    """Returns the objects that touch each object; ground, scenery and sky are none."""
    pairs = [
        np.stack([a.ravel(), b.ravel()], 1)
        for a, b in ((labels[:, 1:], labels[:, :-1]), (labels[1:], labels[:-1]))
    ]
    touching = np.concatenate(pairs)
    touching = touching[(touching[:, 0] != touching[:, 1]) & (touching < SKY).all(1)]
    found: dict[int, list[int]] = {}
    for a, b in np.unique(np.sort(touching, 1), axis=0).tolist():
        found.setdefault(a, []).append(b)
        found.setdefault(b, []).append(a)
    return found


def _split(mask: Mask, rng: np.random.Generator) -> list[Mask]:
    """Returns a mask cut into two to four parts: pixels go to the nearest of random points."""
    rows, columns = np.nonzero(mask)
    chosen = rng.integers(len(rows), size=int(rng.integers(2, 5)))
    stretch = rng.uniform(0.5, 2.0)  # doors stand, bumpers lie
    distance = (columns[:, None] - columns[chosen]) ** 2 + (
        stretch * (rows[:, None] - rows[chosen])
    ) ** 2
    nearest = distance.argmin(1)
    parts = []
    for index in np.unique(nearest):
        part = np.zeros_like(mask)
        part[rows[nearest == index], columns[nearest == index]] = True
        parts.append(part)
    return parts


def _shrunk(mask: Mask, gap_px: float, rng: np.random.Generator) -> Mask:
    """Returns a mask without 0 to `gap_px` of its border, except where that is the image's."""
    steps = int(rng.integers(0, max(round(gap_px), 0) + 1))
    if steps == 0:
        return mask
    inside = cv2.erode(
        mask.astype(np.uint8),
        cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3)),
        iterations=steps,
        borderType=cv2.BORDER_CONSTANT,
        borderValue=[1],
    )
    return np.asarray(inside, bool)
