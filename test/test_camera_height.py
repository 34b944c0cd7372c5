"""How high a camera is above the ground: who knows it, and who is told it."""

import json
from pathlib import Path

import numpy as np
import pytest
from moving_scene import CAMERA, MovingScene
from test_nuscenes import write_tree

from rosam_core.drives.base import height_above_zero
from rosam_core.drives.nuscenes import NuscenesDrive
from rosam_core.drives.recorded_samples import RecordedSamples
from rosam_core.drives.video_samples import video_sample


class OnACar(MovingScene):
    def camera_height(self, index: int) -> float | None:
        return 1.5 + index


def at(z: float) -> np.ndarray:
    T = np.eye(4)
    T[2, 3] = z
    return T


@pytest.mark.parametrize(
    ("z", "limits", "height"),
    [
        (1.6, (), 1.6),
        (0.0, (), None),
        (-1.0, (), None),
        (0.2, (0.3, 4.0), None),
        (5.0, (0.3, 4.0), None),
    ],
)
def test_the_height_is_the_z_of_the_pose(z: float, limits: tuple, height: float | None) -> None:
    assert height_above_zero(at(z), *limits) == height
    assert height_above_zero(None, *limits) is None


@pytest.mark.parametrize(
    ("drive", "stated", "expected"),
    [
        (MovingScene(), None, 0.0),  # whose world has its zero at the first camera
        (OnACar(), None, 1.5),
        (MovingScene(), 1.2, 1.2),
        (OnACar(), 1.2, 1.2),
    ],
)
def test_a_sample_says_what_the_drive_or_the_recipe_does(
    drive: MovingScene, stated: float | None, expected: float
) -> None:
    size = (CAMERA.width // 32 * 32, CAMERA.height // 32 * 32)
    samples = RecordedSamples([drive], size, camera_height_m=stated)
    first = next(i for i, target in enumerate(samples.targets) if target.index == 0)
    sample = samples.at(0, first)
    assert sample["camera_height"] == pytest.approx(expected)
    assert video_sample(sample)["camera_height"] == sample["camera_height"]


@pytest.mark.parametrize(("ego_z", "height"), [(0.0, 1.5), (0.3, 1.8), (-1.5, None), (90.0, None)])
def test_a_nuscenes_scene_has_its_zero_on_the_ground_or_elsewhere(
    tmp_path: Path, ego_z: float, height: float | None
) -> None:
    poses = write_tree(tmp_path) / "v1.0-mini" / "ego_pose.json"
    changed = json.loads(poses.read_text())
    for pose in changed:
        pose["translation"][2] = ego_z
    poses.write_text(json.dumps(changed))
    assert NuscenesDrive(tmp_path).camera_height(0) == height


def test_one_camera_below_the_ground_and_the_scene_has_its_zero_elsewhere(tmp_path: Path) -> None:
    folder = write_tree(tmp_path) / "v1.0-mini"
    poses = json.loads((folder / "ego_pose.json").read_text())
    data = json.loads((folder / "sample_data.json").read_text())
    poses.append({"token": "down", "translation": [3, 0, -2.0], "rotation": [1, 0, 0, 0]})
    data[-1]["ego_pose_token"] = "down"  # of the sweep
    (folder / "ego_pose.json").write_text(json.dumps(poses))
    (folder / "sample_data.json").write_text(json.dumps(data))
    assert NuscenesDrive(tmp_path).camera_height(0) == 1.5  # the key frame alone
    assert NuscenesDrive(tmp_path, sweeps=True).camera_height(0) is None
