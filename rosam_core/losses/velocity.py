"""Metric scale from how far the camera drove between two frames."""

from __future__ import annotations

import torch
from torch import Tensor


def velocity_error(translation: Tensor, distance_m: Tensor) -> tuple[Tensor, Tensor]:
    """Returns | |t| - distance |: a predicted step is as long as the vehicle's.

    Guizilini et al., "3D Packing for Self-Supervised Monocular Depth Estimation", CVPR 2020:
    the velocity supervision loss.

    Args:
        translation: float[b,3], of the predicted pose between two frames [m].
        distance_m: float[b], speed times time or the length of the measured step [m]; NaN =
            unknown.

    Returns:
        error: float[b] [m], 0 where the distance is unknown.
        known: bool[b].
    """
    known = torch.isfinite(distance_m)
    length = torch.linalg.vector_norm(translation, dim=-1)
    return (length - distance_m.masked_fill(~known, 0.0)).abs() * known, known
