"""Self-supervised training on video by day: stage 0 of RoSAMDepth, which makes `Phi_day`."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn
from torch.nn import functional

from rosam_core.geometry.rigid import inverse_transform, transform_from_axis_angle
from rosam_core.losses.distillation import cut_off
from rosam_core.losses.photometric import auto_mask, minimum_over_sources, photometric_error
from rosam_core.losses.smoothness import edge_aware_smoothness
from rosam_core.losses.velocity import velocity_error
from rosam_core.methods.base import Batch, Term
from rosam_core.methods.gradients import gradient_terms
from rosam_core.methods.neighbours import neighbour_error, view_depth
from rosam_core.methods.syn2real import frozen
from rosam_core.models.common import freeze_norms

MOTIONS = ("learned", "recorded", "mixed")

ANCHOR_SCALES = 4
"""Gradients of the anchor's depth are kept at 1, 2, 4 and 8 pixels."""

FARTHEST_M = 100.0
"""Canonical depth from which the anchor's word is "beyond"."""


@dataclasses.dataclass(frozen=True)
class SelfSupervisedOptions:
    """Weights of the self-supervised losses, and where motion comes from."""

    # learned: by a pose network | recorded: the drives' own poses, no network | mixed: the drives'
    # own poses, and a network where there are none
    motion: str = "learned"
    smoothness_weight: float = 0.001  # at the finest scale, halved with each coarser one
    velocity_weight: float = 0.05  # per metre, of learned motion; our choice
    anchor: str | None = None  # ours: checkpoint or ONNX of a network whose shapes are kept
    anchor_weight: float = 0.1  # of keeping them
    pose_warmup_steps: int = 0  # of learned motion: so long the depth is left as it is; our choice

    def __post_init__(self) -> None:
        if self.motion not in MOTIONS:
            raise ValueError(f"motion must be {', '.join(MOTIONS)}, got '{self.motion}'")
        if not self.anchor_weight >= 0:
            raise ValueError(f"anchor_weight must not be negative, got {self.anchor_weight}")


class SelfSupervised(nn.Module):
    """Trains depth and motion together on three consecutive frames.

    Batches hold `image` float[b,3,h,w] in [0, 1] with the photometric augmentation, and `clean`,
    the same without; `sources` float[b,2,3,h,w], the frames before and after it, anything where
    bool[b,2] `source_known` is False; `K` float[b,3,3] [px]; `T_source_target` float[b,2,4,4],
    poses of the recording, NaN where they are not known.

    A student that has learnt before keeps what it knows while the pose network still knows nothing
    with `pose_warmup_steps`: without them it is led astray by motion that is none.

    Where motion is learned, only the distance of the poses is used, which sets the scale. Where it
    is recorded, the poses are believed as they are, and a source without one is as good as absent.
    Mixed is either: the network's motion, in metres by the distances, stands in for missing poses.

    What video says nothing of, or says wrong (a car ahead that is as fast has no parallax, so its
    depth runs away), is kept by an anchor: a frozen network, mostly the one that the student
    starts from, whose gradients of log depth the student is to have. Scale, and what changes
    slowly over the picture, are left to the video.

    The likelihood's scale, which becomes confidence, is not trained here: there is no truth to
    measure an error by.

    Args:
        student: A model of `rosam_core.models`.
        pose: `rosam_core.models.pose.PoseNetwork`, or what has its `forward`; None where motion is
            recorded.
        options: Weights.
        canonical_focal_px: Focal length for which the student's output is metres [px].
        anchor: See above; frozen here, of any canonical focal length. None = no such term.
    """

    def __init__(
        self,
        student: nn.Module,
        pose: nn.Module | None,
        options: SelfSupervisedOptions,
        canonical_focal_px: float,
        anchor: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.student = student
        self.pose = pose
        self.anchor = frozen(anchor) if anchor is not None else None
        self.options = options
        self.canonical_focal_px = canonical_focal_px

    def losses(self, batch: Batch, step: int) -> dict[str, Term]:
        """Returns `photometric_0`, `smoothness_0`, ... (finest first), and more.

        `velocity` where motion is learned, `anchor_1`, `anchor_2`, ... where there is an anchor.

        Args:
            batch: See the class.
            step: While less than `pose_warmup_steps`, the student gets no gradients.
        """
        clean = batch["clean"]
        waits = self.pose is not None and step < self.options.pose_warmup_steps
        if waits:
            freeze_norms(self.student)  # which would learn from the images without any gradient
        with torch.set_grad_enabled(not waits):
            scales = self.student(batch["image"])["scales"]
        terms = {}
        if self.pose is None:
            batch = _with_posed_sources_only(batch)
            T_source_target = batch["T_source_target"]
        else:
            T_source_target, translation = self._motion(batch, self.pose)
            terms["velocity"] = self._velocity(batch, translation)
            if self.options.motion == "mixed":
                recorded = batch["T_source_target"]
                T_source_target = torch.where(_posed(recorded), recorded, T_source_target)
        still_error, judged = _error_without_motion(batch)
        for level, (log_depth, _) in enumerate(scales):
            # Coarse depth is compared at full size, where textures are (Godard et al., 3.2).
            full = functional.interpolate(
                log_depth, size=clean.shape[-2:], mode="bilinear", align_corners=False
            )
            depth = view_depth(torch.exp(full), batch, self.canonical_focal_px)
            error, seen = neighbour_error(batch, depth, T_source_target)
            # A masked pixel keeps its error without motion, which has no gradient: were it left
            # out, explaining one more pixel, but not perfectly, would raise the mean.
            is_explained = seen & auto_mask(error, still_error)
            loss = torch.where(is_explained, error, still_error)
            terms[f"photometric_{level}"] = Term(loss, 1 / len(scales), judged)
            small = functional.interpolate(clean, size=log_depth.shape[-2:], mode="area")
            smoothness = edge_aware_smoothness(torch.exp(-log_depth), small)
            weight = self.options.smoothness_weight / 2**level / len(scales)
            terms[f"smoothness_{level}"] = Term(smoothness, weight)
        if self.anchor is not None:
            with torch.no_grad():
                kept = self.anchor(clean)["inverse_depth"]
            depth, known = cut_off(torch.exp(scales[0][0]), 1 / kept, FARTHEST_M)
            difference = torch.log(depth / known)
            everywhere = torch.ones_like(difference, dtype=torch.bool)
            terms |= gradient_terms(
                "anchor", difference, everywhere, self.options.anchor_weight, ANCHOR_SCALES
            )
        return terms

    def _velocity(self, batch: Batch, translation: Tensor) -> Term:
        distance = torch.linalg.vector_norm(batch["T_source_target"][:, :, :3, 3], dim=-1)
        distance = distance.masked_fill(~batch["source_known"], torch.nan)
        error, known = velocity_error(translation.flatten(0, 1), distance.flatten())
        return Term(error, self.options.velocity_weight, known)

    def _motion(self, batch: Batch, pose: nn.Module) -> tuple[Tensor, Tensor]:
        """Returns T_source_target float[b,2,4,4] and the network's translations float[b,2,3].

        The network always sees the earlier frame first: forward driving looks the same to it
        whichever of the two is the target.
        """
        clean, (before, after) = batch["clean"], batch["sources"].unbind(1)
        motion = pose(torch.cat([before, clean]), torch.cat([clean, after]))
        T_later_earlier = transform_from_axis_angle(motion[:, :3], motion[:, 3:])
        T_target_before, T_after_target = T_later_earlier.chunk(2)
        T_source_target = torch.stack([inverse_transform(T_target_before), T_after_target], dim=1)
        return T_source_target, torch.stack(motion[:, 3:].chunk(2), dim=1)


def _with_posed_sources_only(batch: Batch) -> Batch:
    """Returns the batch with sources of unknown pose marked as absent."""
    posed = _posed(batch["T_source_target"])[..., 0, 0]
    return {**batch, "source_known": batch["source_known"] & posed}


def _posed(T_source_target: Tensor) -> Tensor:
    """Returns which matrices are known, bool[b,2,1,1]."""
    return torch.isfinite(T_source_target).all(-1, keepdim=True).all(-2, keepdim=True)


def _error_without_motion(batch: Batch) -> tuple[Tensor, Tensor]:
    """Returns the least photometric error of the sources as they are, and where there is one."""
    sources = batch["sources"].unbind(1)
    errors = torch.cat([photometric_error(batch["clean"], source) for source in sources], dim=1)
    known = batch["source_known"][:, :, None, None].expand_as(errors)
    return minimum_over_sources(errors, known)
