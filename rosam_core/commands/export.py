"""`rosam export`: turn a checkpoint into an ONNX model with its card."""

from __future__ import annotations

import argparse
import json
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of `rosam export`."""
    parser.add_argument("checkpoint", type=Path, help="best.pt or last.pt of `rosam train`")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the .onnx file")
    parser.add_argument("--size", metavar="WxH", help="network size (that of training)")
    parser.add_argument(
        "--calibrate", type=Path, metavar="DRIVES", help="fit the confidence on these drives"
    )
    parser.add_argument(
        "--temperature", type=float, help="factor of the Laplace scale, instead of --calibrate"
    )
    parser.add_argument("--results", type=Path, help="JSON file of measured figures for the card")
    parser.add_argument("--name", help="name on the card (that of the file)")
    parser.add_argument("--licence", default="Apache-2.0", help="SPDX id of the weights")
    parser.add_argument("--training-data", help="what it was trained on, for the card")
    parser.add_argument("--json", action="store_true", help="print the card")


def run(args: argparse.Namespace) -> int:
    """Exports, verifies and reports."""
    from rosam_core.calibrate import fit_temperature
    from rosam_core.drives.training_samples import ValidationSamples, find_training_drives
    from rosam_core.export import export_checkpoint, load_student
    from rosam_core.types import card_path

    size = parse_size(args.size) if args.size else None
    if args.calibrate and args.temperature:
        raise ValueError("give --calibrate or --temperature, not both")
    results = {}
    if args.results:
        try:
            results = json.loads(args.results.read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            raise ValueError(f"{args.results} is not JSON: {error}") from error
        if not isinstance(results, dict):
            raise ValueError(f"{args.results} must hold a JSON object")
    temperature = args.temperature or 1.0
    if args.calibrate:
        trained = load_student(args.checkpoint)
        data = trained.recipe.data
        samples = ValidationSamples(
            find_training_drives(args.calibrate),
            size or (data.width, data.height),
            data.target,
            400,
        )
        fit = fit_temperature(trained.student, samples)
        temperature = fit.temperature
        results = {"calibration": fit.as_dict(), **results}
    card = export_checkpoint(
        args.checkpoint,
        args.output,
        size,
        temperature,
        results,
        args.name,
        args.licence,
        args.training_data,
    )
    if args.json:
        print(card.to_json(), end="")
    else:
        mib = args.output.stat().st_size / 2**20
        error = card.results["export"]["depth_error"]
        print(
            f"{args.output} ({mib:.1f} MiB, {card.input_width}x{card.input_height}, equals torch "
            f"within {error:.1e}) and {card_path(args.output)}"
        )
    return 0


def parse_size(text: str) -> tuple[int, int]:
    """Returns width and height of "WxH".

    Raises:
        ValueError: It is something else.
    """
    width, _, height = text.partition("x")
    if not (width.isdigit() and height.isdigit()):
        raise ValueError(f"size must be WIDTHxHEIGHT, e.g. 576x320, got {text!r}")
    return int(width), int(height)
