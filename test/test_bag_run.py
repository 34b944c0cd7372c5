"""`rosam bag run` on bags whose depth is known by hand."""

import json
import math

import numpy as np
import pytest
from bag_command_support import bag_command, pictures, tiny_model  # noqa: F401 - fixtures
from bag_samples import CAMERA, FRAME_ID, START_NS, STEP_NS, grey, write_camera_bag
from support import ground_picture, write_tiny_model

from rosam_core.drives import bag_messages
from rosam_core.drives.bag_writer import BagWriter
from rosam_core.drives.opening import DriveOptions, open_drives
from rosam_core.drives.rosbag import BagReader
from rosam_core.runtime.ground import MOST_KEPT
from rosam_core.types import Camera

# The tiny model's focal length is that of CAMERA, so grey 100 is 2 + 100 / 10 = 12 m.
DEPTH_OF_100 = 12.0


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


def test_the_camera_height_gives_the_scale(tmp_path, capsys, bag, model):
    (stamp,) = write_camera_bag(tmp_path / "in.mcap", frames=1, picture=ground_picture(1.5))
    run = ("run", tmp_path / "in.mcap", "-o", tmp_path / "o", "--model", model, "--force")
    depths = []
    for more in ((), ("--camera-height", 3)):
        code, out, _ = bag(capsys, *run, *more)
        assert (code, "ground found in 1 of 1 images, depth times 1.9" in out) == (0, bool(more))
        depths.append(pictures(tmp_path / "o", "/front/depth/image")[stamp][1])
    np.testing.assert_allclose(depths[1] / depths[0], 2 * math.exp(-MOST_KEPT), rtol=0.02)
    for wrong, words in (
        (("--camera-height", -1), "must be positive, got -1 m"),
        (("--camera-pitch", 5), "--camera-height alone"),
    ):
        code, _, err = bag(capsys, *run, *wrong)
        assert (code, words in err) == (1, True)


def test_the_output_is_compressed_on_demand(tmp_path, capsys, bag, model):
    stamps = write_camera_bag(tmp_path / "in.mcap")
    sizes = []
    for more in ((), ("--compress",)):
        out = tmp_path / f"out{len(more)}.mcap"
        assert bag(capsys, "run", tmp_path / "in.mcap", "-o", out, "--model", model, *more)[0] == 0
        assert list(pictures(out, "/front/depth/image")) == stamps
        assert (b"zstd" in out.read_bytes()) == bool(more)
        sizes.append(out.stat().st_size)
    assert sizes[1] < sizes[0] / 2  # pictures of one grey


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


CALIBRATION = """\
{image_width: 64, image_height: 48, camera_matrix: {data: [96, 0, 31.5, 0, 96, 23.5, 0, 0, 1]},
projection_matrix: {data: [48, 0, 31.5, 0, 0, 48, 23.5, 0, 0, 0, 1, 0]}}
"""


def test_of_a_stated_file_rectified_images_have_the_projection(tmp_path, capsys, bag, model):
    source, out = tmp_path / "in.mcap", tmp_path / "out.mcap"
    (tmp_path / "c.yaml").write_text(CALIBRATION)
    with BagWriter(source) as writer:
        for name in ("raw", "rect"):
            writer.write_image(f"/{name}/image_{name}", START_NS, name, grey(100))
    run = ("run", source, "-o", out, "--model", model, "--camera", tmp_path / "c.yaml")
    assert bag(capsys, *run)[0] == 0
    for name, scale in (("raw", 1.5), ("rect", 0.75)):
        depth = pictures(out, f"/{name}/depth/image")[START_NS][1]
        assert np.allclose(depth, DEPTH_OF_100 * scale)
    drives = open_drives(source, options=DriveOptions(camera=tmp_path / "c.yaml"))
    assert [drive[0].camera.fx for drive in drives] == [96, 48]


def test_a_wrong_camera_file_is_told_even_if_nothing_needs_it(tmp_path, capsys, bag):
    write_camera_bag(tmp_path / "in.mcap", frames=1)
    (tmp_path / "c.yaml").write_text("{fx: 96}")
    for words in (("run", "-o", tmp_path / "out.mcap"), ("eval",)):
        code, _, error = bag(capsys, *words, tmp_path / "in.mcap", "--camera", tmp_path / "c.yaml")
        assert code == 1
        assert "image_width and image_height are missing" in error


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
