"""Where the depth that is scored comes from: a model, or files that anybody's method wrote."""

from __future__ import annotations

import logging
import math
from pathlib import Path

import cv2
import numpy as np

from rosam_core.drives.base import Drive
from rosam_core.engines.base import DepthEngine
from rosam_core.evaluation.flip import predict_with_flip
from rosam_core.runtime.ground import Mounting
from rosam_core.runtime.pipeline import DepthPipeline
from rosam_core.types import Camera, DepthPrediction, Float32, Frame

logger = logging.getLogger(__name__)

STRETCH = 1.05
"""A map whose proportions differ more than this from its image's may be a crop of it."""


def scoring_pipeline(engine: DepthEngine, resize: str = "letterbox") -> DepthPipeline:
    """Returns a pipeline that leaves far depth as the network says it.

    The card's range is not applied: median scaling comes before the range that is scored, and
    what is +Inf no scale brings back.

    Args:
        engine: Runs the network.
        resize: One of `preprocess.RESIZE_MODES`.
    """
    return DepthPipeline(engine, resize=resize, max_depth_m=math.inf)


class ModelPredictions:
    """Depth from a model."""

    def __init__(
        self,
        pipeline: DepthPipeline,
        flip: bool = False,
        by_height: bool = False,
        camera_height_m: float | None = None,
        camera_pitch_deg: float = 0.0,
    ) -> None:
        """Prepares.

        Args:
            pipeline: Of `scoring_pipeline`.
            flip: Whether to measure flip post-processing too.
            by_height: Whether depth gets the scale that the camera's height gives.
            camera_height_m: The height, instead of what the drive tells [m].
            camera_pitch_deg: About how far down the cameras look [degrees].
        """
        self.pipeline, self.flip, self.by_height = pipeline, flip, by_height
        self.camera_height_m, self.camera_pitch_deg = camera_height_m, camera_pitch_deg
        self._mountings: dict[tuple[Drive, str, str], Mounting] = {}
        self._has_ground: dict[tuple[Drive, int], bool] = {}

    def __call__(
        self, frame: Frame, drive: Drive, index: int
    ) -> tuple[DepthPrediction, DepthPrediction | None]:
        """Returns the prediction of a frame, and the one with flip post-processing or None.

        Raises:
            ValueError: The camera's height is needed and not known.
        """
        mounting = self._mounting(frame, drive, index) if self.by_height else None
        both: tuple[DepthPrediction, DepthPrediction | None]
        if self.flip:
            both = predict_with_flip(self.pipeline, frame.image, frame.camera, mounting)
        else:
            both = self.pipeline.predict(frame.image, frame.camera, mounting), None
        if mounting is not None:  # a report shows some frames a second time
            self._has_ground[drive, index] = mounting.ground is not None
        return both

    @property
    def ground_note(self) -> str:
        """In how many images ground was found, each counted once."""
        return (
            f"ground found in {sum(self._has_ground.values())} of {len(self._has_ground)} images"
        )

    def _mounting(self, frame: Frame, drive: Drive, index: int) -> Mounting:
        height = self.camera_height_m
        if height is None and (height := drive.camera_height(index)) is None:
            raise ValueError("the drive does not tell the camera's height: state --camera-height")
        key = drive, drive.scene(index), frame.camera_name
        mounting = self._mountings.setdefault(key, Mounting(height, self.camera_pitch_deg))
        mounting.height_m = height  # a drive tells that of each frame
        return mounting


class AmbiguousPredictionError(ValueError):
    """One file would be scored as the depth of several images."""


class SavedPredictions:
    """Depth from files: `<scene>/<name>` or `<name>`, with `.npy` [m] or 16-bit `.png`.

    `<name>` is the frame's stamp in nanoseconds or its index in the drive (any number of leading
    zeros), with the camera in front (`CAM_FRONT_000012`) where a scene has several. There is no
    confidence, so none is scored.
    """

    def __init__(self, folder: Path, png_scale: float = 256.0) -> None:
        """Lists the files.

        Args:
            folder: Where they are.
            png_scale: A PNG's value is this many times the depth in metres; 0 = unknown.

        Raises:
            FileNotFoundError: There is no such folder or no prediction in it.
            ValueError: Two files are of one frame, or the scale is not positive.
        """
        if not 0 < png_scale < float("inf"):
            raise ValueError(f"--png-scale is {png_scale:g}, expected a positive number")
        self.folder, self.png_scale = folder, png_scale
        self._warned: set[tuple[int, ...]] = set()
        self._taken: dict[Path, tuple[str, ...]] = {}
        self.files: dict[str, Path] = {}
        for path in sorted(folder.rglob("*")):
            if path.suffix not in (".npy", ".png"):
                continue
            key = _canonical(path.relative_to(folder).with_suffix("").as_posix())
            if key in self.files:
                raise ValueError(f"{path} and {self.files[key]} are predictions of one frame")
            self.files[key] = path
        if not self.files:
            found = "holds no .npy or .png" if folder.is_dir() else "does not exist"
            raise FileNotFoundError(f"predictions: {folder} {found}")

    def __call__(
        self, frame: Frame, drive: Drive, index: int
    ) -> tuple[DepthPrediction, DepthPrediction | None]:
        """Returns the saved depth of a frame, its confidence NaN.

        Raises:
            AmbiguousPredictionError: The file for the frame was another frame's before.
            ValueError: There is no file for the frame, or it is no depth map.
        """
        scene = drive.scene(index)
        camera = frame.camera_name.strip("/").replace("/", "_")
        numbers = (str(frame.stamp_ns), str(index))
        names = [f"{c}{n}" for c in (f"{camera}_", "") for n in numbers]
        folders = (f"{scene}/{frame.condition}/", f"{scene}/", f"{frame.condition}/", "")
        keys = [f"{folder}{name}" for folder in folders for name in names]
        path = next((self.files[key] for key in keys if key in self.files), None)
        if path is None:
            raise ValueError(
                f"no prediction in {self.folder}: expected one of "
                + ", ".join(f"{folders[1]}{n}.npy" for n in numbers)
                + f", {numbers[-1]}.npy; conditions of one scene: {keys[0]}.npy"
            )
        self._take(path, (scene, frame.condition, frame.camera_name, *numbers))
        depth = self._read(path)
        self._warn_if_stretched(depth.shape, frame.camera, path)
        confidence = np.full(depth.shape, np.nan, np.float32)
        view = frame.camera.scaled_to(depth.shape[1], depth.shape[0])
        return DepthPrediction(depth, confidence, view), None

    def _take(self, path: Path, frame: tuple[str, ...]) -> None:
        """Notes whose depth a file is."""
        other = self._taken.setdefault(path, frame)
        if other != frame:
            one, two = (" ".join(word for word in f[:4] if word) for f in (other, frame))
            raise AmbiguousPredictionError(
                f"{path} would be the depth of two frames ({one}; {two}): put the files of each "
                "scene into a folder of its name, and those of each condition into one below it"
            )

    def _warn_if_stretched(self, shape: tuple[int, ...], camera: Camera, path: Path) -> None:
        """Warns, once for each size, of a map that may be a part of the image, not all of it."""
        height, width = shape
        stretch = (width / camera.width) / (height / camera.height)
        if shape in self._warned or 1 / STRETCH < stretch < STRETCH:
            return
        self._warned.add(shape)
        logger.warning(
            "%s is %dx%d, its image %dx%d: it is stretched to the image; if it is a crop, paste "
            "it into a whole map of 0 first",
            path,
            width,
            height,
            camera.width,
            camera.height,
        )

    def _read(self, path: Path) -> Float32:
        if path.suffix == ".npy":
            try:
                values = np.load(path, allow_pickle=False)
            except (ValueError, OSError, EOFError) as error:
                raise ValueError(f"{path} is not a readable array: {error}") from error
            depth = np.squeeze(np.asarray(values))
            if depth.ndim != 2 or depth.dtype.kind not in "fiu":
                raise ValueError(f"{path} is {values.dtype}{values.shape}, expected one depth map")
            depth = depth.astype(np.float32)
        else:
            stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            if stored is None or stored.dtype != np.uint16 or stored.ndim != 2:
                raise ValueError(f"{path} is not a readable 16-bit grey PNG")
            depth = stored.astype(np.float32) / np.float32(self.png_scale)
        return np.where(depth > 0, depth, np.float32(np.nan))


def _canonical(name: str) -> str:
    """Returns a file's name without the leading zeros of its number."""
    stem, _, number = name.rpartition("/")
    prefix, line, digits = number.rpartition("_")
    digits = digits.lstrip("0") or "0" if digits.isdigit() else digits
    return f"{stem}/{prefix}{line}{digits}".lstrip("/")
