"""`rosam bag` as a command: wrong arguments, interruptions, real bags, and `info`."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from bag_command_support import bag_command, pictures, tiny_model  # noqa: F401 - fixtures
from bag_samples import CAMERA, START_NS, STEP_NS, grey, write_camera_bag

from rosam_core.commands import bag_run
from rosam_core.drives.bag_writer import BagWriter
from rosam_core.drives.rosbag import BagReader

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--topic", "/front/image"], "did you mean /front/image_raw?"),
        (["--fov", "0"], "field of view must be between 0 and 180 degrees, exclusive, got 0.0"),
        (["--fov", "180"], "got 180.0"),
        (["--fov", "-60"], "got -60.0"),
        (["--fov", "nan"], "got nan"),
        (["--every", "0"], "--every must be at least 1, got 0"),
        (["--camera", "absent.yaml"], "no camera file at absent.yaml"),
        (["--model", "absent.onnx"], "absent.onnx"),
        (["--engine", "abacus"], "abacus"),
        (["--threads", "-3"], "-3"),
    ],
)
def test_wrong_arguments_are_told_in_one_line(tmp_path, capsys, bag, model, arguments, message):
    write_camera_bag(tmp_path / "in.mcap")
    run = ["run", tmp_path / "in.mcap", "-o", tmp_path / "out.mcap", "--model", model]
    code, text, error = bag(capsys, *run, *arguments)
    assert (code, text) == (1, "")
    assert message in error
    assert error.count("\n") == 1
    assert [child.name for child in tmp_path.iterdir()] == ["in.mcap"]


def test_an_output_is_not_replaced_by_mistake(tmp_path, capsys, bag, model):
    write_camera_bag(tmp_path / "in.mcap")
    run = ("run", tmp_path / "in.mcap", "--model", model, "-o")
    assert bag(capsys, *run, tmp_path / "out.mcap")[0] == 0
    before = (tmp_path / "out.mcap").read_bytes()
    code, _, error = bag(capsys, *run, tmp_path / "out.mcap")
    assert code == 1
    assert "exists already: --force replaces it" in error
    assert (tmp_path / "out.mcap").read_bytes() == before
    code, _, error = bag(capsys, *run, tmp_path / "in.mcap", "--force")
    assert code == 1
    assert "must not be the input" in error


def test_ctrl_c_leaves_nothing_half_written(tmp_path, capsys, bag, model, monkeypatch):
    write_camera_bag(tmp_path / "in.mcap")
    predict, calls = bag_run.DepthPipeline.predict, []

    def interrupted(self, image, camera, mounting=None):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return predict(self, image, camera)

    monkeypatch.setattr(bag_run.DepthPipeline, "predict", interrupted)
    run = ("run", tmp_path / "in.mcap", "-o", tmp_path / "out.mcap", "--model", model)
    code, _, error = bag(capsys, *run)
    assert (code, error.strip()) == (1, "rosam: stopped")
    assert [child.name for child in tmp_path.iterdir()] == ["in.mcap"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_process_leaves_nothing_either(tmp_path, model, number):
    write_camera_bag(tmp_path / "in.mcap", frames=1500)
    command = [sys.executable, "-m", "rosam_core.cli", "bag", "run", tmp_path / "in.mcap"]
    command += ["-o", tmp_path / "out.mcap", "--model", model, "--threads", "1"]
    process = subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 30
    while not list(tmp_path.glob(".out.mcap.*/*/*.mcap")) and time.monotonic() < end:
        time.sleep(0.01)
    process.send_signal(number)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 1
    assert error.strip().endswith("rosam: stopped")
    assert [child.name for child in tmp_path.iterdir()] == ["in.mcap"]


def test_info_tells_what_is_there_and_what_is_missing(tmp_path, capsys, bag):
    path = tmp_path / "in.db3"
    with BagWriter(path) as writer:
        for index in range(3):
            stamp = START_NS + index * STEP_NS
            writer.write_camera_info("/a/camera_info", stamp, "a", CAMERA)
            writer.write_image("/a/image", stamp, "a", grey(1))
            writer.write_compressed("/b/image/compressed", stamp, "b", grey(1), "png")
            writer.write_points("/lidar", stamp, "l", np.zeros((2, 3), np.float32))
            writer.write_depth("/a/depth", stamp, "a", np.zeros((2, 2), np.float32))
    code, text, _ = bag(capsys, "info", path)
    assert code == 0
    assert f"{path}: sqlite3, 0.200 s, 15 messages" in text
    assert "camera  /a/image  3 x rgb8 64x48, 10 Hz" in text
    assert "/a/camera_info: 53.1 degrees wide, fx 64.0 px" in text  # 2 atan(32 / 64)
    assert "no camera_info beside /b/image/compressed" in text
    assert "`rosam bag run` needs --fov or --camera" in text
    assert "lidar   /lidar  3 clouds" in text
    assert "not a camera: /a/depth carries depth or the like (32FC1)" in text
    code, text, _ = bag(capsys, "info", path, "--json")
    values = json.loads(text)
    assert [camera["topic"] for camera in values["cameras"]] == ["/a/image", "/b/image/compressed"]
    assert values["cameras"][0]["fov_x_deg"] == pytest.approx(53.1)
    assert values["cameras"][1]["fov_x_deg"] is None


# Every camera of the real bags: topic of its depth, its size, its frames.
REAL = {
    "kitti_mcap": {"/camera/depth/image": (375, 1242, 24)},
    "kitti_ros1.bag": {"/camera/depth/image": (375, 1242, 5)},
    "robotcar_bayer_db3": {"/stereo/centre/depth/image": (960, 1280, 6)},
    "aruco_images.bag": {"/raspicam_node/depth/image": (960, 1280, 1)},
    "nusc_keyframe_db3": {
        f"/cam_{name}/depth/image": (900, 1600, 1)
        for name in ("front", "front_left", "front_right", "back", "back_left", "back_right")
    },
}


@pytest.mark.parametrize(("name", "expected"), REAL.items())
def test_real_bags_get_finite_depth_with_the_stamps_of_their_images(
    shared_data, tmp_path, capsys, bag, model, name, expected
):
    out = tmp_path / "out.mcap"
    source = shared_data / "bags" / name
    code, text, _ = bag(capsys, "run", source, "-o", out, "--model", model, "--json")
    assert code == 0
    report = json.loads(text)
    assert {camera["depth_topic"] for camera in report["cameras"]} == set(expected)
    for camera in report["cameras"]:
        height, width, frames = expected[camera["depth_topic"]]
        with BagReader(source) as reader:
            inputs = list(reader.messages([camera["topic"]]))
            frame_id = inputs[0].decode().header.frame_id
        depth = pictures(out, camera["depth_topic"])
        assert list(depth) == [message.stamp_ns for message in inputs]
        assert len(depth) == frames
        for header, values in depth.values():
            assert header.frame_id == frame_id
            assert values.shape == (height, width)
            assert np.isfinite(values).all()
            assert (values > 0).all()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("example-lz4.bag", "example-lz4.bag has no camera topic (Image or CompressedImage)"),
        (
            "lichtblick_custom-camera-model.mcap",
            "is an MCAP file with profile 'custom-camera-models', expected 'ros2'",
        ),
    ],
)
def test_real_bags_without_a_ros_camera(shared_data, tmp_path, capsys, bag, name, message):
    code, text, error = bag(
        capsys, "run", shared_data / "bags" / name, "-o", tmp_path / "out.mcap"
    )
    assert (code, text) == (1, "")
    assert message in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
