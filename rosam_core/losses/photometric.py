"""Photometric error between an image and its neighbours, warped: what self-supervision compares.

Godard et al., "Digging Into Self-Supervised Monocular Depth Estimation", ICCV 2019, section 3.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

SSIM_WEIGHT = 0.85
C1, C2 = 0.01**2, 0.03**2  # stabilisers of SSIM for images in [0, 1]


def ssim(first: Tensor, second: Tensor) -> Tensor:
    """Returns the structural similarity of 3x3 windows, 1 where they are equal.

    Wang et al., "Image Quality Assessment", TIP 2004, eq. 13, with a box window as is usual for
    self-supervised depth; the border is reflected.

    Args:
        first: float[b,c,h,w] in [0, 1], h and w >= 2.
        second: The same shape.

    Returns:
        float[b,c,h,w] in [-1, 1].
    """

    def window_mean(x: Tensor) -> Tensor:
        mean: Tensor = _BoxMean.apply(functional.pad(x, (1, 1, 1, 1), "reflect"))
        return mean

    mean_a, mean_b = window_mean(first), window_mean(second)
    # Deviations from one number for the whole image, which variances do not depend on, keep the
    # differences of squares accurate in single precision.
    centre_a, centre_b = (x.mean(dim=(-2, -1), keepdim=True).detach() for x in (first, second))
    a, b = first - centre_a, second - centre_b
    offset_a, offset_b = mean_a - centre_a, mean_b - centre_b
    var_a = window_mean(a * a) - offset_a * offset_a
    var_b = window_mean(b * b) - offset_b * offset_b
    covariance = window_mean(a * b) - offset_a * offset_b
    numerator = (2 * mean_a * mean_b + C1) * (2 * covariance + C2)
    return numerator / ((mean_a**2 + mean_b**2 + C1) * (var_a + var_b + C2))


class _BoxMean(torch.autograd.Function):
    """Means of the 3x3 windows of float[b,c,h,w], [b,c,h-2,w-2].

    What `avg_pool2d` computes, which on a CPU takes ten times as long: it was a quarter of a
    step of self-supervised training.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        rows = x[..., :-2] + x[..., 1:-1]
        rows += x[..., 2:]
        windows = rows[..., :-2, :] + rows[..., 1:-1, :]
        windows += rows[..., 2:, :]
        return windows.div_(9)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        # A pixel is in the nine windows around it: the same sum again.
        mean: Tensor = _BoxMean.apply(functional.pad(gradients[0], (2, 2, 2, 2)))
        return mean


def photometric_error(first: Tensor, second: Tensor) -> Tensor:
    """Returns pe = 0.15 |a - b| + 0.85 (1 - SSIM(a, b)) / 2, averaged over colours.

    Args:
        first: float[b,c,h,w] in [0, 1].
        second: The same shape.

    Returns:
        float[b,1,h,w] in [0, 1].
    """
    if first.is_cpu and len(first) > 1:
        # One picture's maps stay in the cache of a CPU: two thirds of the time of a batch's.
        pairs = zip(first.split(1), second.split(1), strict=True)
        return torch.cat([photometric_error(*pair) for pair in pairs])
    difference = (first - second).abs().mean(dim=1, keepdim=True)
    dissimilarity = ((1 - ssim(first, second)) / 2).clamp(0, 1).mean(dim=1, keepdim=True)
    return (1 - SSIM_WEIGHT) * difference + SSIM_WEIGHT * dissimilarity


def minimum_over_sources(errors: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the least error of each pixel: what one source hides another may show.

    Args:
        errors: float[b,s,h,w], one channel a source.
        valid: bool[b,s,h,w], the source sees the pixel.

    Returns:
        error: float[b,1,h,w], least over the valid sources, 0 where there is none.
        seen: bool[b,1,h,w], there is one.
    """
    least = errors.masked_fill(~valid, torch.inf).amin(dim=1, keepdim=True)
    seen = valid.any(dim=1, keepdim=True)
    return torch.where(seen, least, 0.0), seen


def auto_mask(warped_error: Tensor, unwarped_error: Tensor) -> Tensor:
    """Returns where warping explains the image better than leaving the sources as they are.

    What stands still in the image - the scene while the camera waits, a car ahead of the same
    speed, an even wall - carries no information about depth (Godard et al., eq. 5).

    Args:
        warped_error: float[b,1,h,w], least error of the warped sources.
        unwarped_error: float[b,1,h,w], least error of the sources themselves.

    Returns:
        bool[b,1,h,w]; False for equal errors.
    """
    return warped_error < unwarped_error
