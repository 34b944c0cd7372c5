"""ROS messages to numpy and back: values known by hand, and cv_bridge where it is installed."""

import array
import sys
import types

import numpy as np
import pytest

pytestmark = pytest.mark.ros
pytest.importorskip("rclpy", reason="no ROS 2: source one, or pip install '.[ros]'")

from rclpy.serialization import deserialize_message, serialize_message
from ros_graph import image_message, info_message
from sensor_msgs.msg import CompressedImage, Image, RegionOfInterest
from std_msgs.msg import Header

from rosam_core.runtime.camera_model import camera_of_info
from rosam_core.runtime.image_codec import ImageDecodeError
from rosam_core.types import Camera, DepthPrediction
from rosam_depth_ros import messages

HEADER = Header(frame_id="optical")
HEADER.stamp.sec, HEADER.stamp.nanosec = 12, 34
CAMERA = Camera(50.0, 60.0, 3.5, 2.5, 8, 6)


def arrived(message):
    """Returns a message as it looks on the other side of the wire."""
    return deserialize_message(serialize_message(message), type(message))


def test_depth_in_metres_keeps_unknown_and_infinite():
    depth = np.array([[1.25, np.nan, np.inf], [0.0, 655.35, 3.5]], np.float32)
    message = arrived(messages.depth_message(depth, HEADER))
    assert (message.encoding, message.step, message.is_bigendian) == ("32FC1", 12, 0)
    assert message.header == HEADER
    values = np.frombuffer(message.data, "<f4").reshape(2, 3)
    np.testing.assert_array_equal(values, depth)


def test_depth_in_millimetres_has_zero_for_unknown_and_beyond_range():
    depth = np.array([[1.2345, np.nan, np.inf, -1.0, 65.535, 65.536]], np.float32)
    message = arrived(messages.depth_message(depth, HEADER, "16UC1"))
    assert (message.encoding, message.step) == ("16UC1", 12)
    assert np.frombuffer(message.data, "<u2").tolist() in (
        [1234, 0, 0, 0, 65535, 0],  # 1.2345 is 1.23449... in float32, and halves may go either way
        [1235, 0, 0, 0, 65535, 0],
    )


def test_depth_of_another_encoding_is_refused():
    with pytest.raises(ValueError, match="64FC1"):
        messages.depth_message(np.ones((2, 2), np.float32), HEADER, "64FC1")


def test_a_view_with_gaps_is_written_row_by_row():
    wide = np.arange(24, dtype=np.float32).reshape(4, 6)
    message = messages.confidence_message(wide[::2, 1:4], HEADER)
    assert np.frombuffer(message.data, "<f4").tolist() == [1, 2, 3, 13, 14, 15]


def test_data_is_the_array_type_that_ros_hands_on_untouched():
    message = messages.depth_message(np.ones((2, 2), np.float32), HEADER)
    assert isinstance(message.data, array.array)
    assert message.data.typecode == "B"


def test_a_message_is_filled_again_only_if_it_fits():
    first = messages.depth_message(np.ones((2, 3), np.float32), HEADER)
    later = Header(frame_id="later")
    again = messages.depth_message(np.full((2, 3), 7, np.float32), later, last=first)
    assert again is first
    assert again.header == later
    assert np.frombuffer(again.data, np.float32).tolist() == [7.0] * 6
    wider = messages.depth_message(np.ones((2, 4), np.float32), HEADER, last=again)
    assert wider is not first
    assert len(wider.data) == 32
    short = messages.depth_message(np.ones((2, 3), np.float32), HEADER, "16UC1", last=again)
    assert short is not first
    assert len(short.data) == 12


def test_picture_of_a_raw_image_is_a_view_of_its_bytes():
    pixels = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
    message = arrived(image_message(pixels))
    picture = messages.image_to_rgb(message)
    np.testing.assert_array_equal(picture, pixels)
    message.data[0] = 99
    assert picture[0, 0, 0] == 99


def test_picture_of_a_png_is_exact():
    import cv2

    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    stream = cv2.imencode(".png", pixels[..., ::-1])[1].tobytes()
    message = arrived(CompressedImage(format="png", data=array.array("B", stream)))
    np.testing.assert_array_equal(messages.image_to_rgb(message), pixels)


def test_camera_of_a_message_and_back():
    info = info_message(8, 6, f=50.0)
    info.d = [0.1, -0.2, 0.001, 0.002, 0.05]
    camera = camera_of_info(arrived(info))
    assert (camera.fx, camera.cx, camera.width) == (50.0, 3.5, 8)
    assert camera.distortion == (0.1, -0.2, 0.001, 0.002, 0.05)
    back = arrived(messages.camera_info_message(camera, HEADER))
    assert back.header == HEADER
    assert list(back.k) == list(info.k)
    assert list(back.d) == list(info.d)
    assert list(back.p) == list(info.p)
    assert list(back.r) == list(info.r)


def test_rectification_and_projection_of_the_input_are_kept():
    info = info_message(8, 6, f=50.0)
    info.header.frame_id = "camera"
    info.r = [0.0, 1.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0, 1.0]
    info.p = [40.0, 0.0, 3.0, -4.0, 0.0, 40.0, 2.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    same = messages.camera_info_message(camera_of_info(info), HEADER, info)
    assert same.header == HEADER
    assert info.header.frame_id == "camera"
    assert list(same.p) == list(info.p)
    # At half the size focal lengths and baseline term halve; centres follow pixel centres.
    half = camera_of_info(info).scaled_to(4, 3)
    small = messages.camera_info_message(half, HEADER, info)
    np.testing.assert_allclose(small.p, [20, 0, 1.25, -2, 0, 20, 0.75, 0, 0, 0, 1, 0])
    assert list(small.r) == list(info.r)


def projecting(width=640, height=480):
    """Returns a camera_info of focal length 500 whose rectified images have 400."""
    info = info_message(width, height, f=500.0)
    info.k[2], info.k[5] = 320.0, 240.0
    info.p = [400.0, 0, 330, -40, 0, 400, 250, 0, 0, 0, 1, 0]
    info.r = [0.0, 1.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0, 1.0]
    return info


def test_projection_follows_binning_and_region():
    info = projecting()
    info.binning_x = info.binning_y = 2
    out = messages.camera_info_message(camera_of_info(info), HEADER, info)
    np.testing.assert_allclose(out.k, [250, 0, 159.75, 0, 250, 119.75, 0, 0, 1])
    np.testing.assert_allclose(out.p, [200, 0, 164.75, -20, 0, 200, 124.75, 0, 0, 0, 1, 0])
    info.binning_x = info.binning_y = 0
    info.roi = RegionOfInterest(x_offset=100, y_offset=50, width=400, height=300)
    out = messages.camera_info_message(camera_of_info(info), HEADER, info)
    np.testing.assert_allclose(out.p, [400, 0, 230, -40, 0, 400, 200, 0, 0, 0, 1, 0])
    assert list(out.r) == list(info.r)


def test_a_smaller_rectified_image_has_nothing_left_to_rectify():
    info, topic = projecting(), "/left/image_rect_color"
    half = camera_of_info(info, topic).scaled_to(320, 240)
    out = messages.camera_info_message(half, HEADER, info, topic)
    np.testing.assert_allclose(out.k, [200, 0, 164.75, 0, 200, 124.75, 0, 0, 1])
    np.testing.assert_allclose(out.p, [200, 0, 164.75, -20, 0, 200, 124.75, 0, 0, 0, 1, 0])
    assert list(out.r) == np.eye(3).ravel().tolist()
    assert not any(out.d)


def test_region_of_interest_and_binning_move_the_camera():
    info = info_message(640, 480, f=500.0)
    info.k[2], info.k[5] = 320.0, 240.0
    info.roi = RegionOfInterest(x_offset=100, y_offset=50, width=400, height=300)
    camera = camera_of_info(info)
    assert (camera.width, camera.height, camera.cx, camera.cy) == (400, 300, 220.0, 190.0)
    info.binning_x = info.binning_y = 2
    camera = camera_of_info(info)
    assert (camera.width, camera.height, camera.fx) == (200, 150, 250.0)
    assert (camera.cx, camera.cy) == (109.75, 94.75)


def test_cloud_takes_every_third_pixel_and_its_colour():
    depth = np.full((6, 8), 2.0, np.float32)
    depth[3, 6] = np.nan
    depth[0, 3] = np.inf
    picture = np.zeros((6, 8, 3), np.uint8)
    picture[3, 3] = 10, 20, 30
    prediction = DepthPrediction(depth, depth, CAMERA)
    cloud = arrived(messages.points_message(prediction, picture, CAMERA, 3, HEADER))
    assert (cloud.width, cloud.height, cloud.row_step, cloud.is_dense) == (3, 2, 48, False)
    assert [(f.name, f.offset) for f in cloud.fields] == [
        ("x", 0),
        ("y", 4),
        ("z", 8),
        ("rgb", 12),
    ]
    points = np.frombuffer(cloud.data, np.float32).reshape(2, 3, 4)
    # Pixel (row 3, column 3): ((3 - 3.5) * 2 / 50, (3 - 2.5) * 2 / 60, 2).
    np.testing.assert_allclose(points[1, 1, :3], [-0.02, 1 / 60, 2.0], rtol=1e-6)
    assert np.isnan(points[1, 2, :3]).all()
    assert np.isnan(points[0, 1, :3]).all()
    colors = np.frombuffer(cloud.data, np.uint8).reshape(2, 3, 16)[..., 12:]
    assert colors[1, 1].tolist() == [30, 20, 10, 0]
    assert not colors[0].any()


def test_cloud_of_a_smaller_depth_finds_its_colours():
    picture = np.zeros((6, 8, 3), np.uint8)
    picture[:, 4:] = 255
    prediction = DepthPrediction(
        np.ones((3, 4), np.float32), np.ones((3, 4), np.float32), CAMERA.scaled_to(4, 3)
    )
    cloud = messages.points_message(prediction, picture, CAMERA, 1, HEADER)
    colors = np.frombuffer(cloud.data, np.uint8).reshape(3, 4, 16)[..., 12]
    assert colors.tolist() == [[0, 0, 255, 255]] * 3


CV_BRIDGE_ENCODINGS = {
    "rgb8": (3, np.uint8),
    "bgr8": (3, np.uint8),
    "rgba8": (4, np.uint8),
    "bgra8": (4, np.uint8),
    "mono8": (1, np.uint8),
    "mono16": (1, np.uint16),
    "bayer_rggb8": (1, np.uint8),
    "bayer_bggr8": (1, np.uint8),
    "bayer_gbrg8": (1, np.uint8),
    "bayer_grbg8": (1, np.uint8),
    "yuv422": (2, np.uint8),
    "yuv422_yuy2": (2, np.uint8),
}


@pytest.mark.parametrize("encoding", CV_BRIDGE_ENCODINGS)
def test_codec_equals_cv_bridge(encoding):
    cv_bridge = pytest.importorskip("cv_bridge", reason="cv_bridge comes with a ROS install only")
    if not hasattr(cv_bridge, "CvBridge"):
        pytest.skip("this cv_bridge is not ROS 2's")
    channels, kind = CV_BRIDGE_ENCODINGS[encoding]
    rng = np.random.default_rng(0)
    shape = (12, 16) if channels == 1 else (12, 16, channels)
    message = image_message(rng.integers(0, np.iinfo(kind).max, shape).astype(kind), encoding)
    theirs = cv_bridge.CvBridge().imgmsg_to_cv2(message, "rgb8")
    ours = messages.image_to_rgb(message).astype(int)
    # cv_bridge rounds 16 bits down to 8 by scaling, we keep the high byte: one level apart.
    tolerance = 1 if encoding == "mono16" else 0
    assert np.abs(ours - theirs.astype(int)).max() <= tolerance


def test_rare_encoding_is_left_to_cv_bridge_where_it_is_installed(monkeypatch):
    message = image_message(np.full((4, 6, 3), 5, np.uint16), "rgb16")
    monkeypatch.setitem(sys.modules, "cv_bridge", None)
    with pytest.raises(ImageDecodeError, match="'rgb16' needs ROS 2's cv_bridge"):
        messages.image_to_rgb(message)

    class Bridge:
        def imgmsg_to_cv2(self, given, encoding):
            assert (given, encoding) == (message, "rgb8")
            if len(given.data) < 144:
                raise TypeError("buffer is smaller than requested size")
            return np.full((4, 6, 3), 9, np.uint8)

    stand_in = types.SimpleNamespace(CvBridge=Bridge, CvBridgeError=TypeError)
    monkeypatch.setitem(sys.modules, "cv_bridge", stand_in)
    assert messages.image_to_rgb(message).tolist() == [[[9, 9, 9]] * 6] * 4
    message.data = message.data[:100]
    with pytest.raises(ImageDecodeError, match="rgb16 image does not decode: buffer is smaller"):
        messages.image_to_rgb(message)


def test_padded_rows_and_a_big_endian_image():
    message = Image(width=3, height=2, encoding="mono16", step=8, is_bigendian=1)
    message.data = array.array("B", [1, 0, 2, 0, 3, 0, 9, 9, 4, 0, 5, 0, 6, 0, 9, 9])
    picture = messages.image_to_rgb(message)
    assert picture[..., 0].tolist() == [[1, 2, 3], [4, 5, 6]]
