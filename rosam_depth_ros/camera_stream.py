"""One camera on the graph: its subscriptions, the frames that wait and its publishers."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2

from rosam_core.runtime.camera_model import camera_for_image, camera_of_info
from rosam_core.runtime.colormap import colorize_depth
from rosam_core.runtime.ground import Mounting
from rosam_core.types import Camera, DepthPrediction, UInt8
from rosam_depth_ros import messages
from rosam_depth_ros.diagnostics import ErrorLog, StreamStatistics
from rosam_depth_ros.pace import Pace
from rosam_depth_ros.parameters import NodeParameters

try:
    from rclpy.event_handler import SubscriptionEventCallbacks, UnsupportedEventTypeError
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks, UnsupportedEventTypeError

CAMERA_INFO_PATIENCE_S = 1.0
"""So long does the first frame wait for a `camera_info` before that is an error."""

KEPT_FRAMES = 8
"""As many frames wait, where none may be lost for a moment in which the node does not come to run:
loading a library stops every thread of Python for up to 50 ms."""

IMAGE_TYPES = {
    "sensor_msgs/msg/Image": Image,
    "sensor_msgs/msg/CompressedImage": CompressedImage,
}

LOOK_S = 0.5
"""With `image_transport` `auto`, what is published on the image topic is looked up this often,
while no image comes."""

OUTPUT_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
"""Reliable, because Fast DDS loses best-effort messages above about 0.5 MB; newest only."""


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


class InputSubscription:
    """A subscription that, if asked for `auto`, settles for best effort when it must."""

    def __init__(
        self, node: Node, kind: type, topic: str, callback: Callable[[Any], None], qos: str
    ) -> None:
        """Subscribes.

        Args:
            node: The node.
            kind: Message class.
            topic: Resolved name.
            callback: Takes each message.
            qos: `auto`, `reliable` or `best_effort`.
        """
        self._node, self._kind, self.topic, self._callback = node, kind, topic, callback
        self._qos = qos
        # The event's own callback must not destroy the subscription it belongs to.
        self._settle_soon = node.create_guard_condition(self._settle)
        self._subscribe(reliable=qos != "best_effort")

    def look_again(self) -> None:
        """Subscribes anew if only images of the other type are published there."""
        found = self._node.get_publishers_info_by_topic(self.topic)
        types = {endpoint.topic_type for endpoint in found}
        kinds = {kind for name, kind in IMAGE_TYPES.items() if name in types}
        if kinds and self._kind not in kinds:
            self._node.destroy_subscription(self._subscription)
            (self._kind,) = kinds
            self._subscribe(reliable=self._qos != "best_effort")
            self._node.get_logger().info(f"{self.topic} carries {self._kind.__name__}")

    def _subscribe(self, reliable: bool) -> None:
        self.reliable = reliable
        policy = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
        # As deep as the line of frames may ever be; where the newest alone counts, see `newest`.
        qos = QoSProfile(depth=KEPT_FRAMES, reliability=policy)
        events = None
        if self._qos == "auto" and reliable:
            events = SubscriptionEventCallbacks(
                incompatible_qos=lambda _: self._settle_soon.trigger()
            )
        arguments = (self._kind, self.topic, self._callback, qos)
        try:
            self._subscription = self._node.create_subscription(*arguments, event_callbacks=events)
        except UnsupportedEventTypeError:  # this middleware has no such mismatch
            self._subscription = self._node.create_subscription(*arguments)

    def newest(self, message: Any) -> tuple[Any, int]:
        """Returns the last message that has come, and how many were passed over for it.

        Args:
            message: The one that a callback is being called with.
        """
        passed = 0
        handle = self._subscription.handle
        with handle:
            while (taken := handle.take_message(self._kind, False)) is not None:
                message, passed = taken[0], passed + 1
        return message, passed

    def _settle(self) -> None:
        if self.reliable:
            self._node.destroy_subscription(self._subscription)
            self._subscribe(reliable=False)
            self._node.get_logger().info(f"{self.topic} offers best effort only: subscribed so")


class CameraStream:
    """The frames of a camera that wait, what is known of its intrinsics, and its outputs.

    Attributes:
        statistics: Rates, latency and drops.
        errors: Of this camera's images, intrinsics and outputs.
        pace: Whether the network is quicker than the camera.
        image_topic: Resolved name.
    """

    def __init__(
        self,
        node: Node,
        parameters: NodeParameters,
        arrived: threading.Condition,
        name: str = "",
    ) -> None:
        """Subscribes and advertises.

        Args:
            node: The node.
            parameters: Its parameters at start.
            arrived: Notified when a frame waits.
            name: Of the camera: all its topics begin with it; empty = they have no such beginning.
        """
        self.statistics = StreamStatistics()
        log = node.get_logger()
        self.pace = Pace()
        self._waiting_frames = parameters.waiting_frames
        self._name = name
        prefix = f"{name}/" if name else ""
        self._node = node
        self._arrived = arrived
        self._frames: deque[tuple[Image | CompressedImage, float]] = deque()
        self._keep_until = 0.0
        self._info: CameraInfo | None = None
        self._waiting_since: float | None = None
        self._told: set[tuple[str, Camera]] = set()
        self._info_camera: tuple[tuple[Any, ...], Camera] | None = None
        self._last_depth: Image | None = None
        self._last_confidence: Image | None = None
        self._file_camera: tuple[tuple[str, int, int], Camera] | None = None
        self._mounting: Mounting | None = None

        topic = node.resolve_topic_name(f"{prefix}image")
        named_compressed = topic.endswith("/compressed")
        compressed = parameters.image_transport == "compressed" or (
            parameters.image_transport == "auto" and named_compressed
        )
        if compressed and not named_compressed:
            topic += "/compressed"
        self.image_topic = topic
        # With one camera it is clear which one is meant.
        self.errors = ErrorLog(lambda text: log.error(text), subject=topic if name else "")
        self.camera_info_topic = node.resolve_topic_name(f"{prefix}camera_info")
        kind = CompressedImage if compressed else Image
        qos = parameters.input_qos
        self._info_input = InputSubscription(
            node, CameraInfo, self.camera_info_topic, self._on_info, qos
        )
        self._image_input = InputSubscription(node, kind, topic, self._on_image, qos)
        if parameters.image_transport == "auto":
            # Steady: a replay starts its /clock only when somebody listens to its images.
            clock = Clock(clock_type=ClockType.STEADY_TIME)
            node.create_timer(LOOK_S, self._look_for_images, clock=clock)
        create = node.create_publisher
        self._depth = create(Image, f"{prefix}depth/image", OUTPUT_QOS)
        self._depth_info = create(CameraInfo, f"{prefix}depth/camera_info", OUTPUT_QOS)
        self._confidence = create(Image, f"{prefix}confidence/image", OUTPUT_QOS)
        self._confidence_info = create(CameraInfo, f"{prefix}confidence/camera_info", OUTPUT_QOS)
        self._color = create(Image, f"{prefix}depth/image_color", OUTPUT_QOS)
        self._points = create(PointCloud2, f"{prefix}points", OUTPUT_QOS)

    def _look_for_images(self) -> None:
        if time.monotonic() - self.statistics.last_in_s > LOOK_S:
            self._image_input.look_again()

    def _on_image(self, message: Image | CompressedImage) -> None:
        now = time.monotonic()
        most = self._most_waiting(now)
        message, passed = (message, 0) if most > 1 else self._image_input.newest(message)
        self.pace.came(now, 1 + passed)
        with self._arrived:
            for _ in range(passed):
                self.statistics.image_in(1)
            replaced = max(0, len(self._frames) + 1 - most)
            for _ in range(replaced):
                self._frames.popleft()
            self.statistics.image_in(replaced)
            self._frames.append((message, now))
            if self._waiting_since is None:
                self._waiting_since = now
            self._arrived.notify()

    def _most_waiting(self, now: float) -> int:
        """Returns how many frames may wait in line; one more takes the place of the oldest."""
        if now < self._keep_until:
            return KEPT_FRAMES
        return self._waiting_frames if self.pace.keeps_up else 1

    def _on_info(self, message: CameraInfo) -> None:
        with self._arrived:
            self._info = message
            self._arrived.notify()

    def is_ready(self, parameters: NodeParameters) -> bool:
        """Returns whether a frame can be taken; the first ones wait a little for `camera_info`."""
        if not self._frames:
            return False
        if self._info is not None or parameters.fov_deg > 0 or parameters.camera_file:
            return True
        since = self._waiting_since or 0.0
        return time.monotonic() - since > CAMERA_INFO_PATIENCE_S

    @property
    def waiting_since(self) -> float:
        """When the next frame in line arrived, monotonic [s]; 0 if there is none."""
        return self._frames[0][1] if self._frames else 0.0

    def keep_frames(self, seconds: float) -> None:
        """Lets up to `KEPT_FRAMES` wait in line, not the newest only, for so long from now [s]."""
        self._keep_until = time.monotonic() + seconds

    def take(self) -> tuple[Image | CompressedImage, float]:
        """Returns the next frame and its time of arrival, and takes it out of the line."""
        if not self._frames:
            raise RuntimeError("no frame waits: ask `is_ready` first")
        return self._frames.popleft()

    def camera(
        self, width: int, height: int, parameters: NodeParameters
    ) -> tuple[Camera, CameraInfo | None]:
        """Returns the intrinsics of an image, and the `camera_info` they came from, if any.

        Args:
            width: Width of the image [px].
            height: Height of the image [px].
            parameters: Of this moment.

        Raises:
            ValueError: No or unusable intrinsics; says which and the remedy.
        """
        if parameters.camera_file:
            path = parameters.camera_file.replace("{camera}", self._name)
            camera = self._calibration(path)
            self._tell(f"camera_file {path}", camera)
            return camera_for_image(camera, width, height, f"camera_file {path}"), None
        if parameters.fov_deg > 0:
            camera = Camera.from_fov(parameters.fov_deg, width, height)
            self._tell(f"fov_deg {parameters.fov_deg:g}", camera)
            return camera, None
        info = self._info
        if info is None:
            raise ValueError(
                f"no camera_info received on {self.camera_info_topic}: publish or remap it, or "
                "set fov_deg or camera_file"
            )
        roi = info.roi
        crop = (roi.x_offset, roi.y_offset, roi.width, roi.height, info.binning_x, info.binning_y)
        size = (info.width, info.height, info.distortion_model)
        key = (info.k.tobytes(), info.d.tobytes(), info.p.tobytes(), *size, *crop)
        if self._info_camera is None or self._info_camera[0] != key:
            self._info_camera = (key, camera_of_info(info, self.image_topic))
        return camera_for_image(self._info_camera[1], width, height), info

    def mounting(self, parameters: NodeParameters) -> Mounting | None:
        """Returns how the camera is mounted, None while that is not stated.

        Args:
            parameters: Of this moment.
        """
        stated = parameters.camera_height_m, parameters.camera_pitch_deg
        if not parameters.camera_height_m:
            self._mounting = None
        elif self._mounting is None or stated != (
            self._mounting.height_m,
            self._mounting.pitch_deg,
        ):
            self._mounting = Mounting(*stated)
        return self._mounting

    def ground_values(self) -> dict[str, str]:
        """Returns what `/diagnostics` tells of the scale that the camera's height gives."""
        mounting = self._mounting
        if mounting is None:
            return {}
        ground = mounting.ground
        return {
            "ground": "none in the last frame" if ground is None else f"{ground.share:.0%}",
            "camera_pitch_deg": "nan" if ground is None else f"{ground.pitch_deg:.1f}",
            "height_factor": f"{mounting.last_factor:.3f}",
        }

    def _calibration(self, path: str) -> Camera:
        file = Path(path).expanduser()  # launch files pass ~ on as it is
        now = (path, *((s.st_mtime_ns, s.st_size) if (s := _status(file)) else (0, 0)))
        if self._file_camera is None or self._file_camera[0] != now:
            from rosam_core.drives.bag_cameras import load_camera_file

            self._file_camera = (now, load_camera_file(file, self.image_topic))
        return self._file_camera[1]

    def _tell(self, source: str, camera: Camera) -> None:
        key = (source, camera)
        if key not in self._told:
            self._told.add(key)
            self._node.get_logger().warning(
                f"camera_info is not used: {source} gives fx={camera.fx:.1f} fy={camera.fy:.1f} "
                f"for {camera.width}x{camera.height}"
            )

    def publish(
        self,
        picture: UInt8,
        camera: Camera,
        prediction: DepthPrediction,
        message: Image | CompressedImage,
        info: CameraInfo | None,
        parameters: NodeParameters,
    ) -> None:
        """Publishes the outputs of one frame, the optional ones only to subscribers.

        Args:
            picture: The input, uint8[H,W,3] RGB.
            camera: Intrinsics of the input.
            prediction: What the network made of it.
            message: The input message, whose header the outputs keep.
            info: The `camera_info` used, or None.
            parameters: Of this moment.
        """
        header = message.header
        encoding = parameters.depth_encoding
        self._last_depth = messages.depth_message(
            prediction.depth, header, encoding, self._last_depth
        )
        self._depth.publish(self._last_depth)
        camera_info = messages.camera_info_message(
            prediction.camera, header, info, self.image_topic
        )
        self._depth_info.publish(camera_info)
        self._last_confidence = messages.confidence_message(
            prediction.confidence, header, self._last_confidence
        )
        self._confidence.publish(self._last_confidence)
        self._confidence_info.publish(camera_info)
        if self._color.get_subscription_count():
            colored = colorize_depth(prediction.depth, parameters.color_max_depth_m)
            self._color.publish(messages.rgb_message(colored, header))
        if self._points.get_subscription_count():
            stride = parameters.points_stride
            self._points.publish(
                messages.points_message(prediction, picture, camera, stride, header)
            )
