"""`rosam masks`: object priors for training, as one region map an image."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rosam_core.commands.drive_options import (
    add_source_arguments,
    add_view_arguments,
    drive_options,
)
from rosam_core.commands.outputs import check_picture
from rosam_core.priors.source import SOURCES, source_class

if TYPE_CHECKING:
    from rosam_core.priors.index import MapJob

ACTIONS = ("preview", "verify")
SHOWN = 5
"""So many frames that cannot be read are named."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of making maps, and of the actions that look at them."""
    parser.usage = (
        "rosam masks DRIVE... -o OUT --source SOURCE [key=value ...]\n"
        "       rosam masks preview DRIVE... -o OUT [--sheet FILE] [--frames N]\n"
        "       rosam masks verify DRIVE... -o OUT [--json]"
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = (
        "Makes one region map an image, OUT/<drive>/<camera>/<stamp>.png; the same command\n"
        "resumes, and under torchrun every process takes its share. `preview` draws maps over\n"
        "their images, `verify` names what is missing, damaged or stale."
    )
    parser.epilog = "settings, as key=value (see docs/masks.md):\n" + "\n".join(_settings())
    add = parser.add_argument
    add("drives", nargs="+", metavar="DRIVE", help="anything `rosam eval` reads; docs/drives.md")
    add("-o", "--output", type=Path, required=True, metavar="OUT", help="folder of the maps")
    make = parser.add_argument_group("making")
    make.add_argument(
        "--source",
        choices=SOURCES,
        help="sam: Segment-Anything; superpixels: no weights needed; instances: synthetic drives",
    )
    make.add_argument("--checkpoint", type=Path, metavar="FILE", help="weights of sam")
    make.add_argument(
        "--device", metavar="NAME", help="torch device of sam (default: cuda if there, else cpu)"
    )
    make.add_argument(
        "--points-per-batch", type=int, metavar="N", help="of sam: more needs more memory (64)"
    )
    make.add_argument(
        "--recheck",
        action="store_true",
        help="also look at maps that are there; make damaged and stale ones again",
    )
    look = parser.add_argument_group("preview")
    look.add_argument("--sheet", type=Path, metavar="FILE", help="picture (OUT/preview.png)")
    look.add_argument("--frames", type=int, metavar="N", help="images on it (12)")
    add_source_arguments(parser)
    add_view_arguments(parser)
    add(
        "--condition",
        metavar="NAME",
        help="rendering of synthetic drives to look at (default: day-clear, else the first)",
    )
    add("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(overrides=[])


def _settings() -> list[str]:
    lines = []
    for name in SOURCES:
        fields = dataclasses.fields(source_class(name).Settings)
        words = [f"{field.name}={_short(field.default)}" for field in fields]
        line = f"  {name}:"
        for word in words:
            if len(line) + len(word) > 90:
                lines.append(line)
                line = "   "
            line += f" {word}"
        lines.append(line)
    return lines


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def run(args: argparse.Namespace) -> int:
    """Runs the action; returns its exit code."""
    words = list(args.drives)
    action = words.pop(0) if words[0] in ACTIONS else "make"
    paths = [Path(word) for word in words if "=" not in word or Path(word).exists()]
    overrides = [word for word in words if Path(word) not in paths] + args.overrides
    if not paths:
        raise ValueError(f"name a drive: rosam masks {'' if action == 'make' else action} DRIVE")
    _refuse_idle_options(args, action, overrides)
    jobs = _jobs(args, paths)
    if action == "verify":
        return _verify(args, jobs)
    if action == "preview":
        return _preview(args, jobs)
    return _make(args, jobs, overrides)


def _refuse_idle_options(args: argparse.Namespace, action: str, overrides: list[str]) -> None:
    """Refuses options of another action: they would be ignored silently."""
    making = ("source", "checkpoint", "device", "points_per_batch", "recheck")
    of_others = {
        "make": ("sheet", "frames"),
        "preview": (*making, "json"),
        "verify": (*making, "sheet", "frames"),
    }[action]
    stated = [f"--{name.replace('_', '-')}" for name in of_others if getattr(args, name)]
    if action != "make":
        stated += overrides
    if stated:
        raise ValueError(f"{', '.join(stated)} has no meaning for rosam masks {action}")


def _jobs(args: argparse.Namespace, paths: Sequence[Path]) -> list[MapJob]:
    from rosam_core.drives.opening import open_drives
    from rosam_core.priors.index import one_rendering, plan

    conditions = [args.condition] if args.condition else []
    options = drive_options(args)
    drives = [d for path in paths for d in open_drives(path, args.kind, conditions, options)]
    return plan(one_rendering(drives), args.output)


def _make(args: argparse.Namespace, jobs: Sequence[MapJob], overrides: list[str]) -> int:
    from tqdm import tqdm

    from rosam_core.priors.making import Tally, make_maps, shard_of
    from rosam_core.priors.source import build_source

    if args.source is None:
        raise ValueError(f"say where regions come from: --source {'|'.join(SOURCES)}")
    if args.device is not None and args.source != "sam":
        raise ValueError(f"--device has no meaning for {args.source}")
    rank, world = shard_of()
    source = build_source(
        args.source,
        overrides,
        checkpoint=args.checkpoint,
        device=_device(args) if args.source == "sam" else "cpu",
        points_per_batch=args.points_per_batch,
    )
    tally, own = Tally(), len(jobs[rank::world])
    who = f"rosam masks: process {rank} of {world}: " if world > 1 else ""
    hidden = True if rank else None  # None: only on a terminal
    bar = tqdm(total=own, unit="image", disable=hidden, file=sys.stderr)
    with bar:
        try:
            make_maps(
                jobs,
                source,
                tally,
                shard=(rank, world),
                recheck=args.recheck,
                progress=bar.update,
            )
        except KeyboardInterrupt:
            done = tally.made + tally.kept
            print(
                f"{who or 'rosam masks: '}stopped after {done} of {own} images; the same command "
                "resumes",
                file=sys.stderr,
            )
            return 1
    _report(args, tally, who)
    # torchrun kills every process when one fails, and again at each new start.
    return 1 if tally.unreadable and world == 1 else 0


def _report(args: argparse.Namespace, tally: Any, who: str) -> None:
    if args.json:
        print(json.dumps({"output": str(args.output), **dataclasses.asdict(tally)}))
    else:
        average = f", {tally.regions / tally.made:.0f} regions each" if tally.made else ""
        there = f", {tally.kept} were there" if tally.kept else ""
        left = f"; {tally.unfinished} drives are not finished" if tally.unfinished else ""
        print(f"{who}{args.output}: {tally.made} maps made{average}{there}{left}")
    for name, why in list(tally.unreadable.items())[:SHOWN]:
        print(f"rosam masks: no map of {name}: {why}", file=sys.stderr)
    more = len(tally.unreadable) - SHOWN
    if more > 0:
        print(f"rosam masks: nor of {more} other frames", file=sys.stderr)


def _device(args: argparse.Namespace) -> str:
    """Returns the torch device of this process, one GPU each under torchrun."""
    if args.device is not None and args.device != "cuda":
        return str(args.device)
    try:
        import torch
    except ImportError:
        return "cpu"  # the source says what is missing
    if args.device is None and not torch.cuda.is_available():
        print("rosam masks: no GPU found, Segment-Anything runs on the CPU", file=sys.stderr)
        return "cpu"
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}"


def _verify(args: argparse.Namespace, jobs: Sequence[MapJob]) -> int:
    from tqdm import tqdm

    from rosam_core.priors.checking import verify

    with tqdm(total=len(jobs), unit="image", disable=None, file=sys.stderr, leave=False) as bar:
        faults = [(str(path), fault) for path, fault in verify(jobs, bar.update)]
    if args.json:
        found = [{"path": path, "fault": fault} for path, fault in faults]
        print(json.dumps({"output": str(args.output), "images": len(jobs), "faults": found}))
    else:
        for path, fault in faults:
            print(f"{path}: {fault}")
        print(f"{args.output}: {len(jobs)} images, {len(faults)} faults")
    return 1 if faults else 0


def _preview(args: argparse.Namespace, jobs: Sequence[MapJob]) -> int:
    from rosam_core.evaluation.region_sheet import region_sheet
    from rosam_core.evaluation.sheet import save_picture

    path = args.sheet or args.output / "preview.png"
    check_picture("--sheet", path)
    frames = 12 if args.frames is None else args.frames
    if frames < 1:
        raise ValueError(f"--frames must be at least 1, got {frames}")
    save_picture(path, region_sheet(jobs, frames))
    print(path)
    return 0
