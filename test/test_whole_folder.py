"""What `--force` may replace: folders that were made here, and never what is being read."""

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


@pytest.mark.parametrize(("source", "output"), [("a", "a"), ("a/b", "a"), ("a", "a/b/c")])
def test_an_output_never_holds_its_input_nor_lies_in_it(tmp_path, source, output):
    with pytest.raises(ValueError, match="must not be the input"):
        refuse_overlap(tmp_path / source, tmp_path / output)
    refuse_overlap(tmp_path / "a" / "b", tmp_path / "a" / "c")
