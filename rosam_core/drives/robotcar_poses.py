"""Where the RobotCar was at any time: visual odometry and INS, interpolated."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rosam_core.drives.robotcar_files import Int64, read_extrinsics, transforms
from rosam_core.types import Float64

logger = logging.getLogger(__name__)

MAX_POSE_GAP_US = 500_000
"""Between two poses further apart than this the pose is not known [us]."""

POSES = ("vo", "ins", "rtk")
"""Visual odometry, the car's inertial unit, and the post-processed one of the RTK release."""


@dataclasses.dataclass(frozen=True)
class Trajectory:
    """The poses of the vehicle, as recorded.

    Between two poses the position is linear in time and the rotation turns at a constant rate
    about one axis the short way round (slerp); a pose is the one of its own time. Nothing is
    extrapolated.

    Attributes:
        source: One of `POSES`.
        stamps: int64[N], rising [us].
        T_origin_vehicle: float64[N,4,4]; x forward, y right, z down in the vehicle.
        stretches: int64[N]: poses with the same number are in one unbroken chain.
        T_world_origin: float64[4,4]: the world has z up.
        sdk_stamps: int64[N], the times by which the dataset's SDK finds the same poses.
    """

    source: str
    stamps: Int64
    T_origin_vehicle: Float64
    stretches: Int64
    T_world_origin: Float64
    sdk_stamps: Int64

    def at(self, times: Int64) -> tuple[Float64, Int64]:
        """Returns the poses at times, and the stretch each is in.

        Args:
            times: int64[M] [us].

        Returns:
            T_origin_vehicle: float64[M,4,4]; the identity where it is not known.
            stretches: int64[M]; -1 where the pose is not known: before the first and after the
                last pose, in a gap longer than `MAX_POSE_GAP_US`, and where the chain is broken.
        """
        last = len(self.stamps) - 1
        upper = np.clip(np.searchsorted(self.stamps, times), 0, last)
        lower = np.where(self.stamps[upper] == times, upper, np.maximum(upper - 1, 0))
        span = self.stamps[upper] - self.stamps[lower]
        known = (self.stamps[lower] <= times) & (times <= self.stamps[upper])
        known &= (span <= MAX_POSE_GAP_US) & (self.stretches[lower] == self.stretches[upper])
        share = np.where(known, (times - self.stamps[lower]) / np.maximum(span, 1), 0.0)
        T = interpolate(self.T_origin_vehicle[lower], self.T_origin_vehicle[upper], share)
        T[~known] = np.eye(4)
        return T, np.where(known, self.stretches[lower], -1)

    def floored(self, times: Int64) -> Float64:
        """Returns the last pose not later than each time, as the dataset's SDK does.

        Its division of integers makes every share 0. Before the first pose this gives the first.

        Args:
            times: int64[M] [us].

        Returns:
            T_origin_vehicle, float64[M,4,4].
        """
        lower = np.searchsorted(self.sdk_stamps, times, side="right") - 1
        return self.T_origin_vehicle[np.maximum(lower, 0)]


def interpolate(T_before: Float64, T_after: Float64, share: Float64) -> Float64:
    """Returns the rigid transforms part of the way between two, float64[N,4,4].

    R = R0 exp(share log(R0^T R1)), t = (1 - share) t0 + share t1.

    Args:
        T_before: float64[N,4,4].
        T_after: float64[N,4,4], turned by less than half a turn.
        share: float64[N], 0 gives `T_before`, 1 `T_after`.
    """
    before = T_before[:, :3, :3]
    turn = before.transpose(0, 2, 1) @ T_after[:, :3, :3]
    skew = 0.5 * (turn - turn.transpose(0, 2, 1))
    sines = np.stack([skew[:, 2, 1], skew[:, 0, 2], skew[:, 1, 0]], axis=1)  # axis * sin(angle)
    length = np.linalg.norm(sines, axis=1)
    angle = np.arctan2(length, 0.5 * (np.trace(turn, axis1=1, axis2=2) - 1))
    K = skew / np.maximum(length, 1e-300)[:, None, None]
    part = (share * angle)[:, None, None]
    # Rodrigues: exp(a K) = I + sin(a) K + (1 - cos(a)) K^2
    turned = np.eye(3) + np.sin(part) * K + (1 - np.cos(part)) * (K @ K)
    T = np.zeros_like(T_before)
    T[:, :3, :3] = before @ turned
    s = share[:, None]
    T[:, :3, 3] = (1 - s) * T_before[:, :3, 3] + s * T_after[:, :3, 3]
    T[:, 3, 3] = 1
    return T


def find_poses(traversal: Path) -> tuple[str, Path] | None:
    """Returns the source and file of a traversal's poses, the best there is for depth.

    Visual odometry comes first: it is smooth over the seconds that a lidar is accumulated.

    Args:
        traversal: Its folder.
    """
    for source in POSES:
        path = pose_file(traversal, source)
        if path.is_file():
            return source, path
    return None


def pose_file(traversal: Path, source: str) -> Path:
    """Returns where the poses of a source lie.

    Args:
        traversal: Its folder.
        source: One of `POSES`.
    """
    if source not in POSES:
        raise ValueError(f"unknown source of poses {source!r}: expected {', '.join(POSES)}")
    names = {"vo": "vo/vo.csv", "ins": "gps/ins.csv", "rtk": "rtk.csv"}
    return traversal / names[source]


def read_vo(path: Path) -> Trajectory:
    """Reads visual odometry and chains its steps.

    A row's pose maps points of the later of its two frames to the earlier one: driving forward
    has x > 0. Where a row does not begin where the one before ended the chain is broken, with a
    warning; the world is x forward, y left, z up in the vehicle's frame at the first pose.

    Args:
        path: `vo/vo.csv`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is empty or a row is damaged; names the line.
    """
    names = ("source_timestamp", "destination_timestamp", "x", "y", "z", "roll", "pitch", "yaw")
    table = _read_csv(path, names)
    times, sources = np.sort(table[:, :2].astype(np.int64), axis=1), table[:, 0].astype(np.int64)
    steps = transforms(table[:, 2:])
    kept = _rising(path, times[:, 1])
    kept &= times[:, 0] < times[:, 1]
    times, steps, sources = times[kept], steps[kept], sources[kept]
    # A break puts the step's own first frame in, as the beginning of the next stretch.
    broken = np.concatenate([[True], times[1:, 0] != times[:-1, 1]])
    if broken[1:].any():
        where = int(np.argmax(broken[1:])) + 1
        logger.warning(
            "%s: %d steps do not begin where the one before ended, first at %d: there is no pose "
            "across them",
            path,
            int(broken[1:].sum()),
            times[where, 0],
        )
    stamps, sdk_stamps, stretches = [], [], []
    poses: list[Float64] = []
    T: Float64 = np.eye(4)
    stretch = -1
    for (earlier, later), step, source, is_new in zip(
        times.tolist(), steps, sources.tolist(), broken.tolist(), strict=True
    ):
        if is_new:
            stretch += 1
            if not stamps or earlier > stamps[-1]:  # else the steps overlap: chain on from there
                stamps.append(earlier)
                sdk_stamps.append(min(earlier, source))
                stretches.append(stretch)
                poses.append(T)
        T = T @ step
        stamps.append(later)
        sdk_stamps.append(source)
        stretches.append(stretch)
        poses.append(T)
    return Trajectory(
        "vo",
        np.array(stamps, np.int64),
        np.array(poses),
        np.array(stretches, np.int64),
        np.diag([1.0, -1.0, -1.0, 1.0]),
        np.array(sdk_stamps, np.int64),
    )


def read_ins(path: Path, extrinsics: Path, source: str = "ins") -> Trajectory:
    """Reads the poses of an inertial unit.

    The world is east, north, up from the unit at its first pose.

    Args:
        path: `gps/ins.csv` or `rtk.csv`, with northing, easting, down [m], roll, pitch, yaw [rad].
        extrinsics: `extrinsics/ins.txt`, T_vehicle_ins.
        source: `"ins"` or `"rtk"`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is empty or a row is damaged; names the line.
    """
    names = ("timestamp", "northing", "easting", "down", "roll", "pitch", "yaw")
    table = _read_csv(path, names)
    stamps = table[:, 0].astype(np.int64)
    kept = _rising(path, stamps)
    stamps, poses = stamps[kept], transforms(table[kept, 1:])
    poses[:, :3, 3] -= poses[0, :3, 3].copy()
    T_vehicle_ins = read_extrinsics(extrinsics)
    T_world_origin = np.eye(4)
    T_world_origin[:3, :3] = [[0, 1, 0], [1, 0, 0], [0, 0, -1]]  # north, east, down to ENU
    return Trajectory(
        source,
        stamps,
        poses @ np.linalg.inv(T_vehicle_ins),
        np.zeros(len(stamps), np.int64),
        T_world_origin,
        stamps,
    )


def _read_csv(path: Path, names: tuple[str, ...]) -> Float64:
    """Returns named columns of a CSV file, float64[N,len(names)]; times are below 2^53."""
    if not path.is_file():
        raise FileNotFoundError(f"no {path}: download the traversal's part with it")
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    header = [name.strip() for name in lines[0].split(",")] if lines else []
    missing = [name for name in names if name not in header]
    if missing:
        raise ValueError(
            f"{path} has no column {', '.join(missing)}: "
            + (f"its header is {lines[0][:120]!r}" if lines else "it is empty, download it again")
        )
    columns = [header.index(name) for name in names]
    rows = []
    for number, line in enumerate(lines[1:], 2):
        words = line.split(",")
        try:
            rows.append([float(words[column]) for column in columns])
        except (ValueError, IndexError) as error:
            if not line.strip():
                continue
            raise ValueError(
                f"{path}, line {number}: expected {len(header)} values, found {line[:80]!r}: "
                "truncated download? Remove the line or download it again"
            ) from error
    table = np.array(rows, np.float64).reshape(-1, len(names))
    if not len(table):
        raise ValueError(f"{path} has no pose: download it again")
    bad = ~np.isfinite(table).all(axis=1)
    if bad.any():
        raise ValueError(
            f"{path}: pose {int(np.argmax(bad)) + 1} of {len(table)} is not finite: "
            "remove the line or download it again"
        )
    return table


def _rising(path: Path, stamps: Int64) -> npt.NDArray[np.bool_]:
    """Returns which times are later than all before them, bool[N]; warns of the others."""
    before = np.concatenate([[np.iinfo(np.int64).min], np.maximum.accumulate(stamps)[:-1]])
    kept = stamps > before
    if not kept.all():
        logger.warning(
            "%s: %d poses are not later than the one before and left out, first at %d",
            path,
            int((~kept).sum()),
            stamps[int(np.argmin(kept))],
        )
    return np.asarray(kept, np.bool_)
