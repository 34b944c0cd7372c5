"""nuScenes reader: a hand-made tree, and the devkit's own projection of real frames."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from rosam_core.drives.nuscenes import NuscenesDrive, condition_of, transform
from rosam_core.geometry.projection import project_points, sparse_depth

FORWARD = [0.5, -0.5, 0.5, -0.5]  # camera axes (right, down, forward) in the vehicle's (x, y, z)


def write_tree(root: Path, description: str = "Night, rain", lidar_points=((10.0, 1.0, 0.5),)):
    """One key frame: the lidar fires at the origin, the camera 2 m further along x."""
    tables = {
        "scene": [{"token": "s", "description": description}],
        "sample": [{"token": "k", "timestamp": 100, "scene_token": "s"}],
        "sensor": [
            {"token": "sc", "channel": "CAM_FRONT"},
            {"token": "sl", "channel": "LIDAR_TOP"},
        ],
        "calibrated_sensor": [
            {
                "token": "cc",
                "sensor_token": "sc",
                "translation": [1.0, 0, 1.5],
                "rotation": FORWARD,
                "camera_intrinsic": [[100, 0, 31.5], [0, 100, 23.5], [0, 0, 1]],
            },
            {
                "token": "cl",
                "sensor_token": "sl",
                "translation": [0, 0, 2.0],
                "rotation": [1, 0, 0, 0],
                "camera_intrinsic": [],
            },
        ],
        "ego_pose": [
            {"token": "pl", "translation": [0, 0, 0], "rotation": [1, 0, 0, 0]},
            {"token": "pc", "translation": [2, 0, 0], "rotation": [1, 0, 0, 0]},
        ],
        "sample_data": [
            {
                "sample_token": "k",
                "ego_pose_token": pose,
                "calibrated_sensor_token": calibration,
                "timestamp": stamp,
                "is_key_frame": key,
                "width": 64,
                "height": 48,
                "filename": file,
            }
            for pose, calibration, stamp, key, file in (
                ("pl", "cl", 90, True, "lidar.bin"),
                ("pc", "cc", 100, True, "image.png"),
                ("pc", "cc", 150, False, "sweep.png"),
            )
        ],
    }
    (root / "v1.0-mini").mkdir(parents=True)
    for name, rows in tables.items():
        (root / "v1.0-mini" / f"{name}.json").write_text(json.dumps(rows))
    image = np.zeros((48, 64, 3), np.uint8)
    image[..., 0] = 200  # blue, in OpenCV's order
    cv2.imwrite(str(root / "image.png"), image)
    points = np.zeros((len(lidar_points), 5), np.float32)
    points[:, :3] = lidar_points
    points.tofile(root / "lidar.bin")
    return root


def test_lidar_goes_through_both_ego_poses(tmp_path):
    drive = NuscenesDrive(write_tree(tmp_path))
    assert len(drive) == 1  # the sweep that is no key frame is not given
    frame = drive[0]
    # World point (10, 1, 2.5); camera at (2 + 1, 0, 1.5): 7 m ahead, 1 m left, 1 m above.
    np.testing.assert_allclose(frame.lidar, [[-1, -1, 7]], atol=1e-6)
    assert frame.T_world_camera[2, 3] == drive.camera_height(0) == 1.5
    assert frame.stamp_ns == 100_000
    assert frame.condition == "night"
    assert frame.camera_name == "CAM_FRONT"
    assert frame.image[0, 0].tolist() == [0, 0, 200]


def test_points_out_of_view_are_left_out(tmp_path):
    points = ((10.0, 1, 0.5), (-10, 0, 0), (3.5, 0, 0), (10, 40, 0))
    frame = NuscenesDrive(write_tree(tmp_path, lidar_points=points))[0]
    # behind, 0.5 m in front, and far to the side are dropped
    assert len(frame.lidar) == 1


@pytest.mark.parametrize(
    ("description", "condition"),
    [
        ("Parked trucks, NIGHT", "night"),
        ("Heavy Rain at night", "night"),
        ("Rain, wipers", "day-rain"),
        ("Construction, peds", "day-clear"),
    ],
)
def test_condition_from_description(description, condition):
    assert condition_of(description) == condition


def test_quaternions_that_are_not_unit_still_rotate():
    T = transform({"rotation": [2, 0, 0, 2], "translation": [1, 2, 3]})  # 90 degrees about z
    np.testing.assert_allclose(T @ [1, 0, 0, 1], [1, 3, 3, 1], atol=1e-12)


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"v1\.0-\*"):
        NuscenesDrive(tmp_path)
    root = write_tree(tmp_path / "tree")
    with pytest.raises(ValueError, match="CAM_UP"):
        NuscenesDrive(root, cameras=["CAM_UP"])
    (root / "lidar.bin").write_bytes(b"\0" * 24)
    with pytest.raises(ValueError, match="rows of 5"):
        NuscenesDrive(root)[0]
    (root / "image.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"image\.png"):
        NuscenesDrive(root)[0]
    (root / "v1.0-mini" / "ego_pose.json").write_text("[]")
    with pytest.raises(ValueError, match="ego_pose"):
        NuscenesDrive(root)
    (root / "v1.0-mini" / "scene.json").unlink()
    with pytest.raises(FileNotFoundError, match="scene"):
        NuscenesDrive(root)
    (root / "v1.0-other").mkdir()
    (root / "v1.0-other" / "sample_data.json").write_text("[]")
    with pytest.raises(ValueError, match="say which version"):
        NuscenesDrive(root)


def test_real_frames_have_lidar_on_the_image(shared_data):
    drive = NuscenesDrive(shared_data / "nuscenes_real")
    assert len(drive) == 12
    for frame in drive:
        depth = sparse_depth(frame.lidar, frame.camera, rounding="floor")
        assert 2500 < np.isfinite(depth).sum() < 5000
        assert 1.3 < frame.T_world_camera[2, 3] < 1.8


def test_agrees_with_the_devkit(shared_data):
    nuscenes = pytest.importorskip("nuscenes.nuscenes", reason="nuscenes-devkit not installed")
    root = shared_data / "nuscenes_real"
    drive = NuscenesDrive(root)
    devkit = nuscenes.NuScenes("v1.0-real", str(root), verbose=False)
    rows = {(row["channel"], 1000 * row["timestamp"]): row for row in devkit.sample_data}
    for frame in drive:
        row = rows[frame.camera_name, frame.stamp_ns]
        sample = devkit.get("sample", row["sample_token"])
        pixels, depths, _ = devkit.explorer.map_pointcloud_to_image(
            sample["data"]["LIDAR_TOP"], row["token"]
        )
        ours = project_points(frame.lidar, frame.camera)
        assert len(ours) == pytest.approx(len(depths), abs=2)
        if len(ours) == len(depths):  # same points in the same order
            assert np.median(np.abs(frame.lidar[:, 2] - depths)) < 0.002
            assert np.median(np.abs(ours - pixels[:2].T)) < 0.02
        theirs = np.full(frame.image.shape[:2], np.inf, np.float32)
        cells = np.floor(pixels[:2]).astype(int)
        np.minimum.at(theirs, (cells[1], cells[0]), depths.astype(np.float32))
        depth = sparse_depth(frame.lidar, frame.camera, rounding="floor")
        both = np.isfinite(theirs) & np.isfinite(depth)
        assert both.sum() > 0.97 * np.isfinite(theirs).sum()
        assert np.median(np.abs(theirs - depth)[both]) < 0.002
