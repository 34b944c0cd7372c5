"""`rosam synth`: render synthetic drives with exact depth."""

from __future__ import annotations

import argparse
import multiprocessing
import os
from pathlib import Path
from typing import Any

import numpy as np


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of the command."""
    add = parser.add_argument
    add("--out", type=Path, required=True, help="folder for the drives; run again to resume")
    add("--drives", type=int, default=1, help="number of drives, each in a world of its own")
    add("--frames", type=int, default=100, help="frames in each drive")
    add("--conditions", default="day-clear,night,day-rain,fog", help="comma-separated conditions")
    add(
        "--conditions-per-drive",
        type=int,
        default=0,
        help="render only so many of them in each drive, drawn at random (0 = all)",
    )
    add("--seed", type=int, default=0, help="of the first drive; the next ones count on")
    add("--size", default="576x320", help="width x height in pixels")
    add("--fps", type=float, default=10.0, help="frames a second")
    add(
        "--fov",
        type=float,
        default=None,
        help="horizontal field of view in degrees (default: random, 40-95)",
    )
    add("--png", action="store_true", help="store images losslessly instead of as JPEG")
    add("--lidar", action="store_true", help="simulate a 32-beam lidar")
    add(
        "--supersample",
        type=int,
        default=1,
        help="render at this multiple of the size and average",
    )
    add("--workers", type=int, default=0, help="processes (default: one a core)")
    add("--device", default="cpu", help="torch device to render on, for example cuda")


def _plan(args: argparse.Namespace) -> list[dict[str, Any]]:
    from rosam_core.drives.synthetic.drive import known_conditions
    from rosam_core.drives.synthetic.writer import DriveRecipe

    try:
        width, height = (int(v) for v in args.size.lower().split("x"))
    except ValueError:
        raise ValueError(f"--size must look like 576x320, got '{args.size}'") from None
    names = tuple(name.strip() for name in args.conditions.split(",") if name.strip())
    unknown = sorted(set(names) - set(known_conditions()))
    if unknown or not names:
        raise ValueError(
            f"unknown conditions {unknown}: choose from {', '.join(known_conditions())}"
        )
    for name in ("drives", "frames", "supersample"):
        if getattr(args, name) < 1:
            raise ValueError(f"--{name} must be at least 1, got {getattr(args, name)}")
    if args.fov is not None and not 5 < args.fov < 170:
        raise ValueError(f"--fov must be between 5 and 170 degrees, got {args.fov}")
    if args.fps <= 0 or min(width, height) < 32:
        raise ValueError("--fps must be positive and --size at least 32x32")
    jobs = []
    for number in range(args.drives):
        seed = args.seed + number
        chosen = names
        if args.conditions_per_drive:
            rng = np.random.default_rng([seed, 5])
            count = min(args.conditions_per_drive, len(names))
            chosen = tuple(str(v) for v in rng.choice(np.array(names), count, replace=False))
        recipe = DriveRecipe(
            seed,
            args.frames,
            chosen,
            (width, height),
            args.fps,
            args.fov,
            ".png" if args.png else ".jpg",
            args.lidar,
            args.supersample,
        )
        jobs.append(
            {"folder": args.out / f"drive_{seed:06d}", "recipe": recipe, "device": args.device}
        )
    return jobs


_DONE: Any = None


def _start(counter: Any) -> None:
    import signal

    import torch

    global _DONE
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent stops the pool
    torch.set_num_threads(1)
    _DONE = counter


def _count(done: int) -> None:
    with _DONE.get_lock():
        _DONE.value += done


def _render(job: dict[str, Any]) -> None:
    from rosam_core.drives.synthetic.writer import write_drive

    write_drive(progress=_count, **job)


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    from tqdm import tqdm

    jobs = _plan(args)
    workers = args.workers or min(len(jobs), os.cpu_count() or 1)
    context = multiprocessing.get_context("spawn")
    counter = context.Value("l", 0)
    total = args.drives * args.frames
    with (
        context.Pool(workers, _start, (counter,)) as pool,
        tqdm(total=total, unit="frame", disable=None) as bar,
    ):
        results = [pool.apply_async(_render, (job,)) for job in jobs]
        try:
            while not all(result.ready() for result in results):
                for result in results:
                    if result.ready():
                        result.get()
                bar.update(counter.value - bar.n)
                next(r for r in results if not r.ready()).wait(0.3)
        except StopIteration:
            pass
        except KeyboardInterrupt:
            pool.terminate()
            print(f"stopped after {counter.value} of {total} frames; the same command resumes")
            return 1
        for result in results:
            result.get()
        bar.update(counter.value - bar.n)
    print(f"{args.drives} drives, {total} frames in {args.out}")
    return 0
