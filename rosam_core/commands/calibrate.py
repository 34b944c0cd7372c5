"""`rosam calibrate`: fit the confidence of a model to a drive whose depth is known."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rosam_core.commands.drive_options import (
    add_source_arguments,
    add_view_arguments,
    drive_options,
)
from rosam_core.commands.eval import add_resize_argument
from rosam_core.commands.installed import onnx_needed
from rosam_core.commands.outputs import check_outputs
from rosam_core.types import CONDITIONS

if TYPE_CHECKING:
    from rosam_core.calibrate import TemperatureFit


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of `rosam calibrate`."""
    parser.set_defaults(wrong_arguments=parser.error)
    add = parser.add_argument
    add("model", type=Path, help="an .onnx model, or a checkpoint of `rosam train`")
    add(
        "drive",
        type=Path,
        help="drives with exact depth or lidar that no training has seen; anything `rosam eval` "
        "reads",
    )
    add(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="the .onnx file to write, with its card (default: the model itself; a checkpoint "
        "needs one)",
    )
    add("--condition", action="append", choices=CONDITIONS, help="only this one; may be repeated")
    add(
        "--limit",
        type=int,
        default=400,
        metavar="N",
        help="at most so many frames, spread over the drives (default: 400)",
    )
    add("--dry-run", action="store_true", help="only say what would be written")
    add("--threads", type=int, default=0, help="of the engine; 0 = one per core")
    add_resize_argument(parser)
    add("--json", action="store_true", help="print the figures as JSON")
    add_source_arguments(parser)
    add_view_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Fits, writes and reports."""
    if args.limit < 1:
        raise ValueError(f"--limit must be at least 1, got {args.limit}")
    is_checkpoint = args.model.suffix != ".onnx"
    output = args.output or (None if is_checkpoint else args.model)
    if output is None:
        args.wrong_arguments("a checkpoint needs -o OUTPUT.onnx")
    if output.suffix != ".onnx":
        raise ValueError(f"-o {output}: name an .onnx file")
    if not args.dry_run:
        check_outputs({"-o": output})
    with tempfile.TemporaryDirectory() as scratch:
        model = args.model
        if is_checkpoint:
            from rosam_core.export import export_checkpoint

            model = Path(scratch) / output.name
            export_checkpoint(args.model, model, name=output.stem)
        return _calibrate(args, model, output)


def _calibrate(args: argparse.Namespace, model: Path, output: Path) -> int:
    with onnx_needed("calibrating"):
        from rosam_core.recalibrate import recalibrate
    from tqdm import tqdm

    from rosam_core.calibrate import fit_by_condition, outcomes_on_drives
    from rosam_core.drives.opening import find_kind, open_drives
    from rosam_core.drives.places import places_of, spread
    from rosam_core.engines.registry import load_engine
    from rosam_core.evaluation.ground_truth import GroundTruth
    from rosam_core.evaluation.predictions import scoring_pipeline
    from rosam_core.evaluation.protocol import truth_options

    kind = find_kind(args.drive) if args.kind == "auto" else args.kind
    drives = open_drives(args.drive, kind, args.condition or (), drive_options(args))
    places = places_of(drives, args.condition or ())
    if not places:
        raise ValueError(f"{args.drive} has no frame of {', '.join(args.condition or CONDITIONS)}")
    places = spread(places, args.limit)
    engine = load_engine(model, "onnx-cpu", args.threads)
    try:
        pipeline, card = scoring_pipeline(engine, args.resize), engine.card
        with tqdm(places, unit="frame", disable=None, file=sys.stderr) as bar:
            outcomes, images, skipped = outcomes_on_drives(
                lambda frame: pipeline.predict(frame.image, frame.camera),
                bar,  # type: ignore[arg-type]  # which iterates over the places
                GroundTruth(truth_options(kind)),
                card.is_metric,
            )
    except ValueError as error:
        raise ValueError(f"{args.drive}: {error}") from error
    finally:
        engine.close()
    fits = fit_by_condition(outcomes)
    overall = fits["all"]
    report: dict[str, Any] = {
        **overall.as_dict(),
        "images": sum(images.values()),
        "frames_skipped": len(skipped),
        "drives": args.drive.resolve().name,
        "scaling": "metric" if card.is_metric else "median-scaled",
        "conditions": {
            name: {"images": n, "ece_before": fits[name].ece_before, "ece": fits[name].ece}
            for name, n in images.items()
        },
    }
    gone: list[str] = []
    if not args.dry_run:
        new = recalibrate(model, overall.temperature, output, report)
        gone = sorted(set(card.results) - set(new.results))
    if args.json:
        written = None if args.dry_run else str(output)
        print(json.dumps({**report, "output": written, "sections_left_out": gone}, indent=2))
        return 0
    if skipped:
        print(f"{len(skipped)} of {len(places)} frames skipped; the first: {skipped[0]}")
    print(_table(fits, images))
    stated = card.confidence_temperature
    print(
        f"b x {overall.temperature:.3f} (in all {stated * overall.temperature:.3f}), fitted on "
        f"{report['images']} images of {args.drive}, {report['scaling']}"
    )
    if args.dry_run:
        print("nothing written (--dry-run)")
        return 0
    print(f"{output} and its card")
    if gone:
        print(
            f"left out of the card: {', '.join(gone)}, measured with the former confidence; "
            "measure again, then rosam export --update-card"
        )
    return 0


def _table(fits: dict[str, TemperatureFit], images: dict[str, int]) -> str:
    from rosam_core.evaluation.scoring import format_table

    rows = [["condition", "images", "ECE before", "ECE after"]]
    for name, fit in fits.items():
        if name == "all" and len(fits) == 2:
            continue
        n = images.get(name, sum(images.values()))
        rows.append([name, str(n), f"{fit.ece_before:.3f}", f"{fit.ece:.3f}"])
    return format_table(rows, left=(0,))
