"""`rosam demo`: a drive through the real node on the real ROS graph, scored, with a report."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

CONDITIONS = ("day-clear", "day-rain", "night")
SIZE = (576, 320)
FPS = 10.0
FOV_DEG = 68.0
SEED = 900_005
"""A camera that looks ahead in traffic; worlds from 900000 on are never trained on."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of the command."""
    add = parser.add_argument
    add("--out", type=Path, default=Path("out/demo"), help="folder of the results")
    add("--bag", type=Path, help="use this ROS 1 or ROS 2 bag instead of a synthetic drive")
    add("--topic", default="", help="camera topic of the bag; the first one by default")
    add("--fov", type=float, help="horizontal field of view of a camera without camera_info")
    add("--seconds", type=float, default=20.0, help="length of the synthetic drive")
    add("--seed", type=int, default=SEED, help="of the synthetic world")
    add("--model", type=Path, help="ONNX model; the packaged one by default")
    add("--threads", type=int, default=0, help="of the engine; 0 = one per core")
    add("--json", action="store_true", help="print the figures as JSON")


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns 0 if the node published depth and ended cleanly."""
    from rosam_core.engines.registry import default_model_path
    from rosam_core.evaluation.live import check_ros, run_live
    from rosam_core.types import ModelCard, card_path

    check_ros()  # before minutes are spent on rendering
    started_s = time.monotonic()

    def tell(text: str) -> None:
        print(f"[{time.monotonic() - started_s:5.1f} s] {text}", file=sys.stderr, flush=True)

    model = args.model or default_model_path()
    card = ModelCard.load(card_path(model))
    args.out.mkdir(parents=True, exist_ok=True)
    if args.bag:
        source, schedule, fps = args.bag, "", None
    else:
        if not args.seconds >= 1:
            raise ValueError(f"--seconds must be at least 1, got {args.seconds:g}")
        frames = round(args.seconds * FPS)
        source = args.out / f"drive_{args.seed}_{frames}"
        tell(f"rendering {frames} frames: {' -> '.join(CONDITIONS)}")
        render(source, args.seed, frames)
        schedule, fps = ",".join(CONDITIONS), FPS
    drive, topics = open_source(source, args.topic, args.fov)
    tell(f"starting the node, replaying {len(drive)} frames of {topics.image} in real time")
    with tempfile.TemporaryDirectory(prefix="run.", dir=args.out) as folder:
        live = run_live(
            source,
            topics,
            Path(folder),
            model=model,
            conditions=schedule,
            threads=args.threads,
            fov_deg=args.fov,
            progress=tell,
        )
        tell(f"{live.depths} depth images came back; scoring and drawing")
        from rosam_core.evaluation.demo_report import write_demo

        results = write_demo(drive, live, topics, card, args.out, fps or frame_rate(drive))
    table = results.pop("table")
    if args.json:
        from rosam_core.evaluation.scoring import finite

        print(json.dumps(finite(results), indent=2))
    else:
        print(f"\n{card.name} on {drive.name}, metric depth, no scaling\n{table}")
        if not results["conditions"]:
            print("no exact depth and no lidar in this recording: nothing to score against")
        print(f"\nopen {args.out / 'report.html'}")
    tell("done")
    return 0 if live.node_status == 0 else 1


def open_source(source: Path, topic: str, fov_deg: float | None) -> tuple[Any, Any]:
    """Opens what is replayed, as a drive and as the topics it is replayed on.

    Args:
        source: Bag or synthetic drive.
        topic: Camera topic of the bag; the first one if empty.
        fov_deg: Field of view of a camera without camera_info [degrees].

    Returns:
        The drive and its `LiveTopics`.

    Raises:
        ValueError: The camera has no intrinsics and no field of view was given.
    """
    from rosam_core.drives.opening import open_drives
    from rosam_core.drives.playback import open_playback
    from rosam_core.drives.rosbag import BagReader, RosbagDrive, choose_cameras
    from rosam_core.evaluation.live import LiveTopics
    from rosam_core.types import Camera

    playback = open_playback(source, image_topic=topic)
    image = playback.image_topic
    topics = LiveTopics(image, playback.topics[image], playback.info_topic)
    if (source / "drive.json").is_file():
        return open_drives(source, "synthetic")[0], topics
    camera = None
    with BagReader(source) as bag:
        chosen = choose_cameras(bag, [image])[0][0]
    if fov_deg is not None:
        camera = Camera.from_fov(fov_deg, chosen.width, chosen.height)
    elif chosen.camera is None:
        raise ValueError(f"{image}: {chosen.problem}: state its field of view with --fov")
    return RosbagDrive(source, image, camera), topics


def frame_rate(drive: Any) -> float:
    """Returns the frames a second of a bag's camera, from its stamps.

    Args:
        drive: A `RosbagDrive`.
    """
    span_s = (int(drive.stamps_ns[-1]) - int(drive.stamps_ns[0])) / 1e9
    return min(60.0, max(1.0, (len(drive) - 1) / span_s)) if span_s > 0 else 1.0


def render(folder: Path, seed: int, frames: int) -> None:
    """Renders the drive of the demo, in as many processes as there are cores.

    Args:
        folder: Where it goes; frames that are there already are kept.
        seed: Of the world.
        frames: Number of frames, split evenly over `CONDITIONS`.
    """
    from tqdm import tqdm

    if (folder / "drive.json").is_file():
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    workers = max(1, min(cores or 1, frames))
    context = multiprocessing.get_context("spawn")
    with (
        context.Pool(workers, _single_thread) as pool,
        tqdm(total=frames, desc="render", unit="frame", disable=None, file=sys.stderr) as bar,
    ):
        # A few frames a job, so that the bar moves; interleaved, as night costs more than day.
        parts = max(workers, frames // 5)
        jobs = [(folder, seed, frames, range(part, frames, parts)) for part in range(parts)]
        for done in pool.imap_unordered(_render, jobs):
            bar.update(done)
        pool.apply(_render, ((folder, seed, frames, None),))


def _single_thread() -> None:
    import signal

    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent stops the pool
    torch.set_num_threads(1)


def _render(job: tuple[Path, int, int, Sequence[int] | None]) -> int:
    from rosam_core.drives.playback import split_conditions
    from rosam_core.drives.synthetic.writer import DriveRecipe, write_drive

    folder, seed, frames, indices = job
    recipe = DriveRecipe(seed, frames, CONDITIONS, SIZE, FPS, FOV_DEG)
    write_drive(folder, recipe, schedule=split_conditions(CONDITIONS, frames), indices=indices)
    return len(indices or ())
