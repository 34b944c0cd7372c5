"""`rosam synth`: render synthetic drives with exact depth."""

from __future__ import annotations

import argparse
import concurrent.futures
import multiprocessing
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rosam_core.types import CONDITIONS

if TYPE_CHECKING:
    from rosam_core.drives.synthetic.recipe import DriveRecipe

RENDERED = tuple(name for name in CONDITIONS if name != "unknown")
WORLDS = ("any", "source", "target", "cluttered")
POLL_S = 0.3
STOP = -1  # tells the workers to render no more frames


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of the command."""
    add = parser.add_argument
    some, any_number = _integer(1), _integer(0)
    add("--out", type=Path, required=True, help="folder for the drives; run again to resume")
    add("--drives", type=some, default=1, help="number of drives, each in a world of its own")
    add("--frames", type=some, default=100, help="frames in each drive")
    add(
        "--conditions",
        type=_conditions,
        default=RENDERED,
        help=f"comma-separated conditions (default: all, {','.join(RENDERED)})",
    )
    add(
        "--conditions-per-drive",
        type=any_number,
        default=0,
        help="render only so many of them in each drive, drawn at random (0 = all)",
    )
    add(
        "--in-turn",
        action="store_true",
        help="one condition a frame: each drive passes through the conditions in equal parts",
    )
    add("--seed", type=any_number, default=0, help="of the first drive; the next ones count on")
    add("--size", type=_size, default=(576, 320), help="width x height in pixels, as in 576x320")
    add("--fps", type=_number(0.1, 1000), default=10.0, help="frames a second")
    add(
        "--fov",
        type=_number(5, 170),
        default=None,
        help="horizontal field of view in degrees (default: random, 40-110)",
    )
    add(
        "--camera-height",
        type=_number(0.1, 20),
        metavar="M",
        help="of the camera above the road in metres (default: random, 0.9-1.95)",
    )
    add(
        "--camera-pitch",
        type=_number(-45, 45),
        metavar="DEG",
        help="how far down the camera looks in degrees (default: random, a few)",
    )
    add("--png", action="store_true", help="store images losslessly instead of as JPEG")
    add("--lidar", action="store_true", help="simulate a 32-beam lidar")
    add(
        "--supersample",
        type=some,
        default=1,
        help="render images at this multiple of the size and average",
    )
    add(
        "--world",
        choices=WORLDS,
        default=WORLDS[0],
        help="style: streets, colours, walls, cameras, traffic, weather and noise of source or of "
        "target worlds, which adaptation goes from and to, or of all (any), or of all with "
        "things of no kind besides (cluttered)",
    )
    add("--workers", type=any_number, default=0, help="processes (0 = one a core)")
    add("--device", default="cpu", help="torch device to render on, for example cuda")


def _integer(low: int) -> Callable[[str], int]:
    def integer(text: str) -> int:
        value = int(text)  # argparse turns the ValueError into its message
        if value < low:
            raise argparse.ArgumentTypeError(f"must be at least {low}, got {value}")
        return value

    return integer


def _number(low: float, high: float) -> Callable[[str], float]:
    def number(text: str) -> float:
        value = float(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"must be between {low} and {high}, got {text}")
        return value

    return number


def _size(text: str) -> tuple[int, int]:
    try:
        width, height = (int(value) for value in text.lower().split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"must look like 576x320, got '{text}'") from None
    if min(width, height) < 32:
        raise argparse.ArgumentTypeError(f"must be at least 32x32, got {text}")
    return width, height


def _conditions(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    unknown = sorted(set(names) - set(RENDERED))
    if unknown or not names:
        found = f"unknown conditions {', '.join(unknown)}" if unknown else "no condition"
        raise argparse.ArgumentTypeError(f"{found}: choose from {', '.join(RENDERED)}")
    return names


def _recipes(args: argparse.Namespace) -> dict[Path, DriveRecipe]:
    """Returns what to render, by folder."""
    from rosam_core.drives.synthetic.recipe import DriveRecipe

    recipes = {}
    for seed in range(args.seed, args.seed + args.drives):
        chosen = args.conditions
        if args.conditions_per_drive:
            rng = np.random.default_rng([seed, 5])
            count = min(args.conditions_per_drive, len(chosen))
            chosen = tuple(str(name) for name in rng.choice(np.array(chosen), count, False))
        recipes[args.out / f"drive_{seed:06d}"] = DriveRecipe(
            seed,
            args.frames,
            chosen,
            args.size,
            args.fps,
            args.fov,
            ".png" if args.png else ".jpg",
            args.lidar,
            args.supersample,
            args.world,
            args.camera_height,
            args.camera_pitch,
        )
    return recipes


Job = tuple[
    "Path", "DriveRecipe", bool, str, "Sequence[int] | None", bool
]  # arguments of `_render`
_PROGRESS: Any = None  # in a worker: frames done by all of them, or `STOP`


class _StoppedError(Exception):
    """The parent wants no more frames."""


def _start(progress: Any) -> None:
    """Prepares a worker."""
    import signal
    import threading

    import torch

    def leave_with_parent() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()  # returns when the parent is gone, even if it was killed
            os._exit(1)

    global _PROGRESS
    _PROGRESS = progress
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent stops the workers
    threading.Thread(target=leave_with_parent, daemon=True).start()
    torch.set_num_threads(1)


def _count(done: int) -> None:
    with _PROGRESS.get_lock():
        if _PROGRESS.value == STOP:
            raise _StoppedError
        _PROGRESS.value += done


def _render(
    folder: Path,
    recipe: DriveRecipe,
    in_turn: bool,
    device: str,
    indices: Sequence[int] | None,
    counts: bool,
) -> None:
    from rosam_core.drives.synthetic.writer import write_drive

    progress = _count if counts else lambda done: None
    write_drive(folder, recipe, progress, _schedule(recipe, in_turn), device, indices)


def _schedule(recipe: DriveRecipe, in_turn: bool) -> list[str] | None:
    """Returns the condition of every frame, or None for all conditions in each."""
    from rosam_core.drives.playback import split_conditions

    return split_conditions(recipe.conditions, recipe.frames) if in_turn else None


def _plan(args: argparse.Namespace, recipes: dict[Path, DriveRecipe]) -> list[list[Job]]:
    """Returns rounds of jobs; a round begins when the one before has ended."""
    workers = args.workers or os.cpu_count() or 1
    parts = min(args.frames, -(-workers // len(recipes)))
    how = (args.in_turn, args.device)
    if parts == 1:
        return [[(folder, recipe, *how, None, True) for folder, recipe in recipes.items()]]
    # There are fewer drives than workers, so several share one. The second round finds every
    # frame rendered and writes drive.json.
    shared: list[Job] = [
        (folder, recipe, *how, range(part, args.frames, parts), True)
        for folder, recipe in recipes.items()
        for part in range(parts)
    ]
    last: list[Job] = [(folder, recipe, *how, None, False) for folder, recipe in recipes.items()]
    return [shared, last]


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    import torch  # noqa: F401 - missing, it is to be told before any folder is made
    from tqdm import tqdm

    recipes = _recipes(args)
    for folder, recipe in recipes.items():
        folder.mkdir(parents=True, exist_ok=True)
        recipe.claim(folder, _schedule(recipe, args.in_turn))
    rounds = _plan(args, recipes)
    total = args.drives * args.frames
    context = multiprocessing.get_context("spawn")
    progress = context.Value("l", 0)
    workers = min(args.workers or os.cpu_count() or 1, max(len(jobs) for jobs in rounds))
    pool = concurrent.futures.ProcessPoolExecutor(workers, context, _start, (progress,))
    with pool, tqdm(total=total, unit="frame", disable=None) as bar:
        try:
            for jobs in rounds:
                waiting = {pool.submit(_render, *job) for job in jobs}
                while waiting:
                    done, waiting = concurrent.futures.wait(waiting, POLL_S, "FIRST_COMPLETED")
                    bar.update(progress.value - bar.n)
                    for job in done:
                        job.result()
        except BrokenProcessPool:
            raise ValueError(
                "a worker process died, perhaps for lack of memory: the same command resumes, "
                "with fewer --workers if need be"
            ) from None
        except KeyboardInterrupt:
            print(
                f"rosam synth: stopped after {progress.value} of {total} frames; the same "
                "command resumes",
                file=sys.stderr,
            )
            return 1
        finally:
            progress.value = STOP
            pool.shutdown(cancel_futures=True)
    print(f"{args.drives} drives, {total} frames in {args.out}")
    return 0
