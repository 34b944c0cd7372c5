from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from support import write_tiny_model

onnx = pytest.importorskip("onnx", reason="the extra `quantize` is not installed")

from conv_model import HEIGHT, WIDTH, conv_network, write_conv_model
from engine_support import build, cache, nvidia

from rosam_core import bench as module
from rosam_core.bench import Options, Subject, bench, precision_of, subjects
from rosam_core.bench_ceiling import Ceiling, CeilingProbe, Cost, network_cost
from rosam_core.bench_worker import run_turn
from rosam_core.cli import main
from rosam_core.commands import bench as command
from rosam_core.engines.onnx_precision import fold
from rosam_core.quantize_graph import insert_pairs
from rosam_core.quantize_ranges import observe

__all__ = ["cache", "nvidia"]  # the fixtures
PIXELS = WIDTH * HEIGHT
FRAMES = np.random.default_rng(0).integers(0, 256, (3, HEIGHT, WIDTH, 3), np.uint8)


def weight_bytes(model: onnx.ModelProto) -> int:
    return sum(onnx.numpy_helper.to_array(t).nbytes for t in model.graph.initializer)


def test_cost_by_hand() -> None:
    model = fold(conv_network())
    cost = network_cost(model)
    # stem 8 x 3 x 9, depthwise 8 x 9, pointwise 8 x 8, head 2 x 8 products a pixel
    assert cost.flops == 2 * PIXELS * (216 + 72 + 64 + 16)
    # transpose 3 + 3, scaling 12 + 12, stem 12 + 32, depthwise 64, pointwise 64, sum 96, head 40,
    # softplus, depth and sigmoid 8 each
    assert cost.bytes - weight_bytes(model) == PIXELS * 362
    several = network_cost(model, 3)
    assert several.flops == 3 * cost.flops
    assert several.bytes - weight_bytes(model) == 3 * PIXELS * 362


def test_cost_of_8_bits_by_hand() -> None:
    network = fold(conv_network())
    paired = insert_pairs(network, observe(network, FRAMES, 1), ("depthwise", "pointwise"))
    cost = network_cost(paired)
    assert cost.flops == network_cost(network).flops
    # stem 12 + 8, depthwise 8 + 8, pointwise 8 + 32, sum 32 + 8 + 32; the others as above
    assert cost.bytes - weight_bytes(paired) == PIXELS * (30 + 20 + 16 + 40 + 72 + 40 + 24)


def test_fastest_time_is_that_of_the_scarcer() -> None:
    assert Cost(2_000_000, 1_000).fastest_ms(Ceiling(1.0, 1.0)) == pytest.approx(2.0)
    assert Cost(1_000, 3_000_000).fastest_ms(Ceiling(1.0, 1.5)) == pytest.approx(2.0)


def test_the_ceiling_is_the_best_of_what_was_measured() -> None:
    probe = CeilingProbe(1, size=64, copied_mib=1)
    probe.measure(2)
    assert len(probe.gflops) == len(probe.gbytes_per_s) == 2
    probe.gflops, probe.gbytes_per_s = [1.0, 3.0], [4.0, 2.0]
    assert probe.ceiling() == Ceiling(3.0, 4.0)


def test_precisions_multiply_openvino_alone() -> None:
    models = [Path("a.onnx"), Path("b.onnx")]
    found = subjects(models, ["onnx-cpu", "openvino"], ["f32", "bf16"], [1, 4])
    assert len(found) == 2 * (1 + 2) * 2
    assert {s.precision for s in found if s.engine == "onnx-cpu"} == {""}


def test_a_turn_in_this_process(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path)
    found = run_turn(turn_of(model, tmp_path, "onnx-cpu", 2))
    assert len(found["times_ms"]) == 5
    assert min(found["times_ms"]) > 0
    depth = np.load(tmp_path / "depth.npy")
    np.testing.assert_allclose(depth, 2 + FRAMES.mean(axis=3) / 10, rtol=1e-5)


def turn_of(model: Path, folder: Path, engine: str, batch: int) -> dict:
    np.save(folder / "frames.npy", FRAMES)
    return {
        "model": str(model),
        "engine": engine,
        "precision": "",
        "threads": 1,
        "spinning": False,
        "arena": True,
        "provider_options": {},
        "batch": batch,
        "warm_up": 2,
        "runs": 5,
        "frames": str(folder / "frames.npy"),
        "depth": str(folder / "depth.npy"),
    }


@pytest.mark.usefixtures("cache", "nvidia")
def test_of_engines_in_the_cache_one_for_the_batch_is_timed(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path)
    for batches in ((1, 6), (1,)):
        build(model, batches)
    assert run_turn(turn_of(model, tmp_path, "tensorrt", 6))["engine"] == "tensorrt-fp32"


def test_turns_alternate_and_a_failed_engine_is_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = write_conv_model(tmp_path)
    order = []

    def turn(subject: Subject, frames: Path, depth: Path | None, options: Options) -> dict:
        order.append(subject.engine)
        if subject.engine == "tensorrt" and subject.batch == 1:
            return {"error": "no GPU"}
        if depth is not None:
            factor = 1.1 if subject.batch == 2 else 1.0
            np.save(depth, np.full((3, HEIGHT, WIDTH), 10 * factor, np.float32))
        return {
            "engine": "tensorrt-rtx-fp16" if subject.engine == "tensorrt" else subject.engine,
            "times_ms": list(range(1, 101)),
            "load_ms": 3.0,
            "memory_mib": 20.0,
        }

    monkeypatch.setattr(module, "_turn", turn)
    tasks = subjects([model], ["onnx-cpu"], ["f32"], [1, 2])
    tasks += [Subject(model, "tensorrt", "", batch) for batch in (1, 2)]
    report = bench(tasks, {(WIDTH, HEIGHT): FRAMES}, Options(threads=1, turns=2))
    # Each comes up once a turn; one that failed is not tried again.
    trt = "tensorrt"
    assert order == ["onnx-cpu", "onnx-cpu", trt, trt, "onnx-cpu", "onnx-cpu", trt]
    first, second, failed, half = report["rows"]
    assert [first["precision"], failed["precision"], half["precision"]] == ["f32", "", "f16"]
    assert first["runs"] == 200
    assert first["p50_ms"] == pytest.approx(50.5)
    assert first["p95_ms"] == pytest.approx(95.05, abs=0.1)
    assert second["images_per_s"] == pytest.approx(2000 / 50.5)
    assert first["depth_difference"] == {"median": 0.0, "mean": 0.0}
    assert second["depth_difference"]["median"] == pytest.approx(0.1, rel=1e-5)
    assert failed["error"] == "no GPU"
    ceiling = Ceiling(**report["ceiling"])
    assert first["of_ceiling"] == pytest.approx(network_cost(model).fastest_ms(ceiling) / 50.5)


def test_precision_is_that_of_the_file(tmp_path: Path) -> None:
    model = write_conv_model(tmp_path)
    network = fold(onnx.load(str(model)))
    assert precision_of(Subject(model, "onnx-cpu", "", 1)) == "f32"
    onnx.save(insert_pairs(network, observe(network, FRAMES, 1), ("depthwise",)), str(model))
    assert precision_of(Subject(model, "onnx-cpu", "", 1)) == "int8"
    assert precision_of(Subject(model, "openvino", "bf16", 1)) == "int8+bf16"


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    model = write_conv_model(tmp_path)
    words = ["bench", str(model), "--engine", "onnx-cpu", "--threads", "1"]
    words += ["--runs", "3", "--turns", "1"]
    written = tmp_path / "figures.json"
    assert main([*words, "--plot", str(tmp_path / "a.png"), "--json", str(written)]) == 0
    printed = capsys.readouterr().out
    assert "small  64x48  onnx-cpu  f32" in printed
    assert "0.00%" in printed
    assert (tmp_path / "a.png").stat().st_size > 1000
    (row,) = json.loads(written.read_text())["rows"]
    assert 0 < row["fastest_ms"] <= row["p50_ms"] <= row["p95_ms"] <= row["p99_ms"]
    assert row["memory_mib"] > 0
    assert row["gflop"] == pytest.approx(2 * PIXELS * 368 / 1e9)
    # An engine that is not usable is said to be so, and alone it is a failure.
    missing = ["bench", str(model), "--engine", "tensorrt", "--turns", "1", "--runs", "1"]
    assert main(missing) == 1
    assert "small on tensorrt, batch 1: " in capsys.readouterr().out
    assert main([*words, "--batch", "0"]) == 1


@pytest.mark.parametrize(
    ("option", "name", "message"),
    [
        ("--plot", "a.txt", r"name a \.png, or one of"),
        ("--plot", "file/a.png", r"--plot .*file/a\.png cannot be written"),
        ("--json", "file/a.json", r"--json .*file/a\.json cannot be written"),
        ("--json", ".", "is a folder: name a file in it"),
    ],
)
def test_a_file_that_cannot_be_written_is_told_before_the_run(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    option: str,
    name: str,
    message: str,
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(module, "bench", lambda *_: pytest.fail("it was run"))
    model = write_conv_model(tmp_path)
    (tmp_path / "file").touch()
    assert main(["bench", str(model), option, str(tmp_path / name)]) == 1
    assert re.search(message, capsys.readouterr().err)


def test_every_option_reaches_the_engines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Options] = []

    def stop(tasks: object, frames: object, options: Options) -> None:
        given.append(options)
        raise ValueError("enough")

    monkeypatch.setattr(module, "bench", stop)
    words = ["bench", str(write_conv_model(tmp_path))]
    assert main(words) == 1
    words += ["--threads", "3", "--spinning", "--no-arena", "--runs", "4", "--turns", "2"]
    words += ["--provider-option", "device_id=1", "--provider-option", "do_copy=0"]
    assert main(words) == 1
    assert given == [
        Options(),
        Options(
            threads=3,
            spinning=True,
            turns=2,
            runs=4,
            arena=False,
            provider_options={"device_id": "1", "do_copy": "0"},
        ),
    ]


def test_figures_are_printed_even_if_the_plot_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    row = {"model": "m", "size": "64x48", "engine": "onnx-cpu", "precision": "f32", "batch": 1}
    times = dict.fromkeys(("p50_ms", "p95_ms", "p99_ms", "fastest_ms", "images_per_s"), 12.5)
    row |= {**times, "memory_mib": None, "depth_difference": None, "of_ceiling": 0.5}
    ceiling = {"gflops": 1.0, "gbytes_per_s": 1.0}
    monkeypatch.setattr(module, "bench", lambda *_: {"ceiling": ceiling, "rows": [row]})

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(command, "_plot", fail)
    words = ["bench", str(write_conv_model(tmp_path)), "--plot", str(tmp_path / "a.png")]
    assert main(words) == 1
    assert "12.50" in capsys.readouterr().out
