"""Damaged RobotCar traversals: named, and skipped or refused, never silently wrong."""

import time

import cv2
import numpy as np
import pytest
from robotcar_samples import (
    START,
    straight,
    use_small_images,
    write_shared,
    write_stamps,
    write_traversal,
    write_vo,
)

from rosam_core.drives.robotcar import RobotCarDrive


@pytest.fixture
def traversal(tmp_path, monkeypatch):
    """Five images of 64x48, 10 m/s straight ahead."""
    use_small_images(monkeypatch)
    write_shared(tmp_path)
    return write_traversal(tmp_path)


def cut(path, size):
    path.write_bytes(path.read_bytes()[:size])


def flip_byte(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


LUT = "models/stereo_wide_left_distortion_lut.bin"


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (lambda r, t: (t / "stereo.timestamps").unlink(), FileNotFoundError, "stereo.timestamps"),
        (lambda r, t: cut(t / "stereo.timestamps", 0), ValueError, "no time stamp"),
        (lambda r, t: (t / "stereo.timestamps").write_text("1 1\nx 1\n"), ValueError, "line 2"),
        (lambda r, t: write_stamps(t / "stereo.timestamps", [7]), ValueError, "two traversals"),
        (lambda r, t: (r / LUT).unlink(), FileNotFoundError, f"{LUT}: .*get models/stereo_wide"),
        (lambda r, t: cut(r / LUT, 49144), ValueError, "49144 bytes, expected 49152"),
        (lambda r, t: (r / LUT).write_bytes(b"version https://"), ValueError, "Git LFS"),
        (lambda r, t: np.full(6144, 1e9).tofile(r / LUT), ValueError, "points outside"),
        (lambda r, t: np.full(6144, np.nan).tofile(r / LUT), ValueError, "100 % of it points"),
        (
            lambda r, t: cut(r / "models/stereo_wide_left.txt", 40),
            ValueError,
            "stereo_wide_left.txt is not a camera model: expected 20",
        ),
        (lambda r, t: (r / "models").rename(r / "m"), FileNotFoundError, "no models folder"),
        (
            lambda r, t: (r / "extrinsics/lms_front.txt").unlink(),
            FileNotFoundError,
            "extrinsics/lms_front.txt",
        ),
        (lambda r, t: cut(t / "vo/vo.csv", 0), ValueError, "vo.csv .*it is empty"),
        (lambda r, t: cut(t / "vo/vo.csv", 60), ValueError, "vo.csv has no pose"),
        (lambda r, t: (t / "vo/vo.csv").write_text("a,b\n1,2\n"), ValueError, "no column source"),
        (lambda r, t: cut(t / "vo/vo.csv", 150), ValueError, "vo.csv, line 3"),
        (
            lambda r, t: (t / "lms_front.timestamps").unlink(),
            FileNotFoundError,
            "lms_front.timestamps",
        ),
        (lambda r, t: cut(t / "lms_front.timestamps", 0), ValueError, "no time stamp"),
    ],
)
def test_what_cannot_be_opened_is_named(traversal, damage, error, message):
    damage(traversal.parent, traversal)
    with pytest.raises(error, match=message):
        RobotCarDrive(traversal)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: cut(path, path.stat().st_size // 2), "truncated"),
        (lambda path: cut(path, 0), "empty"),
        (lambda path: path.write_bytes(b"x" * 500), "expected a JPEG or PNG"),
        (lambda path: cv2.imwrite(str(path), np.zeros((24, 32), np.uint8)), "is 32x24"),
        (lambda path: flip_byte(path), "damaged"),
        (lambda path: path.unlink(), "is the copy of the drive complete"),
    ],
)
@pytest.mark.parametrize("index", [0, 2])
def test_a_damaged_image_is_named_and_the_others_read(traversal, index, damage, message):
    drive = RobotCarDrive(traversal)
    path = traversal / "stereo" / "left" / f"{START + 62500 * index}.png"
    damage(path)
    with pytest.raises((ValueError, FileNotFoundError), match=f"{path.name}.*{message}"):
        drive[index]
    assert (drive[1].image == 30).all()


def test_a_damaged_first_image_does_not_close_the_drive(traversal):
    cut(traversal / "stereo" / "left" / f"{START}.png", 10)
    assert (RobotCarDrive(traversal)[1].image == 30).all()


@pytest.mark.parametrize("size", [0, 20])
def test_a_damaged_scan_is_named_and_left_out(traversal, caplog, size):
    name = f"{START + 90000}.bin"
    cut(traversal / "lms_front" / name, size)
    drive = RobotCarDrive(traversal)
    assert len(drive[2].lidar) == len(drive[3].lidar) == 11
    assert caplog.text.count(f"{name} holds {size} bytes") == 1


def test_missing_scans_are_counted(traversal, caplog):
    for offset in (30000, 70000):
        (traversal / "lms_front" / f"{START + offset}.bin").unlink()
    assert len(RobotCarDrive(traversal)[2].lidar) == 10
    assert f"2 of 12 scans have no file, first {START + 30000}" in caplog.text


def test_stamps_out_of_order_are_sorted_and_named(traversal, caplog):
    at = [START + 62500 * i for i in (0, 2, 1, 1, 3, 4)]
    write_stamps(traversal / "stereo.timestamps", at)
    drive = RobotCarDrive(traversal)
    assert np.diff(drive.stamps).tolist() == [62500] * 4
    assert "2 times are not later than the one before, first in line 3" in caplog.text
    assert "1 repeated" in caplog.text


def test_images_without_a_stamp_are_counted(traversal, caplog):
    write_stamps(traversal / "stereo.timestamps", [START + 62500 * i for i in range(4)])
    assert len(RobotCarDrive(traversal)) == 4
    assert "1 images without a time stamp" in caplog.text


def test_a_broken_chain_of_odometry_leaves_the_shorter_part_without_pose(traversal, caplog):
    path = traversal / "vo" / "vo.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:2], *lines[3:]]))  # no step from image 1 to image 2
    drive = RobotCarDrive(traversal)
    poses = [drive[i].T_world_camera for i in range(5)]
    assert [pose is None for pose in poses] == [True, True, False, False, False]
    assert "1 steps do not begin where the one before ended" in caplog.text
    assert "2 of 5 images have no pose" in caplog.text
    # Scans of the image's own part only: 10, 30 and 50 ms before the break, 130 to 230 after.
    assert len(drive[0].lidar) == 3
    assert len(drive[4].lidar) == 6


def test_no_pose_inside_a_long_gap(traversal, caplog):
    # Steps to 62.5 ms and then to 700 ms: longer than can be interpolated.
    write_vo(traversal / "vo" / "vo.csv", [START, START + 62500, START + 700000], straight)
    drive = RobotCarDrive(traversal)
    assert [drive[i].T_world_camera is None for i in range(5)] == [False, False, True, True, True]
    assert "3 of 5 images have no pose in vo" in caplog.text
    assert len(drive[1].lidar) == 3
    assert drive[2].lidar is None
    assert drive[2].depth is None


def test_no_poses_at_all(traversal, caplog):
    (traversal / "vo" / "vo.csv").unlink()
    frame = RobotCarDrive(traversal)[0]
    assert frame.T_world_camera is None
    assert frame.lidar is None
    assert "lidar left out" in caplog.text
    with pytest.raises(FileNotFoundError, match=r"gps/ins\.csv"):
        RobotCarDrive(traversal, poses="ins")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"poses": "gps"}, "unknown source of poses 'gps'"),
        ({"lidar": "velodyne_left"}, "unknown lidar 'velodyne_left'"),
        ({"camera": "stereo/middle"}, "not 'stereo/middle'"),
        ({"condition": "sunny"}, "'sunny' is none of"),
    ],
)
def test_unknown_names_are_refused(traversal, options, message):
    with pytest.raises(ValueError, match=message):
        RobotCarDrive(traversal, **options)


def test_opening_a_long_traversal_is_quick(traversal):
    frames = 30_000
    stamps = [START + 62500 * i for i in range(frames)]
    for stamp in stamps[5:]:
        (traversal / "stereo" / "left" / f"{stamp}.png").touch()
    write_stamps(traversal / "stereo.timestamps", stamps)
    write_stamps(traversal / "lms_front.timestamps", range(START + 10000, stamps[-1], 20000))
    write_vo(traversal / "vo" / "vo.csv", stamps, straight)
    before = time.process_time()
    drive = RobotCarDrive(traversal)
    assert time.process_time() - before < 1.0  # 0.25 s where this was written
    assert len(drive) == frames
    assert drive.glance(frames - 1).T_world_camera[0, 3] == pytest.approx(10 * 0.0625 * 29_999)
