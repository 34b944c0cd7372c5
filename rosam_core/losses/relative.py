"""Relative error of depth: what AbsRel measures, with a bounded slope."""

from __future__ import annotations

import math

import torch
from torch import Tensor

LINEAR_FROM = 1.0
"""Log error above which the error grows linearly: depth e times too far pulls no harder."""


def relative_error(difference: Tensor) -> Tensor:
    """Returns |d - d*| / d* = |exp(R) - 1|, R = log d - log d*, continued linearly above R = 1.

    An error of log depth has its optimum at the median of what a pixel could be; this one, the
    AbsRel of the benchmarks (Eigen et al., NIPS 2014), lies nearer: what is eight times too far
    costs more than what is eight times too near. On a robot it does, too.

    Args:
        difference: float[b,1,h,w], R.

    Returns:
        float[b,1,h,w], >= 0.
    """
    edge = math.exp(LINEAR_FROM)
    beyond = edge - 1 + edge * (difference - LINEAR_FROM)
    below = (torch.exp(difference.clamp(max=LINEAR_FROM)) - 1).abs()
    return torch.where(difference > LINEAR_FROM, beyond, below)
