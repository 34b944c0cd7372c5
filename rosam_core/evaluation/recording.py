"""Reads the outputs of a recorded run back, beside the frames they were made from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from rosam_core.drives.bag_reader import BagMessage, BagReader
from rosam_core.drives.bag_writer import BagWriter
from rosam_core.drives.base import Drive
from rosam_core.drives.rosbag import RosbagDrive
from rosam_core.evaluation.live import LiveTopics
from rosam_core.runtime.camera_model import camera_of_info
from rosam_core.runtime.colormap import colorize_depth
from rosam_core.types import DepthPrediction, Float32, Frame

FRAME_ID = "camera_optical"


def frame_stamps(drive: Drive) -> dict[int, int]:
    """Returns the index of every frame by its stamp [ns].

    Args:
        drive: A bag's camera or a synthetic drive.
    """
    if isinstance(drive, RosbagDrive):
        return {int(stamp): index for index, stamp in enumerate(drive.stamps_ns)}
    return {frame["stamp_ns"]: index for index, frame in enumerate(drive.frames)}  # type: ignore


def recorded_predictions(
    bag: Path, topics: LiveTopics, start_ns: int | None = None, stop_ns: int | None = None
) -> Iterator[tuple[int, DepthPrediction, list[BagMessage]]]:
    """Reads depth and confidence of a recording, pair by pair.

    Args:
        bag: Recording of the recorder.
        topics: Its topics.
        start_ns: Only from this stamp on [ns].
        stop_ns: Only before this stamp [ns].

    Yields:
        The stamp [ns], the prediction, and the messages it was in. A depth without its
        confidence or camera_info is left out.
    """
    names = (topics.depth, topics.confidence, topics.depth_info)
    waiting: dict[int, dict[str, BagMessage]] = {}
    with BagReader(bag) as reader:
        for message in reader.messages(names, start_ns, stop_ns):
            stamp = message.stamp_ns
            found = waiting.setdefault(stamp, {})
            found[message.topic] = message
            if len(found) < len(names):
                continue
            del waiting[stamp]
            depth, confidence = (_float_image(found[name]) for name in names[:2])
            camera = camera_of_info(found[topics.depth_info].decode(), topics.depth)
            yield stamp, DepthPrediction(depth, confidence, camera), list(found.values())


def recorded_prediction(bag: Path, topics: LiveTopics, stamp_ns: int) -> DepthPrediction:
    """Reads one prediction of a recording.

    Args:
        bag: Recording of the recorder.
        topics: Its topics.
        stamp_ns: The stamp [ns].

    Raises:
        ValueError: There is none with this stamp.
    """
    for _, prediction, _ in recorded_predictions(bag, topics, stamp_ns, stamp_ns + 1):
        return prediction
    raise ValueError(f"{bag} has no depth with stamp {stamp_ns}")


def write_frame(
    writer: BagWriter,
    topics: LiveTopics,
    frame: Frame,
    prediction: DepthPrediction,
    messages: list[BagMessage],
    max_depth_m: float,
) -> None:
    """Adds a frame and what the node made of it to a bag that RViz and Foxglove open.

    Args:
        writer: The bag.
        topics: Names of the topics.
        frame: The input; written as JPEG.
        prediction: Depth, for the coloured picture.
        messages: The node's messages as recorded.
        max_depth_m: Far end of the depth colours [m].
    """
    where = (frame.stamp_ns, _frame_id(messages))
    base = topics.namespace
    name = topics.image.removesuffix("/compressed")
    writer.write_compressed(f"{name}/compressed", *where, frame.image, "jpeg")
    writer.write_camera_info(f"{base}/camera_info", *where, frame.camera)
    if frame.T_world_camera is not None:
        writer.write_transforms(frame.stamp_ns, [("map", where[1], frame.T_world_camera)])
    for message in messages:
        writer.copy(message)
    picture = colorize_depth(prediction.depth, max_depth_m)
    writer.write_compressed(f"{base}/depth/image_color/compressed", *where, picture, "jpeg")


def _frame_id(messages: list[BagMessage]) -> str:
    return str(messages[0].decode().header.frame_id) if messages else FRAME_ID


def _float_image(message: BagMessage) -> Float32:
    """Returns the pixels of a 32FC1 image, float32[H,W]."""
    decoded = message.decode()
    if decoded.encoding != "32FC1":
        raise ValueError(f"{message.topic} is {decoded.encoding}, expected 32FC1")
    rows = np.frombuffer(decoded.data, dtype=np.uint8).reshape(decoded.height, decoded.step)
    order = ">" if decoded.is_bigendian else "<"
    pixels = np.ascontiguousarray(rows[:, : 4 * decoded.width]).view(f"{order}f4")
    return pixels.astype(np.float32)
