"""Fits the one number that turns a predicted Laplace scale into a true probability."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import torch
from torch import nn

from rosam_core.drives.training_samples import ValidationSamples
from rosam_core.evaluation.calibration import expected_calibration_error
from rosam_core.types import Float32

LOG_RATIO = math.log(1.25)


@dataclasses.dataclass(frozen=True)
class TemperatureFit:
    """Result of `fit_temperature`.

    Attributes:
        temperature: Factor of b.
        ece_before: Expected calibration error with b as predicted, on the same pixels.
        ece: The same with the fitted temperature.
        pixels: Number of pixels it was fitted on.
    """

    temperature: float
    ece_before: float
    ece: float
    pixels: int

    def as_dict(self) -> dict[str, float | int]:
        """Returns the fields by name."""
        return dataclasses.asdict(self)


@torch.no_grad()
def fit_temperature(
    student: nn.Module, samples: ValidationSamples, pixels_per_image: int = 2000
) -> TemperatureFit:
    """Fits the factor of b on held-out frames, every image with the same weight.

    Args:
        student: In evaluation mode.
        samples: Frames with exact depth.
        pixels_per_image: How many pixels of each image are used, at random.

    Raises:
        ValueError: No frame has a pixel with depth.
    """
    rng = np.random.default_rng(0)
    errors, scales = [], []
    for number in range(len(samples)):
        sample = samples[number]
        output = student(torch.from_numpy(sample["image"])[None].float() / 255)
        valid = np.flatnonzero(sample["valid"])
        if not valid.size:
            continue
        kept = rng.choice(valid, pixels_per_image)
        log_depth = -torch.log(output["inverse_depth"]).numpy().ravel()[kept]
        errors.append(np.abs(log_depth - sample["log_depth"].ravel()[kept]))
        scales.append(np.exp(output["log_b"].numpy().ravel()[kept]))
    if not errors:
        raise ValueError("calibration: no frame has a pixel with depth in range")
    return fit_to_errors(np.concatenate(errors), np.concatenate(scales))


def fit_to_errors(error: Float32, b: Float32) -> TemperatureFit:
    """Fits the temperature that minimises the expected calibration error of "within 25 %".

    Args:
        error: float[n], |log d - log d*|.
        b: float[n], predicted Laplace scale.
    """
    correct = error < LOG_RATIO

    def ece(temperature: float) -> float:
        confidence = (1 - np.exp(-LOG_RATIO / (b * temperature))).astype(np.float32)
        return float(expected_calibration_error(confidence, correct))

    # The error is not convex in the temperature: look everywhere, then closely.
    coarse = np.geomspace(0.1, 10, 61)
    best = float(min(coarse, key=ece))
    fine = best * np.geomspace(0.93, 1.075, 41)
    best = float(min(fine, key=ece))
    return TemperatureFit(best, ece(1.0), ece(best), int(error.size))
