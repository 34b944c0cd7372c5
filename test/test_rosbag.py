"""A bag as a drive: frames in any order, lidar and poses in the camera's frame."""

import pickle
import struct

import numpy as np
import pytest
from bag_samples import CAMERA, FRAME_ID, START_NS, STEP_NS, grey, moved, write_camera_bag
from rosbags.rosbag2.reader import zstd

from rosam_core.drives import bag_messages, rosbag
from rosam_core.drives.bag_writer import BagWriter
from rosam_core.drives.opening import DriveOptions, open_drives
from rosam_core.drives.rosbag import RosbagDrive
from rosam_core.types import Camera


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


def test_a_scan_is_moved_by_odometry_or_is_none(tmp_path):
    """10 m/s along odom's z, a scan 40 ms after each image, localisation at 1 Hz.

    Odometry is lost from 1.0 to 1.8 s.
    """
    with BagWriter(tmp_path / "a.mcap") as writer:
        edges = [("base", FRAME_ID, moved()), ("base", "lidar", moved(y=1))]
        writer.write_transforms(START_NS, edges, static=True)
        for ms in range(0, 3001, 20):
            stamp, z = START_NS + ms * 1_000_000, ms / 100
            if not 1000 < ms < 1800:
                writer.write_transforms(stamp, [("odom", "base", moved(z=z))])
            if ms % 1000 == 0:
                writer.write_transforms(stamp, [("map", "odom", moved(x=ms / 1000))])
            if ms % 200 == 100:
                writer.write_camera_info("/a/camera_info", stamp, FRAME_ID, CAMERA)
                writer.write_image("/a/image", stamp, FRAME_ID, grey(1))
            if ms % 200 == 140:
                points = np.array([[0, -1, 100 - z]], np.float32)  # a wall
                writer.write_points("/points", stamp, "lidar", points)
    drive = RosbagDrive(tmp_path / "a.mcap")
    frames = list(drive)
    lost = [5, 6, 7, 8]
    assert [i for i, frame in enumerate(frames) if frame.T_world_camera is None] == lost
    assert [i for i, frame in enumerate(frames) if frame.lidar is None] == lost
    assert [i for i in range(len(drive)) if not drive.glance(i).has_lidar] == lost
    for frame in frames:
        if frame.lidar is not None:
            z = (frame.stamp_ns - START_NS) / 1e8
            np.testing.assert_allclose(frame.T_world_camera, moved(z=z), atol=1e-9)
            np.testing.assert_allclose(frame.lidar, [[0, 0, 100 - z]], atol=1e-4)


def without_chunks(path):
    """Rewrites an MCAP as the preset fastwrite has it: its records one after the other."""
    data, out, at = path.read_bytes(), b"\x89MCAP0\r\n", 8
    while data[at] != 0x0F:  # the end of the data
        (size,) = struct.unpack_from("<Q", data, at + 1)
        body = data[at + 9 : at + 9 + size]
        if data[at] == 0x01:
            out += data[at : at + 9] + body
        elif data[at] == 0x06:
            out += body[40:]  # after times, size, CRC, no compression and size again
        at += 9 + size
    footer = b"\x02" + struct.pack("<QQQI", 20, 0, 0, 0)
    path.write_bytes(out + b"\x0f" + struct.pack("<QI", 4, 0) + footer + data[:8])


def test_a_large_bag_without_an_index_is_told(tmp_path, monkeypatch, caplog):
    path = tmp_path / "a.mcap"
    write_camera_bag(path)
    monkeypatch.setattr(rosbag, "MAX_UNINDEXED_BYTES", 10_000)
    RosbagDrive(path)
    assert not caplog.messages
    without_chunks(path)
    assert RosbagDrive(path)[2].stamp_ns == START_NS + 2 * STEP_NS
    (told,) = caplog.messages
    assert f"every frame reads all of {path} (0.0 GB), which has no index" in told


def test_a_bag_that_every_process_unpacks_is_told(tmp_path, caplog):
    path = tmp_path / "bag"
    write_camera_bag(path, storage="sqlite3")
    packed = zstd.compress((path / "bag.db3").read_bytes())
    (path / "bag.db3.zstd").write_bytes(packed)
    (path / "bag.db3").unlink()
    meta = (path / "metadata.yaml").read_text().replace("bag.db3", "bag.db3.zstd")
    for name, value in (("format", "zstd"), ("mode", "FILE")):
        meta = meta.replace(f"compression_{name}: ''", f"compression_{name}: {value}")
    (path / "metadata.yaml").write_text(meta)
    assert RosbagDrive(path)[1].image.shape == (48, 64, 3)
    (told,) = caplog.messages
    assert f"every process that reads {path} unpacks all of it below" in told


def test_cameras_of_a_bag_share_its_transforms(tmp_path):
    with BagWriter(tmp_path / "a.mcap") as writer:
        for name in ("left", "right"):
            writer.write_image(f"/{name}/image", START_NS, name, grey(1))
            writer.write_camera_info(f"/{name}/camera_info", START_NS, name, CAMERA)
        for index, edge in enumerate([("map", "left", moved()), ("map", "left", moved(x=1))]):
            writer.write_transforms(START_NS + index * STEP_NS, [edge])
    left, right = open_drives(tmp_path / "a.mcap")
    assert left.transforms is right.transforms
    assert (left.world_frame, right.world_frame) == ("map", None)
    assert (left[0].T_world_camera is None, right[0].T_world_camera is None) == (False, True)


def test_of_several_lidars_the_first_is_taken_with_a_warning(tmp_path, caplog):
    with BagWriter(tmp_path / "a.mcap") as writer:
        writer.write_image("/a/image", START_NS, FRAME_ID, grey(1))
        writer.write_camera_info("/a/camera_info", START_NS, FRAME_ID, CAMERA)
        for depth, topic in ((5, "/depth_camera"), (10, "/velodyne")):
            writer.write_points(topic, START_NS, FRAME_ID, np.array([[0, 0, depth]], np.float32))
    path = str(tmp_path / "a.mcap")
    (drive,) = open_drives(path)
    assert drive[0].lidar.tolist() == [[0, 0, 5]]
    assert "the lidar is /depth_camera; --lidar TOPIC takes another of /velodyne" in caplog.text
    caplog.clear()
    (drive,) = open_drives(path, options=DriveOptions(lidar="/velodyne"))
    assert drive[0].lidar.tolist() == [[0, 0, 10]]
    assert "--lidar" not in caplog.text


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


def test_conditions_come_from_the_time_ranges_beside_the_bag(tmp_path):
    write_camera_bag(tmp_path / "a.bag", frames=4)
    step = STEP_NS / 1e9
    (tmp_path / "a.bag.conditions.yaml").write_text(
        f"- {{from: {2 * step}, condition: night}}\n"
        f"- {{from: 0, to: {1.5 * step}, condition: day-rain}}\n"
    )
    conditions = [frame.condition for frame in RosbagDrive(tmp_path / "a.bag")]
    assert conditions == ["day-rain", "day-rain", "night", "night"]
    stated = RosbagDrive(tmp_path / "a.bag", condition="fog")
    assert {frame.condition for frame in stated} == {"fog"}
    assert stated.scene(0) == "a"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must be a list"),
        ("from: 0", "must be a list"),
        ("[{from: 0]", "is not YAML"),
        ("- 3", "3 is not {from: s"),
        ("- {from: 0, condition: night, until: 3}", "is not {from: s"),
        ("- {from: x, condition: night}", "needs times in seconds"),
        ("- {from: 2, to: 2, condition: night}", "needs 0 <= from < to"),
        ("- {from: 0, condition: dusk}", "condition 'dusk' is none of"),
        (
            "- {from: 0, condition: fog}\n- {from: 3, condition: night}",
            "fog until inf s overlaps night from 3 s",
        ),
    ],
)
def test_wrong_time_ranges_are_refused(tmp_path, text, message):
    write_camera_bag(tmp_path / "a.bag", frames=1)
    (tmp_path / "a.bag.conditions.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        RosbagDrive(tmp_path / "a.bag")
