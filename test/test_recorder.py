"""The recorder on a real graph: every message, its stamp and a clean end."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

pytestmark = pytest.mark.ros


def start(bag, *extra):
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "rosam_depth_ros.recorder",
            str(bag),
            "--topic",
            "/test/image=sensor_msgs/msg/Image",
            *extra,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ.copy(),
    )
    return process


def publish(count):
    import rclpy
    from rclpy.qos import QoSProfile
    from sensor_msgs.msg import Image

    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node("recorder_test", context=context)
    publisher = node.create_publisher(Image, "/test/image", QoSProfile(depth=count))
    deadline = time.monotonic() + 15
    while not publisher.get_subscription_count() and time.monotonic() < deadline:
        time.sleep(0.02)
    for index in range(count):
        message = Image(height=2, width=2, encoding="mono8", step=2)
        message.header.stamp.sec = 1000 + index
        message.header.stamp.nanosec = index
        message.data = [index, 2, 3, 4]
        publisher.publish(message)
        time.sleep(0.01)
    time.sleep(0.5)
    node.destroy_node()
    rclpy.shutdown(context=context)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_records_every_message_with_its_stamp(tmp_path, number):
    from rosam_core.drives.bag_reader import BagReader

    bag = tmp_path / "out.mcap"
    process = start(bag)
    assert process.stdout.readline() == "recorder: ready\n"
    publish(20)
    assert process.stdout.readline() == "recorder: found /test/image\n"
    process.send_signal(number)
    assert process.wait(timeout=20) == 0, process.stderr.read()
    with BagReader(bag) as reader:
        messages = list(reader.messages())
    assert [m.stamp_ns for m in messages] == [(1000 + i) * 10**9 + i for i in range(20)]
    assert [int(m.decode().data[0]) for m in messages] == list(range(20))
    lines = [json.loads(line) for line in (tmp_path / "out.arrivals.jsonl").open()]
    assert [line["stamp_ns"] for line in lines] == [m.stamp_ns for m in messages]
    assert (np.diff([line["arrived_ns"] for line in lines]) > 0).all()


def test_ends_by_itself_when_the_graph_falls_silent(tmp_path):
    process = start(tmp_path / "out.mcap", "--idle", "0.5")
    assert process.stdout.readline() == "recorder: ready\n"
    publish(3)
    assert process.wait(timeout=20) == 0


def test_nothing_recorded_is_an_error(tmp_path):
    process = start(tmp_path / "out.mcap")
    assert process.stdout.readline() == "recorder: ready\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 1
    assert "nothing was written" in process.stderr.read()


def test_unknown_type_is_named(tmp_path):
    process = start(tmp_path / "out.mcap", "--topic", "/x=sensor_msgs/msg/Picture")
    assert process.wait(timeout=20) == 1
    assert "sensor_msgs/msg/Picture" in process.stderr.read()
