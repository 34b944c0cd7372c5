"""Writes MCAP, sqlite3 and ROS 1 bags that RViz, Foxglove and `ros2 bag play` open."""

from __future__ import annotations

import contextlib
import functools
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from rosbags import rosbag1, rosbag2
from rosbags.convert.converter import STATIC_MSGTYPE_RENAMES, generate_message_converter
from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2.enums import CompressionFormat, CompressionMode

from rosam_core.drives import bag_messages
from rosam_core.drives.bag_files import refuse_uri_characters
from rosam_core.drives.bag_reader import BagMessage, ros1_types, ros2_types
from rosam_core.drives.base import Drive
from rosam_core.drives.whole_folder import put_in_place, scratch_beside, target_of
from rosam_core.types import Camera, Float32, Float64, UInt8

Storage = Literal["mcap", "sqlite3", "ros1"]

SUFFIXES: dict[str, Storage] = {".mcap": "mcap", ".db3": "sqlite3", ".bag": "ros1"}
"""What a single output file is, by extension; any other name becomes a rosbag2 folder."""

METADATA_VERSION: Literal[8] = 8
"""Of rosbag2: from 9 on the quality of service is written in a form that Humble cannot read."""

_FOREVER = QosTime(2147483647, 4294967295)
LATCHED = Qos(
    history=QosHistory.KEEP_LAST,
    depth=1,
    reliability=QosReliability.RELIABLE,
    durability=QosDurability.TRANSIENT_LOCAL,
    deadline=_FOREVER,
    lifespan=_FOREVER,
    liveliness=QosLiveliness.AUTOMATIC,
    liveliness_lease_duration=_FOREVER,
    avoid_ros_namespace_conventions=False,
)
"""Late subscribers get the last message, as `/tf_static` needs."""


class BagWriter:
    """Writes one bag; what is at the path changes only when the whole bag is written.

    Leaving the `with` block through an exception, Ctrl-C included, leaves nothing behind.
    """

    def __init__(
        self,
        path: str | Path,
        storage: Storage | None = None,
        *,
        overwrite: bool = False,
        compress: bool = False,
    ) -> None:
        """Opens a bag for writing.

        Args:
            path: A file named `.mcap`, `.db3` or `.bag`, or the folder of a rosbag2 recording.
            storage: Kind of bag; by the extension if None, MCAP for a folder.
            overwrite: Replace a bag that is already there.
            compress: Compress the chunks of an MCAP with zstd.

        Raises:
            FileExistsError: There is a bag at `path` and `overwrite` is not set.
            ValueError: Storage and extension contradict each other, `path` is something else, or
                sqlite3 cannot write there.
        """
        self.path = Path(path)
        by_name = SUFFIXES.get(self.path.suffix)
        self.storage: Storage = storage or by_name or "mcap"
        if self.storage not in SUFFIXES.values():
            raise ValueError(f"unknown bag storage {self.storage!r}: expected mcap, sqlite3, ros1")
        if (by_name or "mcap") != self.storage and (by_name or self.storage == "ros1"):
            raise ValueError(f"{self.path} is not the name of a {self.storage} bag")
        if compress and self.storage != "mcap":
            raise ValueError(f"only MCAP is compressed here, not {self.storage}")
        self._refuse_to_replace(overwrite)
        self.message_count = 0
        self._target = target_of(self.path)
        if self.storage == "sqlite3":
            refuse_uri_characters(self._target.absolute())
        self._scratch = scratch_beside(self._target)
        self._connections: dict[str, Any] = {}
        self._writer: Any = None
        try:
            with _disk_errors(self.path):
                self._open(by_name is not None, compress)
        except BaseException:
            self.abort()
            raise

    def _open(self, single_file: bool, compress: bool) -> None:
        if self.storage == "ros1":
            self._made = self._scratch / self.path.name
            self._writer = rosbag1.Writer(self._made)
        else:
            # rosbags names the file inside after the folder, and states that name in the file.
            folder = self._scratch / (self.path.stem if single_file else self.path.name)
            self._made = folder / f"{folder.name}{self.path.suffix}" if single_file else folder
            self._writer = rosbag2.Writer(
                folder,
                version=METADATA_VERSION,
                storage_plugin=rosbag2.StoragePlugin[self.storage.upper()],
            )
            if compress:
                self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        self._writer.open()

    def _refuse_to_replace(self, overwrite: bool) -> None:
        if not self.path.exists():
            return
        if self.path.is_dir() and not (self.path / "metadata.yaml").is_file():
            raise ValueError(f"{self.path} is a folder but no bag: name a file or a new folder")
        if not overwrite:
            raise FileExistsError(f"{self.path} exists already: --force replaces it")

    def __enter__(self) -> BagWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def close(self) -> None:
        """Finishes the bag and puts it in its place; one without messages is an error."""
        if self._writer is None:
            return
        if not self.message_count:
            self.abort()
            raise ValueError(f"nothing was written to {self.path}: the bag would be empty")
        try:
            with _disk_errors(self.path):
                self._writer.close()
            put_in_place(self._made, self._target)
        finally:
            self._writer = None
            shutil.rmtree(self._scratch, ignore_errors=True)

    def abort(self) -> None:
        """Removes what was written."""
        writer, self._writer = self._writer, None
        if self.storage != "ros1" and writer is not None:
            with contextlib.suppress(sqlite3.Error):  # on a full disk nothing can be taken back
                writer.abort()
        elif writer is not None and writer.bio is not None:
            writer.bio.close()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def write_raw(
        self,
        topic: str,
        msgtype: str,
        cdr: bytes | memoryview,
        log_ns: int,
        *,
        latched: bool = False,
    ) -> None:
        """Writes a serialized message.

        Args:
            topic: Topic name.
            msgtype: Message type, one of a ROS 2 desktop.
            cdr: CDR bytes.
            log_ns: Time of recording [ns].
            latched: Late subscribers get the last message; taken from the topic's first message.
        """
        if topic not in self._connections:
            if self.storage == "ros1":
                options: dict[str, Any] = {"typestore": ros1_types(), "latching": int(latched)}
            else:
                qos = [LATCHED] if latched else []
                options = {"typestore": ros2_types(), "offered_qos_profiles": qos}
            with _disk_errors(self.path):
                added = self._writer.add_connection(topic, msgtype, **options)
            self._connections[topic] = added
        if self.storage == "ros1":
            cdr = _to_ros1(msgtype)(cdr)
        with _disk_errors(self.path):
            self._writer.write(self._connections[topic], log_ns, cdr)
        self.message_count += 1

    def write(
        self, topic: str, message: Any, log_ns: int | None = None, *, latched: bool = False
    ) -> None:
        """Writes a message made by `bag_messages`; recorded at its own stamp if not stated."""
        if log_ns is None:
            stamp = message.header.stamp
            log_ns = stamp.sec * 1_000_000_000 + stamp.nanosec
        cdr = bag_messages.serialize(message)
        self.write_raw(topic, message.__msgtype__, cdr, log_ns, latched=latched)

    def copy(self, message: BagMessage) -> None:
        """Writes a message of another bag as it is, `/tf_static` latched."""
        msgtype = STATIC_MSGTYPE_RENAMES.get(message.msgtype, message.msgtype)
        latched = message.topic.endswith("tf_static")
        self.write_raw(message.topic, msgtype, message.to_cdr(), message.log_ns, latched=latched)

    def write_image(
        self, topic: str, stamp_ns: int, frame_id: str, rgb: UInt8, encoding: str = "rgb8"
    ) -> None:
        """Writes uint8[H,W,3] pixels as an Image; `encoding` names the order of the channels."""
        self.write(topic, bag_messages.image(stamp_ns, frame_id, rgb, encoding))

    def write_compressed(
        self,
        topic: str,
        stamp_ns: int,
        frame_id: str,
        image: UInt8 | bytes,
        kind: Literal["jpeg", "png"] = "jpeg",
        quality: int = 92,
    ) -> None:
        """Writes a CompressedImage.

        Args:
            topic: Topic name.
            stamp_ns: Time of exposure [ns].
            frame_id: Optical frame of the camera.
            image: uint8[H,W,3] RGB, or the bytes of a file that is compressed already.
            kind: Compression.
            quality: Of JPEG, 0 to 100.
        """
        if not isinstance(image, bytes):
            image = encode_picture(image, kind, quality)
        self.write(topic, bag_messages.compressed_image(stamp_ns, frame_id, image, kind))

    def write_camera_info(self, topic: str, stamp_ns: int, frame_id: str, camera: Camera) -> None:
        """Writes the intrinsics of a camera."""
        self.write(topic, bag_messages.camera_info(stamp_ns, frame_id, camera))

    def write_depth(self, topic: str, stamp_ns: int, frame_id: str, depth: Float32) -> None:
        """Writes float32[H,W] depth [m] or confidence as a 32FC1 Image."""
        self.write(
            topic, bag_messages.image(stamp_ns, frame_id, np.asarray(depth, np.float32), "32FC1")
        )

    def write_points(self, topic: str, stamp_ns: int, frame_id: str, points: Float32) -> None:
        """Writes float32[N,3] points [m]."""
        self.write(topic, bag_messages.point_cloud(stamp_ns, frame_id, points))

    def write_transforms(
        self, stamp_ns: int, edges: Sequence[tuple[str, str, Float64]], *, static: bool = False
    ) -> None:
        """Writes parent, child and float64[4,4] T_parent_child to `/tf` or `/tf_static`."""
        topic = "/tf_static" if static else "/tf"
        self.write(topic, bag_messages.transforms(stamp_ns, edges), stamp_ns, latched=static)


@contextlib.contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    """Makes what sqlite3 says of a full or failing disk the OSError that it is."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise OSError(f"{path} could not be written: {error}") from error


def encode_picture(rgb: UInt8, kind: str = "jpeg", quality: int = 92) -> bytes:
    """Returns uint8[H,W,3] RGB pixels as the bytes of a JPEG or PNG file."""
    suffix, options = {
        "jpeg": (".jpg", [cv2.IMWRITE_JPEG_QUALITY, quality]),
        "png": (".png", [cv2.IMWRITE_PNG_COMPRESSION, 3]),
    }[kind]
    return bytes(cv2.imencode(suffix, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), options)[1])


def write_drive(
    drive: Drive,
    path: str | Path,
    *,
    storage: Storage | None = None,
    namespace: str = "/camera",
    frame_id: str = "camera_optical",
    compressed: Literal["jpeg", "png"] | None = "jpeg",
    quality: int = 92,
    with_truth: bool = False,
    overwrite: bool = False,
) -> int:
    """Records a drive as a bag: images, camera_info, poses and lidar.

    Args:
        drive: The frames.
        path: The bag, named as `BagWriter` has it.
        storage: Kind of bag; by the name if None.
        namespace: Of the camera topics.
        frame_id: Optical frame of the camera. Lidar points are in it too, or, where it is known
            where the lidar was, in `<frame_id>_lidar`, parallel to it.
        compressed: Compression of the images; None writes raw `rgb8`.
        quality: Of JPEG, 0 to 100.
        with_truth: Also write the exact depth, to `<namespace>/ground_truth/image`.
        overwrite: Replace a bag that is there.

    Returns:
        The number of frames.
    """
    frames = 0
    with BagWriter(path, storage, overwrite=overwrite) as writer:
        for frame in drive:
            at, stamp = frame.stamp_ns, (frame.stamp_ns, frame_id)
            writer.write_camera_info(f"{namespace}/camera_info", *stamp, frame.camera)
            if frame.T_world_camera is not None:
                writer.write_transforms(at, [("map", frame_id, frame.T_world_camera)])
            if compressed:
                topic = f"{namespace}/image_raw/compressed"
                writer.write_compressed(topic, *stamp, frame.image, compressed, quality)
            else:
                writer.write_image(f"{namespace}/image_raw", *stamp, frame.image)
            if frame.lidar is not None:
                points, source = frame.lidar, frame_id
                if frame.lidar_origin is not None:
                    source = f"{frame_id}_lidar"
                    T_camera_lidar = np.eye(4)
                    T_camera_lidar[:3, 3] = frame.lidar_origin
                    writer.write_transforms(at, [(frame_id, source, T_camera_lidar)])
                    points = (points - frame.lidar_origin).astype(np.float32)
                writer.write_points(f"{namespace}/points", at, source, points)
            if with_truth and frame.depth is not None:
                writer.write_depth(f"{namespace}/ground_truth/image", *stamp, frame.depth)
            frames += 1
    return frames


@functools.cache
def _to_ros1(msgtype: str) -> Callable[[bytes | memoryview], memoryview]:
    converter = generate_message_converter(
        ros2_types(), ros1_types(), msgtype, msgtype, {}, src_is2=True, dst_is2=False
    )
    return converter  # type: ignore[no-any-return]
