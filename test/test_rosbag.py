"""Bags as they are found: cameras with their camera_info, frames, lidar, and damage."""

import pickle
import shutil
import struct
from types import SimpleNamespace

import numpy as np
import pytest
from bag_samples import CAMERA, FRAME_ID, NAMES, START_NS, STEP_NS, grey, write_camera_bag

from rosam_core.drives import bag_messages
from rosam_core.drives.bag_cameras import (
    camera_of_info,
    choose_cameras,
    load_camera_file,
    pair_info,
)
from rosam_core.drives.bag_messages import read_points
from rosam_core.drives.bag_transforms import TransformTree, interpolate
from rosam_core.drives.bag_writer import BagWriter
from rosam_core.drives.rosbag import BagMessage, BagReader, RosbagDrive
from rosam_core.types import Camera


def moved(x=0.0, y=0.0, z=0.0, turn_z_deg=0.0):
    """Returns a transform: a turn about z, then a shift."""
    angle = np.radians(turn_z_deg)
    T = np.eye(4)
    T[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    T[:3, 3] = x, y, z
    return T


@pytest.mark.parametrize("storage", NAMES)
@pytest.mark.parametrize("compressed", [False, True])
def test_a_camera_is_found_with_its_info(tmp_path, storage, compressed):
    path = tmp_path / NAMES[storage]
    stamps = write_camera_bag(path, compressed=compressed)
    with BagReader(path) as bag:
        assert (bag.format, bag.message_count, bag.start_ns) == (storage, 6, START_NS)
        assert bag.duration_s == pytest.approx(0.2)
        (camera,) = bag.cameras
        assert camera.topic == "/front/image_raw" + ("/compressed" if compressed else "")
        assert (camera.base, camera.namespace) == ("/front/image_raw", "/front")
        assert (camera.count, camera.width, camera.height) == (3, 64, 48)
        assert camera.encoding == ("png" if compressed else "rgb8")
        assert (camera.info_topic, camera.camera) == ("/front/camera_info", CAMERA)
        assert camera.frame_id == FRAME_ID
        images = list(bag.messages([camera.topic]))
    assert [message.stamp_ns for message in images] == stamps
    assert [message.log_ns for message in images] == stamps
    assert images[0].decode().header.frame_id == FRAME_ID


def test_a_camera_without_info_says_so(tmp_path):
    write_camera_bag(tmp_path / "a.mcap", camera=None)
    with BagReader(tmp_path / "a.mcap") as bag:
        (camera,) = bag.cameras
    assert camera.camera is None
    assert camera.problem == "no camera_info beside /front/image_raw or with frame 'front_optical'"


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


def damaged(tmp_path, kind):
    """Returns the path of a bag with one fault."""
    whole = tmp_path / "whole.mcap"
    if kind.startswith("cut "):
        name = NAMES[kind.removeprefix("cut ")]
        write_camera_bag(tmp_path / name, frames=30)
        data = (tmp_path / name).read_bytes()
        path = tmp_path / f"cut-{name}"
        path.write_bytes(data[: int(len(data) * 0.6)])
    elif kind.startswith("empty "):
        path = tmp_path / f"empty{kind.removeprefix('empty ')}"
        path.touch()
    elif kind.startswith("text "):
        path = tmp_path / f"text{kind.removeprefix('text ')}"
        path.write_text("this is not a recording, although it is long enough to be one")
    elif kind == "no path":
        path = tmp_path / "absent.mcap"
    elif kind == "video":
        path = tmp_path / "drive.mp4"
        path.write_bytes(b"....ftyp")
    elif kind == "folder without metadata":
        path = tmp_path / "folder"
        path.mkdir()
    elif kind == "folder with a file but no metadata":
        path = tmp_path / "folder"
        path.mkdir()
        write_camera_bag(path / "drive.mcap")
    elif kind == "profile":
        write_camera_bag(whole)
        path = tmp_path / "ros1.mcap"
        path.write_bytes(whole.read_bytes().replace(b"\x04\x00\x00\x00ros2", b"\x04\0\0\0ros1", 1))
    elif kind == "header only":
        path = tmp_path / "header.bag"
        path.write_bytes(b"#ROSBAG V2.0\n")
    else:
        path = tmp_path / "folder"
        write_camera_bag(path)
        meta = path / "metadata.yaml"
        if kind == "metadata is no yaml":
            meta.write_text("rosbag2_bagfile_information: [")
        elif kind == "metadata of another program":
            meta.write_text("camera: front\n")
        elif kind == "metadata of the future":
            meta.write_text(meta.read_text().replace("version: 8", "version: 99"))
        elif kind == "file missing":
            (path / "folder.mcap").unlink()
        elif kind == "metadata is empty":
            meta.write_text("")
    return path


DAMAGE = {
    "no path": "no bag at .*absent.mcap",
    "video": r"drive.mp4 is not named like a bag: expected .bag, .mcap, .db3 .*, got '.mp4'",
    "empty .mcap": r"empty.mcap is an empty file \(0 bytes\)",
    "empty .bag": r"empty.bag is an empty file \(0 bytes\)",
    "empty .db3": r"empty.db3 is an empty file \(0 bytes\)",
    "text .mcap": "text.mcap is no MCAP file: it begins with b'this is '",
    "text .bag": "text.bag is no ROS 1 bag: it begins with",
    "text .db3": "text.db3 is no sqlite3 bag: it begins with",
    "cut mcap": "cut-drive.mcap cannot be read, it looks truncated.*`mcap recover`",
    "cut sqlite3": r"cut-drive.db3 (cannot be read|is damaged)",
    "cut ros1": "cut-drive.bag cannot be read, it looks truncated.*`rosbag reindex`",
    "header only": "header.bag cannot be read, it looks truncated",
    "profile": "ros1.mcap is an MCAP file with profile 'ros1', expected 'ros2'",
    "folder without metadata": "folder is a folder without metadata.yaml.*expected metadata.yaml",
    "folder with a file but no metadata": "without metadata.yaml.*name the file, .*drive.mcap",
    "metadata is no yaml": "folder cannot be read.*Could not load YAML.*`ros2 bag reindex`",
    "metadata of another program": "folder cannot be read.*rosbag2_bagfile_information",
    "metadata of the future": "folder cannot be read.*version 99 not supported",
    "metadata is empty": "folder cannot be read",
    "file missing": "folder cannot be read.*database files are missing",
}


@pytest.mark.parametrize(("kind", "message"), DAMAGE.items())
def test_a_bag_that_cannot_be_read_says_why_in_one_line(tmp_path, kind, message):
    def read():
        with BagReader(path) as bag:
            list(bag.messages())

    path = damaged(tmp_path, kind)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        read()
    assert "\n" not in str(caught.value)


def test_a_damaged_chunk_is_told_after_what_could_be_read(tmp_path):
    path = tmp_path / "a.mcap"
    with BagWriter(path, compress=True) as writer:
        for index in range(12):
            noise = np.random.default_rng(index).random((300, 300)).astype(np.float32)
            writer.write_depth("/d", START_NS + index, "a", noise)
    data = bytearray(path.read_bytes())
    last_chunk = data.rindex(b"\x28\xb5\x2f\xfd")  # where its zstd stream begins
    data[last_chunk : last_chunk + 4] = bytes(4)
    path.write_bytes(data)
    read = []
    with BagReader(path) as bag, pytest.raises(ValueError, match=r"is damaged: .* after [1-9]"):
        read.extend(bag.messages())
    with BagReader(path) as bag:
        assert bag.message_count == 12


def test_bytes_that_are_no_message_are_told(tmp_path):
    path = tmp_path / "a.mcap"
    with BagWriter(path) as writer:
        raw = bag_messages.serialize(bag_messages.image(START_NS, "a", grey(1)))
        writer.write_raw("/image", "sensor_msgs/msg/Image", raw[:100], START_NS)
    with BagReader(path) as bag:
        (camera,) = bag.cameras
    assert "/image: a sensor_msgs/msg/Image of 100 bytes does not decode" in camera.problem
    with pytest.raises(ValueError, match="/t: 11 bytes are no sensor_msgs/msg/Image"):
        _ = BagMessage("/t", "sensor_msgs/msg/Image", 0, raw[:11], is_ros1=False).stamp_ns


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
    ROS_CALIBRATION.replace("plumb_bob", "fisheye9"): "distortion model 'fisheye9'",
}


@pytest.mark.parametrize(("text", "message"), BAD_CAMERA_FILES.items())
def test_a_wrong_camera_file_says_what_is_wrong(tmp_path, text, message):
    path = tmp_path / "camera.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        load_camera_file(path)
    assert "camera.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_camera_file():
    with pytest.raises(FileNotFoundError, match=r"no camera file at absent\.yaml"):
        load_camera_file("absent.yaml")


def test_transforms_along_and_across_the_tree():
    tree = TransformTree()
    tree.add("base", "camera", moved(x=1))
    tree.add("base", "lidar", moved(z=2, turn_z_deg=90))
    assert np.allclose(tree.lookup("base", "camera", 0), moved(x=1))
    assert np.allclose(tree.lookup("camera", "base", 0), moved(x=-1))
    # The lidar's x axis is the base's y axis, one metre behind and two above the camera.
    point = tree.lookup("camera", "lidar", 0) @ [5, 0, 0, 1]
    assert np.allclose(point, [-1, 5, 2, 1])
    assert tree.lookup("camera", "elsewhere", 0) is None
    assert not tree.is_moving("camera")


def test_moving_frames_are_interpolated_but_not_guessed():
    tree = TransformTree()
    tree.add("map", "base", moved(x=4, turn_z_deg=90), 200_000_000)
    tree.add("map", "base", moved(), 100_000_000)  # out of order, as it may be recorded
    tree.add("base", "camera", moved(z=1))
    assert np.allclose(tree.lookup("map", "base", 150_000_000), moved(x=2, turn_z_deg=45))
    assert np.allclose(tree.lookup("map", "camera", 125_000_000)[:3, 3], [1, 0, 1])
    assert np.allclose(tree.lookup("map", "base", 0), moved())
    assert tree.lookup("map", "base", 2_000_000_000) is None
    # Between two frames that move together nothing has to be known about the motion.
    assert np.allclose(tree.lookup("base", "camera", 2_000_000_000), moved(z=1))
    assert (tree.root_of("camera"), tree.is_moving("camera")) == ("map", True)


def test_interpolation_takes_the_short_way_round():
    half = interpolate(moved(turn_z_deg=170), moved(turn_z_deg=-170), 0.5)
    assert np.allclose(half, moved(turn_z_deg=180))


def cloud(data, *, width, height=1, point_step, row_step, big=False, names="xyz", types=None):
    fields = [
        SimpleNamespace(name=name, offset=4 * i, datatype=(types or {}).get(name, 7))
        for i, name in enumerate(names)
    ]
    return SimpleNamespace(
        fields=fields,
        width=width,
        height=height,
        point_step=point_step,
        row_step=row_step,
        is_bigendian=big,
        data=np.frombuffer(data, np.uint8),
    )


def test_points_of_any_layout():
    plain = struct.pack("<8f", 1, 2, 3, 9, 4, 5, 6, 9)
    expected = [[1, 2, 3], [4, 5, 6]]
    names = "xyzi"
    tight = cloud(plain, width=2, point_step=16, row_step=32, names=names)
    assert read_points(tight).tolist() == expected
    rows = cloud(plain, width=1, height=2, point_step=12, row_step=16)  # padded rows
    assert read_points(rows).tolist() == expected
    big = cloud(struct.pack(">3f", 1, 2, 3), width=1, point_step=12, row_step=12, big=True)
    assert read_points(big).tolist() == expected[:1]
    nan = cloud(
        struct.pack("<6f", 1, 2, 3, 1, float("nan"), 1), width=2, point_step=12, row_step=24
    )
    assert read_points(nan).tolist() == expected[:1]
    assert read_points(cloud(b"", width=0, point_step=12, row_step=0)).shape == (0, 3)


def test_points_that_are_not_there():
    with pytest.raises(ValueError, match=r"fields \['i', 'x'\], expected x, y and z"):
        read_points(cloud(b"", width=1, point_step=8, row_step=8, names="xi"))
    with pytest.raises(ValueError, match=r"unknown datatype \[93\]"):
        read_points(cloud(bytes(12), width=1, point_step=12, row_step=12, types={"y": 93}))
    with pytest.raises(ValueError, match="2 points has 12 of 24 bytes"):
        read_points(cloud(bytes(12), width=2, point_step=12, row_step=24))


def moving_lidar_bag(path):
    """A robot that drives 10 m/s along the map's z; a scan 50 ms before each of two images."""
    with BagWriter(path) as writer:
        edges = [("base", FRAME_ID, moved(z=1)), ("base", "lidar", moved(z=3))]
        writer.write_transforms(START_NS, edges, static=True)
        for tick in range(5):
            stamp = START_NS + tick * 50_000_000
            writer.write_transforms(stamp, [("map", "base", moved(z=tick * 0.5))])
            if tick % 2:
                writer.write_camera_info("/a/camera_info", stamp, FRAME_ID, CAMERA)
                writer.write_image("/a/image", stamp, FRAME_ID, grey(tick))
            else:
                writer.write_points("/points", stamp, "lidar", np.array([[0, 0, 10]], np.float32))


def test_lidar_is_moved_to_where_the_camera_was(tmp_path):
    moving_lidar_bag(tmp_path / "a.mcap")
    drive = RosbagDrive(tmp_path / "a.mcap", "/a/image")
    assert len(drive) == 2
    frame = drive[0]
    assert frame.stamp_ns == START_NS + 50_000_000
    # The scan, 50 ms older, has its point 13 m before the base of then: 12.5 m of now, and the
    # camera is 1 m before the base.
    assert np.allclose(frame.lidar, [[0, 0, 11.5]])
    assert np.allclose(frame.T_world_camera, moved(z=1.5))
    assert RosbagDrive(tmp_path / "a.mcap", "/a/image", lidar_topic="")[0].lidar is None
    with pytest.raises(ValueError, match=r"no point clouds on /p: the bag has \['/points'\]"):
        RosbagDrive(tmp_path / "a.mcap", lidar_topic="/p")


def test_a_drive_is_indexed_in_any_order_and_by_other_processes(tmp_path):
    write_camera_bag(tmp_path / "a.bag", frames=4, greys=(0, 10, 20, 30))
    drive = RosbagDrive(tmp_path / "a.bag")
    assert [drive[i].image[0, 0, 0] for i in (3, 0, 2, 1)] == [30, 0, 20, 10]
    copy = pickle.loads(pickle.dumps(drive))
    assert copy[2].image[0, 0, 0] == 20
    assert copy[2].stamp_ns == START_NS + 2 * STEP_NS
    for index in (-1, 4):
        with pytest.raises(IndexError):
            drive[index]


def test_frames_recorded_at_the_same_time_stay_apart(tmp_path):
    with BagWriter(tmp_path / "a.mcap") as writer:
        for index in range(3):
            message = bag_messages.image(START_NS + index, "a", grey(index))
            writer.write("/image", message, log_ns=START_NS)
    drive = RosbagDrive(tmp_path / "a.mcap", camera=CAMERA)
    assert [frame.image[0, 0, 0] for frame in drive] == [0, 1, 2]
    assert list(drive.stamps_ns) == [START_NS, START_NS + 1, START_NS + 2]


def test_messages_that_are_cut_short_are_left_out_of_a_drive(tmp_path):
    with BagWriter(tmp_path / "a.mcap") as writer:
        for index in range(2):
            writer.write_image("/image", START_NS + index, "a", grey(index))
            writer.write_transforms(START_NS + index, [("map", "a", moved(x=index))])
            writer.write_raw("/image", "sensor_msgs/msg/Image", b"\0\1\0\0", START_NS + index)
            writer.write_raw("/tf", "tf2_msgs/msg/TFMessage", b"\0\1\0\0", START_NS + index)
    drive = RosbagDrive(tmp_path / "a.mcap", camera=CAMERA)
    assert [frame.image[0, 0, 0] for frame in drive] == [0, 1]
    assert drive[1].T_world_camera[0, 3] == 1


def test_a_drive_needs_one_camera_with_intrinsics(tmp_path):
    write_camera_bag(tmp_path / "none.mcap", camera=None)
    with pytest.raises(ValueError, match="no camera_info beside /front/image_raw"):
        RosbagDrive(tmp_path / "none.mcap")
    assert RosbagDrive(tmp_path / "none.mcap", camera=CAMERA)[0].camera == CAMERA
    with BagWriter(tmp_path / "two.mcap") as writer:
        for topic in ("/a/image", "/b/image"):
            writer.write_image(topic, START_NS, "a", grey(1))
    with pytest.raises(ValueError, match=r"2 cameras, name one of /a/image, /b/image"):
        RosbagDrive(tmp_path / "two.mcap", camera=CAMERA)


def test_a_zoom_changes_the_camera_of_later_frames(tmp_path):
    with BagWriter(tmp_path / "a.mcap") as writer:
        for index, fx in enumerate((64.0, 64.0, 90.0)):
            stamp = START_NS + index
            camera = Camera(fx, fx, 31.5, 23.5, 64, 48)
            writer.write_camera_info("/camera_info", stamp, "a", camera)
            writer.write_image("/image", stamp, "a", grey(1))
    drive = RosbagDrive(tmp_path / "a.mcap")
    assert [frame.camera.fx for frame in drive] == [64, 64, 90]


# Real recordings: image size, focal length, frames, stamps apart, points in view of the first.
REAL = {
    "kitti_mcap": ("/camera/image_raw/compressed", (1242, 375), 721.5377, 24, 15000),
    "kitti_ros1.bag": ("/camera/image_raw", (1242, 375), 721.5377, 5, 15000),
    "robotcar_bayer_db3": ("/stereo/centre/image_raw", (1280, 960), 964.829, 6, 0),
    "nusc_keyframe_db3": ("/cam_front/image_raw", (1600, 900), 1266.417, 1, 2000),
    "aruco_images.bag": ("/raspicam_node/image/compressed", (1280, 960), 1014.343, 1, 0),
}


@pytest.mark.parametrize(("name", "expected"), REAL.items())
def test_real_recordings(shared_data, name, expected):
    topic, size, focal, frames, points = expected
    drive = RosbagDrive(shared_data / "bags" / name, topic)
    assert len(drive) == frames
    assert (np.diff(drive.stamps_ns) > 0).all()
    frame = drive[frames - 1]
    assert (frame.camera.width, frame.camera.height) == size
    assert frame.image.shape == (size[1], size[0], 3)
    assert frame.image.std() > 20
    assert frame.camera.fx == pytest.approx(focal, abs=0.01)
    if points:
        ahead = frame.lidar[frame.lidar[:, 2] > 0.5]
        u, v, w = (ahead @ frame.camera.K.T).T
        inside = (u / w > 0) & (u / w < size[0]) & (v / w > 0) & (v / w < size[1])
        assert inside.sum() > points / 2
        assert 5 < np.median(ahead[inside, 2]) < 40


def test_a_real_bag_without_metadata_is_refused_but_its_file_is_read(shared_data, tmp_path):
    source = shared_data / "bags" / "kitti_mcap" / "kitti_mcap.mcap"
    shutil.copy(source, tmp_path / "copy.mcap")
    with BagReader(tmp_path / "copy.mcap") as bag:
        assert bag.message_count == 97
    with pytest.raises(ValueError, match=r"name the file, .*copy.mcap"):
        BagReader(tmp_path)
