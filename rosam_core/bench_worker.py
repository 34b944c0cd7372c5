"""One turn of `rosam bench`: an engine alone in a process of its own.

A process of its own, because the idle threads of another engine would spin on the same cores for
a while, and because only so its memory can be told.

    python -m rosam_core.bench_worker '{"model": ..., "engine": ..., ...}'
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from rosam_core.engines.base import DepthEngine
from rosam_core.engines.registry import EngineOptions, choose_engine
from rosam_core.types import UInt8


def main() -> int:
    """Runs one turn as the argument says and prints its figures as JSON."""
    task = json.loads(sys.argv[1])
    try:
        print(json.dumps(run_turn(task)))
    except (ValueError, RuntimeError, OSError) as error:
        print(json.dumps({"error": str(error)}))
    return 0


def run_turn(task: dict[str, Any]) -> dict[str, Any]:
    """Returns the times of one engine.

    Args:
        task: `model`, `engine`, `precision` (of OpenVINO), `threads`, `spinning`, `arena`,
            `provider_options`, `batch`, `warm_up`, `runs`, `frames` (file of uint8[n,h,w,3]) and
            `depth` (file to write the depth of these frames to, or None).

    Returns:
        `times_ms` of every run, `load_ms`, `memory_mib` (resident, more than before loading; None
        where the system does not tell).
    """
    frames: UInt8 = np.load(task["frames"])
    before = resident_mib()
    begun = time.perf_counter()
    engine = open_engine(task)
    load_ms = (time.perf_counter() - begun) * 1e3
    batch = int(task["batch"])
    times = []
    for run in range(task["warm_up"] + task["runs"]):
        images = frames[np.arange(run * batch, (run + 1) * batch) % len(frames)]
        begun = time.perf_counter()
        engine.infer(images)
        seconds = time.perf_counter() - begun
        if run >= task["warm_up"]:
            times.append(seconds * 1e3)
    after = resident_mib()
    if task["depth"]:
        depth = np.concatenate([engine.infer(frame[None])[0] for frame in frames])
        np.save(task["depth"], depth)
    name = engine.name
    engine.close()
    memory = None if before is None or after is None else after - before
    return {"engine": name, "times_ms": times, "load_ms": load_ms, "memory_mib": memory}


def open_engine(task: dict[str, Any]) -> DepthEngine:
    """Returns the engine of a task, with the precision it names."""
    options = EngineOptions(
        task["threads"],
        task["spinning"],
        task["arena"],
        task["provider_options"],
        task["precision"] or "f32",
    )
    most_images = int(task["batch"])
    return choose_engine(task["model"], task["engine"], options, most_images=most_images).engine


def resident_mib() -> float | None:
    """Returns the resident memory of this process [MiB], None where /proc does not tell it."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return None
    line = next((line for line in status.splitlines() if line.startswith("VmRSS:")), None)
    return None if line is None else int(line.split()[1]) / 1024


if __name__ == "__main__":
    sys.exit(main())
