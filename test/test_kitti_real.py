"""Real KITTI images in the layouts that KITTI publishes, against how they are read otherwise."""

import json

import cv2
import numpy as np
import pytest
from test_recorded_samples import warped

from rosam_core.drives.kitti import KittiDrive
from rosam_core.drives.opening import find_kind, open_drives
from rosam_core.drives.recorded_samples import RecordedSamples, ViewOptions
from rosam_core.drives.rosbag import RosbagDrive
from rosam_core.geometry.projection import points_in_view

BASELINE_M = 0.06  # camera 2 is 6 cm to the left of camera 0


def line(values):
    return " ".join(f"{value:.12e}" for value in np.ravel(values)) + "\n"


@pytest.fixture
def sequence(shared_data, tmp_path):
    """Twelve frames as sequences/00, beside the drive that they are of."""
    source = shared_data / "drives/kitti_odo00_416"
    described = json.loads((source / "drive.json").read_text())
    folder = tmp_path / "dataset/sequences/00"
    (folder / "image_2").mkdir(parents=True)
    (recorded,) = open_drives(source)
    first = 60
    K = np.array(described["K"])
    offset = K @ [[BASELINE_M], [0], [0]]
    text = "".join(f"P{i}: {line(np.hstack([K, offset * (i == 2)]))}" for i in range(4))
    (folder / "calib.txt").write_text(text + f"Tr: {line(np.eye(4)[:3])}")
    times, poses = "", ""
    for index in range(12):
        frame = recorded[first + index]
        cv2.imwrite(str(folder / f"image_2/{index:06d}.png"), frame.image[..., ::-1])
        times += f"{(frame.stamp_ns - recorded.glance(first).stamp_ns) / 1e9:e}\n"
        poses += line(np.array(described["poses"][first + index])[:3])
    (folder / "times.txt").write_text(times)
    (tmp_path / "dataset/poses").mkdir()
    (tmp_path / "dataset/poses/00.txt").write_text(poses)
    return tmp_path / "dataset", recorded, first


def test_odometry_sequence(sequence):
    root, recorded, first = sequence
    assert find_kind(root) == "kitti"
    (drive,) = open_drives(root)
    assert len(drive) == 12
    T_camera0_camera2 = np.eye(4)
    T_camera0_camera2[0, 3] = -BASELINE_M
    for index in (0, 5, 11):
        ours, other = drive[index], recorded[first + index]
        assert np.array_equal(ours.image, other.image)
        assert ours.camera.fx == pytest.approx(other.camera.fx)
        assert ours.camera.cx == pytest.approx(other.camera.cx)
        np.testing.assert_allclose(
            ours.T_world_camera, other.T_world_camera @ T_camera0_camera2, atol=1e-9
        )


def test_odometry_sequence_as_training_data(sequence):
    root, recorded, first = sequence
    made = RecordedSamples(open_drives(root), (416, 128), view=ViewOptions(flip=0.5), seed=3)
    assert len(made) == 12
    for index in (1, 6):
        sample = made.at(0, index)
        assert sample["has_previous"]
        assert sample["has_next"]
        assert sample["seconds_next"] == pytest.approx(0.104, abs=0.01)
        way = [recorded.glance(first + index + i).T_world_camera[:3, 3] for i in (0, 1)]
        # The two cameras of a rig differ in their way only by how far the rig turns.
        assert sample["distance_next"] == pytest.approx(np.linalg.norm(way[1] - way[0]), abs=0.01)


def test_raw_recording_has_the_lidar_of_the_bag(shared_data, tmp_path):
    """A scan of the bag as a Velodyne file with KITTI's calibration files."""
    (bag,) = open_drives(shared_data / "bags/kitti_mcap")
    assert isinstance(bag, RosbagDrive)
    frame = bag[0]
    date = tmp_path / "2011_09_26"
    folder = date / "2011_09_26_drive_0001_sync"
    (folder / "image_02/data").mkdir(parents=True)
    (folder / "velodyne_points/data").mkdir(parents=True)
    cv2.imwrite(str(folder / "image_02/data/0000000000.png"), frame.image[..., ::-1])
    (folder / "image_02/timestamps.txt").write_text("2011-09-26 13:02:25.964389445\n")
    c = frame.camera
    K = np.hstack([c.K, np.zeros((3, 1))])
    (date / "calib_cam_to_cam.txt").write_text(
        f"R_rect_00: {line(np.eye(3))}S_rect_02: {c.width} {c.height}\nP_rect_02: {line(K)}"
    )
    # x forward, y left, z up; where the lidar is, in the camera's frame.
    rotation = np.array([[0, -1, 0], [0, 0, -1], [1, 0, 0.0]])
    (date / "calib_velo_to_cam.txt").write_text(
        f"R: {line(rotation)}T: {line(frame.lidar_origin)}"
    )
    rows = np.zeros((len(frame.lidar), 4), np.float32)
    rows[:, :3] = (frame.lidar - frame.lidar_origin) @ rotation
    rows.tofile(folder / "velodyne_points/data/0000000000.bin")
    read = KittiDrive(folder)[0]
    assert np.array_equal(read.image, frame.image)
    np.testing.assert_allclose(read.lidar, frame.lidar, atol=1e-4)
    np.testing.assert_allclose(read.lidar_origin, frame.lidar_origin, atol=1e-9)
    assert len(points_in_view(read.lidar, read.camera)[0]) > 5000


def test_the_motion_of_a_bag_explains_its_images(shared_data):
    """Lidar, poses, times and intrinsics of a real recording belong together, the right way on."""
    made = RecordedSamples(
        open_drives(shared_data / "bags/kitti_mcap"), (640, 192), view=ViewOptions(flip=0.5)
    )
    errors = []
    for index in range(2, 20, 4):
        sample = made.at(0, index)
        for name in ("previous", "next"):
            T = sample[f"T_{name}_target"]
            row = []
            for moved in (T, np.eye(4), np.linalg.inv(T)):  # right, not at all, the wrong way
                seen, inside = warped({**sample, f"T_{name}_target": moved}, name)
                target = sample["image"].transpose(1, 2, 0).astype(np.float64)
                row.append(np.abs(seen - target)[inside].mean())
            errors.append(row)
    right, still, wrong = np.mean(errors, axis=0)
    assert right < 0.97 * still < 0.9 * wrong  # in crawling traffic; other cars move
