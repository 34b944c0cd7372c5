"""The frames of a bag: `/tf` and `/tf_static` as a tree that is asked for transforms."""

from __future__ import annotations

import array
import bisect
import collections
import logging
import re
from typing import Any

import numpy as np

from rosam_core.drives.bag_messages import quaternion_of
from rosam_core.drives.bag_reader import BagMessage
from rosam_core.types import Float64

logger = logging.getLogger(__name__)

TF_TYPES = ("tf2_msgs/msg/TFMessage", "tf/msg/tfMessage")
MAX_GAP_NS = 600_000_000
"""Between transforms further apart, a moving frame is not known; key frames come at 2 Hz."""

MAX_HOLD_NS = 50_000_000
"""Before its first transform and after its last, a moving frame is known for so long."""

MIN_TRAVEL_M = 1.0
"""A link that carries its child further moves the robot; less may be a joint or a correction."""

SAME = 1e-6
"""Transforms whose entries differ by no more are the same [m, or sine of an angle]."""


class TransformTree:
    """Transforms between the frames of a robot, moving ones interpolated in time."""

    def __init__(self) -> None:
        """Makes an empty tree."""
        self._parents: dict[str, str] = {}
        self._static: dict[str, Float64] = {}
        self._moving: dict[str, _Motion] = {}
        self._worlds: dict[str, str | None] = {}  # what was answered, until more is added
        self._grounds: dict[str, str] = {}
        self._damaged: collections.Counter[str] = collections.Counter()

    def read(self, message: BagMessage) -> None:
        """Adds the transforms of a message of a bag; what is damaged is left out and told."""
        static = message.topic.endswith("static")
        try:
            transforms = message.decode().transforms
        except ValueError as error:
            logger.warning("left out: %s", error)
            return
        for transform in transforms:
            stamp = transform.header.stamp
            try:
                T = matrix_of(transform.transform)
            except ValueError as error:
                self._damaged[f"{message.topic}: {transform.child_frame_id}: {error}"] += 1
                continue
            self.add(
                transform.header.frame_id,
                transform.child_frame_id,
                T,
                None if static else stamp.sec * 1_000_000_000 + stamp.nanosec,
            )

    def add(self, parent: str, child: str, T: Float64, stamp_ns: int | None = None) -> None:
        """Adds float64[4,4] T_parent_child, for ever or at a time [ns]."""
        parent, child = parent.lstrip("/"), child.lstrip("/")
        self._forget()
        self._parents[child] = parent
        if stamp_ns is None:
            self._static[child] = T
        else:
            self._moving.setdefault(child, _Motion()).add(stamp_ns, T)

    def settle(self) -> None:
        """Ends the reading, and makes frames static whose transforms, two or more, are the same.

        ROS 1 and some camera drivers repeat mountings on `/tf`, and those are no poses.
        """
        for problem, count in self._damaged.items():
            logger.warning("left out %d transforms: %s", count, problem)
        self._damaged.clear()
        self._forget()
        for child, motion in list(self._moving.items()):
            if len(motion) > 1 and motion.is_still():
                del self._moving[child]
                self._static.setdefault(child, motion.at(0)[1])

    def is_moving(self, frame: str) -> bool:
        """Returns whether any transform between `frame` and its root changes in time."""
        return any(name in self._moving for name in self._chain(frame))

    def world_of(self, frame: str) -> str | None:
        """Returns the frame whose view of `frame` is its pose, None if `frame` does not move.

        `odom` where it is above: localisation corrects it in jumps, which are no motion, and
        often below the rate that poses need (REP 105). Else the highest frame, without links that
        have gaps where the robot already travels below them.
        """
        frame = frame.lstrip("/")
        if frame not in self._worlds:
            self._worlds[frame] = self._find_world(self._chain(frame))
        return self._worlds[frame]

    def _find_world(self, chain: list[str]) -> str | None:
        moving = [place for place, name in enumerate(chain) if name in self._moving]
        if not moving:
            return None
        for place in range(moving[0] + 1, len(chain)):
            # Some SLAM moves the robot by map -> odom, and odom -> base stands still.
            if _is_odometry(chain[place]) and (
                self._travels(chain[:place]) or not self._travels(chain[place:])
            ):
                return chain[place]
        for place in moving:
            if self._moving[chain[place]].has_gaps and self._travels(chain[:place]):
                return chain[place]
        return chain[-1]

    def _ground_of(self, frame: str) -> str:
        """Returns the frame nearest above in which the robot travels; `frame` if none moves it."""
        if frame not in self._grounds:
            chain = self._chain(frame)
            steps = range(1, len(chain))
            nearest = next((chain[p] for p in steps if self._travels(chain[:p])), None)
            if nearest is None:
                # What was told but once says nothing of motion.
                is_tracked = any(len(self._moving.get(name, ())) > 1 for name in chain)
                nearest = (self.world_of(frame) if is_tracked else None) or frame
            self._grounds[frame] = nearest
        return self._grounds[frame]

    def _travels(self, names: list[str]) -> bool:
        found = [self._moving[name] for name in names if name in self._moving]
        return any(motion.travel_m > MIN_TRAVEL_M for motion in found)

    def _forget(self) -> None:
        self._worlds.clear()
        self._grounds.clear()

    def lookup(self, target: str, source: str, stamp_ns: int) -> Float64 | None:
        """Returns float64[4,4] T_target_source at a time [ns], or None if it is not known."""
        target, source = target.lstrip("/"), source.lstrip("/")
        if target == source:
            return np.eye(4)
        targets, sources = self._chain(target), self._chain(source)
        if targets[-1] != sources[-1]:
            return None
        # Frames above the first common one would only add the noise of their interpolation.
        common = next(name for name in targets if name in sources)
        T_common_target = self._compose(targets[: targets.index(common)], stamp_ns)
        T_common_source = self._compose(sources[: sources.index(common)], stamp_ns)
        if T_common_target is None or T_common_source is None:
            return None
        if target == common:
            return T_common_source
        return np.linalg.inv(T_common_target) @ T_common_source

    def lookup_moved(
        self, target: str, target_ns: int, source: str, source_ns: int
    ) -> Float64 | None:
        """Returns T_target_source from a sensor at one time [ns] to another at its own.

        The robot's motion between the two is that in the nearest frame in which it travels; the
        corrections of localisation above would only add their jumps.

        Returns:
            float64[4,4]; None if the frames are not connected, or if what moves is not known at
            either time.
        """
        if target_ns == source_ns:
            return self.lookup(target, source, target_ns)
        above = self._chain(source)
        common = next((name for name in self._chain(target) if name in above), None)
        if common is None:
            return None
        ground = self._ground_of(common)
        T_ground_target = self.lookup(ground, target, target_ns)
        T_ground_source = self.lookup(ground, source, source_ns)
        if T_ground_target is None or T_ground_source is None:
            return None
        return np.linalg.inv(T_ground_target) @ T_ground_source

    def _chain(self, frame: str) -> list[str]:
        chain = [frame.lstrip("/")]
        while chain[-1] in self._parents and self._parents[chain[-1]] not in chain:
            chain.append(self._parents[chain[-1]])
        return chain

    def _compose(self, names: list[str], stamp_ns: int) -> Float64 | None:
        T: Float64 | None = None
        for name in names:
            step = self._static.get(name)
            if step is None:
                step = self._at(name, stamp_ns)
            if step is None:
                return None
            T = step if T is None else step @ T
        return np.eye(4) if T is None else T.copy()

    def _at(self, child: str, stamp_ns: int) -> Float64 | None:
        motion = self._moving[child]
        after = motion.place_of(stamp_ns)
        if after < len(motion) and motion.at(after)[0] == stamp_ns:
            return motion.at(after)[1]
        if not 0 < after < len(motion):
            end, T = motion.at(0 if after == 0 else len(motion) - 1)
            return T if abs(end - stamp_ns) <= MAX_HOLD_NS else None
        (t0, T_before), (t1, T_after) = motion.at(after - 1), motion.at(after)
        if t1 - t0 > MAX_GAP_NS:
            return None
        return interpolate(T_before, T_after, (stamp_ns - t0) / (t1 - t0))


class _Motion:
    """The transforms of one frame, in order of time: 104 bytes each, for a bag holds millions."""

    def __init__(self) -> None:
        self._stamps = array.array("q")
        self._values = array.array("d")  # the upper three rows of each
        self._is_sorted = True

    def __len__(self) -> int:
        return len(self._stamps)

    def add(self, stamp_ns: int, T: Float64) -> None:
        self._is_sorted = self._is_sorted and (not len(self) or stamp_ns >= self._stamps[-1])
        self._stamps.append(stamp_ns)
        self._values.frombytes(np.ascontiguousarray(T[:3], np.float64).tobytes())

    def is_still(self) -> bool:
        """Returns whether all are the same."""
        values = np.frombuffer(self._values).reshape(-1, 12)
        return bool(np.abs(values - values[0]).max() <= SAME)

    @property
    def travel_m(self) -> float:
        """Diagonal of the box that holds all places of the child in its parent [m]."""
        values = np.frombuffer(self._values).reshape(-1, 12)
        return float(np.linalg.norm(np.ptp(values[:, 3::4], axis=0)))

    @property
    def has_gaps(self) -> bool:
        """Whether it is not known somewhere between the first and the last, or was told once."""
        self._sort()
        stamps = np.frombuffer(self._stamps, np.int64)
        return len(stamps) < 2 or bool(np.diff(stamps).max() > MAX_GAP_NS)

    def place_of(self, stamp_ns: int) -> int:
        """Returns the number of the first at or after a time [ns]."""
        self._sort()
        return bisect.bisect_left(self._stamps, stamp_ns)

    def _sort(self) -> None:
        if not self._is_sorted:
            order = np.argsort(np.frombuffer(self._stamps, np.int64), kind="stable")
            stamps = np.frombuffer(self._stamps, np.int64)[order]
            values = np.frombuffer(self._values).reshape(-1, 12)[order]
            self._stamps = array.array("q", stamps.tobytes())
            self._values = array.array("d", values.tobytes())
            self._is_sorted = True

    def at(self, place: int) -> tuple[int, Float64]:
        """Returns the time [ns] and float64[4,4]."""
        T = np.eye(4)
        T[:3] = np.reshape(self._values[12 * place : 12 * place + 12], (3, 4))
        return self._stamps[place], T


def _is_odometry(frame: str) -> bool:
    """Returns whether a frame is named as one of odometry, such as `odom` or `robot/vio_odom`."""
    return "odom" in re.split(r"[/_]", frame)


def interpolate(T_before: Float64, T_after: Float64, share: float) -> Float64:
    """Returns the rigid transform at `share` in [0, 1] of the way between two, float64[4,4]."""
    q0, q1 = np.array(quaternion_of(T_before[:3, :3])), np.array(quaternion_of(T_after[:3, :3]))
    cosine = float(q0 @ q1)
    if cosine < 0:  # q and -q are the same rotation: take the short way
        q1, cosine = -q1, -cosine
    if cosine > 0.9995:  # slerp divides by the sine of a vanishing angle
        q = (1 - share) * q0 + share * q1
    else:
        angle = np.arccos(cosine)
        q = (np.sin((1 - share) * angle) * q0 + np.sin(share * angle) * q1) / np.sin(angle)
    T = np.eye(4)
    T[:3, :3] = rotation_of(q / np.linalg.norm(q))
    T[:3, 3] = (1 - share) * T_before[:3, 3] + share * T_after[:3, 3]
    return T


def rotation_of(quaternion: Any) -> Float64:
    """Returns the rotation matrix float64[3,3] of a unit quaternion x, y, z, w."""
    x, y, z, w = (float(value) for value in quaternion)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def matrix_of(transform: Any) -> Float64:
    """Returns float64[4,4] of a geometry_msgs Transform.

    Raises:
        ValueError: A value is not finite. A quaternion of zeros, which is what a message starts
            with in ROS 1, is no rotation.
    """
    q = np.array([getattr(transform.rotation, name) for name in "xyzw"], np.float64)
    norm = np.linalg.norm(q)
    T = np.eye(4)
    T[:3, :3] = rotation_of(q / norm if norm != 0 else (0, 0, 0, 1))
    T[:3, 3] = [getattr(transform.translation, name) for name in "xyz"]
    if not np.isfinite(T).all():
        raise ValueError("a value is NaN or infinite")
    return T
