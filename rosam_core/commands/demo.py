"""`rosam demo`: a drive through the real node on the real ROS graph, scored, with a report."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

CONDITIONS = ("day-clear", "day-rain", "night")
SIZE = (576, 320)
FPS = 10.0
FOV_DEG = 68.0
SEED = 960_010
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
    _check_installed("matplotlib", *(() if args.bag else ("torch",)))
    if threading.current_thread() is threading.main_thread():
        # As Ctrl-C: the node, the replay and the recorder must not outlive their parent.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    started_s = time.monotonic()

    def tell(text: str) -> None:
        print(f"[{time.monotonic() - started_s:5.1f} s] {text}", file=sys.stderr, flush=True)

    model = args.model or default_model_path()
    card = ModelCard.load(card_path(model))
    args.out.mkdir(parents=True, exist_ok=True)
    if args.bag:
        source, schedule, fps = args.bag, "", None
    else:
        if not 1 <= args.seconds <= 3600:
            raise ValueError(f"--seconds must be from 1 to 3600, got {args.seconds:g}")
        frames = round(args.seconds * FPS)
        tell(f"rendering {frames} frames: {' -> '.join(CONDITIONS)}")
        source = render(args.out, args.seed, frames)
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


def _check_installed(*modules: str) -> None:
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise FileNotFoundError(
            f"the demo draws and renders with {', '.join(missing)}, not installed here: "
            "pip install -c constraints.txt '.[ros,train]'"
        )


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


def render(out: Path, seed: int, frames: int) -> Path:
    """Renders the drive of the demo; what is rendered already is kept.

    Args:
        out: Folder of the results.
        seed: Of the world.
        frames: Number of frames, split evenly over `CONDITIONS`.

    Returns:
        The folder of the drive.

    Raises:
        ValueError: It could not be rendered.
    """
    from rosam_core.cli import main

    folder = out / f"drive_{frames}"
    command = ["synth", "--out", str(folder), "--frames", str(frames), "--seed", str(seed)]
    command += ["--conditions", ",".join(CONDITIONS), "--in-turn", "--fov", str(FOV_DEG)]
    command += ["--size", "{}x{}".format(*SIZE), "--fps", str(FPS)]
    with contextlib.redirect_stdout(sys.stderr):
        status = main(command)
    if status != 0:
        raise ValueError("the drive was not rendered; see above")
    return folder / f"drive_{seed:06d}"
