"""Laplace likelihood of log depth: accuracy and confidence from one term."""

from __future__ import annotations

import torch
from torch import Tensor


def log_depth_residual(log_depth: Tensor, target: Tensor, beyond: Tensor) -> Tensor:
    """Returns |log d - log d*|; where the target is a lower bound, only what falls short of it.

    Sky and surfaces beyond range have no depth to regress, only "at least this far": a
    prediction past the bound is right and costs nothing.

    Args:
        log_depth: float[b,1,h,w], log of the predicted depth.
        target: float[b,1,h,w], log of the true depth or of the bound.
        beyond: bool[b,1,h,w], the target is a lower bound.

    Returns:
        float[b,1,h,w], >= 0.
    """
    residual = log_depth - target
    return torch.where(beyond, (-residual).clamp(min=0), residual.abs())


def laplace_nll(residual: Tensor, log_b: Tensor, beta: float = 0.0) -> Tensor:
    """Returns the negative log likelihood |r| / b + log 2b, weighted by b^beta.

    With beta = 0 this is the likelihood, whose gradient all but ignores pixels of large b; with
    beta = 1 the depth is trained as by an absolute error while b is still trained to match it
    (Seitzer et al., "On the Pitfalls of Heteroscedastic Uncertainty Estimation", ICLR 2022, eq. 7,
    there for a Gaussian; b^beta carries no gradient).

    Args:
        residual: float[b,1,h,w], |log d - log d*|, >= 0.
        log_b: float[b,1,h,w], log of the Laplace scale.
        beta: In [0, 1].

    Returns:
        float[b,1,h,w].
    """
    nll = residual * torch.exp(-log_b) + log_b + torch.log(log_b.new_tensor(2.0))
    if beta:
        nll = nll * torch.exp(beta * log_b.detach())
    return nll
