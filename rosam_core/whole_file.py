"""Files that are either there completely or not at all, however a process ends."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

YOUNG_S = 60.0


@contextlib.contextmanager
def replaced(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Yields where to write a file, in the same folder; it takes its place as the block ends.

    If the block fails, what was there before stays as it was. A process that is killed leaves a
    scratch file at most, which `remove_leavings` knows.

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
        _sync(path.parent)  # where the name is


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


def scratch_name(name: str, suffix: str) -> str:
    """Returns a name that no other process takes: in containers all may have the number 1."""
    return f".{name}.{secrets.token_hex(4)}.{os.getpid()}.{suffix}"


def remove_leavings(folder: Path, patterns: Sequence[str] = (".*.tmp",)) -> None:
    """Deletes scratch files of processes that are gone, in a folder and those below it.

    A name ends with `.<process id>.<suffix>`. What a living process writes stays, and so does
    what is younger than a minute: the process may be one of another machine.

    Args:
        folder: Where to look.
        patterns: Of their names.
    """
    for pattern in patterns:
        for path in folder.rglob(pattern):
            owner = path.name.split(".")[-2]
            with contextlib.suppress(FileNotFoundError):  # another process was faster
                young = time.time() - path.stat().st_mtime < YOUNG_S
                if not young and not (owner.isdigit() and Path(f"/proc/{owner}").exists()):
                    path.unlink()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
