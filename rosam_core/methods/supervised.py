"""Supervised training on exact depth: Laplace likelihood, relative error, gradient matching."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from rosam_core.losses.laplace import laplace_nll, log_depth_residual
from rosam_core.losses.relative import relative_error
from rosam_core.methods.base import Batch, Term
from rosam_core.methods.gradients import gradient_terms


@dataclasses.dataclass(frozen=True)
class SupervisedOptions:
    """Weights of the supervised losses."""

    beta: float = 0.5  # 0 = plain likelihood, 1 = absolute error of log depth; see laplace_nll
    relative_weight: float = 1.5  # of the relative error of the finest depth
    gradient_weight: float = 0.5  # of the gradient term, summed over its scales
    gradient_scales: int = 4  # subsampling 1, 2, 4, ...
    beyond_weight: float = 0.25  # of a sky pixel, relative to a pixel with depth
    coarse_weight: float = 0.4  # of each coarser output, relative to the next finer one


class Supervised(nn.Module):
    """Trains a student on batches with `"image"`, `"log_depth"`, `"valid"` and `"beyond"`.

    `image` is float[b,3,h,w] in [0, 1]; `log_depth` float[b,1,h,w] is log metres for the
    canonical focal length, or its lower bound where bool[b,1,h,w] `beyond`; `valid`
    bool[b,1,h,w] marks exact depth. Pixels that are neither carry no loss.

    Args:
        student: A model of `rosam_core.models`.
        options: Weights.
    """

    def __init__(self, student: nn.Module, options: SupervisedOptions) -> None:
        super().__init__()
        self.student = student
        self.options = options

    def losses(self, batch: Batch, step: int) -> dict[str, Term]:
        """Returns `laplace_0`, `laplace_1`, ... (finest first), `relative` and `gradient_1`, ...

        Args:
            batch: See the class.
            step: Not used.
        """
        scales = self.student(batch["image"])["scales"]
        target, valid, beyond = batch["log_depth"], batch["valid"], batch["beyond"]
        options = self.options
        terms = {}
        for i, (log_depth, log_b) in enumerate(scales):
            k = target.shape[-1] // log_depth.shape[-1]
            centre = slice(k // 2, None, k)
            known, far = valid[..., centre, centre], beyond[..., centre, centre]
            residual = log_depth_residual(log_depth, target[..., centre, centre], far)
            counted = known + options.beyond_weight * far
            nll = torch.where(known | far, laplace_nll(residual, log_b, options.beta), 0.0)
            terms[f"laplace_{i}"] = Term(nll, options.coarse_weight**i, counted)
        difference: Tensor = scales[0][0] - target
        known_difference = difference.masked_fill(~valid, 0.0)
        terms["relative"] = Term(relative_error(known_difference), options.relative_weight, valid)
        terms |= gradient_terms(
            "gradient", difference, valid, options.gradient_weight, options.gradient_scales
        )
        return terms
