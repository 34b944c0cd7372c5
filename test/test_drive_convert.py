"""A drive written in every form and read back: the same images, poses, lidar and figures."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from support import write_tiny_model
from test_eval_command import HEIGHT, WIDTH, write_drive
from test_nuscenes_writer import Ring

from rosam_core.cli import main
from rosam_core.drives.bag_writer import write_drive as write_bag
from rosam_core.drives.condition_ranges import condition_at, load_ranges, save_ranges
from rosam_core.drives.frames_writer import write_frames
from rosam_core.drives.nuscenes_writer import write_nuscenes
from rosam_core.drives.opening import DriveOptions, open_drives
from rosam_core.drives.synthetic import drive as disk

FORMS = {
    "mcap": "out.mcap",
    "sqlite3": "out.db3",
    "ros1": "out.bag",
    "nuscenes": "tree",
    "robotcar": "traversals",
    "frames": "images",
}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A drive whose images, poses and lidar differ from frame to frame."""
    folder = write_drive(tmp_path_factory.mktemp("source") / "a", ("night",), frames=4)
    rng = np.random.default_rng(3)
    (folder / "lidar").mkdir()
    meta = json.loads((folder / "drive.json").read_text())
    for index in range(4):
        image = rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
        path = folder / "images" / "night" / f"{index:06d}.png"
        path.write_bytes(disk.encode_image(image, ".png"))
        z = rng.uniform(3, 70, 200)
        sides = rng.uniform(-0.4, 0.4, (2, 200)) * [[1.0], [0.7]] * z
        points = np.column_stack([*sides, z]).astype(np.float32)
        np.save(folder / "lidar" / f"{index:06d}.npy", points)
        angle = 0.2 * index
        T = np.array(meta["frames"][index]["T_world_camera"])
        turn = [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
        T[:3, :3] = np.array(turn) @ T[:3, :3]
        T[:3, 3] = [3.5 * index, 0.25 * index, 1.5]
        meta["frames"][index]["T_world_camera"] = T.tolist()
    (folder / "drive.json").write_text(json.dumps(meta))
    return folder


def convert(capsys, *arguments):
    code = main(["drive", "convert", *map(str, arguments)])
    return code, capsys.readouterr()


@pytest.mark.parametrize("form", FORMS)
def test_every_form_reads_back_as_the_same_drive(source, tmp_path, capsys, form):
    out = tmp_path / FORMS[form]
    arguments = ("--to", form) if form in ("nuscenes", "robotcar", "frames") else ()
    code, said = convert(capsys, source, "-o", out, *arguments)
    assert code == 0, said.err
    assert f"{out}: 4 frames" in said.out
    window = 0.0 if form == "robotcar" else None  # every image its own scan
    (drive,) = open_drives(out, options=DriveOptions(robotcar_window=window))
    (before,) = open_drives(source)
    # RobotCar's readers take positions relative to the first.
    origin = np.zeros((4, 4))
    origin[:3, 3] = before[0].T_world_camera[:3, 3] if form == "robotcar" else 0
    assert len(drive) == 4
    for a, b in zip(before, drive, strict=True):
        assert np.array_equal(a.image, b.image)
        assert b.stamp_ns == a.stamp_ns
        assert b.condition == "night"
        np.testing.assert_allclose(b.camera.K, a.camera.K, rtol=1e-12)
        np.testing.assert_allclose(b.T_world_camera, a.T_world_camera - origin, atol=1e-6)
        if form == "frames":
            np.testing.assert_array_equal(a.depth, b.depth)
        else:
            u = 64 * a.lidar[:, 0] / a.lidar[:, 2] + 31.5
            v = 64 * a.lidar[:, 1] / a.lidar[:, 2] + 23.5
            seen = (u > 1) & (u < WIDTH - 1) & (v > 1) & (v < HEIGHT - 1)
            points = a.lidar[seen] if form in ("nuscenes", "robotcar") else a.lidar
            np.testing.assert_allclose(b.lidar, points, atol=1e-4)


def test_the_figures_are_the_same_in_every_form_with_lidar(source, tmp_path, capsys):
    model = write_tiny_model(tmp_path / "model", WIDTH, HEIGHT)
    tables = {}
    for form in ("mcap", "sqlite3", "ros1", "nuscenes", "robotcar"):
        arguments = ("--to", form) if form in ("nuscenes", "robotcar") else ()
        assert convert(capsys, source, "-o", tmp_path / FORMS[form], *arguments)[0] == 0
        command = ["eval", "--drive", str(tmp_path / FORMS[form]), "--model", str(model)]
        command += ["--max-depth", "80"]  # which RobotCar alone does not have by default
        window = ["--robotcar-window", "0"] if form == "robotcar" else []
        for truth in ("protocol", "general"):
            assert main([*command, *window, "--ground-truth", truth, "--json"]) == 0
            said = json.loads(capsys.readouterr().out)
            tables[form, truth] = said["conditions"]["night"]["metric"]
    first = tables["mcap", "general"]
    assert first["abs_rel"] > 0.05
    for form in ("mcap", "sqlite3", "ros1", "nuscenes", "robotcar"):
        assert tables[form, "general"] == pytest.approx(first, abs=1e-6)
    # The published ground truth of nuScenes takes the integer part of a pixel; here all pixels of
    # an image say the same depth, so that only the points that share one make a difference.
    assert tables["nuscenes", "protocol"] != first
    assert tables["nuscenes", "protocol"]["abs_rel"] == pytest.approx(first["abs_rel"], rel=0.1)


def test_a_bag_keeps_where_the_lidar_was(source, tmp_path, capsys):
    """Without it, points behind the roof of a car cannot be told from points on the car."""
    (drive,) = open_drives(source)
    origin = np.array([0.5, -0.7, 0.25])

    class Mounted:
        """The drive, with a lidar above the camera and to its right."""

        def __iter__(self):
            return (dataclasses.replace(frame, lidar_origin=origin) for frame in drive)

    write_bag(Mounted(), tmp_path / "a.mcap", compressed=None)
    (read,) = open_drives(tmp_path / "a.mcap")
    assert len(read) == 4
    for before, after in zip(drive, read, strict=True):
        np.testing.assert_allclose(after.lidar_origin, origin, atol=1e-6)
        np.testing.assert_allclose(after.lidar, before.lidar, atol=2e-5)


def test_conditions_of_a_bag_come_back_from_the_file_beside_it(tmp_path):
    path = tmp_path / "x.yaml"
    stamps = [10**18 + i * 10**8 for i in range(5)]
    save_ranges(path, stamps, ["fog", "fog", "unknown", "night", "night"])
    found = [condition_at(load_ranges(path), (s - stamps[0]) / 1e9) for s in stamps]
    assert found == ["fog", "fog", "unknown", "night", "night"]
    save_ranges(tmp_path / "y.yaml", stamps[:1], ["unknown"])
    assert not (tmp_path / "y.yaml").exists()


def test_frames_of_two_conditions_become_two_folders(tmp_path, capsys):
    write_drive(tmp_path / "a", ("day-clear", "night"), frames=2)
    assert convert(capsys, tmp_path / "a", "-o", tmp_path / "out", "--to", "frames")[0] == 0
    drives = open_drives(tmp_path / "out")
    assert [drive[0].condition for drive in drives] == ["day-clear", "night"]
    code, said = convert(capsys, tmp_path / "a", "-o", tmp_path / "out", "--to", "frames")
    assert code == 1
    assert "--force replaces a folder of frames" in said.err
    again = (tmp_path / "a", "-o", tmp_path / "out", "--to", "frames", "--force", "--jpeg", 90)
    assert convert(capsys, *again)[0] == 0
    assert list((tmp_path / "out").glob("*/*.jpg"))


def test_a_stamp_that_repeats_is_written_once(source, tmp_path, capsys, caplog):
    folder = shutil.copytree(source, tmp_path / "a")
    meta = json.loads((folder / "drive.json").read_text())
    for index in (1, 2):
        meta["frames"][index]["stamp_ns"] = meta["frames"][0]["stamp_ns"]
    (folder / "drive.json").write_text(json.dumps(meta))
    code, said = convert(capsys, folder, "-o", tmp_path / "images", "--to", "frames")
    assert code == 0
    assert "images: 2 frames" in said.out
    assert "a: 2 frames have the stamp of one before them and are left out: 1-2" in caplog.text
    (drive,) = open_drives(tmp_path / "images")
    (before,) = open_drives(source)
    assert [frame.stamp_ns for frame in drive] == [before[i].stamp_ns for i in (0, 3)]
    for frame, index in zip(drive, (0, 3), strict=True):
        assert np.array_equal(frame.image, before[index].image)


def test_drives_of_one_name_and_stamp_are_refused_before_any_is_read(
    source, tmp_path, monkeypatch
):
    first, second = open_drives(source)[0], open_drives(source)[0]
    monkeypatch.setattr(disk.SyntheticDrive, "__getitem__", None)
    with pytest.raises(
        ValueError, match=r"frame 0 of a and frame 0 of a have the same stamp 1000"
    ):
        write_frames([first, second], tmp_path / "out")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def tree(tmp_path):
    """Three cameras, two scenes of two instants each."""
    second = Ring(instants=4)
    second.name, second.places = "second", second.places[6:]
    second.scene = lambda index: "second"
    write_nuscenes([Ring(instants=2), second], tmp_path / "tree")
    return tmp_path / "tree"


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ((), "has 3 cameras (CAM_FRONT, CAM_BACK, CAM_FRONT_LEFT) and 2 scenes (scene-0000, "),
        (("--nuscenes-camera", "CAM_BACK"), "has 1 camera (CAM_BACK) and 2 scenes"),
        (("--nuscenes-split", "second"), "CAM_FRONT_LEFT) and 1 scene (scene-0001)"),
    ],
)
def test_cameras_and_scenes_are_not_mixed_in_one_bag(tree, tmp_path, capsys, chosen, message):
    (tree / "splits.json").write_text(json.dumps({"second": scenes_of(tree)[1:]}))
    (tmp_path / "rig.mcap").write_bytes(b"there before")
    code, said = convert(capsys, tree, "-o", tmp_path / "rig.mcap", "--force", *chosen)
    assert code == 1
    assert message in said.err
    assert "choose with --nuscenes-camera NAME and --nuscenes-split FILE" in said.err
    assert (tmp_path / "rig.mcap").read_bytes() == b"there before"


def test_one_camera_of_one_scene_becomes_a_bag(tree, tmp_path, capsys):
    (tmp_path / "one.txt").write_text(scenes_of(tree)[1] + "\n")
    chosen = ("--nuscenes-camera", "CAM_FRONT_LEFT", "--nuscenes-split", tmp_path / "one.txt")
    code, said = convert(capsys, tree, "-o", tmp_path / "one.mcap", *chosen)
    assert code == 0, said.err
    (drive,) = open_drives(tmp_path / "one.mcap")
    ring = Ring(instants=4)
    assert [f.stamp_ns for f in drive] == [ring.stamp(i, "CAM_FRONT_LEFT") for i in (2, 3)]


def scenes_of(tree):
    (drive,) = open_drives(tree)
    return list(dict.fromkeys(drive.scene(index) for index in range(len(drive))))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-o", "out"), "say what out shall be: --to bag|nuscenes|robotcar|frames"),
        (("-o", "out.mcap", "--jpeg", "101"), "--jpeg must be between 0 and 100"),
        (("-o", "out.mcap"), "a bag holds one drive"),
        (("-o", "out", "--to", "frames", "--fov", "60"), "--fov has no meaning"),
        (("-o", "there", "--to", "nuscenes", "--force"), "there exists already"),
        (("-o", "there", "--to", "robotcar", "--force"), "there exists already"),
        (("-o", "out", "--to", "robotcar", "--jpeg", "90"), "leave out --jpeg"),
        (("-o", "out", "--to", "frames", "--mosaic"), "--mosaic has no meaning"),
    ],
)
def test_wrong_arguments_leave_nothing_behind(tmp_path, capsys, monkeypatch, arguments, message):
    write_drive(tmp_path / "a", ("day-clear", "night"), frames=1)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    code, said = convert(capsys, "a", *arguments)
    assert code == 1
    assert message in said.err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "there"]
