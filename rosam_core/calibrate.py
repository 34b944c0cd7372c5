"""Fits the one number that turns a predicted Laplace scale into a true probability."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rosam_core.evaluation import calibration
from rosam_core.evaluation.metrics import median_scale, scored_pixels, within_delta1
from rosam_core.types import CONDITIONS, DepthPrediction, Float32, Frame

if TYPE_CHECKING:
    from torch import nn

    from rosam_core.drives.base import Drive
    from rosam_core.drives.training_samples import ValidationSamples
    from rosam_core.evaluation.ground_truth import GroundTruth

logger = logging.getLogger(__name__)

LOG_RATIO = math.log(1.25)
PIXELS_PER_IMAGE = 2000
RANGE_M = (0.1, 80.0)  # of the truth, as `rosam eval` has it by default

Outcomes = Mapping[str, "tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]"]
"""Confidences and whether the depth was within 25 %, by condition."""


@dataclasses.dataclass(frozen=True)
class TemperatureFit:
    """How well a confidence fits before and after its temperature was fitted.

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


def fit_temperature(
    student: nn.Module, samples: ValidationSamples, pixels_per_image: int = PIXELS_PER_IMAGE
) -> TemperatureFit:
    """Fits the factor of b on held-out frames, every image with the same weight.

    Args:
        student: In evaluation mode.
        samples: Frames with exact depth.
        pixels_per_image: How many pixels of each image are used, at random.

    Raises:
        ValueError: No frame has a pixel with depth.
    """
    import torch

    rng = np.random.default_rng(0)
    errors, scales = [], []
    for number in range(len(samples)):
        sample = samples[number]
        with torch.no_grad():
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
    confidence = 1 - np.exp(-LOG_RATIO / b.astype(np.float64))
    return fit_to_outcomes(confidence, error < LOG_RATIO)


def fit_to_outcomes(
    confidence: npt.NDArray[np.float64], correct: npt.NDArray[np.bool_]
) -> TemperatureFit:
    """Fits the temperature to what became of each stated confidence.

    Args:
        confidence: float64[n] in [0, 1].
        correct: bool[n], the depth was within 25 %.
    """
    temperature = calibration.fit_temperature(confidence, correct)
    ends = calibration.LOWEST_TEMPERATURE, calibration.HIGHEST_TEMPERATURE
    if not 1.01 * ends[0] < temperature < ends[1] / 1.01:
        logger.warning(
            "the factor of b that fits best, %.3g, is an end of what is tried: %.0f %% of these "
            "depths are within 25 %% of the truth, so a confidence says little here",
            temperature,
            100 * np.mean(correct),
        )
    return judged(confidence, correct, temperature)


def judged(
    confidence: npt.NDArray[np.float64], correct: npt.NDArray[np.bool_], temperature: float
) -> TemperatureFit:
    """Returns how well confidences fit with a given temperature; for the arguments see above."""
    after = calibration.tempered(confidence, temperature)
    return TemperatureFit(
        temperature,
        float(calibration.expected_calibration_error(confidence, correct)),
        float(calibration.expected_calibration_error(after, correct)),
        int(confidence.size),
    )


def outcomes_on_drives(
    predict: Callable[[Frame], DepthPrediction],
    places: Sequence[tuple[Drive, int]],
    ground_truth: GroundTruth,
    is_metric: bool,
    pixels_per_image: int = PIXELS_PER_IMAGE,
) -> tuple[Outcomes, dict[str, int], list[str]]:
    """Returns what confidences came to, the images of each condition, and the frames left out.

    Of every image the same number of pixels counts, at random, with repetition where lidar is
    sparse, so that every image weighs the same. A frame that cannot be read is left out, with the
    reason.

    Args:
        predict: The model, at the size of the image.
        places: Frames: drive and index.
        ground_truth: Makes the truth.
        is_metric: Judge the metres as they are; otherwise after median scaling, image by image.
        pixels_per_image: How many pixels.

    Raises:
        ValueError: No frame can be read, or none has a true depth in range.
    """
    from rosam_core.evaluation.scoring import sized_to

    rng = np.random.default_rng(0)
    found: dict[str, list[tuple[Any, Any]]] = {}
    skipped: list[str] = []
    for drive, index in places:
        try:
            frame = drive[index]
            truth = ground_truth.of(frame, drive)
        except (ValueError, OSError) as error:
            skipped.append(f"{drive.name} frame {index}: {error}")
            continue
        if truth is None:
            continue
        prediction = predict(frame)
        depth, confidence = (
            sized_to(values, truth).ravel() for values in (prediction.depth, prediction.confidence)
        )
        known = scored_pixels(truth, *RANGE_M).ravel() & ~np.isnan(depth) & ~np.isnan(confidence)
        scored = np.flatnonzero(known)
        if not scored.size:
            continue
        g, p = truth.ravel()[scored], depth[scored]
        if not is_metric:
            p = p * median_scale(g, p, RANGE_M)
        correct = within_delta1(g, np.clip(p, *RANGE_M))
        kept = rng.integers(0, scored.size, pixels_per_image)
        stated = np.clip(confidence[scored].astype(np.float64), 0, 1)
        found.setdefault(frame.condition, []).append((stated[kept], correct[kept]))
    if skipped and len(skipped) == len(places):
        raise ValueError(f"none of {len(places)} frames can be read; the first: {skipped[0]}")
    if not found:
        raise ValueError(
            f"none of {len(places)} frames has a true depth between {RANGE_M[0]:g} and "
            f"{RANGE_M[1]:g} m, so there is nothing to calibrate against: take a drive with "
            "lidar or exact depth"
        )
    outcomes = {
        name: (np.concatenate([c for c, _ in own]), np.concatenate([y for _, y in own]))
        for name in CONDITIONS
        if (own := found.get(name))
    }
    return outcomes, {name: len(found[name]) for name in outcomes}, skipped


def fit_by_condition(outcomes: Outcomes) -> dict[str, TemperatureFit]:
    """Fits one temperature to all conditions; returns how it fits `all` and each of them.

    Args:
        outcomes: See `outcomes_on_drives`; every image weighs the same, whatever its condition.
    """
    confidence, correct = (np.concatenate([own[i] for own in outcomes.values()]) for i in (0, 1))
    overall = fit_to_outcomes(confidence, correct)
    fits = {name: judged(*own, overall.temperature) for name, own in outcomes.items()}
    return {**fits, "all": overall}
