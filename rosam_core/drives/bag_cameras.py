"""Finds the cameras of a bag: image topics, each paired with its camera_info."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from rosam_core.runtime.camera_model import camera_from_info, camera_of_info, is_rectified
from rosam_core.runtime.image_codec import decode_message
from rosam_core.types import Camera

if TYPE_CHECKING:
    from rosam_core.drives.bag_reader import BagMessage, BagReader

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"

DEPTH_ENCODINGS = ("16UC1", "32FC1", "64FC1", "16SC1")
"""Encodings of depth, disparity and confidence, not of pictures."""

OWN_PICTURES = ("/depth/image_color", "/confidence/image_color")
"""Names our own outputs end with; the others have a depth encoding."""

LOOKED_AT = 10
"""So many messages of a topic are read until one is good; the first may be cut or not filled."""

OUTPUTS = (
    "depth/image",
    "depth/camera_info",
    "depth/image_color",
    "depth/image_color/compressed",
    "confidence/image",
    "confidence/camera_info",
    "points",
)
"""Topics that the node and `rosam bag run` write, below the namespace of a camera."""


def own_outputs(topics: Iterable[str]) -> set[str]:
    """Returns which topics of a recording are the depth node's own.

    Depth and confidence beside each other tell them from those of a depth camera.
    """
    names = set(topics)
    depth, _, _, _, confidence, *_ = OUTPUTS
    prefixes = {name.removesuffix(depth) for name in names if name.endswith("/" + depth)}
    own = {p + output for p in prefixes if p + confidence in names for output in OUTPUTS}
    return own & names


@dataclasses.dataclass(frozen=True)
class CameraTopic:
    """An image topic with what is known about its camera.

    Attributes:
        topic: Topic of the images.
        msgtype: `sensor_msgs/msg/Image` or `sensor_msgs/msg/CompressedImage`.
        count: Number of images.
        encoding: Encoding of the first good image, or format for a compressed one.
        width: Width of the first good image [px], 0 if none of `LOOKED_AT` decodes.
        height: Its height [px], likewise.
        frame_id: Its frame.
        info_topic: Paired camera_info topic, or None.
        camera: Intrinsics of the first good camera_info, or None.
        problem: Why there is no camera, or why the first image does not decode; `""` if neither.
    """

    topic: str
    msgtype: str
    count: int
    encoding: str
    width: int
    height: int
    frame_id: str
    info_topic: str | None
    camera: Camera | None
    problem: str = ""

    @property
    def base(self) -> str:
        """Topic without the suffix of a transport: raw and compressed copies share it."""
        return self.topic.removesuffix("/compressed")

    @property
    def namespace(self) -> str:
        """Namespace of the camera, beside whose topics the outputs go."""
        return self.base.rsplit("/", 1)[0]


@dataclasses.dataclass(frozen=True)
class OtherImageTopic:
    """An image topic that is not a camera, and why."""

    topic: str
    count: int
    reason: str


def find_cameras(bag: BagReader) -> tuple[list[CameraTopic], list[OtherImageTopic]]:
    """Returns the camera topics of a bag and the image topics that are none, by name."""
    images = bag.topics_of_type(IMAGE, COMPRESSED_IMAGE)
    infos = bag.topics_of_type(CAMERA_INFO)
    first = bag.first_messages([topic.name for topic in [*images, *infos]])
    looks = {topic.name: _look(first[topic.name]) for topic in images if topic.name in first}
    first_infos: dict[str, Any] = {}
    broken_infos: dict[str, str] = {}
    for topic in infos:
        if topic.name in first:
            try:
                first_infos[topic.name] = first[topic.name].decode()
            except ValueError as error:
                broken_infos[topic.name] = str(error)
    for message in _first_good(bag, looks, first_infos):
        if message.topic in looks:
            fault = looks[message.topic].fault
            looks[message.topic] = dataclasses.replace(_look(message), fault=fault)
        else:
            broken_infos.pop(message.topic, None)
            first_infos[message.topic] = message.decode()
    cameras: list[CameraTopic] = []
    others: list[OtherImageTopic] = []
    for topic in images:
        if topic.name not in first:
            others.append(OtherImageTopic(topic.name, 0, "no messages"))
            continue
        look = looks[topic.name]
        found = _examine(first[topic.name], topic.count, look, first_infos, broken_infos)
        if isinstance(found, CameraTopic):
            cameras.append(found)
        else:
            others.append(found)
    return cameras, others


@dataclasses.dataclass(frozen=True)
class _Look:
    """What an image message tells, and why it does not decode."""

    encoding: str = "?"
    frame_id: str = ""
    width: int = 0
    height: int = 0
    fault: str = ""

    @property
    def is_depth(self) -> bool:
        known = any(name in self.encoding for name in DEPTH_ENCODINGS)
        return known or "compressedDepth" in self.encoding


def _look(image: BagMessage) -> _Look:
    look = _Look()
    try:
        message = image.decode()
        encoding = message.format if image.msgtype == COMPRESSED_IMAGE else message.encoding
        look = _Look(encoding, message.header.frame_id)
        if look.is_depth:
            return look
        height, width = decode_message(message).shape[:2]
    except ValueError as error:  # later images may still be good
        return dataclasses.replace(look, fault=str(error))
    return dataclasses.replace(look, width=width, height=height)


def _first_good(
    bag: BagReader, looks: Mapping[str, _Look], infos: Mapping[str, Any]
) -> Iterator[BagMessage]:
    """Yields the first good message of topics whose first is not, of `LOOKED_AT` each.

    Args:
        bag: An open bag.
        looks: At the first images.
        infos: First camera_info messages that decode.
    """
    left = {name: LOOKED_AT for name, look in looks.items() if look.fault}
    for topic in bag.topics_of_type(CAMERA_INFO):
        if topic.count and _info_fault(infos.get(topic.name)):
            left[topic.name] = LOOKED_AT
    left = {name: min(count, bag.topics[name].count) for name, count in left.items()}
    with contextlib.suppress(ValueError):  # a damaged bag; told when it is read so far
        for message in bag.messages(set(left)) if left else ():
            if message.topic not in left:
                continue
            left[message.topic] -= 1
            if _is_good(message):
                yield message
                left[message.topic] = 0
            if not left[message.topic]:
                del left[message.topic]
            if not left:
                return


def _is_good(message: BagMessage) -> bool:
    if message.msgtype != CAMERA_INFO:
        return not _look(message).fault
    try:
        return not _info_fault(message.decode())
    except ValueError:
        return False


def _info_fault(info: Any) -> str:
    """Returns why a CameraInfo, None if it does not decode, states no intrinsics."""
    if info is None:
        return "does not decode"
    try:
        camera_of_info(info)
    except ValueError as error:
        return str(error)
    return ""


def _examine(
    first: BagMessage,
    count: int,
    look: _Look,
    infos: Mapping[str, Any],
    broken_infos: Mapping[str, str],
) -> CameraTopic | OtherImageTopic:
    encoding, frame_id, camera = look.encoding, look.frame_id, None
    if look.is_depth:
        return OtherImageTopic(first.topic, count, f"carries depth or the like ({encoding})")
    if first.topic.removesuffix("/compressed").endswith(OWN_PICTURES):
        return OtherImageTopic(first.topic, count, "is a coloured depth image")
    problems = [f"its first image: {look.fault}"] if look.fault else []
    name = pair_info(first.topic, frame_id, infos, broken_infos)
    if name is None:
        frame = f" or with frame {frame_id!r}" if frame_id else ""
        problems.append(f"no camera_info beside {first.topic}{frame}")
    elif name in broken_infos:
        problems.append(broken_infos[name])
    else:
        try:
            camera = camera_of_info(infos[name], first.topic)
        except ValueError as error:
            problems.append(f"{name}: {error}")
    return CameraTopic(
        topic=first.topic,
        msgtype=first.msgtype,
        count=count,
        encoding=encoding,
        width=look.width,
        height=look.height,
        frame_id=frame_id,
        info_topic=name,
        camera=camera,
        problem="; ".join(problems),
    )


def pair_info(
    image_topic: str, frame_id: str, infos: Mapping[str, Any], broken: Iterable[str] = ()
) -> str | None:
    """Returns the camera_info topic of an image topic.

    First the sibling in the same namespace, as image_transport has it, then one below the image
    topic, then the only camera_info of the same frame.

    Args:
        image_topic: Topic of the images.
        frame_id: Frame of the images.
        infos: First good CameraInfo message by topic.
        broken: camera_info topics that do not decode.
    """
    base = image_topic.removesuffix("/compressed")
    names = {*infos, *broken}
    for name in (base.rsplit("/", 1)[0] + "/camera_info", base + "/camera_info"):
        if name in names:
            return name
    same_frame = [name for name, info in infos.items() if info.header.frame_id == frame_id]
    return same_frame[0] if frame_id and len(same_frame) == 1 else None


def choose_cameras(
    bag: BagReader, topics: Iterable[str] = ()
) -> tuple[list[CameraTopic], list[str]]:
    """Returns the cameras to work on: the named ones, or one topic for every camera.

    Args:
        bag: An open bag.
        topics: Names given by the user; none means every camera, and of a raw and a compressed
            copy of the same images the one with more messages, raw first.

    Returns:
        cameras: The chosen topics.
        left_out: Copies of chosen cameras that were left out.

    Raises:
        ValueError: The bag has no camera, or a name is not one of its cameras.
    """
    cameras, others = bag.images
    by_name = {camera.topic: camera for camera in cameras}
    reasons = {other.topic: other.reason for other in others}
    if not cameras:
        told = "; ".join(f"{name} {reason}" for name, reason in reasons.items())
        types = sorted({topic.msgtype for topic in bag.topics.values()})
        raise ValueError(
            f"{bag.path} has no camera topic (Image or CompressedImage): "
            + (told or (f"it holds {', '.join(types)}" if types else "it holds no messages"))
        )
    chosen = []
    for name in dict.fromkeys(topics):
        if name in by_name:
            chosen.append(by_name[name])
        elif name in reasons:
            raise ValueError(f"{name} is no camera: it {reasons[name]}")
        elif name in bag.topics:
            raise ValueError(f"{name} is no camera: it is a {bag.topics[name].msgtype}")
        else:
            near = difflib.get_close_matches(name, by_name, n=1, cutoff=0.3)
            hint = f"did you mean {near[0]}?" if near else f"cameras: {', '.join(by_name)}"
            raise ValueError(f"no topic {name} in {bag.path}: {hint}")
    if chosen:
        return chosen, []
    best: dict[str, CameraTopic] = {}
    for camera in sorted(cameras, key=lambda c: (-c.count, c.msgtype != IMAGE)):
        best.setdefault(camera.base, camera)
    kept = sorted(best.values(), key=lambda c: c.topic)
    return kept, sorted(set(by_name) - {camera.topic for camera in kept})


def load_camera_file(path: str | Path, image_topic: str = "") -> Camera:
    """Reads a calibration: a ROS camera calibration YAML, or one with fx, fy, cx, cy.

    Args:
        path: The file. Both forms name the size as `image_width`/`image_height` or
            `width`/`height`.
        image_topic: Topic of the images; rectified ones (`image_rect*`) have the file's
            projection matrix and no distortion, as with a camera_info.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not a calibration; the message names what is missing.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"no camera file at {path}")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        text = " ".join(str(error).split())
        raise ValueError(f"camera file {path} is not YAML: {text}") from error
    if not isinstance(values, dict):
        raise ValueError(f"camera file {path} holds no named values: expected {_FORMS}")
    try:
        width = int(values.get("image_width") or values.get("width") or 0)
        height = int(values.get("image_height") or values.get("height") or 0)
        if not (width and height):
            raise ValueError("image_width and image_height are missing")
        if "projection_matrix" in values and is_rectified(image_topic):
            p = [float(v) for v in values["projection_matrix"]["data"]]
            if len(p) != 12:
                raise ValueError(f"projection_matrix needs 12 numbers, got {len(p)}")
            k, model, d = [*p[0:3], *p[4:7], *p[8:11]], "", []
        elif "camera_matrix" in values:
            k = [float(v) for v in values["camera_matrix"]["data"]]
            if len(k) != 9:
                raise ValueError(f"camera_matrix needs 9 numbers, got {len(k)}")
            model = str(values.get("distortion_model", ""))
            d = [float(v) for v in values.get("distortion_coefficients", {}).get("data", [])]
        else:
            missing = [name for name in ("fx", "fy", "cx", "cy") if name not in values]
            if missing:
                raise ValueError(f"{', '.join(missing)} missing: expected {_FORMS}")
            fx, fy, cx, cy = (float(values[name]) for name in ("fx", "fy", "cx", "cy"))
            k, model, d = [fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0], "", []
        if not all(math.isfinite(v) for v in [*k, *d]):
            raise ValueError("a value is not finite")
        return camera_from_info(width, height, model, d, k)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"camera file {path}: {error}") from error


_FORMS = "a ROS calibration (camera_matrix) or fx, fy, cx, cy, width, height"
