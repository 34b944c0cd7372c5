"""A bag is read once, whatever the number of its cameras, and little of it is kept."""

import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
from bag_samples import CAMERA, START_NS, STEP_NS, grey, moved

from rosam_core.drives import bag_messages
from rosam_core.drives.bag_cameras import CameraTopic
from rosam_core.drives.bag_index import index_bag
from rosam_core.drives.bag_reader import BagMessage, BagReader
from rosam_core.drives.bag_writer import BagWriter
from rosam_core.drives.opening import open_drives
from rosam_core.drives.rosbag import RosbagDrive
from rosam_core.types import Camera

CAMERAS = ("left", "right", "rear")


def write_rig(path):
    """Three cameras, of which the right one zooms, a lidar and a robot that drives along x."""
    with BagWriter(path) as writer:
        for tick in range(4):
            stamp = START_NS + tick * STEP_NS
            edges = [("base", name, moved(y=i)) for i, name in enumerate(CAMERAS)]
            writer.write_transforms(stamp, [("odom", "base", moved(x=tick)), *edges])
            for shift, name in enumerate(CAMERAS):
                fx = 90.0 if name == "right" and tick > 1 else 64.0
                camera = Camera(fx, fx, 31.5, 23.5, 64, 48)
                writer.write_camera_info(f"/{name}/camera_info", stamp, name, camera)
                writer.write_image(f"/{name}/image", stamp + shift, name, grey(10 * tick + shift))
            points = np.array([[0, 0, 10]] * (tick != 2), np.float32).reshape(-1, 3)
            writer.write_points("/points", stamp, "base", points)


@pytest.mark.parametrize("name", ["a.mcap", "a.bag"])
def test_all_cameras_are_indexed_in_one_pass(tmp_path, monkeypatch, name):
    write_rig(tmp_path / name)
    alone = {c: RosbagDrive(tmp_path / name, f"/{c}/image") for c in CAMERAS}
    ends, read = [], BagReader.messages

    def messages(bag, *args):
        yield from read(bag, *args)
        ends.append(args)

    with monkeypatch.context() as patch:
        patch.setattr(BagReader, "messages", messages)
        drives = open_drives(tmp_path / name)
    assert len(ends) == 1
    assert [drive.image_topic for drive in drives] == [f"/{c}/image" for c in sorted(CAMERAS)]
    for drive in drives:
        one = alone[drive.frame_id]
        assert drive.name == one.name
        assert drive.stamps_ns.tolist() == one.stamps_ns.tolist()
        for index, frame in enumerate(drive):
            other = one[index]
            assert frame.image.tolist() == other.image.tolist()
            assert frame.camera == other.camera == drive.glance(index).camera
            assert frame.T_world_camera.tolist() == other.T_world_camera.tolist()
            assert frame.lidar.tolist() == other.lidar.tolist()
            assert drive.glance(index).has_empty_scan == (index == 2)
    (right,) = (drive for drive in drives if drive.frame_id == "right")
    assert [frame.camera.fx for frame in right] == [64, 64, 90, 90]
    assert [int(frame.image[0, 0, 0]) for frame in right] == [1, 11, 21, 31]


def test_a_long_bag_takes_little_memory():
    image = bag_messages.serialize(bag_messages.image(START_NS, "a", grey(1)))[:64]
    info = bag_messages.serialize(bag_messages.camera_info(START_NS, "a", CAMERA))
    kinds = {"/a/image": image, "/a/camera_info": info}

    def messages(_):
        for log_ns in range(10_000):
            for topic, raw in kinds.items():
                yield BagMessage(topic, "sensor_msgs/msg/CameraInfo", log_ns, raw, False)

    bag = SimpleNamespace(messages=messages, topics_of_type=lambda *_: [])
    about = ("sensor_msgs/msg/Image", 10_000, "rgb8", 64, 48, "a", "/a/camera_info", CAMERA)
    index_bag(bag, [CameraTopic("/a/image", *about)])  # what is made but once is made
    tracemalloc.start()
    index = index_bag(bag, [CameraTopic("/a/image", *about)])
    size, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(index.images["/a/image"]) == 10_000
    assert index.intrinsics["/a/image"].cameras == (CAMERA,)
    assert size < 300_000
    assert peak < 700_000
