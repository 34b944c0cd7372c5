"""Claim: 8 bits on OpenVINO make ResNet-18 at least 3x as fast as float32 on ONNX Runtime.

    python benchmarks/int8_speed.py [--threads 2] [--size 576x320] [--turns 5] [--runs 40]

And the light student is not slower in 8 bits than in float32 on the quicker of the two engines.
Both students are exported with random weights, which speed does not depend on, quantised as
`rosam quantize` does it, and timed by `rosam bench` in one run: in turns, each turn alone in a
process of its own. Prints JSON with the whole table; exit status 1 if a claim does not hold. The
medians decide; `fastest` is what is left of noise on a machine that others use as well.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any

import onnx
import torch

from rosam_core.bench import Options, Subject, bench
from rosam_core.engines.parity import probe_images
from rosam_core.export import DeployedStudent, write_onnx
from rosam_core.models import create_model
from rosam_core.quantize import prepare
from rosam_core.quantize_graph import Graph, insert_pairs
from rosam_core.types import ModelCard, card_path, file_sha256

TIMES = 3.0


def main() -> int:
    """Times both students and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--size", default="576x320", help="of the networks, WIDTHxHEIGHT")
    parser.add_argument("--turns", type=int, default=5, help="how often each one comes up")
    parser.add_argument("--runs", type=int, default=40, help="timed runs a turn")
    args = parser.parse_args()
    width, height = (int(value) for value in args.size.split("x"))
    images = probe_images((width, height))
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory(prefix="rosam-int8-") as name:
        folder = Path(name)
        for student in ("resnet18", "light"):
            make(student, folder, (width, height))
        subjects = [
            Subject(folder / f"{student}{kind}.onnx", engine, precision, 1)
            for student in ("resnet18", "light")
            for kind, engine, precision in (
                ("", "onnx-cpu", ""),
                ("", "openvino", "f32"),
                ("_int8", "openvino", "f32"),
            )
        ]
        options = Options(args.threads, turns=args.turns, runs=args.runs)
        found = bench(subjects, {(width, height): images}, options)
    report = {
        "machine": {"processor": platform.machine(), "cores": os.cpu_count()},
        "load": os.getloadavg()[0],
        "threads": args.threads,
        "size": args.size,
        **judge(found["rows"]),
        "ceiling": found["ceiling"],
        "rows": found["rows"],
    }
    print(json.dumps(report, indent=2))
    return 0 if report["holds"] else 1


def make(student: str, folder: Path, size: tuple[int, int]) -> None:
    """Writes a student and its 8-bit form, all layers but the last."""
    path = folder / f"{student}.onnx"
    write_onnx(DeployedStudent(create_model(student).eval()), path, size)
    write_card(path, student, size)
    network, seen = prepare(onnx.load(str(path)), probe_images(size), 0)
    layers = [node.name for node in Graph(network).layers()]
    quantised = folder / f"{student}_int8.onnx"
    onnx.save(insert_pairs(network, seen, set(layers[:-1])), str(quantised))
    write_card(quantised, student, size)


def write_card(path: Path, student: str, size: tuple[int, int]) -> None:
    """Writes a card that says that nothing was learnt."""
    card = ModelCard(
        name=path.stem,
        architecture=student,
        input_width=size[0],
        input_height=size[1],
        training_focal_px=float(size[0]),
        focal_range_px=(0.5 * size[0], 2.0 * size[0]),
        min_depth_m=0.1,
        max_depth_m=200.0,
        is_metric=True,
        confidence_temperature=1.0,
        sha256=file_sha256(path),
        licence="Apache-2.0",
        training_data="none: random weights",
    )
    card_path(path).write_text(card.to_json(), encoding="utf-8")


def judge(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns the two ratios, from medians and from the fastest runs, and whether they hold."""
    if failed := [row["error"] for row in rows if "error" in row]:
        return {"failed": failed, "holds": False}
    ratios: dict[str, dict[str, float]] = {}
    for key in ("p50_ms", "fastest_ms"):
        resnet, resnet_openvino, resnet_int8, light, light_openvino, light_int8 = (
            row[key] for row in rows
        )
        ratios[key] = {
            "resnet18_onnx_f32_over_openvino_int8": round(resnet / resnet_int8, 2),
            "resnet18_openvino_f32_over_int8": round(resnet_openvino / resnet_int8, 2),
            "light_best_f32_over_openvino_int8": round(min(light, light_openvino) / light_int8, 2),
        }
    medians = ratios["p50_ms"]
    holds = (
        medians["resnet18_onnx_f32_over_openvino_int8"] >= TIMES
        and medians["light_best_f32_over_openvino_int8"] >= 1.0
    )
    return {"ratios": ratios, "holds": holds}


if __name__ == "__main__":
    sys.exit(main())
