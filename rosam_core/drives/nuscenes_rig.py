"""Images of one or several cameras as nuScenes has them: instants in which every camera looks.

nuScenes' cameras are triggered one after the other while the lidar turns once (20 Hz), so the
images of one sample lie up to some 43 ms apart; those of another source are taken together
if they lie no farther apart than `INSTANT_NS`.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from rosam_core.drives.bag_transforms import interpolate
from rosam_core.drives.base import Drive, Glance
from rosam_core.drives.nuscenes_tables import CAMERAS
from rosam_core.types import Float64

INSTANT_NS = 60_000_000
UNKNOWN_WAY_M = 1e6
LONGEST_BRACKET_NS = 2_000_000_000  # poses farther apart say nothing of what lies between


@dataclasses.dataclass(frozen=True)
class Shot:
    """One image: where it is, what is known of it, and the channel that it becomes."""

    drive: Drive
    index: int
    glance: Glance
    channel: str


@dataclasses.dataclass
class Rig:
    """The cameras that recorded one scene together.

    Attributes:
        scene: Name of the scene of its drives.
        channels: Channel of every camera, by its name.
        drives: One for each camera, or one of several.
    """

    scene: str
    channels: dict[str, str]
    drives: list[Drive]

    def shots(self) -> list[Shot]:
        """Returns every image: as a single drive has them, of several in order of time."""
        found = [
            Shot(drive, index, glance, self.channels[glance.camera_name])
            for drive in self.drives
            for index in range(len(drive))
            for glance in (drive.glance(index),)
        ]
        if len(self.drives) > 1:
            found.sort(key=lambda shot: shot.glance.stamp_ns)
        return found


def find_rigs(drives: Sequence[Drive]) -> list[Rig]:
    """Returns drives put together that recorded the same scene with different cameras.

    Args:
        drives: Any drives; those without a frame are left out. Renderings of one scene in several
            conditions have the same camera, and stay apart.

    Raises:
        ValueError: A drive has more cameras than nuScenes.
    """
    rigs: list[Rig] = []
    for drive in drives:
        names = list(dict.fromkeys(drive.glance(i).camera_name for i in range(len(drive))))
        if not names:
            continue
        for rig in rigs:
            added = None
            if rig.scene == drive.scene(0) and not set(names) & set(rig.channels):
                added = channels_of(names, rig.channels.values())
            if added is not None:
                rig.channels.update(added)
                rig.drives.append(drive)
                break
        else:
            channels = channels_of(names)
            if channels is None:
                raise ValueError(
                    f"{drive.name} has the cameras {', '.join(names)}, nuScenes has room for "
                    f"{len(CAMERAS)}, each with a name of its own: {', '.join(CAMERAS)}"
                )
            rigs.append(Rig(drive.scene(0), channels, [drive]))
    return rigs


def channels_of(names: Sequence[str], taken: Iterable[str] = ()) -> dict[str, str] | None:
    """Returns the channel that each camera becomes: by its name, else the next that is free.

    Args:
        names: Of cameras; topics such as `/cam_front_left/image_raw` say their place.
        taken: Channels that are in use.

    Returns:
        Channel by name; None if two cameras have the same place, or none is free.
    """
    in_use = set(taken)
    found: dict[str, str] = {}
    for name in names:
        words = "_" + re.sub(r"[^a-z0-9]+", "_", name.lower()) + "_"
        # Of `front` and `front_left` the longer one.
        fits = [c for c in CAMERAS if f"_{c[4:].lower()}_" in words]
        if fits:
            found[name] = max(fits, key=len)
    if len(set(found.values()) | in_use) < len(found) + len(in_use):
        return None
    free = [c for c in CAMERAS if c not in in_use | set(found.values())]
    unnamed = [name for name in names if name not in found]
    if len(unnamed) > len(free):
        return None
    return {**found, **dict(zip(unnamed, free, strict=False))}


def scenes_of(shots: Iterable[Shot]) -> Iterator[tuple[str, str, list[list[Shot]]]]:
    """Yields runs of one scene and condition: its name, the condition, and its instants.

    An instant ends where a camera comes again, or `INSTANT_NS` after its first image.

    Args:
        shots: Images in order.
    """
    runs = itertools.groupby(shots, lambda s: (s.drive.scene(s.index), s.glance.condition))
    for (scene, condition), run in runs:
        instants: list[list[Shot]] = []
        for shot in run:
            now = instants[-1] if instants else []
            together = bool(now) and shot.channel not in {other.channel for other in now}
            if together:
                stamps = [other.glance.stamp_ns for other in (*now, shot)]
                together = max(stamps) - min(stamps) <= INSTANT_NS
            if together:
                now.append(shot)
            else:
                instants.append([shot])
        yield scene, condition, instants


def reference_of(channels: Iterable[str]) -> str:
    """Returns the camera that the others are calibrated to: the front one, else the first."""
    found = list(channels)
    return CAMERAS[0] if CAMERAS[0] in found else found[0]


def mounts(shots: Sequence[Shot], T_ego_reference: Float64) -> dict[str, Float64]:
    """Returns where the cameras of a rig are mounted, float64[4,4] T_ego_camera by channel.

    A drive tells where its cameras are in the world, each at its own times. The pose of the
    reference camera is interpolated to the time of another camera's image, where it moves least.

    Args:
        shots: Images of the rig.
        T_ego_reference: float64[4,4], mount of the reference camera.
    """
    reference = reference_of(dict.fromkeys(shot.channel for shot in shots))
    known = [shot for shot in shots if shot.glance.T_world_camera is not None]
    own = sorted(
        (shot for shot in known if shot.channel == reference), key=lambda s: s.glance.stamp_ns
    )
    stamps = np.array([shot.glance.stamp_ns for shot in own], np.int64)
    found = {reference: T_ego_reference}
    moved = dict.fromkeys(CAMERAS, np.inf)
    for shot in known:
        if shot.channel == reference or not len(own):
            continue
        T_world_reference, way = _pose_at(own, stamps, shot.glance.stamp_ns)
        if way < moved[shot.channel]:
            moved[shot.channel] = way
            T_reference_camera = np.linalg.inv(T_world_reference) @ _pose_of(shot)
            found[shot.channel] = T_ego_reference @ T_reference_camera
    return found


def _pose_at(
    shots: Sequence[Shot], times: npt.NDArray[np.int64], stamp_ns: int
) -> tuple[Float64, float]:
    """Returns the pose of a camera at a time, and how far it is from its nearest image [m]."""
    after = int(np.searchsorted(times, stamp_ns))
    nearest = min(
        (i for i in (after - 1, after) if 0 <= i < len(times)),
        key=lambda i: abs(int(times[i]) - stamp_ns),
    )
    T = T_nearest = _pose_of(shots[nearest])
    if times[nearest] == stamp_ns:
        return T, 0.0
    if 0 < after < len(times) and times[after] - times[after - 1] <= LONGEST_BRACKET_NS:
        share = (stamp_ns - int(times[after - 1])) / max(int(times[after] - times[after - 1]), 1)
        T = interpolate(_pose_of(shots[after - 1]), _pose_of(shots[after]), share)
        return T, float(np.linalg.norm(T[:3, 3] - T_nearest[:3, 3]))
    return T, UNKNOWN_WAY_M


def _pose_of(shot: Shot) -> Float64:
    pose = shot.glance.T_world_camera
    if pose is None:
        raise ValueError(f"frame {shot.index} has no pose")
    return pose
