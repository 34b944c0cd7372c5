"""Measures the end-to-end latency of `depth_node` beside a passthrough and the bare engine.

    python benchmarks/node_latency.py [--model M] [--size 1600x900] [--jpeg] [--seconds 60]

Processes: publisher -> (depth_node | passthrough) -> subscriber, on two cores. Blocks alternate
between the node, the passthrough (echoes a raw image of the same size) and the bare engine, so all
three see the same machine. Prints JSON; exit status 1 if the target is missed:
no frame lost, every output's stamp is an input's, and
median <= passthrough median + 1.25 x engine median + 2 ms.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
PROFILE = ROOT / "config" / "fastdds_shm.xml"
QUEUE = 10
"""Of the publisher and the subscriber, as of a camera's driver: they must not lose what is counted
against the node."""
BLOCK_S = 10
"""Length of a block before the other one takes its turn [s]."""


def main() -> int:
    """Runs the benchmark or, with `--role`, one of its processes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="", help="ONNX model; the packaged one if not given")
    parser.add_argument("--size", default="640x384", help="size of the images, WIDTHxHEIGHT")
    parser.add_argument("--rate", type=float, default=30.0, help="images per second")
    parser.add_argument("--seconds", type=float, default=60.0, help="of images to each node")
    parser.add_argument("--jpeg", action="store_true", help="give the node a JPEG stream")
    parser.add_argument("--threads", type=int, default=2, help="threads of the engine")
    parser.add_argument("--cores", type=int, default=2, help="cores for everything together")
    parser.add_argument("--role", choices=("publish", "echo", "subscribe"), help="internal")
    parser.add_argument("--record", default="", help="internal")
    args = parser.parse_args()
    roles = {"publish": publish, "echo": echo, "subscribe": subscribe}
    if args.role:
        return roles[args.role](args)
    return measure(args)


def measure(args: argparse.Namespace) -> int:
    """Starts every process, alternates the blocks and prints the figures."""
    from rosam_core.engines.registry import default_model_path, load_engine

    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[: args.cores]))
    os.environ.setdefault("FASTRTPS_DEFAULT_PROFILES_FILE", str(PROFILE))
    os.environ.setdefault("ROS_LOCALHOST_ONLY", "1")
    os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
    model = Path(args.model) if args.model else default_model_path()
    engine = load_engine(model, "onnx-cpu", args.threads)
    shape = (1, engine.card.input_height, engine.card.input_width, 3)
    picture = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)

    own = [sys.executable, str(Path(__file__).resolve()), *sys.argv[1:]]
    topic = "/bench/camera/image" + ("/compressed" if args.jpeg else "")
    node = [sys.executable, "-m", "rosam_depth_ros.depth_node", "--ros-args", "-r"]
    node += ["__ns:=/bench/depth", "-r", f"image:={topic}", "-r", "camera_info:=/bench/info"]
    node += ["-p", f"model:={model}", "-p", f"threads:={args.threads}", "-p", "engine:=onnx-cpu"]
    with tempfile.TemporaryDirectory() as folder:
        sent_file, seen_file = Path(folder, "sent.json"), Path(folder, "seen.json")
        pipe = subprocess.PIPE
        processes = [subprocess.Popen(node, cwd=ROOT)]
        processes += [subprocess.Popen([*own, "--role", "echo"])]
        seen = [*own, "--role", "subscribe", "--record", str(seen_file)]
        processes += [subprocess.Popen(seen, stdin=pipe)]
        sent = [*own, "--role", "publish", "--record", str(sent_file)]
        publisher = subprocess.Popen(sent, stdin=pipe, stdout=pipe, text=True)
        processes += [publisher]
        try:
            _tell(publisher, f"warm {int(args.rate)}")
            engine_ms: list[float] = []
            left = args.seconds
            while left > 0:
                block = min(left, BLOCK_S)
                left -= block
                count = round(block * args.rate)
                _tell(publisher, f"depth {count}")
                _tell(publisher, f"echo {count}")
                for _ in range(60):
                    start = time.perf_counter()
                    engine.infer(picture)
                    engine_ms.append((time.perf_counter() - start) * 1000)
            time.sleep(0.5)
        finally:
            for process in processes[2:]:
                process.stdin.close()
                process.wait(timeout=20)
            for process in processes[:2]:
                process.terminate()
                process.wait(timeout=20)
        report = _report(
            json.loads(sent_file.read_text()), json.loads(seen_file.read_text()), engine_ms
        )
    report = {"size": args.size, "jpeg": args.jpeg, "rate_hz": args.rate, **report}
    report |= {"model": engine.card.name, "threads": args.threads, "cores": args.cores}
    report["node_exit_status"] = processes[0].returncode
    print(json.dumps(report, indent=2))
    return 0 if report["met"] else 1


def _report(sent: dict, seen: dict, engine_ms: list[float]) -> dict:
    report: dict = {}
    strange = 0
    for kind in ("depth", "echo"):
        stamps = set(sent[kind])
        arrivals = {stamp: at for stamp, at in seen[kind] if stamp in stamps}
        strange += sum(stamp not in stamps | set(sent["warm"]) for stamp, _ in seen[kind])
        latency = np.array([(at - stamp) / 1e6 for stamp, at in arrivals.items()])
        report[kind] = {
            "sent": len(stamps),
            "lost": len(stamps) - len(arrivals),
            "median_ms": round(float(np.median(latency)), 2),
            "p95_ms": round(float(np.percentile(latency, 95)), 2),
            "max_ms": round(float(latency.max()), 2),
        }
    report["engine"] = {
        "median_ms": round(float(np.median(engine_ms)), 2),
        "p95_ms": round(float(np.percentile(engine_ms, 95)), 2),
    }
    target = report["echo"]["median_ms"] + 1.25 * report["engine"]["median_ms"] + 2.0
    report["foreign_stamps"] = strange
    report["target_ms"] = round(target, 2)
    report["met"] = (
        report["depth"]["median_ms"] <= target and not report["depth"]["lost"] and not strange
    )
    return report


def _tell(publisher: subprocess.Popen, command: str) -> None:
    publisher.stdin.write(command + "\n")
    publisher.stdin.flush()
    answer = publisher.stdout.readline().strip()
    if answer != "done":
        raise RuntimeError(f"publisher answered {answer!r} to {command!r}")


def _scene(width: int, height: int) -> np.ndarray:
    """Returns a picture that a JPEG encoder meets about as often as a street, uint8[H,W,3]."""
    import cv2

    noise = np.random.default_rng(1).integers(0, 256, (height // 16, width // 16, 3), np.uint8)
    return np.asarray(cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC))


def publish(args: argparse.Namespace) -> int:
    """Publishes blocks of images on command from stdin and records their stamps."""
    import array

    import cv2
    import rclpy
    from rclpy.qos import QoSProfile
    from sensor_msgs.msg import CameraInfo, CompressedImage, Image

    width, height = (int(v) for v in args.size.split("x"))
    rclpy.init()
    node = rclpy.create_node("bench_publisher")
    picture = _scene(width, height)
    raw = Image(width=width, height=height, encoding="rgb8", step=3 * width)
    raw.data = array.array("B", picture.tobytes())
    if args.jpeg:
        topic, message = "/bench/camera/image/compressed", CompressedImage(format="jpeg")
        message.data = array.array("B", cv2.imencode(".jpg", picture)[1].tobytes())
    else:
        topic, message = "/bench/camera/image", raw
    info = CameraInfo(width=width, height=height, distortion_model="plumb_bob", d=[0.0] * 5)
    f = 0.8 * width
    info.k = [f, 0.0, width / 2, 0.0, f, height / 2, 0.0, 0.0, 1.0]
    info.p = [f, 0.0, width / 2, 0.0, 0.0, f, height / 2, 0.0, 0.0, 0.0, 1.0, 0.0]
    to_info = node.create_publisher(CameraInfo, "/bench/info", QoSProfile(depth=QUEUE))
    publishers = {
        "depth": (node.create_publisher(type(message), topic, QoSProfile(depth=QUEUE)), message),
        "echo": (node.create_publisher(Image, "/bench/echo/in", QoSProfile(depth=QUEUE)), raw),
    }
    to_info_and_images = [to_info, *(p for p, _ in publishers.values())]
    deadline = time.monotonic() + 30
    while not all(p.get_subscription_count() for p in to_info_and_images):
        if time.monotonic() > deadline:
            raise SystemExit("the nodes did not subscribe within 30 s")
        time.sleep(0.1)
    time.sleep(1.0)  # the other way round, node to subscriber, is matched by then

    stamps: dict[str, list[int]] = {"warm": [], "depth": [], "echo": []}
    for line in sys.stdin:
        kind, count = line.split()
        for target in ("depth", "echo") if kind == "warm" else (kind,):
            publisher, outgoing = publishers[target]
            due = time.monotonic()
            for _ in range(int(count)):
                time.sleep(max(0.0, due - time.monotonic()))
                # A camera never catches up: after a stall its frames are a period apart again.
                due = max(due, time.monotonic()) + 1 / args.rate
                if target == "depth":
                    to_info.publish(info)
                now = time.time_ns()
                outgoing.header.stamp.sec, outgoing.header.stamp.nanosec = divmod(now, 10**9)
                publisher.publish(outgoing)
                stamps[kind].append(now)
            time.sleep(0.3)
        print("done", flush=True)
    Path(args.record).write_text(json.dumps(stamps))
    node.destroy_node()
    rclpy.shutdown()
    return 0


def echo(args: argparse.Namespace) -> int:
    """The passthrough: publishes every image it gets, untouched."""
    import rclpy
    from rclpy.executors import ExternalShutdownException
    from rclpy.qos import QoSProfile
    from sensor_msgs.msg import Image

    rclpy.init()
    node = rclpy.create_node("bench_echo")
    out = node.create_publisher(Image, "/bench/echo/out", QoSProfile(depth=1))
    node.create_subscription(Image, "/bench/echo/in", out.publish, QoSProfile(depth=1))
    try:
        while rclpy.ok():
            rclpy.spin_once(node, timeout_sec=0.25)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    return 0


def subscribe(args: argparse.Namespace) -> int:
    """Notes stamp and time of arrival of every output until stdin closes."""
    import threading

    import rclpy
    from rclpy.qos import QoSProfile
    from sensor_msgs.msg import CameraInfo, Image

    rclpy.init()
    node = rclpy.create_node("bench_subscriber")
    arrivals: dict[str, list[tuple[int, int]]] = {"depth": [], "echo": []}

    def note(kind: str, message: Image) -> None:
        stamp = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        arrivals[kind].append((stamp, time.time_ns()))

    ns = "/bench/depth"
    for topic, kind in ((f"{ns}/depth/image", "depth"), ("/bench/echo/out", "echo")):
        node.create_subscription(
            Image, topic, lambda message, kind=kind: note(kind, message), QoSProfile(depth=QUEUE)
        )
    # A robot takes the others as well; their cost to the node belongs to the measurement.
    ignore = lambda _: None  # noqa: E731
    node.create_subscription(Image, f"{ns}/confidence/image", ignore, QoSProfile(depth=QUEUE))
    for name in ("depth", "confidence"):
        node.create_subscription(
            CameraInfo, f"{ns}/{name}/camera_info", ignore, QoSProfile(depth=QUEUE)
        )
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    while not ended.is_set():
        rclpy.spin_once(node, timeout_sec=0.25)
    Path(args.record).write_text(json.dumps(arrivals))
    node.destroy_node()
    rclpy.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
