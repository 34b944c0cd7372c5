"""A folder that appears only when everything is in it."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

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
        out: The folder to make.
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
    out.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".partial", dir=out.parent))
    try:
        made = scratch / out.name
        made.mkdir()
        yield made
        (made / MARKER).write_text(what + "\n", encoding="utf-8")
        if out.exists():
            shutil.rmtree(out)
        made.replace(out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
