"""Every ROS parameter of the replay node, declared once: default, range, description.

`python -m rosam_depth_ros.replay_parameters` prints `docs/replay.md`.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import sys
from typing import TYPE_CHECKING, Any

from rosam_core.types import CONDITIONS

if TYPE_CHECKING:
    from rclpy.node import Node


def _parameter(
    default: Any, description: str, low: float | None = None, high: float | None = None
) -> Any:
    metadata = {"description": description, "low": low, "high": high}
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class ReplayParameters:
    """The values of the parameters; the fields are the declarations."""

    source: str = _parameter(
        "",
        "What to replay: a .bag, .mcap or .db3 file, the folder of a rosbag2 recording, or the "
        "folder of a synthetic drive.",
    )
    image_topic: str = _parameter(
        "", "The camera of a bag whose frames are counted and waited for; empty: the first one."
    )
    output_topic: str = _parameter(
        "depth/image", "Where the depth of that camera is published, for the statistics."
    )
    rate: float = _parameter(
        1.0, "Speed of the replay, 1 = as recorded; not used in lockstep.", 0.01, 100.0
    )
    lockstep: bool = _parameter(
        False, "Publish one frame, wait for its depth, then the next: no frame is dropped."
    )
    timeout_s: float = _parameter(
        10.0, "How long lockstep, and the end of any replay, waits for a depth [s].", 0.0, 600.0
    )
    wait_s: float = _parameter(
        30.0,
        "How long to wait at the start until the camera has its `subscribers` and its depth a "
        "publisher and its `output_subscribers`, and in lockstep for a first depth [s]; 0 starts "
        "at once.",
        0.0,
        600.0,
    )
    subscribers: int = _parameter(
        1, "How many listen to the images: the depth node, and a recorder, say.", 1, 100
    )
    output_subscribers: int = _parameter(
        0, "How many listen to the depth besides the replay: a recorder, say.", 0, 100
    )
    loop: bool = _parameter(False, "Start again at the end, until stopped.")
    condition: str = _parameter(
        "",
        "Of a synthetic drive, one or several separated by commas: the drive is split into equal "
        f"parts ({', '.join(CONDITIONS[:-1])}); empty: the first one it has.",
    )
    compressed: bool = _parameter(False, "Publish the images of a synthetic drive as JPEG.")
    clock: bool = _parameter(True, "Publish the time of the recording on /clock.")
    statistics_file: str = _parameter("", "Also write the statistics here, as JSON.")


def declare(node: Node) -> ReplayParameters:
    """Declares every parameter on a node and returns their values.

    Args:
        node: The node; its overrides are taken into account.

    Raises:
        ValueError: An override is unknown, has the wrong type or is outside the range.
    """
    from rcl_interfaces.msg import ParameterDescriptor

    names = [field.name for field in dataclasses.fields(ReplayParameters)]
    for given in getattr(node, "_parameter_overrides", ()):
        if given not in (*names, "use_sim_time") and "." not in given:
            near = difflib.get_close_matches(given, names, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}"
            raise ValueError(f"unknown parameter {given}: {hint}")
    values: dict[str, Any] = {}
    for field in dataclasses.fields(ReplayParameters):
        descriptor = ParameterDescriptor(
            description=field.metadata["description"],
            read_only=True,
            dynamic_typing=True,  # `rate:=2` is an integer to ROS: it is taken as a float below
        )
        low, high = field.metadata["low"], field.metadata["high"]
        if low is not None:
            descriptor.additional_constraints = f"from {low:g} to {high:g}"
        value: Any = node.declare_parameter(field.name, field.default, descriptor).value
        kind: Any = type(field.default)
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind:
            raise ValueError(f"parameter {field.name} must be a {kind.__name__}, got {value!r}")
        if low is not None and not (math.isfinite(value) and low <= value <= high):
            raise ValueError(
                f"parameter {field.name} must be in [{low:g}, {high:g}], got {value:g}"
            )
        values[field.name] = value
    return ReplayParameters(**values)


_TYPE_NAMES = {str: "string", float: "double", int: "integer", bool: "bool"}


def replay_markdown() -> str:
    """Returns `docs/replay.md`."""
    rows = []
    for field in dataclasses.fields(ReplayParameters):
        low, high = field.metadata["low"], field.metadata["high"]
        allowed = "" if low is None else f"{low:g} to {high:g}"
        value = f'"{field.default}"' if isinstance(field.default, str) else field.default
        kind = _TYPE_NAMES[type(field.default)]
        text = field.metadata["description"]
        rows.append(f"| `{field.name}` | {kind} | `{str(value).lower()}` | {allowed} | {text} |")
    table = "\n".join(rows)
    return f"""# Replaying a drive

Generated by `python -m rosam_depth_ros.replay_parameters > docs/replay.md`.

`replay_node` publishes a bag or a synthetic drive on the graph, with `/clock`, for `depth_node` or
anything else to work on:

```sh
ros2 launch rosam_depth_ros replay.launch.py bag:=drive.mcap lockstep:=true   # both nodes
python -m rosam_depth_ros.replay_node --ros-args -p source:=drive.mcap         # the replay alone
```

Of a bag it publishes images, camera_info, point clouds and transforms, byte for byte, on the
topics they were recorded on; a synthetic drive becomes `/camera/image_raw` and
`/camera/camera_info`. Images are reliable with depth 1. The first camera_info is also published
once ahead of time, because a recording may hold it after the first image. A topic whose message
type is not installed (tf2_msgs, where ROS came from pip) is left out with a warning; so is
what ROS 2 does not take as the name of a topic, depth that another run of the node left there, and
what comes on a topic on which the node itself publishes.

At the end it prints one line of JSON:

| field | |
|---|---|
| `frames` | images published |
| `depths` | of these, how many came back as depth with their stamp |
| `drops` | the others |
| `duration_s`, `frames_per_s` | of the replay |
| `latency_ms` | `p50`, `p95`, `max` from publishing an image to its depth |

It ends with status 0 at the end of the drive, on SIGINT and on SIGTERM, and with 1 and one line if
the drive or a parameter is wrong, or in lockstep no depth came.

## Parameters

All are read at the start.

| name | type | default | allowed | meaning |
|---|---|---|---|---|
{table}
"""


if __name__ == "__main__":
    sys.stdout.write(replay_markdown())
