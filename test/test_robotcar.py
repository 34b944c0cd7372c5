"""RobotCar traversals: pixels, poses, lidar, truth and splits worked out by hand."""

import pickle

import cv2
import numpy as np
import pytest
from robotcar_samples import (
    NAME,
    START,
    use_small_images,
    write_shared,
    write_stamps,
    write_table,
    write_traversal,
)

from rosam_core import cli
from rosam_core.drives.opening import DriveOptions, find_kind, open_drives
from rosam_core.drives.robotcar import RobotCarDrive
from rosam_core.drives.robotcar_files import CAMERAS
from rosam_core.drives.robotcar_layout import find_robotcar
from rosam_core.drives.robotcar_lidar import depth_of_points
from rosam_core.types import Camera


@pytest.fixture
def traversal(tmp_path, monkeypatch):
    """Five images of 64x48, 10 m/s straight ahead."""
    use_small_images(monkeypatch)
    write_shared(tmp_path)
    return write_traversal(tmp_path)


def write_image(folder, index, mosaic):
    path = folder / "stereo" / "left" / f"{START + 62500 * index}.png"
    assert cv2.imwrite(str(path), mosaic)
    return path


def test_cameras_as_the_dataset_pairs_them():
    found = {name: (about.model, about.bayer) for name, about in CAMERAS.items()}
    assert found == {
        "stereo/left": ("stereo_wide_left", "gbrg"),
        "stereo/centre": ("stereo_narrow_left", "gbrg"),
        "stereo/right": ("stereo_wide_right", "gbrg"),
        "mono_left": ("mono_left", "rggb"),
        "mono_right": ("mono_right", "rggb"),
        "mono_rear": ("mono_rear", "rggb"),
    }


def test_frames_in_order_of_time_with_the_cropped_camera(traversal):
    drive = RobotCarDrive(traversal)
    assert len(drive) == 5
    assert drive.name == NAME
    frame = drive[3]
    assert frame.stamp_ns == (START + 187500) * 1000
    assert frame.camera == Camera(32, 32, 31.5, 23.5, 64, 40)
    assert frame.image.shape == (40, 64, 3)
    assert (frame.image == 50).all()
    assert frame.condition == "day-clear"  # one of md4all's two
    assert frame.camera_name == "stereo_left"
    with pytest.raises(IndexError):
        drive[5]
    assert RobotCarDrive(traversal, crop=False)[0].image.shape == (48, 64, 3)


def test_mosaic_becomes_colour(traversal):
    mosaic = np.empty((48, 64), np.uint8)
    mosaic[0::2, 0::2] = mosaic[1::2, 1::2] = 100  # G B
    mosaic[0::2, 1::2], mosaic[1::2, 0::2] = 50, 200  # R G
    write_image(traversal, 0, mosaic)
    assert (RobotCarDrive(traversal)[0].image == (200, 100, 50)).all()


def test_table_tells_where_a_pixel_was_recorded(traversal):
    write_table(traversal.parent, shift=3.0)
    mosaic = np.full((48, 64), 50, np.uint8)
    mosaic[:, 32:] = 150
    write_image(traversal, 0, mosaic)
    image = RobotCarDrive(traversal)[0].image
    assert (image[:, :28] == 50).all()
    assert (image[:, 30:61] == 150).all()  # column 32 of the recorded image is 29 of this one
    assert (image[:, 61:] == 0).all()  # from beyond the recorded image


def test_prepared_images_need_no_table(traversal):
    (traversal.parent / "models" / "stereo_wide_left_distortion_lut.bin").unlink()
    for index in range(5):
        write_image(traversal, index, np.full((48, 64, 3), (10, 20, 30), np.uint8))  # BGR
    assert (RobotCarDrive(traversal)[2].image == (30, 20, 10)).all()


def test_a_raw_image_among_prepared_ones_is_refused(traversal):
    (traversal.parent / "models" / "stereo_wide_left_distortion_lut.bin").unlink()
    write_image(traversal, 0, np.full((48, 64, 3), 10, np.uint8))
    with pytest.raises(ValueError, match=r"1418130000062500\.png is a raw mosaic"):
        RobotCarDrive(traversal)[1]


def test_pose_of_a_frame(traversal):
    T = RobotCarDrive(traversal)[2].T_world_camera
    # World: x forward, y left, z up. Camera: x right, y down, z forward, 1.25 m on.
    np.testing.assert_allclose(
        T, [[0, 0, 1, 1.25], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]], atol=1e-9
    )


def test_lidar_is_moved_to_the_time_of_the_image(traversal):
    frame = RobotCarDrive(traversal)[2]
    # The post stands 20 m ahead of the first image, 1 m right, 0.5 m down; the car is 1.25 m on.
    np.testing.assert_allclose(frame.lidar, [[1, 0.5, 18.75]] * 12, atol=1e-5)
    # Column 32 * 1 / 18.75 + 31.5 = 33.2, row 32 * 0.5 / 18.75 + 23.5 = 24.4.
    assert np.argwhere(np.isfinite(frame.depth)).tolist() == [[24, 33]]
    assert frame.depth[24, 33] == pytest.approx(18.75, abs=1e-5)


def test_published_truth_has_the_faults_of_the_sdk(traversal):
    frame = RobotCarDrive(traversal, truth="sdk_compat")[2]
    # Scan k at 10 + 20 k ms saw the post at 20 - 10 t; it is moved by the pose of scan k + 1,
    # floored to a multiple of 62.5 ms; the image is at 1.25 m. The twelfth scan is dropped.
    by_hand = [18.65, 18.45, 18.875, 18.675, 18.475, 18.9, 18.7, 18.5, 18.925, 18.725, 18.525]
    np.testing.assert_allclose(frame.lidar[:, 2], by_hand, atol=1e-5)
    assert frame.depth[24, 33] == pytest.approx(18.45, abs=1e-5)
    with pytest.raises(ValueError, match="sdk_compat"):
        RobotCarDrive(traversal, truth="sdk")


def test_window_bounds_the_scans(traversal):
    # Image 2 is at 125 ms: scans at 90, on the very edge, 110, 130 and 150 ms.
    assert len(RobotCarDrive(traversal, window_s=0.035)[2].lidar) == 4
    # And those at 110, 130 and, on the other edge, 150 ms.
    assert len(RobotCarDrive(traversal, window_s=0.025)[2].lidar) == 3
    assert RobotCarDrive(traversal, window_s=0.0)[2].depth is None


def test_planar_scans_have_no_height_and_others_do(traversal):
    folder = traversal / "ldmrs"
    folder.mkdir()
    stamp = START + 125000
    np.array([[10.0, 2, 3]]).tofile(folder / f"{stamp}.bin")
    write_stamps(traversal / "ldmrs.timestamps", [stamp])
    (traversal.parent / "extrinsics" / "ldmrs.txt").write_text("1 0 0 0 0 0")
    frame = RobotCarDrive(traversal, lidar="ldmrs")[2]
    np.testing.assert_allclose(frame.lidar, [[2, 3, 11]], atol=1e-6)


def test_nearest_point_and_the_edges_of_the_published_truth():
    camera = Camera(10, 10, 5, 5, 11, 11)
    points = np.array(
        [
            [0.0, 0, 4],  # pixel (5, 5)
            [0.1, 0, 3],  # 5.33: the same pixel, nearer
            [-4.5, 0, 10],  # column 0.5, rounded to the even 0: the first that counts
            [-4.6, 0, 10],  # 0.4: outside
            [5, 5, 10],  # (10, 10), the last pixel's centre
            [2.55, 2.5, 5],  # (10.1, 10): beyond it, though nearer
            [0, 0, -1],  # behind
            [0, 1, 0.25],  # row 45
            [0.0, 0.2, 0.5],  # row 9, half a metre off
        ],
        np.float32,
    )
    depth = depth_of_points(points, camera)
    found = {tuple(cell): float(depth[tuple(cell)]) for cell in np.argwhere(np.isfinite(depth))}
    assert found == {(5, 5): 3.0, (5, 0): 10.0, (10, 10): 10.0, (9, 5): 0.5}


def test_a_camera_that_looks_left(traversal):
    root = traversal.parent
    (traversal / "mono_left").mkdir()
    mosaic = np.full((48, 64), 100, np.uint8)
    mosaic[0::2, 0::2], mosaic[1::2, 1::2] = 200, 50  # R G
    cv2.imwrite(str(traversal / "mono_left" / f"{START}.png"), mosaic)  # G B
    write_stamps(traversal / "mono_left.timestamps", [START])
    for name in (".txt", "_distortion_lut.bin"):
        source = root / "models" / f"stereo_wide_left{name}"
        (root / "models" / f"mono_left{name}").write_bytes(source.read_bytes())
    # T_camera_vehicle turns vehicle x to camera y, so the camera looks along vehicle -y, left;
    # its centre is -R^T t = (-2, 0, 0).
    (root / "extrinsics" / "mono_left.txt").write_text(f"0 2 0 0 0 {np.pi / 2}")
    frame = RobotCarDrive(traversal, "mono_left")[0]
    np.testing.assert_allclose(frame.T_world_camera[:3, 3], [-2, 0, 0], atol=1e-9)
    np.testing.assert_allclose(frame.T_world_camera[:3, 2], [0, 1, 0], atol=1e-9)
    assert frame.image.shape == (48, 64, 3)
    assert (frame.image == (200, 100, 50)).all()


def test_splits_choose_frames_and_their_neighbours(traversal):
    at = [START + 62500 * i for i in range(5)]
    splits = traversal.parent / "splits"
    splits.mkdir()
    train = splits / f"{NAME}_train_stride_2.txt"
    train.write_text(f"{at[0]} {at[2]} {at[4]}\n{at[1]} {at[3]} {at[4]}\n")
    drive = RobotCarDrive(traversal, split=train)
    assert drive.stamps.tolist() == [at[2], at[3]]
    assert drive.neighbour(0, -1).stamp_ns == at[0] * 1000  # not the image just before
    assert drive.neighbour(0, 1).stamp_ns == at[4] * 1000
    test = splits / f"{NAME}_test.txt"
    test.write_text(f"{at[1]} something else\n{at[4]} 1 2\n")
    drive = RobotCarDrive(traversal, split=test)
    assert drive.stamps.tolist() == [at[1], at[4]]
    assert drive.neighbour(0, -1).stamp_ns == at[0] * 1000
    assert drive.neighbour(1, 1) is None
    with pytest.raises(ValueError, match="step"):
        drive.neighbour(0, 2)


def test_a_split_in_any_order_is_driven_in_the_order_of_time(traversal):
    at = [START + 62500 * i for i in range(5)]
    split = traversal.parent / f"{NAME}_train_stride_2.txt"
    split.write_text(f"{at[1]} {at[3]} {at[4]}\n{at[0]} {at[2]} {at[3]}\n")
    drive = RobotCarDrive(traversal, split=split)
    assert drive.stamps.tolist() == [at[2], at[3]]
    assert drive.neighbour(0, -1).stamp_ns == at[0] * 1000
    assert drive.neighbour(1, -1).stamp_ns == at[1] * 1000


def test_split_frames_without_image_are_named(traversal, caplog):
    split = traversal.parent / f"{NAME}_val_stride_1.txt"
    split.write_text(f"1 2 3\n{START} {START + 62500} {START + 125000}\n")
    assert len(RobotCarDrive(traversal, split=split)) == 1
    assert "1 of 2 frames" in caplog.text
    assert "first 2" in caplog.text
    split.write_text("1 2 3\n")
    with pytest.raises(ValueError, match="none of the 1 frames"):
        RobotCarDrive(traversal, split=split)
    split.write_text("1 2 3\n4 five 6\n")
    with pytest.raises(ValueError, match="line 2"):
        RobotCarDrive(traversal, split=split)
    split.write_text("\n")
    with pytest.raises(ValueError, match="lists no frame"):
        RobotCarDrive(traversal, split=split)


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("- sun\n- clouds\n", "day-clear"),
        ("- rain\n- night\n", "night"),
        ("- overcast\n- rain\n", "day-rain"),
        ("- snow\n- overcast\n", "unknown"),
        ("- roadworks\n", "unknown"),
    ],
)
def test_tags_tell_the_condition(traversal, tags, expected):
    (traversal.parent / "tags").mkdir()
    (traversal.parent / "tags" / f"{NAME}.yaml").write_text(tags)
    assert RobotCarDrive(traversal).condition == expected
    assert RobotCarDrive(traversal, condition="fog")[0].condition == "fog"


def test_opening_finds_traversals_and_split_files(traversal):
    root = traversal.parent
    split = root / "splits" / f"{NAME}_test.txt"
    split.parent.mkdir()
    split.write_text(f"{START}\n")
    assert find_robotcar(root) == find_robotcar(traversal) == [(traversal, None)]
    assert find_robotcar(split) == [(traversal, split)]
    assert find_robotcar(root / "models") == []
    for path, frames in ((root, 5), (traversal, 5), (split, 1)):
        assert find_kind(path) == "robotcar"
        (drive,) = open_drives(path)
        assert len(drive) == frames
    options = DriveOptions(robotcar_truth="sdk_compat", robotcar_camera="stereo/left")
    (drive,) = open_drives(split, options=options)
    assert drive.truth == "sdk_compat"
    (drive,) = open_drives(root, options=DriveOptions(robotcar_split="test"))
    assert len(drive) == 1
    with pytest.raises(FileNotFoundError, match=f"no split file {NAME}_val.txt"):
        open_drives(root, options=DriveOptions(robotcar_split="val"))
    with pytest.raises(ValueError, match="is a split file itself"):
        open_drives(split, options=DriveOptions(robotcar_split="test"))
    train = root / f"{NAME}_train_stride_1.txt"
    train.write_text(f"0 {START} 0\n0 {START + 62500} 0\n")
    assert find_robotcar(root, "train") == [(traversal, train)]
    with pytest.raises(ValueError, match="has no stereo/right: there is stereo/left"):
        open_drives(root, options=DriveOptions(robotcar_camera="stereo/right"))
    elsewhere = split.with_name("2015-01-01-00-00-00_test.txt")
    elsewhere.write_text("1\n")
    with pytest.raises(FileNotFoundError, match="traversal 2015-01-01-00-00-00, which is neither"):
        find_kind(elsewhere)
    (traversal / "stereo.timestamps").unlink()
    with pytest.raises(FileNotFoundError, match=r"no .*/stereo\.timestamps"):
        open_drives(traversal)
    with pytest.raises(FileNotFoundError, match="no RobotCar traversal"):
        open_drives(root / "models", "robotcar")


def test_a_drive_goes_to_other_processes(traversal):
    drive = pickle.loads(pickle.dumps(RobotCarDrive(traversal)))
    assert len(drive[1].lidar) == 12


def test_a_glance_says_what_the_frame_has(traversal):
    drive = RobotCarDrive(traversal)
    for index in range(5):
        frame, glance = drive[index], drive.glance(index)
        assert glance.stamp_ns == frame.stamp_ns
        assert glance.camera == frame.camera
        np.testing.assert_array_equal(glance.T_world_camera, frame.T_world_camera)
        assert (glance.has_lidar, glance.has_depth) == (True, True)
    assert not RobotCarDrive(traversal, window_s=0.0).glance(2).has_lidar
    with pytest.raises(IndexError):
        drive.glance(5)


# The post is at 20 - 0.625 i m in image i, in the published truth at 19.7 - 0.625 i m: the nearest
# of all scans is the second. Mean of |g - 18| / g over five images.
@pytest.mark.parametrize(("truth", "abs_rel"), [("corrected", "0.049"), ("sdk_compat", "0.045")])
def test_a_table_says_which_truth_it_used(traversal, tmp_path, capsys, truth, abs_rel):
    for stamp in RobotCarDrive(traversal).stamps:
        path = tmp_path / "depth" / f"{stamp * 1000}.npy"
        path.parent.mkdir(exist_ok=True)
        np.save(path, np.full((40, 64), 18.0, np.float32))
    arguments = ["eval", "--drive", str(traversal), "--predictions", str(tmp_path / "depth")]
    assert cli.main([*arguments, "--robotcar-truth", truth]) == 0
    printed = capsys.readouterr().out
    assert "truth 0.1 to 50 m" in printed
    assert f"truth: RobotCar lidar, {truth}, +-4 s" in printed
    assert abs_rel in printed
