"""Claim: `depth_node` changes engines at 30 Hz without losing or repeating a stamp.

    python benchmarks/engine_swap.py [--model M] [--seconds 60] [--engines onnx-cpu,openvino]

Publishes images at a steady rate and sets the parameter `engine` to the next of the engines every
`--every` seconds. Prints JSON: what became of every stamp, and latency while an engine is being
loaded (from the request until a second after the new one runs) beside latency otherwise; exit
status 1 if a stamp was lost, repeated or foreign, or an engine did not come.
"""

from __future__ import annotations

import argparse
import array
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
QUEUE = 10
"""Of the publisher and the subscriber: they must not lose what is counted against the node."""
SETTLED_S = 1.0


def main() -> int:
    """Runs the node, feeds it and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="", help="ONNX model; the packaged one if not given")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--every", type=float, default=10.0, help="seconds between changes")
    parser.add_argument("--engines", default="onnx-cpu,openvino", help="taken in turns")
    parser.add_argument("--rate", type=float, default=30.0, help="images per second")
    parser.add_argument("--size", default="640x384", help="size of the images, WIDTHxHEIGHT")
    parser.add_argument("--threads", type=int, default=2, help="threads of the engine")
    args = parser.parse_args()
    profile = str(ROOT / "config" / "fastdds_shm.xml")
    os.environ.setdefault("FASTRTPS_DEFAULT_PROFILES_FILE", profile)
    os.environ.setdefault("ROS_LOCALHOST_ONLY", "1")
    os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
    engines = args.engines.split(",")
    command = [sys.executable, "-m", "rosam_depth_ros.depth_node", "--ros-args", "-r"]
    command += ["__ns:=/swap", "-p", f"threads:={args.threads}", "-p", f"engine:={engines[0]}"]
    if args.model:
        command += ["-p", f"model:={args.model}"]
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        report = swap(args, engines)
    finally:
        process.send_signal(signal.SIGINT)
        status = process.wait(timeout=20)
    report["node_exit_status"] = status
    wrong = report["lost"] or report["repeated"] or report["foreign"] or report["refused"]
    report["met"] = not wrong and status == 0 and report["changes"] == report["changes_asked"]
    print(json.dumps(report, indent=2))
    return 0 if report["met"] else 1


def swap(args: argparse.Namespace, engines: list[str]) -> dict[str, Any]:
    """Feeds the node, changes its engines and returns the figures."""
    import rclpy
    from diagnostic_msgs.msg import DiagnosticArray
    from rcl_interfaces.srv import SetParameters
    from rclpy.parameter import Parameter
    from rclpy.qos import QoSProfile
    from sensor_msgs.msg import CameraInfo, Image

    width, height = (int(value) for value in args.size.split("x"))
    rclpy.init()
    node = rclpy.create_node("engine_swap", namespace="/swap")
    image = Image(width=width, height=height, encoding="rgb8", step=3 * width)
    noise = np.random.default_rng(0).integers(0, 256, 3 * width * height, np.uint8)
    image.data = array.array("B", noise.tobytes())
    info = CameraInfo(width=width, height=height)
    f = 0.8 * width
    info.k = [f, 0.0, width / 2, 0.0, f, height / 2, 0.0, 0.0, 1.0]
    publishers = [
        node.create_publisher(kind, topic, QoSProfile(depth=QUEUE))
        for kind, topic in ((CameraInfo, "camera_info"), (Image, "image"))
    ]
    seen: list[tuple[int, int]] = []
    running = [""]

    def note(message: Image) -> None:
        seen.append((message.header.stamp.sec * 10**9 + message.header.stamp.nanosec, _now()))

    def listen(message: DiagnosticArray) -> None:
        for status in message.status:
            values = {pair.key: pair.value for pair in status.values}
            running[0] = values.get("engine", running[0])

    node.create_subscription(Image, "depth/image", note, QoSProfile(depth=QUEUE))
    node.create_subscription(DiagnosticArray, "/diagnostics", listen, 10)
    service = node.create_client(SetParameters, "depth_node/set_parameters")
    ended = threading.Event()

    def spin() -> None:
        while not ended.is_set():
            rclpy.spin_once(node, timeout_sec=0.1)

    listener = threading.Thread(target=spin, daemon=True)
    listener.start()
    refused: list[str] = []
    due = [time.monotonic()]

    def ask(engine: str) -> None:
        wish = Parameter("engine", value=engine).to_parameter_msg()
        future = service.call_async(SetParameters.Request(parameters=[wish]))
        future.add_done_callback(
            lambda done: refused.extend(r.reason for r in done.result().results if r.reason)
        )

    def feed(seconds: float) -> list[int]:
        """Sends at a steady rate, call after call; a camera never catches up after a stall."""
        stamps, end = [], time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(max(0.0, due[0] - time.monotonic()))
            due[0] = max(due[0], time.monotonic()) + 1 / args.rate
            now = _now()
            for publisher, message in zip(publishers, (info, image), strict=True):
                message.header.stamp.sec, message.header.stamp.nanosec = divmod(now, 10**9)
                publisher.publish(message)
            stamps.append(now)
        return stamps

    deadline = time.monotonic() + 30
    warm: list[int] = []
    while not seen or not service.service_is_ready():
        if time.monotonic() > deadline:
            raise SystemExit("the node gave no depth within 30 s")
        warm += feed(0.5)
    sent: list[int] = []
    changing: list[tuple[int, int]] = []
    asked, turn = 0, 0
    while len(sent) < args.seconds * args.rate:
        sent += feed(args.every / 2)
        turn, asked = turn + 1, asked + 1
        begun, wanted = _now(), engines[turn % len(engines)]
        ask(wanted)
        patience = time.monotonic() + 60
        while running[0] != wanted and time.monotonic() < patience:
            sent += feed(0.1)
        if running[0] == wanted:
            sent += feed(SETTLED_S)
            changing.append((begun, _now()))
        sent += feed(args.every / 2)
    time.sleep(1.0)
    ended.set()
    listener.join()
    node.destroy_node()
    rclpy.shutdown()
    stamps = [stamp for stamp, _ in seen]
    sent_stamps = set(sent)
    in_time: dict[bool, list[float]] = {False: [], True: []}

    def is_changing(stamp: int) -> bool:
        return any(a <= stamp <= b for a, b in changing)

    for stamp, at in seen:
        if stamp in sent_stamps:
            in_time[is_changing(stamp)].append((at - stamp) / 1e6)
    lost = sent_stamps - set(stamps)
    return {
        "model": args.model or "packaged",
        "size": args.size,
        "rate_hz": args.rate,
        "threads": args.threads,
        "engines": engines,
        "sent": len(sent),
        "lost": len(lost),
        "sent_while_changing": sum(map(is_changing, sent)),
        "lost_while_changing": sum(map(is_changing, lost)),
        "lost_after_request_s": [round(_since(changing, stamp), 2) for stamp in sorted(lost)],
        "repeated": len(stamps) - len(set(stamps)),
        "foreign": len(set(stamps) - sent_stamps - set(warm)),
        "in_order": stamps == sorted(stamps),
        "changes_asked": asked,
        "changes": len(changing),
        "refused": refused,
        "change_s": [round((b - a) / 1e9 - SETTLED_S, 2) for a, b in changing],
        "latency_ms": _figures(in_time[False]),
        "latency_ms_while_changing": _figures(in_time[True]),
    }


def _now() -> int:
    return time.time_ns()


def _since(changing: list[tuple[int, int]], stamp: int) -> float:
    """Returns the time from the last request for an engine to a stamp [s]."""
    return min(((stamp - a) / 1e9 for a, _ in changing if a <= stamp), default=float("nan"))


def _figures(values: list[float]) -> dict[str, float]:
    if not values:
        return {}
    shares = np.percentile(values, (50, 95, 100))
    return dict(zip(("p50", "p95", "max"), (round(float(v), 2) for v in shares), strict=True))


if __name__ == "__main__":
    sys.exit(main())
