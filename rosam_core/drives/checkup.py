"""Checks of a drive that need no image: time stamps, poses and intrinsics."""

from __future__ import annotations

import numpy as np

from rosam_core.drives.findings import ERROR, WARNING, Finding
from rosam_core.drives.survey import Track
from rosam_core.types import Camera

GAP_STEPS = 1.5
"""Time to the next frame, in usual steps, from which on frames have been dropped."""

BREAK_S = 10.0
"""Longer gaps are not dropped frames, but the end of one recording and the start of another."""

STILL_MPS = 0.3
"""Below this speed nothing moves enough between frames to tell depth."""

STILL_FRAMES = 3
"""Shorter stretches are not worth a word."""

FASTEST_MPS = 70.0
HARDEST_MPS2 = 30.0
"""Speed and acceleration (3 g) that no robot on wheels has: poses that need more jump."""

FOV_RANGE_DEG = (20.0, 150.0)
OFF_CENTRE = 0.15
"""Share of the size by which a principal point may be off the middle before it is doubted."""

PIXEL_ASPECT = 1.1


def check_stamps(track: Track) -> list[Finding]:
    """Finds stamps that repeat or go back, frames that were dropped, and breaks.

    Args:
        track: The frames of one camera.
    """
    steps, usual = track.steps_s, track.step_s
    after = np.array(track.indices[1:], np.int64)
    found = []
    back, same = after[steps < 0], after[steps == 0]
    if back.size:
        found.append(
            Finding(
                "stamps",
                ERROR,
                f"{back.size} frames are older than the one before them, by up to "
                f"{-steps.min():.3f} s",
                "sort the frames by time, or leave the older ones out: pairs go the wrong way",
                _ints(back),
            )
        )
    if same.size:
        found.append(
            Finding(
                "stamps",
                ERROR,
                f"{same.size} frames have the stamp of the one before them",
                "leave one of each pair out, or mend the driver's clock",
                _ints(same),
            )
        )
    if usual is None:
        return found
    breaks = steps > max(BREAK_S, 10 * usual)
    if breaks.any():
        found.append(
            Finding(
                "interrupted",
                WARNING,
                f"{int(breaks.sum())} breaks of up to {steps.max():.0f} s: several recordings in "
                "one?",
                "give each recording a folder or bag of its own",
                _ints(after[breaks]),
            )
        )
    late = (steps > GAP_STEPS * usual) & ~breaks
    if late.any():
        lost = int(np.round(steps[late] / usual - 1).sum())
        longest = steps[late].max()
        found.append(
            Finding(
                "dropped",
                WARNING,
                f"about {lost} frames are missing in {int(late.sum())} gaps of up to "
                f"{longest:.3f} s, usual {usual:.3f} s",
                "cut the drive at the gaps: pairs across them move too far; while recording, use "
                "a faster disk or less data",
                _ints(after[late]),
            )
        )
    return found


def check_poses(track: Track) -> list[Finding]:
    """Finds missing, jumping and distorted poses, and stretches of standing still.

    Args:
        track: The frames of one camera.
    """
    poses = [glance.T_world_camera for glance in track.glances]
    indices = np.array(track.indices, np.int64)
    known = np.array([pose is not None for pose in poses])
    if not known.any():
        return []
    found = []
    if not known.all():
        found.append(
            Finding(
                "poses",
                WARNING,
                f"{int((~known).sum())} of {len(poses)} frames have no pose",
                "leave them out where metric scale is learnt, or record poses throughout",
                _ints(indices[~known]),
            )
        )
    rotations = [pose[:3, :3] for pose in poses if pose is not None]
    skew = [np.abs(R @ R.T - np.eye(3)).max() + abs(np.linalg.det(R) - 1) for R in rotations]
    bad = np.array(skew) > 1e-3
    if bad.any():
        found.append(
            Finding(
                "poses",
                ERROR,
                f"{int(bad.sum())} poses are no rigid transforms (off by {max(skew):.3g})",
                "write rotations as unit quaternions or orthonormal matrices, right-handed",
                _ints(indices[known][bad]),
            )
        )
    found += _check_motion(track)
    return found


def _check_motion(track: Track) -> list[Finding]:
    """Finds jumps and standing still in the poses."""
    indices = np.array(track.indices, np.int64)
    steps = track.steps_s
    moved = np.linalg.norm(np.diff(track.positions(), axis=0), axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        speed = np.where(steps > 0, moved / steps, np.nan)
        change = np.abs(np.diff(speed)) / steps[1:]
    found = []
    jumps = np.zeros(len(steps), bool)
    jumps |= np.nan_to_num(speed) > FASTEST_MPS
    jumps[1:] |= np.nan_to_num(change, posinf=0) > HARDEST_MPS2
    if jumps.any():
        found.append(
            Finding(
                "poses",
                ERROR,
                f"poses jump at {int(jumps.sum())} frames: up to {np.nanmax(speed):.0f} m/s, and "
                f"{np.nanmax(np.nan_to_num(change, posinf=0), initial=0):.0f} m/s2 between frames",
                "leave the frames out; mend resets of odometry, and stamps of poses that are not "
                "those of their images",
                _ints(indices[1:][jumps]),
            )
        )
    still = long_runs(np.nan_to_num(speed, nan=np.inf) < STILL_MPS, STILL_FRAMES)
    if still.any():
        found.append(still_finding(indices[1:][still], len(indices), f"below {STILL_MPS} m/s"))
    return found


def still_finding(frames: np.ndarray, of: int, how: str) -> Finding:
    """Returns the finding for frames in which the camera does not move.

    Args:
        frames: Their indices in the drive.
        of: Number of frames looked at.
        how: By what it shows.
    """
    return Finding(
        "stationary",
        ERROR if len(frames) > 0.8 * of else WARNING,
        f"the camera stands still in {len(frames)} of {of} frames ({how})",
        "leave them out of self-supervised training: without motion any depth explains a frame",
        _ints(frames),
    )


def check_cameras(track: Track) -> list[Finding]:
    """Finds intrinsics that can hardly be right, or that change on the way.

    Args:
        track: The frames of one camera.
    """
    glances = track.glances
    found = []
    for camera in dict.fromkeys(glance.camera for glance in glances):
        frames = [i for i, g in zip(track.indices, glances, strict=True) if g.camera == camera]
        own = () if len(frames) == len(glances) else tuple(frames)
        found += [
            Finding("intrinsics", WARNING, doubt, "calibrate the camera (camera_calibration)", own)
            for doubt in doubts(camera)
        ]
    changes = track.changes
    if changes:
        found.append(
            Finding(
                "intrinsics",
                WARNING,
                f"intrinsics change {len(changes)} times on the way",
                "fix zoom and focus; if the camera was calibrated again, split the drive there",
                tuple(changes),
            )
        )
    return found


def check_scans(track: Track) -> list[Finding]:
    """Finds frames whose lidar scan holds no point.

    Args:
        track: The frames of one camera.
    """
    pairs = zip(track.indices, track.glances, strict=True)
    empty = tuple(index for index, glance in pairs if glance.has_empty_scan)
    if not empty:
        return []
    return [
        Finding(
            "scans",
            WARNING,
            f"the lidar scans of {len(empty)} of {len(track.glances)} frames hold no point",
            "copy these scans again, or leave the frames out: they have no true depth",
            empty,
        )
    ]


def doubts(camera: Camera) -> list[str]:
    """Returns what is strange about intrinsics, in words.

    Args:
        camera: The intrinsics.
    """
    found = []
    low, high = FOV_RANGE_DEG
    if not low <= camera.fov_x_deg <= high and camera.distortion_model != "equidistant":
        found.append(
            f"the view is {camera.fov_x_deg:.0f} degrees wide (fx {camera.fx:.1f} px at "
            f"{camera.width} px): are they those of another image size?"
        )
    for name, at, size in (("cx", camera.cx, camera.width), ("cy", camera.cy, camera.height)):
        if abs((at + 0.5) / size - 0.5) > OFF_CENTRE:
            found.append(
                f"{name} {at:.1f} px is far from the middle of {size} px: was the image cropped "
                "or resized?"
            )
    aspect = camera.fy / camera.fx
    if not 1 / PIXEL_ASPECT < aspect < PIXEL_ASPECT:
        found.append(f"pixels are not square (fy / fx = {aspect:.2f}): was the image stretched?")
    return found


def long_runs(flags: np.ndarray, least: int) -> np.ndarray:
    """Returns the flags without short runs.

    Args:
        flags: bool[N].
        least: Runs of fewer than this are dropped.
    """
    kept = flags.copy()
    start = None
    for at, flag in enumerate([*flags.tolist(), False]):
        if flag and start is None:
            start = at
        elif not flag and start is not None:
            if at - start < least:
                kept[start:at] = False
            start = None
    return kept


def _ints(values: np.ndarray) -> tuple[int, ...]:
    return tuple(int(value) for value in values)
