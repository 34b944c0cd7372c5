"""Scores a student in torch while it trains: metric, by condition, on held-out samples."""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

CONFIDENT_RATIO = 1.25


class Validation(Protocol):
    """Whole frames with known depth, in a fixed order."""

    def __len__(self) -> int:
        """Returns the number of frames."""
        ...

    def __getitem__(self, number: int) -> dict[str, npt.NDArray[Any]]:
        """Returns `image`, `log_depth` and `valid` of a frame; see `depth_sample`."""
        ...

    def condition(self, number: int) -> str:
        """Returns the condition of a frame."""
        ...


@torch.no_grad()
def evaluate_student(
    student: nn.Module,
    samples: Validation,
    batch_size: int,
    device: torch.device,
    is_metric: bool = True,
) -> dict[str, dict[str, float]]:
    """Returns figures by condition, and their mean over conditions as `"all"`.

    Every figure is the mean over images of the mean over their pixels with depth.

    Args:
        student: In evaluation mode or not; it is evaluated in it and put back.
        samples: Whole, letterboxed frames.
        batch_size: Images at a time.
        device: Where the student is.
        is_metric: Score metres as they are; otherwise median-scaled, image by image.

    Returns:
        `abs_rel`, `delta1` (share within a factor 1.25) and `confidence` (its mean, which equals
        delta1 where it is calibrated).
    """
    was_training = student.training
    student.eval()
    figures: dict[str, list[tuple[float, float, float]]] = {}
    for start in range(0, len(samples), batch_size):
        numbers = range(start, min(start + batch_size, len(samples)))
        batch = [samples[i] for i in numbers]
        images = torch.from_numpy(np.stack([s["image"] for s in batch])).to(device).float() / 255
        output = student(images)
        log_depth = -torch.log(output["inverse_depth"]).cpu()
        log_b = output["log_b"].cpu()
        for k, number in enumerate(numbers):
            valid = torch.from_numpy(batch[k]["valid"])
            if not bool(valid.any()):
                continue
            truth = torch.from_numpy(batch[k]["log_depth"])[valid]
            error = log_depth[k][valid] - truth
            if not is_metric:  # torch's median is the lower one, as in `rosam eval`
                error = error + truth.median() - log_depth[k][valid].median()
            confidence = 1 - torch.exp(-math.log(CONFIDENT_RATIO) * torch.exp(-log_b[k][valid]))
            row = (
                float((torch.exp(error) - 1).abs().mean()),
                float((error.abs() < math.log(CONFIDENT_RATIO)).float().mean()),
                float(confidence.mean()),
            )
            figures.setdefault(samples.condition(number), []).append(row)
    student.train(was_training)
    report = {
        condition: dict(
            zip(("abs_rel", "delta1", "confidence"), np.mean(rows, axis=0).tolist(), strict=True)
        )
        for condition, rows in sorted(figures.items())
    }
    if not report:
        raise ValueError("no validation frame has a pixel with depth in range")
    report["all"] = {
        name: float(np.mean([f[name] for f in report.values()]))
        for name in ("abs_rel", "delta1", "confidence")
    }
    return report
