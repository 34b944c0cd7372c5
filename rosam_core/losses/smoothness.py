"""Smoothness of inverse depth: everywhere but at edges of the image, or of its regions."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def normalised(inverse_depth: Tensor) -> Tensor:
    """Returns inverse depth over its mean in each image, so that smoothing does not shrink it.

    Wang et al., "Learning Depth from Monocular Videos using Direct Methods", CVPR 2018.

    Args:
        inverse_depth: float[b,1,h,w], > 0 [1/m].
    """
    mean = inverse_depth.mean(dim=(-2, -1), keepdim=True)
    return inverse_depth / (mean + 1e-7)


def edge_aware_smoothness(inverse_depth: Tensor, image: Tensor) -> Tensor:
    """Returns |dx d*| exp(-|dx I|) + |dy d*| exp(-|dy I|), d* = d / mean(d).

    Godard et al., "Digging Into Self-Supervised Monocular Depth Estimation", ICCV 2019, eq. 3.

    Args:
        inverse_depth: float[b,1,h,w], > 0 [1/m].
        image: float[b,c,h,w] in [0, 1]; its gradient is averaged over colours.

    Returns:
        float[b,1,h,w], >= 0, each difference at the upper or left pixel of its pair.
    """
    edge_x, edge_y = (d.abs().mean(dim=1, keepdim=True) for d in _differences(image))
    return _weighted(inverse_depth, (-edge_x).exp(), (-edge_y).exp())


def region_smoothness(inverse_depth: Tensor, regions: Tensor) -> Tensor:
    """Returns |dx d*| + |dy d*| inside regions: no smoothing across their boundaries.

    The "SAM boundary" alternative of RoSAMDepth's ablation. Pairs with an unassigned pixel (id 0)
    are left alone, too (our choice): nothing says that they belong together.

    Args:
        inverse_depth: float[b,1,h,w], > 0 [1/m].
        regions: int64[b,1,h,w], 0 = unassigned.

    Returns:
        float[b,1,h,w], >= 0, each difference at the upper or left pixel of its pair.
    """
    jump_x, jump_y = _differences(regions)
    assigned = regions > 0
    same_x = (jump_x == 0) & assigned[..., :, 1:]
    same_y = (jump_y == 0) & assigned[..., 1:, :]
    return _weighted(inverse_depth, same_x.to(inverse_depth), same_y.to(inverse_depth))


def _differences(x: Tensor) -> tuple[Tensor, Tensor]:
    """Returns right minus left, [b,c,h,w-1], and lower minus upper, [b,c,h-1,w]."""
    return x[..., :, 1:] - x[..., :, :-1], x[..., 1:, :] - x[..., :-1, :]


def _weighted(inverse_depth: Tensor, weight_x: Tensor, weight_y: Tensor) -> Tensor:
    dx, dy = _differences(normalised(inverse_depth))
    error_x = functional.pad(dx.abs() * weight_x, (0, 1, 0, 0))
    return error_x + functional.pad(dy.abs() * weight_y, (0, 0, 0, 1))
