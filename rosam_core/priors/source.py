"""Where regions come from: what every source of them offers, and the choice of one by name."""

from __future__ import annotations

import abc
import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from rosam_core.config import apply_override, from_mapping
from rosam_core.drives.base import Drive
from rosam_core.priors.region_map import MIN_REGION_SHARE, OVERLAP_RULES
from rosam_core.types import UInt16

SOURCES = ("sam", "superpixels", "instances")


@dataclasses.dataclass(frozen=True)
class RegionSettings:
    """What all sources share.

    Attributes:
        min_region_share: Regions of a smaller share of the image are unassigned, in [0, 1].
    """

    min_region_share: float = MIN_REGION_SHARE

    def check(self) -> None:
        """Refuses values without a meaning.

        Raises:
            ValueError: Names the setting.
        """
        require(self, "min_region_share", 0, 1)
        rule = getattr(self, "overlap_rule", OVERLAP_RULES[0])
        if rule not in OVERLAP_RULES:
            raise ValueError(f"overlap_rule must be {' or '.join(OVERLAP_RULES)}, got {rule!r}")


class UnusableDriveError(ValueError):
    """No frame of a drive has what a source needs."""


class RegionSource(abc.ABC):
    """Makes region maps of frames; the same frame always gets the same map."""

    name: ClassVar[str]
    Settings: ClassVar[type[RegionSettings]]
    settings: RegionSettings

    @staticmethod
    def sees(drive: Drive, index: int) -> npt.NDArray[Any]:
        """Returns what of a frame the regions are made from, [H,W,...]: of most, its image.

        Raises:
            UnusableDriveError: The drive lacks it.
            ValueError: The frame is damaged.
        """
        return drive.image(index)

    @abc.abstractmethod
    def regions(self, seen: npt.NDArray[Any]) -> UInt16:
        """Returns the region map of what `sees` gave, uint16[H,W]; see `region_map`."""

    def described(self) -> dict[str, Any]:
        """Returns, as JSON values, all that decides the maps besides the frames."""
        return {"source": self.name, "settings": dataclasses.asdict(self.settings)}


def digest(seen: npt.NDArray[Any]) -> str:
    """Returns the SHA-256 of an array: of its type and shape, as `|u1 (900, 1600, 3)`, and values.

    Args:
        seen: What a source sees of a frame.
    """
    head = f"{seen.dtype.str} {seen.shape}".encode()
    return hashlib.sha256(head + np.ascontiguousarray(seen).tobytes()).hexdigest()


def require(settings: Any, name: str, low: float, high: float) -> None:
    """Refuses a setting outside its range.

    Raises:
        ValueError: Names the setting, its range and its value.
    """
    value = getattr(settings, name)
    if not low <= value <= high:
        raise ValueError(f"{name} must be between {low} and {high}, got {value}")


def source_class(name: str) -> type[RegionSource]:
    """Returns a source by name, without importing the packages that it needs to work.

    Args:
        name: One of `SOURCES`.

    Raises:
        ValueError: There is no such source.
    """
    if name == "sam":
        from rosam_core.priors.sam import SamSource

        return SamSource
    if name == "superpixels":
        from rosam_core.priors.superpixels import SuperpixelSource

        return SuperpixelSource
    if name == "instances":
        from rosam_core.priors.instances import InstanceSource

        return InstanceSource
    raise ValueError(f"unknown source {name!r}: choose from {', '.join(SOURCES)}")


def build_source(
    name: str,
    overrides: Sequence[str] = (),
    *,
    checkpoint: Path | None = None,
    device: str = "cpu",
    points_per_batch: int | None = None,
) -> RegionSource:
    """Returns a source of regions, ready to work.

    Args:
        name: One of `SOURCES`.
        overrides: `key=value` for the settings of that source.
        checkpoint: Weights of `sam`.
        device: A torch device for `sam`.
        points_per_batch: How many points `sam` decodes at once; None is its library's choice.

    Raises:
        ValueError: Unknown source or setting, a value out of range, or a package is missing.
        FileNotFoundError: There is no such checkpoint.
    """
    kind: Any = source_class(name)
    values: dict[str, Any] = {}
    for override in overrides:
        apply_override(values, override)
    settings = from_mapping(kind.Settings, values)
    settings.check()
    if name != "sam":
        if checkpoint is not None or points_per_batch is not None:
            raise ValueError(f"--checkpoint and --points-per-batch have no meaning for {name}")
        source: RegionSource = kind(settings)
        return source
    if checkpoint is None:
        raise ValueError("--source sam needs --checkpoint FILE; see docs/masks.md")
    source = kind.load(checkpoint, settings, device, points_per_batch)
    return source
