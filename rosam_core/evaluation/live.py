"""Runs the real node on the real ROS graph, each part a process of its own, and records it.

Nothing here imports ROS: the node, the replay and the recorder are started as programs, so what is
measured is what a robot runs.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from rosam_core.types import Float64

PROFILE_VARIABLE = "FASTRTPS_DEFAULT_PROFILES_FILE"
NEEDED = ("rclpy", "sensor_msgs", "diagnostic_msgs", "rosgraph_msgs")
START_S = 60.0
"""How long a process may take to say that it is ready [s]."""


@dataclasses.dataclass(frozen=True)
class LiveTopics:
    """The topics of one camera and its outputs.

    Attributes:
        image: Topic of the images.
        image_type: Their message type.
        info: Topic of the camera_info, `""` if there is none.
    """

    image: str
    image_type: str
    info: str

    @property
    def namespace(self) -> str:
        """Namespace of the camera; the outputs go beside its topics."""
        return self.image.removesuffix("/compressed").rpartition("/")[0]

    @property
    def depth(self) -> str:
        """Topic of the depth."""
        return f"{self.namespace}/depth/image"

    @property
    def confidence(self) -> str:
        """Topic of the confidence."""
        return f"{self.namespace}/confidence/image"

    @property
    def depth_info(self) -> str:
        """Topic of the camera_info of the depth."""
        return f"{self.namespace}/depth/camera_info"


@dataclasses.dataclass(frozen=True)
class LiveRun:
    """What a run on the graph gave.

    Attributes:
        bag: Recording of the outputs.
        latency_ms: From an image to its depth, as the recorder saw both arrive, float64[n].
        rate_hz: Depth images a second.
        frames: Images that were sent.
        depths: Depth images that came back.
        domain: ROS_DOMAIN_ID of the run.
        node_status: Exit status of the node after SIGINT.
        node_log: What the node said.
    """

    bag: Path
    latency_ms: Float64
    rate_hz: float
    frames: int
    depths: int
    domain: str
    node_status: int
    node_log: str

    @property
    def drops(self) -> int:
        """Images that got no depth."""
        return self.frames - self.depths


def check_ros() -> None:
    """Makes sure that there is a ROS to run on.

    Raises:
        FileNotFoundError: A package is missing; the message says how to get it.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise FileNotFoundError(
            f"this runs on a real ROS 2 graph, but Python finds no {', '.join(missing)}: source a "
            "ROS install (source /opt/ros/jazzy/setup.bash), or pip install "
            "'ros-jazzy-rclpy[fastrtps]' ros-jazzy-sensor-msgs ros-jazzy-diagnostic-msgs "
            "ros-rosgraph-msgs"
        )


def find_profile() -> Path | None:
    """Returns the Fast DDS profile for images, from the source tree or the installation."""
    here = Path(__file__).resolve()
    prefixes = [Path(sys.prefix), *here.parents[4:5]]  # a checkout may lie right below the root
    shared = (prefix / "share" / "rosam_depth_ros" / "config" for prefix in prefixes)
    places = (here.parents[2] / "config", *shared)
    found = (place / "fastdds_shm.xml" for place in places)
    return next((path for path in found if path.is_file()), None)


def graph_environment() -> dict[str, str]:
    """Returns the environment of the processes: a graph of its own unless one is set."""
    environment = dict(os.environ)
    environment.setdefault("ROS_LOCALHOST_ONLY", "1")
    environment.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
    environment.setdefault("OMP_NUM_THREADS", "1")
    profile = find_profile()
    if profile is not None and "FASTDDS_DEFAULT_PROFILES_FILE" not in environment:
        environment.setdefault(PROFILE_VARIABLE, str(profile))
    return environment


def run_live(
    source: Path,
    topics: LiveTopics,
    folder: Path,
    *,
    model: Path,
    conditions: str = "",
    threads: int = 0,
    fov_deg: float | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> LiveRun:
    """Replays a drive to the node in real time and records what it publishes.

    Args:
        source: Bag or synthetic drive.
        topics: The camera in question.
        folder: Where the recording goes.
        model: ONNX model.
        conditions: Of a synthetic drive, as the replay takes them.
        threads: Of the engine; 0 = one per core.
        fov_deg: Field of view for a camera without camera_info [degrees].
        progress: Takes one line about what is going on.

    Raises:
        FileNotFoundError: There is no ROS.
        ValueError: A process failed; the message ends with what it said.
    """
    check_ros()
    environment = graph_environment()
    bag = folder / "recording.mcap"
    python = [sys.executable, "-m"]
    recorder = [*python, "rosam_depth_ros.recorder", str(bag)]
    image = "sensor_msgs/msg/Image"
    recorder += ["--topic", f"{topics.depth}={image}", "--topic", f"{topics.confidence}={image}"]
    recorder += ["--topic", f"{topics.depth_info}=sensor_msgs/msg/CameraInfo"]
    recorder += ["--time", f"{topics.image}={topics.image_type}"]
    node = [*python, "rosam_depth_ros.depth_node", "--ros-args"]
    node += ["-r", f"__ns:={topics.namespace or '/'}", "-r", f"image:={topics.image}"]
    node += ["-r", f"camera_info:={topics.info or 'camera_info'}"]
    node += ["-p", f"model:={model.resolve()}", "-p", f"threads:={threads}"]
    if fov_deg is not None:
        node += ["-p", f"fov_deg:={float(fov_deg)}"]
    replay = [*python, "rosam_depth_ros.replay_node", "--ros-args"]
    replay += ["-p", f"source:={source.resolve()}", "-p", f"image_topic:={topics.image}"]
    replay += ["-p", f"output_topic:={topics.depth}"]
    # The recorder listens to both: what is sent before it is found would be lost to it.
    replay += ["-p", "subscribers:=2", "-p", "output_subscribers:=1"]
    if conditions:  # ROS cannot parse an empty value
        replay += ["-p", f"condition:={conditions}"]
    if topics.image_type.endswith("CompressedImage") and (source / "drive.json").is_file():
        replay += ["-p", "compressed:=true"]

    with _running(recorder, folder / "recorder.log", environment) as recording:
        recording.wait_for("recorder: ready")
        with _running(node, folder / "node.log", environment) as depth_node:
            depth_node.wait_for("runs on", failure="[ERROR]")
            for topic in (topics.depth, topics.confidence, topics.depth_info):
                recording.wait_for(f"recorder: found {topic}\n")
            progress(f"node is up, ROS_DOMAIN_ID={environment['ROS_DOMAIN_ID']}")
            with _running(replay, folder / "replay.log", environment) as player:
                if player.process.wait() != 0:
                    raise ValueError(f"the replay failed: {player.tail()}")
                statistics = _last_json(player.log.read_text(encoding="utf-8"))
            time.sleep(0.5)  # the last output may still be on its way to the recorder
            status = depth_node.stop()
            said = depth_node.log.read_text(encoding="utf-8")
        if recording.stop() != 0:
            raise ValueError(
                f"nothing was recorded, while the replay saw {statistics['depths']} depths of "
                f"{statistics['frames']} frames: {recording.tail()}; node: {said[-400:]}"
            )
    return _collect(bag, topics, statistics, environment["ROS_DOMAIN_ID"], status, said)


def _collect(
    bag: Path, topics: LiveTopics, statistics: Any, domain: str, status: int, log: str
) -> LiveRun:
    """Returns the figures of a run from the recorder's arrival times."""
    arrived: dict[str, dict[int, int]] = {topics.image: {}, topics.depth: {}}
    for line in bag.with_suffix(".arrivals.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        arrived.setdefault(row["topic"], {})[row["stamp_ns"]] = row["arrived_ns"]
    images, depths = arrived[topics.image], arrived[topics.depth]
    latency = [(depths[s] - images[s]) / 1e6 for s in depths if s in images]
    times = sorted(depths.values())
    span_s = (times[-1] - times[0]) / 1e9 if len(times) > 1 else 0.0
    return LiveRun(
        bag=bag,
        latency_ms=np.array(latency, dtype=np.float64),
        rate_hz=(len(times) - 1) / span_s if span_s > 0 else 0.0,
        frames=int(statistics["frames"]),
        depths=len(depths),
        domain=domain,
        node_status=status,
        node_log=log,
    )


@dataclasses.dataclass
class _Process:
    """A program that writes to a log file."""

    process: subprocess.Popen[bytes]
    log: Path

    def wait_for(self, text: str, failure: str = "") -> None:
        """Waits until the log holds a text; ValueError if it ends, fails or is late."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            said = self.log.read_text(encoding="utf-8", errors="replace")
            if text in said:
                return
            if self.process.poll() is not None or (failure and failure in said):
                raise ValueError(f"{self.log.stem} did not start: {self.tail()}")
            time.sleep(0.05)
        raise ValueError(f"{self.log.stem} did not start within {START_S:g} s: {self.tail()}")

    def stop(self) -> int:
        """Ends the program as Ctrl-C does and returns its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def tail(self) -> str:
        """Returns the last lines of the log as one line."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").split("\n")
        return " | ".join(line for line in lines if line.strip())[-600:] or "it said nothing"


@contextlib.contextmanager
def _running(command: list[str], log: Path, environment: dict[str, str]) -> Iterator[_Process]:
    """Runs a program for the length of the block."""
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command, stdout=stream, stderr=subprocess.STDOUT, env=environment
        )
    running = _Process(process, log)
    try:
        yield running
    finally:
        running.stop()


def _last_json(text: str) -> Any:
    """Returns the last line of a text that is a JSON object."""
    for line in reversed(text.splitlines()):
        if line.startswith("{"):
            return json.loads(line)
    raise ValueError(f"the replay printed no statistics: {text[-300:]!r}")
