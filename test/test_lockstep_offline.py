"""What the node publishes in lockstep is, bit for bit, what the files' own pipeline computes."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from bag_samples import CAMERA, FRAME_ID, START_NS, STEP_NS

pytest.importorskip("rclpy")
pytest.importorskip("onnxruntime")

from ros_graph import NodeProcess

from rosam_core.drives.bag_writer import BagWriter
from rosam_core.drives.rosbag import RosbagDrive
from rosam_core.engines.registry import default_model_path, load_engine
from rosam_core.runtime.pipeline import DepthPipeline

ROOT = Path(__file__).resolve().parents[1]
REAL = Path(os.environ.get("ROSAM_TEST_DATA", ROOT.parent / "shared" / "data"))


def noise_bag(path):
    rng = np.random.default_rng(5)
    with BagWriter(path) as writer:
        for index in range(6):
            stamp = START_NS + index * STEP_NS
            small = rng.integers(0, 256, (CAMERA.height // 8, CAMERA.width // 8, 3), np.uint8)
            image = np.kron(small, np.ones((8, 8, 1), np.uint8))
            writer.write_camera_info("/cam/camera_info", stamp, FRAME_ID, CAMERA)
            writer.write_image("/cam/image_raw", stamp, FRAME_ID, image)
    return path


class Listener:
    """Keeps every depth and confidence by its stamp."""

    def __init__(self):
        import rclpy
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.qos import QoSProfile
        from sensor_msgs.msg import Image

        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.node = rclpy.create_node("listener", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.maps = {"depth": {}, "confidence": {}}
        for name, kept in self.maps.items():
            keep = lambda message, kept=kept: kept.update({stamp(message): message})  # noqa: E731
            self.node.create_subscription(Image, f"{name}/image", keep, QoSProfile(depth=10))

    def wait_for_node(self):
        """Spins until both outputs are there to listen to."""
        end = time.monotonic() + 60
        while not all(self.node.count_publishers(f"{name}/image") for name in self.maps):
            assert time.monotonic() < end, "the node does not publish"
            self.spin(0.05)

    def spin(self, seconds):
        self.executor.spin_once(timeout_sec=seconds)

    def close(self):
        self.node.destroy_node()
        self.context.try_shutdown()


def stamp(message):
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


def through_the_node(tmp_path, bag, topic):
    """Returns the maps that the node publishes for the frames of a bag in lockstep."""
    info = topic.rsplit("/", 2 if topic.endswith("/compressed") else 1)[0] + "/camera_info"
    remapped = ["-r", f"image:={topic}", "-r", f"camera_info:={info}"]
    listener = Listener()
    node = NodeProcess(tmp_path / "node.log", *remapped, threads=1, engine="onnx-cpu")
    try:
        command = [sys.executable, "-m", "rosam_depth_ros.replay_node", "--ros-args"]
        values = [f"source:={bag}", "lockstep:=true", f"image_topic:={topic}"]
        for value in (*values, "output_subscribers:=1"):
            command += ["-p", value]
        listener.wait_for_node()
        replay = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "ROS_LOG_DIR": "/tmp"})
        end = time.monotonic() + 60
        while replay.poll() is None and time.monotonic() < end:
            listener.spin(0.02)
        for _ in range(5):
            listener.spin(0.05)
        assert replay.wait(timeout=10) == 0, node.text()
    finally:
        listener.close()
        assert node.end() == 0
    return listener.maps


def check(tmp_path, bag, topic):
    maps = through_the_node(tmp_path, bag, topic)
    drive = RosbagDrive(bag, topic)
    pipeline = DepthPipeline(load_engine(default_model_path(), "onnx-cpu", 1))
    assert sorted(maps["depth"]) == sorted(maps["confidence"]) == sorted(drive.stamps_ns.tolist())
    seen = []
    for frame in drive:
        prediction = pipeline.predict(frame.image, frame.camera)
        for name, values in (("depth", prediction.depth), ("confidence", prediction.confidence)):
            message = maps[name][frame.stamp_ns]
            published = np.frombuffer(message.data, np.float32).reshape(message.height, -1)
            np.testing.assert_array_equal(published, values, err_msg=f"{name} {frame.stamp_ns}")
        seen.append(np.nanmedian(prediction.depth))
    return seen


@pytest.mark.ros
def test_lockstep_through_the_real_node_equals_the_offline_result(tmp_path):
    seen = check(tmp_path, noise_bag(tmp_path / "a.mcap"), "/cam/image_raw")
    assert len(set(seen)) == 6  # six different pictures, six different answers


@pytest.mark.ros
def test_lockstep_on_a_real_recording_equals_the_offline_result(tmp_path):
    bag = REAL / "bags" / "kitti_mcap"
    if not bag.exists():
        pytest.skip(f"no real recordings at {REAL}")
    from rosam_core.drives.bag_reader import BagReader

    with BagReader(bag) as reader:
        topic = reader.cameras[0].topic
    assert len(check(tmp_path, bag, topic)) == 24
