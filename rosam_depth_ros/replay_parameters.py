"""Every ROS parameter of the replay node, declared once: default, range, description."""

from __future__ import annotations

import dataclasses
import math
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
        "How long to wait at the start until the camera has a subscriber and its depth a "
        "publisher [s]; 0 starts at once.",
        0.0,
        600.0,
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
        ValueError: An override has the wrong type or is outside the range.
    """
    from rcl_interfaces.msg import ParameterDescriptor

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
