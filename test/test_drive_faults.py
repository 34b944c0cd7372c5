"""Faults of recordings that info, doctor and eval tell alike: mosaics, copies, gaps, no points."""

import dataclasses
import json

import cv2
import numpy as np
import pytest
from bag_samples import CAMERA, FRAME_ID, START_NS, STEP_NS, grey, moved
from robotcar_samples import START, use_small_images, write_shared, write_traversal
from support import write_tiny_model
from test_kitti import write_scan, write_sequence

from rosam_core.cli import main
from rosam_core.drives import bag_messages
from rosam_core.drives.bag_messages import points_in, read_points
from rosam_core.drives.bag_reader import BagReader
from rosam_core.drives.bag_writer import BagWriter
from rosam_core.drives.frames import FramesDrive
from rosam_core.drives.image_checkup import diagnose
from rosam_core.drives.image_files import looks_like_mosaic, read_image
from rosam_core.drives.kitti import KittiDrive
from rosam_core.drives.opening import BAYER_PATTERNS, DriveOptions, open_drives
from rosam_core.drives.robotcar import RobotCarDrive
from rosam_core.drives.rosbag import RosbagDrive
from rosam_core.drives.survey import survey
from rosam_core.evaluation import protocol

PHASES = {"r": 0, "g": 1, "b": 2}


def picture(width=64, height=48):
    """A smooth picture of strong colours, uint8[H,W,3] RGB."""
    rows, columns = np.mgrid[:height, :width] / 10.0
    levels = [np.sin(rows + k) * np.cos(columns) * 20 + (60, 160, 90)[k] for k in range(3)]
    return np.stack(levels, axis=-1).astype(np.uint8)


def mosaic_of(rgb, pattern):
    raw = np.zeros(rgb.shape[:2], np.uint8)
    for place, colour in enumerate(pattern):
        rows, columns = np.s_[place // 2 :: 2], np.s_[place % 2 :: 2]
        raw[rows, columns] = rgb[rows, columns, PHASES[colour]]
    return raw


def write_raw_frames(folder, pattern="gbrg", count=3):
    folder.mkdir()
    for index in range(count):
        shifted = np.roll(picture(), 2 * index, axis=1)
        cv2.imwrite(str(folder / f"{index}.png"), mosaic_of(shifted, pattern))
    return folder


@pytest.mark.parametrize("pattern", BAYER_PATTERNS)
def test_a_stated_mosaic_is_demosaiced(tmp_path, caplog, pattern):
    folder = write_raw_frames(tmp_path / "raw", pattern)
    drive = FramesDrive(folder, fov_deg=60, bayer=pattern)
    inner = np.s_[4:-4, 4:-4]
    difference = drive[0].image[inner].astype(int) - picture()[inner]
    assert np.abs(difference).max() < 12  # what interpolation costs; of colours 70 apart
    assert not caplog.records


def test_a_mosaic_of_16_bits_keeps_its_high_byte(tmp_path):
    raw = mosaic_of(picture(), "rggb").astype(np.uint16) << 8
    cv2.imwrite(str(tmp_path / "a.png"), raw)
    cv2.imwrite(str(tmp_path / "b.png"), (raw >> 8).astype(np.uint8))
    images = [read_image(tmp_path / name, "rggb") for name in ("a.png", "b.png")]
    np.testing.assert_array_equal(*images)


def test_a_mosaic_read_as_grey_is_told(tmp_path, caplog, capsys):
    folder = write_raw_frames(tmp_path / "raw")
    drive = FramesDrive(folder, fov_deg=60)
    (record,) = caplog.records
    assert "0.png looks like a raw Bayer mosaic" in record.getMessage()
    assert "--bayer rggb|bggr|gbrg|grbg" in record.getMessage()
    (diagnosis,) = diagnose(drive)
    (finding,) = [f for f in diagnosis.findings if f.check == "mosaic"]
    assert (finding.severity, finding.frames) == ("error", (0, 1, 2))
    assert main(["drive", "doctor", str(folder), "--fov", "60"]) == 1
    assert "error: mosaic: 3 frames look like" in capsys.readouterr().out
    main(["drive", "doctor", str(folder), "--fov", "60", "--bayer", "gbrg"])
    assert "error: mosaic" not in capsys.readouterr().out


def test_grey_pictures_are_no_mosaics():
    smooth = np.repeat(picture()[..., :1], 3, axis=2)
    noise = np.random.default_rng(0).integers(0, 255, (48, 64, 1), dtype=np.uint8)
    assert not looks_like_mosaic(smooth)
    assert not looks_like_mosaic(np.repeat(noise, 3, axis=2))
    assert not looks_like_mosaic(picture())
    assert not looks_like_mosaic(np.zeros((48, 64, 3), np.uint8))
    assert not looks_like_mosaic(np.zeros((1, 1, 3), np.uint8))
    raw = mosaic_of(picture(), "bggr")
    assert looks_like_mosaic(np.repeat(raw[..., None], 3, axis=2))


def test_what_is_no_mosaic_is_refused(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), picture())
    cv2.imwrite(str(tmp_path / "a.jpg"), picture())
    with pytest.raises(ValueError, match=r"a\.png cannot be read.*in colour, no raw mosaic"):
        read_image(tmp_path / "a.png", "rggb")
    with pytest.raises(ValueError, match="a JPEG is no raw mosaic"):
        read_image(tmp_path / "a.jpg", "rggb")
    with pytest.raises(ValueError, match="bayer 'rgbg' is none of rggb"):
        FramesDrive(tmp_path, fov_deg=60, bayer="rgbg")
    with pytest.raises(ValueError, match="--bayer has no meaning for a drive of kind kitti"):
        open_drives(tmp_path, "kitti", options=DriveOptions(bayer="rggb"))


def write_copies(path, frames=2, points=((0.0, 0.0, 5.0),) * 3):
    """A bag with a raw and a compressed copy of the same images, and scans."""
    with BagWriter(path) as writer:
        for index in range(frames):
            stamp = START_NS + index * STEP_NS
            writer.write_camera_info("/front/camera_info", stamp, FRAME_ID, CAMERA)
            writer.write_image("/front/image_raw", stamp, FRAME_ID, grey(100))
            topic = "/front/image_raw/compressed"
            writer.write_compressed(topic, stamp, FRAME_ID, grey(90), "png")
            scan = np.array(points, np.float32).reshape(-1, 3)
            writer.write_points("/points", stamp, FRAME_ID, scan[: 0 if index == 1 else None])
    return path


def test_of_two_copies_of_a_camera_the_raw_one_is_opened(tmp_path, caplog):
    path = write_copies(tmp_path / "a.mcap")
    (drive,) = open_drives(path)
    assert drive.image_topic == "/front/image_raw"
    (record,) = caplog.records
    assert record.getMessage() == (
        "/front/image_raw/compressed left out, a copy of another transport: "
        "--topic /front/image_raw/compressed takes it"
    )
    (drive,) = open_drives(path, options=DriveOptions(topic=("/front/image_raw/compressed",)))
    assert (drive[0].image == 90).all()
    with pytest.raises(ValueError, match=r"no topic /front/imge.*did you mean /front/image_raw"):
        open_drives(path, options=DriveOptions(topic=("/front/imge_raw",)))


def test_bag_eval_scores_a_camera_once_and_takes_a_topic(tmp_path, capsys):
    bag = write_copies(tmp_path / "a.mcap", frames=1)
    model = str(write_tiny_model(tmp_path / "model", 64, 48))
    for more, frames in (
        ([], 1),
        (["--topic", "/front/image_raw", "--topic", "/front/image_raw/compressed"], 2),
    ):
        assert main(["bag", "eval", str(bag), "--model", model, "--json", *more]) == 0
        report = json.loads(capsys.readouterr().out)
        assert report["conditions"]["unknown"]["frames"] == frames


def test_a_camera_without_camera_info_is_told_beside_others(tmp_path, caplog):
    path = tmp_path / "a.mcap"
    with BagWriter(path) as writer:
        writer.write_camera_info("/front/camera_info", START_NS, FRAME_ID, CAMERA)
        writer.write_image("/front/image_raw", START_NS, FRAME_ID, grey(100))
        writer.write_image("/rear/image_raw", START_NS, "rear", grey(100))
    assert len(open_drives(path)) == 1
    (record,) = caplog.records
    assert "left out /rear/image_raw: no camera_info beside" in record.getMessage()
    with pytest.raises(ValueError, match="/rear/image_raw: no camera_info"):
        open_drives(path, options=DriveOptions(topic=("/front/image_raw", "/rear/image_raw")))


@pytest.mark.parametrize("name", ["a.mcap", "a.db3", "a.bag"])
def test_points_are_counted_without_decoding(tmp_path, name):
    write_copies(tmp_path / name, points=((1.0, 2.0, 3.0),) * 7)
    with BagReader(tmp_path / name) as bag:
        messages = list(bag.messages(["/points"]))
    assert [points_in(message) for message in messages] == [7, 0]
    assert [len(read_points(message.decode())) for message in messages] == [7, 0]
    cut = dataclasses.replace(messages[0], raw=messages[0].raw[:20])
    assert points_in(cut) == 0


def test_empty_scans_of_a_bag_are_told(tmp_path, capsys):
    path = write_copies(tmp_path / "a.mcap")
    drive = RosbagDrive(path, "/front/image_raw")
    assert [drive.glance(i).has_lidar for i in range(2)] == [True, False]
    told(path, drive, capsys)


def test_empty_scans_of_kitti_are_told(tmp_path, capsys):
    write_sequence(tmp_path)
    folder = tmp_path / "sequences" / "07"
    write_scan(folder / "velodyne" / "000001.bin", ())
    assert (folder / "velodyne" / "000001.bin").stat().st_size == 0
    told(folder, KittiDrive(folder), capsys)


def told(path, drive, capsys):
    """Checks that the scan of frame 1 is known to be empty."""
    facts = survey(drive)
    assert (facts["lidar"], facts["empty_scans"]) == (1, [1])
    main(["drive", "info", str(path)])
    assert "1 frames have an empty lidar scan: 1" in capsys.readouterr().out
    (diagnosis,) = diagnose(drive)
    (finding,) = [f for f in diagnosis.findings if f.check == "scans"]
    assert finding.frames == (1,)
    assert "scans of 1 of 2 frames hold no point" in finding.message


def test_missing_images_of_kitti_are_told_by_info_and_eval(tmp_path, capsys):
    write_sequence(tmp_path, frames=5)
    folder = tmp_path / "sequences" / "07"
    for number in (1, 3):
        (folder / "image_2" / f"{number:06d}.png").unlink()
    assert KittiDrive(folder).missing == ("000001", "000003")
    line = "2 listed images are missing: 000001, 000003"
    assert main(["drive", "info", str(folder)]) == 0
    assert line in capsys.readouterr().out
    model = str(write_tiny_model(tmp_path / "model", 64, 48))
    out, page = tmp_path / "e.json", tmp_path / "e.html"
    files = ["--json", str(out), "--report", str(page)]
    assert main(["eval", "--drive", str(folder), "--model", model, *files]) == 0
    assert f"attention: odometry-07: {line}" in capsys.readouterr().out
    assert json.loads(out.read_text())["faults"] == [f"odometry-07: {line}"]
    assert line in page.read_text()
    for number in (0, 4):  # at the ends nothing is missing: somebody took a part
        (folder / "image_2" / f"{number:06d}.png").unlink()
    assert KittiDrive(folder).missing == ()


def test_missing_images_of_robotcar_are_told(tmp_path, monkeypatch, capsys):
    use_small_images(monkeypatch)
    write_shared(tmp_path)
    folder = write_traversal(tmp_path)
    assert RobotCarDrive(folder).missing == ()
    gone = str(START + 62500 * 2)
    (folder / "stereo" / "left" / f"{gone}.png").unlink()
    assert RobotCarDrive(folder).missing == (gone,)
    assert main(["drive", "info", str(folder)]) == 0
    assert f"1 listed images are missing: {gone}" in capsys.readouterr().out


def test_what_is_wrong_on_the_way_is_told_by_info_and_eval(tmp_path, capsys):
    path = tmp_path / "a.mcap"
    zoomed = dataclasses.replace(CAMERA, fx=80.0, fy=80.0)
    scan = np.array([[0, 0, 5]] * 3, np.float32)
    lines = [
        "a, /front/image_raw: 2 of 5 frames have other intrinsics than the frame before: 2, 4",
        "a, /front/image_raw: 1 of 5 frames are older than the frame before: 2",
        "a, /front/image_raw: 1 of 5 frames have the stamp of the frame before: 4",
        "a, /front/image_raw: 2 of 5 frames have no pose, unlike the others: 3-4",
    ]
    with BagWriter(path) as writer:
        rows = zip((CAMERA, CAMERA, zoomed, zoomed, CAMERA), (0, 2, 1, 30, 30), strict=True)
        for index, (camera, step) in enumerate(rows):
            stamp = START_NS + step * STEP_NS
            for name, message in (
                ("/front/camera_info", bag_messages.camera_info(stamp, FRAME_ID, camera)),
                ("/front/image_raw", bag_messages.image(stamp, FRAME_ID, grey(100))),
                ("/points", bag_messages.point_cloud(stamp, FRAME_ID, scan)),
            ):
                writer.write(name, message, START_NS + index * STEP_NS)
            if index < 3:
                writer.write_transforms(stamp, [("map", FRAME_ID, moved(z=step))])
    assert main(["drive", "info", str(path)]) == 0
    said = capsys.readouterr().out
    assert [line for line in lines if line not in said.splitlines()] == []
    model = str(write_tiny_model(tmp_path / "model", 64, 48))
    assert main(["bag", "eval", str(path), "--model", model, "--json", str(tmp_path / "e")]) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line for line in lines if f"attention: {line}" not in said] == []
    made = json.loads((tmp_path / "e").read_text())
    assert made["faults"] == lines
    assert [frame["stamp_ns"] for frame in made["frames"]] == [
        START_NS,
        START_NS + 2 * STEP_NS,
    ]
    assert [reason.split(":")[0] for reason in made["frames_skipped"]] == [
        "a frame 2",
        "a frame 3",
        "a frame 4",
    ]
    assert "stamp is not after" in made["frames_skipped"][0]
    assert "no pose, unlike others" in made["frames_skipped"][1]
    assert "stamp is not after" in made["frames_skipped"][2]


def test_whether_a_drive_has_poses_is_asked_once(tmp_path, monkeypatch):
    path = tmp_path / "a.mcap"
    with BagWriter(path) as writer:
        for index in range(4):
            stamp = START_NS + index * STEP_NS
            scan = np.array([[0, 0, 5]] * 3, np.float32)
            for name, message in (
                ("/front/camera_info", bag_messages.camera_info(stamp, FRAME_ID, CAMERA)),
                ("/front/image_raw", bag_messages.image(stamp, FRAME_ID, grey(100))),
                ("/points", bag_messages.point_cloud(stamp, FRAME_ID, scan)),
            ):
                writer.write(name, message, stamp)
        writer.write_transforms(START_NS, [("map", FRAME_ID, np.eye(4))])
    asked, has_poses = [], protocol._has_poses
    monkeypatch.setattr(protocol, "_has_poses", lambda drive: asked.append(1) or has_poses(drive))
    model = str(write_tiny_model(tmp_path / "model", 64, 48))
    assert main(["bag", "eval", str(path), "--model", model, "--json", str(tmp_path / "e")]) == 0
    assert len(json.loads((tmp_path / "e").read_text())["frames_skipped"]) == 3
    assert asked == [1]
