"""Photometric error between an image and its neighbours, warped: what self-supervision compares.

Godard et al., "Digging Into Self-Supervised Monocular Depth Estimation", ICCV 2019, section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    return _similarity(_moments(first), _moments(second))


def _window_mean(x: Tensor) -> Tensor:
    mean: Tensor = _BoxMean.apply(functional.pad(x, (1, 1, 1, 1), "reflect"))
    return mean


def _moments(x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Returns mean and variance of each window, and what covariances need.

    Returns:
        mean, variance: float[b,c,h,w].
        centred: x without one number for each picture and colour, which no variance depends on:
            it keeps differences of squares accurate in single precision.
        offset: The mean without that number.
    """
    mean = _window_mean(x)
    centre = x.mean(dim=(-2, -1), keepdim=True).detach()
    centred, offset = x - centre, mean - centre
    return mean, _window_mean(centred * centred) - offset * offset, centred, offset


def _similarity(first: tuple[Tensor, ...], second: tuple[Tensor, ...]) -> Tensor:
    (mean_a, var_a, a, offset_a), (mean_b, var_b, b, offset_b) = first, second
    covariance = _window_mean(a * b) - offset_a * offset_b
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
    return photometric_errors(first, [second])


def photometric_errors(target: Tensor, sources: Sequence[Tensor]) -> Tensor:
    """Returns the photometric error of one image with each of several, float[b,s,h,w] in [0, 1].

    Args:
        target: float[b,c,h,w] in [0, 1].
        sources: s of the same shape.
    """
    if target.is_cpu and len(target) > 1:
        # One picture's maps stay in the cache of a CPU: two thirds of the time of a batch's.
        pictures = zip(target.split(1), *(source.split(1) for source in sources), strict=True)
        return torch.cat([photometric_errors(first, others) for first, *others in pictures])
    known, errors = _moments(target), []
    for source in sources:
        difference = (target - source).abs().mean(dim=1, keepdim=True)
        unlike = ((1 - _similarity(known, _moments(source))) / 2).clamp(0, 1)
        dissimilarity = unlike.mean(dim=1, keepdim=True)
        errors.append((1 - SSIM_WEIGHT) * difference + SSIM_WEIGHT * dissimilarity)
    return torch.cat(errors, dim=1)


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
