"""Starts `depth_node`: `ros2 launch rosam_depth_ros depth.launch.py image:=/camera/image_raw`."""

import os
from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

CONFIG = Path(__file__).resolve().parents[1] / "config"

PROFILE_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")

ARGUMENTS = {
    "image": (
        "image",
        "Topic of the camera; one that ends in /compressed is read as CompressedImage.",
    ),
    "camera_info": ("", "Topic of its camera_info; empty: `camera_info` beside the image topic."),
    "model": ("", "Path of the ONNX model, its card beside it; empty: the packaged one."),
    "engine": ("auto", "What runs the network: auto, onnx-cpu, onnx-cuda, openvino."),
    "threads": ("0", "Threads of the engine; 0: one per core."),
    "fov_deg": ("0.0", "Horizontal field of view in degrees, for a camera without camera_info."),
    "camera_file": ("", "Calibration YAML, for a camera without camera_info."),
    "image_transport": ("auto", "auto, raw or compressed."),
    "params_file": ("", "YAML of node parameters; what is given above wins over it."),
    "namespace": ("", "Namespace of the node, and so of its outputs."),
    "name": ("depth_node", "Name of the node."),
    "fastdds_profile": (
        str(CONFIG / "fastdds_shm.xml"),
        "Fast DDS profile, by default with a shared-memory segment for images; empty: none. A "
        "FASTRTPS_DEFAULT_PROFILES_FILE already in the environment wins.",
    ),
    "log_level": ("info", "debug, info, warn, error."),
}
"""Name, default and description of every launch argument."""

NODE_PARAMETERS = {
    "model": str,
    "engine": str,
    "threads": int,
    "fov_deg": float,
    "camera_file": str,
    "image_transport": str,
}
"""Arguments that are parameters of the node as well, with their type."""


def beside(image: str) -> str:
    """Returns the camera_info topic that belongs to an image topic, as image_transport has it."""
    base = image[: -len("/compressed")] if image.endswith("/compressed") else image
    folder, slash, _ = base.rpartition("/")
    return f"{folder}{slash}camera_info"


def start(context):
    """Returns the actions, now that the arguments have values."""
    value = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    actions = []
    if value["fastdds_profile"] and not any(name in os.environ for name in PROFILE_VARIABLES):
        actions.append(SetEnvironmentVariable(PROFILE_VARIABLES[0], value["fastdds_profile"]))
    # Only what differs from the default is passed on: the params file decides about the rest.
    changed = {
        name: kind(value[name])
        for name, kind in NODE_PARAMETERS.items()
        if value[name] != ARGUMENTS[name][0]
    }
    parameters = [value["params_file"]] if value["params_file"] else []
    actions.append(
        Node(
            package="rosam_depth_ros",
            executable="depth_node",
            name=value["name"],
            namespace=value["namespace"],
            parameters=[*parameters, changed] if changed else parameters,
            remappings=[
                ("image", value["image"]),
                ("camera_info", value["camera_info"] or beside(value["image"])),
            ],
            arguments=["--ros-args", "--log-level", value["log_level"]],
            output="screen",
            emulate_tty=True,
        )
    )
    return actions


def generate_launch_description():
    """Returns the launch description."""
    arguments = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in ARGUMENTS.items()
    ]
    return LaunchDescription([*arguments, OpaqueFunction(function=start)])
