"""Starts `depth_node`: `ros2 launch rosam_depth_ros depth.launch.py image:=/camera/image_raw`.

With `build_only:=true` it builds the TensorRT engine of the model instead, and ends.
"""

import os
import re
import shlex
from pathlib import Path

import yaml
from launch import LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    OpaqueFunction,
    RegisterEventHandler,
    SetEnvironmentVariable,
)
from launch.event_handlers import OnProcessExit
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.substitutions import ExecutableInPackage

CONFIG = Path(__file__).resolve().parents[1] / "config"

PROFILE_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")

ARGUMENTS = {
    "image": (
        "image",
        "Topic of the camera, Image or CompressedImage. With cameras, {camera} in it stands for "
        "their names: image:=/{camera}/image_raw.",
    ),
    "camera_info": ("", "Topic of its camera_info; empty: `camera_info` beside the image topic."),
    "model": ("", "Path of the ONNX model, its card beside it; empty: the packaged one."),
    "cameras": ("", "Names of several cameras, such as front,left,right; empty: one camera."),
    "engine": (
        "auto",
        "What runs the network: auto, onnx-cpu, onnx-cuda, onnx-tensorrt, openvino, tensorrt.",
    ),
    "build_engine": (
        "false",
        "true: unless there is a TensorRT engine of the model, build one while another engine "
        "serves, then change over.",
    ),
    "build_only": (
        "false",
        "true: start no node, only build the TensorRT engine of the model, and end; with status 1 "
        "if that is not possible. model, cameras and build_options are those of params_file, too.",
    ),
    "build_options": ("", "Options of `rosam engine build` for both, such as --precision fp32."),
    "threads": ("0", "Threads of the engine; 0: one per core."),
    "fov_deg": ("0.0", "Horizontal field of view in degrees, for a camera without camera_info."),
    "camera_file": ("", "Calibration YAML, for a camera without camera_info."),
    "camera_height_m": (
        "0.0",
        "Height of the camera above the ground in metres, which gives depth its scale; 0: the "
        "network's own scale.",
    ),
    "camera_pitch_deg": ("0.0", "About how far down the camera looks, in degrees."),
    "image_transport": ("auto", "auto, raw or compressed."),
    "params_file": (
        "",
        "YAML of node parameters. What is given above wins over it, except for what is its own "
        "default: threads:=0 leaves the threads of the file as they are.",
    ),
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


def is_true(text):
    """Returns the meaning of a launch argument that is true or false."""
    if text.lower() not in ("true", "false"):
        raise ValueError(f"expected true or false, got {text!r}")
    return text.lower() == "true"


NODE_PARAMETERS = {
    "model": str,
    "cameras": str,
    "engine": str,
    "build_engine": is_true,
    "build_options": str,
    "threads": int,
    "fov_deg": float,
    "camera_file": str,
    "camera_height_m": float,
    "camera_pitch_deg": float,
    "image_transport": str,
}
"""Arguments that are parameters of the node as well, with their type."""


def beside(image: str) -> str:
    """Returns the camera_info topic that belongs to an image topic, as image_transport has it."""
    base = image[: -len("/compressed")] if image.endswith("/compressed") else image
    folder, slash, _ = base.rpartition("/")
    return f"{folder}{slash}camera_info"


def remappings(value):
    """Returns the topics of one camera, or of each of several."""
    names = [name.strip() for name in value["cameras"].split(",")] if value["cameras"] else []
    if names and value["image"] == ARGUMENTS["image"][0]:
        value = {**value, "image": f"{{camera}}/{value['image']}"}  # as the node itself has it
    if bool(names) != ("{camera}" in value["image"]):
        raise ValueError(
            f"cameras:={value['cameras']} image:={value['image']}: several cameras need "
            "{camera} in image, and one has no use for it, such as cameras:=front,left "
            "image:=/{camera}/image_raw"
        )
    pairs = []
    for name in names or [""]:
        image, info = (value[key].replace("{camera}", name) for key in ("image", "camera_info"))
        prefix = f"{name}/" if name else ""
        pairs += [(f"{prefix}image", image), (f"{prefix}camera_info", info or beside(image))]
    return pairs


def sections(tree, node=""):
    """Yields the nodes that a params file names, such as /** or /front/depth_node, and theirs."""
    for key, below in tree.items():
        if isinstance(below, dict) and key == "ros__parameters":
            yield node, below
        elif isinstance(below, dict):
            yield from sections(below, f"{node}/{str(key).strip('/')}")


def of_params_file(path, node):
    """Returns the parameters that a params file has for a node, as ROS reads it: the last wins."""
    try:
        tree = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeError, yaml.YAMLError) as error:
        words = " ".join(str(error).split())
        raise ValueError(f"params_file:={path} cannot be read: {words}") from error
    named = list(sections(tree)) if isinstance(tree, dict) else []
    if not named:
        raise ValueError(f"params_file:={path} has no ros__parameters: see config/depth.yaml")
    found = {}
    for name, parameters in named:
        pattern = re.escape(name).replace(r"/\*\*", r"(/\w+)*").replace(r"/\*", r"/\w+")
        found.update(parameters if re.fullmatch(pattern, node) else {})
    return found


def with_params_file(value, names):
    """Returns the arguments, those of the names from the params file where they are not given."""
    if not value["params_file"]:
        return value
    node = re.sub("/+", "/", f"/{value['namespace']}/{value['name']}")
    stated = of_params_file(value["params_file"], node)
    taken = {n: stated[n] for n in names if n in stated and value[n] == ARGUMENTS[n][0]}
    for name, found in taken.items():
        if not isinstance(found, str):
            raise ValueError(
                f"{name} in {value['params_file']} is no text, but a {type(found).__name__}"
            )
    return {**value, **taken}


def build(value):
    """Returns the actions that build an engine and end the launch, with status 1 if it fails."""
    value = with_params_file(value, ("model", "cameras", "build_options"))
    model = os.path.expanduser(value["model"])
    cameras = len(value["cameras"].split(","))
    arguments = ["engine", "build", *([model] if model else [])]
    arguments += ["--batch", "1" if cameras == 1 else f"1,{cameras}"]
    arguments += shlex.split(value["build_options"])
    rosam = ExecutableInPackage(package="rosam_depth_ros", executable="rosam")
    process = ExecuteProcess(cmd=[rosam, *arguments], output="screen", emulate_tty=True)

    def end(event, context):
        if event.returncode:  # an exception is what gives `ros2 launch` a status
            raise RuntimeError(f"no engine was built: status {event.returncode}")

    return [RegisterEventHandler(OnProcessExit(target_action=process, on_exit=end)), process]


def start(context):
    """Returns the actions, now that the arguments have values."""
    value = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    if is_true(value["build_only"]):
        return build(value)
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
            remappings=remappings(with_params_file(value, ("cameras",))),
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
