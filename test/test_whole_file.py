"""Files are there completely or not at all."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest
from support import claimed_by_another

from rosam_core.whole_file import claim, remove_leavings, replaced, write_whole

GONE = 2**22 + 1  # no process has this number


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_whole(path, b"old")

    def fail(*_: object) -> None:
        raise OSError("no")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no"):
        write_whole(path, b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"old"


def test_processes_of_one_number_have_scratch_files_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, real = tmp_path / "map.png", os.replace

    def interrupted(
        source: Path, target: Path
    ) -> None:  # by the same step of a process in another container
        monkeypatch.setattr(os, "replace", real)
        write_whole(path, b"other", durable=False)
        assert Path(source).read_bytes() == b"own"
        real(source, target)

    monkeypatch.setattr(os, "replace", interrupted)
    write_whole(path, b"own", durable=False)
    assert [p.name for p in tmp_path.iterdir()] == ["map.png"]
    assert path.read_bytes() == b"own"


def test_a_scratch_file_that_cannot_be_put_in_its_place_is_removed(tmp_path: Path) -> None:
    (tmp_path / "map.png").mkdir()
    with pytest.raises(OSError, match=r"map\.png"):
        write_whole(tmp_path / "map.png", b"own", durable=False)
    assert [path.name for path in tmp_path.iterdir()] == ["map.png"]


def test_a_block_that_fails_or_writes_nothing_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def stopped_halfway() -> None:
        with replaced(path) as scratch:
            scratch.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped_halfway()
    with pytest.raises(FileNotFoundError), replaced(path):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"old"


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    ours = [f".x.1f.{GONE}.tmp", f".x.2f.{os.getpid()}.tmp", f".x.3f.{GONE}.tmp"]
    gone, alive, late = (tmp_path / "a" / name for name in ours)
    others = [tmp_path / "a" / name for name in (".x.onnx", ".notes.tmp", ".tmp", f"y.{GONE}.tmp")]
    for path in (gone, alive, late, *others):
        path.write_bytes(b"half")
    for path in (gone, alive, *others):
        os.utime(path, (1, 1))
    folder = tmp_path / "a" / f".folder.{GONE}.tmp"
    folder.mkdir()
    os.utime(folder, (1, 1))
    remove_leavings(tmp_path, (".*.tmp",))
    assert gone.exists()  # one folder below
    remove_leavings(tmp_path)
    assert not gone.exists()
    assert all(path.exists() for path in (alive, late, *others, folder))


def test_a_file_system_that_cannot_sync_folders_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync

    def refuse(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "no such thing here")
        real(handle)

    monkeypatch.setattr(os, "fsync", refuse)
    write_whole(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"


def test_a_claim_is_of_one_process_and_ends_with_it(tmp_path: Path) -> None:
    path = tmp_path / "run/.lock"
    path.parent.mkdir()
    with (
        claimed_by_another(path),
        pytest.raises(BlockingIOError, match=r"another process works in .*run: wait for it"),
    ):
        claim(path)
    claim(path).close()
    claim(path).close()
