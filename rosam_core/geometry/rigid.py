"""Rigid transforms of batches, in torch: from six numbers to a matrix, and back to front."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def transform_from_axis_angle(rotation: Tensor, translation: Tensor) -> Tensor:
    """Returns T_a_b = [exp(rotation^), translation; 0, 1], smooth everywhere, at zero too.

    Args:
        rotation: float[b,3], axis times angle [rad].
        translation: float[b,3], origin of frame b in frame a [m].

    Returns:
        float[b,4,4].
    """
    x, y, z = rotation.unbind(-1)
    zero = torch.zeros_like(x)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))
    with torch.autocast(skew.device.type, enabled=False):  # its products need all their bits
        matrix = torch.linalg.matrix_exp(skew)
    upper = torch.cat([matrix, translation[..., None]], dim=-1)
    last = functional.pad(torch.ones_like(zero)[..., None, None], (3, 0))
    return torch.cat([upper, last], dim=-2)


def inverse_transform(T_a_b: Tensor) -> Tensor:
    """Returns T_b_a, float[b,4,4], of a rigid T_a_b, float[b,4,4]."""
    rotation, translation = T_a_b[..., :3, :3], T_a_b[..., :3, 3:]
    # Not a product of matrices, which would be computed in half precision under autocast.
    origin = -(rotation * translation).sum(dim=-2)[..., None]
    upper = torch.cat([rotation.transpose(-1, -2), origin], dim=-1)
    return torch.cat([upper, T_a_b[..., 3:, :]], dim=-2)
