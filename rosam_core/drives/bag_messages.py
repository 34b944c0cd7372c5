"""Builds ROS 2 messages from arrays, and reads point clouds, without a ROS installation."""

from __future__ import annotations

import struct
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rosam_core.drives.bag_reader import BagMessage, ros2_types
from rosam_core.types import Camera, Float32, Float64

_POINT_DTYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 8: "f8"}
FLOAT32_FIELD = 7
POINT_TIMES = ("t", "time", "time_offset", "offset_time", "timestamp")
"""Fields with the time of a point: since the stamp, but `timestamp` is since 1970."""
TIMES = {6: 1e-9, 7: 1.0, 8: 1.0}
"""Units by datatype [s]: whole numbers are nanoseconds (Ouster, Livox), others seconds."""
MAX_SWEEP_S = 2.0


def message_class(msgtype: str) -> Any:
    """Returns the class of a message type, such as `sensor_msgs/msg/Image`."""
    return ros2_types().types[msgtype]


def serialize(message: Any) -> bytes:
    """Returns the CDR bytes of a message."""
    return bytes(ros2_types().serialize_cdr(message, message.__msgtype__))


def header(stamp_ns: int, frame_id: str) -> Any:
    """Returns a std_msgs Header."""
    sec, nanosec = divmod(int(stamp_ns), 1_000_000_000)
    time = message_class("builtin_interfaces/msg/Time")(sec=sec, nanosec=nanosec)
    return message_class("std_msgs/msg/Header")(stamp=time, frame_id=frame_id)


def image(stamp_ns: int, frame_id: str, pixels: npt.NDArray[Any], encoding: str = "") -> Any:
    """Returns an Image message.

    Args:
        stamp_ns: Time of exposure [ns].
        frame_id: Optical frame of the camera.
        pixels: uint8[H,W,3] RGB, or float32[H,W] depth [m] or confidence.
        encoding: ROS encoding; `rgb8` or `32FC1` by type if empty.
    """
    pixels = np.ascontiguousarray(pixels)
    rows = pixels.view(np.uint8).reshape(pixels.shape[0], -1)
    return message_class("sensor_msgs/msg/Image")(
        header=header(stamp_ns, frame_id),
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding or ("32FC1" if pixels.dtype == np.float32 else "rgb8"),
        is_bigendian=int(sys.byteorder == "big"),
        step=rows.shape[1],
        data=rows.ravel(),
    )


def compressed_image(stamp_ns: int, frame_id: str, data: bytes, kind: str) -> Any:
    """Returns a CompressedImage message.

    Args:
        stamp_ns: Time of exposure [ns].
        frame_id: Optical frame of the camera.
        data: The bytes of the JPEG or PNG file.
        kind: `"jpeg"` or `"png"`.
    """
    return message_class("sensor_msgs/msg/CompressedImage")(
        header=header(stamp_ns, frame_id), format=kind, data=np.frombuffer(data, np.uint8)
    )


def camera_info(
    stamp_ns: int,
    frame_id: str,
    camera: Camera,
    rectification: tuple[Sequence[float], Sequence[float]] | None = None,
) -> Any:
    """Returns the CameraInfo message of a camera.

    Args:
        stamp_ns: Time of exposure [ns].
        frame_id: Optical frame of the camera.
        camera: Intrinsics.
        rectification: The 9 values of R and the 12 of P; None = no rotation, and K without a
            baseline.
    """
    r, p = rectification or (np.eye(3), np.hstack([camera.K, np.zeros((3, 1))]))
    roi = message_class("sensor_msgs/msg/RegionOfInterest")(
        x_offset=0, y_offset=0, height=0, width=0, do_rectify=False
    )
    return message_class("sensor_msgs/msg/CameraInfo")(
        header=header(stamp_ns, frame_id),
        height=camera.height,
        width=camera.width,
        distortion_model=camera.distortion_model or "plumb_bob",
        d=np.array(camera.distortion or (0.0,) * 5, np.float64),
        k=camera.K.ravel(),
        r=np.asarray(r, np.float64).ravel(),
        p=np.asarray(p, np.float64).ravel(),
        binning_x=0,
        binning_y=0,
        roi=roi,
    )


def point_cloud(stamp_ns: int, frame_id: str, points: Float32) -> Any:
    """Returns an unorganised PointCloud2 message of float32[N,3] points [m]."""
    points = np.ascontiguousarray(points[:, :3], np.float32)
    field = message_class("sensor_msgs/msg/PointField")
    return message_class("sensor_msgs/msg/PointCloud2")(
        header=header(stamp_ns, frame_id),
        height=1,
        width=len(points),
        fields=[
            field(name=name, offset=4 * i, datatype=FLOAT32_FIELD, count=1)
            for i, name in enumerate("xyz")
        ],
        is_bigendian=sys.byteorder == "big",
        point_step=12,
        row_step=12 * len(points),
        data=points.view(np.uint8).ravel(),
        is_dense=bool(np.isfinite(points).all()),
    )


def transforms(stamp_ns: int, edges: Sequence[tuple[str, str, Float64]]) -> Any:
    """Returns a TFMessage.

    Args:
        stamp_ns: Time of the transforms [ns].
        edges: Parent frame, child frame and float64[4,4] T_parent_child.
    """
    stamped = []
    for parent, child, T in edges:
        x, y, z, w = quaternion_of(T[:3, :3])
        transform = message_class("geometry_msgs/msg/Transform")(
            translation=message_class("geometry_msgs/msg/Vector3")(*map(float, T[:3, 3])),
            rotation=message_class("geometry_msgs/msg/Quaternion")(x=x, y=y, z=z, w=w),
        )
        stamped.append(
            message_class("geometry_msgs/msg/TransformStamped")(
                header=header(stamp_ns, parent), child_frame_id=child, transform=transform
            )
        )
    return message_class("tf2_msgs/msg/TFMessage")(transforms=stamped)


def points_in(message: BagMessage) -> int:
    """Returns how many points a PointCloud2 message states, read without decoding it.

    Args:
        message: As it is recorded.

    Returns:
        Their number; 0 if there are too few bytes for a point cloud.
    """
    # After four bytes (CDR's preamble, or ROS 1's sequence number) a stamp of eight, the frame's
    # name with its length before it, and height and width; CDR puts these at multiples of four.
    raw = message.raw
    order = "<" if message.is_ros1 or raw[1] & 1 else ">"
    at = 16 + struct.unpack_from(f"{order}I", raw, 12)[0] if len(raw) >= 16 else len(raw)
    at += 0 if message.is_ros1 else -at % 4
    if len(raw) < at + 8:
        return 0
    height, width = struct.unpack_from(f"{order}II", raw, at)
    return int(height * width)


def read_points(cloud: Any) -> Float32:
    """Returns the finite x, y, z of a decoded PointCloud2 message, float32[N,3] [m].

    Raises:
        ValueError: The cloud has no x, y, z, or fewer bytes than it states.
    """
    return read_timed_points(cloud)[0]


def read_timed_points(cloud: Any) -> tuple[Float32, Float64 | None]:
    """Returns the finite points of a PointCloud2 message and when each was measured.

    Args:
        cloud: Decoded message. Times are read from the fields that lidar drivers use:
            `POINT_TIMES`.

    Returns:
        points: float32[N,3], x, y, z [m].
        seconds: float64[N], time since the message's stamp [s]; None if there is no such field,
            or if its values are no times of a sweep (2 s or more from the stamp).

    Raises:
        ValueError: The cloud has no x, y, z, or fewer bytes than it states.
    """
    fields = {field.name: field for field in cloud.fields}
    if not {"x", "y", "z"} <= set(fields):
        raise ValueError(f"point cloud has fields {sorted(fields)}, expected x, y and z")
    unknown = {fields[name].datatype for name in "xyz"} - set(_POINT_DTYPES)
    if unknown:
        raise ValueError(f"point cloud has fields of unknown datatype {sorted(unknown)}")
    count = cloud.width * cloud.height
    need = cloud.row_step * (cloud.height - 1) + cloud.width * cloud.point_step if count else 0
    if len(cloud.data) < need:
        raise ValueError(f"point cloud of {count} points has {len(cloud.data)} of {need} bytes")
    order = ">" if cloud.is_bigendian else "<"
    time = next((n for n in POINT_TIMES if n in fields and fields[n].datatype in TIMES), None)
    names = ["x", "y", "z", *([time] if time else [])]
    dtype = np.dtype(
        {
            "names": names,
            "formats": [order + _POINT_DTYPES[fields[name].datatype] for name in names],
            "offsets": [fields[name].offset for name in names],
            "itemsize": cloud.point_step,
        }
    )
    data = np.asarray(cloud.data, np.uint8)[:need]
    if cloud.height > 1 and cloud.row_step != cloud.width * cloud.point_step:
        padded = np.zeros(cloud.row_step * cloud.height, np.uint8)
        padded[:need] = data
        rows = padded.reshape(cloud.height, cloud.row_step)
        data = np.ascontiguousarray(rows[:, : cloud.width * cloud.point_step]).ravel()
    table = np.frombuffer(data.tobytes(), dtype, count)
    points = np.stack([table[name].astype(np.float32) for name in "xyz"], axis=1)
    finite = np.isfinite(points).all(axis=1)
    if time is None:
        return points[finite], None
    seconds = table[time].astype(np.float64) * TIMES[fields[time].datatype]
    if time == "timestamp":  # since 1970, as the stamp
        seconds = seconds - cloud.header.stamp.sec - 1e-9 * cloud.header.stamp.nanosec
    seconds = seconds[finite]
    in_sweep = bool((np.abs(seconds) < MAX_SWEEP_S).all())  # never of NaN
    return points[finite], seconds if in_sweep else None


def quaternion_of(rotation: Float64) -> tuple[float, float, float, float]:
    """Returns the unit quaternion x, y, z, w of a rotation matrix float64[3,3], w >= 0."""
    m = np.asarray(rotation, np.float64)
    # The largest of these four is at least 1, so the square root is always well conditioned.
    squares = np.array(
        [
            1 + m[0, 0] - m[1, 1] - m[2, 2],
            1 - m[0, 0] + m[1, 1] - m[2, 2],
            1 - m[0, 0] - m[1, 1] + m[2, 2],
            1 + m[0, 0] + m[1, 1] + m[2, 2],
        ]
    )
    largest = int(np.argmax(squares))
    s = 2 * np.sqrt(squares[largest])
    if largest == 3:
        q = [m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1], squares[3]]
    elif largest == 0:
        q = [squares[0], m[0, 1] + m[1, 0], m[0, 2] + m[2, 0], m[2, 1] - m[1, 2]]
    elif largest == 1:
        q = [m[0, 1] + m[1, 0], squares[1], m[1, 2] + m[2, 1], m[0, 2] - m[2, 0]]
    else:
        q = [m[0, 2] + m[2, 0], m[1, 2] + m[2, 1], squares[2], m[1, 0] - m[0, 1]]
    sign = -1.0 if q[3] < 0 else 1.0
    x, y, z, w = (sign * float(value) / s for value in q)
    return x, y, z, w
