"""What a replay leaves to the depth node, when it is over, and what it keeps."""

import json
import time

import numpy as np
import pytest
from bag_samples import FRAME_ID, START_NS, STEP_NS, grey, write_camera_bag
from test_replay_node import Echo, start_replay

pytestmark = pytest.mark.ros
pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from rclpy.qos import QoSProfile
from sensor_msgs.msg import PointCloud2

from rosam_core.drives.bag_writer import BagWriter


@pytest.fixture
def echo():
    echo = Echo()
    yield echo
    echo.close()


def finished(process, echo):
    echo.spin_while_running(process)
    out, error = process.communicate(timeout=10)
    return process.returncode, json.loads(out.strip().splitlines()[-1]) if out else {}, error


def test_what_the_depth_node_publishes_is_not_replayed_beside_it(tmp_path, echo):
    """A depth camera's own cloud has the name of ours."""
    with BagWriter(tmp_path / "a.mcap") as writer:
        for index in range(10):
            stamp = START_NS + index * STEP_NS
            writer.write_image("/front/image_raw", stamp, FRAME_ID, grey(1))
            for topic in ("/points", "/front/points"):
                writer.write_points(topic, stamp, FRAME_ID, np.ones((1, 3), np.float32))
    came = {"/points": [], "/front/points": []}
    for topic, kept in came.items():
        echo.node.create_subscription(PointCloud2, topic, kept.append, QoSProfile(depth=10))
    process = start_replay(tmp_path, source=tmp_path / "a.mcap")
    code, figures, error = finished(process, echo)
    assert code == 0, error
    assert figures["depths"] == 10
    assert came["/front/points"]
    assert not came["/points"]
    assert "/points is not replayed: the depth node publishes there (output_topic)" in error
    assert "/front/points is not" not in error


def test_a_dropped_frame_is_not_waited_for_at_the_end(tmp_path, echo):
    stamps = write_camera_bag(tmp_path / "a.mcap", frames=6)
    echo.answer = lambda count: count != 3
    began = time.monotonic()
    process = start_replay(tmp_path, source=tmp_path / "a.mcap", rate=5, timeout_s=25.0)
    code, figures, error = finished(process, echo)
    assert code == 0, error
    assert echo.stamps == stamps
    assert (figures["frames"], figures["depths"], figures["drops"]) == (6, 5, 1)
    assert time.monotonic() - began < 20


def test_lockstep_with_nobody_who_answers_ends_soon_with_status_1(tmp_path, echo):
    stamps = write_camera_bag(tmp_path / "a.mcap", frames=50)
    echo.answer = lambda count: False
    times = {"timeout_s": 2.0, "wait_s": 6.0}
    process = start_replay(tmp_path, source=tmp_path / "a.mcap", lockstep=True, **times)
    code, figures, error = finished(process, echo)
    assert (code, figures) == (1, {})
    assert echo.stamps == stamps[:3]
    assert "no depth came on depth/image within 6 s (wait_s" in error


def test_lockstep_goes_on_after_an_engine_that_took_its_time(tmp_path, echo):
    stamps = write_camera_bag(tmp_path / "a.mcap", frames=8)
    echo.answer = lambda count: count > 2
    process = start_replay(tmp_path, source=tmp_path / "a.mcap", lockstep=True, timeout_s=0.5)
    code, figures, error = finished(process, echo)
    assert code == 0, error
    assert echo.stamps == stamps
    assert (figures["depths"], figures["drops"]) == (6, 2)


def test_statistics_of_no_folder_are_told_before_anything_is_played(tmp_path, echo):
    write_camera_bag(tmp_path / "a.mcap")
    process = start_replay(
        tmp_path, source=tmp_path / "a.mcap", statistics_file=tmp_path / "absent" / "s.json"
    )
    code, figures, error = finished(process, echo)
    assert (code, figures, echo.stamps) == (1, {}, [])
    assert "replay_node: statistics_file: there is no " in error
