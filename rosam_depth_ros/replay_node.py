"""Plays a recorded drive onto the graph with /clock, at rate or in lockstep with the depth node.

    ros2 run rosam_depth_ros replay_node --ros-args -p source:=drive.mcap

At the end it prints one line of JSON: frames, outputs, drops, latency.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import signal
import statistics
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import rclpy
from rclpy.exceptions import ParameterException
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image

from rosam_core.drives.bag_reader import BagMessage
from rosam_core.drives.playback import Playback, PlaybackMessage, open_playback, prefetch
from rosam_depth_ros import parameters as declarations

CLOCK_PERIOD_S = 0.01


@dataclasses.dataclass(frozen=True)
class ReplayParameters:
    """The node's parameters; the fields are the declarations."""

    source: str = declarations.parameter("", "Bag, or folder of a synthetic drive.", read_only=True)
