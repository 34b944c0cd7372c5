"""What the student takes over from the teacher: depth, and motion between frames."""

from __future__ import annotations

import torch
from torch import Tensor

RELATIVE_TO = ("student", "teacher")


def depth_distillation(
    student_depth: Tensor,
    teacher_depth: Tensor,
    weight: Tensor | float = 1.0,
    relative_to: str = "student",
) -> Tensor:
    """Returns w |D_s - D_t| / D_s, or w |D_s - D_t| / D_t.

    RoSAMDepth (CVPR 2026), L_d with w = M_out W_cst W_rel; the paper takes the mean over all
    pixels, not over the sum of the weights. Division by the student's own depth makes what it
    puts too near cost most, so that it goes too far where it is unsure. Division by the
    teacher's is our alternative: what AbsRel measures.

    Args:
        student_depth: float[b,1,h,w], > 0 [m].
        teacher_depth: float[b,1,h,w], of the same pixels [m]; carries no gradient.
        weight: float[b,1,h,w], >= 0, or one number.
        relative_to: `"student"` (the paper's) or `"teacher"`.

    Returns:
        float[b,1,h,w], >= 0.

    Raises:
        ValueError: `relative_to` is neither.
    """
    if relative_to not in RELATIVE_TO:
        raise ValueError(f"relative_to is {relative_to!r}, expected {' or '.join(RELATIVE_TO)}")
    taught = teacher_depth.detach()
    whole = student_depth if relative_to == "student" else taught
    return weight * (student_depth - taught).abs() / whole


def cut_off(
    student_depth: Tensor, teacher_depth: Tensor, farthest_m: float
) -> tuple[Tensor, Tensor]:
    """Returns both depths as if neither network could say more than `farthest_m`.

    Published networks have a largest depth. Without one the sky lies anywhere, and where
    the student puts it near, |D_s - D_t| / D_s of the sky is all that counts. A student that is
    beyond while the teacher is not keeps its depth, and so its gradient.

    Args:
        student_depth: float[b,1,h,w], > 0 [m].
        teacher_depth: float[b,1,h,w], of the same pixels [m].
        farthest_m: What is farther is "beyond", however far [m].
    """
    beyond = teacher_depth >= farthest_m
    student_depth = torch.where(beyond, student_depth.clamp(max=farthest_m), student_depth)
    return student_depth, teacher_depth.clamp(max=farthest_m)


def pose_distillation(student_pose: Tensor, teacher_pose: Tensor) -> Tensor:
    """Returns the squared difference of two poses, number by number.

    Syn2Real-Depth (CVPR 2025), auxiliary term.

    Args:
        student_pose: float[b,6], axis times angle [rad] and translation [m].
        teacher_pose: float[b,6]; carries no gradient.

    Returns:
        float[b,6], >= 0.
    """
    difference = student_pose - teacher_pose.detach()
    return difference * difference
