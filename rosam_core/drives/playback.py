"""A recorded drive as the serialized ROS 2 messages that replay it, in order of time."""

from __future__ import annotations

import abc
import dataclasses
import json
import logging
import queue
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from rosam_core.drives import bag_messages
from rosam_core.drives.bag_cameras import (
    CAMERA_INFO,
    COMPRESSED_IMAGE,
    IMAGE,
    choose_cameras,
    own_outputs,
)
from rosam_core.drives.bag_reader import POINT_CLOUD, BagReader
from rosam_core.drives.bag_transforms import TF_TYPES
from rosam_core.drives.bag_writer import encode_picture
from rosam_core.drives.base import Drive
from rosam_core.types import CONDITIONS, Frame

TF = "tf2_msgs/msg/TFMessage"
REPLAYED_TYPES = (IMAGE, COMPRESSED_IMAGE, CAMERA_INFO, POINT_CLOUD, *TF_TYPES)
"""What is replayed of a bag: what depth needs, and what it is looked at with."""

logger = logging.getLogger(__name__)

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class PlaybackMessage:
    """One message to publish.

    Attributes:
        topic: Topic name.
        time_ns: When it was recorded [ns].
        cdr: Serialized message.
        frame_stamp_ns: Its stamp if it is an image of the camera in question [ns], else None.
    """

    topic: str
    time_ns: int
    cdr: bytes
    frame_stamp_ns: int | None = None


class Playback(abc.ABC):
    """Something that can be replayed.

    Attributes:
        topics: Message type by topic.
        image_topic: The camera in question.
        info_topic: Its camera_info, `""` if it has none.
        frames: Number of its images.
    """

    topics: dict[str, str]
    image_topic: str
    info_topic: str
    frames: int

    @abc.abstractmethod
    def first_info(self) -> bytes | None:
        """Returns the serialized camera_info of the first frame, or None if there is none."""

    @abc.abstractmethod
    def messages(self) -> Iterator[PlaybackMessage]:
        """Reads every message in order of time, from the start."""


class BagPlayback(Playback):
    """Replays the cameras, transforms and point clouds of a bag as they were recorded.

    Depth of ours in it is left out: it would be taken for that of the node that is to make it.
    """

    def __init__(self, path: str | Path, image_topic: str = "") -> None:
        """Opens a bag.

        Args:
            path: A `.bag`, `.mcap` or `.db3` file, or a rosbag2 folder.
            image_topic: The camera in question; the first one if empty.

        Raises:
            FileNotFoundError: There is no such bag.
            ValueError: It cannot be read or lacks the camera.
        """
        self._bag = BagReader(path)
        camera = choose_cameras(self._bag, [image_topic] if image_topic else [])[0][0]
        self.image_topic, self.frames = camera.topic, camera.count
        self.info_topic = camera.info_topic or ""
        own = own_outputs(self._bag.topics)
        if own:
            logger.warning("left out, depth of another run: %s", ", ".join(sorted(own)))
        self.topics = {
            topic.name: TF if topic.msgtype in TF_TYPES else topic.msgtype
            for topic in self._bag.topics_of_type(*REPLAYED_TYPES)
            if topic.name not in own
        }

    def first_info(self) -> bytes | None:
        """Returns the serialized camera_info of the first frame, or None if there is none."""
        found = self._bag.first_messages([self.info_topic])
        return bytes(found[self.info_topic].to_cdr()) if found else None

    def messages(self) -> Iterator[PlaybackMessage]:
        """Reads every message in order of time, from the start."""
        for message in self._bag.messages(self.topics):
            try:
                stamp = message.stamp_ns if message.topic == self.image_topic else None
                cdr = bytes(message.to_cdr())
            except ValueError as error:
                logger.warning("left out: %s", error)
                continue
            yield PlaybackMessage(message.topic, message.log_ns, cdr, stamp)


class DrivePlayback(Playback):
    """Replays the frames of any drive as one camera."""

    def __init__(
        self,
        drive: Drive,
        *,
        namespace: str = "/camera",
        frame_id: str = "camera_optical",
        compressed: bool = False,
    ) -> None:
        """Prepares a drive.

        Args:
            drive: The frames.
            namespace: Of the camera topics.
            frame_id: Optical frame of the camera.
            compressed: Publish JPEG instead of raw images.
        """
        self._drive, self._frame_id, self._compressed = drive, frame_id, compressed
        self.info_topic = f"{namespace}/camera_info"
        self.image_topic = f"{namespace}/image_raw" + ("/compressed" if compressed else "")
        self.frames = len(drive)
        self.topics = {
            self.info_topic: CAMERA_INFO,
            "/tf": TF,
            self.image_topic: COMPRESSED_IMAGE if compressed else IMAGE,
        }

    def first_info(self) -> bytes | None:
        """Returns the serialized camera_info of the first frame, or None if there is none."""
        return next(iter(self.messages())).cdr if self.frames else None

    def messages(self) -> Iterator[PlaybackMessage]:
        """Reads every frame: its camera_info, its pose where known, its image."""
        for frame in self._drive:
            yield from self._of_frame(frame)

    def _of_frame(self, frame: Frame) -> Iterator[PlaybackMessage]:
        at, where = frame.stamp_ns, (frame.stamp_ns, self._frame_id)

        def made(topic: str, message: Any, stamp: int | None = None) -> PlaybackMessage:
            return PlaybackMessage(topic, at, bag_messages.serialize(message), stamp)

        yield made(self.info_topic, bag_messages.camera_info(*where, frame.camera))
        if frame.T_world_camera is not None:
            edge = ("map", self._frame_id, frame.T_world_camera)
            yield made("/tf", bag_messages.transforms(at, [edge]))
        if self._compressed:
            jpeg = encode_picture(frame.image)
            yield made(self.image_topic, bag_messages.compressed_image(*where, jpeg, "jpeg"), at)
        else:
            yield made(self.image_topic, bag_messages.image(*where, frame.image), at)


def split_conditions(names: Sequence[str], frames: int) -> list[str]:
    """Returns one condition a frame: the drive in equal parts, one for each name, in order.

    Args:
        names: Conditions, at least one.
        frames: Number of frames, at least the number of names.

    Raises:
        ValueError: An unknown condition, none at all, or more parts than frames.
    """
    unknown = [name for name in names if name not in CONDITIONS]
    if unknown or not names or len(names) > frames:
        raise ValueError(
            f"cannot split {frames} frames into conditions {list(names)}: expected some of "
            f"{', '.join(CONDITIONS)}, at most one a frame"
        )
    return [names[index * len(names) // frames] for index in range(frames)]


def open_playback(
    path: str | Path, *, image_topic: str = "", conditions: Sequence[str] = (), **options: Any
) -> Playback:
    """Opens whatever lies at a path for replay.

    Args:
        path: A bag, or the folder of one synthetic drive.
        image_topic: The camera of a bag.
        conditions: Of a synthetic drive: the parts it is split into; its first if empty.
        options: Of `DrivePlayback`.

    Raises:
        FileNotFoundError: There is nothing there.
        ValueError: It cannot be replayed.
    """
    path = Path(path)
    if not (path / "drive.json").is_file():
        return BagPlayback(path, image_topic)
    from rosam_core.drives.synthetic.drive import RECORDED, SyntheticDrive

    names = list(conditions) or _rendered(path)[:1]
    drive = SyntheticDrive(path, names[0])
    if not conditions and all(drive.recorded):  # each frame was rendered in one condition only
        return DrivePlayback(SyntheticDrive(path, RECORDED), **options)
    return DrivePlayback(SyntheticDrive(path, split_conditions(names, len(drive))), **options)


def _rendered(folder: Path) -> list[str]:
    described = json.loads((folder / "drive.json").read_text(encoding="utf-8"))
    known = described.get("conditions") if isinstance(described, dict) else None
    # A file that is no drive is told by the drive itself, whatever it is asked for.
    return list(known or CONDITIONS)


def prefetch(source: Iterator[T], depth: int = 8) -> Iterator[T]:
    """Reads ahead in a thread, so that decoding does not delay publishing.

    Args:
        source: What to read; an exception in it is raised here, in its turn.
        depth: How many items are held at most.
    """
    items: queue.Queue[Any] = queue.Queue(maxsize=depth)
    stopped, end = threading.Event(), object()

    def put(item: Any) -> None:
        while not stopped.is_set():
            try:
                return items.put(item, timeout=0.1)
            except queue.Full:
                continue

    def read() -> None:
        try:
            for item in source:
                put((item, None))
                if stopped.is_set():
                    return
            put((end, None))
        except BaseException as error:  # raised where the items are used
            put((end, error))

    thread = threading.Thread(target=read, name="prefetch", daemon=True)
    thread.start()
    try:
        while True:
            item, error = items.get()
            if error is not None:
                raise error
            if item is end:
                return
            yield item
    finally:
        stopped.set()
        thread.join()
