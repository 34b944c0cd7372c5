"""`rosam bag` from its arguments to the bag it writes, on bags whose depth is known."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from bag_samples import CAMERA, FRAME_ID, START_NS, STEP_NS, grey, write_camera_bag
from support import write_tiny_model

from rosam_core import cli
from rosam_core.commands import bag_run
from rosam_core.drives import bag_messages
from rosam_core.drives.bag_writer import BagWriter
from rosam_core.drives.rosbag import BagReader
from rosam_core.types import Camera

REPOSITORY = Path(__file__).resolve().parents[1]

# The tiny model's focal length is that of CAMERA, so grey 100 is 2 + 100 / 10 = 12 m.
DEPTH_OF_100 = 12.0


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(write_tiny_model(tmp_path_factory.mktemp("model")))


@pytest.fixture
def bag(tmp_path):
    """Runs `rosam bag`; returns the exit code, what was printed and what went to stderr."""

    def call(capsys, *arguments):
        code = cli.main(["bag", *map(str, arguments)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def pictures(path, topic):
    """Returns {stamp: (header, array)} of the 32FC1 images of a topic."""
    found = {}
    with BagReader(path) as reader:
        for message in reader.messages([topic]):
            image = message.decode()
            assert image.encoding == "32FC1"
            array = np.asarray(image.data).view("<f4").reshape(image.height, image.width)
            found[message.stamp_ns] = (image.header, array)
    return found


@pytest.mark.parametrize("source", ["in.mcap", "in.db3", "in.bag", "in"])
@pytest.mark.parametrize("compressed", [False, True])
def test_every_frame_gets_the_depth_it_must_have(tmp_path, capsys, bag, model, source, compressed):
    stamps = write_camera_bag(tmp_path / source, compressed=compressed, greys=(100, 50), frames=4)
    out = tmp_path / "out.mcap"
    code, text, error = bag(
        capsys, "run", tmp_path / source, "-o", out, "--model", model, "--threads", 1
    )
    assert (code, error) == (0, "")
    assert "wrote 4 frames" in text
    depth = pictures(out, "/front/depth/image")
    assert list(depth) == stamps
    for index, (header, values) in enumerate(depth.values()):
        assert header.frame_id == FRAME_ID
        assert values.shape == (48, 64)
        assert np.allclose(values, 7.0 if index % 2 else DEPTH_OF_100, rtol=1e-5)
    confidence = pictures(out, "/front/confidence/image")
    assert list(confidence) == stamps
    assert np.allclose(confidence[stamps[0]][1], 1 - 100 / 510, atol=1e-6)
    with BagReader(out) as reader:
        names = [f"/front/{n}/camera_info" for n in ("depth", "confidence")]
        infos = list(reader.messages(names))
        assert sorted({message.stamp_ns for message in infos}) == stamps
        assert len(infos) == 8
        assert list(infos[0].decode().k) == list(CAMERA.K.ravel())
        # The input opens beside it: the images and their camera_info are there too.
        (camera,) = reader.cameras
        assert (camera.count, camera.camera) == (4, CAMERA)
    assert sorted(child.name for child in tmp_path.iterdir()) == sorted([source, "out.mcap"])


def test_depth_is_metric_for_any_focal_length(tmp_path, capsys, bag, model):
    camera = Camera(128, 128, 31.5, 23.5, 64, 48)
    (stamp,) = write_camera_bag(tmp_path / "in.mcap", camera=camera, frames=1)
    assert bag(capsys, "run", tmp_path / "in.mcap", "-o", tmp_path / "o", "--model", model)[0] == 0
    values = pictures(tmp_path / "o", "/front/depth/image")[stamp][1]
    assert np.allclose(values, 2 * DEPTH_OF_100, rtol=1e-5)


def test_a_camera_without_info_needs_its_view(tmp_path, capsys, bag, model):
    source, out = tmp_path / "in.mcap", tmp_path / "out.mcap"
    (stamp,) = write_camera_bag(source, camera=None, frames=1)
    run = ("run", source, "-o", out, "--model", model)
    code, _, error = bag(capsys, *run)
    assert code == 1
    assert error.count("\n") == 1
    assert "no camera_info beside /front/image_raw" in error
    assert "--fov DEG" in error
    assert "--camera FILE" in error
    assert not out.exists()
    # 90 degrees over 64 px is f = 32 px, half of the model's.
    assert bag(capsys, *run, "--fov", 90)[0] == 0
    assert np.allclose(pictures(out, "/front/depth/image")[stamp][1], DEPTH_OF_100 / 2)
    (tmp_path / "c.yaml").write_text("{fx: 96, fy: 96, cx: 31.5, cy: 23.5, width: 64, height: 48}")
    code, text, _ = bag(capsys, *run, "--camera", tmp_path / "c.yaml", "--force", "--json")
    assert code == 0
    assert json.loads(text)["cameras"][0]["intrinsics"] == "stated file"
    assert np.allclose(pictures(out, "/front/depth/image")[stamp][1], DEPTH_OF_100 * 1.5)


def test_a_stated_view_does_not_replace_a_camera_info(tmp_path, capsys, bag, model):
    source, out = tmp_path / "in.mcap", tmp_path / "out.mcap"
    with BagWriter(source) as writer:
        for name in "ab":
            writer.write_image(f"/{name}/image", START_NS, name, grey(100))
        writer.write_camera_info("/a/camera_info", START_NS, "a", CAMERA)
    assert bag(capsys, "run", source, "-o", out, "--model", model, "--fov", 90)[0] == 0
    assert np.allclose(pictures(out, "/a/depth/image")[START_NS][1], DEPTH_OF_100)
    assert np.allclose(pictures(out, "/b/depth/image")[START_NS][1], DEPTH_OF_100 / 2)


def test_an_uncalibrated_camera_info_counts_as_none(tmp_path, capsys, bag, model):
    source, out = tmp_path / "in.mcap", tmp_path / "out.mcap"
    with BagWriter(source) as writer:
        info = bag_messages.camera_info(START_NS, "a", CAMERA)
        info.k = np.zeros(9)
        writer.write("/camera_info", info)
        writer.write_image("/image", START_NS, "a", grey(100))
    run = ("run", source, "-o", out, "--model", model)
    code, _, error = bag(capsys, *run)
    assert code == 1
    assert "/camera_info: camera_info has focal lengths fx=0 fy=0" in error
    assert bag(capsys, *run, "--fov", 90)[0] == 0
    assert np.allclose(pictures(out, "/depth/image")[START_NS][1], DEPTH_OF_100 / 2)


def broken_frames(path, good=2, bad=1):
    """Writes a bag whose first frames are JPEG and whose last ones are not."""
    with BagWriter(path) as writer:
        for index in range(good + bad):
            stamp = START_NS + index * STEP_NS
            writer.write_camera_info("/a/camera_info", stamp, "a", CAMERA)
            picture = grey(100) if index < good else b"\xff\xd8\xff but no more"
            writer.write_compressed("/a/image/compressed", stamp, "a", picture)


def test_frames_that_do_not_decode_are_counted_named_and_skipped(tmp_path, capsys, bag, model):
    broken_frames(tmp_path / "in.mcap")
    run = ("run", tmp_path / "in.mcap", "-o", tmp_path / "out.mcap", "--model", model)
    code, text, error = bag(capsys, *run)
    assert code == 0
    assert "/a/image/compressed: 1 frames skipped: " in error
    assert "wrote 2 frames" in text
    assert len(pictures(tmp_path / "out.mcap", "/a/depth/image")) == 2
    code, text, _ = bag(capsys, *run, "--force", "--json")
    assert (code, json.loads(text)["frames"], json.loads(text)["skipped"]) == (0, 2, 1)


@pytest.mark.parametrize("cut", [40, 9000])
def test_only_the_first_frame_is_broken(tmp_path, capsys, bag, model, cut):
    with BagWriter(tmp_path / "in.mcap") as writer:
        whole = bag_messages.image(START_NS, "a", grey(100))
        raw = bag_messages.serialize(whole)
        if cut == 9000:  # a message that decodes, but of a picture cut short
            whole.data = whole.data[:cut]
            raw = bag_messages.serialize(whole)
        else:
            raw = raw[:cut]
        writer.write_raw("/a/image", "sensor_msgs/msg/Image", raw, START_NS)
        writer.write_image("/a/image", START_NS + 1, "a", grey(100))
    run = ("run", tmp_path / "in.mcap", "-o", tmp_path / "out.mcap", "--model", model)
    code, _, error = bag(capsys, *run)
    assert code == 1
    assert "its first image: " in error
    assert "no camera_info beside /a/image" in error
    assert "--fov DEG" in error
    code, _, error = bag(capsys, *run, "--fov", 90)
    assert code == 0
    assert "/a/image: 1 frames skipped: " in error
    assert list(pictures(tmp_path / "out.mcap", "/a/depth/image")) == [START_NS + 1]


def test_damaged_messages_of_a_ros1_bag_are_left_out(tmp_path, capsys, bag, model):
    kinds = {"/points": "PointCloud2", "/a/camera_info": "CameraInfo", "/a/image": "Image"}
    with BagWriter(tmp_path / "in.bag") as writer:
        for index in range(3):
            stamp = START_NS + index
            writer.write_camera_info("/a/camera_info", stamp, "a", CAMERA)
            writer.write_image("/a/image", stamp, "a", grey(100))
            writer.write_points("/points", stamp, "a", np.zeros((2, 3), np.float32))
        for topic, kind in kinds.items():
            connection = writer._connections[topic]
            assert connection.msgtype.endswith(kind)
            writer._writer.write(connection, START_NS + 3, bytes(range(20, 60)))
    out = tmp_path / "out.mcap"
    run = ("run", tmp_path / "in.bag", "-o", out, "--model", model, "--json")
    code, text, _ = bag(capsys, *run)
    assert code == 0
    (camera,) = json.loads(text)["cameras"]
    assert (camera["frames"], camera["bad_camera_infos"]) == (3, 1)
    ((reason, count),) = camera["skipped"].items()
    assert "/a/image: a sensor_msgs/msg/Image of 40 bytes does not decode" in reason
    assert count == 1
    with BagReader(out) as reader:
        assert {reader.topics[topic].count for topic in kinds} == {3}


def test_a_bag_without_one_good_frame_fails_and_writes_nothing(tmp_path, capsys, bag, model):
    broken_frames(tmp_path / "in.mcap", good=0, bad=3)
    run = ("run", tmp_path / "in.mcap", "-o", tmp_path / "out.mcap", "--model", model)
    code, _, error = bag(capsys, *run, "--fov", 60)
    assert code == 1
    assert "no frame got depth, nothing written: /a/image/compressed: 3 x " in error
    assert not (tmp_path / "out.mcap").exists()


def test_a_camera_of_another_size_is_told(tmp_path, capsys, bag, model):
    write_camera_bag(tmp_path / "in.mcap", camera=Camera(64, 64, 31.5, 23.5, 640, 480))
    run = ("run", tmp_path / "in.mcap", "-o", tmp_path / "out.mcap", "--model", model)
    code, _, error = bag(capsys, *run)
    assert code == 1
    assert "image is 64x48 but its camera_info is 640x480" in error


def test_the_rest_of_a_damaged_bag_is_missed_but_the_start_is_kept(tmp_path, capsys, bag, model):
    source, out = tmp_path / "in.mcap", tmp_path / "out.mcap"
    with BagWriter(source, compress=True) as writer:
        for index in range(40):
            noise = np.random.default_rng(index).integers(0, 255, (120, 160, 3), dtype=np.uint8)
            stamp = START_NS + index * STEP_NS
            camera = Camera(160, 160, 79.5, 59.5, 160, 120)
            writer.write_camera_info("/a/camera_info", stamp, "a", camera)
            writer.write_image("/a/image", stamp, "a", noise)
    data = bytearray(source.read_bytes())
    last_chunk = data.rindex(b"\x28\xb5\x2f\xfd")
    data[last_chunk : last_chunk + 4] = bytes(4)
    source.write_bytes(data)
    code, _, error = bag(capsys, "run", source, "-o", out, "--model", model)
    assert code == 1
    assert "is damaged: reading stopped after" in error
    assert "what was read before is in the output" in error
    assert 10 < len(pictures(out, "/a/depth/image")) < 40


def test_options(tmp_path, capsys, bag, model):
    source, out = tmp_path / "in.mcap", tmp_path / "out"
    stamps = write_camera_bag(source, frames=5)
    run = ("run", source, "-o", out, "--model", model, "--force")
    assert bag(capsys, *run, "--every", 2, "--no-copy-input", "--color")[0] == 0
    assert list(pictures(out, "/front/depth/image")) == stamps[::2]
    with BagReader(out) as reader:
        assert sorted(reader.topics) == [
            "/front/confidence/camera_info",
            "/front/confidence/image",
            "/front/depth/camera_info",
            "/front/depth/image",
            "/front/depth/image_color/compressed",
        ]
    assert bag(capsys, *run, "--every", 2, "--output-size", "network")[0] == 0
    with BagReader(out) as reader:
        assert reader.topics["/front/image_raw"].count == 3  # only the frames that were used
    small = write_tiny_model(tmp_path / "small", 32, 24)
    run = (*run[:-2], small, "--force", "--output-size", "network")
    assert bag(capsys, *run)[0] == 0
    with BagReader(out) as reader:
        info = next(reader.messages(["/front/depth/camera_info"])).decode()
    # Halved: f = 32, and the centre of the picture stays its centre.
    assert (info.width, info.height, info.k[0], info.k[2], info.k[5]) == (32, 24, 32, 15.5, 11.5)


def test_cameras_that_share_a_namespace_stay_apart(tmp_path, capsys, bag, model):
    with BagWriter(tmp_path / "in.mcap") as writer:
        writer.write_camera_info("/rig/camera_info", START_NS, "a", CAMERA)
        writer.write_image("/rig/left", START_NS, "a", grey(100))
        writer.write_image("/rig/right", START_NS, "a", grey(50))
    out = tmp_path / "out.mcap"
    assert bag(capsys, "run", tmp_path / "in.mcap", "-o", out, "--model", model)[0] == 0
    assert np.allclose(pictures(out, "/rig/left/depth/image")[START_NS][1], DEPTH_OF_100)
    assert np.allclose(pictures(out, "/rig/right/depth/image")[START_NS][1], 7)


def test_one_camera_of_several(tmp_path, capsys, bag, model):
    with BagWriter(tmp_path / "in.mcap") as writer:
        for name in "abc":
            writer.write_camera_info(f"/{name}/camera_info", START_NS, name, CAMERA)
            writer.write_image(f"/{name}/image", START_NS, name, grey(100))
    out = tmp_path / "out.mcap"
    run = ("run", tmp_path / "in.mcap", "-o", out, "--model", model)
    code, text, _ = bag(capsys, *run, "--topic", "/c/image", "--topic", "/a/image", "--json")
    assert code == 0
    topics = [camera["depth_topic"] for camera in json.loads(text)["cameras"]]
    assert topics == ["/c/depth/image", "/a/depth/image"]
    with BagReader(out) as reader:
        assert "/b/image" not in reader.topics


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

    def interrupted(self, image, camera):
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
