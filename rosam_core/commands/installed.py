"""Packages that not every machine has, and the line that says how to get them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def onnx_needed(what: str) -> Iterator[None]:
    """Tells in one line how to get what the imports of the block miss: onnx, never torch.

    Args:
        what: What needs it, such as `timing`.

    Raises:
        ValueError: Something could not be imported.
    """
    try:
        yield
    except ImportError as error:
        raise ValueError(
            f"{what} needs the package {error.name}: in a checkout, pip install -c "
            "constraints.txt '.[quantize]'"
        ) from error
