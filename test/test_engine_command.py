import json
import signal
import sys
import time
from pathlib import Path

import pytest
from engine_support import Nvidia, build, cache, finished, nvidia, rosam, tiny

from rosam_core.cli import main
from rosam_core.commands import engine
from rosam_core.engines import tensorrt_build
from rosam_core.engines.engine_cache import CARD, EngineKey, entries, read_plan

__all__ = ["cache", "nvidia"]  # the fixtures

pytest.importorskip("onnx", reason="the onnx package is not installed: extra `tensorrt`")


def test_build_list_verify_prune(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    model, _ = tiny(tmp_path)
    assert finished(rosam(cache, "list"))[1].startswith(f"no engines in {cache}: `rosam engine")
    code, out, err = finished(
        rosam(cache, "build", model, "--precision", "fp32", "--batch", "6,1")
    )
    assert (code, err) == (0, "")
    assert "tiny.onnx 64x48 fp32; batch 1,6," in out
    assert "tensorrt 10.3.0 for Orin, 8.7, 8 multiprocessors" in out
    assert "depth within 0.0e+00 of ONNX Runtime (p99)" in out
    code, out, _ = finished(
        rosam(cache, "build", model, "--precision", "fp32", "--batch", "1,6", "--json")
    )
    facts = json.loads(out)
    assert not facts["built_now"]
    assert facts["batches"] == [1, 6]
    assert facts["parity"]["depth_p99"] == 0
    code, out, _ = finished(rosam(cache, "list", "--json"))
    assert [e["runs_here"] for e in json.loads(out)] == ["yes"]
    code, out, _ = finished(rosam(cache, "list", FAKE_TENSORRT="10.16.1"))
    assert "does not run here: the engine was built with tensorrt 10.3.0, here is" in out
    assert finished(rosam(cache, "prune"))[1] == "nothing to remove\n"
    # On a machine without a GPU an engine of another is kept.
    assert finished(rosam(cache, "prune", FAKE_GPUS="0"))[1] == "nothing to remove\n"
    assert finished(rosam(cache, "verify", model))[0] == 0
    plan = Path(facts["plan"])
    plan.write_bytes(plan.read_bytes()[:-1] + b"?")
    code, out, _ = finished(rosam(cache, "verify"))
    assert code == 1
    assert "NOT USABLE" in out
    assert "is damaged or was exchanged" in out
    code, out, _ = finished(rosam(cache, "prune", "--dry-run"))
    assert out.startswith(f"would remove {facts['key']} (tiny.onnx): engine")
    assert plan.exists()
    assert finished(rosam(cache, "prune"))[1].startswith("removed")
    assert entries(cache) == []


def test_every_option_of_a_build_reaches_it(tmp_path: Path, monkeypatch, capsys) -> None:
    given = []

    def stop(model: Path, options: tensorrt_build.BuildOptions, *_: object) -> None:
        given.append((model, options))
        raise ValueError("enough")

    monkeypatch.setattr(tensorrt_build, "build_engine", stop)
    words = ["engine", "build", "a.onnx", "--precision", "int8", "--batch", "6,1"]
    words += ["--library", "tensorrt-rtx", "--compute-capability", "8.6,8.9", "--force"]
    words += ["--cache", str(tmp_path / "c"), "--timing-cache", str(tmp_path / "t.bin")]
    assert main(words) == main(["engine", "build", "a.onnx"]) == 1
    options = tensorrt_build.BuildOptions(
        precision="int8",
        batches=(6, 1),
        library="tensorrt-rtx",
        capabilities=("8.6", "8.9"),
        cache=tmp_path / "c",
        timing_cache=tmp_path / "t.bin",
        force=True,
    )
    assert given == [(Path("a.onnx"), options), (Path("a.onnx"), tensorrt_build.BuildOptions())]


def test_prune_removes_other_versions(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    model, _ = tiny(tmp_path)
    for version in ("10.3.0", "11.4.0"):
        finished(rosam(cache, "build", model, "--precision", "fp32", FAKE_TENSORRT=version))
    out = finished(rosam(cache, "prune", "--json", FAKE_TENSORRT="11.4.0"))[1]
    (removed,) = json.loads(out)["removed"]
    assert "built with tensorrt 10.3.0" in removed["why"]
    assert removed["bytes"] > 1000
    assert [e.card.key.version for e in entries(cache)] == ["11.4.0"]
    finished(rosam(cache, "prune", "--all"))
    assert entries(cache) == []


def test_verify_writes_down_what_it_found(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    model, _ = tiny(tmp_path)
    finished(rosam(cache, "build", model, "--precision", "fp32"))
    code, out, _ = finished(rosam(cache, "verify", model, FAKE_ERROR="1.5"))
    assert code == 1
    assert "its depth differs from ONNX Runtime by 5.00e-01 (p99, relative)" in out
    (entry,) = entries(cache)
    assert entry.card.parity["depth_p99"] == pytest.approx(0.5)
    assert finished(rosam(cache, "verify", model))[0] == 0
    assert entries(cache)[0].card.parity["depth_p99"] == 0
    other, _ = tiny(tmp_path / "other")
    other.write_bytes(other.read_bytes() + b"\x3a\x00")
    code, _, err = finished(rosam(cache, "verify", other))
    assert code == 1
    assert "the two do not belong together" in err


def test_verify_goes_on_after_an_engine_that_cannot_be_checked(
    tmp_path: Path, cache: Path, nvidia: Nvidia, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    model, _ = tiny(tmp_path)
    small, large, other = build(model), build(model, (1, 6)), build(model, (1, 2))
    card = json.loads((other / CARD).read_text())
    card["key"]["library"] = "tensorrt-rtx"
    key = EngineKey(**{**card["key"], "batches": (1, 2)})
    (other / CARD).write_text(json.dumps(card))
    other = other.rename(other.with_name(key.digest()))
    allocate = nvidia[1].cudaMalloc
    limit = 6 * 48 * 64 * 3

    def full(size: int) -> tuple:
        return nvidia[1].BAD if size >= limit else allocate(size)

    monkeypatch.setattr(nvidia[1], "cudaMalloc", full)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)  # as if it were not installed
    assert main(["engine", "verify", str(model), "--json"]) == 1
    found = {facts["key"]: facts for facts in json.loads(capsys.readouterr().out)}
    assert found[small.name]["problem"] == ""
    assert found[large.name]["problem"].startswith("CUDA: cudaMalloc: ")
    assert "tensorrt-rtx is not installed" in found[other.name]["runs_here"]


def test_a_gpu_that_fails_is_one_line(
    tmp_path: Path, cache: Path, nvidia: Nvidia, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    model, _ = tiny(tmp_path)
    monkeypatch.setattr(nvidia[1], "cudaMalloc", lambda size: nvidia[1].BAD)
    assert main(["engine", "build", str(model), "--precision", "fp32"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("rosam engine: CUDA: cudaMalloc: ")
    assert said.count("\n") == 1
    assert entries(cache) == []

    def bug(args: object) -> None:
        raise RuntimeError("of ours")

    monkeypatch.setattr(engine, "run", bug)
    with pytest.raises(RuntimeError, match="of ours"):
        main(["engine", "list"])


@pytest.mark.parametrize(
    ("arguments", "environment", "code", "message"),
    [
        (["--batch", "0"], {}, 1, "batch sizes must be in 1 to 64, got [0]"),
        (["--batch", "one"], {}, 2, "expected numbers such as 1,6, got 'one'"),
        (["--precision", "bf16"], {}, 2, "invalid choice: 'bf16'"),
        (["--precision", "int8"], {}, 1, "holds no Q/DQ pairs, precision int8 was asked for"),
        ([], {"FAKE_GPUS": "0"}, 1, "there is no NVIDIA GPU in this machine"),
        (["--compute-capability", "8.6"], {}, 1, "only tensorrt-rtx builds for other GPUs"),
        (["--compute-capability", "86"], {}, 2, "expected numbers such as 8.6,8.9, got '86'"),
        (["--precision", "fp32"], {"FAKE_ERROR": "1.1"}, 1, "engine refused: its depth differs"),
    ],
)
def test_builds_that_fail(
    tmp_path: Path, arguments: list, environment: dict, code: int, message: str
) -> None:
    model, _ = tiny(tmp_path)
    found, out, err = finished(
        rosam(tmp_path / "cache", "build", model, *arguments, **environment)
    )
    assert (found, out) == (code, "")
    assert message in err
    assert "Traceback" not in err
    assert entries(tmp_path / "cache") == []


def test_two_at_once_build_once(tmp_path: Path) -> None:
    cache, log = tmp_path / "cache", tmp_path / "log"
    model, _ = tiny(tmp_path)
    options = {"FAKE_BUILD_S": "3", "FAKE_BUILD_LOG": str(log)}
    both = [
        rosam(cache, "build", model, "--precision", "fp32", "--json", **options) for _ in range(2)
    ]
    answers = [finished(process) for process in both]
    assert [code for code, _, _ in answers] == [0, 0]
    assert len(log.read_text().splitlines()) == 1
    facts = [json.loads(out) for _, out, _ in answers]
    assert sorted(f["built_now"] for f in facts) == [False, True]
    assert facts[0]["plan_sha256"] == facts[1]["plan_sha256"]
    waited = next(err for (_, _, err), f in zip(answers, facts, strict=True) if not f["built_now"])
    assert "another process is building this engine, waiting for it" in waited
    (entry,) = entries(cache)
    read_plan(entry)


def wait_for(path: Path, process: object) -> None:
    end = time.monotonic() + 60
    while not path.exists():
        assert process.poll() is None, finished(process)  # type: ignore[attr-defined]
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_build_that_is_killed_leaves_nothing_to_trip_over(tmp_path: Path) -> None:
    cache, log = tmp_path / "cache", tmp_path / "log"
    model, _ = tiny(tmp_path)
    slow = {"FAKE_BUILD_S": "60", "FAKE_BUILD_LOG": str(log)}
    killed = rosam(cache, "build", model, "--precision", "fp32", **slow)
    wait_for(log, killed)
    waiting = rosam(cache, "build", model, "--precision", "fp32", "--json")
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert entries(cache) == []
    code, out, _ = finished(waiting)
    assert code == 0
    assert json.loads(out)["built_now"], "whoever waited builds it"
    (entry,) = entries(cache)
    assert {path.name for path in entry.folder.iterdir()} == {CARD, entry.plan.name}


def test_ctrl_c_stops_a_build(tmp_path: Path) -> None:
    cache, log = tmp_path / "cache", tmp_path / "log"
    model, _ = tiny(tmp_path)
    process = rosam(
        *(cache, "build", model, "--precision", "fp32"),
        **{"FAKE_BUILD_S": "60", "FAKE_BUILD_LOG": str(log)},
    )
    wait_for(log, process)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    code, _, err = finished(process)
    assert (code, err.strip().splitlines()[-1]) == (1, "rosam: stopped")
    assert entries(cache) == []
