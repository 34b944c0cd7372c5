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
from engine_support import FAKES
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
    *("params_file", "namespace", "name", "fastdds_profile", "log_level", "cameras"),
    *("build_engine", "build_only", "build_options"),
)
REPLAY_ARGUMENTS = ("bag", "image", "model", "rate", "lockstep", "wait_s", "statistics_file")

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


def test_replay_ends_with_status_1_when_its_depth_node_does(model: Path, tmp_path: Path) -> None:
    write_camera_bag(tmp_path / "drive.mcap", frames=400)
    began = time.monotonic()
    done = subprocess.run(
        [
            *(_ros2(), "launch", "rosam_depth_ros", "replay.launch.py", "threads:=-1"),
            *(f"bag:={tmp_path / 'drive.mcap'}", f"model:={model}"),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 1, said
    assert "depth_node: parameter threads: " in said
    assert "depth_node-1 ended with status 1" in said
    assert time.monotonic() - began < 25  # neither the wait for a graph nor the drive


def _with_fake_gpu(cache: Path, **more: str) -> dict[str, str]:
    """Returns an environment with stand-ins for TensorRT and CUDA."""
    path = os.pathsep.join([str(FAKES), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path, "ROSAM_ENGINE_CACHE": str(cache), **more}


def _launch(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [_ros2(), "launch", "rosam_depth_ros", "depth.launch.py", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_build_only_leaves_an_engine_and_status_0(model: Path, tmp_path: Path) -> None:
    cache = tmp_path / "engines"
    given = (f"model:={model}", "build_only:=true", "build_options:=--precision fp32")
    done = _launch(_with_fake_gpu(cache), *given, "cameras:=front,left")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "fp32; batch 1,2" in done.stdout
    assert len(list(cache.glob("*/card.json"))) == 1
    assert "depth_node" not in done.stdout
    again = _launch(_with_fake_gpu(cache), *given, "cameras:=front,left")
    assert again.returncode == 0
    assert "it was there already" in again.stdout


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("build_only:=true", "model:=/nowhere.onnx"), "/nowhere.onnx: no such file"),
        (("build_only:=true",), "there is no NVIDIA GPU in this machine"),
        (("build_only:=perhaps",), "expected true or false, got 'perhaps'"),
        (
            ("cameras:=front,left", "image:=/camera/image"),
            "several cameras need {camera} in image",
        ),
    ],
)
def test_what_is_not_possible_ends_the_launch_with_status_1(
    model: Path, tmp_path: Path, given: tuple[str, ...], words: str
) -> None:
    done = _launch(_with_fake_gpu(tmp_path, FAKE_GPUS="0"), f"model:={model}", *given)
    assert done.returncode == 1, done.stdout + done.stderr
    assert words in done.stdout + done.stderr
    assert not list(tmp_path.glob("*/card.json"))


@pytest.mark.slow
@pytest.mark.parametrize("camera", ["/built"], indirect=True)
def test_engine_is_built_beside_the_launched_node(
    camera: Camera, model: Path, tmp_path: Path
) -> None:
    arguments = (f"model:={model}", "image:=/built/image_raw", "namespace:=built")
    log = tmp_path / "log"
    with log.open("w") as stream:
        process = subprocess.Popen(
            [
                *(_ros2(), "launch", "rosam_depth_ros", "depth.launch.py", *arguments),
                *("build_engine:=true", "build_options:=--precision fp32"),
            ],
            env=_with_fake_gpu(tmp_path / "engines", FAKE_BUILD_S="3"),
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        camera.send_until_answered()
        camera.check()
        end = time.monotonic() + 60
        while "runs on tensorrt-fp32" not in log.read_text():
            assert time.monotonic() < end, log.read_text()
            camera.send()
            camera.executor.spin_once(timeout_sec=0.1)
        for kept in camera.received.values():
            kept.clear()
        camera.send_until_answered()
        camera.check()
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(timeout=30) == 0, log.read_text()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    words = log.read_text()
    assert words.index("runs on onnx-cpu") < words.index("TensorRT engine is built, after")
    assert "process has died" not in words


@pytest.mark.parametrize("place", ["argument", "params_file", "params_file alone"])
def test_several_cameras_have_the_topics_of_their_names(
    model: Path, tmp_path: Path, place: str
) -> None:
    log, file = tmp_path / "log", tmp_path / "params.yaml"
    given, topics = (f"model:={model}",), ("/front/image", "/left/image")
    if place != "params_file alone":
        given += ("image:=/{camera}/image_raw/compressed",)
        topics = tuple(f"{topic}_raw/compressed" for topic in topics)
    if place == "argument":
        given += ("cameras:=front,left",)
    else:
        file.write_text("/**:\n  ros__parameters:\n    cameras: front,left\n")
        given += (f"params_file:={file}",)
    with log.open("w") as stream:
        process = subprocess.Popen(
            [_ros2(), "launch", "rosam_depth_ros", "depth.launch.py", *given],
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        waiting = f"waiting for {', '.join(topics)}"
        end = time.monotonic() + 60
        while waiting not in log.read_text():
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(timeout=30) == 0, log.read_text()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
