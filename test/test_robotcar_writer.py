"""A drive written as RobotCar traversals and read back is the same drive."""

import dataclasses
import json
import logging

import cv2
import numpy as np
import pytest
from robotcar_samples import SMALL

from rosam_core.drives.base import Drive
from rosam_core.drives.opening import find_kind
from rosam_core.drives.robotcar import RobotCarDrive
from rosam_core.drives.robotcar_files import (
    read_extrinsics,
    read_scan,
    read_stamps,
    read_table,
    transforms,
)
from rosam_core.drives.robotcar_layout import camera_of_images, find_robotcar, first_size
from rosam_core.drives.robotcar_writer import _xyzrpy, write_robotcar
from rosam_core.geometry.projection import project_points
from rosam_core.types import Camera, Frame

START_NS = 1_418_130_000_123_456_000
FIRST = "2014-12-09-13-00-00"
CAMERA = Camera(60.5, 61.5, 30.25, 22.75, 64, 48)


class Made(Drive):
    """Frames that turn about every axis, with lidar inside the view; the fourth without."""

    name = "made"

    def __init__(self, count=5, cameras=(CAMERA,), conditions=("night",), unposed=(), step=83_333):
        self.count, self.cameras, self.conditions = count, cameras, conditions
        self.unposed, self.step_ns = unposed, step * 1000

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        rng = np.random.default_rng(index)
        camera = self.cameras[index % len(self.cameras)]
        z = rng.uniform(2, 60, 50)
        points = np.column_stack([rng.uniform(-0.3, 0.3, 50) * z, rng.uniform(-0.2, 0.2, 50) * z])
        T = transforms(np.array([[*1e3 * rng.normal(size=3), *rng.uniform(-1.5, 1.5, 3)]]))[0]
        return Frame(
            rng.integers(0, 256, (camera.height, camera.width, 3), np.uint8),
            camera,
            START_NS + index * self.step_ns,
            T_world_camera=None if index in self.unposed else T,
            condition=self.conditions[index * len(self.conditions) // self.count],
            camera_name=f"c{index % len(self.cameras)}",
            lidar=None if index == 3 else np.column_stack([points, z]).astype(np.float32),
        )


def read(root):
    return [RobotCarDrive(folder, window_s=0) for folder, _ in find_robotcar(root)]


def test_what_is_written_is_read_back(tmp_path):
    assert write_robotcar([Made()], tmp_path / "tree") == 5
    assert find_kind(tmp_path / "tree") == "robotcar"
    (drive,) = read(tmp_path / "tree")
    assert (drive.name, len(drive)) == (FIRST, 5)
    first = Made()[0].T_world_camera[:3, 3]
    for before, after in zip(Made(), drive, strict=True):
        assert np.array_equal(after.image, before.image)
        assert after.camera == before.camera
        assert after.stamp_ns == before.stamp_ns
        assert after.condition == "night"
        expected = before.T_world_camera.copy()
        expected[:3, 3] -= first
        np.testing.assert_allclose(after.T_world_camera, expected, atol=1e-9)
        if before.lidar is None:
            assert after.lidar is None
        else:
            np.testing.assert_allclose(after.lidar, before.lidar, atol=1e-5)


def test_files_are_those_of_the_dataset(tmp_path):
    """By hand: camera x right, y down, z forward; vehicle x forward, y right, z down."""
    write_robotcar([Made(1)], tmp_path / "tree")
    root, folder = tmp_path / "tree", tmp_path / "tree" / FIRST
    stamp = START_NS // 1000
    assert (folder / "stereo.timestamps").read_text() == f"{stamp} 1\n"
    stored = cv2.imread(str(folder / "stereo" / "left" / f"{stamp}.png"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(stored[..., ::-1], Made(1)[0].image)
    assert read_stamps(folder / "ldmrs.timestamps").tolist() == [stamp]
    x, y, z = Made(1)[0].lidar.T
    scan = read_scan(folder / "ldmrs" / f"{stamp}.bin", is_planar=False)
    assert np.array_equal(scan, np.column_stack([z, x, y]))
    assert np.array_equal(read_extrinsics(root / "extrinsics" / "stereo.txt"), np.eye(4))
    model = (root / "models" / "stereo_wide_left.txt").read_text().split("\n")
    assert model[0] == "60.5 61.5 30.25 22.75"
    assert model[1] == "0.0 0.0 1.0 0.0"
    table = np.fromfile(root / "models" / "stereo_wide_left_distortion_lut.bin")
    assert table.reshape(2, 48, 64)[:, 5, 7].tolist() == [7, 5]
    assert (root / "tags" / f"{FIRST}.yaml").read_text() == "- night\n"
    header, row = (folder / "gps" / "ins.csv").read_text().splitlines()
    named = dict(zip(header.split(","), row.split(","), strict=True))
    east, north, up = Made(1)[0].T_world_camera[:3, 3]
    assert [float(named[n]) for n in ("northing", "easting", "down")] == [north, east, -up]
    assert float(named["altitude"]) == up
    assert header.split(",")[5:8] == ["northing", "easting", "down"]  # where the SDK takes them
    assert header.split(",")[-3:] == ["roll", "pitch", "yaw"]


def test_a_camera_that_looks_north_and_level_has_no_angles(tmp_path):
    """Its x is east, its y down: so is what the vehicle calls right and down."""

    class North(Made):
        def __getitem__(self, index):
            T = np.array([[1, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1.0]])
            frame = super().__getitem__(index)
            return Frame(frame.image, frame.camera, frame.stamp_ns, T_world_camera=T)

    write_robotcar([North(1)], tmp_path / "tree")
    row = (tmp_path / "tree" / FIRST / "gps" / "ins.csv").read_text().splitlines()[1]
    assert [float(value) for value in row.split(",")[-3:]] == [0, 0, 0]
    assert not (tmp_path / "tree" / FIRST / "ldmrs").exists()


@pytest.mark.parametrize("pitch", [0.3, np.pi / 2, -np.pi / 2, np.pi / 2 - 1e-9])
def test_every_rotation_survives_its_angles(pitch):
    T = transforms(np.array([[1.0, 2.0, 3.0, 0.7, pitch, -2.1]]))
    np.testing.assert_allclose(transforms(_xyzrpy(T[0])[None]), T, atol=1e-12)


def test_every_condition_scene_and_camera_has_a_traversal(tmp_path):
    other = Camera(1200, 1200, 639.5, 479.5, 1280, 960)  # as large as theirs, yet not cut
    conditions = ("day-clear", "day-rain", "fog", "unknown")
    made = Made(8, cameras=(CAMERA, other), conditions=conditions)
    assert write_robotcar([made, Made(2)], tmp_path / "tree") == 10
    drives = read(tmp_path / "tree")
    # In the order of names: times go on second by second, where one is taken.
    assert [drive.name[-2:] for drive in drives] == [f"{n:02d}" for n in range(9)]
    assert [drive.condition for drive in drives[:-1]] == [c for c in conditions for _ in range(2)]
    assert drives[-1].condition == "night"
    assert [drive.camera for drive in drives[:2]] == [CAMERA, other]
    assert np.array_equal(drives[1][0].image, made[1].image)
    assert np.array_equal(drives[2][0].image, made[2].image)
    assert drives[1][0].camera_name == "mono_left"
    assert len(drives[-1]) == 2
    # One set of calibrations where it is the same.
    assert not (drives[2].folder / "models").exists()
    assert (tmp_path / "tree" / "models").exists()
    scenes = json.loads((tmp_path / "tree" / "rosam-robotcar.json").read_text())["scenes"]
    assert set(scenes.values()) == {"made"}


def test_raw_images_keep_one_colour_a_pixel(tmp_path):
    write_robotcar([Made(1)], tmp_path / "tree", mosaic=True)
    (path,) = (tmp_path / "tree" / FIRST / "stereo" / "left").glob("*.png")
    stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    red, green, blue = np.moveaxis(Made(1)[0].image, -1, 0)
    assert stored.shape == (48, 64)
    for row, column, colour in ((0, 0, green), (0, 1, blue), (1, 0, red), (1, 1, green)):
        assert np.array_equal(stored[row::2, column::2], colour[row::2, column::2])
    image = read(tmp_path / "tree")[0][0].image  # which keeps what was measured, but at the edge
    assert np.array_equal(image[2:-2:2, 3:-2:2, 2], blue[2:-2:2, 3:-2:2])
    assert np.array_equal(image[3:-2:2, 2:-2:2, 0], red[3:-2:2, 2:-2:2])


@pytest.mark.parametrize("mosaic", [False, True])
def test_distorted_images_are_undistorted(tmp_path, mosaic):
    bent = Camera(60.0, 60.0, 31.5, 23.5, 64, 48, "plumb_bob", (-0.2, 0.02, 0.001, 0.0, 0.0))

    class Ramp(Made):
        """Red is the column, green the row, four times each."""

        def __getitem__(self, index):
            rows, columns = np.mgrid[:48, :64]
            image = np.stack([4 * columns, 4 * rows, 0 * rows], axis=-1).astype(np.uint8)
            return Frame(image, bent, START_NS)

    write_robotcar([Ramp(1)], tmp_path / "tree", mosaic=mosaic)
    (drive,) = read(tmp_path / "tree")
    frame = drive[0]
    assert frame.camera == Camera(60.0, 60.0, 31.5, 23.5, 64, 48)
    ray = np.array([[(50 - 31.5) / 60, (40 - 23.5) / 60, 1]], np.float32)
    column, row = project_points(ray, bent)[0]
    assert abs(column - 50) > 0.5  # the distortion is worth undoing
    np.testing.assert_allclose(frame.image[40, 50, :2], [4 * column, 4 * row], atol=1)


def test_stamps_are_cut_to_microseconds_and_must_differ(tmp_path):
    class Fine(Made):
        def __getitem__(self, index):
            return Frame(np.zeros((48, 64, 3), np.uint8), CAMERA, START_NS + 900 + 1000 * index)

    write_robotcar([Fine(2)], tmp_path / "tree")
    assert [f.stamp_ns - START_NS for f in read(tmp_path / "tree")[0]] == [0, 1000]
    assert read(tmp_path / "tree")[0][0].T_world_camera is None
    with pytest.raises(
        ValueError, match=r"frame 1 of 2014-12-09-13-00-00 has the time 1418\d+ us"
    ):
        write_robotcar([Made(2, step=0)], tmp_path / "other")
    assert [path.name for path in tmp_path.iterdir()] == ["tree"]


def test_frames_without_a_pose_are_named(tmp_path, caplog):
    write_robotcar([Made(5, unposed=(0, 4))], tmp_path / "tree")
    assert "2 of 5 frames have no pose" in caplog.text
    poses = [frame.T_world_camera is None for frame in read(tmp_path / "tree")[0]]
    assert poses == [True, False, False, False, True]


def test_a_frame_without_points_has_no_scan(tmp_path, caplog):
    class Blind(Made):
        def __getitem__(self, index):
            frame = super().__getitem__(index)
            return frame if index else dataclasses.replace(frame, lidar=frame.lidar[:0])

    write_robotcar([Blind(2)], tmp_path / "tree")
    assert [frame.lidar is None for frame in read(tmp_path / "tree")[0]] == [True, False]
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_time_before_1970_is_refused(tmp_path):
    class Early(Made):
        def __getitem__(self, index):
            return dataclasses.replace(super().__getitem__(index), stamp_ns=-1000)

    with pytest.raises(ValueError, match="made: a frame has the time -1000 ns, before 1970"):
        write_robotcar([Early(1)], tmp_path / "tree")
    assert list(tmp_path.iterdir()) == []


def test_no_frame_is_an_error_that_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="nothing to write"):
        write_robotcar([Made(0)], tmp_path / "tree")
    assert list(tmp_path.iterdir()) == []


def test_only_a_tree_of_ours_is_replaced_and_only_when_asked(tmp_path):
    tree = tmp_path / "tree"
    write_robotcar([Made()], tree)
    with pytest.raises(FileExistsError, match="--force replaces a RobotCar tree"):
        write_robotcar([Made()], tree)
    assert write_robotcar([Made(1)], tree, overwrite=True) == 1
    assert len(read(tree)[0]) == 1
    (tree / ".rosam").unlink()  # as if it had been downloaded
    with pytest.raises(FileExistsError, match="already and is not a RobotCar tree made here"):
        write_robotcar([Made()], tree, overwrite=True)
    assert len(read(tree)[0]) == 1


def test_images_that_were_resized_afterwards_are_refused(tmp_path):
    """Their size is that of the undistortion table or the dataset's, never just any."""
    write_robotcar([Made(2)], tmp_path / "tree")
    (drive,) = read(tmp_path / "tree")
    for path in (drive.folder / "stereo" / "left").glob("*.png"):
        assert cv2.imwrite(str(path), np.zeros((24, 32, 3), np.uint8))
    with pytest.raises(ValueError, match=r"images of 32x24 need 12288, .* or the images were res"):
        read(tmp_path / "tree")


@pytest.mark.parametrize(
    ("size", "table", "expected"),
    [
        ((32, 24), (32, 24), (32, 24, 24)),
        ((64, 48), (64, 48), (64, 48, 40)),  # the dataset's, with its crop
        ((48, 64), (64, 48), (64, 48, 40)),  # turned: as many pixels as its table, and refused
        ((32, 24), None, (64, 48, 40)),
    ],
)
def test_size_of_a_camera(tmp_path, size, table, expected):
    image = tmp_path / "1.png"
    assert cv2.imwrite(str(image), np.zeros(size[::-1], np.uint8))
    if table:
        np.zeros(2 * table[0] * table[1]).tofile(tmp_path / f"{SMALL.model}_distortion_lut.bin")
    broken = tmp_path / "0.png"
    broken.write_bytes(b"")
    found = camera_of_images(SMALL, tmp_path, first_size([broken, image]))
    assert (found.width, found.height, found.crop_height) == expected


def test_half_an_undistortion_table_is_named(tmp_path):
    width, height = Made(1)[0].image.shape[1::-1]
    write_robotcar([Made(1)], tmp_path / "tree")
    (table,) = (tmp_path / "tree").rglob("*_distortion_lut.bin")
    table.write_bytes(table.read_bytes()[: 8 * width * height])
    need = f"{8 * width * height} bytes: images of {width}x{height} need {16 * width * height}"
    with pytest.raises(ValueError, match=rf"_lut\.bin holds {need}.* is cut short"):
        read(tmp_path / "tree")


def test_a_table_that_ends_in_zeros_is_none(tmp_path):
    rows, columns = np.mgrid[: SMALL.height, : SMALL.width].astype("<f8")
    path = tmp_path / f"{SMALL.model}_distortion_lut.bin"
    np.stack([columns, rows]).tofile(path)
    read_table(tmp_path, SMALL)
    np.stack([columns, np.where(rows < SMALL.height / 2, rows, 0)]).tofile(path)
    with pytest.raises(ValueError, match="ends in zeros: half a download"):
        read_table(tmp_path, SMALL)


@pytest.mark.parametrize("window", [-1.0, np.nan, np.inf])
def test_a_window_that_is_none_is_refused(tmp_path, window):
    write_robotcar([Made(1)], tmp_path / "tree")
    with pytest.raises(ValueError, match="window of scans must be 0 s or more"):
        RobotCarDrive(tmp_path / "tree" / FIRST, window_s=window)
