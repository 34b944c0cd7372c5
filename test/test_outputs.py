"""Files to be written are tested before a command begins its work."""

import json
import os
import stat
import sys

import pytest
from bag_samples import write_camera_bag
from support import write_tiny_model
from test_eval_command import HEIGHT, WIDTH, write_drive

from rosam_core.cli import main
from rosam_core.commands.outputs import check_drawing, check_outputs
from rosam_core.drives import opening
from rosam_core.evaluation import protocol


def test_what_is_there_stays_and_of_what_is_not_only_the_folder(tmp_path):
    (tmp_path / "old.json").write_text("figures")
    (tmp_path / "link.json").symlink_to(tmp_path / "nowhere.json")
    new = tmp_path / "a" / "b" / "new.html"
    link = tmp_path / "link.json"
    check_outputs(
        {"--json": tmp_path / "old.json", "--report": new, "--plot": None, "-o": str(link)}
    )
    assert (tmp_path / "old.json").read_text() == "figures"
    assert new.parent.is_dir()
    assert not new.exists()
    assert link.is_symlink()
    assert not link.exists()


def test_a_pipe_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    check_outputs({"--json": tmp_path / "pipe", "--report": "-"})  # opened it would wait
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


@pytest.mark.parametrize("name", ["file/a.json", "n" * 300 + ".json", "loop", "folder"])
def test_what_cannot_be_written_is_told_with_its_option(tmp_path, name):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    why = "is a folder: name a file in it" if name == "folder" else "cannot be written"
    with pytest.raises(ValueError, match=f"--json .*{name} {why}"):
        check_outputs({"--json": tmp_path / name})


def test_no_matplotlib_is_told_with_the_option(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "matplotlib.figure", raising=False)
    with pytest.raises(ValueError, match=r"--plot needs matplotlib.*constraints\.txt"):
        check_drawing("--plot")


@pytest.mark.parametrize("command", ["eval", "bag eval"])
@pytest.mark.parametrize("option", ["--json", "--report"])
def test_nothing_is_scored_for_a_file_that_cannot_be_written(
    tmp_path, capsys, monkeypatch, command, option
):
    monkeypatch.setattr(protocol, "score_drives", lambda *_, **__: pytest.fail("it was scored"))
    model = write_tiny_model(tmp_path / "model", WIDTH, HEIGHT)
    if command == "eval":
        source = ["--drive", str(write_drive(tmp_path / "a"))]
    else:
        write_camera_bag(tmp_path / "a.mcap")
        source = [str(tmp_path / "a.mcap")]
    words = [*command.split(), *source, "--model", str(model), option]
    (tmp_path / "file").touch()
    assert main([*words, str(tmp_path / "file" / "x" / "a")]) == 1
    assert f"{option} {tmp_path}/file/x/a cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [("calibrate", "m.onnx", "drives"), ("quantize", "m.onnx", "--calibrate", "drives")]
)
def test_no_drive_is_opened_for_a_model_that_cannot_be_written(
    tmp_path, capsys, monkeypatch, words
):
    pytest.importorskip("onnx", reason="the extra `quantize` is not installed")
    monkeypatch.setattr(opening, "open_drives", lambda *_, **__: pytest.fail("it was opened"))
    (tmp_path / "file").touch()
    assert main([*words, "-o", str(tmp_path / "file" / "a.onnx")]) == 1
    assert f"-o {tmp_path}/file/a.onnx cannot be written" in capsys.readouterr().err


def test_nothing_is_scored_for_a_report_that_cannot_be_drawn(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(protocol, "score_drives", lambda *_, **__: pytest.fail("it was scored"))
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "matplotlib.figure", raising=False)
    model = write_tiny_model(tmp_path / "model", WIDTH, HEIGHT)
    drive, page = write_drive(tmp_path / "a"), tmp_path / "page.html"
    words = ["eval", "--drive", drive, "--model", model, "--report", page]
    assert main([str(word) for word in words]) == 1
    assert "--report needs matplotlib" in capsys.readouterr().err


@pytest.mark.parametrize("broken", ["--json", "--report"])
def test_of_two_files_one_is_written_if_the_other_fails(tmp_path, capsys, monkeypatch, broken):
    pytest.importorskip("matplotlib")
    model = write_tiny_model(tmp_path / "model", WIDTH, HEIGHT)
    drive = write_drive(tmp_path / "a", ("day-clear",), frames=1)
    files = {"--json": tmp_path / "made" / "a.json", "--report": tmp_path / "made" / "a.html"}
    score = protocol.score_drives

    def score_and_lose_a_file(*args, **kwargs):
        found = score(*args, **kwargs)
        files[broken].mkdir()  # so that it is no longer a place for a file
        return found

    monkeypatch.setattr(protocol, "score_drives", score_and_lose_a_file)
    words = ["eval", "--drive", drive, "--model", model]
    words += [word for pair in files.items() for word in pair]
    assert main([str(word) for word in words]) == 1
    assert str(files.pop(broken)) in capsys.readouterr().err
    (written,) = files.values()
    if written.suffix == ".json":
        assert len(json.loads(written.read_text())["frames"]) == 1
    else:
        assert "</html>" in written.read_text()
