"""A drive written as nuScenes and read back is the same drive."""

import dataclasses
import json

import numpy as np
import pytest
from test_eval_command import write_drive

from rosam_core.drives.base import Drive
from rosam_core.drives.frames_writer import write_frames
from rosam_core.drives.nuscenes import NuscenesDrive, transform
from rosam_core.drives.nuscenes_rig import channels_of
from rosam_core.drives.nuscenes_tables import CAMERAS
from rosam_core.drives.nuscenes_writer import T_EGO_CAMERA, _pose, write_nuscenes
from rosam_core.drives.opening import open_drives
from rosam_core.drives.synthetic.drive import SyntheticDrive
from rosam_core.geometry.projection import points_in_view
from rosam_core.types import Camera, Frame


class Made(Drive):
    """Frames that turn about every axis, with lidar inside the view; the last one without."""

    name = "made"

    def __init__(self, conditions=("day-clear", "day-clear", "fog", "unknown"), poses=True):
        self.conditions, self.poses = conditions, poses

    def __len__(self):
        return len(self.conditions)

    def __getitem__(self, index):
        rng = np.random.default_rng(index)
        z = rng.uniform(2, 60, 50)
        points = np.column_stack([rng.uniform(-0.3, 0.3, 50) * z, rng.uniform(-0.2, 0.2, 50) * z])
        T = transform({"rotation": rng.normal(size=4), "translation": 1e3 * rng.normal(size=3)})
        return Frame(
            rng.integers(0, 256, (48, 64, 3), np.uint8),
            Camera(60.5, 61.5, 30.25 + (index > 1), 22.75, 64, 48),
            1_700_000_000_123_456_000 + index * 83_333_000,
            T_world_camera=T if self.poses else None,
            condition=self.conditions[index],
            lidar=None if index == 3 else np.column_stack([points, z]).astype(np.float32),
        )


def test_what_is_written_is_read_back(tmp_path):
    assert write_nuscenes([Made()], tmp_path / "tree") == 4
    read = NuscenesDrive(tmp_path / "tree")
    assert len(read) == 4
    for before, after in zip(Made(), read, strict=True):
        assert np.array_equal(after.image, before.image)
        assert after.camera == before.camera
        assert after.stamp_ns == before.stamp_ns
        assert after.condition == before.condition
        np.testing.assert_allclose(after.T_world_camera, before.T_world_camera, atol=1e-9)
        if before.lidar is None:
            assert after.lidar is None
        else:
            np.testing.assert_allclose(after.lidar, before.lidar, atol=1e-5)
    # Runs of one condition are scenes.
    assert [read.scene(i)[-1] for i in range(4)] == ["0", "0", "1", "2"]


def test_linked_lists_and_tokens_are_whole(tmp_path):
    write_nuscenes([Made(), Made(("night",))], tmp_path / "tree")
    tables = {p.stem: json.loads(p.read_text()) for p in (tmp_path / "tree").glob("v1.0-*/*.json")}
    assert len(tables) == 13
    tokens = {name: {row["token"] for row in rows} for name, rows in tables.items()}
    for name, rows in tables.items():
        assert len(tokens[name]) == len(rows), name  # unique
        for row in rows:
            for key, value in row.items():
                table = key.removesuffix("_token")
                if key.endswith("_token") and table in tokens:
                    assert value in tokens[table], (name, key)
    for scene in tables["scene"]:
        samples = {row["token"]: row for row in tables["sample"]}
        token, count = scene["first_sample_token"], 0
        while token:
            count, last, token = count + 1, token, samples[token]["next"]
        assert (count, last) == (scene["nbr_samples"], scene["last_sample_token"])
    data = {row["token"]: row for row in tables["sample_data"]}
    for row in data.values():
        if row["next"]:
            assert data[row["next"]]["prev"] == row["token"]
            assert data[row["next"]]["timestamp"] > row["timestamp"]


def test_every_rotation_survives_the_quaternion():
    half_turns = [[0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [1, 0, 0, 0], [0.5, 0.5, 0.5, 0.5]]
    for q in half_turns:
        T = transform({"rotation": q, "translation": [1, 2, 3]})
        np.testing.assert_allclose(transform(_pose(T)), T, atol=1e-12)


def test_jpeg_is_smaller_and_close(tmp_path):
    write_drive(tmp_path / "drive", ("night",))
    drive = SyntheticDrive(tmp_path / "drive", "night")
    write_nuscenes([drive], tmp_path / "tree", jpeg_quality=95)
    assert list((tmp_path / "tree/samples/CAM_FRONT").glob("*.jpg"))
    read = NuscenesDrive(tmp_path / "tree")[0]
    assert abs(read.image.astype(int) - drive[0].image).max() <= 2
    assert read.condition == "night"


@pytest.mark.parametrize(
    ("drives", "message"),
    [([Made(poses=False)], "frame 0 has no pose"), ([Made(())], "nothing to write")],
)
def test_nothing_is_left_of_what_cannot_be_written(tmp_path, drives, message):
    with pytest.raises(ValueError, match=message):
        write_nuscenes(drives, tmp_path / "tree")
    assert list(tmp_path.iterdir()) == []


def test_only_a_nuscenes_tree_is_replaced_and_only_when_asked(tmp_path):
    write_nuscenes([Made()], tmp_path / "tree")
    with pytest.raises(FileExistsError, match="--force replaces a nuScenes tree"):
        write_nuscenes([Made()], tmp_path / "tree")
    assert write_nuscenes([Made(("fog",))], tmp_path / "tree", overwrite=True) == 1
    assert len(NuscenesDrive(tmp_path / "tree")) == 1
    (tmp_path / "other").mkdir()
    with pytest.raises(FileExistsError, match="exists already and is not a nuScenes tree"):
        write_nuscenes([Made()], tmp_path / "other", overwrite=True)


class Surround(Made):
    """Two cameras that take turns, the second with distortion."""

    def __getitem__(self, index):
        frame = super().__getitem__(index)
        camera = Camera(60, 60, 31.5, 23.5, 64, 48)
        if index % 2:
            camera = Camera(60, 60, 31.5, 23.5, 64, 48, "plumb_bob", (-0.3, 0.1, 0, 0, 0))
        ramp = np.tile(np.arange(64, dtype=np.uint8) * 3, (48, 1))
        return frame.__class__(
            np.repeat(ramp[..., None], 3, axis=2),
            camera,
            frame.stamp_ns,
            frame.T_world_camera,
            camera_name=("CAM_FRONT", "CAM_BACK")[index % 2],
            depth=ramp.astype(np.float32),
        )


@pytest.mark.parametrize("form", ["nuscenes", "frames"])
def test_cameras_that_take_turns_stay_apart_and_distortion_goes(tmp_path, form):
    drive = Surround()
    if form == "nuscenes":
        write_nuscenes([drive], tmp_path / "tree")
        read = NuscenesDrive(tmp_path / "tree")
        found = [(read.glance(i).camera_name, read[i]) for i in range(4)]
        assert [name for name, _ in found] == ["CAM_FRONT", "CAM_BACK"] * 2
        bent = found[1][1]
    else:
        write_frames([drive], tmp_path / "images")
        drives = open_drives(tmp_path / "images")
        assert [len(d) for d in drives] == [2, 2]
        assert drives[1].glance(1).stamp_ns == drive[3].stamp_ns
        bent = drives[1][0]
        assert abs(bent.depth[23, 55] - bent.image[23, 55, 0]) <= 3  # depth follows the image
    assert bent.camera == Camera(60, 60, 31.5, 23.5, 64, 48)
    # At r = 23.5 px of f = 60 px the lens puts x at 1 - 0.3 r^2 + 0.1 r^4 of it, r^2 = 0.153.
    expected = 3 * (31.5 + 23.5 * (1 - 0.3 * 0.153 + 0.1 * 0.0235))
    assert abs(float(bent.image[23, 55, 0]) - expected) <= 1
    assert float(drive[1].image[23, 55, 0]) == 165  # as the lens has it


class Ring(Drive):
    """A vehicle with cameras to the front, left and back that turns at 5 m/s, 20 ms apart."""

    name = "ring"
    cameras = ("CAM_FRONT", "CAM_FRONT_LEFT", "CAM_BACK")
    yaws_deg = (0, 55, 180)

    def __init__(self, instants=3, only=None):
        names = self.cameras if only is None else (only,)
        self.places = [(i, name) for i in range(instants) for name in names]

    def __len__(self):
        return len(self.places)

    def scene(self, index):
        return "ring"

    def mount(self, name):
        """T_vehicle_camera: on a ring of 0.8 m, 1.5 m up."""
        yaw = np.radians(self.yaws_deg[self.cameras.index(name)])
        c, s = np.cos(yaw), np.sin(yaw)
        T = np.eye(4)
        T[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ T_EGO_CAMERA[:3, :3]
        T[:3, 3] = [0.8 * c, 0.8 * s, 1.5]
        return T

    def vehicle(self, seconds):
        T = np.eye(4)
        c, s = np.cos(0.2 * seconds), np.sin(0.2 * seconds)
        T[:2, :2] = [[c, -s], [s, c]]
        T[:3, 3] = [300 + 25 * s, 25 * (1 - c), 0]
        return T

    def stamp(self, instant, name):
        return 1_700_000_000_000_000_000 + instant * 10**8 + self.cameras.index(name) * 20_000_000

    def __getitem__(self, index):
        instant, name = self.places[index]
        stamp = self.stamp(instant, name)
        T = self.vehicle((stamp - self.stamp(0, "CAM_FRONT")) / 1e9) @ self.mount(name)
        rng = np.random.default_rng(instant)  # the same points of the world for every camera
        world = rng.uniform((280, -20, 0), (320, 20, 5), (400, 3))
        scanner = self.vehicle(0.1 * instant) @ [0.9, 0, 1.84, 1]
        T_camera_world = np.linalg.inv(T)
        points = world @ T_camera_world[:3, :3].T + T_camera_world[:3, 3]
        return Frame(
            rng.integers(0, 256, (48, 64, 3), np.uint8),
            Camera(60, 60, 31.5, 23.5, 64, 48),
            stamp,
            T_world_camera=T,
            condition="night",
            camera_name=self.topic(name),
            lidar=points[points[:, 2] > 0].astype(np.float32),  # two cameras share some
            lidar_origin=(T_camera_world @ scanner)[:3],
        )

    def topic(self, name):
        return name


class Topics(Ring):
    """One camera of the same vehicle, named as a bag names it."""

    def topic(self, name):
        return f"/{name.lower()}/image_raw/compressed"


@pytest.mark.parametrize("form", ["one drive", "a drive a camera"])
def test_an_instant_of_all_cameras_is_one_sample(tmp_path, form):
    ring = Ring()
    drives = [ring] if form == "one drive" else [Topics(only=name) for name in Ring.cameras]
    assert write_nuscenes(drives, tmp_path / "tree") == 9
    tables = {p.stem: json.loads(p.read_text()) for p in (tmp_path / "tree").glob("v1.0-*/*.json")}
    assert len(tables["scene"]) == 1
    samples = tables["sample"]
    assert len(samples) == tables["scene"][0]["nbr_samples"] == 3
    for number, sample in enumerate(samples):
        own = [row for row in tables["sample_data"] if row["sample_token"] == sample["token"]]
        channels = [row["filename"].split("/")[1] for row in own]
        assert sorted(channels) == sorted([*Ring.cameras, "LIDAR_TOP"])
        for row, channel in zip(own, channels, strict=True):
            if channel != "LIDAR_TOP":
                assert row["timestamp"] * 1000 == ring.stamp(number, channel)
    for row in tables["sample_data"]:  # one chain a channel, over all samples
        following = {other["token"]: other for other in tables["sample_data"]}.get(row["next"])
        if following:
            assert following["filename"].split("/")[1] == row["filename"].split("/")[1]
    assert sum(row["next"] == "" for row in tables["sample_data"]) == 4
    read = {(f.stamp_ns, f.camera_name): f for f in NuscenesDrive(tmp_path / "tree")}
    for before, (_, name) in zip(ring, ring.places, strict=True):
        after = read[before.stamp_ns, name]
        assert np.array_equal(after.image, before.image)
        np.testing.assert_allclose(after.T_world_camera, before.T_world_camera, atol=1e-9)
        np.testing.assert_allclose(after.lidar_origin, before.lidar_origin, atol=1e-6)
        seen, _ = points_in_view(before.lidar, before.camera)
        assert len(after.lidar) == len(seen) > 10  # each point once
        order, own = np.argsort(after.lidar[:, 2]), np.argsort(seen[:, 2])
        np.testing.assert_allclose(after.lidar[order], seen[own], atol=1e-4)


def test_images_of_other_times_are_other_samples(tmp_path):
    write_nuscenes([Surround()], tmp_path / "tree")  # two cameras, each image 83 ms after another
    samples = json.loads((tmp_path / "tree/v1.0-rosam/sample.json").read_text())
    assert len(samples) == 4


def test_cameras_are_mounted_where_their_poses_say(tmp_path):
    ring = Ring()
    write_nuscenes([ring], tmp_path / "tree")
    folder = tmp_path / "tree/v1.0-rosam"
    sensors = {r["token"]: r["channel"] for r in json.loads((folder / "sensor.json").read_text())}
    rows = json.loads((folder / "calibrated_sensor.json").read_text())
    found = {sensors[row["sensor_token"]]: transform(row) for row in rows}
    assert len(rows) == 4  # of all instants one
    for name in Ring.cameras[1:]:
        # Relative to the front camera, 10 cm from the poses around it on a turn.
        expected = np.linalg.inv(ring.mount("CAM_FRONT")) @ ring.mount(name)
        T = np.linalg.inv(found["CAM_FRONT"]) @ found[name]
        np.testing.assert_allclose(T, expected, atol=2e-3)
    # So the ego poses of one instant agree with the vehicle's motion, whichever camera.
    poses = {r["token"]: r for r in json.loads((folder / "ego_pose.json").read_text())}
    data = json.loads((folder / "sample_data.json").read_text())
    for row in data:
        if "CAM" in row["filename"]:
            ego = transform(poses[row["ego_pose_token"]])
            seconds = row["timestamp"] / 1e6 - ring.stamp(0, "CAM_FRONT") / 1e9
            at = ring.vehicle(seconds) @ ring.mount("CAM_FRONT") @ np.linalg.inv(T_EGO_CAMERA)
            np.testing.assert_allclose(ego[:3, 3], at[:3, 3], atol=5e-3)


def test_renderings_of_one_scene_stay_apart(tmp_path):
    write_drive(tmp_path / "drive", ("day-clear", "night"))
    both = [SyntheticDrive(tmp_path / "drive", name) for name in ("day-clear", "night")]
    assert write_nuscenes(both, tmp_path / "tree") == 4
    read = NuscenesDrive(tmp_path / "tree")
    assert [f.condition for f in read] == ["day-clear", "day-clear", "night", "night"] or [
        f.condition for f in read
    ] == ["day-clear", "night"] * 2
    assert {f.camera_name for f in read} == {"CAM_FRONT"}
    assert len({read.scene(i) for i in range(4)}) == 2


@pytest.mark.parametrize(
    ("names", "taken", "channels"),
    [
        (["camera"], [], ["CAM_FRONT"]),
        (["camera"], ["CAM_FRONT"], ["CAM_FRONT_RIGHT"]),
        (["/front_left/image", "/front/image"], [], ["CAM_FRONT_LEFT", "CAM_FRONT"]),
        (["left", "/CAM_BACK-RIGHT"], [], ["CAM_FRONT", "CAM_BACK_RIGHT"]),
        (["/backend/image"], [], ["CAM_FRONT"]),  # no word that says a place
        (["/front/a", "/front/b"], [], None),
        (["/front/a"], ["CAM_FRONT"], None),
        (list("abcdef"), [], list(CAMERAS)),
        (list("abcdefg"), [], None),
    ],
)
def test_channels_by_name(names, taken, channels):
    found = channels_of(names, taken)
    assert (found and [found[name] for name in names]) == channels


def test_too_many_cameras_in_one_drive_are_named(tmp_path):
    class Many(Made):
        def __getitem__(self, index):
            frame = super().__getitem__(index)
            return dataclasses.replace(frame, camera_name=f"camera {index}")

    with pytest.raises(ValueError, match=r"made has the cameras camera 0, .*room for 6"):
        write_nuscenes([Many(("fog",) * 7)], tmp_path / "tree")


def test_the_devkit_reads_samples_of_several_cameras(tmp_path):
    nuscenes = pytest.importorskip("nuscenes.nuscenes", reason="nuscenes-devkit not installed")
    ring = Ring()
    write_nuscenes([ring], tmp_path / "tree")
    devkit = nuscenes.NuScenes("v1.0-rosam", str(tmp_path / "tree"), verbose=False)
    for number, sample in enumerate(devkit.sample):
        assert sorted(sample["data"]) == sorted([*Ring.cameras, "LIDAR_TOP"])
        for name in Ring.cameras:
            tokens = {"pointsensor_token": sample["data"]["LIDAR_TOP"]}
            pixels, depths, _ = devkit.explorer.map_pointcloud_to_image(
                camera_token=sample["data"][name], **tokens
            )
            frame = ring[3 * number + Ring.cameras.index(name)]
            points, expected = points_in_view(frame.lidar, frame.camera)
            np.testing.assert_allclose(np.sort(depths), np.sort(points[:, 2]), atol=1e-3)
            order, ours = np.argsort(depths), np.argsort(points[:, 2])
            np.testing.assert_allclose(pixels[:2].T[order], expected[ours], atol=0.02)
