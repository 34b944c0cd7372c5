"""The pipeline every use shares: an image and its camera in, metres and confidence out."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from rosam_core.engines.base import DepthEngine
from rosam_core.runtime.buffers import BufferPool
from rosam_core.runtime.ground import Mounting
from rosam_core.runtime.preprocess import RESIZE_MODES, Resize
from rosam_core.runtime.rays import ray_slopes
from rosam_core.runtime.scale import metric_scale, unseen_view
from rosam_core.types import Camera, DepthPrediction, Float32, Float64, UInt8

logger = logging.getLogger(__name__)

OUTPUT_SIZES = ("input", "network")
"""`input`: maps of the image's size; `network`: maps of the network's, with its camera."""


LEAST_FILLED = 0.6
"""Share of the network's input below which another size of it is proposed."""

GROUND_STEP = 4
"""The ground is looked for in every so many pixels of every so many rows of the network's map."""

MOST_CAMERAS = 64
"""What is known of so many cameras is kept: a zoom lens must not grow it for ever."""


class DepthPipeline:
    """Turns images into depth with one engine. It reuses its buffers: one thread at a time.

    Where nothing was predicted (padding, cropped borders, a network answer that is not a
    positive number) depth is NaN and confidence 0. Beyond `max_depth_m` depth is +Inf. Below
    `min_confidence` depth is NaN and confidence stays as predicted.
    """

    def __init__(
        self,
        engine: DepthEngine,
        *,
        resize: str = "letterbox",
        output_size: str = "input",
        min_confidence: float = 0.0,
        max_depth_m: float | None = None,
    ) -> None:
        """Prepares the buffers.

        Args:
            engine: Runs the network.
            resize: One of `preprocess.RESIZE_MODES`.
            output_size: One of `OUTPUT_SIZES`.
            min_confidence: Depth below this confidence is NaN, in [0, 1].
            max_depth_m: Depth beyond this is +Inf [m], `math.inf` for none; None takes the card's.

        Raises:
            ValueError: A setting is outside its range.
        """
        if resize not in RESIZE_MODES:
            raise ValueError(f"unknown resize {resize!r}: choose one of {', '.join(RESIZE_MODES)}")
        if output_size not in OUTPUT_SIZES:
            raise ValueError(
                f"unknown output size {output_size!r}: choose one of {', '.join(OUTPUT_SIZES)}"
            )
        if not 0 <= min_confidence <= 1:
            raise ValueError(f"min_confidence must be between 0 and 1, got {min_confidence}")
        if max_depth_m is not None and not max_depth_m > 0:
            raise ValueError(f"max_depth_m must be positive, got {max_depth_m}")
        self.engine = engine
        self.resize = resize
        self.output_size = output_size
        self.min_confidence = min_confidence
        self.max_depth_m = engine.card.max_depth_m if max_depth_m is None else max_depth_m
        self._batch: UInt8 = np.empty((0, 0, 0, 3), np.uint8)
        self._inverse: Float32 = np.empty(
            (engine.card.input_height, engine.card.input_width), np.float32
        )
        self._pool = BufferPool()
        self._plans: dict[tuple[int, int], Resize] = {}
        self._warned: set[Camera] = set()
        self._slopes: dict[tuple[Resize, Camera], Float64] = {}
        if not engine.card.is_metric:
            logger.warning(
                "model %s gives relative depth, not metres: scale it before use, or state the "
                "camera's height",
                engine.card.name,
            )

    def predict(
        self, image: UInt8, camera: Camera, mounting: Mounting | None = None
    ) -> DepthPrediction:
        """Returns depth and confidence of one image.

        Args:
            image: uint8[H,W,3], RGB.
            camera: Its intrinsics, of the same size.
            mounting: Of this camera: the ground gets the distance that its height gives.

        Raises:
            ValueError: The image is not uint8[H,W,3] or the camera is of another size.
        """
        return self.predict_batch([image], [camera], [mounting])[0]

    def predict_batch(
        self,
        images: Sequence[UInt8],
        cameras: Sequence[Camera],
        mountings: Sequence[Mounting | None] = (),
    ) -> list[DepthPrediction]:
        """Returns depth and confidence of several images in one run of the network.

        Args:
            images: uint8[H,W,3] each, RGB, of any sizes.
            cameras: Their intrinsics.
            mountings: Of these cameras, where they are known; () = of none.

        Raises:
            ValueError: Lengths differ, or an image and its camera do not fit.
        """
        mountings = mountings or [None] * len(images)
        if not len(images) == len(cameras) == len(mountings):
            raise ValueError(
                f"got {len(images)} images but {len(cameras)} cameras and {len(mountings)} "
                "mountings"
            )
        if not images:
            return []
        card, count = self.engine.card, len(images)
        if len(self._batch) < count:
            self._batch = np.empty((count, card.input_height, card.input_width, 3), np.uint8)
            self._pool = BufferPool(max(8, 4 * count))  # two maps each, of this batch and the last
        batch = self._batch[:count]
        plans, network_cameras = [], []
        for slot, image, camera in zip(batch, images, cameras, strict=True):
            plan = self._plan(image)
            network_cameras.append(plan.camera(camera))
            plans.append(plan)
            plan.apply(image, slot)
        depths, confidences = self.engine.infer(batch)
        return [
            self._finish(*one)
            for one in zip(
                *(depths, confidences, plans, cameras, network_cameras, mountings), strict=True
            )
        ]

    def _plan(self, image: UInt8) -> Resize:
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(
                f"pipeline needs an image uint8[H,W,3] RGB, got {image.dtype}{list(image.shape)}: "
                "decode it with rosam_core.runtime.image_codec"
            )
        height, width = image.shape[:2]
        plan = self._plans.get((width, height))
        if plan is None:
            card = self.engine.card
            plan = Resize.plan(self.resize, width, height, card.input_width, card.input_height)
            self._plans[width, height] = plan
            self._hint_at_size(plan)
        return plan

    def _hint_at_size(self, plan: Resize) -> None:
        """Says which network would fit images that leave much of this one empty."""
        card = self.engine.card
        area, aspect = card.input_width * card.input_height, plan.width / plan.height
        filled = plan.target.width * plan.target.height / area
        if filled >= LEAST_FILLED:
            return
        size = (max(round((area * k) ** 0.5 / 32), 2) * 32 for k in (aspect, 1 / aspect))
        logger.warning(
            "images of %dx%d fill %.0f %% of the network's %dx%d: one of the same weights made by "
            "`rosam export MODEL.onnx -o FITTED.onnx --size %dx%d` sees more of them",
            *(plan.width, plan.height, 100 * filled, card.input_width, card.input_height, *size),
        )

    def _finish(
        self,
        network_depth: Float32,
        network_confidence: Float32,
        plan: Resize,
        camera: Camera,
        network_camera: Camera,
        mounting: Mounting | None,
    ) -> DepthPrediction:
        """Returns the maps of one image by the rules above."""
        scale = metric_scale(network_camera, self.engine.card)
        self._warn_once(camera, network_camera)
        confidence = network_confidence
        with np.errstate(divide="ignore", invalid="ignore"):
            # Inverse depth is what is interpolated: a plane's inverse depth is linear in the
            # image, so road and walls come back exact, and +Inf is an ordinary 0.
            inverse = np.divide(np.float32(1 / scale), network_depth, out=self._inverse)
            if not network_depth.min() > 0:
                unknown = ~(network_depth > 0)
                inverse[unknown] = np.nan
                confidence = np.where(unknown, np.float32(0), confidence)
            if not (confidence.min() >= 0 and confidence.max() <= 1):
                confidence = np.clip(np.nan_to_num(confidence, nan=0.0), 0, 1)
            if mounting is not None:
                inverse /= np.float32(self._factor(inverse, plan, network_camera, mounting))
            if self.output_size == "network":
                size, write = (plan.network_height, plan.network_width), plan.blank_padding
            else:
                size, write = (plan.height, plan.width), plan.restore
            depth = write(inverse, np.nan, self._pool.take(*size))
            confidence = write(confidence, 0.0, self._pool.take(*size))
            np.divide(np.float32(1), depth, out=depth)  # faster than `reciprocal`
            # Looked up at network size, where it is cheap: most masks have nothing to do.
            if not inverse.min() >= 1 / self.max_depth_m:
                np.copyto(depth, np.inf, where=depth > self.max_depth_m)
            if self.min_confidence > 0:
                np.copyto(depth, np.nan, where=confidence < self.min_confidence)
        return DepthPrediction(
            depth, confidence, network_camera if self.output_size == "network" else camera
        )

    def _factor(
        self, inverse: Float32, plan: Resize, network_camera: Camera, mounting: Mounting
    ) -> float:
        """Returns what a camera's mounting says about the scale of a network-size map."""
        key = plan, network_camera
        if key not in self._slopes:
            rows, columns = np.mgrid[: plan.network_height, : plan.network_width]
            pixels = np.full((*rows.shape, 2), np.nan)
            pixels[plan.target.slices] = np.stack([columns, rows], 2)[plan.target.slices]
            pixels = pixels[::GROUND_STEP, ::GROUND_STEP]
            slopes, seen = np.full_like(pixels, np.nan), np.isfinite(pixels[..., 0])
            slopes[seen] = ray_slopes(pixels[seen], network_camera)
            if len(self._slopes) >= MOST_CAMERAS:
                self._slopes.clear()
            self._slopes[key] = slopes
        map_seen = inverse[::GROUND_STEP, ::GROUND_STEP]
        return mounting.factor(map_seen, self._slopes[key], self.engine.card.is_metric)

    def _warn_once(self, camera: Camera, network_camera: Camera) -> None:
        if camera in self._warned:
            return
        if len(self._warned) < MOST_CAMERAS:
            self._warned.add(camera)
            reason = unseen_view(network_camera, self.engine.card)
            if reason:
                logger.warning("%s", reason)
