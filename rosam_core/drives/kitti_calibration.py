"""KITTI's text files: calibration, time stamps, oxts packets and poses."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from rosam_core.types import Float64

EARTH_RADIUS_M = 6378137.0
"""Equatorial radius, as the devkit's Mercator projection takes it."""

_STAMP = re.compile(r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d(?:\.\d+)?)")


def read_calibration(path: Path) -> dict[str, Float64]:
    """Returns the named rows of numbers of a calibration file; rows of text are left out.

    Args:
        path: For example `calib_cam_to_cam.txt` or an odometry `calib.txt`.

    Raises:
        FileNotFoundError: There is no such file.
    """
    rows = {}
    for line in _text(path).splitlines():
        name, _, rest = line.partition(":")
        try:
            rows[name.strip()] = np.array([float(word) for word in rest.split()])
        except ValueError:  # calib_time
            continue
    return rows


def matrix(rows: dict[str, Float64], name: str, shape: tuple[int, int], path: Path) -> Float64:
    """Returns one row of a calibration as a matrix, float64[shape].

    Args:
        rows: Result of `read_calibration`.
        name: Name of the row.
        shape: Rows and columns.
        path: The file, for the message.

    Raises:
        ValueError: The row is missing, or has another number of values or a NaN.
    """
    if name not in rows:
        raise ValueError(f"{path} has no {name}: is it KITTI's own calibration file?")
    if rows[name].size != shape[0] * shape[1] or not np.isfinite(rows[name]).all():
        raise ValueError(
            f"{path}: {name} has {rows[name].size} values, expected {shape[0] * shape[1]} finite "
            "ones: copy the file again"
        )
    return rows[name].reshape(shape)


def rigid(path: Path) -> Float64:
    """Returns the rigid transform of a file with rows R and T, float64[4,4].

    Args:
        path: `calib_velo_to_cam.txt` or `calib_imu_to_velo.txt`; maps points as it is named.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A row is missing or damaged.
    """
    rows = read_calibration(path)
    T = np.eye(4)
    T[:3, :3] = matrix(rows, "R", (3, 3), path)
    T[:3, 3] = matrix(rows, "T", (3, 1), path)[:, 0]
    return T


def offset_of_projection(projection: Float64) -> Float64:
    """Returns the transform from the rectified camera 0 to the camera of a projection matrix.

    KITTI's rectified cameras look the same way, so P = K [I | t] and t = K^-1 p_4.

    Args:
        projection: float64[3,4], P: a row `P_rect_xx` or `Px`.

    Returns:
        float64[4,4], a pure translation [m].

    Raises:
        ValueError: A focal length is not positive.
    """
    if not (projection[0, 0] > 0 and projection[1, 1] > 0):
        raise ValueError(
            f"KITTI's projection matrix has focal lengths {projection[0, 0]:g} and "
            f"{projection[1, 1]:g}, expected positive pixels: copy the calibration again"
        )
    T = np.eye(4)
    T[:3, 3] = np.linalg.solve(projection[:, :3], projection[:, 3])
    return T


def read_stamps(path: Path) -> list[int | None]:
    """Returns the time of every line of a `timestamps.txt` or `times.txt` [ns].

    Args:
        path: One date and time (UTC, up to nanoseconds) or one number of seconds a line.

    Returns:
        None for a line that is neither, such as the blank ones of some recordings.

    Raises:
        FileNotFoundError: There is no such file.
    """
    stamps: list[int | None] = []
    for line in _text(path).rstrip("\n").split("\n"):
        found = _STAMP.fullmatch(line.strip())
        try:
            if found:
                stamps.append(int(np.datetime64("T".join(found.groups()), "ns").astype(np.int64)))
            else:
                seconds = float(line)
                stamps.append(round(seconds * 1e9) if np.isfinite(seconds) else None)
        except ValueError:
            stamps.append(None)
    return stamps


def read_oxts(path: Path) -> Float64:
    """Returns latitude [deg], longitude [deg], altitude [m], roll, pitch and yaw [rad].

    Args:
        path: One packet of the inertial navigation system, `oxts/data/*.txt`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It does not begin with six finite numbers.
    """
    try:
        values = np.array([float(word) for word in _text(path).split()[:6]])
    except ValueError as error:
        raise ValueError(f"{path} is no oxts packet: {error}") from error
    if values.size < 6 or not np.isfinite(values).all():
        raise ValueError(f"{path} is no oxts packet: expected six or more finite numbers")
    return values


def oxts_pose(packet: Float64, latitude_deg: float) -> Float64:
    """Returns the pose of the inertial unit in a world of east, north and up, float64[4,4].

    The devkit's Mercator projection ("Vision meets Robotics", IJRR 2013, section 4.2):
    s = cos(lat_0 pi / 180), x = s r pi lon / 180, y = s r ln tan(pi (90 + lat) / 360), z = alt,
    and R = Rz(yaw) Ry(pitch) Rx(roll).

    Args:
        packet: Result of `read_oxts`.
        latitude_deg: Latitude of the drive's first packet, which sets the scale s.
    """
    latitude, longitude, altitude, roll, pitch, yaw = packet
    scale = np.cos(np.radians(latitude_deg)) * EARTH_RADIUS_M
    T = np.eye(4)
    T[:3, 3] = (
        scale * np.radians(longitude),
        scale * np.log(np.tan(np.radians(90 + latitude) / 2)),
        altitude,
    )
    (cr, cp, cy), (sr, sp, sy) = np.cos([roll, pitch, yaw]), np.sin([roll, pitch, yaw])
    T[:3, :3] = [
        [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
        [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
        [-sp, cp * sr, cp * cr],
    ]
    return T


def read_poses(path: Path) -> Float64:
    """Returns the poses of an odometry sequence, float64[N,4,4], camera 0 to world.

    Args:
        path: `poses/NN.txt`, twelve numbers a line.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A line has another number of values.
    """
    poses = []
    for number, line in enumerate(_text(path).splitlines(), 1):
        words = line.split()
        try:
            values = [float(word) for word in words]
        except ValueError:
            values = []
        if len(values) != 12 or not np.isfinite(values).all():
            raise ValueError(
                f"{path}, line {number}: expected twelve finite numbers: copy the file again"
            )
        poses.append([*values, 0.0, 0.0, 0.0, 1.0])
    return np.array(poses, np.float64).reshape(-1, 4, 4)


def _text(path: Path) -> str:
    if not path.is_file():
        raise FileNotFoundError(f"no {path}: it comes with KITTI's download, unpack it there")
    return path.read_text(encoding="utf-8", errors="replace")
