"""Records topics of the live graph into a bag, with the time at which every message arrived.

`ros2 bag record` does not come with a pip-only ROS; the demo uses this instead:

    python -m rosam_depth_ros.recorder OUT.mcap --topic /depth/image=sensor_msgs/msg/Image

It ends on SIGINT or SIGTERM, or when nothing arrived for `--idle` seconds after the first message.
Beside the bag it writes `OUT.arrivals.jsonl`, one line a message: topic, header stamp, arrival on
the steady clock, both in nanoseconds.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import json
import queue
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy

from rosam_core.drives.bag_reader import BagMessage
from rosam_core.drives.bag_writer import BagWriter


def message_type(name: str) -> Any:
    """Returns the Python class of a message type.

    Args:
        name: Such as `sensor_msgs/msg/Image`.

    Raises:
        ValueError: There is no such type on this machine.
    """
    try:
        package, folder, kind = name.split("/")
        return getattr(importlib.import_module(f"{package}.{folder}"), kind)
    except (ValueError, ImportError, AttributeError) as error:
        raise ValueError(
            f"unknown message type {name!r}: expected one like sensor_msgs/msg/Image"
        ) from error


def arrivals_path(bag: Path) -> Path:
    """Returns where the arrival times of a recording lie."""
    return bag.with_suffix(".arrivals.jsonl")


class Recorder(Node):
    """Subscribes to topics and writes what comes, serialized, in a thread of its own."""

    def __init__(
        self, bag: Path, topics: Mapping[str, str], timed: Mapping[str, str] | None = None
    ) -> None:
        """Subscribes at once.

        Args:
            bag: The bag to write; one that is there is replaced.
            topics: Message type by topic; every type must begin with a header.
            timed: The same for topics of which only the arrival is kept.
        """
        super().__init__("rosam_recorder")
        self.last_arrival_s: float | None = None
        self._bag = bag
        self._types = dict(topics)
        timed = dict(timed or {})
        self._queue: queue.SimpleQueue[tuple[str, bytes, int] | None] = queue.SimpleQueue()
        # Deep, so that a burst on a loaded machine waits here instead of being lost.
        qos = QoSProfile(depth=200, reliability=ReliabilityPolicy.RELIABLE)
        for topic, kind in {**timed, **topics}.items():
            self.create_subscription(
                message_type(kind),
                topic,
                functools.partial(self._keep, topic),
                qos,
                raw=True,
            )
        self._not_found = [*timed, *topics]
        self._writer_error: Exception | None = None
        self._thread = threading.Thread(target=self._write, name="bag writer")
        self._thread.start()

    def _keep(self, topic: str, raw: bytes) -> None:
        arrived_ns = time.monotonic_ns()
        self.last_arrival_s = arrived_ns / 1e9
        # Of a topic that is only timed, the preamble and the stamp are all that is kept.
        self._queue.put((topic, bytes(raw) if topic in self._types else raw[:12], arrived_ns))

    def _write(self) -> None:
        try:
            with (
                BagWriter(self._bag, overwrite=True, compress=False) as writer,
                arrivals_path(self._bag).open("w", encoding="utf-8") as arrivals,
            ):
                while (item := self._queue.get()) is not None:
                    topic, raw, arrived_ns = item
                    stamp_ns = BagMessage(topic, "", 0, raw, is_ros1=False).stamp_ns
                    if topic in self._types:
                        # The bag runs on the drive's clock, so that it plays like the drive.
                        writer.write_raw(topic, self._types[topic], raw, stamp_ns)
                    line = {"topic": topic, "stamp_ns": stamp_ns, "arrived_ns": arrived_ns}
                    arrivals.write(json.dumps(line) + "\n")
        except Exception as error:  # reported by the main thread, which ends the recording
            self._writer_error = error

    def newly_found(self) -> list[str]:
        """Returns the topics whose publisher was found since this was last asked."""
        found = [topic for topic in self._not_found if self.count_publishers(topic)]
        self._not_found = [topic for topic in self._not_found if topic not in found]
        return found

    @property
    def failed(self) -> Exception | None:
        """Why the bag cannot be written, if so."""
        return self._writer_error

    def finish(self) -> None:
        """Writes what is left and closes the bag."""
        self._queue.put(None)
        self._thread.join()


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the recorder until a signal or until the graph falls silent.

    Args:
        argv: Arguments without the program name; the process's own if None.

    Returns:
        0 = recorded, 1 = nothing arrived or the bag could not be written.
    """
    parser = argparse.ArgumentParser(prog="recorder", description=__doc__)
    parser.add_argument("bag", type=Path, help="MCAP to write; replaced if there")
    parser.add_argument("--topic", action="append", required=True, metavar="NAME=TYPE")
    parser.add_argument(
        "--time", action="append", default=[], metavar="NAME=TYPE", help="keep only its arrivals"
    )
    parser.add_argument("--idle", type=float, default=0.0, help="end after this silence [s]")
    args = parser.parse_args(argv)
    if any("=" not in item for item in [*args.topic, *args.time]):
        parser.error("a topic needs NAME=TYPE, such as /depth/image=sensor_msgs/msg/Image")
    topics = dict(item.split("=", 1) for item in args.topic)
    timed = dict(item.split("=", 1) for item in args.time)
    stop = threading.Event()
    rclpy.init(signal_handler_options=rclpy.signals.SignalHandlerOptions.NO)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        node = Recorder(args.bag, topics, timed)
    except ValueError as error:
        print(f"recorder: {error}", file=sys.stderr)
        rclpy.shutdown()
        return 1
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    print("recorder: ready", flush=True)  # whoever started this waits for the line
    try:
        while not stop.is_set() and node.failed is None:
            executor.spin_once(timeout_sec=0.2)
            for topic in node.newly_found():
                print(f"recorder: found {topic}", flush=True)
            last = node.last_arrival_s
            if args.idle and last is not None and time.monotonic() - last > args.idle:
                break
    except ExternalShutdownException:
        pass
    node.finish()
    failure = node.failed
    node.destroy_node()
    rclpy.try_shutdown()
    if failure is not None:
        print(f"recorder: {failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
