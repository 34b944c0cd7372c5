"""Real RobotCar images: raw ones with a stand-in table, and prepared ones."""

import shutil

import cv2
import numpy as np
import pytest

from rosam_core.drives.robotcar import RobotCarDrive

DAY, NIGHT = 1418132504537582, 1418756721422679


@pytest.fixture
def raw(shared_data, tmp_path):
    """The sample in the layout of a download, with a table that changes nothing."""
    source = shared_data / "robotcar_raw"
    folder = tmp_path / "2014-05-06-12-54-54"
    (folder / "stereo").mkdir(parents=True)
    (folder / "stereo" / "centre").symlink_to(source / "images")
    shutil.copy(source / "stereo.timestamps", folder)
    shutil.copytree(source / "extrinsics", tmp_path / "extrinsics")
    (tmp_path / "models").mkdir()
    shutil.copyfile(
        source / "model" / "stereo_narrow_left.txt", tmp_path / "models/stereo_narrow_left.txt"
    )
    return folder


def test_raw_images(raw):
    with pytest.raises(FileNotFoundError, match=r"get models/stereo_narrow_left_distortion_lut"):
        RobotCarDrive(raw)
    rows, columns = np.mgrid[:960, :1280].astype(np.float64)
    table = raw.parent / "models" / "stereo_narrow_left_distortion_lut.bin"
    np.stack([columns, rows]).tofile(table)
    drive = RobotCarDrive(raw, crop=False)
    assert len(drive) == 6
    for index in range(6):
        frame = drive[index]
        stored = cv2.imread(
            str(raw / "stereo" / "centre" / f"{frame.stamp_ns // 1000}.png"), cv2.IMREAD_UNCHANGED
        )
        # Demosaicing keeps what was measured: G B / R G. The outermost pixels have no neighbours.
        inside = slice(2, -2)
        for row, column, channel in ((0, 0, 1), (1, 1, 1), (0, 1, 2), (1, 0, 0)):
            np.testing.assert_array_equal(
                frame.image[row::2, column::2, channel][inside, inside],
                stored[row::2, column::2][inside, inside],
            )
        assert frame.camera.fx == 964.828979
        assert frame.T_world_camera is None
    assert (np.diff(drive.stamps) > 0).all()


@pytest.mark.parametrize(
    ("name", "stamp", "condition"),
    [("2014-12-09-13-21-02", DAY, "day-clear"), ("2014-12-16-18-44-24", NIGHT, "night")],
)
def test_prepared_images(shared_data, tmp_path, name, stamp, condition):
    (tmp_path / "models").mkdir()
    shutil.copyfile(
        shared_data / "robotcar_raw" / "model" / "stereo_wide_left.txt",
        tmp_path / "models/stereo_wide_left.txt",
    )
    images = tmp_path / name / "stereo" / "left"
    images.mkdir(parents=True)
    source = shared_data / "frames" / "night_day_pairs" / f"{stamp}.png"
    (images / source.name).symlink_to(source)
    (tmp_path / name / "stereo.timestamps").write_text(f"{stamp} 1\n")
    frame = RobotCarDrive(tmp_path / name)[0]
    assert frame.condition == condition
    assert frame.camera.fx == 983.044006
    np.testing.assert_array_equal(frame.image, cv2.imread(str(source))[:768, :, ::-1])
