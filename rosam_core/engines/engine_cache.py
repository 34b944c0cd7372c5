"""Built engines on disk: found by what they were built from and for, never half written.

    <cache>/<key>/card.json          what the engine is; written last, by renaming
    <cache>/<key>/<sha256>.plan      the engine, named after its content
    <cache>/<key>.lock               held while somebody builds it

An engine is code that runs on the GPU, so only a file whose hash its card names is ever loaded.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from rosam_core.whole_file import write_whole

CARD = "card.json"


@dataclasses.dataclass(frozen=True)
class EngineKey:
    """Everything that makes an engine another engine.

    Attributes:
        model_sha256: Hash of the model file.
        library: `tensorrt` or `tensorrt-rtx`.
        version: Of the library.
        target: The GPU, or the compute capabilities that `tensorrt-rtx` was asked for.
        precision: `fp16`, `int8` or `fp32`.
        batches: Batch sizes it is tuned for, ascending; it takes every size up to the last.
        width: Network input width [px].
        height: Network input height [px].
        preparation: Version of what we do to the graph before TensorRT sees it.
    """

    model_sha256: str
    library: str
    version: str
    target: str
    precision: str
    batches: tuple[int, ...]
    width: int
    height: int
    preparation: int

    def digest(self) -> str:
        """Returns the name of the entry: 24 hexadecimal digits."""
        text = json.dumps(dataclasses.asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:24]


@dataclasses.dataclass(frozen=True)
class EngineCard:
    """What lies beside an engine.

    Attributes:
        key: What it was built from and for.
        model: Name of the model file, for people.
        plan_sha256: Hash of the engine.
        plan_bytes: Its size.
        built: When it was built, or last asked for and found built: ISO 8601, UTC. The newest of
            those that fit is the one that is loaded.
        parity: How far it is from ONNX Runtime; empty if no GPU was there to find out.
    """

    key: EngineKey
    model: str
    plan_sha256: str
    plan_bytes: int
    built: str
    parity: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def to_json(self) -> str:
        """Returns the card as indented JSON text."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def load(cls, path: Path) -> EngineCard:
        """Reads a card.

        Raises:
            ValueError: It is damaged or of another version; the message names the file.
        """
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            key = dict(values.pop("key"))
            key["batches"] = tuple(int(batch) for batch in key["batches"])
            card = cls(key=EngineKey(**key), **values)
            if not all(c in "0123456789abcdef" for c in card.plan_sha256):
                raise ValueError("plan_sha256 is not a hash")  # it names a file: no ../ in it
            return card
        except (ValueError, TypeError, KeyError, AttributeError, OSError) as error:
            raise ValueError(f"engine card {path} is damaged: {error}") from error


@dataclasses.dataclass(frozen=True)
class Entry:
    """A folder of the cache.

    Attributes:
        folder: Where.
        card: What is in it, or None if that cannot be read.
        problem: Why it must not be used, or nothing. Content is only hashed by `read_plan`.
    """

    folder: Path
    card: EngineCard | None
    problem: str = ""

    @property
    def plan(self) -> Path:
        """The engine's file."""
        return self.folder / f"{self.card.plan_sha256 if self.card else 'none'}.plan"

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(path.stat().st_size for path in self.folder.glob("*"))


def cache_folder(named: str | Path | None = None) -> Path:
    """Returns where engines are kept.

    Args:
        named: That folder; otherwise `$ROSAM_ENGINE_CACHE`, or `~/.cache/rosam/engines`.
    """
    chosen = named or os.environ.get("ROSAM_ENGINE_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "rosam" / "engines"


def entries(cache: Path) -> list[Entry]:
    """Returns what the cache holds, the newest first, damaged entries last."""
    folders = sorted(path for path in cache.glob("*") if path.is_dir())
    found = [_entry(folder) for folder in folders]
    return sorted(found, key=lambda e: e.card.built if e.card else "", reverse=True)


def _entry(folder: Path) -> Entry:
    if not (folder / CARD).is_file():
        return Entry(folder, None, "it has no card: a build was interrupted")
    try:
        card = EngineCard.load(folder / CARD)
    except ValueError as error:
        return Entry(folder, None, str(error))
    entry = Entry(folder, card)
    if card.key.digest() != folder.name:
        return dataclasses.replace(entry, problem="its card is of another engine")
    try:
        size = entry.plan.stat().st_size
    except OSError:
        return dataclasses.replace(entry, problem="the engine that its card names is not there")
    if size != card.plan_bytes:
        cut = f"the engine has {size} bytes, its card says {card.plan_bytes}: the copy is damaged"
        return dataclasses.replace(entry, problem=cut)
    return entry


def read_plan(entry: Entry) -> bytes:
    """Returns an engine's bytes after comparing them with its card.

    Raises:
        ValueError: It has no card, or is not what its card says.
    """
    if entry.problem or entry.card is None:
        raise ValueError(f"engine {entry.folder}: {entry.problem}")
    plan = entry.plan.read_bytes()
    found = hashlib.sha256(plan).hexdigest()
    if found != entry.card.plan_sha256:
        raise ValueError(
            f"engine {entry.plan} has sha256 {found[:12]}..., its card says "
            f"{entry.card.plan_sha256[:12]}...: it is damaged or was exchanged"
        )
    return plan


def store(cache: Path, key: EngineKey, model: str, plan: Any, parity: Mapping[str, Any]) -> Entry:
    """Puts an engine into the cache, in place of one of the same key.

    Killed at any moment, it leaves the old entry or the new one; at most an unnamed file besides,
    which the next build or `rosam engine prune` removes. Call it inside `build_lock`.

    Args:
        cache: Made if absent.
        key: What it was built from and for.
        model: Name of the model file.
        plan: The engine, anything that has bytes.
        parity: How far it is from ONNX Runtime.

    Raises:
        OSError: It cannot be written, such as when the disk is full.
    """
    folder = cache / key.digest()
    folder.mkdir(parents=True, exist_ok=True)
    content = memoryview(plan)
    digest = hashlib.sha256(content).hexdigest()
    card = EngineCard(key, model, digest, content.nbytes, _now(), dict(parity))
    try:
        write_whole(folder / f"{digest}.plan", content)
        write_whole(folder / CARD, card.to_json().encode())
    except OSError as error:
        if not (folder / CARD).is_file():
            shutil.rmtree(folder, ignore_errors=True)
        reason = error.strerror or str(error)
        raise OSError(
            f"cannot store the engine ({content.nbytes / 1e6:.1f} MB) in {folder}: {reason}: make "
            "room (`rosam engine prune`) or name another folder with --cache"
        ) from error
    for path in folder.iterdir():
        if path.name not in (CARD, f"{digest}.plan"):
            path.unlink(missing_ok=True)
    return _entry(folder)


def set_parity(entry: Entry, parity: Mapping[str, Any]) -> None:
    """Writes down how far an engine is from ONNX Runtime, unless it was built again meanwhile."""
    if entry.card is None:
        return
    with build_lock(entry.folder.parent, entry.card.key):
        now = _entry(entry.folder)
        if now.card is not None and now.card.plan_sha256 == entry.card.plan_sha256:
            card = dataclasses.replace(now.card, parity=dict(parity))
            write_whole(entry.folder / CARD, card.to_json().encode())


def renew(entry: Entry) -> Entry:
    """Makes an engine the newest; call it inside `build_lock`.

    Raises:
        OSError: The card cannot be written.
    """
    if entry.card is None:
        return entry
    card = dataclasses.replace(entry.card, built=_now())
    write_whole(entry.folder / CARD, card.to_json().encode())
    return dataclasses.replace(entry, card=card)


def _now() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@contextlib.contextmanager
def build_lock(
    cache: Path, key: EngineKey, waiting: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Lets one process at a time build an engine; the lock dies with its holder.

    Args:
        cache: Made if absent.
        key: The engine.
        waiting: Called once if another process is building it now.
    """
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{key.digest()}.lock").open("a") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def prune(cache: Path, useless: Sequence[Entry]) -> None:
    """Removes entries, and what interrupted builds left in others; a build in progress is kept.

    Args:
        cache: The cache.
        useless: Entries to remove.
    """
    doomed = {entry.folder for entry in useless}
    for folder in sorted(path for path in cache.glob("*") if path.is_dir()):
        with (cache / f"{folder.name}.lock").open("a") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            if folder in doomed:
                shutil.rmtree(folder)
            for path in folder.glob(".*"):
                path.unlink(missing_ok=True)
