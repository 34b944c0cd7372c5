"""Scores a checkpoint of the adaptation benchmark on drives with exact depth."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from rosam_core.checkpoint import load_checkpoint, load_student_weights, student_facts
from rosam_core.drives.training_samples import DriveIndex, find_training_drives
from rosam_core.evaluation.boundaries import boundary_scores
from rosam_core.evaluation.metrics import depth_metrics
from rosam_core.evaluation.objects import object_spread
from rosam_core.models import create_model
from rosam_core.types import Float32, ModelCard, UInt8, card_path

RANGE_M = (0.5, 80.0)
FIGURES = ("abs_rel", "rmse", "delta1", "boundary_f1", "object_spread")


class Predictor:
    """The averaged weights of a checkpoint, as what turns images into metres."""

    def __init__(self, weights: Path) -> None:
        """Loads them.

        Args:
            weights: Checkpoint of `rosam train`, or an exported ONNX file with its card.
        """
        if weights.suffix == ".onnx":
            card = ModelCard.load(card_path(weights))
            name, self.size = card.architecture, (card.input_width, card.input_height)
        else:
            recipe = yaml.safe_load(load_checkpoint(weights)["recipe"])
            name, data = recipe["model"]["name"], recipe["data"]
            self.size = (data["width"], data["height"])
        self.model = create_model(name)
        load_student_weights(self.model, weights)
        self.model.eval()
        self.canonical_focal_px = student_facts(weights).canonical_focal_px

    @torch.no_grad()
    def depth(self, image: UInt8, drive: DriveIndex) -> Float32:
        """Returns float32[h,w] [m] of uint8[h,w,3] RGB, which has the network's size."""
        if (image.shape[1], image.shape[0]) != self.size:
            raise ValueError(f"{drive.folder.name} is not {self.size[0]}x{self.size[1]}")
        pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
        inverse = self.model(pixels)["inverse_depth"][0, 0].numpy()
        focal = np.sqrt(drive.camera.fx * drive.camera.fy)
        return np.asarray(focal / self.canonical_focal_px / inverse, np.float32)


def score(weights: Path, drives: Path) -> dict[str, Any]:
    """Returns figures by condition: the mean over scenes, and each scene's, in the drives' order.

    Everything is metric, without any scaling, from 0.5 to 80 m.

    Args:
        weights: See `Predictor`.
        drives: Folder of synthetic drives, each rendered in every condition.
    """
    predictor = Predictor(weights)
    by_scene: dict[str, dict[str, list[float | None]]] = defaultdict(lambda: defaultdict(list))
    for drive in find_training_drives(drives):
        for condition in drive.conditions:
            frames = [_frame(predictor, drive, condition, i) for i in range(drive.frames)]
            for name in FIGURES:
                values = [f[name] for f in frames if not np.isnan(f[name])]
                by_scene[condition][name].append(_rounded(values))
    return {
        condition: {
            **{name: _rounded([v for v in figures[name] if v is not None]) for name in FIGURES},
            "scenes": dict(figures),
        }
        for condition, figures in sorted(by_scene.items())
    }


def _rounded(values: Sequence[float]) -> float | None:
    """Returns the mean to 5 places, None of nothing: JSON has no NaN."""
    return round(float(np.mean(values)), 5) if values else None


def _frame(
    predictor: Predictor, drive: DriveIndex, condition: str, index: int
) -> dict[str, float]:
    truth, instances = drive.depth(index), drive.instances(index)
    shown = predictor.depth(drive.image(condition, index), drive)
    figures = depth_metrics(truth, shown, *RANGE_M)
    edges = boundary_scores(truth, shown, *RANGE_M, instances)
    return {
        **{name: figures[name] for name in ("abs_rel", "rmse", "delta1")},
        "boundary_f1": float("nan") if edges is None else edges["f1"],
        "object_spread": object_spread(truth, shown, instances, *RANGE_M),
    }
