"""A bag as a drive: the frames of one camera with poses and lidar where the bag has them."""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from rosam_core.drives.bag_cameras import (
    CAMERA_INFO,
    CameraTopic,
    choose_cameras,
    load_camera_file,
)
from rosam_core.drives.bag_index import BagIndex, Places, choose_lidar, index_bag
from rosam_core.drives.bag_messages import read_timed_points
from rosam_core.drives.bag_reader import BagMessage, BagReader, BagTopic, DamagedBagError
from rosam_core.drives.base import Drive, Glance
from rosam_core.drives.condition_ranges import condition_at, load_ranges, sidecar_of
from rosam_core.geometry.motion import moved, moved_sweep
from rosam_core.runtime.camera_model import camera_for_image
from rosam_core.runtime.image_codec import decode_message
from rosam_core.types import Camera, Float32, Float64, Frame, UInt8

__all__ = [
    "CAMERA_INFO",
    "BagMessage",
    "BagReader",
    "BagTopic",
    "CameraTopic",
    "DamagedBagError",
    "RosbagDrive",
    "choose_cameras",
    "load_camera_file",
]

logger = logging.getLogger(__name__)

MAX_LIDAR_GAP_NS = 100_000_000
"""A scan further from the image than this is not attached to it."""

MAX_UNINDEXED_BYTES = 1_000_000_000
"""Above this, a bag without an index is so slow that it is told."""


class RosbagDrive(Drive):
    """The frames of one camera of a bag.

    Only the times of recording are kept in memory; a frame is read when it is asked for. Each
    process that indexes the drive opens the bag for itself.
    """

    def __init__(
        self,
        path: str | Path,
        image_topic: str | None = None,
        camera: Camera | None = None,
        *,
        condition: str | None = None,
        lidar_topic: str | None = None,
        index: BagIndex | None = None,
    ) -> None:
        """Indexes a camera of a bag.

        Args:
            path: A `.bag`, `.mcap` or `.db3` file, or a rosbag2 folder.
            image_topic: Its images; may be None if the bag has one camera.
            camera: Intrinsics; those of the camera_info if None.
            condition: One of `CONDITIONS`, for every frame; None reads the file of time ranges
                beside the bag (`condition_ranges`), and is `unknown` without one.
            lidar_topic: Point clouds to attach; none if `""`. If None the first such topic, by
                name, with a warning where there are several.
            index: Of the bag, if it is read already: its cameras share one, and the lidar in it.

        Raises:
            ValueError: No such camera, several to choose from, or no intrinsics.
        """
        self.path = Path(path)
        self.condition = condition
        beside = sidecar_of(self.path)
        self._ranges = load_ranges(beside) if condition is None and beside.is_file() else []
        self._bag: BagReader | None = None
        self._process = -1
        bag = self._open()
        known = index.cameras if index else {}
        topic = known.get(image_topic or "") or _only_camera(bag, image_topic)
        if camera is None and topic.camera is None:
            raise ValueError(f"{topic.topic}: {topic.problem}: state the camera")
        if index is None:
            index = index_bag(bag, [topic], choose_lidar(bag, lidar_topic))
        self.name = f"{self.path.stem}:{topic.topic}"
        self.image_topic = topic.topic
        self.frame_id = topic.frame_id
        self.lidar_topic = index.lidar_topic
        self.transforms = index.transforms
        self._images, self._scans = index.images[topic.topic], index.scans
        self.stamps_ns = self._images.stamps_ns
        self._camera = camera
        self._intrinsics = index.intrinsics[topic.topic]
        if camera is None:
            for problem, count in self._intrinsics.faults.items():
                logger.warning(
                    "%s: left out %d messages, the last good intrinsics stay in use: %s",
                    topic.info_topic,
                    count,
                    problem,
                )
        self._warn_if_slow(bag)

    def __len__(self) -> int:
        """Returns the number of images."""
        return len(self._images)

    def __getitem__(self, index: int) -> Frame:
        """Reads one frame.

        Raises:
            IndexError: Outside the drive.
            ValueError: The image does not decode.
        """
        message, decoded = self._message(index)
        image = decode_message(decoded)
        camera = self._camera_at(message.log_ns)
        frame_id, stamp = decoded.header.frame_id, message.stamp_ns
        lidar, lidar_origin = self._lidar_at(stamp, frame_id)
        return Frame(
            image=image,
            camera=camera_for_image(camera, image.shape[1], image.shape[0], self._described()),
            stamp_ns=stamp,
            T_world_camera=self._pose_at(stamp, frame_id),
            condition=self.condition or self._condition_at(stamp),
            camera_name=self.image_topic,
            lidar=lidar,
            lidar_origin=lidar_origin,
        )

    @property
    def world_frame(self) -> str | None:
        """The frame of `/tf` that poses are in; None if nothing there moves the camera."""
        return self.transforms.world_of(self.frame_id)

    def image(self, index: int) -> UInt8:
        """Reads an image without its scan, uint8[H,W,3] RGB."""
        return decode_message(self._message(index)[1])

    def _message(self, index: int) -> tuple[BagMessage, Any]:
        """Returns the message of an image, as it is recorded and decoded."""
        if not 0 <= index < len(self):
            raise IndexError(f"frame {index} of {len(self)}")
        message = self._read(self.image_topic, self._images, index)
        return message, message.decode()

    def glance(self, index: int) -> Glance:
        """Returns what is known of a frame without reading its image."""
        stamp = int(self.stamps_ns[index])
        nearest = self._nearest_scan(stamp)
        is_empty = nearest is not None and bool(self._scans.is_empty[nearest])
        return Glance(
            stamp_ns=stamp,
            camera=self._camera_at(int(self._images.log_ns[index])),
            T_world_camera=self._pose_at(stamp, self.frame_id),
            condition=self.condition or self._condition_at(stamp),
            camera_name=self.image_topic,
            has_lidar=nearest is not None and not is_empty and self._is_placed(nearest, stamp),
            has_empty_scan=is_empty,
        )

    def scene(self, index: int) -> str:
        """Returns the name of the bag: its cameras see one drive."""
        return self.path.stem

    def _condition_at(self, stamp_ns: int) -> str:
        return condition_at(self._ranges, (stamp_ns - int(self.stamps_ns.min())) / 1e9)

    def __getstate__(self) -> dict[str, Any]:
        """Leaves the open file behind: every process opens its own."""
        return {**self.__dict__, "_bag": None}

    def _open(self) -> BagReader:
        if self._bag is None or self._process != os.getpid():
            self._bag, self._process = BagReader(self.path), os.getpid()
        return self._bag

    def _warn_if_slow(self, bag: BagReader) -> None:
        if bag.unindexed_bytes > MAX_UNINDEXED_BYTES:
            logger.warning(
                "%s: every frame reads all of %s (%.1f GB), which has no index of chunks, as with "
                "the preset fastwrite: `ros2 bag convert` writes one that has",
                self.name,
                self.path,
                bag.unindexed_bytes / 1e9,
            )
        if bag.is_unpacked:
            logger.warning(
                "%s: every process that reads %s unpacks all of it below %s, for it is compressed "
                "file by file: `ros2 bag convert` writes one that is not",
                self.name,
                self.path,
                tempfile.gettempdir(),
            )

    def _described(self) -> str:
        return "the stated calibration" if self._camera else "its camera_info"

    def _read(self, topic: str, places: Places, index: int) -> BagMessage:
        log_ns, rank = int(places.log_ns[index]), int(places.ranks[index])
        found = list(self._open().messages([topic], log_ns, log_ns + 1))
        if rank >= len(found):
            raise DamagedBagError(f"{self.path} is damaged: its index misses {topic} at {log_ns}")
        return found[rank]

    def _camera_at(self, log_ns: int) -> Camera:
        return self._camera or self._intrinsics.at(log_ns)

    def _pose_at(self, stamp_ns: int, frame_id: str) -> Float64 | None:
        world = self.transforms.world_of(frame_id)
        return None if world is None else self.transforms.lookup(world, frame_id, stamp_ns)

    def _lidar_at(self, stamp_ns: int, frame_id: str) -> tuple[Float32 | None, Float64 | None]:
        """Returns the scan nearest in time in the camera's frame, and where it was taken.

        Motion between scan and image is removed, and motion during the scan if its points have
        times. A scan whose motion is not known although the robot moves is none: its points would
        be elsewhere.
        """
        nearest = self._nearest_scan(stamp_ns)
        if nearest is None or self.lidar_topic is None:
            return None, None
        scan_ns = int(self._scans.stamps_ns[nearest])
        cloud = self._read(self.lidar_topic, self._scans, nearest).decode()
        source = cloud.header.frame_id
        T = self.transforms.lookup_moved(frame_id, stamp_ns, source, scan_ns)
        if T is None:
            return None, None
        points, seconds = read_timed_points(cloud)
        if seconds is None or not len(points):
            return moved(points, T), T[:3, 3]
        begin, end = float(seconds.min()), float(seconds.max())
        if end <= begin:
            return moved(points, T), T[:3, 3]
        ends = [
            self.transforms.lookup_moved(frame_id, stamp_ns, source, scan_ns + round(1e9 * offset))
            for offset in (begin, end)
        ]
        if ends[0] is None or ends[1] is None:
            return None, None
        share = (seconds - begin) / (end - begin)
        return moved_sweep(points, share, ends[0], ends[1]), (ends[0] + ends[1])[:3, 3] / 2

    def _is_placed(self, scan: int, stamp_ns: int) -> bool:
        """Returns whether it is known where a scan is, seen from the camera at a time."""
        scan_ns, source = int(self._scans.stamps_ns[scan]), self._scans.frame_id
        T = self.transforms.lookup_moved(self.frame_id, stamp_ns, source, scan_ns)
        return T is not None

    def _nearest_scan(self, stamp_ns: int) -> int | None:
        """Returns the number of the scan nearest in time, None if none is near enough."""
        gaps = np.abs(self._scans.stamps_ns - stamp_ns)
        if not gaps.size or gaps.min() > MAX_LIDAR_GAP_NS:
            return None
        return int(np.argmin(gaps))


def _only_camera(bag: BagReader, image_topic: str | None) -> CameraTopic:
    found = choose_cameras(bag, [image_topic] if image_topic else [])[0]
    if len(found) > 1:
        names = ", ".join(camera.topic for camera in found)
        raise ValueError(f"{bag.path} has {len(found)} cameras, name one of {names}")
    return found[0]
