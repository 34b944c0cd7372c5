"""Which frames of a drive have neighbours in time that show the same scene from another place."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from rosam_core.drives.base import Drive, Glance
from rosam_core.drives.pair_motion import measure_pair, shrink
from rosam_core.drives.survey import Track, tracks_of
from rosam_core.types import Camera, Float64

log = logging.getLogger(__name__)

NEEDS = ("any", "both", "none")


@dataclasses.dataclass(frozen=True)
class NeighbourOptions:
    """Which images count as neighbours.

    Attributes:
        step: So many frames apart.
        max_gap_s: Never farther apart than this [s]; nuScenes' key frames are 0.5 s apart.
        min_speed_mps: A camera slower than this stands still, and any depth explains its images;
            with 0 all are kept [m/s].
        min_flow_px: The same where poses are not known: median motion of points at 320 px width.
        need: A frame needs `"any"` neighbour, `"both"` or `"none"`.
    """

    step: int = 1
    max_gap_s: float = 0.6
    min_speed_mps: float = 0.3
    min_flow_px: float = 0.12
    need: str = "any"

    def __post_init__(self) -> None:
        if self.need not in NEEDS:
            raise ValueError(f"need must be one of {', '.join(NEEDS)}, got {self.need!r}")
        if self.step < 1 or not self.max_gap_s > 0:
            raise ValueError(
                f"neighbours are 1 or more frames and more than 0 s apart, got step {self.step} "
                f"and max_gap_s {self.max_gap_s}"
            )


@dataclasses.dataclass(frozen=True)
class Neighbour:
    """A frame next to another one.

    Attributes:
        index: Place in the drive.
        seconds: Time between the two, > 0 [s].
        T_neighbour_target: float64[4,4], None where poses are not known.
    """

    index: int
    seconds: float
    T_neighbour_target: Float64 | None

    @property
    def distance_m(self) -> float | None:
        """How far the camera moved between the two [m]."""
        T = self.T_neighbour_target
        return None if T is None else float(np.linalg.norm(T[:3, 3]))


@dataclasses.dataclass(frozen=True)
class Target:
    """A frame to learn depth of, with what lies before and after it.

    Attributes:
        drive: The recording, which holds the neighbours too.
        index: Place of the frame in it.
        previous: The frame before, None if there is none that helps.
        next: The frame after, likewise.
    """

    drive: Drive
    index: int
    previous: Neighbour | None
    next: Neighbour | None


def find_targets(drives: Sequence[Drive], options: NeighbourOptions) -> list[Target]:
    """Returns the frames of drives that can be learned from, in order.

    Args:
        drives: Any; of a drive that lists some frames of a recording, the neighbours are those of
            the recording. Where poses are missing, its images are read once to see motion.
        options: Which images count as neighbours.
    """
    found = []
    for picked in drives:
        drive, chosen = picked.whole()
        stated = {
            index: pair
            for place, index in enumerate(chosen)
            if (pair := picked.stated_neighbours(place)) is not None
        }
        pairs = {}
        for track in tracks_of(drive):
            pairs.update(_pairs(drive, track, options, set(chosen) - set(stated)))
        for index, (before, after) in stated.items():
            pairs[index] = (
                _stated(drive, index, before, options),
                _stated(drive, index, after, options),
            )
        targets = [
            Target(drive, index, *pairs[index])
            for index in chosen
            if _suffices(pairs[index], options.need)
        ]
        if len(targets) < len(chosen):
            log.info(
                "%s: %d of %d frames have no neighbour in motion and are left out",
                picked.name,
                len(chosen) - len(targets),
                len(chosen),
            )
        found += targets
    return found


def _suffices(pair: tuple[Neighbour | None, Neighbour | None], need: str) -> bool:
    there = sum(neighbour is not None for neighbour in pair)
    return there >= {"none": 0, "any": 1, "both": 2}[need]


def _pairs(
    drive: Drive, track: Track, options: NeighbourOptions, chosen: set[int]
) -> dict[int, tuple[Neighbour | None, Neighbour | None]]:
    """Returns the neighbours of every frame of a track, by place in the drive."""
    glances, step = track.glances, options.step
    moves = [
        after < len(glances)
        and {track.indices[place], track.indices[after]} & chosen != set()
        and _joined(glances[place], glances[after], options)
        for place in range(len(glances))
        for after in (place + step,)
    ]
    unknown = [
        place
        for place, joined in enumerate(moves)
        if joined and _speed(glances[place], glances[place + step]) is None
    ]
    if unknown and options.min_flow_px > 0:
        flow = _flows(drive, track, unknown, step)
        for place in unknown:
            # Too few points to follow say nothing: a dark or plain image is no proof of rest.
            moves[place] = not flow[place] < options.min_flow_px
    result = {}
    for place, index in enumerate(track.indices):
        before = after = None
        if place >= step and moves[place - step]:
            before = _neighbour(track.indices[place - step], glances[place - step], glances[place])
        if moves[place]:
            after = _neighbour(track.indices[place + step], glances[place + step], glances[place])
        result[index] = (before, after)
    return result


def _joined(before: Glance, after: Glance, options: NeighbourOptions) -> bool:
    """Returns whether two frames are near in time, of one camera, and moving as far as known."""
    seconds = (after.stamp_ns - before.stamp_ns) / 1e9
    if not 0 < seconds <= options.max_gap_s or before.camera != after.camera:
        return False
    speed = _speed(before, after)
    return speed is None or speed >= options.min_speed_mps


def _speed(before: Glance, after: Glance) -> float | None:
    if before.T_world_camera is None or after.T_world_camera is None:
        return None
    way = np.linalg.norm(after.T_world_camera[:3, 3] - before.T_world_camera[:3, 3])
    return float(way) / max((after.stamp_ns - before.stamp_ns) / 1e9, 1e-9)


def _neighbour(index: int, glance: Glance, target: Glance) -> Neighbour:
    T = None
    if glance.T_world_camera is not None and target.T_world_camera is not None:
        T = np.linalg.inv(glance.T_world_camera) @ target.T_world_camera
    return Neighbour(index, abs(glance.stamp_ns - target.stamp_ns) / 1e9, T)


def _stated(drive: Drive, index: int, other: int, options: NeighbourOptions) -> Neighbour | None:
    """Returns a neighbour that a list names, None if it is not there or shows no motion."""
    if other < 0:
        return None
    glances = drive.glance(index), drive.glance(other)
    before, after = sorted(glances, key=lambda glance: glance.stamp_ns)
    if not _joined(before, after, options):
        return None
    if _speed(before, after) is None and options.min_flow_px > 0:
        one, two = (
            _picture(drive, place, glance.camera)
            for place, glance in zip((index, other), glances, strict=True)
        )
        if _flow(one, two, before.camera) < options.min_flow_px:
            return None
    return _neighbour(other, glances[1], glances[0])


def _flows(
    drive: Drive, track: Track, places: Sequence[int], step: int
) -> npt.NDArray[np.float64]:
    """Returns `_flow` from some frames of a track to the next, NaN elsewhere [px]."""
    flow = np.full(len(track.glances), np.nan)
    pictures: dict[int, npt.NDArray[np.uint8] | None] = {}
    for place in places:
        for wanted in (place, place + step):
            if wanted not in pictures:
                camera = track.glances[wanted].camera
                pictures[wanted] = _picture(drive, track.indices[wanted], camera)
        flow[place] = _flow(
            pictures.pop(place), pictures[place + step], track.glances[place].camera
        )
    return flow


def _picture(drive: Drive, index: int, camera: Camera) -> npt.NDArray[np.uint8] | None:
    """Returns the small grey picture of a frame, None with a warning if it cannot be read."""
    try:
        return shrink(drive.image(index), camera)[0]
    except (ValueError, OSError) as error:
        log.warning("%s: frame %d is nobody's neighbour: %s", drive.name, index, error)
        return None


def _flow(
    before: npt.NDArray[np.uint8] | None, after: npt.NDArray[np.uint8] | None, camera: Camera
) -> float:
    """Returns the median flow between two small pictures [px].

    NaN if too few points are found again, -inf if the two cannot be compared: one is not there,
    or their sizes differ.
    """
    if before is None or after is None or before.shape != after.shape:
        return -np.inf
    return measure_pair(before, after, camera.scaled_to(*before.shape[::-1])).flow_px
