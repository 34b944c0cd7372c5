"""Syn2Real-Depth (CVPR 2025): from clear days to synthetic weather, and from there to real drives.

    stage 1, synthetic adaptation   frozen Phi_day on the clear image teaches Phi_t on the same
                                    image in another weather
    stage 2, real adaptation        frozen Phi_t on real frames of every condition teaches Phi_s

The published method also has a cost volume and a pose network of its own in stage 2; its depth
network, its weights and its auxiliary histogram term are here.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor, nn

from rosam_core.losses.distillation import RELATIVE_TO, cut_off, depth_distillation
from rosam_core.losses.histogram import depth_histogram, histogram_divergence, histogram_edges
from rosam_core.losses.laplace import laplace_nll
from rosam_core.losses.outliers import RegionalDepth
from rosam_core.losses.reliability import consistency_weight
from rosam_core.methods.base import Batch, Term

WEATHERS = ("auto", "rendered", "translated")


@dataclasses.dataclass(frozen=True)
class AdaptationOptions:
    """What both stages of adaptation share."""

    teacher: str | None = None  # checkpoint or ONNX of the frozen teacher of the stage
    day: str | None = None  # stage 2: that of Phi_day, for W_cst and the histogram; None = neither
    consistency: bool = True  # stage 2: weigh pixels by W_cst
    histogram_weight: float = 0.001  # stage 2: of KL between depth histograms
    histogram_day_first: bool = False  # KL(day || adverse), as the published code has it
    confidence_weight: float = 0.1  # of the likelihood that trains b
    relative_to: str = "student"  # L_d is |D_s - D_t| over the student's depth | the teacher's
    farthest_m: float | None = None  # canonical depth from which all is "beyond"; null = none
    weather: str = "auto"  # stage 1: rendered pairs | translated by depth | by the kind of drive

    def __post_init__(self) -> None:
        if self.weather not in WEATHERS:
            raise ValueError(f"weather is '{self.weather}', expected {' or '.join(WEATHERS)}")
        if self.relative_to not in RELATIVE_TO:
            raise ValueError(
                f"relative_to is '{self.relative_to}', expected {' or '.join(RELATIVE_TO)}"
            )
        if self.farthest_m is not None and not self.farthest_m > 0:
            raise ValueError(f"farthest_m must be positive or null, got {self.farthest_m}")


@dataclasses.dataclass(frozen=True)
class Judgement:
    """What a teacher's depth is worth.

    Attributes:
        weight: float[b,1,h,w], >= 0, of L_d.
        trust: float[b,1,h,w] in [0, 1], how far to believe the teacher.
        regional: Its depth region by region, for methods that know regions.
        n: Number of region ids, 0 included; 0 for methods that know none.
        inverse: float[b,1,h,w], what is taught instead of the teacher's own [1/m], or None.
    """

    weight: Tensor
    trust: Tensor
    regional: RegionalDepth | None = None
    n: int = 0
    inverse: Tensor | None = None


def distillation_terms(
    output: dict[str, Any],
    teacher_depth: Tensor,
    weight: Tensor,
    relative_to: str = "student",
    farthest_m: float | None = None,
) -> dict[str, Term]:
    """Returns L_d at each scale of a student, `distil_0` (finest), `distil_1`, ...

    The mean over scales: each term has 1 / scales for its weight.

    Args:
        output: Of a student in training mode.
        teacher_depth: float[b,1,h,w] [m].
        weight: float[b,1,h,w], >= 0.
        relative_to: See `depth_distillation`.
        farthest_m: See `cut_off`; None = as far as the networks say.
    """
    scales = output["scales"]
    terms = {}
    for i, (log_depth, _) in enumerate(scales):
        truth, worth = centres(teacher_depth, log_depth), centres(weight, log_depth)
        depth = torch.exp(log_depth)
        if farthest_m is not None:
            depth, truth = cut_off(depth, truth, farthest_m)
        loss = depth_distillation(depth, truth, worth, relative_to)
        terms[f"distil_{i}"] = Term(loss, 1 / len(scales))
    return terms


def confidence_term(
    output: dict[str, Any],
    teacher_depth: Tensor,
    weight: Tensor,
    farthest_m: float | None = None,
) -> Tensor:
    """Returns the likelihood of the teacher's log depth, as a function of the scale b alone.

    b learns how far the student is from a trustworthy teacher. What the depth should be is said
    by the method's own terms; both come from the same features, though. float[b,1,h,w].
    """
    log_depth, log_b = output["scales"][0]
    if farthest_m is not None:
        depth, teacher_depth = cut_off(torch.exp(log_depth), teacher_depth, farthest_m)
        log_depth = torch.log(depth)
    residual = (log_depth - torch.log(teacher_depth)).abs().detach()
    return weight * laplace_nll(residual, log_b)


def centres(full: Tensor, coarse: Tensor) -> Tensor:
    """Returns the pixels of `full` in the middle of those of `coarse`, float[b,c,h/k,w/k]."""
    k = full.shape[-1] // coarse.shape[-1]
    return full[..., k // 2 :: k, k // 2 :: k]


class SyntheticAdaptation(nn.Module):
    """Stage 1. Batches hold `image` and `clear`, the same view in another weather.

    Both are float[b,3,h,w] in [0, 1]; `image` carries the photometric augmentation. Where bool
    `seen` [b,1,h,w], if the batch has it, is false, nothing is taught.

    Args:
        student: Phi_t, trained.
        day: Phi_day; frozen here.
        options: Weights.
    """

    def __init__(self, student: nn.Module, day: nn.Module, options: AdaptationOptions) -> None:
        super().__init__()
        self.student = student
        self.day = frozen(day)
        self.options = options

    def losses(self, batch: Batch, step: int) -> dict[str, Term]:
        """Returns `distil_0`, `distil_1`, ... and `confidence`.

        Args:
            batch: See the class.
            step: Not used.
        """
        with torch.no_grad():
            depth = 1 / self.day(batch["clear"])["inverse_depth"]
            image = self.adverse(batch, depth)
        output = self.student(image)
        weight = batch["seen"].to(depth) if "seen" in batch else torch.ones_like(depth)
        options = self.options
        terms = distillation_terms(output, depth, weight, options.relative_to, options.farthest_m)
        trusted = confidence_term(output, depth, weight, options.farthest_m)
        terms["confidence"] = Term(trusted, options.confidence_weight)
        return terms

    def adverse(self, batch: Batch, depth: Tensor) -> Tensor:
        """Returns the clear images in another weather, float[b,3,h,w]: here the batch has them.

        Args:
            batch: See the class.
            depth: float[b,1,h,w], of the clear images [m].
        """
        return batch["image"]


class RealAdaptation(nn.Module):
    """Stage 2, the baseline. Batches hold `image` and `clean`, the same without augmentation.

    Args:
        student: Phi_s, trained; starts from the teacher's weights.
        teacher: Phi_t; frozen here.
        day: Phi_day, frozen here, or None.
        options: Weights.
    """

    edges: Tensor

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        day: nn.Module | None,
        options: AdaptationOptions,
    ) -> None:
        super().__init__()
        self.student = student
        self.teacher = frozen(teacher)
        self.day = frozen(day) if day is not None else None
        self.options = options
        self.register_buffer("edges", torch.tensor(histogram_edges()), persistent=False)

    def losses(self, batch: Batch, step: int) -> dict[str, Term]:
        """Returns `distil_0`, `distil_1`, ..., `confidence` and, with Phi_day, `histogram`.

        Args:
            batch: See the class.
            step: Not used.
        """
        with torch.no_grad():
            taught = self.teacher(batch["clean"])
            day = self.day(batch["clean"])["inverse_depth"] if self.day is not None else None
        output, inverse = self.student(batch["image"]), taught["inverse_depth"]
        judged = self.judge(batch, inverse, day, output["inverse_depth"].detach())
        options = self.options
        taught_depth = 1 / (inverse if judged.inverse is None else judged.inverse)
        terms = distillation_terms(
            output, taught_depth, judged.weight, options.relative_to, options.farthest_m
        )
        trusted = confidence_term(output, taught_depth, judged.trust, options.farthest_m)
        terms["confidence"] = Term(trusted, options.confidence_weight)
        if day is not None and self.options.histogram_weight:
            terms["histogram"] = Term(
                self._histogram(torch.exp(output["scales"][0][0]), 1 / day),
                self.options.histogram_weight,
            )
        return terms | self.priors(batch, output, taught, judged)

    def judge(
        self, batch: Batch, inverse: Tensor, day: Tensor | None, student: Tensor
    ) -> Judgement:
        """Returns what the teacher's depth is worth: W_cst, where there is Phi_day.

        Args:
            batch: See the class.
            inverse: float[b,1,h,w], of the teacher [1/m].
            day: float[b,1,h,w], of Phi_day [1/m], or None.
            student: float[b,1,h,w], of the student [1/m], without gradient; not looked at here.
        """
        trust = torch.ones_like(inverse)
        if day is not None and self.options.consistency:
            return Judgement(consistency_weight(inverse, day), trust)
        return Judgement(trust, trust)

    def priors(
        self, batch: Batch, output: dict[str, Any], taught: dict[str, Any], judged: Judgement
    ) -> dict[str, Term]:
        """Returns the terms of what is known beyond the teacher: none in the baseline.

        Args:
            batch: See the class.
            output: Of the student, in training mode.
            taught: Of the teacher, in evaluation mode.
            judged: What the teacher's depth is worth.
        """
        return {}

    def _histogram(self, depth: Tensor, day_depth: Tensor) -> Tensor:
        adverse, day = (depth_histogram(d, self.edges) for d in (depth, day_depth))
        if self.options.histogram_day_first:
            return histogram_divergence(day, adverse)
        return histogram_divergence(adverse, day)


def frozen(network: nn.Module) -> nn.Module:
    """Returns a network in evaluation mode, without gradients."""
    return network.eval().requires_grad_(False)
