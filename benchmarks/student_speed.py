"""Claim: the light student is at least 8 times as fast as the ResNet-18 student on a CPU.

Both are exported with random weights and timed in one process on ONNX Runtime, two threads,
320x576, in turns of twenty runs. Only one of the two is loaded at a time: the idle threads of the
other would still spin on the same cores for a while. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime

from rosam_core.export import DeployedStudent, write_onnx
from rosam_core.models import create_model

TURN, WARM_UP = 20, 5
"""Timed runs of a student before the other one's turn, and runs before them that do not count."""


def main() -> None:
    """Times both students and prints medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=60)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--width", type=int, default=576)
    parser.add_argument("--height", type=int, default=320)
    args = parser.parse_args()
    image = np.random.default_rng(0).integers(0, 256, (1, args.height, args.width, 3), np.uint8)
    names = ("light", "resnet18")
    times: dict[str, list[float]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = args.threads
        # As the node runs it. Threads that spin make the light student a tenth quicker, but now
        # and then, on a virtual machine, nearly twice as slow for a whole turn or process.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        paths = {name: Path(folder) / f"{name}.onnx" for name in names}
        for name, path in paths.items():
            write_onnx(DeployedStudent(create_model(name).eval()), path, (args.width, args.height))
        while len(times[names[-1]]) < args.runs:
            for name, path in paths.items():
                session = onnxruntime.InferenceSession(
                    str(path), options, providers=["CPUExecutionProvider"]
                )
                for run in range(WARM_UP + TURN):
                    begun = time.perf_counter()
                    session.run(None, {"image": image})
                    if run >= WARM_UP:
                        times[name].append((time.perf_counter() - begun) * 1e3)
                del session
    medians = {name: statistics.median(values) for name, values in times.items()}
    report = {
        "claim": "light student at least 8x faster than resnet18 on the same engine",
        "engine": f"onnxruntime {onnxruntime.__version__} CPU",
        "machine": platform.machine(),
        "threads": args.threads,
        "size": f"{args.width}x{args.height}",
        "runs": args.runs,
        "median_ms": {name: round(value, 2) for name, value in medians.items()},
        "fastest_ms": {name: round(min(values), 2) for name, values in times.items()},
        "ratio": round(medians["resnet18"] / medians["light"], 2),
        "holds": medians["resnet18"] >= 8 * medians["light"],
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
