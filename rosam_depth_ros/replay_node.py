"""Plays a recorded drive onto the graph with /clock, at rate or in lockstep with the depth node.

    ros2 run rosam_depth_ros replay_node --ros-args -p source:=drive.mcap

At the end it prints one line of JSON: frames, depths that came back, drops, latency.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from builtin_interfaces.msg import Time
from rclpy.exceptions import InvalidTopicNameException, ParameterException
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image

from rosam_core.drives.bag_cameras import OUTPUTS
from rosam_core.drives.bag_reader import BagMessage
from rosam_core.drives.playback import Playback, PlaybackMessage, open_playback, prefetch
from rosam_depth_ros.recorder import message_type
from rosam_depth_ros.replay_parameters import ReplayParameters, declare

CLOCK_PERIOD_S = 0.01
MOST_LATENCIES = 100_000
"""Of so many of the last frames is the latency told: a loop may go on for days."""

SETTLE_S = 0.5
FRAME_TYPES = ("Image", "CompressedImage", "CameraInfo", "PointCloud2")


class ReplayNode(Node):
    """Publishes the serialized messages of a drive and times the depth that comes back."""

    def __init__(self, ended: Callable[[], bool]) -> None:
        """Opens the drive and creates the publishers.

        Args:
            ended: Tells whether the replay is to stop.

        Raises:
            ValueError: A parameter is wrong, or the drive cannot be replayed.
            FileNotFoundError: There is no such drive.
        """
        super().__init__("replay_node")
        self.parameters: ReplayParameters = declare(self)
        if not self.parameters.source:
            raise ValueError("parameter source is empty: name a bag or a synthetic drive")
        self.statistics_file: Path | None = None
        if self.parameters.statistics_file:
            self.statistics_file = Path(self.parameters.statistics_file).expanduser()
            if not self.statistics_file.parent.is_dir():
                raise ValueError(f"statistics_file: there is no {self.statistics_file.parent}")
        self._playback: Playback = open_playback(
            self.parameters.source,
            image_topic=self.parameters.image_topic,
            conditions=[name for name in self.parameters.condition.split(",") if name],
            compressed=self.parameters.compressed,
        )
        self._ended = ended
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self)
        self._outputs = {
            topic: self._create_publisher(topic, kind)
            for topic, kind in sorted(self._playback.topics.items())
        }
        self._clock_publisher = self.create_publisher(Clock, "/clock", QoSProfile(depth=1))
        self._clock_due_s = 0.0
        self._waiting: dict[int, float] = {}  # when the frame of a stamp was published
        self._depths = 0
        self._unanswered = 0
        self._latencies_s: deque[float] = deque(maxlen=MOST_LATENCIES)
        # Serialized, so that counting an output does not cost its conversion.
        self.create_subscription(
            Image, self.parameters.output_topic, self._on_output, QoSProfile(depth=10), raw=True
        )

    def _create_publisher(self, topic: str, kind: str) -> Any:
        if topic in self._outputs_of_node():
            return self._left_out(topic, "the depth node publishes there (output_topic)")
        try:
            message_class = message_type(kind)
        except ValueError:
            return self._left_out(topic, f"{kind} is not installed")
        # Depth 1 for frames: a late subscriber gets the newest one. Transforms must all arrive.
        qos = QoSProfile(depth=1 if kind.rpartition("/")[2] in FRAME_TYPES else 100)
        qos.reliability = ReliabilityPolicy.RELIABLE
        if topic.endswith("tf_static"):
            qos.durability = DurabilityPolicy.TRANSIENT_LOCAL
        try:
            return self.create_publisher(message_class, topic, qos)
        except InvalidTopicNameException as error:  # such as /cam/2d/image, which ROS 1 allows
            return self._left_out(topic, f"ROS 2 does not take that name: {error.args[-1]}")

    def _outputs_of_node(self) -> set[str]:
        """Returns where the depth node publishes, as its depth on `output_topic` tells."""
        depth = self.resolve_topic_name(self.parameters.output_topic)
        if not depth.endswith(f"/{OUTPUTS[0]}"):
            return {depth}
        return {depth[: -len(OUTPUTS[0])] + name for name in OUTPUTS}

    def _left_out(self, topic: str, reason: str) -> None:
        if topic == self._playback.image_topic:
            raise ValueError(f"{topic} cannot be replayed: {reason}")
        self.get_logger().warning(f"{topic} is not replayed: {reason}")

    def _on_output(self, raw: bytes) -> None:
        arrived_s = time.monotonic()
        stamp = BagMessage("", "", 0, raw, is_ros1=False).stamp_ns
        if stamp not in self._waiting:
            return
        self._depths += 1
        self._latencies_s.append(arrived_s - self._waiting[stamp])
        # The node answers in order: what was sent before and has not come back was dropped.
        for sent in list(self._waiting):
            del self._waiting[sent]
            if sent == stamp:
                break

    def play(self) -> dict[str, Any]:
        """Replays the drive; returns the statistics."""
        self._wait_for_graph()
        started_s = time.monotonic()
        frames = 0
        while not self._ended():
            frames += self._play_once()
            if not self.parameters.loop:
                break
        duration_s = time.monotonic() - started_s
        self._spin_until(self.parameters.timeout_s, lambda: not self._waiting)
        return self._statistics(frames, duration_s)

    def _wait_for_graph(self) -> None:
        image = self._outputs[self._playback.image_topic]
        output = self.parameters.output_topic

        def missing() -> list[str]:
            """Who a frame would be lost to, or whose depth to them, if it were sent now."""
            # What is here and what it has to be; the replay itself listens to the depth, too.
            counts = {
                f"listen to {self._playback.image_topic}": (
                    image.get_subscription_count(),
                    self.parameters.subscribers,
                ),
                f"publish {output}": (self.count_publishers(output), 1),
                f"listen to {output} besides the replay": (
                    self.count_subscribers(output) - 1,
                    self.parameters.output_subscribers,
                ),
            }
            return [f"{n} of {of} {what}" for what, (n, of) in counts.items() if n < of]

        wait_s = self.parameters.wait_s
        if wait_s and not self._spin_until(wait_s, lambda: not missing()):
            if not self._ended():
                self.get_logger().warning(
                    f"after {wait_s:g} s {', '.join(missing())}: replaying anyway"
                )
        elif wait_s:
            info = self._outputs.get(self._playback.info_topic)
            # A node with a stated camera may never listen to it, so this wait is short.
            self._spin_until(2.0, lambda: info is None or info.get_subscription_count() > 0)
            # The other side may match a moment later, and what it misses by then is lost.
            self._spin_until(SETTLE_S, lambda: False)
        first_info = self._playback.first_info()
        if first_info is not None:
            # Ahead of its time: a recording may hold it after the first image, which would then
            # be of no use to any node.
            self._outputs[self._playback.info_topic].publish(first_info)
            self._spin_until(SETTLE_S / 5, lambda: False)

    def _play_once(self) -> int:
        """Publishes everything once; returns the number of frames."""
        frames, first_ns, last_frame_ns, start_s = 0, None, None, time.monotonic()
        for message in prefetch(self._playback.messages()):
            if first_ns is None:
                first_ns = message.time_ns
            if not self.parameters.lockstep:
                due_s = start_s + (message.time_ns - first_ns) / 1e9 / self.parameters.rate
                self._wait_until(due_s, message.time_ns)
            elif message.frame_stamp_ns is not None:
                # Not sooner: the camera_info of the last frame may have been recorded after it.
                self._wait_for_depth(last_frame_ns)
            if self._ended():
                break
            self._publish(message)
            if message.frame_stamp_ns is not None:
                frames, last_frame_ns = frames + 1, message.frame_stamp_ns
        return frames

    def _publish(self, message: PlaybackMessage) -> None:
        if self.parameters.clock:
            self._publish_clock(message.time_ns)
        publisher = self._outputs[message.topic]
        if publisher is None:
            return
        if message.frame_stamp_ns is not None:
            self._waiting[message.frame_stamp_ns] = time.monotonic()
        publisher.publish(message.cdr)

    def _publish_clock(self, time_ns: int) -> None:
        sec, nanosec = divmod(time_ns, 1_000_000_000)
        self._clock_publisher.publish(Clock(clock=Time(sec=sec, nanosec=nanosec)))

    def _wait_until(self, due_s: float, due_ns: int) -> None:
        """Serves outputs and keeps /clock running until it is time for the next message."""
        while not self._ended() and (left_s := due_s - time.monotonic()) > 0:
            if self.parameters.clock and time.monotonic() >= self._clock_due_s:
                self._clock_due_s = time.monotonic() + CLOCK_PERIOD_S
                self._publish_clock(due_ns - int(left_s * self.parameters.rate * 1e9))
            self._executor.spin_once(timeout_sec=min(left_s, CLOCK_PERIOD_S))
        self._executor.spin_once(timeout_sec=0)

    def _wait_for_depth(self, stamp_ns: int | None) -> None:
        timeout_s = self.parameters.timeout_s
        arrived = self._spin_until(timeout_s, lambda: stamp_ns not in self._waiting)
        if arrived or self._ended():
            return
        self.get_logger().warning(
            f"no depth with stamp {stamp_ns} within {timeout_s:g} s", throttle_duration_sec=5.0
        )
        self._unanswered += 1
        wait_s = self.parameters.wait_s
        if timeout_s and not self._depths and self._unanswered * timeout_s >= wait_s > 0:
            raise ValueError(
                f"no depth came on {self.parameters.output_topic} within {wait_s:g} s (wait_s, "
                "which has to outlast the loading of the engine): what does the depth node say?"
            )

    def _spin_until(self, timeout_s: float, done: Callable[[], bool]) -> bool:
        end_s = time.monotonic() + timeout_s
        while not done():
            if self._ended() or time.monotonic() >= end_s:
                return False
            self._executor.spin_once(timeout_sec=0.02)
        return True

    def _statistics(self, frames: int, duration_s: float) -> dict[str, Any]:
        latencies_ms = 1e3 * np.array(self._latencies_s)
        points = {"p50": 50, "p95": 95, "max": 100}
        return {
            "source": self.parameters.source,
            "image_topic": self._playback.image_topic,
            "lockstep": self.parameters.lockstep,
            "frames": frames,
            "depths": self._depths,
            "drops": frames - self._depths,
            "duration_s": round(duration_s, 3),
            "frames_per_s": round(frames / duration_s, 2) if duration_s > 0 else None,
            "latency_ms": {
                name: round(float(np.percentile(latencies_ms, share)), 2)
                for name, share in points.items()
            }
            if len(latencies_ms)
            else None,
        }


def main(args: Sequence[str] | None = None) -> int:
    """Replays one drive; ends at its end, or on SIGINT or SIGTERM.

    Args:
        args: Command line with `--ros-args`; the process's own if None.

    Returns:
        0 = replayed or stopped by a signal, 1 = the drive or a parameter is wrong, or in lockstep
        no depth came.
    """
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    rclpy.init(
        args=None if args is None else list(args), signal_handler_options=SignalHandlerOptions.NO
    )
    node = None
    try:
        node = ReplayNode(ended.is_set)
        text = json.dumps(node.play())
        print(text, flush=True)
        if node.statistics_file is not None:
            node.statistics_file.write_text(text + "\n", encoding="utf-8")
    except (ValueError, OSError, ParameterException) as error:
        print(f"replay_node: {error}", file=sys.stderr)
        return 1
    finally:
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
