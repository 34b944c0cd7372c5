"""The real node process on a real graph: values, bad input, parameters, signals."""

import array
import shutil
import signal

import cv2
import numpy as np
import pytest
from support import write_tiny_model

pytestmark = pytest.mark.ros
pytest.importorskip("rclpy", reason="no ROS 2: source one, or pip install '.[ros]'")
pytest.importorskip("onnx", reason="onnx makes the tiny model: extra dev")

from rcl_interfaces.srv import DescribeParameters
from ros_graph import Client, NodeProcess, image_message, info_message, set_parameters
from sensor_msgs.msg import CompressedImage, Image, PointCloud2

WIDTH, HEIGHT = 64, 48  # of the tiny model, whose focal length is 64 px


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("model"), WIDTH, HEIGHT)


@pytest.fixture
def client():
    made = Client()
    yield made
    made.close()


def grey(level, width=WIDTH, height=HEIGHT):
    return image_message(np.full((height, width, 3), level, np.uint8))


def floats(message):
    return np.frombuffer(message.data, np.float32).reshape(message.height, message.width)


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_depth_confidence_and_camera_info_of_an_image(model, client, tmp_path, end):
    node = NodeProcess(tmp_path / "log", model=model)
    try:
        client.wait_matched()
        image, info = grey(255), info_message(WIDTH, HEIGHT)
        image.header.frame_id = "front_camera_optical"
        assert client.answer(image, info, 42), node.text()
        depth = client.output("depth/image", 42)
        assert (depth.encoding, depth.width, depth.height) == ("32FC1", WIDTH, HEIGHT)
        assert (depth.step, depth.is_bigendian) == (4 * WIDTH, 0)
        assert depth.header == image.header
        # White: 2 + 255 / 10 m for the trained focal length, which is this camera's.
        np.testing.assert_allclose(floats(depth), 27.5, rtol=1e-5)
        confidence = client.output("confidence/image", 42)
        np.testing.assert_allclose(floats(confidence), 0.5, rtol=1e-5)
        assert confidence.header == image.header
        for topic in ("depth/camera_info", "confidence/camera_info"):
            answer = client.output(topic, 42)
            assert answer.header == image.header
            assert list(answer.k) == list(info.k)
            assert list(answer.p) == list(info.p)
        # Twice the focal length sees the same picture twice as far away.
        assert client.answer(image, info_message(WIDTH, HEIGHT, f=128.0), 43)
        np.testing.assert_allclose(floats(client.output("depth/image", 43)), 55.0, rtol=1e-5)
    finally:
        status = node.end(end)
    assert status == 0, node.text()


def test_optional_outputs_exist_only_for_subscribers(model, client, tmp_path):
    node = NodeProcess(tmp_path / "log", model=model, points_stride=2)
    try:
        client.wait_matched()
        client.subscribe(Image, "depth/image_color")
        client.subscribe(PointCloud2, "points")
        client.wait_matched()
        pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        pixels[...] = 30, 60, 90  # mean 60: 8 m
        assert client.answer(image_message(pixels), info_message(WIDTH, HEIGHT), 7), node.text()
        assert client.spin_until(lambda: client.output("points", 7))
        assert client.spin_until(lambda: client.output("depth/image_color", 7))
        color = client.output("depth/image_color", 7)
        assert (color.encoding, color.step, len(color.data)) == (
            "rgb8",
            3 * WIDTH,
            3 * WIDTH * HEIGHT,
        )
        cloud = client.output("points", 7)
        assert (cloud.width, cloud.height, cloud.point_step) == (WIDTH // 2, HEIGHT // 2, 16)
        points = np.frombuffer(cloud.data, np.float32).reshape(HEIGHT // 2, WIDTH // 2, 4)
        np.testing.assert_allclose(points[..., 2], 8.0, rtol=1e-5)
        # Row 5, column 20 of the cloud is pixel (10, 40): x = (40 - 31.5) * 8 / 64.
        np.testing.assert_allclose(points[5, 20, :2], [1.0625, -1.6875], rtol=1e-5)
        blue_green_red = np.frombuffer(cloud.data, np.uint8).reshape(-1, 16)[0, 12:15]
        assert blue_green_red.tolist() == [90, 60, 30]
    finally:
        assert node.end() == 0


def test_run_time_parameters_change_the_outputs(model, client, tmp_path):
    node = NodeProcess(tmp_path / "log", model=model, fov_deg=90)
    try:
        client.wait_matched()
        client.info.publish(info_message(WIDTH, HEIGHT))
        # 90 degrees at 64 px: f = 32, half the trained one, so 27.5 m becomes 13.75 m.
        assert client.answer(grey(255), None, 1), node.text()
        np.testing.assert_allclose(floats(client.output("depth/image", 1)), 13.75, rtol=1e-5)
        assert "camera_info is not used: fov_deg 90 gives fx=32.0" in node.text()

        assert set_parameters(client, depth_encoding="16UC1", fov_deg=0.0) == ["", ""]
        assert client.answer(grey(255), info_message(WIDTH, HEIGHT), 2)
        depth = client.output("depth/image", 2)
        assert depth.encoding == "16UC1"
        assert set(np.frombuffer(depth.data, np.uint16)) == {27500}

        assert set_parameters(client, depth_encoding="32FC1", min_confidence=0.6) == ["", ""]
        assert client.answer(grey(255), info_message(WIDTH, HEIGHT), 3)
        assert np.isnan(floats(client.output("depth/image", 3))).all()

        assert set_parameters(client, min_confidence=0.0, max_depth_m=20) == ["", ""]
        assert client.answer(grey(255), info_message(WIDTH, HEIGHT), 4)
        assert np.isposinf(floats(client.output("depth/image", 4))).all()

        reasons = set_parameters(client, max_depth_m=-1.0, threads=2, depth_encoding="8UC1")
        assert "max_depth_m" in reasons[0]
        assert "range" in reasons[0]
        assert "read-only" in reasons[1]
        assert reasons[2] == "parameter depth_encoding must be one of 32FC1, 16UC1, got '8UC1'"
        assert client.answer(grey(255), info_message(WIDTH, HEIGHT), 5)
        assert np.isposinf(floats(client.output("depth/image", 5))).all()
    finally:
        assert node.end() == 0


def test_output_size_of_the_network_comes_with_its_camera(model, client, tmp_path):
    node = NodeProcess(tmp_path / "log", model=model, output_size="network")
    try:
        client.wait_matched()
        info = info_message(2 * WIDTH, 2 * HEIGHT, f=128.0)
        assert client.answer(grey(255, 2 * WIDTH, 2 * HEIGHT), info, 9), node.text()
        depth = client.output("depth/image", 9)
        assert (depth.width, depth.height) == (WIDTH, HEIGHT)
        np.testing.assert_allclose(floats(depth), 27.5, rtol=1e-5)
        answer = client.output("depth/camera_info", 9)
        assert (answer.width, answer.height) == (WIDTH, HEIGHT)
        np.testing.assert_allclose(answer.k, [64, 0, 31.5, 0, 64, 23.5, 0, 0, 1])
        np.testing.assert_allclose(answer.p, [64, 0, 31.5, 0, 0, 64, 23.5, 0, 0, 0, 1, 0])
    finally:
        assert node.end() == 0


def test_a_calibration_that_is_written_anew_is_read_anew(model, client, tmp_path):
    file = tmp_path / "camera.yaml"
    text = "{{fx: {f}, fy: {f}, cx: 31.5, cy: 23.5, width: 64, height: 48}}"
    file.write_text(text.format(f=64))
    node = NodeProcess(tmp_path / "log", model=model, camera_file=file)
    try:
        client.wait_matched()
        assert client.answer(grey(255), None, 1), node.text()
        np.testing.assert_allclose(floats(client.output("depth/image", 1)), 27.5, rtol=1e-5)
        file.write_text(text.format(f=128.0))
        assert client.answer(grey(255), None, 2), node.text()
        np.testing.assert_allclose(floats(client.output("depth/image", 2)), 55.0, rtol=1e-5)
    finally:
        assert node.end() == 0


def test_a_parameter_of_the_outputs_leaves_the_network_as_it_is(model, client, tmp_path):
    """What the pipeline says once, that the network was not made for such a view, it says once."""
    node = NodeProcess(tmp_path / "log", model=model)
    try:
        client.wait_matched()
        info = info_message(WIDTH, HEIGHT, f=1000.0)
        assert client.answer(grey(255), info, 1), node.text()
        for stamp, metres in ((2, 2.0), (3, 10000.0)):  # the ends of its range
            assert set_parameters(client, color_max_depth_m=metres, points_stride=stamp) == [
                "",
                "",
            ]
            assert client.answer(grey(255), info, stamp), node.text()
        assert node.text().count("trust the depth less") == 1
        assert set_parameters(client, min_confidence=0.1) == [""]
        assert client.answer(grey(255), info, 4), node.text()
        assert node.text().count("trust the depth less") == 2
    finally:
        assert node.end() == 0


def test_parameters_are_described(model, client, tmp_path):
    node = NodeProcess(tmp_path / "log", model=model)
    try:
        service = client.node.create_client(DescribeParameters, "depth_node/describe_parameters")
        assert service.wait_for_service(timeout_sec=10)
        future = service.call_async(
            DescribeParameters.Request(names=["threads", "fov_deg", "engine"])
        )
        assert client.spin_until(future.done)
        threads, fov, engine = future.result().descriptors
        assert threads.read_only
        assert threads.integer_range[0].to_value == 256
        assert (fov.read_only, fov.floating_point_range[0].to_value) == (False, 179.0)
        assert engine.additional_constraints.startswith("one of auto, ")
        assert all(d.description for d in (threads, fov, engine))
    finally:
        assert node.end() == 0


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"threads": "two"}, "depth_node: parameter threads must be integer, got 'two'"),
        ({"min_confidence": 1.5}, "depth_node: parameter min_confidence"),
        ({"engine": "abacus"}, "depth_node: parameter engine must be one of auto, "),
    ],
)
def test_wrong_override_ends_the_node_with_one_line(tmp_path, parameters, words):
    node = NodeProcess(tmp_path / "log", **parameters)
    assert node.process.wait(timeout=20) == 1
    assert words in node.text()
    assert "Traceback" not in node.text()


def test_best_effort_publisher_is_heard(model, client, tmp_path):
    node = NodeProcess(tmp_path / "log", model=model)
    client.image = client.publisher(Image, "image", reliable=False)
    try:
        node.wait_for("image offers best effort only: subscribed so")
        client.wait_matched()
        assert client.answer(grey(0), info_message(WIDTH, HEIGHT), 3), node.text()
        assert node.text().count("image offers best effort only") == 1
    finally:
        assert node.end() == 0


def test_topic_that_ends_in_compressed_is_read_as_compressed(model, tmp_path):
    camera_file = tmp_path / "camera.yaml"
    camera_file.write_text(
        f"image_width: {WIDTH}\nimage_height: {HEIGHT}\n"
        "camera_matrix: {rows: 3, cols: 3, data: [32, 0, 31.5, 0, 32, 23.5, 0, 0, 1]}\n"
    )
    node = NodeProcess(
        tmp_path / "log",
        "-r",
        "image:=/front/image_raw/compressed",
        model=model,
        camera_file=camera_file,
    )
    client = Client(CompressedImage, "/front/image_raw/compressed")
    try:
        client.wait_matched()
        stream = cv2.imencode(".png", np.full((HEIGHT, WIDTH, 3), 255, np.uint8))[1]
        message = CompressedImage(format="rgb8; png compressed bgr8")
        message.data = array.array("B", stream.tobytes())
        message.header.frame_id = "front"
        assert client.answer(message, None, 5), node.text()
        depth = client.output("depth/image", 5)
        assert depth.header.frame_id == "front"
        np.testing.assert_allclose(floats(depth), 13.75, rtol=1e-5)  # f = 32: half of 27.5 m
        assert "camera_info is not used: camera_file " in node.text()
        assert set_parameters(client, camera_file=str(tmp_path / "none.yaml")) == [""]
        client.send(message, None, 6)
        node.wait_for("camera: no camera file at ")
    finally:
        client.close()
        assert node.end() == 0


def test_a_compressed_topic_of_any_name_is_read_and_so_is_what_follows_it(model, tmp_path):
    topic = "/front/image_rect_compressed"
    node = NodeProcess(tmp_path / "log", "-r", f"image:={topic}", model=model, fov_deg=53.13)
    client = Client(CompressedImage, topic)
    try:
        client.wait_matched()
        stream = cv2.imencode(".png", np.full((HEIGHT, WIDTH, 3), 255, np.uint8))[1]
        message = CompressedImage(format="png", data=array.array("B", stream.tobytes()))
        assert client.answer(message, None, 5), node.text()
        assert node.text().count(f"{topic} carries CompressedImage") == 1
    finally:
        client.close()
    client = Client(Image, topic)
    try:
        client.wait_matched()
        assert client.answer(grey(0), None, 6), node.text()
        assert node.text().count(f"{topic} carries Image") == 1
    finally:
        client.close()
        assert node.end() == 0


def test_image_waits_for_its_first_camera_info_and_then_says_what_is_missing(
    model, client, tmp_path
):
    node = NodeProcess(tmp_path / "log", model=model)
    try:
        client.wait_matched()
        client.send(grey(0), None, 11)
        assert not client.spin_until(lambda: client.output("depth/image", 11), 0.3)
        assert "no camera_info" not in node.text()
        client.info.publish(info_message(WIDTH, HEIGHT))
        assert client.spin_until(lambda: client.output("depth/image", 11), 5), node.text()
    finally:
        assert node.end() == 0
    node = NodeProcess(tmp_path / "log2", model=model)
    try:
        client.wait_matched()
        client.send(grey(0), None, 12)
        node.wait_for(
            "camera: no camera_info received on /camera_info: publish or remap it, or set fov_deg "
            "or camera_file"
        )
        assert client.answer(grey(0), info_message(WIDTH, HEIGHT), 13)
    finally:
        assert node.end() == 0


def test_model_is_picked_up_when_it_appears_and_when_it_is_changed(model, client, tmp_path):
    path = tmp_path / "later" / "tiny.onnx"
    node = NodeProcess(tmp_path / "log", model=path)
    try:
        node.wait_for(f"model: model {path}: no such file")
        client.wait_matched()
        client.send(grey(255), info_message(WIDTH, HEIGHT), 1)
        assert client.spin_until(lambda: client.diagnostics().get("level") == "2", 5)
        assert "no such file" in client.diagnostics()["message"]
        assert client.output("depth/image", 1) is None

        path.parent.mkdir()
        shutil.copy(model.with_suffix(".json"), path.with_suffix(".json"))
        shutil.copy(model, path)
        node.wait_for("model tiny (64x48) runs on onnx-cpu")
        assert client.answer(grey(255), info_message(WIDTH, HEIGHT), 2), node.text()

        # A card of another file is refused; the node says so, serves on, and takes a better one.
        broken = write_tiny_model(tmp_path / "broken", WIDTH, HEIGHT, sha256="0" * 64)
        assert set_parameters(client, model=str(broken)) == [""]
        node.wait_for("sha256")
        assert client.answer(grey(255), info_message(WIDTH, HEIGHT), 3)
        said = "publishing depth with onnx-cpu: "
        assert client.spin_until(lambda: client.diagnostics()["message"].startswith(said), 5)
        assert "auto does not load: " in client.diagnostics()["engine_reason"]
        assert client.diagnostics()["model"] == str(path)
        other = write_tiny_model(tmp_path / "other", 32, 24, name="small", training_focal_px=32.0)
        assert set_parameters(client, model=str(other)) == [""]
        node.wait_for("model small (32x24) runs on onnx-cpu")
        assert client.answer(grey(255), info_message(WIDTH, HEIGHT), 4)
        np.testing.assert_allclose(floats(client.output("depth/image", 4)), 27.5, rtol=1e-5)
    finally:
        assert node.end() == 0
    # Tried once a second, told once in five.
    assert node.text().count("no such file") <= 3


def test_diagnostics_count_what_happens(model, client, tmp_path):
    node = NodeProcess(tmp_path / "log", model=model)
    try:
        client.wait_matched()
        for stamp in range(5):
            assert client.answer(grey(0), info_message(WIDTH, HEIGHT), stamp)
        assert client.spin_until(lambda: client.diagnostics().get("images_out") == "5", 5)
        found = client.diagnostics()
        assert found["level"] == "0"
        assert found["engine"] == "onnx-cpu"
        assert found["images_in"] == "5"
        assert 0 < float(found["latency_ms_p50"]) <= float(found["latency_ms_p95"]) < 5000
        bad = grey(0)
        bad.encoding = "nonsense"
        client.send(bad, None, 10)
        assert client.spin_until(lambda: client.diagnostics().get("level") == "2", 5)
        found = client.diagnostics()
        assert found["errors_image"] == "1"
        assert found["last_error"].startswith("image: image encoding 'nonsense' is not supported")
        assert client.answer(grey(0), None, 11)
        assert client.spin_until(lambda: client.diagnostics().get("level") == "0", 5)
    finally:
        assert node.end() == 0
