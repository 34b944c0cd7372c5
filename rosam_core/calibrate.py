"""Fits the one number that turns a predicted Laplace scale into a true probability."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import torch
from torch import nn

from rosam_core.drives.training_samples import ValidationSamples
from rosam_core.evaluation import calibration
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
    """Fits the temperature to the event "within 25 %", by its likelihood.

    Args:
        error: float[n], |log d - log d*|.
        b: float[n], predicted Laplace scale.
    """
    correct = error < LOG_RATIO
    confidence = 1 - np.exp(-LOG_RATIO / b.astype(np.float64))
    temperature = calibration.fit_temperature(confidence, correct)
    after = calibration.tempered(confidence, temperature)
    return TemperatureFit(
        temperature,
        float(calibration.expected_calibration_error(confidence, correct)),
        float(calibration.expected_calibration_error(after, correct)),
        int(error.size),
    )
