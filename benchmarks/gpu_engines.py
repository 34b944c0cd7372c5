"""On an NVIDIA GPU: our engines beside torch, for both students, at batch 1 and 6; prints JSON.

    python benchmarks/gpu_engines.py [--size 576x320] [--turns 5] [--runs 50]

Eager torch in half precision, torch.compile, a captured CUDA graph, ONNX Runtime on CUDA and
TensorRT take turns on the same images, from bytes on the host to depth and confidence on the host.
`of_floor` is the time that the GPU's own measured matrix product and copy would need for the
network's operations and bytes, in half precision, over the median. An engine that is not there, or
refuses the GPU, says why in its row. Without a GPU exit status 2; `--device cpu` tries the eager
row.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from int8_speed import write_card
from torch import Tensor, nn

from rosam_core.bench_ceiling import network_cost
from rosam_core.engines.parity import probe_images
from rosam_core.engines.registry import choose_engine
from rosam_core.export import DeployedStudent, write_onnx
from rosam_core.models import create_model

BATCHES = (1, 6)
ENGINES = ("onnx-cuda", "tensorrt")
MATRIX, COPY = 4096, 1 << 28
"""Side of the measured matrix product, bytes of the measured copy."""

Answer = tuple[Tensor, Tensor]
"""Depth and confidence."""

Work = Callable[[], object]


def main() -> int:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="576x320", help="of the networks, WIDTHxHEIGHT")
    parser.add_argument("--turns", type=int, default=5, help="how often each one comes up")
    parser.add_argument("--runs", type=int, default=50, help="timed runs a turn")
    parser.add_argument("--device", default="cuda", help="cuda, or cpu to try this script")
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        print("gpu_engines.py: this torch sees no CUDA GPU, so nothing was run", file=sys.stderr)
        return 2
    device = torch.device(args.device)
    width, height = (int(value) for value in args.size.split("x"))
    torch.manual_seed(0)
    report: dict[str, Any] = {"size": args.size, "device": device_name(device)}
    tflops, gbytes = measured_peak(device)
    report |= {"tflops_half": round(tflops, 1), "copy_gbytes_per_s": round(gbytes, 1), "rows": []}
    with tempfile.TemporaryDirectory(prefix="rosam-gpu-") as folder:
        for name in ("light", "resnet18"):
            student = DeployedStudent(create_model(name).eval())
            path = Path(folder) / f"{name}.onnx"
            write_onnx(student, path, (width, height))
            write_card(path, name, (width, height))
            for batch in BATCHES:
                cost = network_cost(path, batch)
                floor = max(cost.flops / tflops / 1e12, cost.bytes / 2 / gbytes / 1e9) * 1e3
                images = torch.from_numpy(probe_images((width, height)))[:1].repeat(batch, 1, 1, 1)
                kinds = ways(student, path, images, device)
                for row in timed(kinds, args.turns, args.runs, device):
                    row |= {"student": name, "batch": batch, "floor_ms": round(floor, 3)}
                    if "p50_ms" in row:
                        row["of_floor"] = round(floor / row["p50_ms"], 3)
                    report["rows"].append(row)
    print(json.dumps(report, indent=2))
    return 0


def device_name(device: torch.device) -> str:
    """Returns what is measured, in words."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def finished(work: Work, device: torch.device) -> float:
    """Returns the time of one run, to the end of what it started on the device [s]."""
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def measured_peak(device: torch.device) -> tuple[float, float]:
    """Returns 1e12 operations/s of a half-precision product and 1e9 bytes/s of a copy."""
    side, size = (MATRIX, COPY) if device.type == "cuda" else (256, 1 << 22)
    a = torch.randn(side, side, device=device, dtype=torch.float16)
    source = torch.empty(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    product = min(finished(lambda: a @ a, device) for _ in range(20))
    copy = min(finished(lambda: target.copy_(source), device) for _ in range(20))
    return 2 * side**3 / product / 1e12, 2 * size / copy / 1e9


def ways(
    student: nn.Module, path: Path, images: Tensor, device: torch.device
) -> dict[str, Work | str]:
    """Returns what runs the images, by name; a reason instead where it cannot.

    Args:
        student: With the file's input and output.
        path: The same as ONNX.
        images: uint8[n,h,w,3] on the host.
        device: Of torch.
    """
    found: dict[str, Work | str] = {}
    model = student.to(device)

    @torch.inference_mode()
    def eager(run: Callable[[Tensor], Answer] = model) -> Answer:
        with torch.autocast(device.type, dtype=torch.float16 if device.type == "cuda" else None):
            return on_host(run(images.to(device)))

    found["torch eager, half"] = eager
    if device.type != "cuda":
        return found
    compiled = torch.compile(model, mode="max-autotune-no-cudagraphs")
    found["torch.compile, half"] = lambda: eager(compiled)
    found["torch CUDA graph, half"] = captured(model, images, device)
    pixels = images.numpy()
    for name in ENGINES:
        try:
            engine = choose_engine(path, name).engine
            engine.infer(pixels)
            found[name] = lambda engine=engine: engine.infer(pixels)
        except Exception as error:  # whatever it is, it is the row's result
            found[name] = f"{type(error).__name__}: {error}"
    return found


def on_host(answer: Answer) -> Answer:
    """Returns all that an engine answers, float32 on the host."""
    depth, confidence = answer
    return depth.float().cpu(), confidence.float().cpu()


def captured(model: nn.Module, images: Tensor, device: torch.device) -> Work:
    """Returns a run of the network as one captured CUDA graph."""
    held = images.to(device)
    with torch.inference_mode(), torch.autocast("cuda", dtype=torch.float16):
        side = torch.cuda.Stream()
        with torch.cuda.stream(side):
            for _ in range(3):  # cuDNN chooses its kernels before the capture
                model(held)
        torch.cuda.synchronize(device)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            answer = model(held)

    def replay() -> Answer:
        held.copy_(images)
        graph.replay()
        return on_host(answer)

    return replay


def timed(
    kinds: dict[str, Work | str], turns: int, runs: int, device: torch.device
) -> list[dict[str, Any]]:
    """Returns median and fastest time of each, all in turns, or why there is none."""
    times: dict[str, list[float]] = {name: [] for name in kinds}
    errors = {name: work for name, work in kinds.items() if isinstance(work, str)}
    for turn in range(turns + 1):
        for name, work in kinds.items():
            if name in errors or isinstance(work, str):
                continue
            try:
                found = [finished(work, device) for _ in range(runs)]
            except RuntimeError as error:
                errors[name] = str(error).splitlines()[0]
                continue
            times[name] += found if turn else []  # the first turn warms up
    return [
        {"way": name, "error": errors[name]}
        if name in errors
        else {
            "way": name,
            "p50_ms": round(1e3 * statistics.median(times[name]), 3),
            "fastest_ms": round(1e3 * min(times[name]), 3),
        }
        for name in kinds
    ]


if __name__ == "__main__":
    sys.exit(main())
