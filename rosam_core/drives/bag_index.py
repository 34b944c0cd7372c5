"""What has to be known of a bag before its frames can be read, found in one pass over it."""

from __future__ import annotations

import array
import collections
import dataclasses
import logging
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from rosam_core.drives.bag_cameras import CameraTopic
from rosam_core.drives.bag_messages import points_in
from rosam_core.drives.bag_reader import BagMessage, BagReader
from rosam_core.drives.bag_transforms import TF_TYPES, TransformTree
from rosam_core.runtime.camera_model import camera_of_info
from rosam_core.types import Camera

logger = logging.getLogger(__name__)

Int64 = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Places:
    """Where the messages of a topic are, in order of recording.

    Attributes:
        stamps_ns: Times in their headers, int64[N] [ns].
        log_ns: When they were recorded, int64[N] [ns].
        ranks: How many of the topic were recorded before at the same time, int64[N].
        is_empty: Whether it is a point cloud without a point, bool[N].
        frame_id: Frame of the first point cloud, `""` for images.
    """

    stamps_ns: Int64
    log_ns: Int64
    ranks: Int64
    is_empty: npt.NDArray[np.bool_]
    frame_id: str

    def __len__(self) -> int:
        """Returns the number of messages."""
        return len(self.stamps_ns)


@dataclasses.dataclass(frozen=True)
class Intrinsics:
    """What the camera_info of a camera states, which a zoom changes.

    Attributes:
        log_ns: From when on, int64[M] [ns].
        cameras: Intrinsics, one for each.
        faults: Why messages state none, and how many.
    """

    log_ns: Int64
    cameras: tuple[Camera, ...]
    faults: Mapping[str, int]

    def at(self, log_ns: int) -> Camera:
        """Returns those of a time of recording [ns]; before the first they are the first."""
        return self.cameras[max(0, int(np.searchsorted(self.log_ns, log_ns, side="right")) - 1)]


@dataclasses.dataclass(frozen=True)
class BagIndex:
    """Where the messages of cameras and their lidar are.

    Attributes:
        cameras: The cameras, by topic.
        lidar_topic: Their lidar, None if there is none.
        images: Of each camera, by topic.
        scans: Of the lidar.
        intrinsics: By the topic of the images; none where no camera_info is good.
        transforms: Of the whole bag.
    """

    cameras: Mapping[str, CameraTopic]
    lidar_topic: str | None
    images: Mapping[str, Places]
    scans: Places
    intrinsics: Mapping[str, Intrinsics]
    transforms: TransformTree


def choose_lidar(bag: BagReader, lidar_topic: str | None) -> str | None:
    """Returns the topic of the lidar, None if there is none.

    Args:
        bag: An open bag.
        lidar_topic: What the user states: a topic, `""` for none; None is the first, by name,
            with a warning where there are several.

    Raises:
        ValueError: The topic has no point clouds.
    """
    lidars = [lidar.name for lidar in bag.lidars]
    if lidar_topic is not None:
        if lidar_topic and lidar_topic not in lidars:
            raise ValueError(f"no point clouds on {lidar_topic}: the bag has {lidars or 'none'}")
        return lidar_topic or None
    if len(lidars) > 1:
        logger.warning(
            "%s: the lidar is %s; --lidar TOPIC takes another of %s",
            bag.path.stem,
            lidars[0],
            ", ".join(lidars[1:]),
        )
    return lidars[0] if lidars else None


def index_bag(
    bag: BagReader, cameras: Sequence[CameraTopic] = (), lidar_topic: str | None = None
) -> BagIndex:
    """Reads a bag once: each pass decompresses all of it, whatever topics are asked for.

    Args:
        bag: An open bag.
        cameras: The cameras to index.
        lidar_topic: Their lidar, None for none.

    Raises:
        DamagedBagError: The bag is damaged.
    """
    images = {camera.topic: _Places() for camera in cameras}
    scans = _Places(is_lidar=True)
    places = {**images, lidar_topic: scans} if lidar_topic else images
    intrinsics = {camera.topic: _Intrinsics(camera.topic) for camera in cameras}
    infos: dict[str, list[_Intrinsics]] = {}
    for camera in cameras:
        if camera.camera is not None and camera.info_topic:
            infos.setdefault(camera.info_topic, []).append(intrinsics[camera.topic])
    transforms, tf = TransformTree(), {topic.name for topic in bag.topics_of_type(*TF_TYPES)}
    wanted = {*places, *infos, *tf}
    for message in bag.messages(wanted) if wanted else ():
        if message.topic in places:
            places[message.topic].add(message)
        elif message.topic in tf:
            transforms.read(message)
        for stated in infos.get(message.topic, ()):
            stated.add(message)
    transforms.settle()
    return BagIndex(
        {camera.topic: camera for camera in cameras},
        lidar_topic,
        {topic: found.result() for topic, found in images.items()},
        scans.result(),
        {topic: found.result() for topic, found in intrinsics.items()},
        transforms,
    )


class _Places:
    """Collects `Places`: 25 bytes a message, for a bag holds millions."""

    def __init__(self, is_lidar: bool = False) -> None:
        self._is_lidar = is_lidar
        self._stamps, self._logs, self._ranks = (array.array("q") for _ in range(3))
        self._empty = bytearray()
        self._frame_id = ""
        self._last, self._rank = -1, 0

    def add(self, message: BagMessage) -> None:
        self._rank = self._rank + 1 if message.log_ns == self._last else 0
        self._last = message.log_ns
        try:
            stamp = message.stamp_ns
            if self._is_lidar and not self._empty:
                self._frame_id = message.frame_id
        except ValueError as error:
            logger.warning("left out: %s", error)
            return
        self._stamps.append(stamp)
        self._logs.append(self._last)
        self._ranks.append(self._rank)
        self._empty.append(self._is_lidar and not points_in(message))

    def result(self) -> Places:
        stamps, logs, ranks = (
            np.array(column, np.int64) for column in (self._stamps, self._logs, self._ranks)
        )
        return Places(stamps, logs, ranks, np.array(self._empty, np.bool_), self._frame_id)


class _Intrinsics:
    """Collects `Intrinsics`."""

    def __init__(self, image_topic: str) -> None:
        self._image_topic = image_topic
        self._times: list[int] = []
        self._cameras: list[Camera] = []
        self._faults: collections.Counter[str] = collections.Counter()
        self._said: bytes | None = None
        self._fault = ""

    def add(self, message: BagMessage) -> None:
        said = bytes(message.raw[12:])  # after the stamp; most messages say the same again
        if said != self._said:
            self._said, self._fault = said, self._read(message)
        if self._fault:
            self._faults[self._fault] += 1

    def _read(self, message: BagMessage) -> str:
        """Takes a camera in, and returns what is wrong with the message if that is none."""
        try:
            camera = camera_of_info(message.decode(), self._image_topic)
        except ValueError as error:
            return str(error)
        if not self._cameras or camera != self._cameras[-1]:
            self._times.append(message.log_ns)
            self._cameras.append(camera)
        return ""

    def result(self) -> Intrinsics:
        return Intrinsics(np.array(self._times, np.int64), tuple(self._cameras), self._faults)
