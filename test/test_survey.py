"""What a drive holds, counted by hand; a glance tells what reading the frame does."""

import cv2
import numpy as np
import pytest
from bag_samples import write_camera_bag
from test_eval_command import write_drive
from test_frames_drive import write_images
from test_kitti import write_raw, write_sequence
from test_nuscenes import write_tree

from rosam_core.drives.base import Drive, Glance
from rosam_core.drives.opening import DriveOptions, open_drives
from rosam_core.drives.survey import survey, tracks_of
from rosam_core.types import Camera

CAMERA = Camera(50, 50, 31.5, 23.5, 64, 48)
SIDE = Camera(40, 40, 31.5, 23.5, 64, 48)


class ListedDrive(Drive):
    """Frames of which only what is known without reading them is there."""

    name = "listed"

    def __init__(self, rows):
        self.rows = rows  # scene, camera, stamp [s], x [m] or None

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        raise AssertionError("a survey reads no image")

    def scene(self, index):
        return self.rows[index][0]

    def glance(self, index):
        _, name, stamp, x = self.rows[index]
        T = None
        if x is not None:
            T = np.eye(4)
            T[0, 3] = x
        camera = SIDE if name == "side" else CAMERA
        night = Glance(round(stamp * 1e9), camera, T, "night", name, has_lidar=x == 0)
        return night


def test_scenes_and_cameras_are_counted_apart():
    drive = ListedDrive(
        [
            ("a", "front", 0.0, 0),
            ("a", "side", 0.01, 1),
            ("a", "front", 0.1, 3),
            ("a", "front", 0.2, None),
            ("a", "side", 0.51, 2),
            ("a", "front", 0.6, 5),
            ("b", "front", 100.0, 0),
            ("b", "front", 100.1, 7),
        ]
    )
    facts = survey(drive)
    assert facts["frames"] == 8
    assert facts["scenes"] == 2
    assert facts["conditions"] == {"night": 8}
    # 0 to 0.6 s in scene a, whose front camera goes to 3 m and 5 m; 0.1 s and 7 m in scene b.
    assert facts["duration_s"] == pytest.approx(0.7)
    assert facts["distance_m"] == 12
    assert (facts["poses"], facts["lidar"], facts["depth"]) == (7, 2, 0)
    front, side = facts["cameras"]
    assert (front["name"], front["frames"], side["frames"]) == ("front", 6, 2)
    assert front["rate_hz"] == pytest.approx(10)
    assert (front["largest_gap_s"], front["gap_after"]) == (0.4, 3)
    assert side["rate_hz"] == pytest.approx(2)
    assert side["fx"] == [40, 40]
    assert side["sizes"] == ["64x48"]
    assert side["fov_x_deg"] == [77.32, 77.32]  # 2 atan(32 / 40)


def test_lone_frames_have_no_rate():
    facts = survey(ListedDrive([("a", "front", 0.0, None)]))
    assert facts["duration_s"] == 0
    assert facts["distance_m"] is None
    (camera,) = facts["cameras"]
    assert camera["rate_hz"] is None
    assert camera["largest_gap_s"] is None


def test_repeated_stamps_do_not_change_the_rate():
    rows = [("a", "front", stamp, None) for stamp in (0, 0, 0, 0, 0.1, 0.2)]
    assert survey(ListedDrive(rows))["cameras"][0]["rate_hz"] == pytest.approx(10)


def test_positions_say_where_the_pose_is_unknown():
    (track,) = tracks_of(ListedDrive([("a", "front", 0.0, 2), ("a", "front", 1.0, None)]))
    np.testing.assert_array_equal(track.positions(), [[2, 0, 0], [np.nan] * 3])
    assert track.indices == (0, 1)


def write_bag(folder):
    write_camera_bag(folder / "drive.mcap")
    return folder / "drive.mcap"


def write_frames(folder):
    images = write_images(folder / "d")
    (images / "depth").mkdir()
    cv2.imwrite(str(images / "depth" / "1.png"), np.full((48, 64), 256, np.uint16))
    return images


@pytest.mark.parametrize(
    ("write", "options"),
    [
        (write_raw, None),
        (write_sequence, None),
        (write_frames, DriveOptions(fov_deg=60)),
        (write_bag, None),
        (write_tree, None),
        (lambda folder: write_drive(folder / "s"), None),
    ],
)
def test_a_glance_tells_what_the_frame_has(tmp_path, write, options):
    for drive in open_drives(write(tmp_path), options=options):
        for index in range(len(drive)):
            glance, whole = drive.glance(index), Drive.glance(drive, index)
            assert (glance.T_world_camera is None) == (whole.T_world_camera is None)
            if whole.T_world_camera is not None:
                np.testing.assert_array_equal(glance.T_world_camera, whole.T_world_camera)
            for name in (
                "stamp_ns",
                "camera",
                "condition",
                "camera_name",
                "has_lidar",
                "has_depth",
            ):
                assert getattr(glance, name) == getattr(whole, name), name
