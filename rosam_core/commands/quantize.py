"""`rosam quantize`: an 8-bit model for any engine, and what it costs in accuracy."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rosam_core.commands.drive_options import (
    add_source_arguments,
    add_view_arguments,
    drive_options,
)
from rosam_core.commands.installed import onnx_needed
from rosam_core.commands.outputs import check_outputs
from rosam_core.engines.registry import ENGINES, default_model_path
from rosam_core.types import card_path

if TYPE_CHECKING:
    from rosam_core.drives.places import Place
    from rosam_core.quantize import Quantized


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of `rosam quantize`."""
    add = parser.add_argument
    add("model", type=Path, nargs="?", help="the .onnx file (default: the packaged one)")
    add("-o", "--output", type=Path, required=True, help="the .onnx file to write")
    add(
        "--calibrate",
        type=Path,
        metavar="DRIVES",
        required=True,
        help="drives of the kind it will meet; none that it is judged on",
    )
    add(
        "--check",
        type=Path,
        metavar="DRIVES",
        help="drives to compare accuracy on (default: a quarter of those of --calibrate)",
    )
    add("--frames", type=int, default=128, help="at most so many to calibrate with (default: 128)")
    add("--check-frames", type=int, default=160, help="at most so many to check on (default: 160)")
    add(
        "--max-loss",
        type=float,
        default=2.0,
        metavar="PERCENT",
        help="refuse above this growth of AbsRel in any condition, or above this median depth "
        "difference where there is no true depth (default: 2)",
    )
    add(
        "--keep-float",
        action="append",
        default=[],
        metavar="LAYER",
        help="leave this convolution in float; may be repeated",
    )
    add("--engine", choices=ENGINES, default="onnx-cpu", help="what compares the two models")
    add("--threads", type=int, default=0, help="of the engine; 0 = one per core")
    add("--json", action="store_true", help="print the card's section of figures")
    add_source_arguments(parser)
    add_view_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Calibrates, quantises, checks and reports."""
    for name in ("frames", "check_frames"):
        if getattr(args, name) < 1:
            raise ValueError(f"--{name.replace('_', '-')} must be at least 1")
    if not 0 < args.max_loss < 100:
        raise ValueError(f"--max-loss is a percentage between 0 and 100, got {args.max_loss:g}")
    with onnx_needed("quantising"):
        from rosam_core.quantize import quantize
    check_outputs({"-o": args.output})
    from rosam_core.drives.places import spread
    from rosam_core.quantize_check import hold_out

    model = args.model or default_model_path()
    places = _places(args, args.calibrate)
    if args.check is None:
        places, held = hold_out(places)
        checked_on = f"held-out quarter of {args.calibrate.resolve().name}"
    else:
        held, checked_on = _places(args, args.check), args.check.resolve().name
        if args.check.resolve() == args.calibrate.resolve():
            raise ValueError("--check and --calibrate are the same drives: leave --check out")
    calibration, check = spread(places, args.frames), spread(held, args.check_frames)
    about = {"calibrated_on": args.calibrate.resolve().name, "checked_on": checked_on}
    result = quantize(
        model,
        args.output,
        calibration,
        check,
        max_loss=args.max_loss / 100,
        keep_float=args.keep_float,
        engine=args.engine,
        threads=args.threads,
        about=about,
    )
    if args.json:
        print(json.dumps(result.card.results["quantization"], indent=2))
        return 0
    _report(args, model, result, about)
    return 0


def _places(args: argparse.Namespace, path: Path) -> list[Place]:
    from rosam_core.drives.opening import open_drives
    from rosam_core.drives.places import places_of

    return places_of(open_drives(path, args.kind, (), drive_options(args)))


def _report(
    args: argparse.Namespace, model: Path, result: Quantized, about: dict[str, Any]
) -> None:
    from rosam_core.evaluation.scoring import format_table

    before, after = (path.stat().st_size / 2**20 for path in (model, args.output))
    print(
        f"{args.output} ({after:.1f} MiB, {model.name} has {before:.1f}) and "
        f"{card_path(args.output).name}: {result.layers - len(result.float_layers)} of "
        f"{result.layers} layers in int8"
    )
    print(
        f"calibrated on {result.card.results['quantization']['calibration_frames']} frames of "
        f"{about['calibrated_on']}, checked on {about['checked_on']} with "
        f"{result.checked.engine}: {result.checked.words()}"
    )
    rows = [["condition", "frames", "AbsRel float32", "AbsRel int8", "loss", "median difference"]]
    for name, row in result.checked.conditions.items():
        scored = row["abs_rel"] == row["abs_rel"]
        rows.append(
            [
                name,
                str(int(row["frames"])),
                f"{row['abs_rel_float']:.4f}" if scored else "",
                f"{row['abs_rel']:.4f}" if scored else "",
                f"{row['loss']:+.2%}" if scored else "",
                f"{row['depth_difference']:.2%}",
            ]
        )
    print(format_table(rows, left=(0,)))
    print(f"in float32: {', '.join(result.float_layers)}")
