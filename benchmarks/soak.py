"""Runs `depth_node` for minutes and watches its resident memory.

    python benchmarks/soak.py [--model M] [--minutes 10] [--rate 30] [--size 640x384]

Publishes images at a steady rate, subscribes to every output, the optional ones by turns, and
reads the node's memory every 10 s. Prints JSON; exit status 1 if memory grew by 10 MB or more
after the first minute, if frames stopped coming back, or if the node did not end with 0.
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

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
LIMIT_MB = 10.0
WATCH_S = 10.0


def main() -> int:
    """Runs the soak and prints its figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="", help="ONNX model; the packaged one if not given")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--rate", type=float, default=30.0, help="images per second")
    parser.add_argument("--size", default="640x384", help="size of the images, WIDTHxHEIGHT")
    parser.add_argument("--threads", type=int, default=2, help="threads of the engine")
    args = parser.parse_args()
    profile = str(ROOT / "config" / "fastdds_shm.xml")
    os.environ.setdefault("FASTRTPS_DEFAULT_PROFILES_FILE", profile)
    os.environ.setdefault("ROS_LOCALHOST_ONLY", "1")
    os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))

    command = [sys.executable, "-m", "rosam_depth_ros.depth_node", "--ros-args"]
    command += ["-r", "__ns:=/soak", "-p", f"threads:={args.threads}"]
    if args.model:
        command += ["-p", f"model:={args.model}"]
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        samples, sent, received = soak(process, args)
    finally:
        process.send_signal(signal.SIGINT)
        status = process.wait(timeout=20)
    after_first_minute = [s for s in samples if s[0] >= 60] or samples
    growth = samples[-1][1] - after_first_minute[0][1]
    report = {
        "minutes": round(samples[-1][0] / 60, 2),
        "rate_hz": args.rate,
        "size": args.size,
        "images_sent": sent,
        "depth_received": received,
        "columns": ["s", "resident_mb", "anonymous_mb", "shared_mb"],
        "samples": [[round(value, 1) for value in sample] for sample in samples],
        "growth_after_first_minute_mb": round(growth, 2),
        "limit_mb": LIMIT_MB,
        "node_exit_status": status,
    }
    report["met"] = growth < LIMIT_MB and received > 0.9 * sent and status == 0
    print(json.dumps(report))
    return 0 if report["met"] else 1


def soak(
    process: subprocess.Popen, args: argparse.Namespace
) -> tuple[list[tuple[float, float, float, float]], int, int]:
    """Feeds the node and watches it.

    Returns:
        samples: Seconds since the first image; resident memory then, all, anonymous, shared [MB].
        sent: Number of images published.
        received: Number of depth images that came back.
    """
    import rclpy
    from rclpy.qos import QoSProfile
    from sensor_msgs.msg import CameraInfo, Image, PointCloud2
    from tqdm import tqdm

    width, height = (int(v) for v in args.size.split("x"))
    rclpy.init()
    node = rclpy.create_node("soak", namespace="/soak")
    image = Image(width=width, height=height, encoding="rgb8", step=3 * width)
    image.data = array.array(
        "B", np.random.default_rng(0).integers(0, 256, 3 * width * height, np.uint8).tobytes()
    )
    info = CameraInfo(width=width, height=height)
    f = 0.8 * width
    info.k = [f, 0.0, width / 2, 0.0, f, height / 2, 0.0, 0.0, 1.0]
    to_image = node.create_publisher(Image, "image", QoSProfile(depth=1))
    to_info = node.create_publisher(CameraInfo, "camera_info", QoSProfile(depth=1))
    received = [0]

    def count(_: Image) -> None:
        received[0] += 1

    node.create_subscription(Image, "depth/image", count, QoSProfile(depth=1))
    ignore = lambda _: None  # noqa: E731
    node.create_subscription(Image, "confidence/image", ignore, QoSProfile(depth=1))
    deadline = time.monotonic() + 30
    while not to_image.get_subscription_count() or not node.count_publishers("/soak/depth/image"):
        if time.monotonic() > deadline or process.poll() is not None:
            raise SystemExit("the node did not appear within 30 s")
        time.sleep(0.1)
    time.sleep(1.0)

    ended = threading.Event()

    def listen() -> None:
        while not ended.is_set():
            rclpy.spin_once(node, timeout_sec=0.25)

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    samples: list[tuple[float, float, float, float]] = []
    optional = None
    sent = 0
    start = time.monotonic()
    with tqdm(total=round(args.minutes * 60), unit="s", disable=None) as bar:
        while (elapsed := time.monotonic() - start) < args.minutes * 60:
            if process.poll() is not None:
                raise SystemExit(f"the node ended with {process.returncode}")
            now = time.time_ns()
            for message in (info, image):
                message.header.stamp.sec, message.header.stamp.nanosec = divmod(now, 10**9)
            to_info.publish(info)
            to_image.publish(image)
            sent += 1
            time.sleep(max(0.0, start + sent / args.rate - time.monotonic()))
            if elapsed >= WATCH_S * len(samples):
                samples.append((elapsed, *_resident_mb(process.pid)))
                bar.update(round(elapsed) - bar.n)
                # A subscriber of the optional outputs comes and goes every half minute.
                if len(samples) % 6 == 1:
                    optional = node.create_subscription(
                        PointCloud2, "points", ignore, QoSProfile(depth=1)
                    )
                elif len(samples) % 6 == 4 and optional is not None:
                    node.destroy_subscription(optional)
    samples.append((time.monotonic() - start, *_resident_mb(process.pid)))
    ended.set()
    listener.join()
    node.destroy_node()
    rclpy.shutdown()
    return samples, sent, received[0]


def _resident_mb(pid: int) -> tuple[float, float, float]:
    """Returns the resident memory of a process, and its anonymous and shared parts [MB]."""
    values = {"VmRSS": 0.0, "RssAnon": 0.0, "RssShmem": 0.0}
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name in values:
            values[name] = int(rest.split()[0]) / 1024
    return values["VmRSS"], values["RssAnon"], values["RssShmem"]


if __name__ == "__main__":
    sys.exit(main())
