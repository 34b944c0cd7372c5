"""Depth inside a region is alike: where the teacher's is not, and what it should be instead.

RoSAMDepth (CVPR 2026): the adaptive regional outlier mask (AROM) and the regional Gaussian
likelihood (L_rgl).
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from rosam_core.losses.planes import plane_depth
from rosam_core.losses.regions import region_mean, region_statistics, spread


@dataclasses.dataclass(frozen=True)
class RegionalDepth:
    """What the teacher says about each pixel's region; carries no gradient.

    Attributes:
        mean: float[b,1,h,w], mu_i of the pixel's region, or its plane at the pixel [1/m].
        std: float[b,1,h,w], sigma_i, never below its floor [1/m].
        outlier_mask: float[b,1,h,w] in [0, 1], M_out: near 0 on outliers, near 1 elsewhere, 1
            where no region is assigned.
    """

    mean: Tensor
    std: Tensor
    outlier_mask: Tensor


def regional_depth(
    inverse_depth: Tensor,
    regions: Tensor,
    n: int,
    threshold: float = 2.0,
    threshold_slope: float = 1.0,
    softness: float = 0.1,
    relative_floor: float = 0.01,
    floor: float = 1e-4,
    surface: str = "mean",
) -> RegionalDepth:
    """Returns mean, deviation and M_out = 1 - S_kappa(S(delta - tau)) of a teacher's depth.

    delta = |d - mu_i| / sigma_i, tau = tau_0 + lambda sigma_i / mu_i, S the logistic sigmoid and
    S_kappa(x) = S((x - 1/2) / kappa). The paper leaves all values open; these are our choices.
    It multiplies lambda by sigma_i itself, which for depths of a street is some hundredths of
    1/m at most and would not change anything: we take sigma_i / mu_i, which has no unit.

    Args:
        inverse_depth: float[b,1,h,w], of the teacher, finite, > 0 [1/m].
        regions: int64[b,1,h,w], ids in [0, n), 0 = unassigned.
        n: Number of ids, 0 included.
        threshold: tau_0, deviations.
        threshold_slope: lambda; a varied region tolerates more.
        softness: kappa.
        relative_floor: Least sigma_i, as a share of mu_i: a wall without noise has no outliers.
        floor: Least sigma_i [1/m].
        surface: What a region is: at one depth (`mean`, the paper's), or a `plane`, ours: of a
            road the mean calls the near end an outlier, and draws it away.
    """
    inverse_depth = inverse_depth.detach()
    if surface == "plane":
        mean = plane_depth(inverse_depth, regions, n)
        square, _ = region_mean((inverse_depth - mean) ** 2, regions, n)
        std = spread(square.sqrt(), regions)
    else:
        found = region_statistics(inverse_depth, regions, n)
        mean, std = spread(found.mean, regions), spread(found.std, regions)
    std = torch.maximum(std, relative_floor * mean).clamp(min=floor)
    delta = (inverse_depth - mean).abs() / std
    tau = threshold + threshold_slope * std / mean.clamp(min=floor)
    outlier = torch.sigmoid((torch.sigmoid(delta - tau) - 0.5) / softness)
    return RegionalDepth(mean, std, torch.where(regions > 0, 1 - outlier, 1.0))


def regional_likelihood(student_inverse_depth: Tensor, teacher: RegionalDepth) -> Tensor:
    """Returns (1 - M_out) (d_s - mu_i)^2 / sigma_i^2: outliers are drawn to their region.

    RoSAMDepth's L_rgl is the mean over all pixels: most of them contribute next to nothing.

    Args:
        student_inverse_depth: float[b,1,h,w] [1/m].
        teacher: Of the same pixels.

    Returns:
        float[b,1,h,w], >= 0, 0 where no region is assigned.
    """
    deviation = (student_inverse_depth - teacher.mean) / teacher.std
    return (1 - teacher.outlier_mask) * deviation * deviation
