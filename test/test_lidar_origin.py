"""Every kind of drive says where its lidar was, in the camera's frame."""

import json

import numpy as np
from test_eval_command import write_drive
from test_kitti import write_raw, write_sequence
from test_nuscenes import write_tree

from rosam_core.drives.kitti import KittiDrive
from rosam_core.drives.nuscenes import NuscenesDrive
from rosam_core.drives.synthetic.drive import SyntheticDrive, lidar_position


def test_nuscenes_through_both_ego_poses(tmp_path):
    # The lidar is 2 m up at the origin, the camera 1.5 m up and 3 m further on.
    frame = NuscenesDrive(write_tree(tmp_path))[0]
    np.testing.assert_allclose(frame.lidar_origin, [0, -0.5, -3], atol=1e-9)


def test_synthetic_by_hand(tmp_path):
    write_drive(tmp_path, conditions=("night",), frames=1)
    assert SyntheticDrive(tmp_path, "night")[0].lidar_origin is None  # without a scan
    (tmp_path / "lidar").mkdir()
    np.save(tmp_path / "lidar/000000.npy", np.array([[0, 0, 5]], np.float32))
    frame = SyntheticDrive(tmp_path, "night")[0]
    np.testing.assert_allclose(frame.lidar_origin, [0, -0.45, -0.25], atol=1e-9)


def test_the_synthetic_lidar_stays_upright_when_the_camera_tilts(tmp_path):
    tilt = np.radians(10)
    T = np.eye(4)
    # Camera looking along the world's y, 10 degrees down.
    T[:3, 2] = [0, np.cos(tilt), -np.sin(tilt)]
    T[:3, 0] = [1, 0, 0]
    T[:3, 1] = np.cross(T[:3, 2], T[:3, 0])
    T[:3, 3] = [5, 6, 1.5]
    np.testing.assert_allclose(lidar_position(T), [5, 5.75, 1.95], atol=1e-9)
    write_drive(tmp_path, conditions=("night",), frames=1)
    described = json.loads((tmp_path / "drive.json").read_text())
    described["frames"][0]["T_world_camera"] = T.tolist()
    (tmp_path / "drive.json").write_text(json.dumps(described))
    (tmp_path / "lidar").mkdir()
    np.save(tmp_path / "lidar/000000.npy", np.zeros((1, 3), np.float32))
    frame = SyntheticDrive(tmp_path, "night")[0]
    there = T[:3, :3] @ frame.lidar_origin + T[:3, 3]
    np.testing.assert_allclose(there, [5, 5.75, 1.95], atol=1e-9)


def test_kitti_in_the_frame_of_the_chosen_camera(tmp_path):
    # 1 m behind and 2 m above camera 0, which is 0.5 m left of camera 2 in this calibration.
    for folder in (write_raw(tmp_path / "raw"), write_sequence(tmp_path / "odometry")):
        frame = KittiDrive(folder)[0]
        np.testing.assert_allclose(frame.lidar_origin, [0.5, -2, -1], atol=1e-9)
