"""Poses of a KITTI recording from the packets of its inertial navigation system."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rosam_core.drives.bag_transforms import interpolate
from rosam_core.drives.kitti_calibration import oxts_pose, read_oxts, read_stamps
from rosam_core.types import Float64

logger = logging.getLogger(__name__)

FURTHEST_NS = 50_000_000
"""A packet whose stamp is further from that of its image than this is taken as it is: half a
step off, one of the two stamps is wrong."""

LONGEST_STEP_NS = 300_000_000
"""Packets further apart than this are not interpolated between."""


def inertial_poses(
    name: str, packets: Path, stems: Sequence[str], stamps_ns: Sequence[int]
) -> dict[str, Float64]:
    """Returns the pose of the inertial unit at the time of each image, by the image's name.

    The packet of an image is up to 20 ms older or newer than it. The devkit takes it as it is;
    here the pose moves on between packets to the image's own time, where `oxts/timestamps.txt`
    tells the packets'. On the drive 2011_09_26_0013, at 11.7 m/s, speeds between frames are then
    0.06 m/s off the measured ones (standard deviation), 0.54 m/s as paired.

    Args:
        name: Of the drive, for messages.
        packets: The folder `oxts/data`.
        stems: Names of the images.
        stamps_ns: Their times [ns].

    Returns:
        float64[4,4] each, to a world of east, north and up whose origin is the first whole
        packet; a frame without a whole packet is left out.
    """
    found: dict[str, Float64] = {}
    problems = []
    for stem in stems:
        try:
            found[stem] = read_oxts(packets / f"{stem}.txt")
        except (ValueError, OSError) as error:
            problems.append(str(error))
    if problems:
        logger.warning(
            "%s: %d frames without pose, the first: %s", name, len(problems), problems[0]
        )
    if not found:
        return {}
    first = next(iter(found.values()))
    origin = oxts_pose(first, first[0])[:3, 3]
    poses = {}
    for stem, packet in found.items():
        poses[stem] = oxts_pose(packet, first[0])
        poses[stem][:3, 3] -= origin
    times = _packet_times(packets.parent / "timestamps.txt", list(poses))
    if len(times) < 2:
        return poses
    known = sorted(times, key=lambda stem: times[stem])
    at = np.array([times[stem] for stem in known], np.int64)
    moved = {}
    for stem, stamp in zip(stems, stamps_ns, strict=True):
        if stem not in poses:
            continue
        moved[stem] = poses[stem]
        if abs(times.get(stem, 0) - stamp) > FURTHEST_NS:
            continue
        after = int(np.clip(np.searchsorted(at, stamp), 1, len(at) - 1))
        step = int(at[after] - at[after - 1])
        if 0 < step <= LONGEST_STEP_NS:
            share = (stamp - int(at[after - 1])) / step
            moved[stem] = interpolate(poses[known[after - 1]], poses[known[after]], share)
    return moved


def _packet_times(path: Path, stems: Sequence[str]) -> dict[str, int]:
    """Returns the times of packets by name [ns]; a packet's name is its line, counted from 0."""
    if not path.is_file():
        return {}
    stamps = read_stamps(path)
    numbers = {stem: int(stem) for stem in stems if stem.isdigit()}
    return {
        stem: stamp
        for stem, number in numbers.items()
        if number < len(stamps) and (stamp := stamps[number]) is not None
    }
