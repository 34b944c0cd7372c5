"""Reads any ROS 1, sqlite3 or MCAP bag as ROS 2 messages, without a ROS installation."""

from __future__ import annotations

import dataclasses
import functools
import struct
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from rosbags import rosbag1, rosbag2
from rosbags.convert.converter import STATIC_MSGTYPE_RENAMES, generate_message_converter
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from rosam_core.drives.bag_cameras import (
    CameraTopic,
    OtherImageTopic,
    find_cameras,
    own_outputs,
)
from rosam_core.drives.bag_files import (
    CONTENT_ERRNOS,
    check_path,
    environment_problem,
    open_problem,
    trust_storage_qos,
)

POINT_CLOUD = "sensor_msgs/msg/PointCloud2"


class DamagedBagError(ValueError):
    """A bag that opened is damaged further on."""


@functools.cache
def ros2_types() -> Any:
    """Returns the message definitions that everything is decoded with and written with."""
    return get_typestore(Stores.ROS2_JAZZY)


@functools.cache
def ros1_types() -> Any:
    """Returns the definitions of ROS 1 messages."""
    store = get_typestore(Stores.ROS1_NOETIC)
    definition = "geometry_msgs/TransformStamped[] transforms"  # not among the common messages
    store.register(get_types_from_msg(definition, "tf2_msgs/msg/TFMessage"))
    return store


@dataclasses.dataclass(frozen=True)
class BagTopic:
    """A topic of a bag.

    Attributes:
        name: Topic name.
        msgtype: Message type, such as `sensor_msgs/msg/Image`, also for ROS 1.
        count: Number of messages.
    """

    name: str
    msgtype: str
    count: int


@dataclasses.dataclass(frozen=True)
class BagMessage:
    """One recorded message, still serialized.

    Attributes:
        topic: Topic name.
        msgtype: Message type.
        log_ns: When it was recorded [ns].
        raw: CDR bytes, or ROS 1 bytes for a ROS 1 bag.
        is_ros1: How `raw` is serialized.
    """

    topic: str
    msgtype: str
    log_ns: int
    raw: bytes
    is_ros1: bool

    @property
    def stamp_ns(self) -> int:
        """Time in the header [ns], read without decoding; the type must begin with a header.

        Raises:
            ValueError: There are too few bytes for a header.
        """
        sec, nanosec = self._unpack("iI", 4)
        return int(sec) * 1_000_000_000 + int(nanosec)

    @property
    def frame_id(self) -> str:
        """Frame in the header, read without decoding, as `stamp_ns` is.

        Raises:
            ValueError: There are too few bytes for a header, or they are no text.
        """
        (size,) = self._unpack("I", 12)
        (name,) = self._unpack(f"{size}s", 16)
        return bytes(name).rstrip(b"\0").decode()

    def _unpack(self, layout: str, at: int) -> tuple[Any, ...]:
        if len(self.raw) < at + struct.calcsize("<" + layout):
            raise ValueError(f"{self.topic}: {len(self.raw)} bytes are no {self.msgtype}")
        # A ROS 1 header has a four-byte sequence number where CDR has its four-byte preamble.
        little = self.is_ros1 or self.raw[1] & 1
        return struct.unpack_from(("<" if little else ">") + layout, self.raw, at)

    def to_cdr(self) -> bytes | memoryview:
        """Returns the message as CDR, which ROS 2 publishers and bags take as it is.

        Raises:
            ValueError: The bytes of a ROS 1 message are damaged.
        """
        if not self.is_ros1:
            return self.raw
        try:
            return _ros1_converter(self.msgtype)(self.raw)
        except Exception as error:  # the decoder meets damaged bytes with any exception
            raise ValueError(self._undecodable(error)) from error

    def decode(self) -> Any:
        """Returns the ROS 2 message; ValueError if the bytes are not one."""
        cdr = self.to_cdr()
        try:
            name = STATIC_MSGTYPE_RENAMES.get(self.msgtype, self.msgtype)
            return ros2_types().deserialize_cdr(cdr, name)
        except Exception as error:  # the decoder meets damaged bytes with any exception
            raise ValueError(self._undecodable(error)) from error

    def _undecodable(self, error: Exception) -> str:
        size = len(self.raw)
        why = " ".join(f"{type(error).__name__}: {error}".split())
        return f"{self.topic}: a {self.msgtype} of {size} bytes does not decode ({why})"


@functools.cache
def _ros1_converter(msgtype: str) -> Callable[[bytes], memoryview]:
    converter = generate_message_converter(
        ros1_types(),
        ros2_types(),
        STATIC_MSGTYPE_RENAMES.get(msgtype, msgtype),
        STATIC_MSGTYPE_RENAMES.get(msgtype, msgtype),
        {},
        src_is2=False,
        dst_is2=True,
    )
    return converter  # type: ignore[no-any-return]


class BagReader:
    """An open bag; use it as a context manager.

    The readers of rosbags are used without their `AnyReader`, which refuses a whole bag when the
    definition of one unrelated custom message does not parse.

    Attributes:
        path: The file or folder.
        format: `"ros1"`, `"sqlite3"` or `"mcap"`.
        topics: Every topic, by name.
        start_ns: Time of the first message [ns]; 0 for an empty bag.
        duration_s: Time from the first to the last message [s].
        message_count: Number of messages.
    """

    def __init__(self, path: str | Path) -> None:
        """Opens a bag.

        Args:
            path: A `.bag`, `.mcap` or `.db3` file, or a rosbag2 folder.

        Raises:
            FileNotFoundError: There is nothing at `path`.
            OSError: The machine does not let it be read, such as for want of space.
            ValueError: It is not a bag that can be read; the message says why and what helps.
        """
        self.path = Path(path)
        kind = check_path(self.path)
        try:
            self._reader: Any = (
                rosbag1.Reader(self.path) if kind == ".bag" else rosbag2.Reader(self.path)
            )
            self._reader.open()
        except Exception as error:  # a damaged file makes the parsers raise anything
            if isinstance(error, OSError) and error.errno not in CONTENT_ERRNOS:
                raise environment_problem(self.path, error) from error
            raise ValueError(open_problem(self.path, kind, error)) from error
        if not kind:
            trust_storage_qos(self.path, self._reader.storage)
        self.is_ros1 = kind == ".bag"
        self.format = "ros1" if self.is_ros1 else self._storage()
        self.message_count: int = self._reader.message_count
        self.start_ns: int = self._reader.start_time if self.message_count else 0
        self.duration_s = max(0, self._reader.duration - 1) / 1e9 if self.message_count else 0.0
        self.topics: dict[str, BagTopic] = {}
        for connection in self._reader.connections:
            known = self.topics.get(connection.topic)
            count = connection.msgcount + (known.count if known else 0)
            msgtype = known.msgtype if known else connection.msgtype
            self.topics[connection.topic] = BagTopic(connection.topic, msgtype, count)

    def _storage(self) -> str:
        if self.path.suffix == ".mcap":
            return "mcap"
        if self.path.suffix == ".db3":
            return "sqlite3"
        names = [child.name for child in self.path.iterdir()]
        return "mcap" if any(".mcap" in name for name in names) else "sqlite3"

    def __enter__(self) -> BagReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    @property
    def unindexed_bytes(self) -> int:
        """Size of MCAP files without an index of chunks: all of it is read for each look-up."""
        storage = getattr(self._reader, "storage", None)
        files = getattr(storage, "storages", [storage])
        return sum(f.path.stat().st_size for f in files if getattr(f, "chunks", None) == [])

    @property
    def is_unpacked(self) -> bool:
        """Whether its files are compressed as a whole, and unpacked while it is open."""
        return not self.is_ros1 and self._reader.compression_mode == "file"

    def topics_of_type(self, *msgtypes: str) -> list[BagTopic]:
        """Returns the topics of any of these types, by name."""
        found = [topic for topic in self.topics.values() if topic.msgtype in msgtypes]
        return sorted(found, key=lambda topic: topic.name)

    @property
    def lidars(self) -> list[BagTopic]:
        """Point cloud topics, by name, without those that were made of depth of ours."""
        own = own_outputs(self.topics)
        return [topic for topic in self.topics_of_type(POINT_CLOUD) if topic.name not in own]

    @functools.cached_property
    def images(self) -> tuple[list[CameraTopic], list[OtherImageTopic]]:
        """Camera topics, and the image topics that are not cameras with the reason."""
        return find_cameras(self)

    @property
    def cameras(self) -> list[CameraTopic]:
        """Camera topics, each with its camera_info, by name."""
        return self.images[0]

    def messages(
        self,
        topics: Collection[str] | None = None,
        start_ns: int | None = None,
        stop_ns: int | None = None,
    ) -> Iterator[BagMessage]:
        """Reads messages in order of recording.

        Args:
            topics: Only these topics; all if None.
            start_ns: Only messages recorded at or after this time [ns].
            stop_ns: Only messages recorded before this time [ns].

        Yields:
            The messages.

        Raises:
            DamagedBagError: The bag is damaged from here on.
        """
        connections = [c for c in self._reader.connections if topics is None or c.topic in topics]
        if not connections:
            return
        source = self._reader.messages(connections=connections, start=start_ns, stop=stop_ns)
        count = 0
        while True:
            try:
                connection, log_ns, raw = next(source)
            except StopIteration:
                return
            except Exception as error:  # a damaged chunk makes the decompressors raise anything
                raise DamagedBagError(
                    f"{self.path} is damaged: reading stopped after {count} messages "
                    f"({type(error).__name__}: {error})"
                ) from error
            count += 1
            yield BagMessage(connection.topic, connection.msgtype, log_ns, raw, self.is_ros1)

    def first_messages(self, topics: Collection[str]) -> dict[str, BagMessage]:
        """Reads the first message of each topic, and no further than needed."""
        wanted = {name for name in topics if name in self.topics and self.topics[name].count}
        found: dict[str, BagMessage] = {}
        for message in self.messages(wanted) if wanted else ():
            if found.setdefault(message.topic, message) is message and len(found) == len(wanted):
                break
        return found
