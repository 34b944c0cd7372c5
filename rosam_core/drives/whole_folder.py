"""A folder that appears only when everything is in it."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def whole_folder(out: Path, what: str, is_same_kind: bool, overwrite: bool) -> Iterator[Path]:
    """Gives a scratch folder that becomes `out` at the end of the `with` block.

    Leaving the block through an exception, Ctrl-C included, leaves `out` as it was and nothing
    else behind.

    Args:
        out: The folder to make.
        what: What it will be, for the message: `a nuScenes tree`.
        is_same_kind: Whether what is at `out` is one too; only then may it be replaced.
        overwrite: Replace it.

    Yields:
        An empty folder beside `out`, so that the last step is a rename in one file system.

    Raises:
        FileExistsError: There is something at `out` that may not be replaced.
    """
    if out.exists() and not (overwrite and is_same_kind):
        advice = f": --force replaces {what}" if is_same_kind else f" and is not {what}"
        raise FileExistsError(f"{out} exists already{advice}")
    out.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".partial", dir=out.parent))
    try:
        made = scratch / out.name
        made.mkdir()
        yield made
        if out.exists():
            shutil.rmtree(out)
        made.replace(out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
