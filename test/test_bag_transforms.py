"""Transforms between frames, and points of any layout, worked out by hand."""

import itertools
import struct
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
from bag_samples import moved

from rosam_core.drives.bag_index import index_bag
from rosam_core.drives.bag_messages import read_points
from rosam_core.drives.bag_reader import BagReader
from rosam_core.drives.bag_transforms import TransformTree, interpolate
from rosam_core.drives.bag_writer import BagWriter


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
    assert np.allclose(tree.lookup("map", "base", 100_000_000), moved())
    assert np.allclose(tree.lookup("map", "base", 60_000_000), moved())  # just before
    assert tree.lookup("map", "base", 0) is None
    assert np.allclose(tree.lookup("map", "base", 240_000_000), moved(x=4, turn_z_deg=90))
    assert tree.lookup("map", "base", 300_000_000) is None
    # Between two frames that move together nothing has to be known about the motion.
    assert np.allclose(tree.lookup("base", "camera", 2_000_000_000), moved(z=1))
    assert (tree.world_of("camera"), tree.is_moving("camera")) == ("map", True)


def test_a_gap_between_poses_is_not_bridged():
    tree = TransformTree()
    for stamp, x in ((0, 0), (500_000_000, 2), (1_200_000_000, 9), (1_300_000_000, 10)):
        tree.add("map", "base", moved(x=x), stamp)
    assert np.allclose(tree.lookup("map", "base", 250_000_000), moved(x=1))
    assert tree.lookup("map", "base", 600_000_000) is None
    assert tree.lookup("map", "base", 1_199_000_000) is None
    assert np.allclose(tree.lookup("map", "base", 1_200_000_000), moved(x=9))
    assert np.allclose(tree.lookup("map", "base", 1_250_000_000), moved(x=9.5))


MS = 1_000_000


def robot(odom="odom", localised_ms=100, jump=0.0, speed=1.0):
    """10 s of a robot whose odometry comes every 20 ms; at 5 s it is corrected by a jump."""
    tree = TransformTree()
    tree.add("base", "camera", moved())
    tree.add("base", "lidar", moved(z=1))
    for ms in range(0, 10_001, 20):
        tree.add(odom, "base", moved(x=speed * ms / 1000), ms * MS)
    for ms in range(0, 10_001, localised_ms):
        tree.add("map", odom, moved(x=jump * (ms >= 5000), z=1e-4 * ms), ms * MS)
    tree.settle()
    return tree


def steps(tree, stamps_ms):
    poses = [tree.lookup(tree.world_of("camera"), "camera", ms * MS) for ms in stamps_ms]
    return [float(b[0, 3] - a[0, 3]) for a, b in itertools.pairwise(poses)]


@pytest.mark.parametrize("odom", ["odom", "robot/odom", "vio_odom"])
def test_a_correction_of_the_localisation_is_no_motion(odom):
    tree = robot(odom, jump=0.1)
    assert tree.world_of("camera") == odom
    assert steps(tree, range(4750, 5251, 100)) == pytest.approx([0.1] * 5)
    # A scan from before the correction and an image from after it: 40 mm of way are between.
    T = tree.lookup_moved("camera", 4990 * MS, "lidar", 4950 * MS)
    assert np.allclose(T, moved(x=-0.04, z=1))


def test_slow_localisation_leaves_poses_known():
    tree = robot("local", localised_ms=1000)
    assert tree.world_of("camera") == "local"
    assert all(tree.lookup("local", "camera", ms * MS) is not None for ms in range(300, 9700, 7))
    # What comes often enough is used, and the scan is moved below it.
    tree = robot("local", jump=0.1)
    assert tree.world_of("camera") == "map"
    T = tree.lookup_moved("camera", 4990 * MS, "lidar", 4950 * MS)
    assert np.allclose(T, moved(x=-0.04, z=1))


def test_the_only_motion_has_gaps_and_is_the_pose_all_the_same():
    tree = TransformTree()
    tree.add("base", "camera", moved())
    for ms, x in ((0, 0), (500, 2), (1200, 9)):
        tree.add("odom", "base", moved(x=x), ms * MS)
    assert tree.world_of("camera") == "odom"
    assert tree.lookup_moved("camera", 250 * MS, "base", 300 * MS)[0, 3] == pytest.approx(0.2)


def test_a_joint_below_slow_poses_is_no_world():
    tree = TransformTree()
    for ms in range(0, 10_001, 20):
        tree.add("base", "head", moved(turn_z_deg=ms / 100), ms * MS)
    tree.add("head", "camera", moved(y=0.2))
    tree.add("head", "lidar", moved())
    for ms in range(0, 10_001, 1000):
        tree.add("map", "base", moved(x=ms / 1000), ms * MS)
    assert tree.world_of("camera") == "map"
    assert tree.lookup("map", "camera", 500 * MS) is None
    assert tree.lookup_moved("camera", 500 * MS, "lidar", 540 * MS) is None


def test_odometry_that_stands_still_below_slam_is_no_world():
    tree = TransformTree()
    for ms in range(0, 10_001, 100):
        tree.add("odom", "base", moved(), ms * MS)
        tree.add("base", "camera", moved(turn_z_deg=ms / 100), ms * MS)
        tree.add("map", "odom", moved(x=ms / 1000), ms * MS)
    tree.settle()
    assert tree.world_of("camera") == "map"
    assert steps(tree, (1000, 1100)) == pytest.approx([0.1])


def test_what_moves_is_not_moved_as_if_it_stood_still():
    tree = robot()
    assert np.allclose(
        tree.lookup_moved("camera", 900 * MS, "lidar", 950 * MS), moved(x=0.05, z=1)
    )
    assert tree.lookup_moved("camera", 10_010 * MS, "lidar", 10_100 * MS) is None
    assert np.allclose(tree.lookup_moved("camera", 10_100 * MS, "lidar", 10_100 * MS), moved(z=1))
    assert tree.lookup_moved("camera", 0, "elsewhere", 10 * MS) is None
    # Without any odometry, or with a pose that was told once, nothing is known of motion.
    still = TransformTree()
    still.add("base", "camera", moved())
    still.add("base", "lidar", moved(z=1))
    assert np.allclose(still.lookup_moved("camera", 0, "lidar", 99 * MS), moved(z=1))
    still.add("map", "base", moved(x=7), 0)
    assert np.allclose(still.lookup_moved("camera", 0, "lidar", 99 * MS), moved(z=1))


def test_mountings_that_are_repeated_on_tf_are_no_poses(tmp_path):
    path = tmp_path / "a.mcap"
    with BagWriter(path) as writer:
        for index in range(4):
            edges = [("base", "camera", moved(x=1)), ("odom", "base", moved())]
            writer.write_transforms(index * 1_000_000_000, edges[: 1 if index else 2])
        for index in range(3):
            writer.write_transforms(index * 10_000_000, [("rig", "lidar", moved(z=2))])
    with BagReader(path) as bag:
        tree = index_bag(bag).transforms
    assert not tree.is_moving("lidar")
    assert np.allclose(tree.lookup("rig", "lidar", 9_000_000_000), moved(z=2))
    # What moves still does, and so does what was told but once.
    assert tree.is_moving("camera")
    assert np.allclose(tree.lookup("base", "camera", 7_000_000_000), moved(x=1))
    assert tree.lookup("odom", "camera", 7_000_000_000) is None


def test_a_transform_of_many_takes_little_memory():
    tree = TransformTree()
    tracemalloc.start()
    for stamp in range(10_000):
        tree.add("map", "base", moved(x=stamp), stamp)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size < 1_500_000
    assert np.allclose(tree.lookup("map", "base", 7_000), moved(x=7_000))


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
