"""`rosam bag`: describe a bag, write depth and confidence for every camera of it, or score it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rosam_core.commands.drive_options import (
    add_bag_arguments,
    add_pitch_argument,
    add_view_arguments,
)
from rosam_core.commands.eval import add_score_arguments, run_score

if TYPE_CHECKING:
    from rosam_core.drives.bag_cameras import CameraTopic
    from rosam_core.drives.bag_reader import BagReader


BAG_HELP = "a .bag, .mcap or .db3 file, or the folder of a rosbag2 recording"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares `rosam bag info`, `rosam bag run` and `rosam bag eval`."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    text = "list the cameras of a bag with their camera_info, its lidars and its other topics"
    info = actions.add_parser("info", help=text, description=text)
    info.add_argument("bag", help=BAG_HELP)
    info.add_argument("--json", action="store_true", help="print one JSON object")
    info.set_defaults(act=run_info)
    text = "write depth and confidence for the cameras of a bag"
    run_parser = actions.add_parser("run", help=text, description=text)
    _add_run_arguments(run_parser)
    run_parser.set_defaults(act=_run_run)
    text = "score the depth of every camera of a bag against its lidar, as `rosam eval` does"
    more = (
        "Poses come from /tf and /tf_static, conditions from a YAML file of time ranges "
        "beside the bag: NAME.mcap.conditions.yaml, or conditions.yaml in the folder "
        "of a rosbag2 recording."
    )
    scored = actions.add_parser("eval", help=text, description=f"{text}. {more}")
    scored.add_argument("drive", metavar="bag", type=Path, help=BAG_HELP)
    add_bag_arguments(scored)
    add_score_arguments(scored)
    scored.set_defaults(act=run_score, kind="bag")


def _add_run_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("bag", help=BAG_HELP)
    add(
        "-o",
        "--output",
        required=True,
        metavar="OUT",
        help="bag to write: a name ending in .mcap makes one file, in .db3 or .bag the older "
        "formats, any other a rosbag2 folder",
    )
    add("--topic", action="append", default=[], metavar="T", help="only this camera; repeatable")
    add("--model", metavar="M", help="ONNX model; default: the packaged light student")
    add("--engine", default="auto", help="what runs the network (default: auto)")
    add("--threads", type=int, default=0, metavar="N", help="of the engine; 0 = one per core")
    add_view_arguments(parser)
    add(
        "--camera-height",
        type=float,
        metavar="M",
        help="of the cameras above the ground [m]: depth gets the scale at which the ground is so "
        "far below",
    )
    add_pitch_argument(parser)
    add("--every", type=int, default=1, metavar="N", help="only every N-th frame of each camera")
    add(
        "--output-size",
        choices=("input", "network"),
        default="input",
        help="size of depth and confidence (default: input)",
    )
    add("--color", action="store_true", help="also write depth as a coloured JPEG topic")
    add(
        "--copy-input",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="copy the images used, their camera_info, tf and lidar, so that the output opens "
        "alone (default: yes)",
    )
    add("--compress", action="store_true", help="compress the output with zstd (MCAP only)")
    add("--force", action="store_true", help="replace an existing output")
    add("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Runs the chosen action; returns its exit code."""
    return int(args.act(args))


def run_info(args: argparse.Namespace) -> int:
    """Prints what is in a bag; one without a camera is an error."""
    from rosam_core.drives.bag_reader import BagReader

    with BagReader(args.bag) as bag:
        description = describe(bag)
    print(json.dumps(description, indent=2) if args.json else _as_text(description))
    return 0


def _run_run(args: argparse.Namespace) -> int:
    from rosam_core.commands import bag_run

    return bag_run.run(args)


def describe(bag: BagReader) -> dict[str, Any]:
    """Returns what is in a bag as JSON-ready values."""
    cameras, others = bag.images
    return {
        "path": str(bag.path),
        "format": bag.format,
        "duration_s": bag.duration_s,
        "start_ns": bag.start_ns,
        "messages": bag.message_count,
        "cameras": [_describe_camera(camera, bag.duration_s) for camera in cameras],
        "lidars": [{"topic": topic.name, "count": topic.count} for topic in bag.lidars],
        "other_images": [vars(other) for other in others],
        "topics": [vars(topic) for _, topic in sorted(bag.topics.items())],
    }


def _describe_camera(camera: CameraTopic, duration_s: float) -> dict[str, Any]:
    found = camera.camera
    return {
        "topic": camera.topic,
        "msgtype": camera.msgtype,
        "count": camera.count,
        "rate_hz": round((camera.count - 1) / duration_s, 2)
        if camera.count > 1 and duration_s
        else None,
        "encoding": camera.encoding,
        "width": camera.width,
        "height": camera.height,
        "frame_id": camera.frame_id,
        "camera_info": camera.info_topic,
        "fov_x_deg": round(found.fov_x_deg, 1) if found else None,
        "fx": found.fx if found else None,
        "fy": found.fy if found else None,
        "problem": camera.problem,
    }


def _as_text(description: dict[str, Any]) -> str:
    d = description
    lines = [f"{d['path']}: {d['format']}, {d['duration_s']:.3f} s, {d['messages']} messages"]
    for camera in d["cameras"]:
        rate = f", {camera['rate_hz']:g} Hz" if camera["rate_hz"] else ""
        lines.append(
            f"camera  {camera['topic']}  {camera['count']} x {camera['encoding']} "
            f"{camera['width']}x{camera['height']}{rate}"
        )
        if camera["fov_x_deg"] is not None:
            view = f"{camera['fov_x_deg']} degrees wide, fx {camera['fx']:.1f} px"
            lines.append(f"        {camera['camera_info']}: {view}")
        if camera["problem"]:
            need = (
                "" if camera["fov_x_deg"] else "; `rosam bag run` needs --fov or --camera for it"
            )
            lines.append(f"        {camera['problem']}{need}")
    if not d["cameras"]:
        lines.append("no camera topic (Image or CompressedImage)")
    lines += [f"lidar   {lidar['topic']}  {lidar['count']} clouds" for lidar in d["lidars"]]
    lines += [f"not a camera: {other['topic']} {other['reason']}" for other in d["other_images"]]
    shown = {item["topic"] for key in ("cameras", "lidars", "other_images") for item in d[key]}
    shown |= {camera["camera_info"] for camera in d["cameras"]}
    lines += [
        f"topic   {topic['name']}  {topic['count']} x {topic['msgtype']}"
        for topic in d["topics"]
        if topic["name"] not in shown
    ]
    return "\n".join(lines)
