"""The values that cross every boundary: camera, frame, prediction and model card."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
UInt8 = npt.NDArray[np.uint8]
UInt16 = npt.NDArray[np.uint16]

CONDITIONS = ("day-clear", "night", "day-rain", "fog", "unknown")
"""Names of the conditions a frame may have been recorded in."""


@dataclasses.dataclass(frozen=True)
class Camera:
    """A pinhole camera, with the distortion a ROS `camera_info` carries.

    Pixel coordinates are those of ROS and OpenCV: the centre of the top-left pixel is (0, 0).

    Attributes:
        fx: Horizontal focal length [px], > 0.
        fy: Vertical focal length [px], > 0.
        cx: Principal point, column [px].
        cy: Principal point, row [px].
        width: Image width [px].
        height: Image height [px].
        distortion_model: `""` (none), `"plumb_bob"`, `"rational_polynomial"` or `"equidistant"`.
        distortion: Coefficients of that model, in ROS order.
    """

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int
    distortion_model: str = ""
    distortion: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        values = (self.fx, self.fy, self.cx, self.cy)
        if not all(math.isfinite(v) for v in values) or self.fx <= 0 or self.fy <= 0:
            raise ValueError(
                f"camera needs finite intrinsics with positive focal lengths, got fx={self.fx} "
                f"fy={self.fy} cx={self.cx} cy={self.cy}: is the camera calibrated?"
            )
        if self.width <= 0 or self.height <= 0:
            raise ValueError(f"camera needs a positive size, got {self.width}x{self.height}")

    @property
    def K(self) -> Float64:
        """Intrinsic matrix, float64[3,3], pixels."""
        return np.array(
            [[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1]], dtype=np.float64
        )

    @property
    def fov_x_deg(self) -> float:
        """Horizontal field of view of the undistorted pinhole [degrees]."""
        return math.degrees(2 * math.atan(self.width / (2 * self.fx)))

    @classmethod
    def from_fov(cls, fov_x_deg: float, width: int, height: int) -> Camera:
        """Returns a camera with square pixels, a centred principal point and the given view.

        Args:
            fov_x_deg: Horizontal field of view [degrees], in (0, 180).
            width: Image width [px].
            height: Image height [px].

        Raises:
            ValueError: The field of view is not inside (0, 180).
        """
        if not 0 < fov_x_deg < 180:
            raise ValueError(
                f"field of view must be between 0 and 180 degrees, exclusive, got {fov_x_deg}"
            )
        f = width / (2 * math.tan(math.radians(fov_x_deg) / 2))
        return cls(f, f, (width - 1) / 2, (height - 1) / 2, width, height)

    def scaled_to(self, width: int, height: int) -> Camera:
        """Returns the camera of the same picture resized to `width` x `height`."""
        sx, sy = width / self.width, height / self.height
        return dataclasses.replace(
            self,
            fx=self.fx * sx,
            fy=self.fy * sy,
            cx=(self.cx + 0.5) * sx - 0.5,
            cy=(self.cy + 0.5) * sy - 0.5,
            width=width,
            height=height,
        )

    def cropped(self, left: int, top: int, width: int, height: int) -> Camera:
        """Returns the camera of a window; negative `left` or `top` is padding on that side."""
        return dataclasses.replace(
            self, cx=self.cx - left, cy=self.cy - top, width=width, height=height
        )


@dataclasses.dataclass(frozen=True)
class Frame:
    """One image of a drive with everything that is known about it.

    Attributes:
        image: uint8[H,W,3], RGB.
        camera: Intrinsics of `image`.
        stamp_ns: Time of exposure [ns].
        T_world_camera: float64[4,4], camera (x right, y down, z forward) to world, or None.
        condition: One of `CONDITIONS`.
        camera_name: Name of the camera in its drive; the topic, for a bag.
        lidar: float32[N,3], points in this camera's frame at `stamp_ns` [m], or None.
        depth: float32[H,W], exact depth [m] along the optical axis, +Inf = sky, NaN = unknown.
        instances: uint16[H,W], object ids, 0 = none.
        lidar_origin: float64[3], where the lidar was when it saw `lidar`, in this camera's frame
            [m]; None if not known, or if the points were seen from several places.
    """

    image: UInt8
    camera: Camera
    stamp_ns: int
    T_world_camera: Float64 | None = None
    condition: str = "unknown"
    camera_name: str = "camera"
    lidar: Float32 | None = None
    depth: Float32 | None = None
    instances: UInt16 | None = None
    lidar_origin: Float64 | None = None


@dataclasses.dataclass(frozen=True)
class DepthPrediction:
    """Depth and confidence of one image.

    Attributes:
        depth: float32[H,W] [m] along the optical axis; NaN = unknown, +Inf = beyond range.
        confidence: float32[H,W] in [0, 1], probability that depth is within 25 % of the truth.
        camera: Intrinsics of `depth`.
    """

    depth: Float32
    confidence: Float32
    camera: Camera


@dataclasses.dataclass(frozen=True)
class ModelCard:
    """What a model file is, what it saw in training and what it measured.

    Attributes:
        name: Short name.
        architecture: Name in `rosam_core.models`.
        input_width: Network input width [px].
        input_height: Network input height [px].
        training_focal_px: Focal length, at network size, for which the output is in metres [px].
        focal_range_px: Smallest and largest focal length, at network size, seen in training [px].
        min_depth_m: Smallest depth the network can state [m].
        max_depth_m: Beyond this depth the pipeline publishes +Inf [m].
        is_metric: Depth is in metres; otherwise it is relative and needs a scale.
        confidence_temperature: Fitted multiplier of the Laplace scale b; already in the graph.
        sha256: Hash of the ONNX file.
        licence: SPDX identifier of the weights.
        training_data: What it was trained on, in words.
        results: Measured figures, by data set and condition, with their protocol.
    """

    name: str
    architecture: str
    input_width: int
    input_height: int
    training_focal_px: float
    focal_range_px: tuple[float, float]
    min_depth_m: float
    max_depth_m: float
    is_metric: bool
    confidence_temperature: float
    sha256: str
    licence: str
    training_data: str
    results: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.input_width <= 0 or self.input_height <= 0:
            raise ValueError(
                f"model card: input size must be positive, got "
                f"{self.input_width}x{self.input_height}"
            )
        if not self.training_focal_px > 0:
            raise ValueError(
                f"model card: training_focal_px must be positive, got {self.training_focal_px}"
            )
        low, high = self.focal_range_px
        if not 0 < low <= high:
            raise ValueError(
                f"model card: focal_range_px must be a positive range, got {low} to {high}"
            )
        if not 0 < self.min_depth_m < self.max_depth_m:
            raise ValueError(
                f"model card: need 0 < min_depth_m < max_depth_m, got "
                f"{self.min_depth_m} and {self.max_depth_m}"
            )

    def to_json(self) -> str:
        """Returns the card as indented JSON text."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def load(cls, path: str | Path) -> ModelCard:
        """Reads a card.

        Args:
            path: The JSON file.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: The file is not a card; the message names the field.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(
                f"no model card at {path}: `rosam export` writes it beside the model"
            )
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"model card {path} is not JSON: {error}") from error
        if not isinstance(values, dict):
            raise ValueError(f"model card {path} is not a JSON object")
        known = {f.name: f for f in dataclasses.fields(cls)}
        unknown = sorted(set(values) - set(known))
        missing = sorted(
            name
            for name, f in known.items()
            if name not in values and f.default_factory is dataclasses.MISSING
        )
        if unknown or missing:
            raise ValueError(f"model card {path}: missing {missing}, unknown {unknown} fields")
        results = values.get("results", {})
        if not isinstance(results, dict) or not isinstance(results.get("quantization", {}), dict):
            raise ValueError(f"model card {path}: results and its sections must be JSON objects")
        if not isinstance(values["focal_range_px"], list) or len(values["focal_range_px"]) != 2:
            raise ValueError(
                f"model card {path}: focal_range_px must be two numbers, got "
                f"{values['focal_range_px']!r}"
            )
        try:
            low, high = values["focal_range_px"]
            values["focal_range_px"] = (float(low), float(high))
            for name in ("training_focal_px", "min_depth_m", "max_depth_m"):
                values[name] = float(values[name])
            values["input_width"] = int(values["input_width"])
            values["input_height"] = int(values["input_height"])
            return cls(**values)
        except (TypeError, ValueError) as error:
            raise ValueError(f"model card {path}: {error}") from error


def card_path(model_path: str | Path) -> Path:
    """Returns where the card of a model lives: `model.onnx` has `model.json` beside it."""
    return Path(model_path).with_suffix(".json")


def file_sha256(path: str | Path) -> str:
    """Returns the hexadecimal SHA-256 of a file."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()
