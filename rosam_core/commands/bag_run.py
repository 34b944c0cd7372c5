"""`rosam bag run`: depth and confidence for the cameras of a bag, with the code of the node."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from rosam_core.drives import bag_messages
from rosam_core.drives.bag_cameras import (
    CameraTopic,
    choose_cameras,
    load_camera_file,
)
from rosam_core.drives.bag_reader import BagMessage, BagReader, DamagedBagError
from rosam_core.drives.bag_writer import BagWriter, encode_picture
from rosam_core.drives.whole_folder import refuse_overlap
from rosam_core.engines.registry import default_model_path, load_engine
from rosam_core.runtime.camera_model import camera_for_image, camera_of_info, rectification_of
from rosam_core.runtime.colormap import colorize_depth
from rosam_core.runtime.ground import Mounting
from rosam_core.runtime.image_codec import decode_message
from rosam_core.runtime.pipeline import DepthPipeline
from rosam_core.types import Camera, DepthPrediction

TRANSFORMS = ("tf", "tf_static")
"""Last part of the topics that are copied for their frames."""


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns 0 if at least one frame got depth and the bag was whole."""
    stopped = _watch_signals()
    if args.every < 1:
        raise ValueError(f"--every must be at least 1, got {args.every}")
    if args.fov is not None:
        Camera.from_fov(args.fov, 2, 2)  # a wrong angle is told before anything is read
    if args.camera:
        load_camera_file(args.camera)
    if args.camera_height is not None:
        Mounting(args.camera_height, args.camera_pitch)
    elif args.camera_pitch:
        raise ValueError("--camera-pitch has a meaning with --camera-height alone")
    refuse_overlap(args.bag, args.output)
    with BagReader(args.bag) as bag:
        topics, left_out = choose_cameras(bag, args.topic)
        jobs = make_jobs(topics, fov_deg=args.fov, camera_file=args.camera, every=args.every)
        model = Path(args.model) if args.model else default_model_path()
        if args.camera_height is not None:
            for job in jobs:
                job.mounting = Mounting(args.camera_height, args.camera_pitch)
        engine = load_engine(model, args.engine, args.threads)
        try:
            pipeline = DepthPipeline(engine, output_size=args.output_size)
            with BagWriter(args.output, overwrite=args.force, compress=args.compress) as writer:
                damage = _process(bag, jobs, pipeline, writer, args, stopped)
                done = sum(job.done for job in jobs)
                if not done:
                    reasons = "; ".join(f"{job.topic}: {job.why()}" for job in jobs)
                    raise ValueError(f"no frame got depth, nothing written: {reasons}")
        finally:
            engine.close()
    report = {
        "output": args.output,
        "model": engine.card.name,
        "engine": engine.name,
        "frames": done,
        "skipped": sum(sum(job.skipped.values()) for job in jobs),
        "damage": damage,
        "left_out": left_out,
        "cameras": [job.report() for job in jobs],
    }
    if args.json:
        print(json.dumps(report, indent=2))
    else:
        _print_report(report)
    return 1 if damage else 0


def _watch_signals() -> threading.Event:
    """Makes SIGTERM end the command as Ctrl-C does; returns what a signal sets.

    An exception raised by a signal is lost if it falls into a callback of the interpreter (of a
    weak reference, say, while a module is imported), so the loop looks at the event as well.
    """
    stopped = threading.Event()

    def stop(*_: object) -> None:
        stopped.set()
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, stop)
    return stopped


@dataclasses.dataclass
class CameraJob:
    """What is done for one camera, and how far it is.

    Attributes:
        topic: Topic of the images.
        prefix: What the names of the outputs begin with.
        info_topic: camera_info to follow, or None.
        camera: Latest intrinsics, or None while only the field of view is known.
        fov_deg: Horizontal field of view for a camera without intrinsics.
        source: Where the intrinsics come from, in words.
        info: Message of the latest intrinsics, None if they were stated or none came yet.
        every: Only every n-th frame is used.
        seen: Frames met.
        done: Frames with depth.
        skipped: Frames without, by reason.
        bad_infos: camera_info messages without a usable camera.
        seconds: Time spent in the pipeline.
        valid: Pixels with finite depth.
        pixels: Pixels in all.
        mounting: How it is mounted, None if that is not stated.
    """

    topic: str
    prefix: str
    info_topic: str | None
    camera: Camera | None
    fov_deg: float | None
    source: str
    info: Any = None
    every: int = 1
    seen: int = 0
    done: int = 0
    skipped: Counter[str] = dataclasses.field(default_factory=Counter)
    bad_infos: int = 0
    seconds: float = 0.0
    valid: int = 0
    pixels: int = 0
    mounting: Mounting | None = None

    def camera_for(self, width: int, height: int) -> Camera:
        """Returns the intrinsics of an image of this size; ValueError if they do not fit."""
        if self.camera is None:
            return Camera.from_fov(self.fov_deg or 0.0, width, height)  # make_jobs made sure
        return camera_for_image(self.camera, width, height, self._described())

    def _described(self) -> str:
        return "its camera_info" if self.info_topic else f"the {self.source}"

    def why(self) -> str:
        """Returns why frames were skipped, most frequent first."""
        if not self.skipped:
            return "no frames"
        return ", ".join(f"{count} x {reason}" for reason, count in self.skipped.most_common(3))

    def report(self) -> dict[str, Any]:
        """Returns the figures, JSON-ready."""
        return {
            "topic": self.topic,
            "depth_topic": f"{self.prefix}/depth/image",
            "confidence_topic": f"{self.prefix}/confidence/image",
            "intrinsics": self.source,
            "frames": self.done,
            "skipped": dict(self.skipped),
            "bad_camera_infos": self.bad_infos,
            "finite": round(self.valid / self.pixels, 4) if self.pixels else None,
            "ms_per_frame": round(1e3 * self.seconds / self.done, 2) if self.done else None,
            **({} if self.mounting is None else {"scale": str(self.mounting)}),
        }


def make_jobs(
    topics: Sequence[CameraTopic],
    *,
    fov_deg: float | None = None,
    camera_file: Path | None = None,
    every: int = 1,
) -> list[CameraJob]:
    """Returns one job a camera.

    Args:
        topics: The chosen cameras.
        fov_deg: Horizontal field of view for the cameras without intrinsics [degrees].
        camera_file: Calibration of the cameras without.
        every: Only every n-th frame is used.

    Raises:
        ValueError: A camera has no intrinsics and none were stated, or the file does not tell
            those of its images.
    """
    prefixes = output_prefixes(topics)
    jobs = []
    for topic in topics:
        camera, info, source, fov = topic.camera, topic.info_topic, str(topic.info_topic), None
        if camera is None and fov_deg is None and camera_file is None:
            raise ValueError(
                f"{topic.topic}: {topic.problem}: state its view with --fov DEG (horizontal) "
                f"or its calibration with --camera FILE"
            )
        if camera is None:
            info, fov = None, fov_deg
            camera = load_camera_file(camera_file, topic.topic) if camera_file else None
            source = f"stated field of view of {fov_deg:g} degrees" if fov_deg else "stated file"
        jobs.append(
            CameraJob(topic.topic, prefixes[topic.topic], info, camera, fov, source, every=every)
        )
    return jobs


def output_prefixes(topics: Sequence[CameraTopic]) -> dict[str, str]:
    """Returns what the output names of each topic begin with.

    The namespace of the camera; where several chosen topics share one, their own names.
    """
    prefixes = {topic.topic: topic.namespace for topic in topics}
    for name in ("base", "topic"):
        times = Counter(prefixes.values())
        for topic in topics:
            if times[prefixes[topic.topic]] > 1:
                prefixes[topic.topic] = getattr(topic, name)
    return prefixes


def _process(
    bag: BagReader,
    jobs: Sequence[CameraJob],
    pipeline: DepthPipeline,
    writer: BagWriter,
    args: argparse.Namespace,
    stopped: threading.Event,
) -> str:
    """Runs every job; returns how the bag is damaged, `""` if it is whole."""
    images = {job.topic: job for job in jobs}
    followers: dict[str, list[CameraJob]] = {}
    for job in jobs:
        if job.info_topic:
            followers.setdefault(job.info_topic, []).append(job)
    copied = set()
    if args.copy_input:
        transforms = {name for name in bag.topics if name.rsplit("/", 1)[-1] in TRANSFORMS}
        copied = transforms | {lidar.name for lidar in bag.lidars}
    for name, message in bag.first_messages(list(followers)).items():
        for job in followers[name]:
            with contextlib.suppress(ValueError):  # told when its turn comes
                job.info = message.decode()
    total = sum(bag.topics[name].count for name in images)
    progress = tqdm(total=total, unit="frame", disable=None if not args.json else True)
    with progress:
        try:
            for message in bag.messages({*images, *followers, *copied}):
                if stopped.is_set():
                    raise KeyboardInterrupt
                if message.topic in copied or (message.topic in followers and args.copy_input):
                    with contextlib.suppress(ValueError):  # damaged; only looked at, not used
                        writer.copy(message)
                for job in followers.get(message.topic, ()):
                    try:
                        info = message.decode()
                        job.camera, job.info = camera_of_info(info, job.topic), info
                    except ValueError:  # the last good intrinsics stay in use
                        job.bad_infos += 1
                if message.topic in images:
                    progress.update()
                    _process_image(message, images[message.topic], pipeline, writer, args)
        except DamagedBagError as error:
            return str(error)
    return ""


def _process_image(
    message: BagMessage,
    job: CameraJob,
    pipeline: DepthPipeline,
    writer: BagWriter,
    args: argparse.Namespace,
) -> None:
    job.seen += 1
    if (job.seen - 1) % job.every:
        return
    try:
        decoded = message.decode()
        picture = decode_message(decoded)
        camera = job.camera_for(picture.shape[1], picture.shape[0])
    except ValueError as error:
        job.skipped[str(error)] += 1
        return
    if args.copy_input:
        writer.copy(message)
    started = time.perf_counter()
    prediction = pipeline.predict(picture, camera, job.mounting)
    job.seconds += time.perf_counter() - started
    _write(writer, job, message, decoded.header.frame_id, prediction, args.color)
    job.done += 1


def _write(
    writer: BagWriter,
    job: CameraJob,
    message: BagMessage,
    frame_id: str,
    prediction: DepthPrediction,
    with_color: bool,
) -> None:
    at = (message.stamp_ns, frame_id)
    camera, kept = prediction.camera, None
    if job.info is not None:
        kept = rectification_of(job.info, camera, job.topic)
    info = bag_messages.camera_info(*at, camera, kept)
    for name, values in (("depth", prediction.depth), ("confidence", prediction.confidence)):
        picture = bag_messages.image(*at, np.asarray(values, np.float32))
        writer.write(f"{job.prefix}/{name}/image", picture, message.log_ns)
        writer.write(f"{job.prefix}/{name}/camera_info", info, message.log_ns)
    if with_color:
        data = encode_picture(colorize_depth(prediction.depth))
        topic = f"{job.prefix}/depth/image_color/compressed"
        writer.write(topic, bag_messages.compressed_image(*at, data, "jpeg"), message.log_ns)
    job.valid += int(np.isfinite(prediction.depth).sum())
    job.pixels += prediction.depth.size


def _print_report(report: dict[str, Any]) -> None:
    for camera in report["cameras"]:
        if camera["frames"]:
            print(
                f"{camera['topic']} -> {camera['depth_topic']}: {camera['frames']} frames, "
                f"{camera['ms_per_frame']:.1f} ms each, {100 * camera['finite']:.1f} % of the "
                f"depth finite, intrinsics: {camera['intrinsics']}"
                + (f", {camera['scale']}" if "scale" in camera else "")
            )
        for reason, count in camera["skipped"].items():
            print(f"{camera['topic']}: {count} frames skipped: {reason}", file=sys.stderr)
    for topic in report["left_out"]:
        print(f"{topic} left out, a copy of another transport: --topic {topic} takes it")
    if report["damage"]:
        print(f"{report['damage']}; what was read before is in the output", file=sys.stderr)
    print(f"wrote {report['frames']} frames to {report['output']}")
