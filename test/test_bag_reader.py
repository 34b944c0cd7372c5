"""Bags of every kind, whole and damaged."""

import errno
import os
import shutil

import numpy as np
import pytest
from bag_samples import CAMERA, FRAME_ID, NAMES, START_NS, grey, write_camera_bag

from rosam_core.drives import bag_messages
from rosam_core.drives.bag_writer import BagWriter
from rosam_core.drives.rosbag import BagMessage, BagReader


@pytest.mark.parametrize("storage", NAMES)
@pytest.mark.parametrize("compressed", [False, True])
def test_a_camera_is_found_with_its_info(tmp_path, storage, compressed):
    path = tmp_path / NAMES[storage]
    stamps = write_camera_bag(path, compressed=compressed)
    with BagReader(path) as bag:
        assert (bag.format, bag.message_count, bag.start_ns) == (storage, 6, START_NS)
        assert bag.duration_s == pytest.approx(0.2)
        (camera,) = bag.cameras
        assert camera.topic == "/front/image_raw" + ("/compressed" if compressed else "")
        assert (camera.base, camera.namespace) == ("/front/image_raw", "/front")
        assert (camera.count, camera.width, camera.height) == (3, 64, 48)
        assert camera.encoding == ("png" if compressed else "rgb8")
        assert (camera.info_topic, camera.camera) == ("/front/camera_info", CAMERA)
        assert camera.frame_id == FRAME_ID
        images = list(bag.messages([camera.topic]))
    assert [message.stamp_ns for message in images] == stamps
    assert [message.log_ns for message in images] == stamps
    assert images[0].decode().header.frame_id == images[0].frame_id == FRAME_ID


def damaged(tmp_path, kind):
    """Returns the path of a bag with one fault."""
    whole = tmp_path / "whole.mcap"
    if kind.startswith("cut "):
        name = NAMES[kind.removeprefix("cut ")]
        write_camera_bag(tmp_path / name, frames=30)
        data = (tmp_path / name).read_bytes()
        path = tmp_path / f"cut-{name}"
        path.write_bytes(data[: int(len(data) * 0.6)])
    elif kind.startswith("empty "):
        path = tmp_path / f"empty{kind.removeprefix('empty ')}"
        path.touch()
    elif kind.startswith("text "):
        path = tmp_path / f"text{kind.removeprefix('text ')}"
        path.write_text("this is not a recording, although it is long enough to be one")
    elif kind == "no path":
        path = tmp_path / "absent.mcap"
    elif kind == "video":
        path = tmp_path / "drive.mp4"
        path.write_bytes(b"....ftyp")
    elif kind == "folder without metadata":
        path = tmp_path / "folder"
        path.mkdir()
    elif kind == "folder with a file but no metadata":
        path = tmp_path / "folder"
        path.mkdir()
        write_camera_bag(path / "drive.mcap")
    elif kind == "profile":
        write_camera_bag(whole)
        path = tmp_path / "ros1.mcap"
        path.write_bytes(whole.read_bytes().replace(b"\x04\x00\x00\x00ros2", b"\x04\0\0\0ros1", 1))
    elif kind == "header only":
        path = tmp_path / "header.bag"
        path.write_bytes(b"#ROSBAG V2.0\n")
    else:
        path = tmp_path / "folder"
        write_camera_bag(path)
        meta = path / "metadata.yaml"
        if kind == "metadata is no yaml":
            meta.write_text("rosbag2_bagfile_information: [")
        elif kind == "metadata of another program":
            meta.write_text("camera: front\n")
        elif kind == "metadata of the future":
            meta.write_text(meta.read_text().replace("version: 8", "version: 99"))
        elif kind == "file missing":
            (path / "folder.mcap").unlink()
        elif kind == "metadata is empty":
            meta.write_text("")
    return path


DAMAGE = {
    "no path": "no bag at .*absent.mcap",
    "video": r"drive.mp4 is not named like a bag: expected .bag, .mcap, .db3 .*, got '.mp4'",
    "empty .mcap": r"empty.mcap is an empty file \(0 bytes\)",
    "empty .bag": r"empty.bag is an empty file \(0 bytes\)",
    "empty .db3": r"empty.db3 is an empty file \(0 bytes\)",
    "text .mcap": "text.mcap is no MCAP file: it begins with b'this is '",
    "text .bag": "text.bag is no ROS 1 bag: it begins with",
    "text .db3": "text.db3 is no sqlite3 bag: it begins with",
    "cut mcap": "cut-drive.mcap cannot be read, it looks truncated.*`mcap recover`",
    "cut sqlite3": r"cut-drive.db3 (cannot be read|is damaged)",
    "cut ros1": "cut-drive.bag cannot be read, it looks truncated.*`rosbag reindex`",
    "header only": "header.bag cannot be read, it looks truncated",
    "profile": "ros1.mcap is an MCAP file with profile 'ros1', expected 'ros2'",
    "folder without metadata": "folder is a folder without metadata.yaml.*expected metadata.yaml",
    "folder with a file but no metadata": "without metadata.yaml.*name the file, .*drive.mcap",
    "metadata is no yaml": "folder cannot be read.*Could not load YAML.*`ros2 bag reindex`",
    "metadata of another program": "folder cannot be read.*rosbag2_bagfile_information",
    "metadata of the future": "folder cannot be read.*version 99 not supported",
    "metadata is empty": "folder cannot be read",
    "file missing": "folder cannot be read.*database files are missing",
}


@pytest.mark.parametrize(("kind", "message"), DAMAGE.items())
def test_a_bag_that_cannot_be_read_says_why_in_one_line(tmp_path, kind, message):
    def read():
        with BagReader(path) as bag:
            list(bag.messages())

    path = damaged(tmp_path, kind)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        read()
    assert "\n" not in str(caught.value)


def test_a_damaged_chunk_is_told_after_what_could_be_read(tmp_path):
    path = tmp_path / "a.mcap"
    with BagWriter(path, compress=True) as writer:
        for index in range(12):
            noise = np.random.default_rng(index).random((300, 300)).astype(np.float32)
            writer.write_depth("/d", START_NS + index, "a", noise)
    data = bytearray(path.read_bytes())
    last_chunk = data.rindex(b"\x28\xb5\x2f\xfd")  # where its zstd stream begins
    data[last_chunk : last_chunk + 4] = bytes(4)
    path.write_bytes(data)
    read = []
    with BagReader(path) as bag, pytest.raises(ValueError, match=r"is damaged: .* after [1-9]"):
        read.extend(bag.messages())
    with BagReader(path) as bag:
        assert bag.message_count == 12


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_topic_whose_qos_is_edited_in_the_metadata_is_read(tmp_path, storage):
    with BagWriter(tmp_path / "bag", storage) as writer:
        for index in range(3):
            writer.write_transforms(START_NS + index, [("a", "b", np.eye(4))], static=True)
    meta = tmp_path / "bag" / "metadata.yaml"
    text = meta.read_text()
    assert "depth: 1" in text
    meta.write_text(text.replace("depth: 1", "depth: 100"))
    with BagReader(tmp_path / "bag") as bag:
        assert bag.topics["/tf_static"].count == 3
        assert len(list(bag.messages(["/tf_static"]))) == 3


def test_a_topic_that_only_the_metadata_knows_is_told(tmp_path, caplog):
    with BagWriter(tmp_path / "bag") as writer:
        writer.write_transforms(START_NS, [("a", "b", np.eye(4))])
    meta = tmp_path / "bag" / "metadata.yaml"
    meta.write_text(meta.read_text().replace("name: /tf", "name: /tf_renamed"))
    BagReader(tmp_path / "bag").close()
    assert "metadata.yaml states 1 messages of /tf_renamed (tf2_msgs/msg/TFMessage)" in caplog.text


@pytest.mark.parametrize(
    ("number", "message"),
    [(errno.ENOSPC, "left on device while .*bag was opened: .* TMPDIR"), (errno.EMFILE, "Too ma")],
)
def test_a_machine_that_lacks_something_is_not_taken_for_damage(
    tmp_path, monkeypatch, number, message
):
    def lacking(*_):
        raise OSError(number, os.strerror(number))

    write_camera_bag(tmp_path / "bag")
    monkeypatch.setattr("rosbags.rosbag2.Reader.open", lacking)
    with pytest.raises(OSError, match=message) as caught:
        BagReader(tmp_path / "bag")
    assert caught.value.errno == number


def test_what_a_killed_recorder_left_beside_a_sqlite3_bag_is_told_once(tmp_path, caplog):
    path = tmp_path / "a.db3"
    write_camera_bag(path)
    log = tmp_path / "a.db3-wal"
    log.touch()  # closed as it should be
    BagReader(path).close()
    assert not caplog.messages
    log.write_bytes(bytes(32))
    for _ in range(2):
        BagReader(path).close()
    (told,) = caplog.messages
    assert "what it wrote last is not read, for it is still in a.db3-wal: `sqlite3" in told


def test_bytes_that_are_no_message_are_told(tmp_path):
    path = tmp_path / "a.mcap"
    with BagWriter(path) as writer:
        raw = bag_messages.serialize(bag_messages.image(START_NS, "a", grey(1)))
        writer.write_raw("/image", "sensor_msgs/msg/Image", raw[:100], START_NS)
    with BagReader(path) as bag:
        (camera,) = bag.cameras
    assert "/image: a sensor_msgs/msg/Image of 100 bytes does not decode" in camera.problem
    with pytest.raises(ValueError, match="/t: 11 bytes are no sensor_msgs/msg/Image"):
        _ = BagMessage("/t", "sensor_msgs/msg/Image", 0, raw[:11], is_ros1=False).stamp_ns
    with pytest.raises(ValueError, match="/t: 17 bytes are no sensor_msgs/msg/Image"):
        _ = BagMessage("/t", "sensor_msgs/msg/Image", 0, raw[:17], is_ros1=False).frame_id


def test_a_real_bag_without_metadata_is_refused_but_its_file_is_read(shared_data, tmp_path):
    source = shared_data / "bags" / "kitti_mcap" / "kitti_mcap.mcap"
    shutil.copy(source, tmp_path / "copy.mcap")
    with BagReader(tmp_path / "copy.mcap") as bag:
        assert bag.message_count == 97
    with pytest.raises(ValueError, match=r"name the file, .*copy.mcap"):
        BagReader(tmp_path)
