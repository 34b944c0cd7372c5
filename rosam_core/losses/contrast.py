"""Features of a region are alike, and unlike those of the others: contrast against prototypes.

RoSAMDepth (CVPR 2026), segmentation-guided representation contrast (SRC).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from rosam_core.losses.regions import region_mean

NORM_FLOOR = 1e-6
"""Length below which a feature is not stretched to 1: its direction is noise."""


def region_prototypes(features: Tensor, regions: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Returns each region's mean direction: pt_i = normalise(mean over M_i of normalised F).

    Args:
        features: float[b,c,h,w].
        regions: int64[b,1,h,w], ids in [0, n), 0 = unassigned.
        n: Number of ids, 0 included.

    Returns:
        prototypes: float[b,c,n], of length 1; zeros where there is none.
        present: bool[b,n], the region has pixels and an id that is not 0.
    """
    mean, count = region_mean(_unit(features), regions, n)
    return _unit(mean), _present(count)


def sample_pixels(
    regions: Tensor, limit: int = 4096, generator: torch.Generator | None = None
) -> Tensor:
    """Returns indices of random assigned pixels, without repetition; a limit is our choice.

    Args:
        regions: int64[b,1,h,w], 0 = unassigned.
        limit: At most this many for each image.
        generator: On the device of the regions; None for torch's own.

    Returns:
        int64[b,min(limit, h * w)], row * w + column; unassigned pixels only after all others.
    """
    ids = regions.flatten(1)
    scores = torch.rand(ids.shape, device=ids.device, generator=generator)
    scores = scores.masked_fill(ids == 0, -1.0)
    return scores.topk(min(limit, ids.shape[1]), dim=1).indices


def region_contrast(
    features: Tensor,
    regions: Tensor,
    prototypes: Tensor,
    present: Tensor,
    pixels: Tensor,
    temperature: float = 0.1,
) -> tuple[Tensor, Tensor]:
    """Returns -log( exp(F_p . pt_i(p) / T) / sum over j of exp(F_p . pt_j / T) ).

    The sum runs over the regions of the pixel's own image. T is our choice.

    Args:
        features: float[b,c,h,w].
        regions: int64[b,1,h,w], ids in [0, n), 0 = unassigned.
        prototypes: float[b,c,n], see `region_prototypes`.
        present: bool[b,n].
        pixels: int64[b,k], which pixels, see `sample_pixels`.
        temperature: T.

    Returns:
        loss: float[b,k], >= 0, 0 where not counted.
        counted: bool[b,k], the pixel has a region that has a prototype.
    """
    index = pixels[:, None].expand(-1, features.shape[1], -1)
    sampled = _unit(features.flatten(2).gather(2, index))
    logits = torch.einsum("bck,bcn->bkn", sampled, prototypes) / temperature
    return _cross_entropy(logits, regions, present, pixels)


def depth_contrast(
    inverse_depth: Tensor, regions: Tensor, n: int, pixels: Tensor, temperature: float = 0.1
) -> tuple[Tensor, Tensor]:
    """Returns the same contrast on depth, an ablation that the paper finds worse.

    One number has no direction, so similarity is -|log d_p - mean log d_j| (our choice).

    Args:
        inverse_depth: float[b,1,h,w], > 0 [1/m].
        regions: int64[b,1,h,w], ids in [0, n), 0 = unassigned.
        n: Number of ids, 0 included.
        pixels: int64[b,k].
        temperature: T.

    Returns:
        loss: float[b,k], >= 0, 0 where not counted.
        counted: bool[b,k].
    """
    log_depth = inverse_depth.log()
    mean, count = region_mean(log_depth, regions, n)
    sampled = log_depth.flatten(1).gather(1, pixels)
    logits = -(sampled[:, :, None] - mean).abs() / temperature
    return _cross_entropy(logits, regions, _present(count), pixels)


def _unit(features: Tensor) -> Tensor:
    return functional.normalize(features, dim=1, eps=NORM_FLOOR)


def _present(count: Tensor) -> Tensor:
    present = count[:, 0] > 0
    present[:, 0] = False
    return present


def _cross_entropy(
    logits: Tensor, regions: Tensor, present: Tensor, pixels: Tensor
) -> tuple[Tensor, Tensor]:
    own = regions.flatten(1).gather(1, pixels).long()
    counted = present.gather(1, own)
    logits = logits.masked_fill(~present[:, None], -torch.inf)
    own_logit = logits.gather(2, own[..., None])[..., 0].masked_fill(~counted, 0.0)
    loss = logits.logsumexp(dim=2).masked_fill(~counted, 0.0) - own_logit
    return loss, counted
