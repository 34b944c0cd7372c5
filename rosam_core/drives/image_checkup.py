"""Checks of a drive that look at its images, pair by pair, and at poses beside them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np

from rosam_core.drives.base import Drive
from rosam_core.drives.checkup import (
    GAP_STEPS,
    STILL_FRAMES,
    check_cameras,
    check_poses,
    check_scans,
    check_stamps,
    long_runs,
    still_finding,
)
from rosam_core.drives.findings import ERROR, WARNING, Finding
from rosam_core.drives.image_files import looks_like_mosaic
from rosam_core.drives.pair_motion import PairMotion, measure_pair, shrink
from rosam_core.drives.pose_agreement import check_rotations, turning_rad
from rosam_core.drives.survey import Track, tracks_of

BLOCK = 20
"""Pairs are examined in blocks of so many neighbours: standing still shows in a run."""

SAME_DIFFERENCE = 0.02
"""Mean difference of grey levels below which two pictures are one; noise makes 0.3 and more."""

EXPOSURE_JUMP = 0.3
"""Change of brightness from frame to frame [log2]; 0.3 is 23 %."""

STILL_FLOW_PX = 0.12
"""Median motion, at 320 px width, of a camera that stands still."""

LITTLE_PARALLAX_PX = 0.5
"""Below this, at 320 px width, depth is learnt from little but noise."""


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two neighbouring frames of a track, by their place in it, and what changed."""

    before: int
    motion: PairMotion


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """What is wrong with the frames of one camera in one scene.

    Attributes:
        track: The frames.
        pairs: Pairs of images that were examined.
        findings: What was found, errors first.
        turning_rad: By how much poses turn in these pairs, in sum [rad].
    """

    track: Track
    pairs: int
    findings: list[Finding]
    turning_rad: float = 0.0

    @property
    def has_poses(self) -> bool:
        """Poses are known, so that turns of the images can be compared with them."""
        return any(glance.T_world_camera is not None for glance in self.track.glances)


def diagnose(
    drive: Drive, pairs: int = 400, progress: Callable[[], object] = lambda: None
) -> list[Diagnosis]:
    """Examines a drive.

    Args:
        drive: Any drive.
        pairs: At most so many pairs of images, in blocks spread over the drive; 0 looks at none.
        progress: Called after each pair.

    Returns:
        One diagnosis for each camera of each scene.
    """
    tracks = tracks_of(drive)
    total = sum(len(track.indices) - 1 for track in tracks)
    found = []
    for track in tracks:
        own = len(track.indices) - 1
        count = own if total <= pairs else math.ceil(pairs * own / max(total, 1))
        findings = [*check_cameras(track), *check_stamps(track), *check_poses(track)]
        findings += check_scans(track)
        seen, unreadable, mosaics = examine(drive, track, spread(own, min(count, own)), progress)
        findings += check_pairs(track, seen, unreadable)
        if mosaics:
            findings.append(mosaic_finding(mosaics))
        findings.sort(key=lambda finding: finding.severity != ERROR)
        turning = turning_rad(track, [pair.before for pair in seen])
        found.append(Diagnosis(track, len(seen), findings, turning))
    return found


def spread(total: int, count: int) -> list[int]:
    """Returns at most `count` of `total` numbers from 0, in blocks spread evenly.

    Args:
        total: Numbers there are.
        count: Numbers wanted.
    """
    if count >= total:
        return list(range(total))
    blocks = max(1, count // BLOCK)
    length = count // blocks
    starts = [round(i * (total - length) / max(1, blocks - 1)) for i in range(blocks)]
    return sorted({start + i for start in starts for i in range(length)})


def examine(
    drive: Drive, track: Track, places: Sequence[int], progress: Callable[[], object]
) -> tuple[list[Pair], dict[int, str], list[int]]:
    """Reads images and compares neighbours.

    Args:
        drive: The drive.
        track: Frames of one camera.
        places: First frames of the pairs, by place in the track, ascending.
        progress: Called after each pair.

    Returns:
        pairs: Those whose images could both be read and compared.
        unreadable: By index in the drive, why a frame could not be read.
        mosaics: Frames that look like a raw mosaic, by index in the drive.
    """
    unreadable: dict[int, str] = {}
    mosaics: list[int] = []
    pairs = []
    last_place, last = -1, None
    steps, usual = track.steps_s, track.step_s or 0.0

    def read(place: int) -> object:
        try:
            frame = drive[track.indices[place]]
            if looks_like_mosaic(frame.image):
                mosaics.append(track.indices[place])
            return shrink(frame.image, frame.camera)
        except (ValueError, OSError) as error:
            unreadable[track.indices[place]] = str(error)
            return None

    for place in places:
        before = last if last_place == place else read(place)
        after = read(place + 1)
        last_place, last = place + 1, after
        near = 0 < steps[place] <= GAP_STEPS * usual
        if before is not None and after is not None and near and before[1] == after[1]:
            pairs.append(Pair(place, measure_pair(before[0], after[0], before[1])))
        progress()
    return pairs, unreadable, mosaics


def mosaic_finding(frames: Sequence[int]) -> Finding:
    """Returns the finding for frames that look like a raw mosaic, by index in the drive."""
    return Finding(
        "mosaic",
        ERROR,
        f"{len(frames)} frames look like a raw Bayer mosaic that is read as grey",
        "state the pattern with --bayer, in a bag as the encoding (bayer_rggb8, ...); of RobotCar "
        "open the whole traversal",
        tuple(frames),
    )


def check_pairs(track: Track, pairs: Sequence[Pair], unreadable: dict[int, str]) -> list[Finding]:
    """Finds what is wrong with the images.

    Args:
        track: Frames of one camera.
        pairs: What changed from frame to frame.
        unreadable: Frames that could not be read.
    """
    found = []
    if unreadable:
        index, error = next(iter(unreadable.items()))
        found.append(
            Finding(
                "unreadable",
                ERROR,
                f"{len(unreadable)} frames cannot be read; frame {index}: {error}",
                "copy these files again, or remove them",
                tuple(unreadable),
            )
        )
    if not pairs:
        return found
    after = np.array([track.indices[pair.before + 1] for pair in pairs], np.int64)
    motions = [pair.motion for pair in pairs]
    same = np.array([motion.difference < SAME_DIFFERENCE for motion in motions])
    if same.any():
        found.append(
            Finding(
                "duplicate",
                ERROR,
                f"{int(same.sum())} of {len(pairs)} frames show the very picture before them",
                "leave them out: a pair without change teaches depth without end; look for a "
                "driver or converter that repeats frames",
                _ints(after[same]),
            )
        )
    exposure = np.array([motion.exposure for motion in motions])
    jumps = np.abs(exposure) > EXPOSURE_JUMP
    if jumps.any():
        worst = exposure[np.argmax(np.abs(exposure))]
        found.append(
            Finding(
                "exposure",
                WARNING,
                f"brightness jumps at {int(jumps.sum())} of {len(pairs)} frames, by a factor of "
                f"up to {2 ** abs(worst):.2f}",
                "fix exposure, gain and white balance while recording, or leave the frames out: "
                "the photometric error takes the jump for a wrong depth",
                _ints(after[jumps]),
            )
        )
    found += _check_flow(track, pairs, after, same)
    found += check_rotations(track, [(p.before, p.motion) for p in pairs])
    return found


def _check_flow(
    track: Track, pairs: Sequence[Pair], after: np.ndarray, same: np.ndarray
) -> list[Finding]:
    flow = np.array([pair.motion.flow_px for pair in pairs])
    parallax = np.array([pair.motion.parallax_px for pair in pairs])
    known = np.isfinite(flow)
    found = []
    lost = ~known & ~same
    if lost.mean() > 0.2:
        found.append(
            Finding(
                "tracking",
                WARNING,
                f"{int(lost.sum())} of {len(pairs)} pairs can hardly be followed from one frame "
                "to the next",
                "record at a higher rate or with a shorter exposure; look at the frames: dark, "
                "blurred, covered or without texture?",
                _ints(after[lost]),
            )
        )
    still = known & (flow < STILL_FLOW_PX)
    has_poses = sum(g.T_world_camera is not None for g in track.glances) > 1
    runs = long_runs(still & ~same, STILL_FRAMES)
    if runs.any() and not has_poses:  # poses tell it better: a near car may move, too
        how = f"less than {STILL_FLOW_PX:g} px of motion at 320 px width"
        found.append(still_finding(after[runs], len(pairs), how))
    moving = known & ~still
    if moving.sum() < 10:
        return found
    little = moving & (parallax < LITTLE_PARALLAX_PX)
    if little.sum() > 0.5 * moving.sum():
        usual = float(np.median(parallax[moving]))
        every = math.ceil(2 * LITTLE_PARALLAX_PX / max(usual, 0.05))
        found.append(
            Finding(
                "parallax",
                WARNING,
                f"{int(little.sum())} of {int(moving.sum())} moving pairs have under "
                f"{LITTLE_PARALLAX_PX:g} px of parallax at 320 px width (median {usual:.2f} px)",
                f"use every {every}th frame, or drive faster; a camera that only turns shows no "
                "depth at all",
                _ints(after[little]),
            )
        )
    return found


def _ints(values: np.ndarray) -> tuple[int, ...]:
    return tuple(int(value) for value in values)
