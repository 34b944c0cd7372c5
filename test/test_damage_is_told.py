"""Damage that was once scored silently: each is named, left out and counted, or refused."""

import json
import logging

import cv2
import numpy as np
import pytest
from bag_samples import START_NS, grey
from support import ONE_SCENE
from test_eval_command import HEIGHT, WIDTH, evaluate, write_drive
from test_flicker import CAMERA as VIEW
from test_flicker import RANGE_M, wall
from test_nuscenes import write_tree

from rosam_core.cli import main
from rosam_core.drives.bag_transforms import matrix_of
from rosam_core.drives.bag_writer import BagWriter
from rosam_core.drives.base import Glance
from rosam_core.drives.kitti_calibration import offset_of_projection
from rosam_core.drives.nuscenes import NuscenesDrive, transform
from rosam_core.drives.pose_agreement import turning_rad
from rosam_core.drives.rosbag import RosbagDrive
from rosam_core.drives.survey import Track
from rosam_core.drives.synthetic.drive import SyntheticDrive
from rosam_core.evaluation.compare import compare
from rosam_core.evaluation.flicker import FlickerMeter
from rosam_core.evaluation.predictions import SavedPredictions
from rosam_core.types import Camera, Frame


def half_a_jpeg(path, size=(64, 48)):
    """Of noise, so that a half of the stream is a half of the picture."""
    noise = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), np.uint8)
    data = cv2.imencode(".jpg", noise)[1].tobytes()
    path.write_bytes(data[: len(data) // 2])


def test_half_a_jpeg_of_nuscenes_is_no_image(tmp_path):
    root = write_tree(tmp_path)
    table = root / "v1.0-mini" / "sample_data.json"
    table.write_text(table.read_text().replace("image.png", "image.jpg"))
    half_a_jpeg(root / "image.jpg")
    with pytest.raises(ValueError, match=r"image\.jpg cannot be read.*no end marker"):
        NuscenesDrive(root)[0]


def test_half_a_jpeg_of_a_synthetic_drive_is_no_image(tmp_path):
    folder = write_drive(tmp_path / "a", ("day-clear",))
    described = (folder / "drive.json").read_text()
    (folder / "drive.json").write_text(described.replace('".png"', '".jpg"'))
    drive = SyntheticDrive(folder, "day-clear")
    half_a_jpeg(folder / "images" / "day-clear" / "000000.jpg", (WIDTH, HEIGHT))
    with pytest.raises(ValueError, match="damaged image"):
        drive[0]


def test_a_pose_of_nuscenes_that_is_none_is_refused(tmp_path):
    for rotation in ([0, 0, 0, 0], [float("nan"), 0, 0, 1]):
        with pytest.raises(ValueError, match="is no pose"):
            transform({"rotation": rotation, "translation": [1, 2, 3]})
    root = write_tree(tmp_path)
    (root / "lidar.bin").write_bytes(b"")
    with pytest.raises(ValueError, match="holds 0 floats"):
        NuscenesDrive(root)[0]
    table = root / "v1.0-mini" / "ego_pose.json"
    poses = json.loads(table.read_text())
    poses[1]["rotation"] = [0, 0, 0, 0]
    table.write_text(json.dumps(poses))
    with pytest.raises(ValueError, match=r"image\.png: .* is no pose"):
        NuscenesDrive(root).glance(0)


def test_a_kitti_focal_length_of_zero_is_named():
    with pytest.raises(ValueError, match="focal lengths 0 and 0"):
        offset_of_projection(np.array([[0, 0, 5, 1], [0, 0, 5, 1], [0, 0, 1, 0.0]]))


def test_a_transform_of_nan_is_refused_and_one_of_zeros_is_no_rotation():
    class Vector:
        def __init__(self, x=0.0, y=0.0, z=0.0, w=0.0):
            self.x, self.y, self.z, self.w = x, y, z, w

    class Transform:
        rotation, translation = Vector(), Vector(1.0)

    assert matrix_of(Transform).tolist()[0] == [1, 0, 0, 1]
    for name, value in (("rotation", Vector(w=np.nan)), ("translation", Vector(x=np.inf))):
        broken = type("Broken", (Transform,), {name: value})
        with pytest.raises(ValueError, match="NaN or infinite"):
            matrix_of(broken)


def test_camera_infos_that_are_left_out_are_counted(tmp_path, caplog):
    good = Camera(64.0, 64.0, 31.5, 23.5, 64, 48)
    with BagWriter(tmp_path / "a.mcap") as writer:
        for index in range(3):
            writer.write_camera_info("/camera_info", START_NS + index, "a", good)
            writer.write_image("/image", START_NS + index, "a", grey(1))
    written = (tmp_path / "a.mcap").read_bytes()
    with caplog.at_level(logging.WARNING):
        RosbagDrive(tmp_path / "a.mcap")
    assert not caplog.records
    fx = np.float64(64).tobytes()
    places = [i for i in range(len(written)) if written.startswith(fx, i)]
    broken = bytearray(written)
    for place in places[-4:]:  # fx and fy in K and in P of the last message
        broken[place : place + 8] = bytes(8)
    (tmp_path / "a.mcap").write_bytes(bytes(broken))
    with caplog.at_level(logging.WARNING):
        drive = RosbagDrive(tmp_path / "a.mcap")
    assert "left out 1 messages" in caplog.text
    assert [frame.camera.fx for frame in drive] == [64, 64, 64]


def test_a_frame_whose_truth_is_empty_is_skipped_and_no_frame_of_the_table(tmp_path, capsys):
    write_drive(tmp_path / "drive", ("day-clear",), depth=12.0)
    maps = tmp_path / "maps"
    maps.mkdir()
    for index in range(2):
        np.save(maps / f"{index}.npy", np.full((HEIGHT, WIDTH), 12.0, np.float32))
    depth = tmp_path / "drive" / "depth" / "000001.png"
    cv2.imwrite(str(depth), np.zeros((HEIGHT, WIDTH), np.uint16))
    arguments = ("--drive", tmp_path / "drive", "--predictions", maps)
    code, said = evaluate(capsys, *arguments, "--json", tmp_path / "a.json")
    assert code == 0
    assert "frame 1: no pixel has a true depth between 0.1 and 80 m" in said.out
    assert json.loads((tmp_path / "a.json").read_text())["conditions"]["day-clear"]["frames"] == 1
    code, said = evaluate(capsys, *arguments, "--max-depth", "5")
    assert code == 1
    assert "none of 2 frames" in said.err
    code, said = evaluate(capsys, *arguments, "--min-depth", "90")
    assert code == 1
    assert "nothing lies between 90 and 80 m" in said.err


def test_pixels_without_a_prediction_are_told(tmp_path, capsys):
    write_drive(tmp_path / "drive", ("day-clear",), depth=12.0)
    maps = tmp_path / "maps"
    maps.mkdir()
    for index in range(2):
        depth = np.full((HEIGHT, WIDTH), 12.0, np.float32)
        depth[:, : index * WIDTH // 2] = 0
        np.save(maps / f"{index}.npy", depth)
    code, said = evaluate(capsys, "--drive", tmp_path / "drive", "--predictions", maps)
    assert code == 0
    assert "day-clear: 75.0% of the true pixels have a prediction" in said.out
    np.save(maps / "1.npy", np.full((HEIGHT, WIDTH), 12.0, np.float32))
    code, said = evaluate(capsys, "--drive", tmp_path / "drive", "--predictions", maps)
    assert "have a prediction" not in said.out


def test_a_map_of_other_proportions_is_warned_of_once(tmp_path, caplog):
    picture = Frame(np.zeros((48, 64, 3), np.uint8), Camera(64, 64, 31.5, 23.5, 64, 48), 7)
    for index, shape in enumerate(((24, 32), (24, 33), (24, 64), (24, 64))):
        np.save(tmp_path / f"{index}.npy", np.ones(shape, np.float32))
    saved = SavedPredictions(tmp_path)
    with caplog.at_level(logging.WARNING):
        for index in range(4):
            saved(picture, ONE_SCENE, index)
    assert [r.getMessage().split(" is ")[1][:5] for r in caplog.records] == ["64x24"]
    with pytest.raises(ValueError, match="png-scale is 0"):
        SavedPredictions(tmp_path, 0)


def test_figures_of_different_ground_truths_are_not_compared(tmp_path):
    row = {"scene": "a", "camera": "c", "stamp_ns": 1, "condition": "night"}
    figures = {"metric": {"abs_rel": 1.0, "rmse": 1.0, "delta1": 1.0}}
    for name, more in (("a", {}), ("b", {"truth": "lidar without hidden points"})):
        whole = {"range_m": [0.1, 80], "frames": [{**row, **figures}], **more}
        (tmp_path / f"{name}.json").write_text(json.dumps(whole))
    with pytest.raises(ValueError, match=r"did not score the same.*lidar without hidden"):
        compare(tmp_path / "a.json", tmp_path / "b.json")
    assert compare(tmp_path / "b.json", tmp_path / "b.json")["frames"] == 1


def test_a_pose_of_zeros_ends_no_evaluation():
    meter, drive = FlickerMeter(RANGE_M), object()
    for number in range(3):
        T = np.eye(4) if number != 1 else np.zeros((4, 4))
        image = np.zeros((VIEW.height, VIEW.width, 3), np.uint8)
        frame = Frame(image, VIEW, number * 10**8, T_world_camera=T, depth=wall(8))
        assert meter.of(frame, wall(8), wall(8), drive, "scene") is None
    assert "no rigid pose (1 frames)" in meter.note


def test_a_straight_drive_says_what_the_doctor_could_not_check(tmp_path, capsys):
    write_drive(tmp_path / "drive", ("day-clear",), frames=3)
    main(["drive", "doctor", str(tmp_path / "drive")])
    assert "focal length were not checked in 1 of 1" in capsys.readouterr().out
    main(["drive", "doctor", str(tmp_path / "drive"), "--pairs", "0"])
    assert "not checked" not in capsys.readouterr().out


def test_turning_is_the_sum_of_the_turns_between_frames():
    def glance(number, yaw):
        T = np.eye(4)
        T[:3, :3] = cv2.Rodrigues(np.array([0.0, yaw, 0.0]))[0]
        return Glance(number * 10**8, VIEW, T)

    yaws = (0.0, 0.2, 0.1, 0.1)
    track = Track("s", "c", (0, 1, 2, 3), tuple(glance(i, yaw) for i, yaw in enumerate(yaws)))
    assert turning_rad(track, [0, 1, 2]) == pytest.approx(0.3)
    assert turning_rad(track, [1]) == pytest.approx(0.1)
    assert turning_rad(track, []) == 0
