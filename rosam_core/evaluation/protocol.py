"""Runs a model over drives and scores every frame, as `rosam eval` and the benchmarks do."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from rosam_core.drives.opening import find_kind, open_drives
from rosam_core.evaluation.scoring import ImageScore, camera_height, frame_truth, score_image
from rosam_core.runtime.pipeline import DepthPipeline


def score_drives(
    pipeline: DepthPipeline,
    path: Path,
    *,
    kind: str = "auto",
    conditions: Sequence[str] = (),
    min_depth_m: float = 0.1,
    max_depth_m: float = 80.0,
    camera_height_m: float | None = None,
    limit: int | None = None,
) -> tuple[list[ImageScore], int]:
    """Scores every frame of the drives at a path.

    Args:
        pipeline: A `DepthPipeline`.
        path: What `open_drives` opens.
        kind: Kind of drive, or `"auto"`.
        conditions: Only these; all if empty.
        min_depth_m: Lower end of the scored range [m].
        max_depth_m: Upper end of the scored range [m].
        camera_height_m: For the flat-ground baseline where no pose tells it [m].
        limit: At most so many frames, spread evenly over all drives.

    Returns:
        The `ImageScore` of every frame that has a truth, and how many had none.

    Raises:
        ValueError: No frame could be scored.
    """
    kind = find_kind(path) if kind == "auto" else kind
    # The published nuScenes ground truth takes the integer part of the pixel (METHODS section 5).
    rounding = "floor" if kind == "nuscenes" else "nearest"
    drives = open_drives(path, kind, conditions)
    places = [(drive, index) for drive in drives for index in range(len(drive))]
    if limit is not None and 0 < limit < len(places):
        places = [places[i * len(places) // limit] for i in range(limit)]
    scores, left_out = [], 0
    for drive, index in tqdm(places, unit="frame", disable=None, file=sys.stderr):
        frame = drive[index]
        if conditions and frame.condition not in conditions:
            continue
        truth = frame_truth(frame, rounding)
        if truth is None:
            left_out += 1
            continue
        height = camera_height_m
        if height is None and kind != "bag":  # a bag's world may have its origin anywhere
            height = camera_height(frame)
        prediction = pipeline.predict(frame.image, frame.camera)
        scores.append(score_image(frame, truth, prediction, min_depth_m, max_depth_m, height))
    if not scores:
        raise ValueError(
            f"{path}: no frame has exact depth or lidar"
            + (f" in condition {', '.join(conditions)}" if conditions else "")
            + ", so there is nothing to score against"
        )
    return scores, left_out
