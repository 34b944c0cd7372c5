"""What `--force` may replace: folders that were made here, and never what is being read."""

import os

import pytest

from rosam_core.drives.whole_folder import refuse_overlap, whole_folder


def made(out, text, what="a folder of frames", overwrite=False):
    with whole_folder(out, what, overwrite) as folder:
        (folder / "a.txt").write_text(text)


def test_only_what_was_made_here_is_replaced(tmp_path):
    out = tmp_path / "out"
    made(out, "first")
    with pytest.raises(FileExistsError, match="--force replaces a folder of frames"):
        made(out, "second")
    made(out, "second", overwrite=True)
    assert (out / "a.txt").read_text() == "second"
    with pytest.raises(FileExistsError, match="and is not a nuScenes tree made here"):
        made(out, "third", what="a nuScenes tree", overwrite=True)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "drive.json").write_text("{}")  # somebody's own recording
    with pytest.raises(FileExistsError, match="and is not a folder of frames made here"):
        made(foreign, "x", overwrite=True)
    assert [path.name for path in foreign.iterdir()] == ["drive.json"]


def test_a_link_is_kept_and_what_it_names_is_replaced(tmp_path):
    made(tmp_path / "disk" / "real", "first")
    (tmp_path / "out").symlink_to("disk/real")
    made(tmp_path / "out", "second", overwrite=True)
    assert (tmp_path / "out").is_symlink()
    assert (tmp_path / "disk" / "real" / "a.txt").read_text() == "second"
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["real"]


def test_the_old_comes_back_when_the_new_cannot_take_its_place(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("no rename here")

    made(tmp_path / "out", "first")
    monkeypatch.setattr("pathlib.Path.replace", refuse)
    with pytest.raises(OSError, match="no rename here"):
        made(tmp_path / "out", "second", overwrite=True)
    assert (tmp_path / "out" / "a.txt").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_a_killed_run_left_is_named(tmp_path, caplog):
    gone = tmp_path / f".out.x7.{2**22 + 1}.partial"  # no process has this number
    for path in (gone, tmp_path / f".out.x8.{os.getpid()}.partial", tmp_path / ".in.x9.partial"):
        path.mkdir()
    made(tmp_path / "out", "first")
    (told,) = caplog.messages
    assert told.startswith(f"{gone} was left by a run that was killed: delete it")
    assert gone.is_dir()


@pytest.mark.parametrize(("source", "output"), [("a", "a"), ("a/b", "a"), ("a", "a/b/c")])
def test_an_output_never_holds_its_input_nor_lies_in_it(tmp_path, source, output):
    with pytest.raises(ValueError, match="must not be the input"):
        refuse_overlap(tmp_path / source, tmp_path / output)
    refuse_overlap(tmp_path / "a" / "b", tmp_path / "a" / "c")
