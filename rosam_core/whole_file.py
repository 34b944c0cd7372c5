"""Files that are either there completely or not at all, however a process ends."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

YOUNG_S = 60.0


@contextlib.contextmanager
def replaced(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Yields where to write a file, in the same folder; it takes its place as the block ends.

    If the block fails, what was there before stays as it was. A process that is killed leaves a
    scratch file at most; where many files are written, or large ones, `remove_leavings` finds it.

    Args:
        path: Where the file will be; its folder exists.
        durable: Wait until the disk has it, so that not even a power cut leaves half of it. Slow.

    Raises:
        OSError: The block wrote no file, or it cannot be put in its place.
    """
    scratch = path.with_name(scratch_name(path.name, "tmp"))
    try:
        yield scratch
        if durable:
            _sync(scratch)
        os.replace(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)
    if durable:
        try:
            _sync(path.parent)  # where the name is
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # of some network file systems
                raise


def write_whole(path: Path, content: Any, *, durable: bool = True) -> None:
    """Writes a file as `replaced` does.

    Args:
        path: Where; its folder exists.
        content: Anything with the buffer interface.
        durable: See `replaced`.

    Raises:
        OSError: It cannot be written.
    """
    with replaced(path, durable=durable) as scratch, scratch.open("wb") as stream:
        stream.write(content)


def claim(path: Path) -> IO[bytes]:
    """Opens a file as the only process that has claimed it; closing it, or dying, gives it back.

    Args:
        path: Created if it is not there; stays there, empty.

    Raises:
        BlockingIOError: Another process has claimed it.
    """
    stream = path.open("ab")
    try:
        # Unlike flock: a child of this process, which may outlive it, does not hold it too.
        fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        stream.close()
        if error.errno in (errno.EACCES, errno.EAGAIN):
            raise BlockingIOError(
                f"another process works in {path.parent}: wait for it, or choose another folder"
            ) from error
        raise
    return stream


def scratch_name(name: str, suffix: str) -> str:
    """Returns a name that no other process takes: in containers all may have the number 1."""
    return f".{name}.{secrets.token_hex(4)}.{os.getpid()}.{suffix}"


def owner_of(scratch: Path) -> int | None:
    """Returns the id in a name that ends with `.<process id>.<suffix>`, None if there is none."""
    parts = scratch.name.split(".")
    return int(parts[-2]) if len(parts) > 2 and parts[-2].isdecimal() else None


def is_running(process: int) -> bool:
    """Returns whether a process of this machine, or container, has this id."""
    return Path(f"/proc/{process}").exists()


def remove_leavings(folder: Path, patterns: Sequence[str] = ("**/.*.tmp",)) -> None:
    """Deletes scratch files of processes that are gone; see `scratch_name`.

    What a living process writes stays, and so does what is younger than a minute: the process may
    be one of another machine. Files whose names hold no process id are not ours.

    Args:
        folder: Where to look.
        patterns: Of their paths in the folder, as `Path.glob` has them.
    """
    for pattern in patterns:
        for path in folder.glob(pattern):
            owner = owner_of(path)
            with contextlib.suppress(FileNotFoundError):  # another process was faster
                if owner is None or is_running(owner) or not path.is_file():
                    continue
                if time.time() - path.stat().st_mtime >= YOUNG_S:
                    path.unlink()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
