import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from engine_support import make_key

from rosam_core.engines.engine_cache import (
    CARD,
    EngineCard,
    build_lock,
    cache_folder,
    entries,
    prune,
    read_plan,
    store,
)

PLAN = bytes(range(256)) * 4096  # 1 MiB


def test_what_is_stored_is_what_is_read(tmp_path: Path) -> None:
    key = make_key(batches=(1, 6))
    entry = store(tmp_path / "new", key, "m.onnx", memoryview(PLAN), {"depth_p99": 0.001})
    assert read_plan(entry) == PLAN
    (found,) = entries(tmp_path / "new")
    assert found == entry
    assert found.card.key == key
    assert found.card.parity == {"depth_p99": 0.001}
    plan = f"{found.card.plan_sha256}.plan"
    assert {path.name for path in entry.folder.iterdir()} == {plan, CARD}


@pytest.mark.parametrize(
    "change",
    [
        {"model_sha256": "cd" * 32},
        {"library": "tensorrt-rtx"},
        {"version": "10.3.1"},
        {"target": "Orin, 8.7, 16 multiprocessors"},
        {"precision": "fp16"},
        {"batches": (1, 2)},
        {"width": 96},
        {"height": 64},
        {"preparation": 2},
    ],
)
def test_everything_in_the_key_makes_another_entry(tmp_path: Path, change: dict) -> None:
    store(tmp_path, make_key(), "m.onnx", b"one", {})
    store(tmp_path, make_key(**change), "m.onnx", b"two", {})
    assert sorted(read_plan(entry) for entry in entries(tmp_path)) == [b"one", b"two"]


def test_the_second_of_a_key_takes_the_place_of_the_first(tmp_path: Path) -> None:
    store(tmp_path, make_key(), "m.onnx", b"one", {})
    entry = store(tmp_path, make_key(), "m.onnx", b"two", {})
    assert [read_plan(e) for e in entries(tmp_path)] == [b"two"]
    assert len(list(entry.folder.iterdir())) == 2


def test_a_card_names_no_file_outside_its_folder(tmp_path: Path) -> None:
    entry = store(tmp_path, make_key(), "m.onnx", b"one", {})
    (tmp_path / "evil.plan").write_bytes(b"bad")
    values = json.loads((entry.folder / CARD).read_text())
    (entry.folder / CARD).write_text(json.dumps({**values, "plan_sha256": "../evil"}))
    (found,) = entries(tmp_path)
    assert "plan_sha256 is not a hash" in found.problem
    with pytest.raises(ValueError, match="is damaged"):
        read_plan(found)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"key": 3}', '{"key": {"batches": 1}}', "\0"])
def test_damaged_cards(tmp_path: Path, text: str) -> None:
    entry = store(tmp_path, make_key(), "m.onnx", b"one", {})
    (entry.folder / CARD).write_text(text)
    with pytest.raises(ValueError, match=r"engine card .*card\.json is damaged"):
        EngineCard.load(entry.folder / CARD)
    (found,) = entries(tmp_path)
    assert found.problem


STORE = """
import sys
sys.path[:0] = {path!r}
from pathlib import Path
from engine_support import make_key
from rosam_core.engines import engine_cache
content, replace = b"x" * (8 << 20), engine_cache.os.replace
def stop(where):
    print(where, flush=True)
    import time
    time.sleep(60)
def slow(a, b):
    if {at!r} == "before plan" and str(b).endswith(".plan"): stop("here")
    if {at!r} == "before card" and str(b).endswith("card.json"): stop("here")
    replace(a, b)
    if {at!r} == "after card" and str(b).endswith("card.json"): stop("here")
engine_cache.os.replace = slow
cache = Path({cache!r})
with engine_cache.build_lock(cache, make_key()):
    engine_cache.store(cache, make_key(), "m.onnx", content, {{}})
"""


@pytest.mark.parametrize("at", ["before plan", "before card", "after card"])
@pytest.mark.parametrize("replaces", [False, True])
def test_killed_while_storing(tmp_path: Path, at: str, replaces: bool) -> None:
    cache = tmp_path / "cache"
    if replaces:
        store(cache, make_key(), "m.onnx", b"old", {})
    script = STORE.format(path=sys.path, at=at, cache=str(cache))
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    (entry,) = entries(cache)
    if at == "after card":
        assert read_plan(entry) == b"x" * (8 << 20)
    elif replaces:
        assert read_plan(entry) == b"old"
    else:
        with pytest.raises(ValueError, match="it has no card: a build was interrupted"):
            read_plan(entry)
    # The lock died with its holder, and the next build leaves nothing but itself.
    with build_lock(cache, make_key(), lambda: pytest.fail("still locked")):
        after = store(cache, make_key(), "m.onnx", b"new", {})
    assert read_plan(after) == b"new"
    assert len(list(after.folder.iterdir())) == 2


FULL = """
import resource, sys
sys.path[:0] = {path!r}
from pathlib import Path
from engine_support import make_key
from rosam_core.engines.engine_cache import store
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
store(Path({cache!r}), make_key(), "m.onnx", b"x" * (1 << 20), {{}})
"""


@pytest.mark.parametrize("replaces", [False, True])
def test_a_full_disk(tmp_path: Path, replaces: bool) -> None:
    # A file size limit fails in the middle of a write, just as a full disk does.
    if replaces:
        store(tmp_path, make_key(), "m.onnx", b"old", {})
    limit = 300_000
    script = FULL.format(path=sys.path, limit=limit, cache=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    last = done.stderr.strip().splitlines()[-1]
    assert "cannot store the engine (1.0 MB)" in last
    assert "File too large: make room (`rosam engine prune`)" in last
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    if replaces:
        assert [read_plan(entry) for entry in entries(tmp_path)] == [b"old"]
        assert len(left) == 2
    else:
        assert entries(tmp_path) == []
        assert left == []


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_full_file_system(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(disk)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("this sandbox cannot mount a tmpfs")
    try:
        with pytest.raises(OSError, match=r"No space left on device: make room"):
            store(disk / "cache", make_key(), "m.onnx", PLAN, {})
        assert entries(disk / "cache") == []
        store(disk / "cache", make_key(), "m.onnx", PLAN[:1000], {})
        with pytest.raises(OSError, match="No space left on device"):
            store(disk / "cache", make_key(), "m.onnx", PLAN, {})
        assert [read_plan(e) for e in entries(disk / "cache")] == [PLAN[:1000]]
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_one_builds_while_the_other_waits(tmp_path: Path) -> None:
    script = f"""
import sys, time
sys.path[:0] = {sys.path!r}
from pathlib import Path
from engine_support import make_key
from rosam_core.engines.engine_cache import build_lock
with build_lock(Path({str(tmp_path)!r}), make_key()):
    print("held", flush=True)
    time.sleep(1)
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    told = []
    with build_lock(tmp_path, make_key(batches=(2,)), lambda: told.append("other")):
        assert told == [], "another engine is not waited for"
    begun = time.monotonic()
    with build_lock(tmp_path, make_key(), lambda: told.append("same")):
        assert told == ["same"]
        assert time.monotonic() - begun > 0.3
    process.wait()


def test_prune_keeps_what_is_good_and_what_is_being_built(tmp_path: Path) -> None:
    good = store(tmp_path, make_key(), "m.onnx", b"good", {})
    (good.folder / ".left.1").write_bytes(b"by a killed build")
    bad = store(tmp_path, make_key(version="9"), "m.onnx", b"bad", {})
    busy = store(tmp_path, make_key(version="8"), "m.onnx", b"busy", {})
    with build_lock(tmp_path, make_key(version="8")):
        (busy.folder / ".building.2").write_bytes(b"by somebody")
        prune(tmp_path, [bad, busy])
        assert (busy.folder / ".building.2").is_file()
    assert not bad.folder.exists()
    assert sorted(p.name for p in good.folder.iterdir()) == sorted([CARD, good.plan.name])
    prune(tmp_path, [busy])
    assert {e.folder for e in entries(tmp_path)} == {good.folder}


def test_where_engines_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ROSAM_ENGINE_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder() == tmp_path / ".cache/rosam/engines"
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert cache_folder() == Path("/x/rosam/engines")
    monkeypatch.setenv("ROSAM_ENGINE_CACHE", "~/e")
    assert cache_folder() == tmp_path / "e"
    assert cache_folder("/named") == Path("/named")
