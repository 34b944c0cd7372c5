"""KITTI reader: hand-made raw and odometry trees whose geometry can be worked out by hand."""

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from support import write_tiny_model

from rosam_core.cli import main
from rosam_core.drives.kitti import KittiDrive, find_kitti
from rosam_core.drives.kitti_calibration import oxts_pose, read_stamps
from rosam_core.evaluation.ground_truth import MODES, GroundTruth
from rosam_core.evaluation.protocol import score_drives, truth_options
from rosam_core.geometry.projection import project_points
from rosam_core.types import DepthPrediction

WIDTH, HEIGHT = 100, 80
STAMPS = ("2011-09-26 13:02:25.000000001", "2011-09-26 13:02:25.100000000")
FIRST_NS = 1317042145 * 10**9 + 1
AXES = "0 -1 0 0 0 -1 1 0 0"  # Velodyne (forward, left, up) to camera (right, down, forward)
PACKET = "{lat:.12f} {lon:.12f} {alt} {roll} {pitch} {yaw} 0 0 0"
METRE_NORTH = 360 / (2 * math.pi * 6378137)  # degrees of latitude at the equator


def row(values):
    return " ".join(f"{value:e}" for value in values)


def write_images(folder: Path, names, level=100):
    folder.mkdir(parents=True)
    for name in names:
        cv2.imwrite(str(folder / f"{name}.png"), np.full((HEIGHT, WIDTH, 3), level, np.uint8))


def write_scan(path: Path, points):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.array([[*point, 0.5] for point in points], np.float32).tofile(path)


def write_raw(root: Path, packets=((0, 0, 0), (0, 0, 0)), points=((11.0, 2, 1),), camera=2):
    """Focal length 100; camera 2 sees things 0.5 m further right than camera 0 does; the scanner
    1 m behind and 2 m above camera 0, the inertial unit 1 m below the scanner."""
    date = root / "2011_09_26"
    drive = date / "2011_09_26_drive_0001_sync"
    names = [f"{i:010d}" for i in range(len(packets))]
    write_images(drive / f"image_{camera:02d}" / "data", names)
    (drive / f"image_{camera:02d}" / "timestamps.txt").write_text("\n".join(STAMPS) + "\n")
    for name, (north, roll, yaw) in zip(names, packets, strict=True):
        write_scan(drive / "velodyne_points" / "data" / f"{name}.bin", points)
        (drive / "oxts" / "data").mkdir(parents=True, exist_ok=True)
        packet = PACKET.format(
            lat=north * METRE_NORTH, lon=0, alt=100, roll=roll, pitch=0, yaw=yaw
        )
        (drive / "oxts" / "data" / f"{name}.txt").write_text(packet)
    projection = [100, 0, 49.5, 50, 0, 100, 39.5, 0, 0, 0, 1, 0]  # p_4 = K (0.5, 0, 0)
    (date / "calib_cam_to_cam.txt").write_text(
        "calib_time: 09-Jan-2012 13:57:47\ncorner_dist: 9.950000e-02\n"
        "R_rect_00: 1 0 0 0 1 0 0 0 1\n"
        f"S_rect_{camera:02d}: {row((WIDTH, HEIGHT))}\nP_rect_{camera:02d}: {row(projection)}\n"
    )
    (date / "calib_velo_to_cam.txt").write_text(f"R: {AXES}\nT: 0 -2 -1\n")
    (date / "calib_imu_to_velo.txt").write_text("R: 1 0 0 0 1 0 0 0 1\nT: 0 0 -1\n")
    return drive


def write_sequence(root: Path, frames=2):
    folder = root / "sequences" / "07"
    write_images(folder / "image_2", [f"{i:06d}" for i in range(frames)])
    write_images(folder / "image_0", [f"{i:06d}" for i in range(frames)], 50)
    (folder / "times.txt").write_text("".join(f"{0.1 * i:e}\n" for i in range(frames)))
    colour = [100, 0, 49.5, 50, 0, 100, 39.5, 0, 0, 0, 1, 0]
    grey = [100, 0, 49.5, 0, 0, 100, 39.5, 0, 0, 0, 1, 0]
    lidar = [0, -1, 0, 0, 0, 0, -1, -2, 1, 0, 0, -1]
    (folder / "calib.txt").write_text(f"P0: {row(grey)}\nP2: {row(colour)}\nTr: {row(lidar)}\n")
    write_scan(folder / "velodyne" / "000000.bin", ((11.0, 2, 1),))
    (root / "poses").mkdir()
    lines = [f"1 0 0 {i} 0 1 0 0 0 0 1 {3 * i}" for i in range(frames)]
    (root / "poses" / "07.txt").write_text("\n".join(lines) + "\n")
    return folder


def test_raw_lidar_and_stamps(tmp_path):
    frame, second = KittiDrive(write_raw(tmp_path))
    # Scanner point (11, 2, 1): right -2, down -1, forward 11; minus (0, 2, 1); plus 0.5 right.
    np.testing.assert_allclose(frame.lidar, [[-1.5, -3, 10]], atol=1e-6)
    pixel = project_points(frame.lidar, frame.camera)[0]
    np.testing.assert_allclose(pixel, [49.5 - 15, 39.5 - 30], atol=1e-5)
    assert (frame.stamp_ns, second.stamp_ns) == (FIRST_NS, FIRST_NS + 99_999_999)
    assert (frame.camera.width, frame.camera.height, frame.camera.fx) == (WIDTH, HEIGHT, 100)
    assert (frame.camera_name, frame.condition) == ("image_02", "day-clear")


def test_raw_lidar_is_rectified(tmp_path):
    folder = write_raw(tmp_path)
    path = folder.parent / "calib_cam_to_cam.txt"
    quarter = "R_rect_00: 0 -1 0 1 0 0 0 0 1"  # right becomes down, down becomes left
    path.write_text(path.read_text().replace("R_rect_00: 1 0 0 0 1 0 0 0 1", quarter))
    # (-2, -3, 10) as camera 0 was mounted is (3, -2, 10) rectified; plus 0.5 right.
    np.testing.assert_allclose(KittiDrive(folder)[0].lidar, [[3.5, -2, 10]], atol=1e-6)


def test_raw_pose_drives_north_and_turns_left(tmp_path):
    # One metre north facing east, then two more facing north.
    drive = KittiDrive(write_raw(tmp_path, [(1, 0, 0), (3, 0, math.pi / 2)]))
    first, second = (frame.T_world_camera for frame in drive)
    # Facing east, camera 2's centre is 1 m ahead of the scanner (that is east), 2 m below it and
    # so 1 m below the unit, and half a metre left (north): points look 0.5 m further right.
    np.testing.assert_allclose(first[:3, 3], [1, 0.5, -1], atol=1e-6)
    np.testing.assert_allclose(first[:3, 2], [1, 0, 0], atol=1e-9)  # forward is east
    np.testing.assert_allclose(first[:3, 1], [0, 0, -1], atol=1e-9)  # down
    np.testing.assert_allclose(second[:3, 3], [-0.5, 2 + 1, -1], atol=1e-6)
    np.testing.assert_allclose(second[:3, 2], [0, 1, 0], atol=1e-9)


@pytest.mark.parametrize(
    ("seconds", "north"),
    [
        ((25.02, 25.12), (-0.2, 0.8)),  # images at 25.0 and 25.1, packets 20 ms later
        ((25.0, 25.1), (0, 1)),
        ((24.9, 25.02), (0, 1)),  # more than 50 ms from their images: as paired
        ((25.02, 25.42), (0, 1)),  # too far apart
        ((25.1, 25.0), (0, 1)),  # in the wrong order
    ],
)
def test_raw_pose_is_that_of_the_image_between_two_packets(tmp_path, seconds, north):
    folder = write_raw(tmp_path, [(0, 0, 0), (1, 0, 0)])
    lines = "".join(f"2011-09-26 13:02:{second:.9f}\n" for second in seconds)
    (folder / "oxts" / "timestamps.txt").write_text(lines)
    found = [frame.T_world_camera[1, 3] - 0.5 for frame in KittiDrive(folder)]
    np.testing.assert_allclose(found, north, atol=1e-6)


@pytest.mark.parametrize(
    ("packet", "direction", "expected"),
    [
        # Roll: left side up, so the unit's left axis points up. Pitch: front down.
        ((0, 0, 0, math.pi / 2, 0, 0), (0, 1, 0), (0, 0, 1)),
        ((0, 0, 0, math.pi / 2, 0, 0), (0, 0, 1), (0, -1, 0)),
        ((0, 0, 0, 0, math.pi / 2, 0), (1, 0, 0), (0, 0, -1)),
        ((0, 0, 0, 0, 0, math.pi / 2), (1, 0, 0), (0, 1, 0)),
        # Rz Ry Rx: roll first, in the unit's own frame, and yaw last.
        ((0, 0, 0, math.pi / 2, 0, math.pi / 2), (0, 0, 1), (1, 0, 0)),
    ],
)
def test_oxts_angles(packet, direction, expected):
    rotation = oxts_pose(np.array(packet, float), 0)[:3, :3]
    np.testing.assert_allclose(rotation @ direction, expected, atol=1e-12)


def test_mercator_keeps_metres_at_the_first_latitude():
    a = oxts_pose(np.array([60, 10, 0, 0, 0, 0.0]), 60)
    b = oxts_pose(np.array([60, 10 + METRE_NORTH, 0, 0, 0, 0.0]), 60)
    c = oxts_pose(np.array([60 + METRE_NORTH, 10, 5, 0, 0, 0.0]), 60)
    # A degree of longitude at 60 degrees north is half as long as one of latitude.
    np.testing.assert_allclose((b - a)[:3, 3], [0.5, 0, 0], atol=1e-6)
    np.testing.assert_allclose((c - a)[:3, 3], [0, 1, 5], atol=1e-6)


def test_odometry_pose_lidar_and_camera(tmp_path):
    folder = write_sequence(tmp_path)
    drive = KittiDrive(folder)
    frame, second = drive
    np.testing.assert_allclose(frame.lidar, [[-1.5, -3, 10]], atol=1e-6)
    assert second.lidar is None  # this scan is not there
    # The published pose is camera 0's; camera 2 sees points 0.5 m further right: it is left.
    np.testing.assert_allclose(second.T_world_camera[:3, 3], [1 - 0.5, 0, 3])
    assert second.stamp_ns == 100_000_000
    assert (drive.name, frame.camera_name) == ("odometry-07", "image_2")
    grey = KittiDrive(folder, 0)[1]
    np.testing.assert_allclose(grey.T_world_camera[:3, 3], [1, 0, 3])
    assert grey.image[0, 0].tolist() == [50, 50, 50]


def test_annotated_depth_is_taken_where_it_is(tmp_path):
    folder = write_raw(tmp_path)
    truth = folder / "proj_depth" / "groundtruth" / "image_02"
    truth.mkdir(parents=True)
    stored = np.zeros((HEIGHT, WIDTH), np.uint16)
    stored[3, 4] = 25 * 256
    cv2.imwrite(str(truth / "0000000001.png"), stored)
    first, second = KittiDrive(folder)
    assert first.depth is None
    assert second.depth[3, 4] == 25
    assert np.isfinite(second.depth).sum() == 1


def write_annotated(root, frames=14, annotated=range(5, 9)):
    """A recording whose scan says 21 m (20 m before the scanner) and whose depth says 10 m."""
    folder = write_raw(root, packets=[(0, 0, 0)] * frames, points=[(20.0, 2, 1)])
    stamps = [f"2011-09-26 13:02:{25 + i // 10}.{i % 10}00000000" for i in range(frames)]
    (folder / "image_02" / "timestamps.txt").write_text("\n".join(stamps) + "\n")
    truth = folder / "proj_depth" / "groundtruth" / "image_02"
    truth.mkdir(parents=True)
    for number in annotated:
        stored = np.zeros((HEIGHT, WIDTH), np.uint16)
        stored[::2, ::2] = 10 * 256
        cv2.imwrite(str(truth / f"{number:010d}.png"), stored)
    return folder


def ten_metres(frame, drive, index):
    shape = frame.image.shape[:2]
    depth = np.full(shape, 10, np.float32)
    return DepthPrediction(depth, np.ones(shape, np.float32), frame.camera), None


@pytest.mark.parametrize("mode", MODES)
def test_annotated_depth_is_never_averaged_with_scans(tmp_path, mode):
    folder = write_annotated(tmp_path)
    found = score_drives(
        ten_metres, folder, ground_truth=GroundTruth(truth_options("kitti", mode))
    )
    assert [index for _, index in found.places] == [5, 6, 7, 8]
    assert found.without_truth == 10
    assert all(score.metric["abs_rel"] == 0 for score in found.scores)
    assert KittiDrive(folder)[0].lidar is not None  # for what needs no truth
    for path in sorted((folder / "proj_depth").rglob("*.png"))[:-1]:
        path.unlink()
    with pytest.raises(ValueError, match="none of 2 frames has exact depth, so there is nothing"):
        score_drives(ten_metres, folder, limit=2)


def test_the_table_says_which_truth_kitti_has(tmp_path, capsys):
    model = write_tiny_model(tmp_path / "model", WIDTH, HEIGHT)
    whole, scans = write_annotated(tmp_path / "a"), write_annotated(tmp_path / "b", annotated=())
    said = []
    for folder, file in ((whole, "a.json"), (scans, "b.json")):
        arguments = ["--model", str(model), "--json", str(tmp_path / file)]
        assert main(["eval", "--drive", str(folder), *arguments]) == 0
        said.append(capsys.readouterr().out.splitlines())
    assert said[0][0].endswith("; truth: annotated depth")
    assert "10 frames without a truth were left out" in said[0]
    assert said[1][0].endswith("; truth: Velodyne")
    assert not any("without a truth" in line for line in said[1])
    assert main(["eval", "compare", str(tmp_path / "a.json"), str(tmp_path / "b.json")]) == 1
    assert "did not score the same" in capsys.readouterr().err
    assert KittiDrive(write_sequence(tmp_path / "c")).truth_note == "Velodyne"


def test_drives_are_found_from_any_level(tmp_path):
    recording = write_raw(tmp_path / "raw")
    for place in (recording, recording.parent, tmp_path / "raw"):
        assert find_kitti(place) == [recording]
    sequence = write_sequence(tmp_path / "odometry" / "dataset")
    for place in (sequence, sequence.parent, sequence.parent.parent, tmp_path / "odometry"):
        assert find_kitti(place) == [sequence]
    assert find_kitti(tmp_path) == []


def test_frames_without_pose_scan_or_time_are_named(tmp_path, caplog):
    folder = write_raw(tmp_path)
    (folder / "oxts" / "data" / "0000000000.txt").write_text("49.0 8.4")
    (folder / "velodyne_points" / "data" / "0000000001.bin").unlink()
    drive = KittiDrive(folder)
    assert drive[0].T_world_camera is None
    assert drive[0].lidar is not None
    assert drive[1].T_world_camera is not None
    assert drive[1].lidar is None
    assert "1 frames without pose" in caplog.text
    assert "no lidar scan for 0000000001" in caplog.text
    (folder / "image_02" / "timestamps.txt").write_text(f"\n{STAMPS[1]}\n")
    assert [frame.stamp_ns for frame in KittiDrive(folder)] == [FIRST_NS + 99_999_999]
    assert "timestamps.txt: 0000000000" in caplog.text


def test_without_calibration_of_lidar_or_inertial_unit(tmp_path, caplog):
    folder = write_raw(tmp_path)
    (folder.parent / "calib_imu_to_velo.txt").unlink()
    assert KittiDrive(folder)[0].T_world_camera is None
    assert "calib_imu_to_velo.txt" in caplog.text
    (folder.parent / "calib_velo_to_cam.txt").unlink()
    assert KittiDrive(folder)[0].lidar is None


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: (d.parent / "calib_cam_to_cam.txt").unlink(), "no .*calib_cam_to_cam.txt"),
        (
            lambda d: (d.parent / "calib_cam_to_cam.txt").write_text("R_rect_00: 1\n"),
            "has no P_rect_02",
        ),
        (
            lambda d: (d.parent / "calib_velo_to_cam.txt").write_text("R: 1 2 3\nT: 0 0 0\n"),
            "R has 3 values, expected 9",
        ),
        (lambda d: (d / "image_02" / "timestamps.txt").unlink(), r"no .*timestamps\.txt"),
        (lambda d: (d / "image_02" / "timestamps.txt").write_text(""), "no frame with a time"),
        (
            lambda d: (d / "image_02" / "data" / "first.png").write_bytes(b""),
            "not named by its number",
        ),
        (
            lambda d: [p.unlink() for p in (d / "image_02" / "data").glob("*")],
            "no images of camera 2",
        ),
    ],
)
def test_what_is_missing_is_said_when_it_is_opened(tmp_path, damage, message):
    folder = write_raw(tmp_path)
    damage(folder)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as error:
        KittiDrive(folder)
    assert "\n" not in str(error.value)


def test_wrong_camera_or_folder(tmp_path):
    folder = write_raw(tmp_path, camera=3)
    with pytest.raises(ValueError, match="there are those of 3, choose with --kitti-camera"):
        KittiDrive(folder)
    assert len(KittiDrive(folder, 3)) == 2
    with pytest.raises(ValueError, match="not 4"):
        KittiDrive(folder, 4)
    with pytest.raises(FileNotFoundError, match="is no KITTI drive"):
        KittiDrive(tmp_path)


def test_damaged_frames_are_named_and_the_others_are_read(tmp_path):
    folder = write_raw(tmp_path)
    scan = folder / "velodyne_points" / "data" / "0000000000.bin"
    scan.write_bytes(scan.read_bytes()[:-3])
    image = folder / "image_02" / "data" / "0000000001.png"
    image.write_bytes(image.read_bytes()[:-20])
    drive = KittiDrive(folder)
    with pytest.raises(ValueError, match=r"0000000000\.bin holds 13 bytes"):
        drive[0]
    scan.write_bytes(scan.read_bytes()[:12])
    with pytest.raises(ValueError, match=r"0000000000\.bin holds 12 bytes"):
        drive[0]
    with pytest.raises(ValueError, match=r"0000000001\.png cannot be read.*truncated"):
        drive[1]
    cv2.imwrite(str(image), np.zeros((HEIGHT // 2, WIDTH // 2, 3), np.uint8))
    with pytest.raises(ValueError, match="is 50x40, its calibration is for 100x80"):
        drive[1]


def test_sequences_refuse_resized_images_and_foreign_poses(tmp_path):
    folder = write_sequence(tmp_path)
    (tmp_path / "poses" / "07.txt").write_text("1 0 0 0 0 1 0 0 0 0 1 0\n")
    with pytest.raises(ValueError, match=r"1 poses, times\.txt 2 times"):
        KittiDrive(folder)
    (tmp_path / "poses" / "07.txt").write_text("1 0 0\n")
    with pytest.raises(ValueError, match=r"07\.txt, line 1"):
        KittiDrive(folder)
    (tmp_path / "poses" / "07.txt").unlink()
    assert KittiDrive(folder)[0].T_world_camera is None
    for path in (folder / "image_2").glob("*.png"):
        cv2.imwrite(str(path), np.zeros((40, 50, 3), np.uint8))
    with pytest.raises(ValueError, match=r"50x40, but .* has its centre at"):
        KittiDrive(folder)


def test_stamps_keep_nanoseconds(tmp_path):
    path = tmp_path / "timestamps.txt"
    path.write_text(f"{STAMPS[0]}\n\n1.036224e+01\nnan\n2011-09-26\n")
    assert read_stamps(path) == [FIRST_NS, None, 10_362_240_000, None, None]
