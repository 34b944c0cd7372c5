"""Runs a model over drives and scores every frame, as `rosam eval` and the benchmarks do."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from rosam_core.drives.base import Drive, Glance
from rosam_core.drives.findings import missing_in_words
from rosam_core.drives.opening import find_kind, open_drives
from rosam_core.drives.places import places_of, spread
from rosam_core.drives.survey import Track, faults_of
from rosam_core.evaluation.crops import NO_CROP, crop_window, cropped
from rosam_core.evaluation.ego_vehicle import VehicleBox
from rosam_core.evaluation.flicker import FlickerMeter
from rosam_core.evaluation.ground_truth import MODES, GroundTruth, TruthOptions
from rosam_core.evaluation.metrics import scored_places
from rosam_core.evaluation.predictions import AmbiguousPredictionError
from rosam_core.evaluation.scoring import ImageScore, score_image, sized_to
from rosam_core.types import DepthPrediction, Float32, Frame

Predict = Callable[[Frame, Drive, int], "tuple[DepthPrediction, DepthPrediction | None]"]
"""From a frame, its drive and its index there: the prediction, and the one with flip
post-processing if that is measured too."""


Seen = list[tuple[int, Glance]]
"""Frames of a camera that were read, by index."""


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What a pass over drives found.

    Attributes:
        scores: Of every frame that has a truth.
        places: Drive and index of the same frames.
        without_truth: How many frames had none.
        skipped: Frames that could not be read or predicted, and why.
        ground_truth: What made the truth.
        crop: Window that was scored, see `crops`.
        flicker_note: Why flicker could not be measured; empty if it was, or was not asked for.
        digest: 32 hexadecimal digits of the scenes, stamps, cameras, poses and conditions of the
            scored frames; not of their pixels.
        faults: What is wrong with frames, skipped or not, a line each: see `faults_of`; and
            images that are missing.
    """

    scores: list[ImageScore]
    places: list[tuple[Drive, int]]
    without_truth: int
    skipped: list[str]
    ground_truth: GroundTruth
    crop: str = NO_CROP
    flicker_note: str = ""
    digest: str = ""
    faults: tuple[str, ...] = ()

    def truth(self, frame: Frame, drive: Drive) -> Float32 | None:
        """Returns what a frame was scored against, float32[H,W] [m], NaN = not scored."""
        truth = self.ground_truth.of(frame, drive)
        return None if truth is None else cropped(truth, self.crop)


def truth_options(
    kind: str, mode: str = MODES[0], vehicle: VehicleBox | None = None
) -> TruthOptions:
    """Returns how lidar becomes true depth for a kind of drive.

    Args:
        kind: One of `KINDS`.
        mode: One of `ground_truth.MODES`.
        vehicle: The vehicle itself, which is not scored.
    """
    # The published nuScenes ground truth takes the integer part of the pixel (METHODS section 5).
    is_published = kind == "nuscenes" and mode == "protocol"
    return TruthOptions(mode, "floor" if is_published else "nearest", vehicle=vehicle)


def farthest_m(kind: str) -> float:
    """Returns up to where published figures of a kind of drive score depth [m].

    Args:
        kind: One of `KINDS`.
    """
    return 50.0 if kind == "robotcar" else 80.0  # METHODS section 5


def score_drives(
    predict: Predict,
    path: Path,
    *,
    kind: str = "auto",
    conditions: Sequence[str] = (),
    min_depth_m: float = 0.1,
    max_depth_m: float = 80.0,
    camera_height_m: float | None = None,
    limit: int | None = None,
    drives: Sequence[Drive] = (),
    ground_truth: GroundTruth | None = None,
    crop: str = NO_CROP,
    lidar_boundaries: bool = False,
    flicker: bool = False,
) -> Evaluation:
    """Scores every frame of the drives at a path.

    Args:
        predict: Makes or reads the depth of a frame.
        path: What `open_drives` opens.
        kind: Kind of drive, or `"auto"`.
        conditions: Only these; all if empty.
        min_depth_m: Lower end of the scored range [m].
        max_depth_m: Upper end of the scored range [m].
        camera_height_m: For the flat-ground baseline, instead of what the drive tells [m].
        limit: At most so many frames of these conditions, spread evenly over all drives.
        drives: The drives of `path`, if the caller has opened them.
        ground_truth: Makes the truth; by default the published one of the kind.
        crop: Window of the truth that is scored, see `crops`.
        lidar_boundaries: Score boundaries between lidar points where there is no exact depth.
        flicker: Measure flicker where there is no exact depth, too.

    Returns:
        The scores; a frame that cannot be read is named and counted, not fatal.

    Raises:
        ValueError: No frame could be scored, says why; no such crop, an empty range, or a limit
            below 1.
    """
    crop_window(crop, 1, 1)
    if limit is not None and limit < 1:
        raise ValueError(f"--limit must be at least 1, got {limit}: leave it out for every frame")
    if not 0 < min_depth_m < max_depth_m:
        raise ValueError(f"nothing lies between {min_depth_m:g} and {max_depth_m:g} m of depth")
    kind = find_kind(path) if kind == "auto" else kind
    drives = drives or open_drives(path, kind, conditions)
    places = places_of(drives, conditions)
    if not places:
        wanted = f" of condition {', '.join(conditions)}" if conditions else ""
        raise ValueError(f"{path} has no frame{wanted}, so there is nothing to score")
    if limit is not None:
        places = spread(places, limit)
    found = Evaluation([], [], 0, [], ground_truth or GroundTruth(truth_options(kind)), crop)
    without_truth, digest = 0, hashlib.sha256()
    meter = FlickerMeter((min_depth_m, max_depth_m), flicker)
    tracks: dict[tuple[int, str, str], Seen] = {}
    posed = functools.cache(_has_poses)
    for drive, index in tqdm(places, unit="frame", disable=None, file=sys.stderr):
        scene = drive.scene(index)
        try:
            frame = drive[index]
            if conditions and frame.condition not in conditions:
                continue
            seen = Glance(frame.stamp_ns, frame.camera, frame.T_world_camera)
            key = (id(drive), scene, frame.camera_name)
            before = tracks.setdefault(key, [])
            before.append((index, seen))
            _refuse_doubtful(frame, before, functools.partial(posed, drive))
            truth = found.truth(frame, drive)
            if truth is None:
                without_truth += 1
                continue
            scored = scored_places(truth, min_depth_m, max_depth_m)
            if not scored.size:
                raise ValueError(
                    f"no pixel has a true depth between {min_depth_m:g} and {max_depth_m:g} m: "
                    "is its scan empty?"
                )
            prediction, flipped = predict(frame, drive, index)
        except AmbiguousPredictionError:
            raise  # no frame before it can be trusted either
        except (ValueError, OSError) as error:
            found.skipped.append(f"{scene} frame {index}: {error}")
            continue
        height = drive.camera_height(index) if camera_height_m is None else camera_height_m
        limits = (min_depth_m, max_depth_m)
        score = score_image(
            frame, truth, prediction, *limits, height, scene, flipped, lidar_boundaries, scored
        )
        depth = sized_to(prediction.depth, truth)
        change = meter.of(frame, truth, depth, drive, scene)
        found.scores.append(dataclasses.replace(score, flicker=change))
        found.places.append((drive, index))
        T = frame.T_world_camera
        about = (scene, frame.camera_name, frame.stamp_ns, frame.condition, frame.camera)
        digest.update(repr((*about, None if T is None else T.round(9).tolist())).encode())
        del frame, truth, prediction, flipped, depth  # the next frame takes their memory
    if not found.scores:
        if found.skipped:
            raise ValueError(
                f"{path}: none of {len(found.skipped)} frames could be scored; the first: "
                + found.skipped[0]
            )
        lidar = "" if all(drive.only_depth_is_truth for drive in drives) else " or lidar"
        raise ValueError(
            f"{path}: none of {without_truth} frames has exact depth{lidar}"
            + (f" in condition {', '.join(conditions)}" if conditions else "")
            + ", so there is nothing to score against"
        )
    if not any(score.metric["n"] for score in found.scores):
        raise ValueError(
            f"{path}: in none of {len(found.scores)} frames a pixel with true depth has a "
            "predicted one: every value is NaN, or 0 in a PNG"
        )
    return dataclasses.replace(
        found,
        without_truth=without_truth,
        flicker_note=meter.note,
        digest=digest.hexdigest()[:32],
        faults=tuple(_faults(drives, tracks)),
    )


def _has_poses(drive: Drive) -> bool:
    """Returns whether the pose of any frame is known."""
    return any(drive.glance(i).T_world_camera is not None for i in range(len(drive)))


def _refuse_doubtful(frame: Frame, seen: Seen, has_poses: Callable[[], bool]) -> None:
    """Refuses a frame whose stamp or pose cannot be right: its lidar may be of another instant.

    Raises:
        ValueError: The stamp is not after that of the frame before; or the frame has lidar and
            no pose, but others of the drive have one.
    """
    if len(seen) > 1 and frame.stamp_ns <= seen[-2][1].stamp_ns:
        raise ValueError("its stamp is not after that of the frame before")
    needs_pose = frame.depth is None and frame.lidar is not None
    if needs_pose and frame.T_world_camera is None and has_poses():
        raise ValueError(
            "it has no pose, unlike others of this drive: its scan cannot be moved to the time of "
            "the image"
        )


def _faults(drives: Sequence[Drive], tracks: Mapping[Any, Seen]) -> list[str]:
    """Returns a line for each drive with missing images, and those of `faults_of`.

    Args:
        drives: What was scored.
        tracks: Frames that were read, by drive, scene and camera.
    """
    lines = [f"{d.name}: {missing_in_words(d.missing)}" for d in drives if d.missing]
    for (_, scene, camera), seen in tracks.items():
        lines += faults_of(Track(scene, camera, *zip(*seen, strict=True)))
    return lines
