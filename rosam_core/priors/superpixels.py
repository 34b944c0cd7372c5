"""Regions from image segmentation without any weights; at night and in rain they are coarse."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import cv2
import numpy as np
import numpy.typing as npt

from rosam_core.priors.region_map import compact
from rosam_core.priors.source import RegionSettings, RegionSource, require
from rosam_core.types import UInt8, UInt16

METHODS = ("felzenszwalb", "slic")


@dataclasses.dataclass(frozen=True)
class SuperpixelSettings(RegionSettings):
    """How an image is cut.

    The defaults were chosen by looking at real day, night and rain pictures: `felzenszwalb`
    follows cars, kerbs and poles and leaves a road whole; `slic` cuts everything into tiles.

    Attributes:
        method: `felzenszwalb`, a graph whose regions are as large as they are even, or `slic`,
            clusters of about one size.
        width: Images are cut at this width, so that the other numbers mean the same for every
            camera [px]; narrower images at their own.
        contrast: Limit of the local contrast equalisation before (CLAHE), which parts trees from
            a road at night, and an even sky in a straight line here and there; 0 = none.
        sigma: Gaussian blur before [px].
        scale: `felzenszwalb`: larger gives larger regions.
        min_size: `felzenszwalb`: smaller regions join a neighbour [px].
        segments: `slic`: about so many regions.
        compactness: `slic`: larger gives squarer regions.
    """

    method: str = "felzenszwalb"
    width: int = 640
    contrast: float = 2.0
    sigma: float = 0.8
    scale: float = 300.0
    min_size: int = 120
    segments: int = 150
    compactness: float = 10.0

    def check(self) -> None:
        """Refuses values without a meaning."""
        super().check()
        if self.method not in METHODS:
            raise ValueError(f"method must be {' or '.join(METHODS)}, got {self.method!r}")
        require(self, "width", 16, 100_000)
        require(self, "contrast", 0, 100)
        require(self, "sigma", 0, 100)
        require(self, "scale", 0, 1e9)
        require(self, "min_size", 1, 1e9)
        require(self, "segments", 2, 60_000)
        require(self, "compactness", 1e-6, 1e6)


class SuperpixelSource(RegionSource):
    """Superpixels of the image."""

    name: ClassVar[str] = "superpixels"
    Settings: ClassVar[type[RegionSettings]] = SuperpixelSettings

    def __init__(self, settings: SuperpixelSettings | None = None) -> None:
        """Prepares the source.

        Args:
            settings: How to cut; the defaults if None.

        Raises:
            ValueError: scikit-image is not installed.
        """
        self.settings: SuperpixelSettings = settings or SuperpixelSettings()
        try:
            import skimage.segmentation  # noqa: F401
        except ImportError as error:
            raise ValueError(
                f"superpixels need scikit-image ({error}): pip install scikit-image"
            ) from error

    def regions(self, seen: npt.NDArray[Any]) -> UInt16:
        """Returns the region map of an image, uint16[H,W]."""
        from skimage.segmentation import felzenszwalb, slic

        s = self.settings
        height, width = seen.shape[:2]
        small = _prepared(seen, min(s.width, width), s.contrast)
        if s.method == "slic":
            labels = slic(
                small,
                n_segments=s.segments,
                compactness=s.compactness,
                sigma=s.sigma,
                start_label=1,
                channel_axis=-1,
            )
        else:
            labels = felzenszwalb(
                small, scale=s.scale, sigma=s.sigma, min_size=s.min_size, channel_axis=-1
            )
            labels = labels + 1
        whole = cv2.resize(
            labels.astype(np.int32), (width, height), interpolation=cv2.INTER_NEAREST
        )
        return compact(whole, s.min_region_share)


def _prepared(image: UInt8, width: int, contrast: float) -> UInt8:
    """Returns the image at the width that it is cut at, with even local contrast."""
    height = max(1, round(image.shape[0] * width / image.shape[1]))
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    if contrast > 0:
        lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB)
        lab[..., 0] = cv2.createCLAHE(contrast, (4, 4)).apply(lab[..., 0])
        small = cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)
    return np.asarray(small, np.uint8)
