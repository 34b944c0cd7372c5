"""`rosam drive translate`: show the weather that stage 1 puts on clear days."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from rosam_core.commands.drive_options import (
    add_source_arguments,
    add_view_arguments,
    drive_options,
)
from rosam_core.commands.outputs import check_picture

if TYPE_CHECKING:
    from rosam_core.runtime.pipeline import DepthPipeline
    from rosam_core.types import Frame, UInt8

HEIGHT = 192  # of a panel [px]


def add_arguments(actions: Any) -> None:
    """Declares the action.

    Args:
        actions: Sub-parsers of `rosam drive`.
    """
    text = (
        "draw frames of clear days as they look in night, rain and fog, made from a model's "
        "depth: what adaptation.weather=translated trains with"
    )
    parser = actions.add_parser("translate", help=text, description=text)
    add = parser.add_argument
    add("path", type=Path, help="anything `rosam eval` reads; see docs/drives.md")
    add("-o", "--output", type=Path, required=True, metavar="FILE", help="a .png or .jpg to write")
    add("--model", type=Path, metavar="FILE", help="ONNX model of the depth (the packaged one)")
    add("--frames", type=int, default=6, metavar="N", help="spread over the drive (default: 6)")
    add("--seed", type=int, default=0, help="another one gives other weather (default: 0)")
    add("--width", type=int, default=416, metavar="PX", help="of each picture (default: 416)")
    add_source_arguments(parser)
    add_view_arguments(parser)
    parser.set_defaults(act=run)


def run(args: argparse.Namespace) -> int:
    """Runs `rosam drive translate`."""
    check_picture("-o", args.output)
    if args.frames < 1 or args.seed < 0 or args.width < 64:
        raise ValueError("need --frames 1 or more, --seed 0 or more and --width 64 or more")
    from tqdm import tqdm

    from rosam_core.drives.clear_samples import CLEAR
    from rosam_core.drives.opening import open_drives
    from rosam_core.engines.registry import default_model_path, load_engine
    from rosam_core.evaluation.pictures import contact_sheet, side_by_side
    from rosam_core.evaluation.sheet import save_picture
    from rosam_core.runtime.pipeline import DepthPipeline

    drives = open_drives(args.path, args.kind, options=drive_options(args))
    places = [
        (drive, index)
        for drive in drives
        for index in range(len(drive))
        if drive.glance(index).condition in (CLEAR, "unknown")
    ]
    if not places:
        raise ValueError(
            f"{args.path}: no frame is of a clear day, which is what weather is put on"
        )
    count = min(args.frames, len(places))
    engine = load_engine(args.model or default_model_path(), "onnx-cpu")
    pipeline, rows = DepthPipeline(engine), []
    try:
        for row in tqdm(range(count), unit="frame", disable=None, file=sys.stderr):
            drive, index = places[row * len(places) // count]
            panels = _panels(drive[index], pipeline, args.width, args.seed * 1000 + row)
            rows.append(side_by_side(panels, HEIGHT, f"{drive.name} {index}"))
    finally:
        engine.close()
    title = f"clear, depth of {engine.card.name}, night, day-rain, fog (seed {args.seed})"
    save_picture(args.output, contact_sheet(rows, title))
    print(f"{args.output}: {count} frames")
    return 0


def _panels(frame: Frame, pipeline: DepthPipeline, width: int, seed: int) -> list[UInt8]:
    """Returns the picture, its depth and its translations, at this width."""
    import torch

    from rosam_core.drives.translation import ADVERSE, translate
    from rosam_core.geometry.undistortion import undistorted
    from rosam_core.runtime.colormap import colorize_depth

    frame = undistorted(frame)
    predicted = pipeline.predict(frame.image, frame.camera).depth
    camera = frame.camera.scaled_to(width, round(width * frame.camera.height / frame.camera.width))
    size = (camera.width, camera.height)
    image = np.asarray(cv2.resize(frame.image, size, interpolation=cv2.INTER_AREA), np.uint8)
    depth = cv2.resize(predicted, size, interpolation=cv2.INTER_NEAREST_EXACT)
    n = len(ADVERSE)
    shown = translate(
        torch.from_numpy(image).permute(2, 0, 1).float().div(255).repeat(n, 1, 1, 1),
        torch.from_numpy(depth).repeat(n, 1, 1, 1),
        torch.from_numpy(camera.K.astype(np.float32)).repeat(n, 1, 1),
        ADVERSE,
        [seed] * n,
    )
    adverse = (shown * 255).round().byte().permute(0, 2, 3, 1).numpy()
    return [image, colorize_depth(depth), *adverse]
