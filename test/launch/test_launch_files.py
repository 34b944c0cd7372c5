"""The launch files on the real launch stack: found by name, described, ended with 0."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

# Not `launch`: importing that succeeds anywhere, as the empty namespace of the folder launch/.
pytest.importorskip("launch_pytest", reason="no launch_pytest: this needs a ROS 2 install")
pytest.importorskip("onnx", reason="onnx makes the tiny model: extra dev")

import launch_pytest
import numpy as np
import rclpy
from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
from bag_samples import write_camera_bag
from launch import LaunchDescription
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch_pytest.actions import ReadyToTest
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import CameraInfo, Image
from support import write_tiny_model

WIDTH, HEIGHT = 96, 64
DEPTH_ARGUMENTS = (
    *("image", "camera_info", "model", "engine", "threads", "fov_deg", "camera_file"),
    *("params_file", "namespace", "name", "fastdds_profile", "log_level"),
)
REPLAY_ARGUMENTS = ("bag", "image", "model", "rate", "lockstep", "statistics_file")

pytestmark = pytest.mark.ros

try:
    SHARE = Path(get_package_share_directory("rosam_depth_ros"))
except (LookupError, OSError, PackageNotFoundError):
    pytest.skip(
        "rosam_depth_ros is not in AMENT_PREFIX_PATH: `pip install .` and set it to the "
        "environment, or `colcon build` and source install/setup.bash",
        allow_module_level=True,
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("model"))


@launch_pytest.fixture(scope="module")
def description(model: Path) -> LaunchDescription:
    depth = PythonLaunchDescriptionSource(str(SHARE / "launch" / "depth.launch.py"))
    arguments = {"image": "/included/image_raw", "model": str(model), "namespace": "included"}
    return LaunchDescription(
        [IncludeLaunchDescription(depth, launch_arguments=arguments.items()), ReadyToTest()]
    )


class Camera:
    """A camera driver and a subscriber of the node's outputs, in one ROS node."""

    def __init__(self, namespace: str) -> None:
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.node = rclpy.create_node("test_camera", namespace=namespace, context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.image = self.node.create_publisher(Image, "image_raw", 1)
        self.info = self.node.create_publisher(CameraInfo, "camera_info", 1)
        self.received: dict[str, list[Image]] = {"depth": [], "confidence": []}
        for name, kept in self.received.items():
            self.node.create_subscription(Image, f"{name}/image", kept.append, 1)
        self.sent: list[tuple[int, int]] = []

    def close(self) -> None:
        self.executor.shutdown()
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)

    def send(self) -> None:
        stamp = self.node.get_clock().now().to_msg()
        info = CameraInfo(width=WIDTH, height=HEIGHT)
        info.header.stamp, info.header.frame_id = stamp, "front_optical"
        info.k = [80.0, 0.0, WIDTH / 2, 0.0, 80.0, HEIGHT / 2, 0.0, 0.0, 1.0]
        image = Image(width=WIDTH, height=HEIGHT, encoding="rgb8", step=3 * WIDTH)
        image.header = info.header
        image.data.frombytes(bytes(range(256)) * (HEIGHT * WIDTH * 3 // 256))
        self.info.publish(info)
        self.image.publish(image)
        self.sent.append((stamp.sec, stamp.nanosec))

    def send_until_answered(self, timeout_s: float = 60.0) -> None:
        """Sends ten images a second until depth and confidence have come back."""
        end = time.monotonic() + timeout_s
        while not all(self.received.values()):
            counts = {name: len(kept) for name, kept in self.received.items()}
            assert time.monotonic() < end, f"of {len(self.sent)} images came back: {counts}"
            self.send()
            self.executor.spin_once(timeout_sec=0.1)

    def check(self) -> None:
        for kept in self.received.values():
            message = kept[0]
            stamp = (message.header.stamp.sec, message.header.stamp.nanosec)
            assert stamp in self.sent
            assert message.header.frame_id == "front_optical"
            assert (message.width, message.height) == (WIDTH, HEIGHT)
            assert message.encoding == "32FC1"
        depth = np.frombuffer(self.received["depth"][0].data, np.float32)
        confidence = np.frombuffer(self.received["confidence"][0].data, np.float32)
        assert np.isfinite(depth).any()
        assert (depth[np.isfinite(depth)] > 0).all()
        assert ((confidence >= 0) & (confidence <= 1) | np.isnan(confidence)).all()


@pytest.fixture
def camera(request: pytest.FixtureRequest) -> Iterator[Camera]:
    made = Camera(request.param)
    yield made
    made.close()


@pytest.mark.launch(fixture=description)
@pytest.mark.parametrize("camera", ["/included"], indirect=True)
def test_included_launch_file_gives_depth_and_confidence(camera: Camera) -> None:
    camera.send_until_answered()
    camera.check()


def _ros2() -> str:
    found = shutil.which("ros2")
    if found is None:
        pytest.skip("the ros2 command is not installed")
    return found


@pytest.mark.parametrize(
    ("file", "names"),
    [("depth.launch.py", DEPTH_ARGUMENTS), ("replay.launch.py", REPLAY_ARGUMENTS)],
)
def test_show_args_describes_every_argument(file: str, names: tuple[str, ...]) -> None:
    shown = subprocess.run(
        [_ros2(), "launch", "rosam_depth_ros", file, "--show-args"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert shown.returncode == 0, shown.stderr
    lines = [line.strip() for line in shown.stdout.splitlines()]
    places = {line[1:-2]: n for n, line in enumerate(lines) if re.fullmatch(r"'\w+':", line)}
    assert set(places) >= set(names)
    for name, place in places.items():
        assert len(lines[place + 1]) > 10, f"argument {name} has no description"
    assert "no description given" not in shown.stdout


@pytest.mark.slow
@pytest.mark.parametrize("camera", ["/by_name"], indirect=True)
def test_ros2_launch_finds_runs_and_ends_with_0(camera: Camera, model: Path) -> None:
    arguments = [f"model:={model}", "image:=/by_name/image_raw", "namespace:=by_name"]
    process = subprocess.Popen(
        [_ros2(), "launch", "rosam_depth_ros", "depth.launch.py", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        camera.send_until_answered()
        camera.check()
        os.killpg(process.pid, signal.SIGINT)  # what a terminal does on Ctrl-C
        output, _ = process.communicate(timeout=30)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, output
    assert "process has finished cleanly" in output
    assert "process has died" not in output


@pytest.mark.slow
def test_replay_launch_gives_a_depth_for_each_frame_and_ends_by_itself(
    model: Path, tmp_path: Path
) -> None:
    write_camera_bag(tmp_path / "drive.mcap", frames=5)
    statistics = tmp_path / "statistics.json"
    done = subprocess.run(
        [
            *(_ros2(), "launch", "rosam_depth_ros", "replay.launch.py", "lockstep:=true"),
            *(f"bag:={tmp_path / 'drive.mcap'}", f"model:={model}"),
            f"statistics_file:={statistics}",
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "process has died" not in done.stdout + done.stderr
    figures = json.loads(statistics.read_text())
    assert figures["frames"] == 5
    assert figures["depths"] == 5
