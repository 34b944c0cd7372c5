"""RobotCar's lidar: scans of seconds put together at one time, and true depth made of them."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from rosam_core.drives.robotcar_files import (
    read_extrinsics,
    read_scan,
    read_stamps,
    stamps_of_files,
)
from rosam_core.drives.robotcar_poses import Trajectory
from rosam_core.types import Camera, Float32, Float64

logger = logging.getLogger(__name__)

SENSORS = ("lms_front", "lms_rear", "ldmrs")
"""Two vertical single-plane scanners (50 Hz) and a four-plane one (12.5 Hz)."""

WINDOW_S = 4.0
"""Scans up to so long before and after an image make its true depth, as md4all has it [s]."""

TRUTHS = ("corrected", "sdk_compat")
"""How lidar becomes true depth: with the pose of each scan's own time, or as it was published."""

KEPT_SCANS = 2048


class LidarScans:
    """The scans of one lidar of a traversal; those of neighbouring images are read once."""

    def __init__(self, traversal: Path, sensor: str, extrinsics: Path) -> None:
        """Reads the times and the calibration.

        Args:
            traversal: Holds the sensor's folder and its `.timestamps`.
            sensor: One of `SENSORS`.
            extrinsics: Folder of extrinsic calibrations.

        Raises:
            FileNotFoundError: A file is missing; the message names it.
            ValueError: An unknown sensor, or a damaged file.
        """
        if sensor not in SENSORS:
            raise ValueError(f"unknown lidar {sensor!r}: expected {', '.join(SENSORS)}")
        self.sensor = sensor
        self.folder = traversal / sensor
        self.stamps = read_stamps(traversal / f"{sensor}.timestamps")
        self.T_vehicle_lidar = read_extrinsics(extrinsics / f"{sensor}.txt")
        self._scans: dict[int, Float64] = {}
        missing = self.stamps[~np.isin(self.stamps, stamps_of_files(self.folder, ".bin"))]
        self._missing = frozenset(missing.tolist())
        if len(missing):
            logger.warning(
                "%s: %d of %d scans have no file, first %d: parts not downloaded?",
                self.folder,
                len(missing),
                len(self.stamps),
                missing[0],
            )

    def has_cloud(
        self, stamp: int, trajectory: Trajectory, window_us: int, truth: str = TRUTHS[0]
    ) -> bool:
        """Returns whether `cloud` has scans to move and a pose to move them to.

        Args:
            stamp: The time [us].
            trajectory: Poses of the vehicle.
            window_us: How far before and after to look [us].
            truth: One of `TRUTHS`; the SDK takes any pose.
        """
        nearest = np.searchsorted(self.stamps, stamp - window_us)
        if nearest >= len(self.stamps) or self.stamps[nearest] > stamp + window_us:
            return False
        return truth == "sdk_compat" or bool(trajectory.at(np.array([stamp], np.int64))[1][0] >= 0)

    def cloud(
        self, stamp: int, trajectory: Trajectory, window_us: int, truth: str = TRUTHS[0]
    ) -> Float64 | None:
        """Returns all scans around a time as the vehicle saw them then, float64[N,3] [m].

        Corrected: every scan is moved by the pose interpolated at its time; those without a known
        pose in the image's chain are left out. `sdk_compat` is what the dataset's SDK computes and
        md4all's published truth was made with: poses are not interpolated but floored, each scan
        is moved by the pose of the scan after it (the SDK's list of times is shifted by one while
        it is in use), and the last scan is dropped.

        Args:
            stamp: The time [us].
            trajectory: Poses of the vehicle.
            window_us: How far before and after to look, both ends included [us].
            truth: One of `TRUTHS`.

        Returns:
            Points in the vehicle's frame (x forward, y right, z down); None if its pose at the
            time is not known or no scan lies in the window.
        """
        first, last = (
            int(np.searchsorted(self.stamps, stamp - window_us)),
            int(np.searchsorted(self.stamps, stamp + window_us, side="right")),
        )
        times = self.stamps[first:last]
        if not len(times):
            return None
        own = np.array([stamp], np.int64)
        if truth == "sdk_compat":
            T = np.linalg.inv(trajectory.floored(own)[0]) @ trajectory.floored(times)
            times = np.concatenate([own, times[:-1]])  # the image's own time leads the list
            is_scan = np.isin(times, self.stamps)
            T, times = T[is_scan], times[is_scan]
        else:
            T_origin_now, stretch = trajectory.at(own)
            T, stretches = trajectory.at(times)
            known = (stretches == stretch[0]) & (stretches >= 0)
            T, times = np.linalg.inv(T_origin_now[0]) @ T[known], times[known]
        T = T @ self.T_vehicle_lidar
        moved = [
            self._scan(time) @ step[:3, :3].T + step[:3, 3]
            for time, step in zip(times.tolist(), T, strict=True)
        ]
        return np.concatenate(moved) if moved else None

    def _scan(self, time: int) -> Float64:
        """Returns one scan; no point if it is missing or, with a warning, if it is damaged."""
        if time in self._missing:
            return np.zeros((0, 3))
        found = self._scans.pop(time, None)
        if found is None:
            try:
                found = read_scan(self.folder / f"{time}.bin", self.sensor != "ldmrs")
            except (ValueError, FileNotFoundError) as error:
                logger.warning("left out: %s", error)
                found = np.zeros((0, 3))
            while len(self._scans) >= KEPT_SCANS:
                del self._scans[next(iter(self._scans))]  # the one used longest ago
        self._scans[time] = found
        return found


def depth_of_points(points: Float32, camera: Camera) -> Float32:
    """Renders points as sparse true depth, as md4all makes it: rounded pixel, nearest kept.

    Points count from half a pixel inside the left and top edge to the centres of the last column
    and row, at any distance in front of the camera.

    Args:
        points: float32[N,3], in the frame of a camera without distortion [m].
        camera: Camera of the whole image: the rule is the one of its edges, not of a crop's.

    Returns:
        float32[H,W] [m]; NaN where no point falls.
    """
    xyz = points[points[:, 2] > 0].astype(np.float64)
    u = camera.fx * xyz[:, 0] / xyz[:, 2] + camera.cx
    v = camera.fy * xyz[:, 1] / xyz[:, 2] + camera.cy
    inside = (u >= 0.5) & (u <= camera.width - 1) & (v >= 0.5) & (v <= camera.height - 1)
    columns, rows = (np.rint(values[inside]).astype(np.int64) for values in (u, v))
    depth = np.full((camera.height, camera.width), np.inf, np.float32)
    np.minimum.at(depth, (rows, columns), xyz[inside, 2].astype(np.float32))
    depth[np.isinf(depth)] = np.nan
    return depth
