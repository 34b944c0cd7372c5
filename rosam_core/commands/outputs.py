"""Files that a command is asked to write: what is in their way is told before its work."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def check_outputs(files: Mapping[str, str | Path | None]) -> None:
    """Makes the folders of the files, and refuses a file that could not be written.

    Nothing is left of a file that was not there, and one that was stays as it was.

    Args:
        files: By option, such as `--json`; None where there is nothing to write, "-" for
            the output of the command itself.

    Raises:
        ValueError: A file is a folder, or cannot be written; names its option.
    """
    for option, file in files.items():
        if file is None or file == "-":
            continue
        path = Path(file)
        if os.path.isdir(path):  # unlike Path.is_dir no exception for a name that is too long
            raise ValueError(f"{option} {path} is a folder: name a file in it")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # A link that points nowhere yet is not to be removed. Nor does this fail in a loop.
            _open_and_close(Path(os.path.realpath(path)))
        except OSError as error:
            raise ValueError(
                f"{option} {path} cannot be written ({error.strerror}): name another file"
            ) from error


def _open_and_close(path: Path) -> None:
    if path.exists() and not path.is_file():
        return  # who reads a pipe would take this for its end
    is_new = not path.exists()
    path.open("ab").close()
    if is_new:
        path.unlink()


def check_picture(option: str, file: Path) -> None:
    """Refuses a picture that could not be written, as `check_outputs` does.

    Args:
        option: Such as `--sheet`.
        file: Where it is to be.

    Raises:
        ValueError: It is not named as a PNG or JPEG, or cannot be written.
    """
    if file.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise ValueError(f"{option} {file}: name a .png or .jpg file")
    check_outputs({option: file})


def check_drawing(option: str) -> None:
    """Refuses an option that draws, where nothing can.

    Args:
        option: Such as `--plot`.

    Raises:
        ValueError: There is no matplotlib.
    """
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise ValueError(
            f"{option} needs matplotlib ({error}): in a checkout, pip install -c constraints.txt "
            "matplotlib"
        ) from error
