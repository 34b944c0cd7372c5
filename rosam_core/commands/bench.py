"""`rosam bench`: how fast models run here, on which engine, and how near the machine's limits."""

from __future__ import annotations

import argparse
import json
import os
import platform
from pathlib import Path
from typing import Any

from rosam_core.commands.drive_options import (
    add_source_arguments,
    add_view_arguments,
    drive_options,
)
from rosam_core.commands.installed import onnx_needed
from rosam_core.commands.outputs import check_drawing, check_outputs
from rosam_core.engines.contract import load_card
from rosam_core.engines.registry import ENGINES, default_model_path, provider_options
from rosam_core.types import ModelCard, UInt8

FRAMES = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of `rosam bench`."""
    add = parser.add_argument
    add(
        "models",
        type=Path,
        nargs="*",
        metavar="MODEL",
        help="ONNX files (default: the packaged one); for other sizes, export them with --size",
    )
    add(
        "--engine",
        action="append",
        choices=[name for name in ENGINES if name != "auto"],
        help="repeatable (default: onnx-cpu, and openvino where it is installed)",
    )
    add(
        "--precision",
        action="append",
        choices=("f32", "bf16", "f16"),
        help="of floats in OpenVINO, repeatable (default: f32); 8-bit layers are in the file",
    )
    add("--batch", action="append", type=int, help="images in a run, repeatable (default: 1)")
    add("--threads", type=int, default=0, help="of the engines; 0 = one per core")
    add("--spinning", action="store_true", help="let ONNX Runtime's idle threads busy-wait")
    add("--no-arena", action="store_true", help="let ONNX Runtime give memory back each time")
    add(
        "--provider-option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="of ONNX Runtime's provider, for onnx-cuda and onnx-tensorrt, repeatable",
    )
    add("--runs", type=int, default=20, help="timed runs a turn (default: 20)")
    add("--turns", type=int, default=3, help="how often every engine comes up (default: 3)")
    add("--drive", type=Path, help="frames to run and compare on (default: drawn pictures)")
    add("--json", nargs="?", const="-", metavar="FILE", help="print or write the figures as JSON")
    add("--plot", type=Path, metavar="FILE", help="write a picture of latencies")
    add_source_arguments(parser)
    add_view_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Times and reports."""
    for name in ("runs", "turns"):
        if getattr(args, name) < 1:
            raise ValueError(f"--{name} must be at least 1")
    if any(batch < 1 for batch in args.batch or ()):
        raise ValueError("--batch must be at least 1")
    _check_outputs(args)
    with onnx_needed("timing"):
        from rosam_core.bench import Options, bench, subjects
    models = args.models or [default_model_path()]
    cards = {model: load_card(model) for model in models}
    tasks = subjects(
        models, args.engine or _engines(), args.precision or ("f32",), args.batch or (1,)
    )
    frames = {
        (card.input_width, card.input_height): _frames(args, card) for card in cards.values()
    }
    options = Options(
        args.threads,
        args.spinning,
        args.turns,
        args.runs,
        arena=not args.no_arena,
        provider_options=provider_options(",".join(args.provider_option)),
    )
    report = {
        "machine": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "threads": args.threads or os.cpu_count(),
            "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
            "system": f"{platform.system()} {platform.machine()}",
        },
        "frames": str(args.drive) if args.drive else "drawn pictures",
        **bench(tasks, frames, options),
    }
    if args.json == "-":
        print(json.dumps(report, indent=2), flush=True)
    else:
        _print(report)  # before anything that may yet fail
        if args.json:
            Path(args.json).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if args.plot:
        _plot(report, args.plot)
    return 0 if any("error" not in row for row in report["rows"]) else 1


def _check_outputs(args: argparse.Namespace) -> None:
    """Refuses files that could not be written: minutes before they are."""
    check_outputs({"--json": args.json, "--plot": args.plot})
    if args.plot:
        check_drawing("--plot")
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        kinds = FigureCanvasAgg.get_supported_filetypes()
        if args.plot.suffix.lower().removeprefix(".") not in kinds:
            raise ValueError(f"--plot {args.plot}: name a .png, or one of {', '.join(kinds)}")


def _engines() -> list[str]:
    import importlib.util

    return ["onnx-cpu", *(["openvino"] if importlib.util.find_spec("openvino") else [])]


def _frames(args: argparse.Namespace, card: ModelCard) -> UInt8:
    from rosam_core.engines.parity import probe_images

    if args.drive is None:
        return probe_images((card.input_width, card.input_height))
    from rosam_core.drives.opening import open_drives
    from rosam_core.drives.places import places_of, spread
    from rosam_core.quantize_check import read_frames

    drives = open_drives(args.drive, args.kind, (), drive_options(args))
    return read_frames(spread(places_of(drives), FRAMES), card)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _print(report: dict[str, Any]) -> None:
    from rosam_core.evaluation.scoring import format_table

    machine, ceiling = report["machine"], report["ceiling"]
    print(
        f"{machine['processor']}, {machine['threads']} of {machine['cores']} cores, load "
        f"{machine['load'] or 0:.1f}; best measured: {ceiling['gflops']:.0f} GFLOP/s (float32 "
        f"product), {ceiling['gbytes_per_s']:.1f} GB/s (copy); frames: {report['frames']}"
    )
    head = ["model", "size", "engine", "precision", "batch", "p50 ms", "p95", "p99", "best"]
    rows = [[*head, "images/s", "MiB", "difference", "of ceiling"]]
    for row in report["rows"]:
        about = [row["model"], row["size"], row["engine"], row["precision"], str(row["batch"])]
        if "error" in row:
            rows.append([*about, "failed", *[""] * 7])
            continue
        times = (row[key] for key in ("p50_ms", "p95_ms", "p99_ms", "fastest_ms"))
        far = row["depth_difference"]
        rows.append(
            [
                *about,
                *(f"{value:.2f}" for value in times),
                f"{row['images_per_s']:.1f}",
                "" if row["memory_mib"] is None else f"{row['memory_mib']:.0f}",
                "" if far is None else f"{far['median']:.2%}",
                f"{row['of_ceiling']:.0%}",
            ]
        )
    print(format_table(rows, left=(0, 1, 2, 3)))
    for row in report["rows"]:
        if "error" in row:
            print(f"{row['model']} on {row['engine']}, batch {row['batch']}: {row['error']}")
    print(
        "difference: median of depth against onnx-cpu of the first model of the size; of ceiling: "
        "time of the same operations or bytes at the measured float32 best, over p50 (8-bit "
        "arithmetic can pass 100 %)"
    )


def _plot(report: dict[str, Any], path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = [row for row in report["rows"] if "error" not in row]
    if not rows:
        return
    figure = Figure(figsize=(8, 1.2 + 0.4 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    places = range(len(rows))
    middle = [row["p50_ms"] for row in rows]
    late = [row["p95_ms"] - row["p50_ms"] for row in rows]
    early = [row["p50_ms"] - row["fastest_ms"] for row in rows]
    axes.barh(places, middle, xerr=[early, late], color="#4477aa", ecolor="#bb5566", capsize=3)
    axes.set_yticks(
        places,
        [f"{r['model']} {r['size']}\n{r['engine']} {r['precision']} x{r['batch']}" for r in rows],
        fontsize=8,
    )
    axes.invert_yaxis()
    axes.set_xlabel("latency [ms]: median, from the fastest to the 95th percentile")
    axes.set_title(report["machine"]["processor"], fontsize=9)
    figure.savefig(path, dpi=120)
