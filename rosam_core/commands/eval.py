"""`rosam eval`: score a model on drives, by condition, beside the flat-ground baseline."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rosam_core.commands.drive_options import (
    add_pitch_argument,
    add_source_arguments,
    add_view_arguments,
    drive_options,
)
from rosam_core.commands.outputs import check_drawing, check_outputs
from rosam_core.runtime.ground import Mounting
from rosam_core.runtime.preprocess import RESIZE_MODES
from rosam_core.types import CONDITIONS

if TYPE_CHECKING:
    from rosam_core.evaluation.protocol import Evaluation, Predict


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `rosam eval` and `rosam eval compare`."""
    actions = parser.add_subparsers(dest="action", metavar="[compare]")
    text = "print the paired differences of two evaluations of the same frames"
    comparing = actions.add_parser("compare", help=text, description=text)
    comparing.add_argument("first", type=Path, help="file written by `rosam eval --json FILE`")
    comparing.add_argument("second", type=Path, help="the same for another model")
    comparing.add_argument("--median", action="store_true", help="compare median-scaled figures")
    comparing.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--drive",
        type=Path,
        help="what to score: synthetic drive or folder of them, nuScenes root, bag with lidar, "
        "KITTI, or images with depth",
    )
    add_source_arguments(parser)
    add_score_arguments(parser)


def add_score_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options that `rosam eval` and `rosam bag eval` share."""
    add_view_arguments(parser)
    parser.add_argument("--model", type=Path, help="ONNX model; the packaged one by default")
    parser.add_argument(
        "--predictions",
        type=Path,
        metavar="DIR",
        help="score these depth maps instead of a model: [SCENE/][CONDITION/][CAMERA_]N.npy in "
        "metres or .png of 16 bits, N = stamp in ns or index of the frame",
    )
    parser.add_argument(
        "--png-scale", type=float, default=256.0, help="value of a PNG at 1 m (default: 256)"
    )
    parser.add_argument(
        "--condition", action="append", choices=CONDITIONS, help="only this one; may be repeated"
    )
    parser.add_argument("--min-depth", type=float, default=0.1, help="scored from here [m]")
    parser.add_argument(
        "--max-depth",
        type=float,
        help="scored up to here [m] (default: 50 for RobotCar, as published, 80 for the others)",
    )
    parser.add_argument(
        "--crop",
        choices=("garg", "eigen", "none"),
        default="none",
        help="score only this window, as published KITTI figures do (default: none)",
    )
    parser.add_argument(
        "--ground-truth",
        choices=("protocol", "general", "filtered"),
        default="protocol",
        help="lidar as published figures of the data set have it, by one rule for every kind of "
        "drive, or that without points hidden from the camera (default: protocol)",
    )
    parser.add_argument(
        "--truth-cache", type=Path, metavar="DIR", help="keep depth made of lidar here, as PNG"
    )
    parser.add_argument(
        "--ego-mask", type=Path, metavar="FILE", help="image, white where it shows the vehicle"
    )
    parser.add_argument(
        "--vehicle-box",
        type=float,
        nargs=6,
        metavar=("LEFT", "RIGHT", "UP", "DOWN", "BEHIND", "AHEAD"),
        help="lidar returns this near the camera [m] are the vehicle's own: they and the pixels "
        "around them are not scored",
    )
    parser.add_argument(
        "--lidar-boundaries",
        action="store_true",
        help="where there is no exact depth, score how depth jumps between lidar points",
    )
    parser.add_argument(
        "--flicker",
        action="store_true",
        help="where there is no exact depth, too, measure how depth changes between frames",
    )
    parser.add_argument("--flip", action="store_true", help="measure flip post-processing as well")
    add_resize_argument(parser)
    parser.add_argument(
        "--median", action="store_true", help="print only the median-scaled figures"
    )
    parser.add_argument(
        "--camera-height",
        type=float,
        metavar="M",
        help="of the camera above the ground, instead of what the drive tells [m]: for the "
        "flat-ground row and --scale-by-height",
    )
    parser.add_argument(
        "--scale-by-height",
        action="store_true",
        help="scale depth so that the ground is as far below the camera as it is known to be, as "
        "the node does with camera_height_m",
    )
    add_pitch_argument(parser)
    parser.add_argument("--limit", type=int, help="at most so many frames, spread over drives")
    parser.add_argument("--engine", default="auto", help="what runs the network")
    parser.add_argument("--threads", type=int, default=0, help="of the engine; 0 = one per core")
    parser.add_argument(
        "--report", type=Path, metavar="FILE", help="write one HTML page with plots and frames"
    )
    parser.add_argument(
        "--json",
        nargs="?",
        const="-",
        metavar="FILE",
        help="write the figures, of every frame too, to this file, or print them as JSON",
    )


def add_resize_argument(parser: argparse.ArgumentParser) -> None:
    """Adds how images reach the network's size, which `rosam calibrate` needs too."""
    parser.add_argument(
        "--resize",
        choices=RESIZE_MODES,
        default=RESIZE_MODES[0],
        help="how an image of another shape reaches the network: with black borders, stretched as "
        "published figures have it, or cut (default: letterbox)",
    )


def run(args: argparse.Namespace) -> int:
    """Runs `rosam eval`."""
    if args.action == "compare":
        return _compare(args)
    if args.drive is None:
        raise ValueError("nothing to score: name a drive with --drive (see rosam eval --help)")
    return run_score(args)


def run_score(args: argparse.Namespace) -> int:
    """Scores `args.drive`, a drive of `args.kind`."""
    of_model = (args.model, args.flip, args.scale_by_height, args.resize != RESIZE_MODES[0])
    if args.predictions and any(of_model):
        raise ValueError(
            "--predictions scores files, so --model, --flip, --scale-by-height and --resize have "
            "no meaning"
        )
    if args.camera_pitch and not args.scale_by_height:
        raise ValueError("--camera-pitch has a meaning with --scale-by-height alone")
    height = 1.0 if args.camera_height is None else args.camera_height
    Mounting(height, args.camera_pitch)  # a wrong value is told at once
    check_outputs({"--json": args.json, "--report": args.report})
    if args.report:
        check_drawing("--report")
    if args.predictions:
        from rosam_core.evaluation.predictions import SavedPredictions

        saved = SavedPredictions(args.predictions, args.png_scale)
        about = {"predictions": str(args.predictions), "files": len(saved.files)}
        return _score(args, saved, args.predictions.name, about)
    from rosam_core.engines.registry import default_model_path, load_engine
    from rosam_core.evaluation.predictions import ModelPredictions, scoring_pipeline

    model = args.model or default_model_path()
    engine = load_engine(model, engine=args.engine, threads=args.threads)
    try:
        card = engine.card
        about = {"model": card.name, "sha256": card.sha256, "engine": engine.name}
        if args.resize != RESIZE_MODES[0]:
            about["resize"] = args.resize
        if args.scale_by_height:
            about["scale"] = "the camera's height"
        predict = ModelPredictions(
            scoring_pipeline(engine, args.resize),
            args.flip,
            args.scale_by_height,
            args.camera_height,
            args.camera_pitch,
        )
        status = _score(args, predict, card.name, about)
        if args.scale_by_height and args.json != "-":
            print(f"scaled by the camera's height: {predict.ground_note}")
        return status
    finally:
        engine.close()


def _score(args: argparse.Namespace, predict: Predict, name: str, about: dict[str, Any]) -> int:
    from rosam_core.drives.opening import find_kind, open_drives
    from rosam_core.evaluation.boundaries import boundary_rows
    from rosam_core.evaluation.compare import frame_rows
    from rosam_core.evaluation.crops import crop_words
    from rosam_core.evaluation.ego_vehicle import VehicleBox, read_ego_mask
    from rosam_core.evaluation.flicker import flicker_rows
    from rosam_core.evaluation.ground_truth import GroundTruth
    from rosam_core.evaluation.protocol import farthest_m, score_drives, truth_options
    from rosam_core.evaluation.scoring import by_condition, finite, format_table, table_rows

    drives = open_drives(args.drive, args.kind, args.condition or (), drive_options(args))
    kind = find_kind(args.drive) if args.kind == "auto" else args.kind
    if args.max_depth is None:
        args.max_depth = farthest_m(kind)
    ground_truth = GroundTruth(
        truth_options(kind, args.ground_truth, args.vehicle_box and VehicleBox(*args.vehicle_box)),
        args.truth_cache,
        read_ego_mask(args.ego_mask) if args.ego_mask else None,
    )
    found = score_drives(
        predict,
        args.drive,
        drives=drives,
        kind=args.kind,
        conditions=args.condition or (),
        min_depth_m=args.min_depth,
        max_depth_m=args.max_depth,
        camera_height_m=args.camera_height,
        limit=args.limit,
        ground_truth=ground_truth,
        crop=args.crop,
        lidar_boundaries=args.lidar_boundaries,
        flicker=args.flicker,
    )
    result = by_condition(found.scores)
    if notes := sorted({ground_truth.note, *(drive.truth_note for drive in drives)} - {""}):
        about = {**about, "truth": "; ".join(notes)}
    about = {**about, "drive_digest": found.digest, "settings_digest": _settings(args)}
    report = {
        **about,
        "drive": str(args.drive),
        "range_m": [args.min_depth, args.max_depth],
        "crop": args.crop,
        "protocol": "per image, then mean over images; 95 % intervals: bootstrap over scenes",
        "frames_without_truth": found.without_truth,
        "frames_skipped": found.skipped,
        **({"faults": found.faults} if found.faults else {}),
        **({"flicker_note": found.flicker_note} if found.flicker_note else {}),
        "conditions": result,
    }
    if args.json == "-":
        print(json.dumps(finite(report), indent=2))
        if args.report:
            _write_page(args, found, result, predict, name, about)
        return 0
    rows = table_rows(result, ("median_scaled",) if args.median else ("metric", "median_scaled"))
    print(
        f"{name} on {args.drive}: truth {args.min_depth:g} to {args.max_depth:g} m, "
        + (f"{words}, " if (words := crop_words(args.crop)) else "")
        + "mean over images"
        + (f"; truth: {about['truth']}" if "truth" in about else "")
    )
    print(format_table(rows))
    for more in (boundary_rows(result), flicker_rows(result)):
        if len(more) > 1:
            print(f"\n{format_table(more)}")
    if found.flicker_note:
        print(found.flicker_note)
    for condition, summary in result.items():
        if not (share := summary["metric"]["coverage"]) >= 0.9995:
            print(
                f"{condition}: {share:.1%} of the true pixels have a prediction; no other counts"
            )
    _print_intervals(result)
    if found.without_truth:
        print(f"{found.without_truth} frames without a truth were left out")
    for line in found.faults:
        print(f"attention: {line}")
    for line in found.skipped[:5]:
        print(f"skipped {line}")
    if len(found.skipped) > 5:
        print(f"... {len(found.skipped)} frames skipped in all")
    try:
        if args.json:
            text = json.dumps(finite({**report, "frames": frame_rows(found.scores)}), indent=1)
            Path(args.json).write_text(text + "\n", encoding="utf-8")
    finally:  # hours of scores are not lost because one of the files cannot be written after all
        if args.report:
            _write_page(args, found, result, predict, name, about)
            print(f"report: {args.report}")
    return 0


def _settings(args: argparse.Namespace) -> str:
    """Returns 32 hexadecimal digits of every argument but where results go and how fast."""
    without = {"report", "json", "threads", "verbose", "truth_cache"}
    stated = {
        k: str(v) for k, v in sorted(vars(args).items()) if k not in without and not callable(v)
    }
    return hashlib.sha256(json.dumps(stated).encode()).hexdigest()[:32]


def _print_intervals(result: dict[str, Any]) -> None:
    """Prints the interval of the overall AbsRel, where there are scenes enough for one."""
    from rosam_core.evaluation.eval_page import in_words

    overall = result.get("all") or next(iter(result.values()))
    metric, scaled = (overall["intervals"][s]["abs_rel"] for s in ("metric", "median_scaled"))
    if metric:
        print(
            f"AbsRel, 95 % over {overall['scenes']} scenes: metric {in_words(metric)}, "
            f"median-scaled {in_words(scaled)}"
        )


def _write_page(
    args: argparse.Namespace,
    found: Evaluation,
    result: dict[str, Any],
    predict: Predict,
    name: str,
    about: dict[str, Any],
) -> None:
    from rosam_core.evaluation.eval_page import eval_page
    from rosam_core.evaluation.report import write_report

    what = ", ".join(f"{key} {value}" for key, value in about.items())
    notes = [
        f"Scored: {what}.",
        f"Drive: {args.drive}.",
        *(f"Attention: {line}." for line in found.faults),
        f"Machine: {platform.system()} {platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}.",
    ]
    title = f"{name} on {args.drive.name}"
    limits = (args.min_depth, args.max_depth)
    write_report(args.report, eval_page(title, found, result, predict, limits, notes))


def _compare(args: argparse.Namespace) -> int:
    from rosam_core.evaluation.compare import compare, comparison_rows
    from rosam_core.evaluation.scoring import finite, format_table

    scaling = "median_scaled" if args.median else "metric"
    result = compare(args.first, args.second, scaling)
    if args.json:
        print(json.dumps(finite(result), indent=2))
        return 0
    print(
        f"first {args.first}, second {args.second}: {result['frames']} frames of both, "
        f"{scaling.replace('_', '-')}; difference = second - first"
    )
    print(format_table(comparison_rows(result), left=(0, 2, 8)))
    for key, path in (("only_first", args.first), ("only_second", args.second)):
        if result[key]:
            print(f"{result[key]} frames are only in {path}")
    return 0
