"""How far a label of the teacher can be trusted: what warping and a second network say of it."""

from __future__ import annotations

import torch
from torch import Tensor

from rosam_core.losses.regions import region_mean, spread

NOT_JUDGED = 1.0
"""Weight of what no source sees and of what no region holds: neither trusted nor doubted."""


def region_reliability(
    error: Tensor,
    valid: Tensor,
    regions: Tensor,
    n: int,
    beta: float = 1.0,
    floor: float = 0.1,
) -> Tensor:
    """Returns W_rel = exp(-beta max(0, pe_i - pe) / pe) + eps, the reliability of whole objects.

    RoSAMDepth (CVPR 2026), object-level reliability. pe_i is the mean photometric error of
    region i, pe that of the image, with the source warped by the depth that is judged. One pixel
    on an even surface fits anywhere; an object that is out of place has edges that do not fit.
    beta and eps are our choices, and so is weight 1 for what cannot be judged: unassigned pixels,
    regions that no source sees, frames without a valid neighbour.

    Args:
        error: float[b,1,h,w], photometric error, least over the sources; finite where `valid`.
        valid: bool[b,1,h,w], at least one source sees the pixel; all False for a frame without
            a neighbour.
        regions: int64[b,1,h,w], ids in [0, n), 0 = unassigned.
        n: Number of ids, 0 included.
        beta: How fast trust falls.
        floor: eps, what remains.

    Returns:
        float[b,1,h,w] in [eps, 1 + eps] where judged, 1 elsewhere; carries no gradient.
    """
    error = error.detach()
    mean, count = region_mean(error, regions, n, valid)
    judged = (regions > 0) & (spread(count, regions) > 0)
    return _weight(spread(mean, regions), _image_mean(error, valid), judged, beta, floor)


def pixel_reliability(
    error: Tensor, valid: Tensor, beta: float = 1.0, floor: float = 0.1
) -> Tensor:
    """Returns the same weight with each pixel's own error: the ablation without regions.

    Args:
        error: float[b,1,h,w], photometric error; finite where `valid`.
        valid: bool[b,1,h,w].
        beta: How fast trust falls.
        floor: eps, what remains.

    Returns:
        float[b,1,h,w] in [eps, 1 + eps] where valid, 1 elsewhere; carries no gradient.
    """
    error = error.detach()
    return _weight(error, _image_mean(error, valid), valid, beta, floor)


def consistency_weight(
    teacher_inverse_depth: Tensor, day_inverse_depth: Tensor, sharpness: float = 1.0
) -> Tensor:
    """Returns W_cst = exp(-sharpness |d_t - d_day| / d_t) + 1.

    Syn2Real-Depth (CVPR 2025): the teacher agrees with the network of clear days on this image.

    Args:
        teacher_inverse_depth: float[b,1,h,w], > 0 [1/m].
        day_inverse_depth: float[b,1,h,w] [1/m].
        sharpness: 1 in the paper.

    Returns:
        float[b,1,h,w] in [1, 2]; carries no gradient.
    """
    teacher, day = teacher_inverse_depth.detach(), day_inverse_depth.detach()
    return torch.exp(-sharpness * (teacher - day).abs() / teacher) + 1.0


def _image_mean(error: Tensor, valid: Tensor) -> Tensor:
    """Returns the mean over the valid pixels of each image, float[b,1,1,1]."""
    total = error.masked_fill(~valid, 0.0).sum(dim=(-2, -1), keepdim=True, dtype=torch.float64)
    count = valid.sum(dim=(-2, -1), keepdim=True)
    return (total / count.clamp(min=1)).to(error.dtype)


def _weight(
    error: Tensor, image_mean: Tensor, judged: Tensor, beta: float, floor: float
) -> Tensor:
    # Two equal images have no error anywhere, and nothing is worse than the mean.
    excess = (error - image_mean).clamp(min=0) / image_mean.clamp(min=1e-6)
    return torch.where(judged, torch.exp(-beta * excess) + floor, NOT_JUDGED)
