"""`rosam export`: turn a checkpoint into an ONNX model with its card; add figures to a card."""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rosam_core.types import ModelCard, card_path, file_sha256
from rosam_core.whole_file import write_whole

if TYPE_CHECKING:
    from rosam_core.drives.training_samples import DriveIndex
    from rosam_core.export import TrainedStudent
    from rosam_core.recipe import DataOptions

log = logging.getLogger(__name__)

CALIBRATION_IMAGES = 400
STATED_BY_EXPORT = ("export", "training", "calibration", "quantization")
"""Sections of a card's results that come from what made the file."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of `rosam export`."""
    parser.set_defaults(wrong_arguments=parser.error)
    parser.add_argument(
        "checkpoint",
        type=Path,
        nargs="?",
        help="best.pt or last.pt of `rosam train`, or an exported .onnx file, for another --size",
    )
    parser.add_argument("-o", "--output", type=Path, help="the .onnx file")
    parser.add_argument("--size", metavar="WxH", help="network size (that of training)")
    parser.add_argument(
        "--calibrate", type=Path, metavar="DRIVES", help="fit the confidence on these drives"
    )
    parser.add_argument(
        "--temperature", type=float, help="factor of the Laplace scale, instead of --calibrate"
    )
    parser.add_argument(
        "--results",
        nargs="+",
        default=[],
        metavar="[NAME=]FILE",
        help="JSON of measured figures, as the benchmarks write it, for a section of the card",
    )
    parser.add_argument(
        "--update-card",
        type=Path,
        metavar="MODEL",
        help="only put --results on the card of this .onnx file, in place of those of their name, "
        "and --name, --licence, --training-data",
    )
    parser.add_argument("--name", help="name on the card (that of the file)")
    parser.add_argument("--licence", help="SPDX id of the weights (Apache-2.0)")
    parser.add_argument("--training-data", help="what it was trained on, for the card")
    parser.add_argument("--json", action="store_true", help="print the card")


def run(args: argparse.Namespace) -> int:
    """Exports, verifies and reports, or updates a card."""
    results = read_results(args.results)
    if args.update_card:
        made = (args.checkpoint, args.output, args.size, args.calibrate, args.temperature)
        if any(argument is not None for argument in made):
            args.wrong_arguments("--update-card changes the card alone: see --results, --name")
        stated = {name: getattr(args, name) for name in ("name", "licence", "training_data")}
        stated = {name: text for name, text in stated.items() if text is not None}
        if not results and not stated:
            args.wrong_arguments(
                "--update-card needs --results FILE ..., --name, --licence or --training-data"
            )
        card = update_card(args.update_card, results, **stated)
        written = f"{card_path(args.update_card)}: {', '.join([*results, *stated])}"
        print(card.to_json() if args.json else written, end="" if args.json else "\n")
        return 0
    if not args.checkpoint or not args.output:
        args.wrong_arguments("give a checkpoint and -o OUTPUT, or --update-card MODEL")
    if args.calibrate and args.temperature is not None:
        args.wrong_arguments("give --calibrate or --temperature, not both")

    from rosam_core.export import export_checkpoint, load_student

    size = parse_size(args.size) if args.size else None
    temperature = args.temperature
    calibration: dict[str, Any] = {}
    if args.calibrate:
        calibration = calibrate(load_student(args.checkpoint), args.calibrate, size)
        temperature = calibration["temperature"]
    card = export_checkpoint(
        args.checkpoint,
        args.output,
        size,
        temperature,
        {"calibration": calibration} if calibration else None,
        args.name,
        args.licence,
        args.training_data,
    )
    if results:
        card = update_card(args.output, results)
    if args.json:
        print(card.to_json(), end="")
        return 0
    mib = args.output.stat().st_size / 2**20
    differs = card.results["export"]["depth_error"]
    print(
        f"{args.output} ({mib:.1f} MiB, {card.input_width}x{card.input_height}, equals torch "
        f"within {differs:.1e}) and {card_path(args.output)}"
    )
    if calibration:
        print(_calibration_line(calibration))
    return 0


def read_results(arguments: Sequence[str]) -> dict[str, Any]:
    """Reads files of figures: `NAME=FILE`, or `FILE`, whose section has the name of the file.

    Args:
        arguments: As on the command line.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not a JSON object, or two sections have one name.
    """
    results: dict[str, Any] = {}
    for argument in arguments:
        name, separator, file = argument.partition("=")
        path = Path(file if separator else argument)
        name = name if separator else path.stem
        if not path.is_file():
            raise FileNotFoundError(f"no results at {path}: the benchmarks write them with --json")
        if not name or name in STATED_BY_EXPORT or name in results:
            raise ValueError(
                f"results {argument}: the section '{name}' is taken, give another as NAME=FILE"
            )
        try:
            values = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
        except ValueError as error:  # also undecodable text
            raise ValueError(f"{path} is not JSON: {error}") from error
        if not isinstance(values, dict):
            raise ValueError(f"{path} must hold a JSON object, found a {type(values).__name__}")
        results[name] = values
    return results


def update_card(model: Path, results: Mapping[str, Any], **stated: str) -> ModelCard:
    """Puts sections of results on a model's card, in place of those of the same name.

    Args:
        model: The .onnx file; its card lies beside it.
        results: JSON values by section. A section that names the `sha256` of what it measured must
            name this model.
        stated: Other fields of the card.

    Raises:
        FileNotFoundError: There is no model or no card.
        ValueError: The model is not its card's, or another model was measured.
    """
    if model.suffix != ".onnx":
        raise ValueError(f"expected the .onnx file of a model, got {model.name}")
    if not model.is_file():
        raise FileNotFoundError(f"no model at {model}")
    card, sha256 = ModelCard.load(card_path(model)), file_sha256(model)
    if card.sha256 != sha256:
        raise ValueError(f"{model} is not the file that its card describes: export it again")
    for name, section in results.items():
        measured = section.get("sha256", sha256)
        if measured != sha256:
            raise ValueError(
                f"the results '{name}' are of another model ({str(measured)[:12]}, this one is "
                f"{sha256[:12]}): measure {model}, then rosam export --update-card {model}"
            )
    updated = dataclasses.replace(card, **stated, results={**card.results, **results})
    write_whole(card_path(model), updated.to_json().encode())
    return updated


def calibrate(trained: TrainedStudent, folder: Path, size: tuple[int, int] | None) -> dict:
    """Returns the fitted temperature, how well it fits, and on which drives that was found.

    Args:
        trained: The student.
        folder: Drives.
        size: Network size [px], that of training if None.
    """
    from rosam_core.calibrate import fit_temperature
    from rosam_core.drives.training_samples import ValidationSamples, find_training_drives

    data = trained.recipe.data
    drives = find_training_drives(folder)
    samples = ValidationSamples(
        drives, size or (data.width, data.height), data.target, CALIBRATION_IMAGES
    )
    fit = fit_temperature(trained.student, samples)
    seeds = [drive.seed for drive in drives]
    return {
        **fit.as_dict(),
        "images": len(samples),
        "drives": folder.resolve().name,
        "worlds": len(set(seeds)),
        "seeds": [min(seeds), max(seeds)],
        # An exported file does not say which worlds it was trained on.
        "also_used_for": ["training: unknown"] if trained.card else _other_uses(drives, data),
    }


def _other_uses(drives: Sequence[DriveIndex], data: DataOptions) -> list[str]:
    """Returns which of training and validation saw the same worlds; warns where that matters."""
    from rosam_core.drives.training_samples import find_training_drives, shared_worlds

    uses = []
    for use, folder in (("training", data.drives), ("validation", data.val_drives)):
        if folder is None:
            continue
        try:
            shared = shared_worlds(drives, find_training_drives(folder))
        except (FileNotFoundError, ValueError):
            log.warning(
                "the drives of %s, %s, are not here: cannot tell whether the confidence is "
                "calibrated on other worlds",
                use,
                folder,
            )
            uses.append(f"{use}: unknown")
            continue
        if shared:
            uses.append(use)
    if "training" in uses:
        log.warning(
            "the confidence is calibrated on worlds that the student was trained on: it will be "
            "too high elsewhere; give --calibrate drives of other seeds"
        )
    return uses


def _calibration_line(calibration: Mapping[str, Any]) -> str:
    low, high = calibration["seeds"]
    uses = ", ".join(calibration["also_used_for"]) or "nothing else"
    before, after = calibration["ece_before"], calibration["ece"]
    return (
        f"confidence: b x {calibration['temperature']:.3f}, ECE {before:.3f} -> {after:.3f} on "
        f"{calibration['images']} images of {calibration['drives']} "
        f"({calibration['worlds']} worlds, seeds {low} to {high}; also used for: {uses})"
    )


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a number that JSON knows")


def parse_size(text: str) -> tuple[int, int]:
    """Returns width and height of "WxH".

    Raises:
        ValueError: It is something else.
    """
    width, _, height = text.partition("x")
    if not (width.isdigit() and height.isdigit()):
        raise ValueError(f"size must be WIDTHxHEIGHT, e.g. 576x320, got {text!r}")
    return int(width), int(height)
