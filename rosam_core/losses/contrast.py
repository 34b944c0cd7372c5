"""Features of a region are alike, and unlike those of the others: contrast against prototypes.

RoSAMDepth (CVPR 2026), segmentation-guided representation contrast (SRC).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from rosam_core.losses.regions import region_mean

IGNORED = -100  # target of pixels that do not count
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
) -> Tensor | None:
    """Returns indices of random assigned pixels, without repetition; a limit is our choice.

    Args:
        regions: int64[b,1,h,w], 0 = unassigned.
        limit: At most this many for each image.
        generator: On the device of the regions; None for torch's own.

    Returns:
        int64[b,limit], row * w + column; unassigned pixels only after all others. None, for all
        pixels, where the limit leaves none out.
    """
    ids = regions.flatten(1)
    if limit >= ids.shape[1]:
        return None
    scores = torch.rand(ids.shape, device=ids.device, generator=generator)
    scores = scores.masked_fill(ids == 0, -1.0)
    return scores.topk(limit, dim=1).indices


def region_contrast(
    features: Tensor,
    regions: Tensor,
    prototypes: Tensor,
    present: Tensor,
    pixels: Tensor | None,
    temperature: float = 0.1,
) -> tuple[Tensor, Tensor]:
    """Returns -log( exp(F_p . pt_i(p) / T) / sum over j of exp(F_p . pt_j / T) ).

    The sum runs over the regions of the pixel's own image. T is our choice.

    Args:
        features: float[b,c,h,w].
        regions: int64[b,1,h,w], ids in [0, n), 0 = unassigned.
        prototypes: float[b,c,n], see `region_prototypes`.
        present: bool[b,n].
        pixels: int64[b,k], which pixels, see `sample_pixels`; None for all, k = h * w.
        temperature: T.

    Returns:
        loss: float[b,k], >= 0, 0 where not counted.
        counted: bool[b,k], the pixel has a region that has a prototype.
    """
    sampled = _unit(_at(features.flatten(2), pixels))
    own, counted, absent = _places(regions, present, pixels)
    return _compared(sampled, prototypes, own, counted, absent, temperature), counted


def depth_contrast(
    inverse_depth: Tensor,
    teacher_inverse_depth: Tensor,
    regions: Tensor,
    n: int,
    pixels: Tensor | None,
    temperature: float = 0.1,
) -> tuple[Tensor, Tensor]:
    """Returns the same contrast on depth, an ablation that the paper finds worse.

    One number has no direction, so similarity is -|log d_p - mean log d_j| (our choice). The
    means are the teacher's, as all region statistics are: those of the student could be driven
    apart.

    Args:
        inverse_depth: float[b,1,h,w], of the student, > 0 [1/m].
        teacher_inverse_depth: float[b,1,h,w], > 0; carries no gradient.
        regions: int64[b,1,h,w], ids in [0, n), 0 = unassigned.
        n: Number of ids, 0 included.
        pixels: int64[b,k], or None for all.
        temperature: T.

    Returns:
        loss: float[b,k], >= 0, 0 where not counted.
        counted: bool[b,k].
    """
    log_depth = inverse_depth.log()
    mean, count = region_mean(teacher_inverse_depth.detach().log(), regions, n)
    sampled = _at(log_depth.flatten(2), pixels)[:, 0]
    own, counted, absent = _places(regions, _present(count), pixels)
    logits = absent - (sampled[:, :, None] - mean).abs() / temperature
    return _cross_entropy(logits, own, counted), counted


def _unit(features: Tensor) -> Tensor:
    # Half the time of torch's normalize, forward and backward.
    length2 = (features * features).sum(dim=1, keepdim=True)
    return features * length2.clamp(min=NORM_FLOOR**2).rsqrt()


def _present(count: Tensor) -> Tensor:
    present = count[:, 0] > 0
    present[:, 0] = False
    return present


def _at(values: Tensor, pixels: Tensor | None) -> Tensor:
    """Returns [b,c,k] of [b,c,h*w]."""
    if pixels is None:
        return values
    return values.gather(2, pixels[:, None].expand(-1, values.shape[1], -1))


def _places(
    regions: Tensor, present: Tensor, pixels: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns what the logits of sampled pixels need.

    Returns:
        own: int64[b,k], id of the pixel's region.
        counted: bool[b,k], it has a prototype.
        absent: float[b,1,n], added to logits: -inf for regions that the image does not have; 0 for
            an image that has none, so that its logits, which are not counted, stay finite.
    """
    own = _at(regions.flatten(2), pixels)[:, 0].long()
    counted = present.gather(1, own)
    gone = ~present & present.any(dim=1, keepdim=True)
    absent = torch.zeros(gone.shape, device=gone.device).masked_fill(gone, -torch.inf)
    return own, counted, absent[:, None]


def _compared(
    sampled: Tensor,
    prototypes: Tensor,
    own: Tensor,
    counted: Tensor,
    absent: Tensor,
    temperature: float,
) -> Tensor:
    """Returns the loss of sampled features, float[b,k]."""
    if sampled.is_cpu and len(sampled) > 1:  # one picture's logits stay in the cache
        parts = (x.split(1) for x in (sampled, prototypes, own, counted, absent))
        pictures = zip(*parts, strict=True)
        return torch.cat([_compared(*picture, temperature) for picture in pictures])
    # One product makes all logits, -inf for regions that are not there included; not in bfloat16,
    # which knows logits of 10 to a 16th.
    with torch.autocast(sampled.device.type, enabled=False):
        logits = torch.baddbmm(
            absent.to(sampled.dtype), sampled.transpose(1, 2), prototypes, alpha=1 / temperature
        )
    return _cross_entropy(logits, own, counted)


def _cross_entropy(logits: Tensor, own: Tensor, counted: Tensor) -> Tensor:
    """Returns the loss, float[b,k], 0 where not counted."""
    target = own.masked_fill(~counted, IGNORED).flatten()
    loss = functional.cross_entropy(
        logits.flatten(0, 1), target, reduction="none", ignore_index=IGNORED
    )
    return loss.view_as(own)
