"""What lies at a path is found, opened with what the user states, or told in one line."""

import json

import numpy as np
import pytest
from bag_samples import write_camera_bag
from test_frames_drive import CAMERA, HEIGHT, WIDTH, write_images, write_video
from test_kitti import write_raw, write_sequence

from rosam_core.drives.opening import DriveOptions, find_kind, open_drives


def test_images_video_and_kitti_are_told_apart(tmp_path):
    images = write_images(tmp_path / "images")
    video = write_video(tmp_path / "clip.mp4", frames=3)
    recording = write_raw(tmp_path / "raw")
    sequence = write_sequence(tmp_path / "odometry")
    assert find_kind(images) == find_kind(video) == "frames"
    assert find_kind(recording) == find_kind(tmp_path / "odometry") == "kitti"
    options = DriveOptions(fov_deg=60, fps=5)
    assert open_drives(images, options=options)[0][1].stamp_ns == 200_000_000
    assert len(open_drives(video, options=options)[0]) == 3
    assert open_drives(sequence, options=DriveOptions(kitti_camera=0))[0][0].image.mean() == 50
    assert open_drives(tmp_path / "raw")[0].name == recording.name


def test_described_folders_are_opened_together(tmp_path):
    described = {"K": CAMERA.K.tolist(), "width": WIDTH, "height": HEIGHT}
    for name in ("b", "a"):
        write_images(tmp_path / name / "frames")
        (tmp_path / name / "drive.json").write_text(json.dumps(described))
    assert find_kind(tmp_path) == find_kind(tmp_path / "a") == "frames"
    drives = open_drives(tmp_path)
    write_images(tmp_path, ["sheet.png"])
    drives = open_drives(tmp_path)
    assert [drive.name for drive in drives] == ["a", "b"]
    np.testing.assert_allclose(drives[0][0].camera.K, CAMERA.K)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (DriveOptions(fps=5), "--fps has no meaning for a drive of kind kitti"),
        (DriveOptions(fov_deg=60), "--fov has no meaning"),
        (DriveOptions(kitti_camera=1), "no images of camera 1"),
    ],
)
def test_an_option_is_never_ignored(tmp_path, options, message):
    write_raw(tmp_path)
    with pytest.raises(ValueError, match=message):
        open_drives(tmp_path, options=options)


def test_description_without_images_is_told(tmp_path):
    (tmp_path / "drive.json").write_text('{"format": "rosam-frames-1"}')
    with pytest.raises(ValueError, match="'rosam-frames-1' with images beside it"):
        find_kind(tmp_path)


def test_a_bag_camera_without_camera_info_takes_the_stated_view(tmp_path):
    bag = tmp_path / "drive.mcap"
    write_camera_bag(bag, camera=None)
    with pytest.raises(ValueError, match="no camera that can be scored"):
        open_drives(bag)
    (drive,) = open_drives(bag, options=DriveOptions(fov_deg=60))
    assert drive[0].camera.fov_x_deg == pytest.approx(60)
    (drive,) = open_drives(bag, options=DriveOptions(camera=CAMERA))
    assert drive[0].camera == CAMERA
