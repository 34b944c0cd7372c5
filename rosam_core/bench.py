"""Times models on this machine's engines, in turns, beside what the machine could do at best."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from tqdm import tqdm

from rosam_core.bench_ceiling import Ceiling, CeilingProbe, network_cost
from rosam_core.engines.contract import load_card
from rosam_core.types import Float32, UInt8

REFERENCE = "onnx-cpu"
"""The engine whose depth, of the first model of a size, the others are compared with."""


@dataclasses.dataclass(frozen=True)
class Subject:
    """What is timed.

    Attributes:
        model: ONNX file.
        engine: One of `registry.ENGINES`.
        precision: Of OpenVINO's floats; "" for the other engines.
        batch: Images in a run.
    """

    model: Path
    engine: str
    precision: str
    batch: int


@dataclasses.dataclass(frozen=True)
class Options:
    """How it is timed.

    Attributes:
        threads: CPU threads; 0 = every core.
        spinning: Let ONNX Runtime's idle threads busy-wait.
        turns: How often every subject comes up.
        runs: Timed runs a turn.
        warm_up: Runs before them.
        timeout_s: Of a turn.
        arena: Let ONNX Runtime keep freed CPU memory for the next image.
        provider_options: Of ONNX Runtime's provider, for `onnx-cuda` and `onnx-tensorrt`.
    """

    threads: int = 0
    spinning: bool = False
    turns: int = 3
    runs: int = 20
    warm_up: int = 5
    timeout_s: float = 600.0
    arena: bool = True
    provider_options: Mapping[str, str] = dataclasses.field(default_factory=dict)


def subjects(
    models: Sequence[Path],
    engines: Sequence[str],
    precisions: Sequence[str],
    batches: Sequence[int],
) -> list[Subject]:
    """Returns every combination; precisions multiply OpenVINO's alone."""
    return [
        Subject(model, engine, precision, batch)
        for model in models
        for engine in engines
        for precision in (precisions if engine == "openvino" else ("",))
        for batch in batches
    ]


def bench(
    tasks: Sequence[Subject], frames: dict[tuple[int, int], UInt8], options: Options
) -> dict[str, Any]:
    """Times subjects in turns, each alone in a process of its own.

    Args:
        tasks: What to time.
        frames: uint8[n,h,w,3] by network width and height.
        options: How.

    Returns:
        `ceiling` and `rows`: for each subject `p50_ms`, `p95_ms`, `p99_ms`, `fastest_ms`,
        `images_per_s`, `load_ms`, `memory_mib`, `depth_difference` (median and mean of
        |d - d_reference| / d_reference over pixels and frames, None for no reference of its
        size), `gflop`, `mib_moved`, `of_ceiling` (the machine's best time for the same operations
        and bytes over p50), or `error`.
    """
    probe = CeilingProbe(options.threads)
    turns: list[list[dict[str, Any]]] = [[] for _ in tasks]
    depths: dict[int, Float32] = {}
    with tempfile.TemporaryDirectory(prefix="rosam-bench-") as folder:
        files = {}
        for size, images in frames.items():
            files[size] = Path(folder) / f"{size[0]}x{size[1]}.npy"
            np.save(files[size], images)
        order = [(turn, number) for turn in range(options.turns) for number in range(len(tasks))]
        for turn, number in tqdm(order, unit="turn", disable=None, file=sys.stderr):
            if number == 0:
                probe.measure()
            if any("error" in one for one in turns[number]):
                continue
            subject = tasks[number]
            depth = Path(folder) / "depth.npy" if turn == 0 else None
            turns[number].append(_turn(subject, files[_size(subject)], depth, options))
            if depth is not None and depth.is_file():
                depths[number] = np.load(depth)
                depth.unlink()
    ceiling = probe.ceiling()
    rows = []
    for number, subject in enumerate(tasks):
        reference = next(
            (
                depths[other]
                for other, candidate in enumerate(tasks)
                if candidate.engine == REFERENCE
                and other in depths
                and _size(candidate) == _size(subject)
            ),
            None,
        )
        rows.append(_row(subject, turns[number], depths.get(number), reference, ceiling))
    return {"ceiling": dataclasses.asdict(ceiling), "rows": rows}


def _turn(subject: Subject, frames: Path, depth: Path | None, options: Options) -> dict[str, Any]:
    """Runs one turn and returns what it printed."""
    task = {
        **dataclasses.asdict(subject),
        "model": str(subject.model),
        "frames": str(frames),
        "depth": str(depth) if depth else None,
        "threads": options.threads,
        "spinning": options.spinning,
        "arena": options.arena,
        "provider_options": dict(options.provider_options),
        "warm_up": options.warm_up,
        "runs": options.runs,
    }
    try:
        done = subprocess.run(
            [sys.executable, "-m", "rosam_core.bench_worker", json.dumps(task)],
            capture_output=True,
            text=True,
            timeout=options.timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"error": f"took longer than {options.timeout_s:g} s"}
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        reason = (done.stderr.strip().splitlines() or ["no word"])[-1]
        return {"error": f"the process ended with {done.returncode}: {reason}"}
    found: dict[str, Any] = json.loads(lines[-1])
    return found


def _row(
    subject: Subject,
    turns: Sequence[dict[str, Any]],
    depth: Float32 | None,
    reference: Float32 | None,
    ceiling: Ceiling,
) -> dict[str, Any]:
    card = load_card(subject.model)
    row: dict[str, Any] = {
        "model": subject.model.stem,
        "sha256": card.sha256,
        "size": f"{card.input_width}x{card.input_height}",
        "engine": subject.engine,
        "precision": "" if subject.engine == "tensorrt" else precision_of(subject),
        "batch": subject.batch,
    }
    if failed := [turn["error"] for turn in turns if "error" in turn]:
        return {**row, "error": failed[0]}
    times = np.concatenate([turn["times_ms"] for turn in turns])
    p50, p95, p99 = (float(v) for v in np.percentile(times, (50, 95, 99)))
    cost = network_cost(subject.model, subject.batch)
    memories = [turn["memory_mib"] for turn in turns if turn["memory_mib"] is not None]
    if subject.engine == "tensorrt":
        row["precision"] = _precision_in(turns[0]["engine"])
    row |= {
        "engine": turns[0]["engine"],
        "runs": len(times),
        "p50_ms": p50,
        "p95_ms": p95,
        "p99_ms": p99,
        "fastest_ms": float(times.min()),
        "images_per_s": 1e3 * subject.batch / p50,
        "load_ms": float(np.median([turn["load_ms"] for turn in turns])),
        "memory_mib": float(np.median(memories)) if memories else None,
        "gflop": cost.flops / 1e9,
        "mib_moved": cost.bytes / 2**20,
        "of_ceiling": cost.fastest_ms(ceiling) / p50,
        "depth_difference": None,
    }
    if depth is not None and reference is not None and depth.shape == reference.shape:
        relative = np.abs(depth - reference) / reference
        row["depth_difference"] = {
            "median": float(np.median(relative)),
            "mean": float(relative.mean()),
        }
    return row


def precision_of(subject: Subject) -> str:
    """Returns `int8` for a quantised file, else the precision of floats."""
    graph = onnx.load(str(subject.model), load_external_data=False).graph
    quantised = any(node.op_type == "QuantizeLinear" for node in graph.node)
    floats = subject.precision or "f32"
    return ("int8" if floats == "f32" else f"int8+{floats}") if quantised else floats


def _precision_in(name: str) -> str:
    """Returns the precision that a TensorRT engine names, such as `f16` of `tensorrt-fp16`."""
    return name.rpartition("-")[2].replace("fp", "f")


def _size(subject: Subject) -> tuple[int, int]:
    card = load_card(subject.model)
    return card.input_width, card.input_height
