"""A drive written as nuScenes and read back is the same drive."""

import json

import numpy as np
import pytest
from test_eval_command import write_drive

from rosam_core.drives.base import Drive
from rosam_core.drives.frames_writer import write_frames
from rosam_core.drives.nuscenes import NuscenesDrive, transform
from rosam_core.drives.nuscenes_writer import _pose, write_nuscenes
from rosam_core.drives.opening import open_drives
from rosam_core.drives.synthetic.drive import SyntheticDrive
from rosam_core.types import Camera, Frame


class Made(Drive):
    """Frames that turn about every axis, with lidar inside the view; the last one without."""

    name = "made"

    def __init__(self, conditions=("day-clear", "day-clear", "fog", "unknown"), poses=True):
        self.conditions, self.poses = conditions, poses

    def __len__(self):
        return len(self.conditions)

    def __getitem__(self, index):
        rng = np.random.default_rng(index)
        z = rng.uniform(2, 60, 50)
        points = np.column_stack([rng.uniform(-0.3, 0.3, 50) * z, rng.uniform(-0.2, 0.2, 50) * z])
        T = transform({"rotation": rng.normal(size=4), "translation": 1e3 * rng.normal(size=3)})
        return Frame(
            rng.integers(0, 256, (48, 64, 3), np.uint8),
            Camera(60.5, 61.5, 30.25 + (index > 1), 22.75, 64, 48),
            1_700_000_000_123_456_000 + index * 83_333_000,
            T_world_camera=T if self.poses else None,
            condition=self.conditions[index],
            lidar=None if index == 3 else np.column_stack([points, z]).astype(np.float32),
        )


def test_what_is_written_is_read_back(tmp_path):
    assert write_nuscenes([Made()], tmp_path / "tree") == 4
    read = NuscenesDrive(tmp_path / "tree")
    assert len(read) == 4
    for before, after in zip(Made(), read, strict=True):
        assert np.array_equal(after.image, before.image)
        assert after.camera == before.camera
        assert after.stamp_ns == before.stamp_ns
        assert after.condition == before.condition
        np.testing.assert_allclose(after.T_world_camera, before.T_world_camera, atol=1e-9)
        if before.lidar is None:
            assert after.lidar is None
        else:
            np.testing.assert_allclose(after.lidar, before.lidar, atol=1e-5)
    # Runs of one condition are scenes.
    assert [read.scene(i)[-1] for i in range(4)] == ["0", "0", "1", "2"]


def test_linked_lists_and_tokens_are_whole(tmp_path):
    write_nuscenes([Made(), Made(("night",))], tmp_path / "tree")
    tables = {p.stem: json.loads(p.read_text()) for p in (tmp_path / "tree").glob("v1.0-*/*.json")}
    assert len(tables) == 13
    tokens = {name: {row["token"] for row in rows} for name, rows in tables.items()}
    for name, rows in tables.items():
        assert len(tokens[name]) == len(rows), name  # unique
        for row in rows:
            for key, value in row.items():
                table = key.removesuffix("_token")
                if key.endswith("_token") and table in tokens:
                    assert value in tokens[table], (name, key)
    for scene in tables["scene"]:
        samples = {row["token"]: row for row in tables["sample"]}
        token, count = scene["first_sample_token"], 0
        while token:
            count, last, token = count + 1, token, samples[token]["next"]
        assert (count, last) == (scene["nbr_samples"], scene["last_sample_token"])
    data = {row["token"]: row for row in tables["sample_data"]}
    for row in data.values():
        if row["next"]:
            assert data[row["next"]]["prev"] == row["token"]
            assert data[row["next"]]["timestamp"] > row["timestamp"]


def test_every_rotation_survives_the_quaternion():
    half_turns = [[0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [1, 0, 0, 0], [0.5, 0.5, 0.5, 0.5]]
    for q in half_turns:
        T = transform({"rotation": q, "translation": [1, 2, 3]})
        np.testing.assert_allclose(transform(_pose(T)), T, atol=1e-12)


def test_jpeg_is_smaller_and_close(tmp_path):
    write_drive(tmp_path / "drive", ("night",))
    drive = SyntheticDrive(tmp_path / "drive", "night")
    write_nuscenes([drive], tmp_path / "tree", jpeg_quality=95)
    assert list((tmp_path / "tree/samples/CAM_FRONT").glob("*.jpg"))
    read = NuscenesDrive(tmp_path / "tree")[0]
    assert abs(read.image.astype(int) - drive[0].image).max() <= 2
    assert read.condition == "night"


@pytest.mark.parametrize(
    ("drives", "message"),
    [([Made(poses=False)], "frame 0 has no pose"), ([Made(())], "nothing to write")],
)
def test_nothing_is_left_of_what_cannot_be_written(tmp_path, drives, message):
    with pytest.raises(ValueError, match=message):
        write_nuscenes(drives, tmp_path / "tree")
    assert list(tmp_path.iterdir()) == []


def test_only_a_nuscenes_tree_is_replaced_and_only_when_asked(tmp_path):
    write_nuscenes([Made()], tmp_path / "tree")
    with pytest.raises(FileExistsError, match="--force replaces a nuScenes tree"):
        write_nuscenes([Made()], tmp_path / "tree")
    assert write_nuscenes([Made(("fog",))], tmp_path / "tree", overwrite=True) == 1
    assert len(NuscenesDrive(tmp_path / "tree")) == 1
    (tmp_path / "other").mkdir()
    with pytest.raises(FileExistsError, match="exists already and is not a nuScenes tree"):
        write_nuscenes([Made()], tmp_path / "other", overwrite=True)


class Surround(Made):
    """Two cameras that take turns, the second with distortion."""

    def __getitem__(self, index):
        frame = super().__getitem__(index)
        camera = Camera(60, 60, 31.5, 23.5, 64, 48)
        if index % 2:
            camera = Camera(60, 60, 31.5, 23.5, 64, 48, "plumb_bob", (-0.3, 0.1, 0, 0, 0))
        ramp = np.tile(np.arange(64, dtype=np.uint8) * 3, (48, 1))
        return frame.__class__(
            np.repeat(ramp[..., None], 3, axis=2),
            camera,
            frame.stamp_ns,
            frame.T_world_camera,
            camera_name=("CAM_FRONT", "CAM_BACK")[index % 2],
            depth=ramp.astype(np.float32),
        )


@pytest.mark.parametrize("form", ["nuscenes", "frames"])
def test_cameras_that_take_turns_stay_apart_and_distortion_goes(tmp_path, form):
    drive = Surround()
    if form == "nuscenes":
        write_nuscenes([drive], tmp_path / "tree")
        read = NuscenesDrive(tmp_path / "tree")
        found = [(read.glance(i).camera_name, read[i]) for i in range(4)]
        assert [name for name, _ in found] == ["CAM_FRONT", "CAM_BACK"] * 2
        bent = found[1][1]
    else:
        write_frames([drive], tmp_path / "images")
        drives = open_drives(tmp_path / "images")
        assert [len(d) for d in drives] == [2, 2]
        assert drives[1].glance(1).stamp_ns == drive[3].stamp_ns
        bent = drives[1][0]
        assert abs(bent.depth[23, 55] - bent.image[23, 55, 0]) <= 3  # depth follows the image
    assert bent.camera == Camera(60, 60, 31.5, 23.5, 64, 48)
    # At r = 23.5 px of f = 60 px the lens puts x at 1 - 0.3 r^2 + 0.1 r^4 of it, r^2 = 0.153.
    expected = 3 * (31.5 + 23.5 * (1 - 0.3 * 0.153 + 0.1 * 0.0235))
    assert abs(float(bent.image[23, 55, 0]) - expected) <= 1
    assert float(drive[1].image[23, 55, 0]) == 165  # as the lens has it
