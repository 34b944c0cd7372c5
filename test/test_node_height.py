"""The node process with a camera whose height is stated."""

import math

import numpy as np
import pytest
from support import ground_picture, write_tiny_model

pytestmark = pytest.mark.ros
pytest.importorskip("rclpy", reason="no ROS 2: source one, or pip install '.[ros]'")
pytest.importorskip("onnx", reason="onnx makes the tiny model: extra dev")

from ros_graph import Client, NodeProcess, image_message, info_message, set_parameters

from rosam_core.runtime.ground import MOST_KEPT

WIDTH, HEIGHT = 64, 48  # of the tiny model, whose focal length is 64 px


def floats(message):
    return np.frombuffer(message.data, np.float32).reshape(message.height, message.width)


def test_the_camera_height_gives_the_scale(tmp_path):
    client = Client()
    node = NodeProcess(tmp_path / "log", model=write_tiny_model(tmp_path, WIDTH, HEIGHT))
    try:
        client.wait_matched()
        image, info = image_message(ground_picture(1.5)), info_message(WIDTH, HEIGHT)
        assert client.answer(image, info, 1), node.text()
        plain = floats(client.output("depth/image", 1))
        assert set_parameters(client, camera_height_m=3.0) == [""]
        assert client.answer(image, info, 2), node.text()
        ratio = floats(client.output("depth/image", 2)) / plain
        # Twice the height, but for the part of its own scale that the network keeps.
        np.testing.assert_allclose(ratio, 2 * math.exp(-MOST_KEPT), rtol=0.02)
        assert client.spin_until(lambda: "height_factor" in client.diagnostics()), (
            client.diagnostics()
        )
        assert float(client.diagnostics()["height_factor"]) == pytest.approx(ratio[0, 0], abs=2e-3)
        assert float(client.diagnostics()["camera_pitch_deg"]) == pytest.approx(0, abs=0.5)
        assert set_parameters(client, camera_height_m=0.0) == [""]
        assert client.answer(image, info, 3), node.text()
        np.testing.assert_array_equal(floats(client.output("depth/image", 3)), plain)
    finally:
        client.close()
        assert node.end() == 0
