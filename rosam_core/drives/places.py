"""Frames of several drives as one list, and an even choice of some of them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from rosam_core.drives.base import Drive

T = TypeVar("T")

Place = tuple[Drive, int]
"""A drive and the index of one of its frames."""


def places_of(drives: Sequence[Drive], conditions: Sequence[str] = ()) -> list[Place]:
    """Returns the frames of drives, in order, without reading an image.

    Args:
        drives: Any.
        conditions: Only frames of these; all if empty. A frame that cannot even be glanced at
            stays: whoever reads it tells what is wrong with it.
    """
    places = [(drive, index) for drive in drives for index in range(len(drive))]
    return [place for place in places if not conditions or _may_be_of(place, conditions)]


def spread(places: Sequence[T], count: int) -> list[T]:
    """Returns at most `count` places: one of each of as many equal stretches, the same each time.

    Which of a stretch is drawn: every n-th frame of drives whose cameras take turns, that change
    their condition with every frame, or every few drives, would all be of one of them.

    Args:
        places: Frames, in whatever form, in the order of the drives.
        count: How many, > 0.
    """
    if count >= len(places):
        return list(places)
    ends = np.linspace(0, len(places), count + 1).astype(int)
    rng = np.random.default_rng(0)
    return [places[int(rng.integers(a, b))] for a, b in itertools.pairwise(ends)]


def _may_be_of(place: Place, conditions: Sequence[str]) -> bool:
    drive, index = place
    try:
        return drive.glance(index).condition in conditions
    except (ValueError, OSError):
        return True
