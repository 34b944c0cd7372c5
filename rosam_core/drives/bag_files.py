"""What is wrong with the files of a bag, and what helps."""

from __future__ import annotations

import errno
import functools
import logging
import re
import struct
import tempfile
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

MAGIC = {
    ".bag": (b"#ROSBAG V2.0", "ROS 1 bag"),
    ".mcap": (b"\x89MCAP0\r\n", "MCAP file"),
    ".db3": (b"SQLite format 3\x00", "sqlite3 bag"),
}
"""First bytes of a bag file and what it is, by extension."""

REPAIR = {
    ".bag": "`rosbag reindex` may repair it",
    ".mcap": "`mcap recover` may repair it",
    ".db3": "`sqlite3 FILE .recover` may save what is left",
    "": "`ros2 bag reindex` may repair it",
}

CONTENT_ERRNOS = (None, errno.EINVAL)
"""Of an OSError that comes of a file's content; EINVAL is a seek to where nothing can be."""


def check_path(path: Path) -> str:
    """Returns the extension of the kind of bag at `path`, `""` for a folder.

    Raises:
        FileNotFoundError: There is nothing at `path`.
        ValueError: It is no bag, or cannot be opened where it lies.
    """
    if not path.exists():
        raise FileNotFoundError(f"no bag at {path}")
    if path.is_dir():
        if (path / "metadata.yaml").is_file():
            for file in sorted(path.glob("*.db3")):
                _check_sqlite3(file)
            return ""
        inside = sorted(child for child in path.iterdir() if child.suffix in MAGIC)
        hint = f"name the file, {inside[0]}, or " if inside else ""
        hint += "run `ros2 bag reindex` on it" if inside else "expected metadata.yaml in it"
        raise ValueError(f"{path} is a folder without metadata.yaml, no rosbag2 recording: {hint}")
    if path.suffix not in MAGIC:
        raise ValueError(
            f"{path} is not named like a bag: expected .bag, .mcap, .db3 or the folder of a "
            f"rosbag2 recording, got {path.suffix or 'no extension'!r}"
        )
    magic, kind = MAGIC[path.suffix]
    with path.open("rb") as stream:
        head = stream.read(len(magic))
    if not head:
        raise ValueError(f"{path} is an empty file (0 bytes): was the recording ever started?")
    if head != magic:
        raise ValueError(f"{path} is no {kind}: it begins with {head!r}, expected {magic!r}")
    if path.suffix == ".db3":
        _check_sqlite3(path)
    return path.suffix


def _check_sqlite3(path: Path) -> None:
    refuse_uri_characters(path)
    log = path.with_name(path.name + "-wal")
    if log.is_file() and log.stat().st_size:
        _warn_of_log(path, log)


def refuse_uri_characters(path: Path) -> None:
    """Refuses a path that sqlite3 would take for another: rosbags makes a URI of it as it is.

    Raises:
        ValueError: It holds a character that has a meaning there.
    """
    found = re.search(r"[#?]|%[0-9a-fA-F]{2}", str(path))
    if found:
        raise ValueError(
            f"{path}: the path of a sqlite3 bag must not hold {found[0]!r}: rename that file or "
            "folder"
        )


@functools.cache  # once a process, although every camera opens the bag
def _warn_of_log(path: Path, log: Path) -> None:
    logger.warning(
        "%s: the recorder was killed, and what it wrote last is not read, for it is still in %s: "
        "`sqlite3 %s 'PRAGMA wal_checkpoint(TRUNCATE)'` moves it into the bag",
        path,
        log.name,
        path,
    )


def open_problem(path: Path, kind: str, error: Exception) -> str:
    """Returns why a bag cannot be read and what helps, in one line."""
    if "rofile" in str(error) and kind == ".mcap":
        with path.open("rb") as stream:
            stream.seek(8 + 1 + 8)
            (size,) = struct.unpack("<I", stream.read(4))
            profile = stream.read(min(size, 64)).decode(errors="replace")
        return (
            f"{path} is an MCAP file with profile {profile!r}, expected 'ros2': "
            f"only ROS 2 recordings hold camera messages that can be read here"
        )
    text = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return f"{path} cannot be read, it looks truncated or damaged ({text}): {REPAIR[kind]}"


def environment_problem(path: Path, error: OSError) -> OSError:
    """Returns the error of a machine that cannot open a bag, with where it needs space."""
    if error.errno != errno.ENOSPC:
        return error
    return OSError(
        error.errno,
        f"{error.strerror} while {path} was opened: a bag that is compressed file by file is "
        f"unpacked below {tempfile.gettempdir()}, and TMPDIR names another place",
    )


def trust_storage_qos(path: Path, folder: Any) -> None:
    """Makes the topics of metadata.yaml and of its files match whatever QoS they state.

    The reader of rosbags passes over a topic whose quality of service is stated differently, as
    it is after an edit of metadata.yaml, and QoS has no meaning here.

    Args:
        path: The folder.
        folder: Its open reader.
    """
    for storage in folder.storages:
        for place, own in enumerate(storage.connections):
            same = [
                other.ext
                for other in folder.connections
                if (other.topic, other.msgtype) == (own.topic, own.msgtype)
            ]
            if same and own.ext not in same:
                storage.connections[place] = own._replace(ext=same[0], digest="")
    held = {(c.topic, c.msgtype) for storage in folder.storages for c in storage.connections}
    for stated in folder.connections:
        if stated.msgcount and (stated.topic, stated.msgtype) not in held:
            logger.warning(
                "%s: metadata.yaml states %d messages of %s (%s), its files hold none: "
                "`ros2 bag reindex` writes it anew",
                path,
                stated.msgcount,
                stated.topic,
                stated.msgtype,
            )
