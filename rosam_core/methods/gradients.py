"""Depth gradients at several distances as terms of a method: where depth jumps, and where not."""

from __future__ import annotations

import torch
from torch import Tensor

from rosam_core.losses.distillation import cut_off
from rosam_core.losses.gradient import gradient_matching
from rosam_core.methods.base import Term


def gradient_terms(
    name: str, difference: Tensor, valid: Tensor, weight: float, scales: int
) -> dict[str, Term]:
    """Returns the terms `NAME_1`, `NAME_2`, `NAME_4`, ... of `gradient_matching`.

    Args:
        name: What they begin with.
        difference: float[b,1,h,w], log depth minus that of the target.
        valid: bool[b,1,h,w], the target is known.
        weight: Of all of them; each has its share.
        scales: How many distances are compared: 1, 2, 4, ... pixels; 0 for none.
    """
    terms = {}
    for step in (2**level for level in range(scales)):
        error, counted = gradient_matching(difference, valid, step)
        terms[f"{name}_{step}"] = Term(error, weight / scales, counted)
    return terms


def log_difference(inverse: Tensor, label: Tensor, farthest_m: float | None) -> Tensor:
    """Returns log depth minus that of a label, float[b,1,h,w].

    Args:
        inverse: float[b,1,h,w], of the student [1/m].
        label: float[b,1,h,w] [1/m]; carries no gradient.
        farthest_m: See `cut_off`; None = as far as the networks say.
    """
    depth, taught = 1 / inverse, 1 / label.detach()
    if farthest_m is not None:
        depth, taught = cut_off(depth, taught, farthest_m)
    return torch.log(depth) - torch.log(taught)
