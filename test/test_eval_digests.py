"""An evaluation says by which frames and settings its figures came to be."""

import json

import pytest
from support import write_tiny_model
from test_eval_command import HEIGHT, WIDTH, write_drive

from rosam_core.cli import main


@pytest.fixture
def made(tmp_path):
    write_drive(tmp_path / "a", ("day-clear",), frames=2)
    return tmp_path / "a", write_tiny_model(tmp_path / "model", WIDTH, HEIGHT)


def digests(capsys, drive, model, *options):
    assert main(["eval", "--drive", str(drive), "--model", str(model), "--json", *options]) == 0
    said = json.loads(capsys.readouterr().out)
    return said["drive_digest"], said["settings_digest"]


def test_the_same_frames_and_settings_have_the_same_digests(made, capsys):
    drive, model = made
    first = digests(capsys, drive, model)
    assert all(len(digest) == 32 for digest in first)
    assert digests(capsys, drive, model) == first
    assert digests(capsys, drive, model, "--threads", "1") == first


def test_another_setting_changes_the_settings_alone(made, capsys):
    drive, model = made
    first, other = digests(capsys, drive, model), digests(capsys, drive, model, "--crop", "garg")
    assert other[0] == first[0]
    assert other[1] != first[1]


@pytest.mark.parametrize("change", ["stamp_ns", "pose", "fx"])
def test_another_drive_changes_the_drive_alone(made, capsys, change):
    drive, model = made
    first = digests(capsys, drive, model)
    meta = json.loads((drive / "drive.json").read_text())
    if change == "stamp_ns":
        meta["frames"][1]["stamp_ns"] += 1
    elif change == "pose":
        meta["frames"][1]["T_world_camera"][0][3] += 0.001
    else:
        meta["fx"] += 0.01
    (drive / "drive.json").write_text(json.dumps(meta))
    other = digests(capsys, drive, model)
    assert other[0] != first[0]
    assert other[1] == first[1]


def test_the_page_has_them_too(made, tmp_path, capsys):
    drive, model = made
    first = digests(capsys, drive, model)
    command = ["eval", "--drive", str(drive), "--model", str(model)]
    assert main([*command, "--report", str(tmp_path / "page.html")]) == 0
    assert f"drive_digest {first[0]}" in (tmp_path / "page.html").read_text()
