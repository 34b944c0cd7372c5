"""Replays a drive through `depth_node`: `ros2 launch rosam_depth_ros replay.launch.py bag:=X`."""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    IncludeLaunchDescription,
    OpaqueFunction,
    RegisterEventHandler,
    Shutdown,
)
from launch.event_handlers import OnProcessExit
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

HERE = Path(__file__).resolve().parent

ARGUMENTS = {
    "bag": ("", "Bag, or folder of a synthetic drive, to replay."),
    "image": ("", "Image topic of the bag; empty: its first camera."),
    "model": ("", "Path of the ONNX model, its card beside it; empty: the packaged one."),
    "engine": ("auto", "What runs the network."),
    "threads": ("0", "Threads of the engine; 0: one per core."),
    "fov_deg": ("0.0", "Horizontal field of view in degrees, for a camera without camera_info."),
    "camera_file": ("", "Calibration YAML, for a camera without camera_info."),
    "camera_height_m": (
        "0.0",
        "Height of the camera above the ground in metres, which gives depth its scale; 0: the "
        "network's own scale.",
    ),
    "camera_pitch_deg": ("0.0", "About how far down the camera looks, in degrees."),
    "rate": ("1.0", "Speed of the replay, 1 = as recorded."),
    "lockstep": (
        "false",
        "true: wait for the depth of each frame before the next one is published.",
    ),
    "wait_s": (
        "120.0",
        "How long to wait at the start for the depth node, and in lockstep for its first depth "
        "[s]; building a GPU engine takes minutes.",
    ),
    "condition": ("", "Of a synthetic drive: one, or several separated by commas."),
    "statistics_file": ("", "Write frames, drops and latency here, as JSON."),
}
"""Name, default and description of every launch argument."""

PASSED_ON = (
    "model",
    "engine",
    "threads",
    "fov_deg",
    "camera_file",
    "camera_height_m",
    "camera_pitch_deg",
)
"""Arguments of depth.launch.py that this file has, too."""


def is_true(text):
    """Returns the meaning of a launch argument that is true or false."""
    if text.lower() not in ("true", "false"):
        raise ValueError(f"expected true or false, got {text!r}")
    return text.lower() == "true"


def camera_of(source, image):
    """Returns the image topic to replay, its camera_info and the namespace of its outputs."""
    from rosam_core.drives.playback import open_playback

    playback = open_playback(source, image_topic=image)
    topic = playback.image_topic
    base = topic[: -len("/compressed")] if topic.endswith("/compressed") else topic
    return topic, playback.info_topic, base.rpartition("/")[0]


def start(context):
    """Returns the actions, now that the arguments have values."""
    value = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    if not value["bag"]:
        raise RuntimeError("replay.launch.py needs bag:=PATH, a bag or a synthetic drive")
    image, camera_info, namespace = camera_of(value["bag"], value["image"])
    depth = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(HERE / "depth.launch.py")),
        launch_arguments={
            "image": image,
            "camera_info": camera_info,
            "namespace": namespace,
            **{name: value[name] for name in PASSED_ON},
        }.items(),
    )
    replay = Node(
        package="rosam_depth_ros",
        executable="replay_node",
        name="replay_node",
        namespace=namespace,
        parameters=[
            {
                "source": value["bag"],
                "image_topic": value["image"],
                "rate": float(value["rate"]),
                "lockstep": is_true(value["lockstep"]),
                "wait_s": float(value["wait_s"]),
                "condition": value["condition"],
                "statistics_file": value["statistics_file"],
            }
        ],
        output="screen",
        emulate_tty=True,
    )

    def end(event, context):
        # The replay's end is the end of it all: `depth_node` alone would wait for ever, and so
        # would the replay for the depth of a node that has died. Other processes are others' own.
        of_depth = Path(event.cmd[0]).name == "depth_node" and (
            not namespace or f"__ns:={namespace}" in event.cmd
        )
        if context.is_shutdown or not (event.action is replay or of_depth):
            return None
        if of_depth or event.returncode:  # an exception is what gives `ros2 launch` a status
            raise RuntimeError(f"{event.process_name} ended with status {event.returncode}")
        return [Shutdown(reason="the replay has ended")]

    return [depth, RegisterEventHandler(OnProcessExit(on_exit=end)), replay]


def generate_launch_description():
    """Returns the launch description."""
    arguments = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in ARGUMENTS.items()
    ]
    return LaunchDescription([*arguments, OpaqueFunction(function=start)])
