"""Cameras of a bag: what counts as one, its camera_info, its calibration file."""

import numpy as np
import pytest
from bag_samples import CAMERA, START_NS, grey, write_camera_bag

from rosam_core.drives import bag_messages
from rosam_core.drives.bag_cameras import (
    choose_cameras,
    load_camera_file,
    own_outputs,
    pair_info,
)
from rosam_core.drives.bag_writer import BagWriter
from rosam_core.drives.opening import DriveOptions, open_drives
from rosam_core.drives.rosbag import BagReader
from rosam_core.runtime.camera_model import camera_of_info
from rosam_core.types import Camera


def test_a_camera_without_info_says_so(tmp_path):
    write_camera_bag(tmp_path / "a.mcap", camera=None)
    with BagReader(tmp_path / "a.mcap") as bag:
        (camera,) = bag.cameras
    assert camera.camera is None
    assert camera.problem == "no camera_info beside /front/image_raw or with frame 'front_optical'"


def spoilt_start(path, *, info=True, bad=1):
    """Writes four images; the first `bad` are cut, and so many camera_infos are all zeros."""
    with BagWriter(path) as writer:
        for index in range(4):
            stamp = START_NS + index
            raw = bag_messages.serialize(bag_messages.image(stamp, "a", grey(1)))
            raw = raw[:100] if index < bad else raw
            writer.write_raw("/a/image", "sensor_msgs/msg/Image", raw, stamp)
            message = bag_messages.camera_info(stamp, "a", CAMERA)
            if index < bad:
                message.k[:] = 0
            if info:
                writer.write("/a/camera_info", message)


def test_the_first_good_image_and_camera_info_are_a_cameras(tmp_path):
    spoilt_start(tmp_path / "a.mcap", bad=2)
    with BagReader(tmp_path / "a.mcap") as bag:
        (camera,) = bag.cameras
    assert (camera.width, camera.height, camera.camera) == (64, 48, CAMERA)
    assert camera.problem.startswith("its first image: /a/image: a sensor_msgs/msg/Image of 100")


def test_a_cut_first_image_does_not_lose_a_camera_whose_view_is_stated(tmp_path):
    path, stated = tmp_path / "a.mcap", tmp_path / "camera.yaml"
    stated.write_text("{fx: 64, fy: 64, cx: 31.5, cy: 23.5, width: 64, height: 48}")
    spoilt_start(path, info=False)
    for options in (DriveOptions(camera=stated), DriveOptions(fov_deg=60)):
        (drive,) = open_drives(path, options=options)
        assert drive[1].camera.width == 64
    spoilt_start(path.with_name("b.mcap"), info=False, bad=4)
    (drive,) = open_drives(path.with_name("b.mcap"), options=DriveOptions(camera=stated))
    assert drive.glance(0).camera == CAMERA
    with pytest.raises(ValueError, match=r"its first image: /a/image: a .* does not decode"):
        open_drives(path.with_name("b.mcap"), options=DriveOptions(fov_deg=60))


def info(frame_id="", **changes):
    """Returns a CameraInfo as it is decoded, of a camera with fx 100, of 64x48 pixels."""
    message = bag_messages.camera_info(START_NS, frame_id, Camera(100, 100, 31.5, 23.5, 64, 48))
    for name, value in changes.items():
        setattr(message, name, value)
    return message


@pytest.mark.parametrize(
    ("image", "frame", "infos", "expected"),
    [
        ("/a/image_raw", "", {"/a/camera_info": ""}, "/a/camera_info"),
        ("/a/image_raw/compressed", "", {"/a/camera_info": ""}, "/a/camera_info"),
        ("/image", "", {"/camera_info": ""}, "/camera_info"),
        ("/a/image", "", {"/a/image/camera_info": ""}, "/a/image/camera_info"),
        # The sibling wins over the same frame elsewhere.
        ("/a/image", "f", {"/b/camera_info": "f", "/a/camera_info": "g"}, "/a/camera_info"),
        ("/a/image", "f", {"/b/info": "f", "/c/info": "g"}, "/b/info"),
        ("/a/image", "f", {"/b/info": "f", "/c/info": "f"}, None),
        ("/a/image", "", {"/b/info": ""}, None),
        ("/a/image", "f", {}, None),
    ],
)
def test_pairing_by_namespace_then_by_frame(image, frame, infos, expected):
    messages = {name: info(frame_id) for name, frame_id in infos.items()}
    assert pair_info(image, frame, messages) == expected


def test_rectified_images_have_the_projection_matrix():
    p = np.array([80.0, 0, 30, -8, 0, 81, 20, 0, 0, 0, 1, 0])
    message = info(p=p, d=np.array([0.1, 0, 0, 0, 0]))
    raw = camera_of_info(message, "/left/image_raw")
    assert (raw.fx, raw.distortion) == (100, (0.1, 0, 0, 0, 0))
    for topic in ("/left/image_rect", "/left/image_rect_color/compressed"):
        assert camera_of_info(message, topic) == Camera(80, 81, 30, 20, 64, 48)
    # A driver that does not fill P has K only.
    assert camera_of_info(info(p=np.zeros(12)), "/left/image_rect").fx == 100


def test_own_outputs_are_told_from_those_of_a_depth_camera():
    ours = {"/front/depth/image", "/front/depth/camera_info", "/front/confidence/image"}
    ours |= {"/front/points", "/depth/image", "/confidence/image", "/points"}
    others = {"/front/image_raw", "/camera/depth/image", "/camera/points", "/left/points"}
    assert own_outputs(ours | others) == ours
    assert own_outputs(others) == set()


def test_a_cloud_of_ours_is_no_lidar(tmp_path):
    path = tmp_path / "a.mcap"
    with BagWriter(path) as writer:
        writer.write_image("/front/image", START_NS, "a", grey(1))
        for name in ("depth", "confidence"):
            writer.write_depth(f"/front/{name}/image", START_NS, "a", np.ones((4, 4), np.float32))
        for topic in ("/front/points", "/velodyne"):
            cloud = bag_messages.point_cloud(START_NS, "a", np.ones((2, 3), np.float32))
            writer.write(topic, cloud)
    with BagReader(path) as bag:
        assert [lidar.name for lidar in bag.lidars] == ["/velodyne"]


def test_region_of_interest_and_binning_are_applied():
    message = info(binning_x=2, binning_y=2)
    message.roi.x_offset, message.roi.y_offset = 8, 4
    message.roi.width, message.roi.height = 32, 40
    camera = camera_of_info(message, "/image_raw")
    assert (camera.width, camera.height, camera.fx, camera.fy) == (16, 20, 50, 50)
    # (31.5 - 8 + 0.5) / 2 - 0.5 and (23.5 - 4 + 0.5) / 2 - 0.5
    assert (camera.cx, camera.cy) == (11.5, 9.5)


def test_depth_and_our_own_outputs_are_no_cameras(tmp_path):
    path = tmp_path / "a.mcap"
    with BagWriter(path) as writer:
        writer.write_image("/a/image", START_NS, "a", grey(1))
        writer.write_depth("/a/depth/image", START_NS, "a", np.ones((4, 4), np.float32))
        writer.write_image("/a/depth/image_color", START_NS, "a", grey(1))
        writer.write_compressed("/a/depth/image_color/compressed", START_NS, "a", grey(1))
        millimetres = np.ones((4, 4), np.uint16)
        writer.write("/r/depth", bag_messages.image(START_NS, "a", millimetres, "16UC1"))
        png = bag_messages.compressed_image(START_NS, "a", b"\x00", "16UC1; compressedDepth png")
        writer.write("/r/depth/compressedDepth", png)
    with BagReader(path) as bag:
        assert [camera.topic for camera in bag.cameras] == ["/a/image"]
        assert len(bag.images[1]) == 5
        with pytest.raises(ValueError, match=r"/a/depth/image is no camera: it carries depth"):
            choose_cameras(bag, ["/a/depth/image"])


def two_transports(path, raw, compressed):
    with BagWriter(path) as writer:
        for index in range(max(raw, compressed)):
            stamp = START_NS + index
            writer.write_camera_info("/a/camera_info", stamp, "a", CAMERA)
            if index < raw:
                writer.write_image("/a/image", stamp, "a", grey(1))
            if index < compressed:
                writer.write_compressed("/a/image/compressed", stamp, "a", grey(1))


@pytest.mark.parametrize(
    ("raw", "compressed", "chosen"),
    [(2, 2, "/a/image"), (1, 2, "/a/image/compressed"), (2, 1, "/a/image")],
)
def test_of_two_transports_the_fuller_one_is_taken(tmp_path, raw, compressed, chosen):
    two_transports(tmp_path / "a.mcap", raw, compressed)
    with BagReader(tmp_path / "a.mcap") as bag:
        cameras, left_out = choose_cameras(bag)
        assert [camera.topic for camera in cameras] == [chosen]
        assert {chosen, *left_out} == {"/a/image", "/a/image/compressed"}
        both, none = choose_cameras(bag, ["/a/image/compressed", "/a/image"])
    assert [camera.topic for camera in both] == ["/a/image/compressed", "/a/image"]
    assert none == []


@pytest.mark.parametrize(
    ("topic", "message"),
    [
        ("/front/image_rw", r"no topic /front/image_rw in .*: did you mean /front/image_raw\?"),
        ("/zzz", r"no topic /zzz in .*: cameras: /front/image_raw"),
        ("/front/camera_info", "/front/camera_info is no camera: it is a sensor_msgs/msg/Camera"),
    ],
)
def test_a_wrong_topic_is_told_with_the_nearest(tmp_path, topic, message):
    write_camera_bag(tmp_path / "a.mcap")
    with BagReader(tmp_path / "a.mcap") as bag, pytest.raises(ValueError, match=message):
        choose_cameras(bag, [topic])


ROS_CALIBRATION = """\
image_width: 640
image_height: 480
camera_name: front
camera_matrix: {rows: 3, cols: 3, data: [500.0, 0, 320.5, 0, 510.0, 240.5, 0, 0, 1]}
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 5, data: [0.1, -0.2, 0.01, 0.02, 0]}
"""


def test_camera_files_of_both_forms(tmp_path):
    path = tmp_path / "camera.yaml"
    path.write_text(ROS_CALIBRATION)
    distortion = (0.1, -0.2, 0.01, 0.02, 0.0)
    assert load_camera_file(path) == Camera(
        500, 510, 320.5, 240.5, 640, 480, "plumb_bob", distortion
    )
    path.write_text("{fx: 500, fy: 510, cx: 320.5, cy: 240.5, width: 640, height: 480}")
    assert load_camera_file(path) == Camera(500, 510, 320.5, 240.5, 640, 480)


BAD_CAMERA_FILES = {
    "fx: [": "is not YAML",
    "": "holds no named values: expected a ROS calibration",
    "- 1\n- 2": "holds no named values",
    "fx: 1\nfy: 1\ncx: 1\ncy: 1": "image_width and image_height are missing",
    "fx: 1\ncx: 1\nwidth: 4\nheight: 4": "fy, cy missing: expected a ROS calibration",
    "{fx: 0, fy: 1, cx: 1, cy: 1, width: 4, height: 4}": "focal lengths fx=0",
    "{fx: .nan, fy: 1, cx: 1, cy: 1, width: 4, height: 4}": "a value is not finite",
    "{fx: wide, fy: 1, cx: 1, cy: 1, width: 4, height: 4}": "could not convert string",
    "{fx: 1, fy: 1, cx: 1, cy: 1, width: -4, height: 4}": "size -4x4",
    "{width: 4, height: 4, camera_matrix: {data: [1, 2, 3]}}": "needs 9 numbers, got 3",
    "{width: 4, height: 4, camera_matrix: [1, 2, 3]}": "camera file",
    "{width: 4, height: 4, projection_matrix: {data: [1, 2]}}": "needs 12 numbers, got 2",
    ROS_CALIBRATION.replace("plumb_bob", "fisheye9"): "distortion model 'fisheye9'",
}


@pytest.mark.parametrize(("text", "message"), BAD_CAMERA_FILES.items())
def test_a_wrong_camera_file_says_what_is_wrong(tmp_path, text, message):
    path = tmp_path / "camera.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        load_camera_file(path, "/left/image_rect")
    assert "camera.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_camera_file_of_rectified_images_gives_the_projection(tmp_path):
    path = tmp_path / "camera.yaml"
    text = ROS_CALIBRATION + (
        "projection_matrix:\n  rows: 3\n  cols: 4\n"
        "  data: [400, 0, 330, -40, 0, 401, 250, 0, 0, 0, 1, 0]\n"
    )
    path.write_text(text)
    raw, rectified = (load_camera_file(path, f"/left/image_{name}") for name in ("raw", "rect"))
    assert raw == load_camera_file(path)
    assert (raw.fx, bool(raw.distortion)) == (500, True)
    assert rectified == Camera(400, 401, 330, 250, raw.width, raw.height)


def test_no_camera_file():
    with pytest.raises(FileNotFoundError, match=r"no camera file at absent\.yaml"):
        load_camera_file("absent.yaml")
