"""The node's process under load: signals end it with status 0, parameter calls stay prompt."""

import signal
import threading
import time

import numpy as np
import pytest
from support import write_tiny_model

pytestmark = pytest.mark.ros
pytest.importorskip("rclpy", reason="no ROS 2: source one, or pip install '.[ros]'")
pytest.importorskip("onnx", reason="onnx makes the tiny model: extra dev")

from ros_graph import Client, NodeProcess, image_message, info_message, set_parameters

from rosam_core.engines.registry import load_engine


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def client():
    made = Client()
    yield made
    made.close()


def load_node(client, width, height, period_s, stop):
    """Publishes images until `stop` is set."""
    image = image_message(np.zeros((height, width, 3), np.uint8))
    info = info_message(width, height, f=float(width))
    while not stop.wait(period_s):
        client.send(image, info, 1)


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM] * 3)
def test_signal_during_load_ends_with_status_0(model, client, tmp_path, end):
    node = NodeProcess(tmp_path / "log", model=model)
    stop = threading.Event()

    sender = threading.Thread(target=load_node, args=(client, 320, 240, 0.005, stop))
    try:
        client.wait_matched()
        sender.start()
        assert client.spin_until(lambda: len(client.received["depth/image"]) > 20, 30), node.text()
        began = time.monotonic()
        assert node.end(end) == 0, node.text()
        assert time.monotonic() - began < 3
        assert "Traceback" not in node.text()
        assert "ERROR" not in node.text()
    finally:
        stop.set()
        if sender.ident:
            sender.join()
        node.end(signal.SIGKILL)


def test_two_interrupts_in_a_row_end_with_status_0(model, client, tmp_path):
    """`ros2 launch` sends one more after the terminal's own."""
    node = NodeProcess(tmp_path / "log", model=model)
    client.wait_matched()
    for _ in range(3):
        node.process.send_signal(signal.SIGINT)
        time.sleep(0.02)
    assert node.end() == 0
    assert "Traceback" not in node.text()


def test_parameter_calls_stay_prompt_while_the_network_runs(client, tmp_path):
    slow = write_tiny_model(tmp_path / "slow", products=6)
    engine, image = load_engine(slow, "onnx-cpu", 1), np.zeros((1, 48, 64, 3), np.uint8)
    began = time.monotonic()
    engine.infer(image)
    network_s = time.monotonic() - began
    node = NodeProcess(tmp_path / "log", model=slow, threads=1)
    stop = threading.Event()

    sender = threading.Thread(target=load_node, args=(client, 64, 48, 0.03, stop))
    try:
        client.wait_matched()
        sender.start()
        assert client.spin_until(lambda: client.received["depth/image"], 30), node.text()
        times = []
        for _ in range(10):
            began = time.monotonic()
            set_parameters(client, points_stride=2)
            times.append(time.monotonic() - began)
        # 2 ms on a quiet machine; whoever waits for the network waits for half of it on average.
        assert sorted(times)[5] < network_s / 4, (times, network_s)
    finally:
        stop.set()
        sender.join()
        assert node.end() == 0
