"""`rosam drive`: tables and sheets of drives that are made here."""

import argparse
import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from bag_samples import CAMERA, FRAME_ID, START_NS, STEP_NS, moved
from test_frames_drive import write_images
from test_kitti import write_raw

from rosam_core.cli import main
from rosam_core.commands.drive_options import (
    add_source_arguments,
    add_view_arguments,
    drive_options,
)
from rosam_core.drives.bag_writer import BagWriter
from rosam_core.drives.frames import FramesDrive
from rosam_core.drives.opening import DriveOptions
from rosam_core.evaluation.sheet import CAPTION_HEIGHT, CELL_WIDTH, drive_sheet


def drive(capsys, *arguments):
    code = main(["drive", *map(str, arguments)])
    return code, capsys.readouterr()


def stated(*words):
    parser = argparse.ArgumentParser()
    add_source_arguments(parser)
    add_view_arguments(parser)
    return drive_options(parser.parse_args([str(word) for word in words]))


def test_every_option_reaches_its_field(tmp_path):
    camera = tmp_path / "camera.yaml"
    camera.write_text("{fx: 64, fy: 64, cx: 31.5, cy: 23.5, width: 64, height: 48}")
    found = stated(
        *("--fps", 7, "--bayer", "grbg", "--topic", "/a", "--topic", "/b", "--lidar", "/points"),
        *("--depth", "d", "--kitti-camera", 3, "--nuscenes-camera", "CAM_BACK"),
        *("--nuscenes-version", "v1", "--nuscenes-split", "val", "--nuscenes-sweeps"),
        *("--nuscenes-min-speed", 1.5, "--robotcar-camera", "mono_rear"),
        *("--robotcar-split", "train_stride_2", "--robotcar-truth", "sdk_compat"),
        *("--robotcar-window", 2.5, "--camera", camera),
    )
    assert found == DriveOptions(
        camera=camera,
        fps=7.0,
        depth=Path("d"),
        kitti_camera=3,
        nuscenes_camera=("CAM_BACK",),
        nuscenes_version="v1",
        nuscenes_split="val",
        nuscenes_sweeps=True,
        nuscenes_min_speed=1.5,
        robotcar_camera="mono_rear",
        robotcar_split="train_stride_2",
        robotcar_truth="sdk_compat",
        robotcar_window=2.5,
        topic=("/a", "/b"),
        lidar="/points",
        bayer="grbg",
    )
    unset = [name for name, value in dataclasses.asdict(found).items() if value is None]
    assert unset == ["fov_deg"]  # given instead of a camera
    assert stated("--fov", 60) == DriveOptions(fov_deg=60.0)
    assert stated() == DriveOptions()


def test_info_as_json_and_as_a_table(tmp_path, capsys):
    folder = write_images(tmp_path / "d")
    code, out = drive(capsys, "info", folder, "--fov", 60, "--fps", 4, "--json")
    assert code == 0
    facts = json.loads(out.out)
    assert facts["kind"] == "frames"
    assert facts["drives"][0]["frames"] == 3
    assert facts["drives"][0]["cameras"][0]["rate_hz"] == 4
    code, out = drive(capsys, "info", folder, "--fov", 60, "--fps", 4)
    assert code == 0
    assert "d: 3 frames, 0.5 s, unknown 3, poses none, lidar none, depth none" in out.out
    row = " ".join(out.out.splitlines()[-1].split())
    assert row == "camera 3 64x48 60.0 deg 55.4 px 4.0 Hz 0.250 s after frame 0"


def test_info_names_the_frame_of_a_bags_poses(tmp_path, capsys):
    with BagWriter(tmp_path / "a.mcap") as writer:
        for index in range(2):
            stamp = START_NS + index * STEP_NS
            writer.write_image("/image", stamp, FRAME_ID, np.zeros((48, 64, 3), np.uint8))
            writer.write_camera_info("/camera_info", stamp, FRAME_ID, CAMERA)
            writer.write_transforms(stamp, [("odom", FRAME_ID, moved(x=index))])
    code, out = drive(capsys, "info", tmp_path / "a.mcap")
    assert code == 0
    assert "2 frames, 0.1 s, 1.0 m, unknown 2, poses all (in odom), lidar none" in out.out


def test_info_of_several_drives_ends_with_their_sum(tmp_path, capsys):
    write_raw(tmp_path)
    second = tmp_path / "2011_09_26" / "2011_09_26_drive_0002_sync"
    first = tmp_path / "2011_09_26" / "2011_09_26_drive_0001_sync"
    (second / "image_02").parent.mkdir()
    (second / "image_02").symlink_to(first / "image_02")
    code, out = drive(capsys, "info", tmp_path)
    assert code == 0
    assert "2011_09_26_drive_0001_sync: 2 frames, 0.1 s, 0.0 m, day-clear 2, poses all" in out.out
    assert "2011_09_26_drive_0002_sync: 2 frames, 0.1 s, day-clear 2, poses none" in out.out
    assert out.out.splitlines()[-1] == "2 drives, 4 frames in all"


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_sheet_has_a_cell_for_every_frame(tmp_path, capsys, suffix):
    folder = write_images(tmp_path / "d", [f"{i}.png" for i in range(9)], 80, 60)
    (folder / "7.png").write_bytes(b"")
    sheet = tmp_path / "new" / f"sheet{suffix}"
    code, out = drive(capsys, "info", folder, "--fov", 60, "--sheet", sheet, "--frames", 5)
    assert code == 0
    assert f"sheet: {sheet}" in out.out
    picture = cv2.imread(str(sheet))[..., ::-1]
    height = round(CELL_WIDTH * 60 / 80)
    assert picture.shape == (2 * (height + CAPTION_HEIGHT), 4 * CELL_WIDTH, 3)
    # Frames 0, 1, 3, 5 and 7; the level of frame i is 10 i; 7 cannot be read and says so.
    middles = picture[height // 2, CELL_WIDTH // 2 :: CELL_WIDTH].mean(axis=1)
    np.testing.assert_allclose(middles, [0, 10, 30, 50], atol=3)
    red, green, _ = picture[height + CAPTION_HEIGHT + height - 5, 20].astype(int)
    assert red > green + 20


def test_sparse_truth_is_drawn_on_the_left_half_only(tmp_path):
    folder = write_images(tmp_path / "d", ["0.png"], 400, 300)
    stored = np.zeros((300, 400), np.uint16)
    stored[100, 50] = stored[100, 350] = 3 * 256
    (folder / "depth").mkdir()
    cv2.imwrite(str(folder / "depth" / "0.png"), stored)
    picture = drive_sheet([FramesDrive(folder, fov_deg=60)], 4)
    assert picture.shape == (300 + CAPTION_HEIGHT, CELL_WIDTH, 3)
    drawn = np.argwhere(picture[:300].max(axis=2) > 50)
    assert drawn.tolist() == [[100, 50], [100, 51]]
    assert picture[100, 50, 0] > 150  # 3 m is near: red
    assert picture[100, 50, 2] < 50


def test_doctor_names_frames_and_remedies_and_fails_on_errors(tmp_path, capsys):
    noise = np.random.default_rng(0).integers(0, 255, (12, 16, 3), np.uint8)
    scene = cv2.resize(noise, (320, 240), interpolation=cv2.INTER_CUBIC)
    folder = tmp_path / "d"
    folder.mkdir()
    for index in range(8):
        image = np.roll(scene, 4 * (index - (index == 5)), axis=1)
        cv2.imwrite(str(folder / f"{index}.png"), image)
    code, out = drive(capsys, "doctor", folder, "--fov", 60)
    assert code == 1
    assert "d, camera: 8 frames, 7 pairs" in out.out
    assert (
        "error: duplicate: 1 of 7 frames show the very picture before them (frames 5)" in out.out
    )
    assert "remedy: leave them out" in out.out
    assert "8 frames, 7 pairs of images: 1 errors, 0 warnings" in out.out
    code, out = drive(capsys, "doctor", folder, "--fov", 60, "--json")
    assert code == 1
    (camera,) = json.loads(out.out)["cameras"]
    assert camera["findings"][0]["frames"] == [[5, 5]]
    code, out = drive(capsys, "doctor", folder, "--fov", 60, "--pairs", 0)
    assert code == 0
    assert out.out.splitlines()[-1] == "8 frames, 0 pairs of images: 0 errors, 0 warnings"
    for path in sorted(folder.glob("*"))[1:]:
        path.unlink()
    code, out = drive(capsys, "doctor", folder, "--fov", 60)
    assert code == 0
    assert out.out.splitlines()[-1].startswith("no frame has a neighbour in time")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("info", "nowhere"), "no drive at nowhere"),
        (("info", "d"), "state its horizontal view with --fov"),
        (("info", "d", "--fov", 60, "--sheet", "sheet.gif"), "name a .png or .jpg file"),
        (("info", "d", "--sheet", "/proc/x/sheet.png"), "--sheet /proc/x/sheet.png cannot be"),
        (("info", "d", "--fov", 60, "--frames", 0), "at least 1"),
        (("doctor", "d", "--fov", 60, "--pairs", -1), "0 or more"),
        (("info", "d", "--camera", "none.yaml"), "no camera file at none.yaml"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(tmp_path, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / "d")
    code, out = drive(capsys, *arguments)
    assert code == 1
    assert message in out.err
    assert len(out.err.strip().splitlines()) == 1
