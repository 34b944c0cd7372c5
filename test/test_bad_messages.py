"""Malformed messages to the real node: each has its message, and the next good frame its depth."""

import array
import math

import cv2
import numpy as np
import pytest
from support import write_tiny_model

pytestmark = pytest.mark.ros
pytest.importorskip("rclpy", reason="no ROS 2: source one, or pip install '.[ros]'")
pytest.importorskip("onnx", reason="onnx makes the tiny model: extra dev")

from ros_graph import Client, NodeProcess, image_message, info_message
from sensor_msgs.msg import CompressedImage, RegionOfInterest

WIDTH, HEIGHT = 64, 48
PIXELS = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
JPEG = cv2.imencode(".jpg", PIXELS)[1].tobytes()
PNG = cv2.imencode(".png", PIXELS)[1].tobytes()


def raw(encoding="rgb8", width=WIDTH, height=HEIGHT, step=None, data=None):
    message = image_message(PIXELS, encoding)
    message.width, message.height = width, height
    message.step = 3 * WIDTH if step is None else step
    if data is not None:
        message.data = array.array("B", data)
    return message


def info(width=WIDTH, height=HEIGHT, k=None, **fields):
    """Returns a camera_info; `k` maps an index of K to a value."""
    message = info_message(width, height)
    for index, value in (k or {}).items():
        message.k[index] = value
    for name, value in fields.items():
        setattr(message, name, value)
    return message


WHOLE = 3 * WIDTH * HEIGHT
BAD_IMAGES = {
    "unknown encoding": (
        raw("yuv420"),
        "image: image encoding 'yuv420' is not supported: supported are rgb8, bgr8, ",
    ),
    "no encoding": (raw(""), "image: image encoding '' is not supported"),
    "encoding in capitals": (raw("RGB8"), "image: image encoding 'RGB8' is not supported"),
    "metric depth": (raw("32FC1"), "image encoding '32FC1' is not supported: it is the encoding "),
    "millimetre depth": (raw("16UC1"), "image encoding '16UC1' is not supported: it is the"),
    "encoding of control characters": (raw("rgb8\n\x07"), "image: image encoding 'rgb8\\n\\x07'"),
    "one byte short": (
        raw(data=bytes(WHOLE - 1)),
        f"image: rgb8 image 64x48 is truncated: {WHOLE - 1} bytes; expected {WHOLE} (step 192",
    ),
    "no data": (
        raw("bgr8", data=b""),
        f"image: bgr8 image 64x48 is truncated: 0 bytes; expected {WHOLE}",
    ),
    "half the rows": (
        raw("mono8", step=64, data=bytes(64 * 24)),
        "mono8 image 64x48 is truncated",
    ),
    "step too small": (raw(step=191), "rgb8 image 64x48 has a step of 191 bytes; expected at "),
    "step zero": (raw("bgra8", step=0), "bgra8 image 64x48 has a step of 0 bytes; expected"),
    "step beyond the data": (
        raw(step=200),
        "is truncated: 9216 bytes; expected 9600 (step 200 x 48 rows)",
    ),
    "step of 4 GB": (
        raw(step=2**32 - 1),
        "is truncated: 9216 bytes; expected 206158430160 (step 4294967295 x 48 rows)",
    ),
    "step of 3 channels for 4": (raw("rgba8"), "rgba8 image 64x48 has a step of 192 bytes; exp"),
    "step of 8 bits for 16": (raw("mono16", step=64), "mono16 image 64x48 has a step of 64 byt"),
    "width zero": (raw(width=0), "image: rgb8 image has size 0x48; expected positive"),
    "height zero": (raw("mono8", height=0), "image: mono8 image has size 64x0; expected positive"),
    "absurd width": (raw(width=2**32 - 1), "has a step of 192 bytes; expected at least 12884901"),
    "absurd height": (raw(height=2**32 - 1), "is truncated: 9216 bytes; expected 824633720640"),
    "odd width of yuv422": (raw("yuv422", width=63), "yuv422 image has size 63x48; expected an "),
    "odd height of bayer": (
        raw("bayer_rggb8", height=47),
        "bayer_rggb8 image has size 64x47; expected an even width and height",
    ),
}

BAD_INFOS = {
    "fx zero": (info(k={0: 0.0}), "camera: camera_info has focal lengths fx=0 fy=64, so "),
    "fy zero": (info(k={4: 0.0}), "camera_info has focal lengths fx=64 fy=0, so the camera is "),
    "fx negative": (info(k={0: -64.0}), "camera_info has focal lengths fx=-64 fy=64"),
    "K empty": (
        info(k=dict.fromkeys(range(9), 0.0)),
        "has focal lengths fx=0 fy=0, so the camera",
    ),
    "fx NaN": (info(k={0: math.nan}), "camera_info has a NaN or infinite value in K"),
    "cx infinite": (info(k={2: math.inf}), "camera_info has a NaN or infinite value in K"),
    "size zero": (info(width=0, height=0), "camera_info has size 0x0; expected the image's size"),
    "size of another camera": (
        info(width=1280, height=720),
        "image is 64x48 but its camera_info is 1280x720: publish the camera_info of this very",
    ),
    "size turned round": (
        info(width=HEIGHT, height=WIDTH),
        "image is 64x48 but its camera_info is 48x64",
    ),
    "unknown distortion": (
        info(distortion_model="fisheye62", d=[0.1] * 6),
        "camera_info has distortion model 'fisheye62'; known are none, plumb_bob",
    ),
    "three coefficients": (
        info(d=[0.1, 0.2, 0.3]),
        "camera_info has 3 coefficients for distortion model 'plumb_bob'; expected 0 or 4 or 5",
    ),
    "distortion NaN": (
        info(d=[0.1, math.nan, 0.0, 0.0, 0.0]),
        "camera_info has a NaN or infinite distortion",
    ),
    "binning that does not fit": (
        info(binning_x=2, binning_y=2),
        "image is 64x48 but its camera_info is 32x24",
    ),
    "binning to nothing": (
        info(binning_x=100, binning_y=100),
        "camera_info has a binning of 100x100 for 64x48",
    ),
    "region outside the image": (
        info(roi=RegionOfInterest(x_offset=60, width=10, height=10)),
        "camera_info has a region of interest up to (70, 10) in an image of 64x48",
    ),
}


def compressed(data, kind="jpeg"):
    return CompressedImage(format=kind, data=array.array("B", data))


BAD_STREAMS = {
    "empty": (compressed(b""), "compressed image ('jpeg', 0 bytes) is empty; expected a JPEG or"),
    "text": (compressed(b"not a picture"), "starts with 6e 6f 74 20 61 20 70 69; expected a JPEG"),
    "truncated JPEG": (compressed(JPEG[: len(JPEG) // 2]), "is truncated: JPEG stream of"),
    "JPEG of a head only": (compressed(JPEG[:3]), "is truncated: JPEG stream of 3 bytes"),
    "JPEG with no picture": (compressed(JPEG[:20] + b"\xff\xda\xff\xd9"), "does not decode"),
    "truncated PNG": (compressed(PNG[:200], "png"), "is truncated: PNG stream of 200 bytes"),
    "damaged PNG": (
        compressed(PNG[:40] + bytes(40) + PNG[80:], "png"),
        "compressed image ('png', ",
    ),
    "video": (compressed(JPEG, "h264"), "compressed format 'h264' is not supported: supported "),
    "no format": (compressed(JPEG, ""), "compressed format '' is not supported"),
    "depth image": (
        compressed(PNG, "16UC1; compressedDepth png"),
        "compressed format '16UC1; compressedDepth png' is a depth image",
    ),
}


@pytest.fixture(scope="module")
def raw_graph(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bad")
    node = NodeProcess(folder / "log", model=write_tiny_model(folder, WIDTH, HEIGHT))
    graph = Client()
    graph.wait_matched()
    graph.stamp = 0
    yield node, graph
    graph.close()
    assert node.end() == 0, node.text()
    assert "Traceback" not in node.text()


@pytest.fixture(scope="module")
def compressed_graph(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bad_streams")
    model = write_tiny_model(folder, WIDTH, HEIGHT)
    node = NodeProcess(folder / "log", model=model, image_transport="compressed")
    graph = Client(CompressedImage, "image/compressed")
    graph.wait_matched()
    graph.stamp = 0
    yield node, graph
    graph.close()
    assert node.end() == 0, node.text()
    assert "Traceback" not in node.text()


def check(node, graph, bad_image, bad_info, words, good_image):
    """The bad pair gives the message and no depth; the good pair after it gives depth."""
    good_info = info_message(WIDTH, HEIGHT)
    graph.stamp += 2
    bad_stamp, good_stamp = graph.stamp, graph.stamp + 1

    def is_told():
        # The two topics are not ordered among themselves: the pair is sent until it met.
        graph.send(bad_image, bad_info or good_info, bad_stamp)
        graph.executor.spin_once(timeout_sec=0.05)
        # A kind that was logged a moment ago is only counted; diagnostics always name the last.
        return words in node.text() or words in graph.diagnostics().get("last_error", "")

    def is_refused():
        """Whatever was said before: with this camera_info a new image gets no depth."""
        graph.stamp += 1
        return not graph.answer(bad_image, bad_info, graph.stamp, timeout_s=0.3)

    assert graph.spin_until(is_told, 8), f"{words!r} is not said in:\n{node.text()}"
    if bad_info is not None:
        assert graph.spin_until(is_refused, 8)
        graph.stamp += 1
        good_stamp = graph.stamp
    graph.send(None, good_info, good_stamp)
    assert graph.spin_until(
        lambda: graph.answer(good_image, good_info, good_stamp, timeout_s=1.0), 8
    ), node.text()
    if bad_info is None:
        assert graph.output("depth/image", bad_stamp) is None


@pytest.mark.parametrize("case", BAD_IMAGES)
def test_bad_image(raw_graph, case):
    image, words = BAD_IMAGES[case]
    check(*raw_graph, image, None, words, raw())


@pytest.mark.parametrize("case", BAD_INFOS)
def test_bad_camera_info(raw_graph, case):
    bad, words = BAD_INFOS[case]
    check(*raw_graph, raw(), bad, words, raw())


@pytest.mark.parametrize("case", BAD_STREAMS)
def test_bad_compressed_image(compressed_graph, case):
    image, words = BAD_STREAMS[case]
    check(*compressed_graph, image, None, words, compressed(JPEG))


def test_errors_of_one_kind_are_logged_once_in_five_seconds(raw_graph):
    node, graph = raw_graph
    bad = raw("bayer_nonsense")
    for _ in range(40):
        graph.send(bad, info_message(WIDTH, HEIGHT), 10**6)
        graph.executor.spin_once(timeout_sec=0.02)
    assert graph.spin_until(lambda: "bayer_nonsense" in node.text())
    assert node.text().count("bayer_nonsense") == 1
    assert graph.answer(raw(), info_message(WIDTH, HEIGHT), 10**6 + 1)
