"""Bags that we write, read back by rosbags' own reader and, where there is one, by ROS."""

import resource
import struct

import numpy as np
import pytest
from bag_samples import CAMERA, FRAME_ID, NAMES, START_NS, STEP_NS, ShortDrive, grey
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore

from rosam_core.drives import bag_messages
from rosam_core.drives.bag_writer import BagWriter, write_drive
from rosam_core.drives.rosbag import BagReader, RosbagDrive
from rosam_core.types import Camera

STORES = {False: Stores.ROS1_NOETIC, True: Stores.ROS2_JAZZY}


def read_all(path):
    """Returns {topic: [(recorded, message), ...]}, decoded with the definitions in the bag."""
    found = {}
    with AnyReader([path], default_typestore=get_typestore(STORES[path.suffix != ".bag"])) as bag:
        for connection, recorded, raw in bag.messages():
            message = bag.deserialize(raw, connection.msgtype)
            found.setdefault(connection.topic, []).append((recorded, message))
    return found


def stamp_of(message):
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


@pytest.mark.parametrize("storage", NAMES)
def test_every_kind_of_message_comes_back(tmp_path, storage):
    path = tmp_path / NAMES[storage]
    picture = np.random.default_rng(0).integers(0, 255, (5, 7, 3), dtype=np.uint8)
    depth = np.array([[1.5, np.nan], [np.inf, 80.25]], np.float32)
    camera = Camera(500.5, 501.5, 3.25, 2.75, 7, 5, "plumb_bob", (0.1, -0.2, 0.001, 0.002, 0.3))
    points = np.array([[1, 2, 3], [-4.5, 5, 6]], np.float32)
    with BagWriter(path) as writer:
        writer.write_image("/a/image", START_NS, "a", picture)
        writer.write_compressed("/b/image/compressed", START_NS + 1, "b", picture, "png")
        writer.write_camera_info("/a/camera_info", START_NS + 2, "a", camera)
        writer.write_depth("/a/depth/image", START_NS + 3, "a", depth)
        writer.write_points("/lidar", START_NS + 4, "lidar", points)
        writer.write_transforms(START_NS + 5, [("map", "a", np.diag([1.0, -1, -1, 1]))])
    assert [child.name for child in tmp_path.iterdir()] == [path.name]
    found = read_all(path)
    recorded, image = found["/a/image"][0]
    assert recorded == stamp_of(image) == START_NS
    assert (image.header.frame_id, image.encoding, image.step) == ("a", "rgb8", 21)
    assert np.array_equal(np.asarray(image.data).reshape(5, 7, 3), picture)
    compressed = found["/b/image/compressed"][0][1]
    assert compressed.format == "png"
    assert bytes(compressed.data[:4]) == b"\x89PNG"
    info = found["/a/camera_info"][0][1]
    # ROS 1 writes these fields in capitals.
    k, d, p = (getattr(info, n, getattr(info, n.upper(), None)) for n in "kdp")
    assert (info.width, info.height, info.distortion_model) == (7, 5, "plumb_bob")
    assert list(k) == [500.5, 0, 3.25, 0, 501.5, 2.75, 0, 0, 1]
    assert list(p) == [500.5, 0, 3.25, 0, 0, 501.5, 2.75, 0, 0, 0, 1, 0]
    assert tuple(d) == camera.distortion
    out = found["/a/depth/image"][0][1]
    assert (out.encoding, out.height, out.width, out.step) == ("32FC1", 2, 2, 8)
    assert np.array_equal(np.asarray(out.data).view("<f4").reshape(2, 2), depth, equal_nan=True)
    cloud = found["/lidar"][0][1]
    assert np.array_equal(np.asarray(cloud.data).view("<f4").reshape(2, 3), points)
    edge = found["/tf"][0][1].transforms[0]
    assert (edge.header.frame_id, edge.child_frame_id) == ("map", "a")
    assert (edge.transform.rotation.x, edge.transform.rotation.w) == (1.0, 0.0)


def test_a_folder_is_a_whole_rosbag2_recording(tmp_path):
    with BagWriter(tmp_path / "drive") as writer:
        writer.write_image("/image", START_NS, "a", grey(1))
    names = sorted(child.name for child in (tmp_path / "drive").iterdir())
    assert names == ["drive.mcap", "metadata.yaml"]
    assert len(read_all(tmp_path / "drive")["/image"]) == 1


def test_mcap_says_what_foxglove_and_ros2_bag_look_for(tmp_path):
    path = tmp_path / "out.mcap"
    with BagWriter(path) as writer:
        writer.write_image("/image", START_NS, "a", grey(1))
        writer.write_transforms(START_NS, [("a", "b", np.eye(4))], static=True)
    data = path.read_bytes()
    assert data[:8] == data[-8:] == b"\x89MCAP0\r\n"
    assert data[17:25] == struct.pack("<I", 4) + b"ros2"
    # The schema of an image holds its own definition and, after a separator, every nested one.
    assert b"sensor_msgs/msg/Image" in data
    assert b"ros2msg" in data
    assert b"MSG: std_msgs/Header" in data
    assert b"serialized_metadata" in data
    assert b"out.mcap" in data  # the file that the metadata speaks of is this one
    with AnyReader([path]) as bag:
        static = next(c for c in bag.connections if c.topic == "/tf_static")
    assert static.ext.offered_qos_profiles[0].durability.name == "TRANSIENT_LOCAL"


def test_compressed_chunks_are_smaller_and_read_the_same(tmp_path):
    for name, compress in (("plain.mcap", False), ("small.mcap", True)):
        with BagWriter(tmp_path / name, compress=compress) as writer:
            writer.write_depth("/depth", START_NS, "a", np.ones((100, 100), np.float32))
    assert (tmp_path / "small.mcap").stat().st_size < 8000 < 40000
    assert (tmp_path / "plain.mcap").stat().st_size > 40000
    small, plain = (read_all(tmp_path / f"{n}.mcap")["/depth"][0][1] for n in ("small", "plain"))
    assert np.array_equal(small.data, plain.data)


@pytest.mark.parametrize("name", ["out.mcap", "out", "out.bag", "out.db3"])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_interruption_leaves_nothing_behind(tmp_path, name, error):
    def interrupted():
        with BagWriter(tmp_path / name) as writer:
            writer.write_image("/image", START_NS, "a", grey(1))
            raise error

    with pytest.raises(error):
        interrupted()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["out.mcap", "out", "out.bag"])
def test_what_is_there_is_replaced_only_when_asked_and_when_done(tmp_path, name):
    path = tmp_path / name

    def write(value, fail=False, **options):
        with BagWriter(path, **options) as writer:
            writer.write_image("/image", START_NS, "a", grey(value))
            if fail:
                raise RuntimeError

    def first_byte():
        return read_all(path)["/image"][0][1].data[0]

    write(1)
    with pytest.raises(FileExistsError, match="exists already: --force replaces it"):
        write(2)
    with pytest.raises(RuntimeError):
        write(2, fail=True, overwrite=True)
    assert first_byte() == 1
    write(2, overwrite=True)
    assert first_byte() == 2
    assert [child.name for child in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["out.mcap", "out"])
def test_a_link_to_a_bag_is_kept_and_what_it_names_is_replaced(tmp_path, name):
    (tmp_path / "disk").mkdir()
    for value in (1, 2):
        with BagWriter(tmp_path / name, overwrite=value == 2) as writer:
            writer.write_image("/image", START_NS, "a", grey(value))
        if value == 1:
            (tmp_path / name).rename(tmp_path / "disk" / name)
            (tmp_path / name).symlink_to(f"disk/{name}")
    assert (tmp_path / name).is_symlink()
    assert read_all(tmp_path / "disk" / name)["/image"][0][1].data[0] == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["disk", name])


def test_a_folder_that_is_no_bag_is_never_replaced(tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "notes.txt").write_text("keep")
    with pytest.raises(ValueError, match="is a folder but no bag"):
        BagWriter(tmp_path / "precious", overwrite=True)
    assert (tmp_path / "precious" / "notes.txt").read_text() == "keep"


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("a.bag", {"storage": "mcap"}, "a.bag is not the name of a mcap bag"),
        ("a", {"storage": "ros1"}, "a is not the name of a ros1 bag"),
        ("a.mcap", {"storage": "sqlite3"}, "a.mcap is not the name of a sqlite3 bag"),
        ("a.mcap", {"storage": "hdf5"}, "unknown bag storage 'hdf5'"),
        ("a.bag", {"compress": True}, "only MCAP is compressed"),
    ],
)
def test_contradictions_are_refused(tmp_path, name, options, message):
    with pytest.raises(ValueError, match=message):
        BagWriter(tmp_path / name, **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["run#1/x.db3", "a?.db3", "50%25", "run#1"])
def test_a_path_that_sqlite3_takes_for_another_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match=r"the path of a sqlite3 bag must not hold '[#?%]"):
        BagWriter(tmp_path / name, "sqlite3")
    assert list(tmp_path.iterdir()) == []
    with BagWriter(tmp_path / "whole", "sqlite3") as writer:
        writer.write_image("/image", START_NS, "a", grey(1))
    moved = tmp_path / name.replace(".db3", "")
    moved.parent.mkdir(exist_ok=True)
    (tmp_path / "whole").rename(moved)
    for path in (moved, moved / "whole.db3"):
        with pytest.raises(ValueError, match="rename that file or folder"):
            BagReader(path)


@pytest.mark.parametrize("storage", NAMES)
def test_a_full_disk_is_an_error_of_the_disk_and_leaves_nothing(tmp_path, storage):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))  # fails as a full disk does
    try:
        with pytest.raises(OSError, match=r"File too large|drive\.db3 could not be written: "):
            write_depths(tmp_path / NAMES[storage], 40)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def write_depths(path, count):
    depth = np.random.default_rng(0).random((100, 100)).astype(np.float32)
    with BagWriter(path) as writer:
        for index in range(count):
            writer.write_depth("/depth", START_NS + index, "a", depth)


def test_an_empty_bag_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="nothing was written"), BagWriter(tmp_path / "a.mcap"):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["d.mcap", "d.bag", "d"])
@pytest.mark.parametrize("compressed", ["png", None])
def test_a_written_drive_is_the_drive_again(tmp_path, name, compressed):
    drive = ShortDrive()
    assert write_drive(drive, tmp_path / name, compressed=compressed, with_truth=True) == 3
    again = RosbagDrive(tmp_path / name)
    assert len(again) == 3
    for expected, frame in zip(drive, again, strict=True):
        assert frame.stamp_ns == expected.stamp_ns
        assert frame.camera == CAMERA
        assert np.array_equal(frame.image, expected.image)
        assert np.array_equal(frame.lidar, expected.lidar)
        assert np.allclose(frame.T_world_camera, expected.T_world_camera)
    truth = read_all(tmp_path / name)["/camera/ground_truth/image"][2][1]
    assert np.asarray(truth.data).view("<f4").max() == 7


def test_jpeg_is_close_to_the_picture(tmp_path):
    write_drive(ShortDrive(), tmp_path / "d.mcap")
    message = read_all(tmp_path / "d.mcap")["/camera/image_raw/compressed"][0][1]
    assert message.format == "jpeg"
    assert bytes(message.data[:2]) == b"\xff\xd8"


@pytest.mark.parametrize(
    "axis", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 2, 3), (-1, 0.2, 0.1), (0, 0, -1)]
)
@pytest.mark.parametrize("angle", [0, 0.3, np.pi / 2, 3.0, np.pi])
def test_quaternion_turns_like_the_matrix(axis, angle):
    unit = np.array(axis) / np.linalg.norm(axis)
    cross = np.array([[0, -unit[2], unit[1]], [unit[2], 0, -unit[0]], [-unit[1], unit[0], 0]])
    rotation = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    x, y, z, w = bag_messages.quaternion_of(rotation)
    expected = np.array([*(np.sin(angle / 2) * unit), np.cos(angle / 2)])
    assert abs(np.dot([x, y, z, w], expected)) == pytest.approx(1, abs=1e-9)


@pytest.mark.ros
def test_ros_itself_decodes_our_messages():
    from rclpy.serialization import deserialize_message
    from sensor_msgs.msg import CameraInfo, Image, PointCloud2

    depth = np.arange(6, dtype=np.float32).reshape(2, 3)
    raw = bag_messages.serialize(bag_messages.image(START_NS, FRAME_ID, depth))
    image = deserialize_message(raw, Image)
    assert stamp_of(image) == START_NS
    assert image.header.frame_id == FRAME_ID
    assert np.array_equal(np.frombuffer(image.data, np.float32).reshape(2, 3), depth)
    raw = bag_messages.serialize(bag_messages.camera_info(START_NS + STEP_NS, "a", CAMERA))
    info = deserialize_message(raw, CameraInfo)
    assert np.array_equal(info.k.reshape(3, 3), CAMERA.K)
    points = np.array([[1, 2, 3]], np.float32)
    raw = bag_messages.serialize(bag_messages.point_cloud(START_NS, "a", points))
    cloud = deserialize_message(raw, PointCloud2)
    assert [(field.name, field.offset) for field in cloud.fields] == [("x", 0), ("y", 4), ("z", 8)]
