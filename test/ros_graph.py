"""The real node as its own process, and a client on the graph that talks to it."""

from __future__ import annotations

import array
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.srv import SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image

REPOSITORY = Path(__file__).resolve().parents[1]
# As the launch files do; without it a busy machine never delivers a 4 MB image whole.
os.environ.setdefault(
    "FASTRTPS_DEFAULT_PROFILES_FILE", str(REPOSITORY / "config" / "fastdds_shm.xml")
)


class NodeProcess:
    """`depth_node` started with parameters and remappings; its log is a file."""

    def __init__(self, log: Path, *ros_args: str, **parameters: Any) -> None:
        command = [sys.executable, "-m", "rosam_depth_ros.depth_node", "--ros-args", *ros_args]
        for name, value in parameters.items():
            text = str(value).lower() if isinstance(value, bool) else str(value)
            command += ["-p", f"{name}:={text}"]
        self.log = log
        environment = {
            **os.environ,
            "ROS_LOG_DIR": str(log.parent),
            "RCUTILS_COLORIZED_OUTPUT": "0",
        }
        with log.open("w") as stream:
            self.process = subprocess.Popen(
                command,
                cwd=REPOSITORY,
                env=environment,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_for(self, text: str, timeout_s: float = 20.0) -> None:
        deadline = time.monotonic() + timeout_s
        while text not in self.text():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"{text!r} is not in the node's log:\n{self.text()}")
            time.sleep(0.02)

    def end(self, number: int = signal.SIGINT, timeout_s: float = 15.0) -> int:
        """Sends a signal and returns the exit status; kills a node that hangs."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(
                f"the node did not end in {timeout_s} s:\n{self.text()}"
            ) from None


class Client:
    """Publishes images and camera_info, keeps what comes back."""

    def __init__(self, image_type: type = Image, image_topic: str = "image") -> None:
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.node = rclpy.create_node("test_client", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.received: dict[str, list[Any]] = {}
        self.image = self.publisher(image_type, image_topic)
        self.info = self.publisher(CameraInfo, "camera_info")
        for kind, topic in (
            (Image, "depth/image"),
            (CameraInfo, "depth/camera_info"),
            (Image, "confidence/image"),
            (CameraInfo, "confidence/camera_info"),
            (DiagnosticArray, "/diagnostics"),
        ):
            self.subscribe(kind, topic)

    def publisher(self, kind: type, topic: str, reliable: bool = True) -> Any:
        policy = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
        return self.node.create_publisher(kind, topic, QoSProfile(depth=1, reliability=policy))

    def subscribe(self, kind: type, topic: str) -> Any:
        kept = self.received.setdefault(topic, [])
        return self.node.create_subscription(kind, topic, kept.append, QoSProfile(depth=5))

    def spin_until(self, condition: Callable[[], Any], timeout_s: float = 10.0) -> bool:
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                return False
            self.executor.spin_once(timeout_sec=0.02)
        return True

    def wait_matched(self) -> None:
        ends = [self.image, self.info]
        topics = [t for t in self.received if t != "/diagnostics"]
        assert self.spin_until(
            lambda: (
                all(p.get_subscription_count() for p in ends)
                and all(self.node.count_publishers(t) for t in topics)
            ),
            20,
        ), "the node did not appear on the graph"
        time.sleep(0.2)  # matching is symmetric only a moment later

    def send(self, image: Any, info: CameraInfo | None, stamp: int) -> None:
        """Publishes both with a stamp of `stamp` seconds and 7 ns."""
        for publisher, message in ((self.info, info), (self.image, image)):
            if message is not None:
                message.header.stamp.sec, message.header.stamp.nanosec = stamp, 7
                publisher.publish(message)

    def output(self, topic: str, stamp: int) -> Any:
        """Returns what came back on a topic with this stamp, or None."""
        found = [m for m in self.received[topic] if m.header.stamp.sec == stamp]
        return found[-1] if found else None

    def answer(
        self, image: Any, info: CameraInfo | None, stamp: int, timeout_s: float = 10.0
    ) -> bool:
        """Publishes once; returns whether all four outputs of that stamp come back."""
        self.send(image, info, stamp)
        topics = [t for t in self.received if t.startswith(("depth/", "confidence/"))]
        topics = [t for t in topics if t != "depth/image_color"]
        return self.spin_until(lambda: all(self.output(t, stamp) for t in topics), timeout_s)

    def diagnostics(self) -> dict[str, str]:
        """Returns the newest status as a dictionary, with its level and message."""
        if not self.received["/diagnostics"]:
            return {}
        status = self.received["/diagnostics"][-1].status[0]
        values = {pair.key: pair.value for pair in status.values}
        return values | {"level": str(status.level[0]), "message": status.message}

    def close(self) -> None:
        self.executor.remove_node(self.node)
        self.node.destroy_node()
        rclpy.try_shutdown(context=self.context)


def image_message(pixels: np.ndarray, encoding: str = "rgb8", frame_id: str = "camera") -> Image:
    """Returns an image message of [H,W] or [H,W,C]."""
    message = Image(height=pixels.shape[0], width=pixels.shape[1], encoding=encoding)
    message.header.frame_id = frame_id
    message.step = pixels[0].nbytes
    message.data = array.array("B", pixels.tobytes())
    return message


def info_message(width: int, height: int, f: float = 64.0) -> CameraInfo:
    """Returns the camera_info of a pinhole camera."""
    message = CameraInfo(width=width, height=height, distortion_model="plumb_bob", d=[0.0] * 5)
    cx, cy = (width - 1) / 2, (height - 1) / 2
    message.header.frame_id = "camera"
    message.k = [f, 0.0, cx, 0.0, f, cy, 0.0, 0.0, 1.0]
    message.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    message.p = [f, 0.0, cx, 0.0, 0.0, f, cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    return message


def set_parameters(client: Client, **values: Any) -> list[str]:
    """Sets parameters of the node as `ros2 param set` does; returns each reason for a refusal."""
    service = client.node.create_client(SetParameters, "depth_node/set_parameters")
    assert service.wait_for_service(timeout_sec=10)
    request = SetParameters.Request()
    request.parameters = [Parameter(n, value=v).to_parameter_msg() for n, v in values.items()]
    future = service.call_async(request)
    assert client.spin_until(future.done, 10)
    return [result.reason for result in future.result().results]
