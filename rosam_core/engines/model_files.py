"""A model file and its card, which are replaced together or not at all."""

from __future__ import annotations

import contextlib
import glob
import os
from collections.abc import Iterator
from pathlib import Path

from rosam_core.types import card_path
from rosam_core.whole_file import remove_leavings, scratch_name


@contextlib.contextmanager
def replaced_model(output: Path) -> Iterator[Path]:
    """Yields where to write a model and its card; both take their place as the block ends.

    If the block fails, or does not write both, what was there before stays as it was.

    Args:
        output: The .onnx file; its folder is made if need be.

    Raises:
        FileNotFoundError: The block wrote no model, or no card beside it.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    name = glob.escape(f".{output.stem}.")
    remove_leavings(output.parent, (f"{name}*.onnx", f"{name}*.json"))
    temporary = output.with_name(scratch_name(output.stem, "onnx"))
    card = card_path(temporary)
    try:
        yield temporary
        for written in (temporary, card):
            if not written.is_file():
                raise FileNotFoundError(f"{written.name} was not written: {output} stays")
        os.replace(temporary, output)
        os.replace(card, card_path(output))
    finally:
        temporary.unlink(missing_ok=True)
        card.unlink(missing_ok=True)
