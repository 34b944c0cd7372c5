"""Replay: what is published, in which order and when; and the node on a real graph."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from bag_samples import CAMERA, FRAME_ID, START_NS, STEP_NS, ShortDrive, grey, write_camera_bag

from rosam_core.drives import bag_messages
from rosam_core.drives.bag_reader import BagMessage
from rosam_core.drives.bag_writer import BagWriter
from rosam_core.drives.playback import (
    BagPlayback,
    DrivePlayback,
    open_playback,
    prefetch,
    split_conditions,
)

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("name", ["a.mcap", "a.bag"])
def test_a_bag_is_replayed_as_cdr_in_order(tmp_path, name):
    stamps = write_camera_bag(tmp_path / name)
    with BagWriter(tmp_path / f"full-{name}") as writer:
        for index, stamp in enumerate(stamps):
            writer.write_image("/a/image", stamp, "a", np.full((2, 2, 3), index, np.uint8))
            writer.write_transforms(stamp, [("map", "a", np.eye(4))])
            writer.write_points("/points", stamp, "a", np.zeros((1, 3), np.float32))
    playback = BagPlayback(tmp_path / f"full-{name}")
    assert playback.topics == {
        "/a/image": "sensor_msgs/msg/Image",
        "/tf": "tf2_msgs/msg/TFMessage",
        "/points": "sensor_msgs/msg/PointCloud2",
    }
    assert (playback.image_topic, playback.frames) == ("/a/image", 3)
    messages = list(playback.messages())
    assert [m.time_ns for m in messages] == sorted(s for s in stamps for _ in range(3))
    frames = [m for m in messages if m.frame_stamp_ns is not None]
    assert [m.frame_stamp_ns for m in frames] == stamps
    images = [BagMessage("", "sensor_msgs/msg/Image", 0, m.cdr, False).decode() for m in frames]
    assert [image.data[0] for image in images] == [0, 1, 2]


def test_depth_of_another_run_is_not_replayed(tmp_path, caplog):
    with BagWriter(tmp_path / "a.mcap") as writer:
        writer.write_image("/front/image_raw", START_NS, "a", grey(1))
        for name in ("depth", "confidence"):
            writer.write_depth(f"/front/{name}/image", START_NS, "a", np.ones((4, 4), np.float32))
    playback = BagPlayback(tmp_path / "a.mcap")
    assert set(playback.topics) == {"/front/image_raw"}
    assert [m.topic for m in playback.messages()] == ["/front/image_raw"]
    assert "left out, depth of another run: /front/confidence/image, /front/depth" in caplog.text


def test_damaged_messages_are_left_out_of_a_replay(tmp_path, caplog):
    with BagWriter(tmp_path / "a.bag") as writer:
        for index in range(2):
            writer.write_image("/image", START_NS + index, "a", grey(index))
            connection = writer._connections["/image"]
            writer._writer.write(connection, START_NS + index, bytes(40))
    frames = list(BagPlayback(tmp_path / "a.bag").messages())
    assert [m.frame_stamp_ns for m in frames] == [START_NS, START_NS + 1]
    assert caplog.text.count("left out: /image: a sensor_msgs/msg/Image of 40 bytes") == 2


@pytest.mark.parametrize("compressed", [False, True])
def test_a_drive_is_replayed_as_one_camera(compressed):
    playback = DrivePlayback(ShortDrive(), compressed=compressed)
    image_topic = "/camera/image_raw" + ("/compressed" if compressed else "")
    assert (playback.image_topic, playback.frames) == (image_topic, 3)
    messages = list(playback.messages())
    # The camera_info comes first, so that a node can use the very first image.
    assert [m.topic for m in messages[:3]] == ["/camera/camera_info", "/tf", image_topic]
    assert [m.frame_stamp_ns for m in messages[2::3]] == [START_NS + i * STEP_NS for i in range(3)]
    last = messages[-1]
    image = BagMessage("", playback.topics[image_topic], 0, last.cdr, False).decode()
    assert image.header.frame_id == "camera_optical"
    if not compressed:
        assert np.array_equal(np.asarray(image.data).reshape(48, 64, 3), ShortDrive()[2].image)


def test_a_drive_is_split_into_its_conditions():
    names = ["day-clear", "day-rain", "night"]
    assert split_conditions(names, 7) == ["day-clear"] * 3 + ["day-rain"] * 2 + ["night"] * 2
    assert split_conditions(["fog"], 2) == ["fog", "fog"]
    for wrong, frames in ((["snow"], 5), ([], 5), (["fog", "night"], 1)):
        with pytest.raises(ValueError, match=f"cannot split {frames} frames"):
            split_conditions(wrong, frames)


def write_synthetic(folder, brightness, frames=4):
    """Writes a drive as `rosam synth` does, every condition being one grey."""
    for name in ("depth", "instances", *(f"images/{c}" for c in brightness)):
        (folder / name).mkdir(parents=True)
    described = {"format": "rosam-synthetic-1", "seed": 1, "fps": 10, "image_suffix": ".png"}
    described |= {"width": 64, "height": 48, "fx": 64.0, "fy": 64.0, "cx": 31.5, "cy": 23.5}
    described |= {"conditions": list(brightness), "frames": []}
    for index in range(frames):
        pose = {"stamp_ns": START_NS + index * STEP_NS, "T_world_camera": np.eye(4).tolist()}
        described["frames"].append(pose)
        for condition, value in brightness.items():
            cv2.imwrite(f"{folder}/images/{condition}/{index:06d}.png", grey(value))
        for name in ("depth", "instances"):
            cv2.imwrite(f"{folder}/{name}/{index:06d}.png", np.full((48, 64), 256, np.uint16))
    (folder / "drive.json").write_text(json.dumps(described))


def test_a_synthetic_drive_changes_its_condition_on_the_way(tmp_path):
    write_synthetic(tmp_path / "d", {"day-clear": 200, "day-rain": 120, "night": 30})

    def greys(conditions):
        playback = open_playback(tmp_path / "d", conditions=conditions)
        frames = [m for m in playback.messages() if m.frame_stamp_ns is not None]
        kind = playback.topics[playback.image_topic]
        return [BagMessage("", kind, 0, m.cdr, False).decode().data[0] for m in frames]

    assert greys(["night"]) == [30] * 4
    assert greys([]) == [200] * 4
    assert greys(["day-clear", "night"]) == [200, 200, 30, 30]
    with pytest.raises(ValueError, match="was not rendered in"):
        open_playback(tmp_path / "d", conditions=["fog"])


def test_nothing_to_replay(tmp_path):
    with pytest.raises(FileNotFoundError, match="no bag at"):
        open_playback(tmp_path / "absent.mcap")
    (tmp_path / "drive.json").write_text('{"conditions": ["day-clear"]}')
    with pytest.raises(ValueError, match="is not a synthetic drive"):
        open_playback(tmp_path)
    (tmp_path / "drive.json").write_text("[")
    with pytest.raises(ValueError, match="Expecting value"):
        open_playback(tmp_path)


def test_reading_ahead_keeps_the_order_and_passes_errors_on():
    assert list(prefetch(iter(range(100)), depth=3)) == list(range(100))

    def failing():
        yield 1
        raise ValueError("damaged")

    read = prefetch(failing())
    assert next(read) == 1
    with pytest.raises(ValueError, match="damaged"):
        next(read)


def test_reading_ahead_stops_with_its_reader():
    seen = []

    def endless():
        while True:
            seen.append(1)
            yield 1

    read = prefetch(endless(), depth=2)
    next(read)
    read.close()
    count = len(seen)
    time.sleep(0.2)
    assert len(seen) == count <= 5


def test_the_documentation_is_the_declaration():
    from rosam_depth_ros.replay_parameters import replay_markdown

    assert (REPOSITORY / "docs" / "replay.md").read_text(encoding="utf-8") == replay_markdown()


def start_replay(tmp_path, **parameters):
    command = [sys.executable, "-m", "rosam_depth_ros.replay_node", "--ros-args"]
    for name, value in parameters.items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        command += ["-p", f"{name}:={text}"]
    return subprocess.Popen(
        command,
        cwd=REPOSITORY,
        env={**os.environ, "ROS_LOG_DIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


class Echo:
    """Answers every image with an image of the same stamp, like a depth node would."""

    def __init__(self, answer=lambda count: True):
        import rclpy
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.qos import QoSProfile
        from rosgraph_msgs.msg import Clock
        from sensor_msgs.msg import CameraInfo, Image

        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.node = rclpy.create_node("echo", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.stamps, self.infos, self.clock = [], [], []
        self.depth = self.node.create_publisher(Image, "depth/image", QoSProfile(depth=1))
        self.answer = answer
        for kind, topic, act in (
            (Image, "/front/image_raw", self.reply),
            (CameraInfo, "/front/camera_info", self.infos.append),
            (Clock, "/clock", lambda m: self.clock.append(nanoseconds(m.clock))),
        ):
            self.node.create_subscription(kind, topic, act, QoSProfile(depth=10))

    def reply(self, message):
        self.stamps.append(nanoseconds(message.header.stamp))
        assert message.header.frame_id == FRAME_ID
        if self.answer(len(self.stamps)):
            self.depth.publish(message)

    def spin_while_running(self, process, timeout_s=30.0):
        end = time.monotonic() + timeout_s
        while process.poll() is None and time.monotonic() < end:
            self.executor.spin_once(timeout_sec=0.02)
        self.executor.spin_once(timeout_sec=0.05)

    def close(self):
        self.node.destroy_node()
        self.context.try_shutdown()


def nanoseconds(stamp):
    return stamp.sec * 10**9 + stamp.nanosec


@pytest.fixture
def echo():
    echo = Echo()
    yield echo
    echo.close()


@pytest.mark.ros
def test_lockstep_waits_for_every_depth(tmp_path, echo):
    stamps = write_camera_bag(tmp_path / "a.mcap", frames=20)
    process = start_replay(
        tmp_path, source=tmp_path / "a.mcap", lockstep=True, statistics_file=tmp_path / "s.json"
    )
    echo.spin_while_running(process)
    out, error = process.communicate(timeout=10)
    assert process.returncode == 0, error
    assert echo.stamps == stamps
    assert len(echo.infos) == 21  # the first one also ahead of time
    figures = json.loads(out.strip().splitlines()[-1])
    assert figures == json.loads((tmp_path / "s.json").read_text())
    assert (figures["frames"], figures["depths"], figures["drops"]) == (20, 20, 0)
    assert 0 < figures["latency_ms"]["p50"] <= figures["latency_ms"]["max"] < 5000
    assert echo.clock == sorted(echo.clock)
    assert echo.clock[-1] == stamps[-1]


@pytest.mark.ros
@pytest.mark.parametrize(("lockstep", "name"), [(1, "image"), (0, "image"), (0, "jpeg")])
def test_the_real_node_answers_every_frame_even_the_first(tmp_path, lockstep, name):
    pytest.importorskip("onnx", reason="onnx makes the tiny model: extra dev")
    from ros_graph import NodeProcess
    from support import write_tiny_model

    with BagWriter(tmp_path / "a.mcap") as writer:
        for index in range(8):
            stamp = START_NS + index * STEP_NS
            write = writer.write_image if name == "image" else writer.write_compressed
            write(f"/cam/{name}", stamp, FRAME_ID, grey(100))
            # Drivers may well publish it after its image.
            info = bag_messages.camera_info(stamp, FRAME_ID, CAMERA)
            writer.write("/cam/camera_info", info, stamp + 5_000_000)
    topics = ["-r", f"image:=/cam/{name}", "-r", "camera_info:=/cam/camera_info"]
    model = write_tiny_model(tmp_path)
    node = NodeProcess(tmp_path / "node.log", *topics, model=model, threads=1)
    try:
        process = start_replay(tmp_path, source=tmp_path / "a.mcap", lockstep=bool(lockstep))
        out, error = process.communicate(timeout=60)
    finally:
        assert node.end() == 0
    assert process.returncode == 0, error
    figures = json.loads(out.strip().splitlines()[-1])
    assert (figures["frames"], figures["depths"], figures["drops"]) == (8, 8, 0), node.text()


@pytest.mark.ros
def test_at_rate_the_replay_takes_its_time_and_counts_what_is_missing(tmp_path, echo):
    stamps = write_camera_bag(tmp_path / "a.bag", frames=11)  # one second, and ROS 1
    echo.answer = lambda count: count % 2 == 1
    process = start_replay(tmp_path, source=tmp_path / "a.bag", rate=2, timeout_s=0.5)
    echo.spin_while_running(process)
    out, error = process.communicate(timeout=10)
    assert process.returncode == 0, error
    figures = json.loads(out.strip().splitlines()[-1])
    assert 0.5 <= figures["duration_s"] < 0.8
    assert echo.stamps == stamps
    assert (figures["frames"], figures["depths"], figures["drops"]) == (11, 6, 5)
    # /clock runs between the frames as well.
    assert len(echo.clock) > 30
    assert echo.clock == sorted(echo.clock)
    assert stamps[0] <= echo.clock[0] <= echo.clock[-1] <= stamps[-1]


@pytest.mark.ros
@pytest.mark.parametrize("topic", ["/front/image_raw", "depth/image"])
def test_who_comes_late_misses_nothing_if_it_is_waited_for(tmp_path, echo, topic):
    """A recorder's subscription may be found seconds after the depth node's."""
    from rclpy.qos import QoSProfile
    from sensor_msgs.msg import Image

    stamps = write_camera_bag(tmp_path / "a.mcap", frames=5)
    count = {"subscribers": 2} if topic.startswith("/") else {"output_subscribers": 1}
    process = start_replay(tmp_path, source=tmp_path / "a.mcap", rate=20, **count)
    end = time.monotonic() + 30
    while not echo.node.count_publishers("/clock") and time.monotonic() < end:
        echo.executor.spin_once(timeout_sec=0.02)
    # Longer than it settles before the first frame: without the wait the drive would be over.
    end = time.monotonic() + 4
    while time.monotonic() < end:
        echo.executor.spin_once(timeout_sec=0.02)
    assert not echo.stamps
    late = []
    keep = lambda message: late.append(nanoseconds(message.header.stamp))  # noqa: E731
    echo.node.create_subscription(Image, topic, keep, QoSProfile(depth=10))
    echo.spin_while_running(process)
    _, error = process.communicate(timeout=10)
    assert process.returncode == 0, error
    assert late == echo.stamps == stamps


@pytest.mark.ros
def test_who_never_comes_is_named_and_not_waited_for_without_end(tmp_path, echo):
    write_camera_bag(tmp_path / "a.mcap", frames=2)
    process = start_replay(
        # Long enough to find the one that is here, on a machine that has little time for it.
        tmp_path,
        source=tmp_path / "a.mcap",
        wait_s=6,
        subscribers=3,
        output_subscribers=2,
    )
    echo.spin_while_running(process)
    _, error = process.communicate(timeout=10)
    assert process.returncode == 0, error
    assert (
        "after 6 s 1 of 3 listen to /front/image_raw, 0 of 2 listen to depth/image besides the "
        "replay: replaying anyway" in error
    )
    assert len(echo.stamps) == 2


@pytest.mark.ros
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_status_0(tmp_path, echo, number):
    write_camera_bag(tmp_path / "a.mcap", frames=600)
    process = start_replay(tmp_path, source=tmp_path / "a.mcap")
    end = time.monotonic() + 20
    while len(echo.stamps) < 3 and time.monotonic() < end:
        echo.executor.spin_once(timeout_sec=0.02)
    assert len(echo.stamps) >= 3
    process.send_signal(number)
    out, error = process.communicate(timeout=10)
    assert process.returncode == 0, error
    assert json.loads(out.strip().splitlines()[-1])["frames"] < 600


@pytest.mark.ros
@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({}, "parameter source is empty: name a bag or a synthetic drive"),
        ({"source": "absent.mcap"}, "no bag at absent.mcap"),
        ({"source": "a.mcap", "image_topic": "/front/image"}, "did you mean /front/image_raw?"),
        (
            {"source": "a.mcap", "lock_step": True},
            "unknown parameter lock_step: did you mean lock",
        ),
        ({"source": "a.mcap", "rate": 0}, "parameter rate must be in [0.01, 100], got 0"),
        ({"source": "a.mcap", "rate": "fast"}, "parameter rate must be a float, got 'fast'"),
    ],
)
def test_what_cannot_be_replayed_is_told_in_one_line(tmp_path, parameters, message):
    write_camera_bag(tmp_path / "a.mcap")
    if parameters.get("source") == "a.mcap":
        parameters = {**parameters, "source": tmp_path / "a.mcap"}
    process = start_replay(tmp_path, **parameters)
    out, error = process.communicate(timeout=30)
    assert (process.returncode, out) == (1, "")
    told = [line for line in error.splitlines() if line.startswith("replay_node: ")]
    assert len(told) == 1
    assert message in told[0]
    assert "Traceback" not in error
