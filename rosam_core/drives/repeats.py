"""Frames that would be written to one place: a stamp that repeats, or two drives of one name."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

from rosam_core.drives.base import Drive, Glance
from rosam_core.drives.findings import in_words
from rosam_core.drives.places import Place

logger = logging.getLogger(__name__)

Key = TypeVar("Key", bound=Hashable)


def first_of_each(
    drives: Sequence[Drive],
    key: Callable[[Drive, int, Glance], Key],
    clash: Callable[[Key], str],
) -> dict[Key, Place]:
    """Returns the frames of drives by their key, in order, without reading an image.

    Of frames of one drive with one key the first is kept. A warning names the others: a recorder
    that writes an image twice is no reason to leave out the whole drive.

    Args:
        drives: Any.
        key: From a drive, an index and its glance: where the frame goes.
        clash: From a key, what frames of two drives that have it would do, and the remedy.

    Raises:
        ValueError: Frames of two drives have one key.
    """
    kept: dict[Key, Place] = {}
    for drive in drives:
        repeated = []
        for index in range(len(drive)):
            own = key(drive, index, drive.glance(index))
            other, before = kept.setdefault(own, (drive, index))
            if other is not drive:
                raise ValueError(
                    f"frame {before} of {other.name} and frame {index} of {drive.name} "
                    f"{clash(own)}"
                )
            if before != index:
                repeated.append(index)
        if repeated:
            logger.warning(
                "%s: %d frames have the stamp of one before them and are left out: %s",
                drive.name,
                len(repeated),
                in_words(repeated),
            )
    return kept
