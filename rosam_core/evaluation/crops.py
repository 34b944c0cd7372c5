"""The windows that published KITTI figures are made in: the Garg and the Eigen crop.

Garg et al., "Unsupervised CNN for Single View Depth Estimation", ECCV 2016, score the part of the
image that the laser reaches; Eigen et al., "Depth Map Prediction from a Single Image using a
Multi-Scale Deep Network", NIPS 2014, another one. Rows and columns are shares of the size of the
truth, cut to whole numbers, with the upper end left out, as the published evaluators have it.
"""

from __future__ import annotations

import numpy as np

from rosam_core.types import Float32

CROPS = {
    "garg": (0.40810811, 0.99189189, 0.03594771, 0.96405229),
    "eigen": (0.3324324, 0.91351351, 0.0359477, 0.96405229),
}
"""First and last row and column by name, as shares of height and width."""

NO_CROP = "none"


def crop_window(name: str, height: int, width: int) -> tuple[int, int, int, int]:
    """Returns the rows `top:bottom` and columns `left:right` that are scored.

    Args:
        name: A name in `CROPS`, or `"none"`.
        height: Of the truth [px].
        width: Of the truth [px].

    Returns:
        `top`, `bottom`, `left`, `right` [px]; the ends are not part of the window.

    Raises:
        ValueError: There is no such crop.
    """
    if name == NO_CROP:
        return 0, height, 0, width
    if name not in CROPS:
        raise ValueError(f"crop must be one of {', '.join(CROPS)} or {NO_CROP}, not {name!r}")
    # int32, as published: a value just below a whole number is cut to the one before it.
    shares = np.array(CROPS[name]) * (height, height, width, width)
    top, bottom, left, right = (int(edge) for edge in shares.astype(np.int32))
    return top, bottom, left, right


def cropped(truth: Float32, name: str) -> Float32:
    """Returns true depth with NaN, which is not scored, outside a crop.

    Args:
        truth: float32[H,W] [m].
        name: As in `crop_window`; with `"none"` the same array comes back.
    """
    top, bottom, left, right = crop_window(name, *truth.shape)
    if name == NO_CROP:
        return truth
    inside = np.full_like(truth, np.nan)
    inside[top:bottom, left:right] = truth[top:bottom, left:right]
    return inside


def crop_words(name: str) -> str:
    """Returns what a line on the protocol says of a crop, empty without one."""
    return "" if name == NO_CROP else f"{name.capitalize()} crop"
