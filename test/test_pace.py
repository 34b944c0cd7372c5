"""Frames of a short stall: caught up with where the network is quicker than the camera."""

import signal
import threading
import time

import numpy as np
import pytest
from support import write_tiny_model

pytestmark = pytest.mark.ros
pytest.importorskip("rclpy", reason="no ROS 2: source one, or pip install '.[ros]'")
pytest.importorskip("onnx", reason="onnx makes the tiny model: extra dev")

import rclpy
from rclpy.qos import QoSProfile
from ros_graph import Client, NodeProcess, image_message, info_message
from sensor_msgs.msg import Image

from rosam_depth_ros.camera_stream import KEPT_FRAMES, CameraStream
from rosam_depth_ros.pace import LEAST, Pace
from rosam_depth_ros.parameters import NodeParameters

WIDTH, HEIGHT = 64, 48
PERIOD_S = 0.05


def pace_of(run_s, frames=LEAST + 1, period_s=0.033):
    pace = Pace()
    for i in range(frames):
        pace.came(i * period_s)
        pace.ran(run_s)
    return pace


def test_keeps_up_if_quicker_than_the_camera():
    assert pace_of(0.022).keeps_up
    assert not pace_of(0.027).keeps_up  # by too little to catch up soon
    assert not pace_of(0.060).keeps_up


def test_nothing_is_known_after_few_frames():
    assert not Pace().keeps_up
    assert not pace_of(0.001, frames=LEAST).keeps_up
    assert pace_of(0.001, frames=LEAST + 1).keeps_up


def test_a_stall_changes_nothing_and_a_slower_network_does():
    pace = pace_of(0.022, frames=30)
    pace.came(30 * 0.033 + 0.1)
    pace.ran(0.1)
    assert pace.keeps_up
    for _ in range(30):
        pace.ran(0.05)
    assert not pace.keeps_up


def test_frames_that_came_as_one_share_their_time():
    pace = Pace()
    for i in range(LEAST + 1):
        pace.came(i * 0.066, frames=2)
        pace.ran(0.050)
    assert not pace.keeps_up  # a camera of 30 Hz, not of 15


@pytest.fixture
def make_stream():
    rclpy.init()
    node = rclpy.create_node("pace_test")
    yield lambda **given: CameraStream(node, NodeParameters(**given), threading.Condition())
    node.destroy_node()
    rclpy.try_shutdown()


def waiting_after(stream, count):
    for stamp in range(count):
        message = image_message(np.zeros((2, 2, 3), np.uint8))
        message.header.stamp.sec = stamp
        stream._on_image(message)
    return [message.header.stamp.sec for message, _ in stream._frames]


def test_the_newest_alone_waits_for_a_network_that_is_slower(make_stream):
    stream = make_stream()
    stream.pace = pace_of(0.060)
    assert waiting_after(stream, 4) == [3]
    assert stream.statistics.dropped == 3


@pytest.mark.parametrize(("frames", "expected"), [(1, [4]), (2, [3, 4]), (3, [2, 3, 4])])
def test_as_many_wait_as_asked_for_if_it_is_quicker(make_stream, frames, expected):
    stream = make_stream(waiting_frames=frames)
    stream.pace = pace_of(0.0)
    stream.pace.came = lambda *_: None  # these come all at once
    assert waiting_after(stream, 5) == expected
    assert stream.statistics.dropped == 5 - frames
    assert stream.take()[0].header.stamp.sec == expected[0]


def test_more_wait_while_engines_change(make_stream):
    stream = make_stream()
    stream.keep_frames(5.0)
    assert waiting_after(stream, KEPT_FRAMES + 2) == list(range(2, KEPT_FRAMES + 2))


def test_frames_that_a_node_slept_through_are_not_lost(tmp_path):
    model = write_tiny_model(tmp_path, WIDTH, HEIGHT)
    client = Client()
    client.node.destroy_publisher(client.image)
    client.image = client.node.create_publisher(Image, "image", QoSProfile(depth=10))
    node = NodeProcess(tmp_path / "log", model=model, threads=1)
    try:
        client.wait_matched()
        image, info = image_message(np.zeros((HEIGHT, WIDTH, 3), np.uint8)), None
        assert client.answer(image, info_message(WIDTH, HEIGHT), 1), node.text()
        for stamp in range(2, 2 + 2 * LEAST):
            client.send(image, info, stamp)
            assert client.spin_until(lambda stamp=stamp: client.output("depth/image", stamp))
            time.sleep(PERIOD_S)
        for first in (100, 110, 120):
            node.process.send_signal(signal.SIGSTOP)
            for stamp in (first, first + 1):
                client.send(image, info, stamp)
                time.sleep(PERIOD_S)
            node.process.send_signal(signal.SIGCONT)
            for stamp in (first, first + 1):
                assert client.spin_until(
                    lambda stamp=stamp: client.output("depth/image", stamp)
                ), f"{stamp} is lost"
            time.sleep(PERIOD_S)
    finally:
        client.close()
        assert node.end() == 0
