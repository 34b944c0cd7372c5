"""Every ROS parameter of the depth node, declared once: default, range, description.

`python -m rosam_depth_ros.parameters` prints `docs/interface.md`, and with `--yaml` it prints
`config/depth.yaml`.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import sys
import textwrap
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from rosam_core.engines.openvino_engine import PRECISIONS
from rosam_core.engines.registry import ENGINES

if TYPE_CHECKING:
    from rclpy.node import Node


def _parameter(
    default: Any,
    description: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    read_only: bool = False,
) -> Any:
    metadata = {
        "description": description,
        "low": low,
        "high": high,
        "choices": choices,
        "read_only": read_only,
    }
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class NodeParameters:
    """One consistent snapshot of the node's parameters; the fields are the declarations."""

    model: str = _parameter(
        "",
        "Path of the ONNX model; its card (`.json`) lies beside it. Empty: the packaged light "
        "student. Setting it loads the new model; a file that appears later is picked up.",
    )
    cameras: str = _parameter(
        "",
        "Names of several cameras, such as `front,left,right`: each has the topics below under "
        "its name (`front/image`, `front/depth/image`), and frames that come together go through "
        "the network in one call. Empty: one camera without a name.",
        read_only=True,
    )
    max_wait_ms: float = _parameter(
        10.0,
        "With several cameras, how long a frame waits for those of the others; a camera that has "
        "been silent for 2 s is not waited for.",
        low=0.0,
        high=1000.0,
    )
    waiting_frames: int = _parameter(
        2,
        "After a short stall so many frames wait in line where the network is quicker than the "
        "camera, so that none is lost; one more replaces the oldest. 1: only ever the newest, as "
        "with a network that is slower.",
        low=1,
        high=8,
        read_only=True,
    )
    engine: str = _parameter(
        "auto",
        "What runs the network. `auto` takes the best engine installed, `onnx` is short for "
        "`onnx-cpu`. Setting it loads the new engine beside the present one, which serves until "
        "the new one is ready, and goes on if that fails.",
        choices=(*ENGINES, "onnx"),
    )
    build_engine: bool = _parameter(
        False,
        "With engine `auto` or `tensorrt`: unless there is a TensorRT engine of the model, build "
        "one in a process of its own while the best other engine serves, then change over.",
    )
    build_options: str = _parameter(
        "",
        "Options of `rosam engine build` for that, such as `--precision fp32`; an engine of "
        "another precision than they name does not count as built.",
        read_only=True,
    )
    threads: int = _parameter(
        0, "Threads of the engine; 0 = one per core.", low=0, high=256, read_only=True
    )
    spinning: bool = _parameter(
        False,
        "Let the engine's idle threads spin: lower latency, a core burnt while waiting.",
        read_only=True,
    )
    onnx_arena: bool = _parameter(
        True,
        "ONNX Runtime keeps freed memory for the next image: quicker, at the price of memory.",
        read_only=True,
    )
    onnx_provider_options: str = _parameter(
        "",
        "Options of ONNX Runtime's provider for `onnx-cuda` and `onnx-tensorrt`, such as "
        "`device_id=1,gpu_mem_limit=2147483648`.",
        read_only=True,
    )
    openvino_precision: str = _parameter(
        "f32",
        "What `openvino` computes floats in; 8-bit layers are in the file.",
        choices=PRECISIONS,
        read_only=True,
    )
    openvino_cache: str = _parameter(
        "",
        "Folder where `openvino` keeps compiled networks for the next start; empty: none.",
        read_only=True,
    )
    image_transport: str = _parameter(
        "auto",
        "`raw` (Image) or `compressed` (CompressedImage: JPEG, PNG). `auto`: the type that is "
        "published on the topic; until something is, compressed if it ends in `/compressed`, "
        "else raw. With `compressed`, `/compressed` is appended to a topic that does not end in "
        "it.",
        choices=("auto", "raw", "compressed"),
        read_only=True,
    )
    input_qos: str = _parameter(
        "auto",
        "Reliability asked of `image` and `camera_info`. `auto`: reliable, and best effort as "
        "soon as a publisher offers no more.",
        choices=("auto", "reliable", "best_effort"),
        read_only=True,
    )
    fov_deg: float = _parameter(
        0.0,
        "Horizontal field of view [degrees], used instead of `camera_info` for a camera that has "
        "none; 0 = use `camera_info`.",
        low=0.0,
        high=179.0,
    )
    camera_file: str = _parameter(
        "",
        "Calibration file (the YAML of `camera_calibration`; for rectified images, `image_rect*`, "
        "its projection matrix), used instead of `camera_info` and of `fov_deg`; `{camera}` in it "
        "stands for the camera's name; empty = not used.",
    )
    camera_height_m: float = _parameter(
        0.0,
        "How high the camera is above the ground [m], with several cameras each of them: depth "
        "gets the scale at which the ground is so far below. 0 = the network's own scale.",
        low=0.0,
        high=100.0,
    )
    camera_pitch_deg: float = _parameter(
        0.0,
        "About how far down the camera looks [degrees], for `camera_height_m`: 10 degrees more or "
        "less are found from the image.",
        low=-60.0,
        high=85.0,
    )
    resize: str = _parameter(
        "letterbox",
        "How an image of another shape meets the network: `letterbox` keeps its aspect and pads, "
        "`stretch` distorts it, `crop` keeps its aspect and uses the middle.",
        choices=("letterbox", "stretch", "crop"),
    )
    output_size: str = _parameter(
        "input",
        "Size of the outputs: that of the `input` image, or that of the `network` (cheaper).",
        choices=("input", "network"),
    )
    depth_encoding: str = _parameter(
        "32FC1",
        "`32FC1`: metres, NaN = unknown, +Inf = beyond range. `16UC1`: millimetres, 0 = unknown "
        "or beyond range.",
        choices=("32FC1", "16UC1"),
    )
    min_confidence: float = _parameter(
        0.0, "Depth less confident than this becomes NaN.", low=0.0, high=1.0
    )
    max_depth_m: float = _parameter(
        0.0,
        "Depth beyond this becomes +Inf [m]; 0 = the limit in the model card.",
        low=0.0,
        high=10000.0,
    )
    color_max_depth_m: float = _parameter(
        80.0, "Darkest depth of the `depth/image_color` picture [m].", low=2.0, high=10000.0
    )
    points_stride: int = _parameter(
        2, "`points` holds every n-th pixel of every n-th row.", low=1, high=64
    )


SPECIFICATIONS = {f.name: f for f in dataclasses.fields(NodeParameters)}


def check_value(name: str, value: Any) -> Any:
    """Returns the value in the declared type (an integer is accepted for a float).

    Args:
        name: Name of a declared parameter.
        value: What was asked for.

    Raises:
        ValueError: Wrong type, outside the range or not among the choices; says what is allowed.
    """
    field = SPECIFICATIONS[name]
    kind: Any = type(field.default)
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        raise ValueError(
            f"parameter {name} must be {_TYPE_NAMES[kind]}, got {value!r} "
            f"({_TYPE_NAMES.get(type(value), type(value).__name__)})"
        )
    if kind in (int, float):
        low, high = field.metadata["low"], field.metadata["high"]
        if not math.isfinite(value) or not low <= value <= high:
            raise ValueError(f"parameter {name} must be in [{low:g}, {high:g}], got {value:g}")
    choices = field.metadata["choices"]
    if choices and value not in choices:
        raise ValueError(f"parameter {name} must be one of {', '.join(choices)}, got {value!r}")
    return value


_TYPE_NAMES = {str: "string", int: "integer", float: "double", bool: "bool"}


def unknown_parameter_messages(given: Iterable[str]) -> list[str]:
    """Returns one line for every given name that no parameter has, with the nearest name.

    Args:
        given: Names of the overrides (command line, params file) of the node.
    """
    known = [*SPECIFICATIONS, "use_sim_time"]
    lines = []
    for name in sorted(set(given)):
        if name in known or name.startswith(("qos_overrides.", "start_type_description_service")):
            continue
        near = difflib.get_close_matches(name, known, n=1)
        hint = f": did you mean {near[0]}?" if near else "; `ros2 param list` names them all"
        lines.append(f"unknown parameter {name} is ignored{hint}")
    return lines


def declare(node: Node) -> NodeParameters:
    """Declares every parameter on a node and returns their values.

    Args:
        node: The node; its overrides are taken into account.

    Raises:
        ValueError: An override has the wrong type, value or choice.
    """
    from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
    from rclpy.exceptions import InvalidParameterValueException

    values = {}
    for name, field in SPECIFICATIONS.items():
        meta = field.metadata
        descriptor = ParameterDescriptor(
            description=meta["description"],
            read_only=meta["read_only"],
            dynamic_typing=True,  # `fov_deg:=60` is an integer to ROS: `check_value` mends that
        )
        if meta["choices"]:
            descriptor.additional_constraints = "one of " + ", ".join(meta["choices"])
        elif type(field.default) is float:
            low, high = float(meta["low"]), float(meta["high"])
            descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
        elif type(field.default) is int:
            low, high = int(meta["low"]), int(meta["high"])
            descriptor.integer_range = [IntegerRange(from_value=low, to_value=high, step=1)]
        try:
            value = node.declare_parameter(name, field.default, descriptor).value
        except InvalidParameterValueException as error:
            raise ValueError(f"parameter {name}: {error}") from error
        values[name] = check_value(name, value)
    return NodeParameters(**values)


def updated(current: NodeParameters, changes: Mapping[str, Any]) -> NodeParameters:
    """Returns the parameters after a run-time change; names that are not ours are left out.

    Args:
        current: The values so far.
        changes: Name and new value of what changes.

    Raises:
        ValueError: As `check_value`.
    """
    checked = {n: check_value(n, v) for n, v in changes.items() if n in SPECIFICATIONS}
    return dataclasses.replace(current, **checked)


_TOPICS = """\
| topic | type | |
|---|---|---|
| in `image` | `sensor_msgs/Image` or `CompressedImage` | rgb8, bgr8, rgba8, bgra8, mono8, \
mono16, bayer_{rggb,bggr,gbrg,grbg}8, yuv422 (uyvy), yuv422_yuy2, any `step`; JPEG and PNG |
| in `camera_info` | `sensor_msgs/CameraInfo` | of the size of `image`; the latest one is used |
| out `depth/image` | `sensor_msgs/Image` | 32FC1, metres along the optical axis; NaN = unknown, \
+Inf = beyond range (or 16UC1 millimetres) |
| out `depth/camera_info` | `sensor_msgs/CameraInfo` | true to `depth/image` |
| out `confidence/image` | `sensor_msgs/Image` | 32FC1 in [0, 1]: the probability that the depth \
is within 25 % of the truth |
| out `confidence/camera_info` | `sensor_msgs/CameraInfo` | |
| out `depth/image_color` | `sensor_msgs/Image` | rgb8, made only while subscribed |
| out `points` | `sensor_msgs/PointCloud2` | x, y, z, rgb; made only while subscribed |
| out `/diagnostics` | `diagnostic_msgs/DiagnosticArray` | 1 Hz, a status for each camera: rates, \
latency, drops, errors by kind, `engine` that runs and `engine_reason` why |

Topic names are relative: remap them, or start the node in a namespace. Outputs keep the stamp and
frame_id of their image. They are reliable with depth 1, so a slow subscriber gets the newest
frame. Inputs have the reliability that `input_qos` says; of what has come, the newest is run, or
each in turn where the network is quicker than the camera (`waiting_frames`)."""

_BEHAVIOUR = """\
A new `engine` or `model` is loaded beside the present one and takes over between two frames; no
frame is lost for it. If it cannot be loaded the present one goes on, and the status is a warning
that says what runs and why. `build_engine` builds in a process of its own, of low priority; if
that ends badly the node serves on and says why; setting `build_engine` again tries again.

With several `cameras` the frames that are there together go through the network in one call. A
frame waits for those of other cameras for `max_wait_ms` at most; each camera keeps its newest, or
as many as `waiting_frames` says.

A frame that cannot be used, a missing model or a wrong `camera_info` is logged as one specific
error, at once and then at most every 5 s, counted in `/diagnostics`, and the node goes on with the
next good frame. A parameter given with a wrong type, range or choice ends the node at start with
one line and exit status 1; an unknown one is reported and ignored. SIGINT and SIGTERM end it with
exit status 0."""


def interface_markdown() -> str:
    """Returns `docs/interface.md`."""
    rows = []
    for name, field in SPECIFICATIONS.items():
        meta = field.metadata
        allowed = ", ".join(f"`{c}`" for c in meta["choices"])
        if meta["low"] is not None:
            allowed = f"{meta['low']:g} to {meta['high']:g}"
        kind = _TYPE_NAMES[type(field.default)]
        change = "at start only" if meta["read_only"] else "any time"
        default = _yaml_value(field.default)
        rows.append(
            f"| `{name}` | {kind} | `{default}` | {allowed} | {change} | {meta['description']} |"
        )
    table = "\n".join(rows)
    return f"""# Interface of `depth_node`

Generated by `python -m rosam_depth_ros.parameters > docs/interface.md`.

## Topics

{_TOPICS}

## Parameters

| name | type | default | allowed | settable | meaning |
|---|---|---|---|---|---|
{table}

## Behaviour

{_BEHAVIOUR}
"""


def parameters_yaml() -> str:
    """Returns `config/depth.yaml`: every parameter at its default, described."""
    lines = [
        "# Every parameter of depth_node at its default; a file of one's own needs the changed",
        "# ones only. Generated by `python -m rosam_depth_ros.parameters --yaml`.",
        "/**:",
        "  ros__parameters:",
    ]
    for name, field in SPECIFICATIONS.items():
        lines += textwrap.wrap(
            field.metadata["description"], 97, initial_indent="    # ", subsequent_indent="    # "
        )
        lines.append(f"    {name}: {_yaml_value(field.default)}")
    return "\n".join(lines) + "\n"


def _yaml_value(value: Any) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    return str(value).lower()


if __name__ == "__main__":
    sys.stdout.write(parameters_yaml() if "--yaml" in sys.argv[1:] else interface_markdown())
