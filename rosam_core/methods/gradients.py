"""Depth gradients at several distances as terms of a method: where depth jumps, and where not."""

from __future__ import annotations

from torch import Tensor

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
