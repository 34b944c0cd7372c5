"""The tables in pieces, the kept index, sweeps, speeds and splits."""

import json
import os

import numpy as np
import pytest
from test_nuscenes import write_tree
from test_nuscenes_writer import Made

from rosam_core.cli import main
from rosam_core.drives import nuscenes_tables
from rosam_core.drives.nuscenes import NuscenesDrive, ego_speed, split_scenes
from rosam_core.drives.nuscenes_tables import chosen_rows, load_index, rows
from rosam_core.drives.nuscenes_writer import write_nuscenes

ROWS = [{"token": str(i), "list": [{"a": 1}, {"b": "},{"}], "words": '"}, {"'} for i in range(40)]


@pytest.mark.parametrize("chunk", [1, 7, 64, 500, 1 << 20])
@pytest.mark.parametrize("indent", [None, 0, 2])
def test_rows_come_whole_however_the_text_is_cut(tmp_path, monkeypatch, chunk, indent):
    plain = [{"token": str(i), "translation": [0.5, -1e-7], "next": ""} for i in range(40)]
    path = tmp_path / "t.json"
    path.write_text(json.dumps(plain, indent=indent))
    monkeypatch.setattr(nuscenes_tables, "CHUNK_CHARS", chunk)
    assert list(rows(path)) == plain
    assert list(chosen_rows(path, lambda text: True)) == plain
    assert list(chosen_rows(path, lambda text: '"token": "3' in text)) == [plain[3], *plain[30:]]
    assert list(chosen_rows(path, lambda text: False)) == []


@pytest.mark.parametrize("chunk", [7, 64, 500])
def test_objects_inside_rows_and_braces_in_words_do_not_cut_a_row(tmp_path, monkeypatch, chunk):
    path = tmp_path / "t.json"
    path.write_text(json.dumps(ROWS))
    monkeypatch.setattr(nuscenes_tables, "CHUNK_CHARS", chunk)
    assert list(rows(path)) == ROWS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "does not start with"),
        ('{"token": "a"}', "does not start with"),
        ('[{"token": "a"}, {"token', "is not JSON"),
        ('[{"token": "a"}', "is not JSON"),
        ('[{"token": "a"}] x', "is not JSON"),
        ('[{"token": "a"}, 3]', "no array of objects"),
    ],
)
def test_damaged_tables_are_named(tmp_path, text, message):
    path = tmp_path / "scene.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"scene.json.*{message}"):
        list(rows(path))
    if "array of objects" not in message:
        with pytest.raises(ValueError, match=r"scene.json is not JSON"):
            list(chosen_rows(path, lambda text: True))


def test_an_empty_table_has_no_rows(tmp_path):
    (tmp_path / "t.json").write_text(" [ ] \n")
    assert list(rows(tmp_path / "t.json")) == []
    assert list(chosen_rows(tmp_path / "t.json", lambda text: True)) == []


@pytest.fixture
def tree(tmp_path):
    write_nuscenes([Made()], tmp_path / "tree")
    return tmp_path / "tree"


def version(tree):
    return next(tree.glob("v1.0-*"))


def test_the_index_of_large_tables_is_kept_and_follows_them(tree, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(nuscenes_tables, "CACHE_FROM_BYTES", 0)
    cache = tmp_path / "cache"
    first = NuscenesDrive(tree, cache=cache)
    (kept,) = cache.iterdir()
    monkeypatch.setattr(nuscenes_tables, "read_index", None)  # whoever reads the tables fails
    again = NuscenesDrive(tree, cache=cache)
    for a, b in zip(first, again, strict=True):
        assert np.array_equal(a.image, b.image)
        np.testing.assert_array_equal(a.T_world_camera, b.T_world_camera)
        assert (a.camera, a.stamp_ns, a.condition) == (b.camera, b.stamp_ns, b.condition)
        if a.lidar is not None:
            np.testing.assert_array_equal(a.lidar, b.lidar)
    monkeypatch.undo()
    monkeypatch.setattr(nuscenes_tables, "CACHE_FROM_BYTES", 0)

    kept.write_bytes(kept.read_bytes()[:200])
    assert len(NuscenesDrive(tree, cache=cache)) == 4
    assert "is damaged and made anew" in caplog.text
    assert len(NuscenesDrive(tree, sweeps=True, cache=cache)) == 4
    assert len(list(cache.iterdir())) == 2

    table = version(tree) / "scene.json"
    text = table.read_text().replace("Fog", "Night")
    table.write_text(text)
    os.utime(table, ns=(1, 1))
    assert NuscenesDrive(tree, cache=cache).glance(2).condition == "night"


def test_an_index_that_cannot_be_kept_is_no_error(tree, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(nuscenes_tables, "CACHE_FROM_BYTES", 0)
    (tmp_path / "file").write_text("")
    assert len(load_index(version(tree), cache=tmp_path / "file").file) == 4
    assert "is not kept for next time" in caplog.text


@pytest.mark.parametrize(
    ("table", "lost"),
    [
        ("sample", "sample.json lacks the token"),
        ("scene", "scene.json lacks the token"),
        ("sensor", "sensor.json lacks the token"),
        ("ego_pose", "ego_pose.json lacks the token"),
        ("calibrated_sensor", "calibrated_sensor.json lacks the token"),
    ],
)
def test_a_token_that_leads_nowhere_is_named(tree, table, lost):
    path = version(tree) / f"{table}.json"
    path.write_text(json.dumps(json.loads(path.read_text())[1:]))
    with pytest.raises(ValueError, match=lost):
        NuscenesDrive(tree)


def test_sweeps_come_between_key_frames_without_lidar(tmp_path):
    drive = NuscenesDrive(write_tree(tmp_path), sweeps=True)
    assert [drive.glance(i).stamp_ns for i in range(2)] == [100_000, 150_000]
    assert [drive.glance(i).has_lidar for i in range(2)] == [True, False]
    assert len(NuscenesDrive(tmp_path)) == 1


class Moving(Made):
    """2 m/s for two frames, then at rest."""

    def __getitem__(self, index):
        frame = super().__getitem__(index)
        T = np.array([[0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1.0]])
        T[0, 3] = [0, 2, 4, 4, 4][index]
        return frame.__class__(
            frame.image, frame.camera, 10**18 + index * 10**9, T, self.conditions[index]
        )


def test_frames_at_rest_are_left_out(tmp_path):
    write_nuscenes([Moving(("night",) * 5)], tmp_path / "tree")
    drive = NuscenesDrive(tmp_path / "tree")
    speed = ego_speed(load_index(version(tmp_path / "tree")))
    np.testing.assert_allclose(speed, [2, 2, 0, 0, 0], atol=1e-9)
    assert len(drive) == 5
    assert len(NuscenesDrive(tmp_path / "tree", min_speed_mps=1.0)) == 2
    with pytest.raises(ValueError, match=r"no key-frame image .* at 9 m/s or more"):
        NuscenesDrive(tmp_path / "tree", min_speed_mps=9.0)


def test_splits_come_from_a_list_or_splits_json(tree, tmp_path):
    name = version(tree).name
    (tmp_path / "mine.txt").write_text("# of ours\nscene-0001\n\n")
    chosen = split_scenes(tree, name, str(tmp_path / "mine.txt"))
    assert chosen == ["scene-0001"]
    drive = NuscenesDrive(tree, scenes=chosen)
    assert {drive.scene(i) for i in range(len(drive))} == {"scene-0001"}
    (tree / "splits.json").write_text(json.dumps({"val": ["scene-0000", "scene-9999"]}))
    assert len(NuscenesDrive(tree, scenes=split_scenes(tree, name, "val"))) == 2
    with pytest.raises(ValueError, match="has no split 'test': it has val"):
        split_scenes(tree, name, "test")
    (tree / "splits.json").write_text("[")
    with pytest.raises(ValueError, match="is no object of lists of scenes"):
        split_scenes(tree, name, "val")
    with pytest.raises(ValueError, match="none of the 1 scenes, such as x"):
        NuscenesDrive(tree, scenes=["x"])
    (tmp_path / "empty.txt").write_text("#\n")
    with pytest.raises(ValueError, match="names no scene"):
        split_scenes(tree, name, str(tmp_path / "empty.txt"))


def test_options_reach_the_drive(tree, tmp_path, capsys):
    (tree / "splits.json").write_text(json.dumps({"val": ["scene-0001", "scene-0002"]}))
    command = ["drive", "info", str(tree), "--json", "--nuscenes-split", "val"]
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out)["drives"][0]["frames"] == 2
    assert main([*command, "--nuscenes-camera", "CAM_BACK"]) == 1
    assert "no key-frame image of ('CAM_BACK',) in 2 scenes" in capsys.readouterr().err
    assert main([*command, "--nuscenes-version", "v1.0-x"]) == 1
    assert "no nuScenes table" in capsys.readouterr().err
    assert main(["drive", "info", str(tree), "--nuscenes-sweeps", "--kind", "frames"]) == 1
    assert "--nuscenes-sweeps has no meaning for a drive of kind frames" in capsys.readouterr().err
