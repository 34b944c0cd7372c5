"""A folder or file that appears only when everything is in it."""

from __future__ import annotations

import contextlib
import glob
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rosam_core.whole_file import is_running, owner_of

logger = logging.getLogger(__name__)

MARKER = ".rosam"
"""File in a folder that was made here; it says what the folder is."""


def refuse_overlap(source: Path, output: Path) -> None:
    """Refuses an output that is, holds or lies in what is read: replacing it would destroy that.

    Raises:
        ValueError: It does.
    """
    one, other = Path(source).resolve(), Path(output).resolve()
    if one == other or one in other.parents or other in one.parents:
        raise ValueError(
            f"the output {output} must not be the input {source}, lie in it or hold it"
        )


@contextlib.contextmanager
def whole_folder(out: Path, what: str, overwrite: bool) -> Iterator[Path]:
    """Gives a scratch folder that becomes `out` at the end of the `with` block.

    Leaving the block through an exception, Ctrl-C included, leaves `out` as it was and nothing
    else behind.

    Args:
        out: The folder to make; behind a link, the folder that the link names.
        what: What it will be, for the message and the marker: `a nuScenes tree`.
        overwrite: Replace what is at `out`, if it was made here and is the same kind of thing.

    Yields:
        An empty folder beside `out`, so that the last step is a rename in one file system.

    Raises:
        FileExistsError: There is something at `out` that may not be replaced.
    """
    marker = out / MARKER
    is_same_kind = marker.is_file() and marker.read_text(encoding="utf-8").strip() == what
    if out.exists() and not (overwrite and is_same_kind):
        advice = f": --force replaces {what}" if is_same_kind else f" and is not {what} made here"
        raise FileExistsError(f"{out} exists already{advice}")
    target = target_of(out)
    scratch = scratch_beside(target)
    try:
        made = scratch / out.name
        made.mkdir()
        yield made
        (made / MARKER).write_text(what + "\n", encoding="utf-8")
        put_in_place(made, target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def target_of(out: Path) -> Path:
    """Returns what is replaced when something is written to a path: what a link names."""
    return out.resolve() if out.is_symlink() else out


def scratch_beside(target: Path) -> Path:
    """Makes a folder beside a target, so that the last step is a rename in one file system.

    A warning names each that a run left which was killed.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    for left in sorted(target.parent.glob(f"{glob.escape(f'.{target.name}.')}*.partial")):
        owner = owner_of(left)
        if owner is None or not is_running(owner):
            logger.warning(
                "%s was left by a run that was killed: delete it, unless another machine or "
                "container is writing it",
                left,
            )
    suffix = f".{os.getpid()}.partial"
    return Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=suffix, dir=target.parent))


def put_in_place(made: Path, target: Path) -> None:
    """Renames what was made in a scratch folder to its target; the old goes to that folder.

    Whatever happens between the two renames, the old is still there under one of the names.
    """
    old = None
    if target.is_dir():
        old = made.parent / ".replaced"
        target.rename(old)
    try:
        made.replace(target)
    except BaseException:
        if old is not None:
            old.rename(target)
        raise
