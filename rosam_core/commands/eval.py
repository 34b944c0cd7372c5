"""`rosam eval`: score a model on drives, by condition, beside the flat-ground baseline."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from rosam_core.types import CONDITIONS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `rosam eval`."""
    parser.add_argument("--model", type=Path, help="ONNX model; the packaged one by default")
    parser.add_argument(
        "--drive",
        type=Path,
        required=True,
        help="synthetic drive or folder of them, nuScenes root, or bag with lidar",
    )
    parser.add_argument("--kind", choices=("auto", "synthetic", "nuscenes", "bag"), default="auto")
    parser.add_argument(
        "--condition", action="append", choices=CONDITIONS, help="only this one; may be repeated"
    )
    parser.add_argument("--min-depth", type=float, default=0.1, help="scored from here [m]")
    parser.add_argument("--max-depth", type=float, default=80.0, help="scored up to here [m]")
    parser.add_argument(
        "--median", action="store_true", help="print only the median-scaled figures"
    )
    parser.add_argument(
        "--camera-height", type=float, help="for the flat-ground row, if no pose tells it [m]"
    )
    parser.add_argument("--limit", type=int, help="at most so many frames, spread over the drive")
    parser.add_argument("--engine", default="auto", help="what runs the network")
    parser.add_argument("--threads", type=int, default=0, help="of the engine; 0 = one per core")
    parser.add_argument(
        "--json",
        nargs="?",
        const="-",
        metavar="FILE",
        help="write the figures to this file, or print them as JSON",
    )


def run(args: argparse.Namespace) -> int:
    """Runs `rosam eval`."""
    from rosam_core.engines.registry import default_model_path, load_engine
    from rosam_core.evaluation.protocol import score_drives
    from rosam_core.evaluation.scoring import by_condition, finite, format_table, table_rows
    from rosam_core.runtime.pipeline import DepthPipeline

    model = args.model or default_model_path()
    engine = load_engine(model, engine=args.engine, threads=args.threads)
    try:
        scores, left_out = score_drives(
            DepthPipeline(engine),
            args.drive,
            kind=args.kind,
            conditions=args.condition or (),
            min_depth_m=args.min_depth,
            max_depth_m=args.max_depth,
            camera_height_m=args.camera_height,
            limit=args.limit,
        )
    finally:
        engine.close()
    result = by_condition(scores)
    report = {
        "model": engine.card.name,
        "sha256": engine.card.sha256,
        "engine": engine.name,
        "drive": str(args.drive),
        "range_m": [args.min_depth, args.max_depth],
        "frames_without_truth": left_out,
        "conditions": result,
    }
    if args.json == "-":
        print(json.dumps(finite(report), indent=2))
        return 0
    rows = table_rows(result, ("median_scaled",) if args.median else ("metric", "median_scaled"))
    print(
        f"{engine.card.name} on {args.drive}: truth {args.min_depth:g} to {args.max_depth:g} m, "
        "mean over images"
    )
    print(format_table(rows))
    if left_out:
        print(f"{left_out} frames without depth or lidar were left out")
    if args.json:
        path = Path(args.json)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(finite(report), indent=2) + "\n", encoding="utf-8")
    return 0
