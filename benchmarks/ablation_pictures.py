"""Depth of the adaptation benchmark side by side: the baseline's and that of priors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from ablation_score import RANGE_M, Predictor

from rosam_core.drives.synthetic.drive import encode_image
from rosam_core.drives.training_samples import find_training_drives
from rosam_core.evaluation.metrics import depth_metrics
from rosam_core.evaluation.pictures import colorize_error, contact_sheet, side_by_side
from rosam_core.runtime.colormap import colorize_depth
from rosam_core.types import UInt8

SHARES = (0.5, 0.9)
"""Which drives are shown: those at these shares of the baseline's error, in each condition."""


def draw_depths(
    students: Mapping[str, Path],
    drives: Path,
    conditions: Sequence[str],
    path: Path,
    height: int = 96,
) -> None:
    """Draws image, truth, depth and error of students, a frame a row.

    The frames are chosen by the first student's error alone: the median one and a bad one.

    Args:
        students: Checkpoints by title, the baseline's first.
        drives: Synthetic drives that were scored.
        conditions: Whose frames are shown.
        path: JPEG file to write.
        height: Of each image in it [px].
    """
    predictors = [Predictor(checkpoint) for checkpoint in students.values()]
    found = find_training_drives(drives)
    rows = []
    for condition in conditions:
        errors = [
            depth_metrics(d.depth(0), predictors[0].depth(d.image(condition, 0), d), *RANGE_M)[
                "abs_rel"
            ]
            for d in found
        ]
        order = np.argsort(errors)
        for share in SHARES:
            drive = found[int(order[round(share * (len(order) - 1))])]
            image, truth = drive.image(condition, 0), drive.depth(0)
            panels: list[UInt8] = [image, colorize_depth(truth)]
            words = []
            for predictor in predictors:
                depth = predictor.depth(image, drive)
                panels += [colorize_depth(depth), colorize_error(truth, depth)]
                words.append(f"{depth_metrics(truth, depth, *RANGE_M)['abs_rel']:.3f}")
            label = f"{condition}, {round(100 * share)} % of frames have less error"
            rows.append(side_by_side(panels, height, label, f"AbsRel {', '.join(words)}"))
    title = " | ".join(["image", "truth", *(f"{name}, error" for name in students)])
    path.write_bytes(encode_image(contact_sheet(rows, title), ".jpg"))
