"""A lidar that turns while the robot drives: every point is moved from its own time."""

import logging

import numpy as np
import pytest
from bag_samples import CAMERA, FRAME_ID, START_NS, grey, moved

from rosam_core.drives import bag_messages
from rosam_core.drives.bag_messages import message_class, read_points, read_timed_points
from rosam_core.drives.bag_writer import BagWriter
from rosam_core.drives.rosbag import RosbagDrive

FIELDS = {"u4": 6, "f4": 7, "f8": 8}


def timed_cloud(stamp_ns, points, name, kind, times):
    """A PointCloud2 with one more field, after a gap, as drivers pad them."""
    dtype = np.dtype(
        {
            "names": ["x", "y", "z", "when"],
            "formats": ["<f4", "<f4", "<f4", "<" + kind],
            "offsets": [0, 4, 8, 16],
            "itemsize": 24,
        }
    )
    table = np.zeros(len(points), dtype)
    table["x"], table["y"], table["z"] = np.transpose(points)
    table["when"] = times
    field = message_class("sensor_msgs/msg/PointField")
    return message_class("sensor_msgs/msg/PointCloud2")(
        header=bag_messages.header(stamp_ns, "lidar"),
        height=1,
        width=len(points),
        fields=[
            *(field(name=n, offset=4 * i, datatype=7, count=1) for i, n in enumerate("xyz")),
            field(name=name, offset=16, datatype=FIELDS[kind], count=1),
        ],
        is_bigendian=False,
        point_step=24,
        row_step=24 * len(points),
        data=np.frombuffer(table.tobytes(), np.uint8),
        is_dense=True,
    )


@pytest.mark.parametrize(
    ("name", "kind", "times"),
    [
        ("t", "u4", [0, 50_000_000]),  # Ouster
        ("time", "f4", [0, 0.05]),  # Velodyne
        ("offset_time", "u4", [0, 50_000_000]),  # Livox
        ("timestamp", "f8", [1_700_000_000.0, 1_700_000_000.05]),  # Hesai, RoboSense
    ],
)
def test_times_as_lidar_drivers_write_them(name, kind, times):
    cloud = timed_cloud(1_700_000_000 * 10**9, [[1, 2, 3], [4, 5, 6]], name, kind, times)
    points, seconds = read_timed_points(cloud)
    assert points.tolist() == [[1, 2, 3], [4, 5, 6]]
    np.testing.assert_allclose(seconds, [0, 0.05], atol=1e-6)
    assert read_points(cloud).tolist() == points.tolist()


@pytest.mark.parametrize(
    ("name", "kind", "times"),
    [
        ("time", "f4", [0, 5.0]),  # no sweep lasts that long
        ("time", "f4", [0, np.nan]),
        ("timestamp", "f8", [12.0, 12.1]),  # since the start of the sensor
        ("intensity", "f4", [0, 0.05]),
    ],
)
def test_what_is_no_time_of_a_sweep_is_not_used(name, kind, times):
    cloud = timed_cloud(1_700_000_000 * 10**9, [[1, 2, 3], [4, 5, 6]], name, kind, times)
    points, seconds = read_timed_points(cloud)
    assert len(points) == 2
    assert seconds is None


def test_a_point_that_is_no_number_takes_its_time_with_it():
    cloud = timed_cloud(0, [[np.nan, 2, 3], [4, 5, 6]], "t", "u4", [10**7, 2 * 10**7])
    points, seconds = read_timed_points(cloud)
    assert points.tolist() == [[4, 5, 6]]
    assert seconds.tolist() == [0.02]


def write_bag(path, times):
    """10 m/s along the map's z; the scan starts with the image and lasts 100 ms."""
    with BagWriter(path) as writer:
        edges = [("base", FRAME_ID, moved(z=1)), ("base", "lidar", moved(y=-0.5, z=1))]
        writer.write_transforms(START_NS, edges, static=True)
        writer.write_camera_info("/a/camera_info", START_NS, FRAME_ID, CAMERA)
        for tick in range(5):
            stamp = START_NS + tick * 50_000_000
            writer.write_transforms(stamp, [("map", "base", moved(z=tick * 0.5))])
            if tick == 0:
                points = [[0, 0, 10], [0, 0, 10], [0, 0, 10]]
                writer.write("/points", timed_cloud(stamp, points, "t", "u4", times), stamp)
                writer.write_image("/a/image", stamp, FRAME_ID, grey(1))


def test_points_are_moved_from_their_own_time(tmp_path):
    write_bag(tmp_path / "a.mcap", [0, 50_000_000, 100_000_000])
    frame = RosbagDrive(tmp_path / "a.mcap", "/a/image")[0]
    np.testing.assert_allclose(
        frame.lidar, [[0, -0.5, 10], [0, -0.5, 10.5], [0, -0.5, 11]], atol=1e-5
    )
    np.testing.assert_allclose(frame.lidar_origin, [0, -0.5, 0.5], atol=1e-9)


def test_points_of_one_time_need_no_motion(tmp_path, caplog):
    write_bag(tmp_path / "a.mcap", [0, 0, 0])
    with caplog.at_level(logging.WARNING):
        frame = RosbagDrive(tmp_path / "a.mcap", "/a/image")[0]
    np.testing.assert_allclose(frame.lidar, [[0, -0.5, 10]] * 3, atol=1e-6)
    np.testing.assert_allclose(frame.lidar_origin, [0, -0.5, 0], atol=1e-9)


def test_a_sweep_whose_end_is_not_known_is_none(tmp_path):
    write_bag(tmp_path / "a.mcap", [0, 50_000_000, 400_000_000])  # the last pose is at 200 ms
    frame = RosbagDrive(tmp_path / "a.mcap", "/a/image")[0]
    assert frame.lidar is None
    assert frame.lidar_origin is None
