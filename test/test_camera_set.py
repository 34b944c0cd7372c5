"""Several cameras of one node: names, topics, one call of the engine for what comes together."""

import time

import numpy as np
import pytest
from support import write_tiny_model

pytestmark = pytest.mark.ros
pytest.importorskip("rclpy", reason="no ROS 2: source one, or pip install '.[ros]'")
pytest.importorskip("onnx", reason="onnx makes the tiny model: extra dev")

import rclpy
from diagnostic_msgs.msg import DiagnosticStatus
from ros_graph import Client, NodeProcess, image_message, info_message
from sensor_msgs.msg import CameraInfo, Image

from rosam_core.engines.registry import ChosenEngine, choose_engine
from rosam_depth_ros import engine_swap
from rosam_depth_ros.camera_set import IDLE_S, camera_names, patience_s
from rosam_depth_ros.depth_node import DepthNode
from rosam_depth_ros.diagnostics import StreamStatistics
from rosam_depth_ros.parameters import NodeParameters

WIDTH, HEIGHT = 64, 48
SIX = ("front", "front_left", "front_right", "back", "back_left", "back_right")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("model"), WIDTH, HEIGHT)


class Rig:
    """Publishers and subscribers of several cameras."""

    def __init__(self, names):
        self.client = Client()
        self.names = names
        self.publishers = {
            name: [
                self.client.publisher(kind, f"{name}/{topic}")
                for kind, topic in ((CameraInfo, "camera_info"), (Image, "image"))
            ]
            for name in names
        }
        for name in names:
            self.client.subscribe(Image, f"{name}/depth/image")

    def wait_matched(self):
        ends = [publisher for pair in self.publishers.values() for publisher in pair]
        assert self.client.spin_until(
            lambda: (
                all(end.get_subscription_count() for end in ends)
                and all(
                    self.client.node.count_publishers(f"{name}/depth/image") for name in self.names
                )
            ),
            20,
        )
        time.sleep(0.2)

    def send(self, stamp, names=None):
        """Publishes an image of each camera, all of a level of its own; camera_info before."""
        for which in (0, 1):
            for index, name in enumerate(self.names):
                if names is None or name in names:
                    level = np.full((HEIGHT, WIDTH, 3), 30 * index, np.uint8)
                    message = image_message(level) if which else info_message(WIDTH, HEIGHT)
                    message.header.stamp.sec = stamp
                    self.publishers[name][which].publish(message)

    def depths(self, stamp):
        """Returns the depth of each camera that answered this stamp, by its name [m]."""
        found = {}
        for name in self.names:
            message = self.client.output(f"{name}/depth/image", stamp)
            if message is not None:
                found[name] = float(np.frombuffer(message.data, np.float32)[0])
        return found

    def answers(self, stamp, count, timeout_s=10.0):
        return self.client.spin_until(lambda: len(self.depths(stamp)) == count, timeout_s)


@pytest.fixture
def counted_node(model, monkeypatch):
    """The node in this process with six cameras, and a list of the sizes of engine calls."""
    calls = []

    def counting(*arguments, **named):
        chosen = choose_engine(*arguments, **named)
        infer = chosen.engine.infer
        chosen.engine.infer = lambda images: calls.append(len(images)) or infer(images)
        return ChosenEngine(chosen.engine, "counted")

    monkeypatch.setattr(engine_swap, "choose_engine", counting)
    given = [f"model:={model}", f"cameras:={','.join(SIX)}", "threads:=1", "max_wait_ms:=800.0"]
    rclpy.init(args=["--ros-args", *(word for text in given for word in ("-p", text))])
    node = DepthNode()
    rig = Rig(SIX)
    # The node is in the client's hands: one executor cannot span two contexts.
    executor = rclpy.executors.SingleThreadedExecutor()
    executor.add_node(node)
    spin = rig.client.executor.spin_once

    def spin_both(timeout_sec):
        executor.spin_once(timeout_sec=0.0)
        spin(timeout_sec=0.001)

    rig.client.executor.spin_once = spin_both
    try:
        yield node, rig, calls
    finally:
        node.stop()
        rig.client.close()
        executor.remove_node(node)
        node.destroy_node()
        rclpy.try_shutdown()


def test_six_frames_that_come_together_are_one_call(counted_node):
    _, rig, calls = counted_node
    rig.wait_matched()
    assert rig.client.spin_until(lambda: len(calls) == 6)
    assert calls == [1, 2, 3, 4, 5, 6]  # run once with each number that can come, before serving
    calls.clear()
    rig.send(1)
    assert rig.answers(1, 6)
    calls.clear()  # before the first frames nobody was waited for
    for stamp in (2, 3, 4):
        rig.send(stamp)
        assert rig.answers(stamp, 6)
        # Grey g is 2 + g / 10 m: to each camera its own depth.
        np.testing.assert_allclose(
            [rig.depths(stamp)[name] for name in SIX], [2 + 3 * i for i in range(6)], rtol=1e-5
        )
    assert calls == [6, 6, 6]


def test_a_camera_with_a_fault_and_a_silent_one_hold_up_nobody(counted_node):
    node, rig, calls = counted_node
    rig.wait_matched()
    rig.send(1)
    assert rig.answers(1, 6)
    calls.clear()
    rig.send(2, SIX[1:])  # waited for in vain, once
    bad = image_message(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    bad.encoding = "nonsense"
    rig.publishers["front"][1].publish(bad)
    assert rig.answers(2, 5)
    assert calls == [5]
    assert [(s.errors.counts, s.errors.last_text) for s in node.streams if s.errors.counts] == [
        ({"image": 1}, node.streams[SIX.index("front")].errors.last_text)
    ]
    assert not node.errors.counts
    rig.send(3, ("back",))
    began = time.monotonic()
    assert rig.answers(3, 1)
    assert time.monotonic() - began > 0.7  # the others were heard a moment ago
    for stream in node.streams[:3] + node.streams[4:]:
        stream.statistics.last_in_s -= 3  # as if silent for 3 s
    rig.send(4, ("back",))
    began = time.monotonic()
    assert rig.answers(4, 1)
    assert time.monotonic() - began < 0.7


def test_a_fault_is_told_of_its_camera_alone(model, tmp_path):
    rig = Rig(("front", "left"))
    node = NodeProcess(tmp_path / "log", model=model, cameras="front,left", threads=1)
    try:
        rig.wait_matched()
        assert rig.client.spin_until(lambda: (rig.send(7), rig.depths(7))[1], 20)
        assert rig.answers(7, 2)
        bad = image_message(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
        bad.encoding = "nonsense"
        for name in ("front", "left"):
            rig.publishers[name][1].publish(bad)
        for name in ("front", "left"):  # one line each: neither holds the other's back
            node.wait_for(f"/{name}/image: image: image encoding 'nonsense' is not supported")
        for stamp in range(8, 14):  # left is well again
            rig.publishers["front"][1].publish(bad)
            rig.send(stamp, ("left",))
            assert rig.answers(stamp, 1)
        rig.client.received["/diagnostics"].clear()
        assert rig.client.spin_until(lambda: rig.client.received["/diagnostics"])
        front, left = rig.client.received["/diagnostics"][-1].status
        assert (front.level, left.level) == (DiagnosticStatus.ERROR, DiagnosticStatus.OK)
        counts = [{v.key: v.value for v in s.values}["errors_image"] for s in (front, left)]
        assert int(counts[0]) > 1
        assert counts[1] == "1"
    finally:
        rig.client.close()
        assert node.end() == 0


def test_each_camera_has_its_topics_and_its_status(model, tmp_path):
    rig = Rig(("front", "left"))
    node = NodeProcess(tmp_path / "log", model=model, cameras="front,left", threads=1)
    try:
        node.wait_for("waiting for /front/image, /left/image")
        rig.wait_matched()
        assert rig.client.spin_until(lambda: (rig.send(7), rig.depths(7))[1], 20)
        assert rig.answers(7, 2)
        assert rig.depths(7) == pytest.approx({"front": 2.0, "left": 5.0}, rel=1e-5)
        topics = dict(rig.client.node.get_topic_names_and_types())
        for name in ("front", "left"):
            for topic in ("depth/camera_info", "confidence/image", "points", "depth/image_color"):
                assert f"/{name}/{topic}" in topics
        assert rig.client.spin_until(lambda: rig.client.received["/diagnostics"])
        status = rig.client.received["/diagnostics"][-1].status
        assert [one.name for one in status] == [
            "/depth_node: /front/image",
            "/depth_node: /left/image",
        ]
    finally:
        rig.client.close()
        assert node.end() == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("front,front", "a name comes twice in 'front,front'"),
        ("front,,left", "'' cannot begin a topic"),
        ("front,2nd", "'2nd' cannot begin a topic"),
        ("/front", "'/front' cannot begin a topic"),
    ],
)
def test_names_that_make_no_topics_are_refused(text, words):
    with pytest.raises(ValueError, match="parameter cameras: ") as caught:
        camera_names(text)
    assert words in str(caught.value)


def test_names():
    assert camera_names("") == ("",)
    assert camera_names(" front , left ") == ("front", "left")


class FakeStream:
    def __init__(self, waiting_since=None, last_in_s=0.0):
        self.statistics = StreamStatistics()
        self.waiting_since, self.statistics.last_in_s = waiting_since, last_in_s

    def is_ready(self, parameters):
        return self.waiting_since is not None


def test_patience():
    now = time.monotonic()
    settings = NodeParameters(max_wait_ms=500.0)
    fresh, silent = FakeStream(last_in_s=now), FakeStream(last_in_s=now - 10)
    ready, late = FakeStream(now, now), FakeStream(now - 1, now)
    assert patience_s([fresh, silent], settings) == IDLE_S
    assert patience_s([ready], settings) == 0
    assert patience_s([ready, silent], settings) == 0
    assert 0.3 < patience_s([ready, fresh], settings) <= 0.5
    assert patience_s([ready, fresh, late], settings) == 0
    assert patience_s([ready, fresh], NodeParameters(max_wait_ms=0.0)) == 0
