"""Flip post-processing: the mean of an image's depth and of its mirror image's."""

from __future__ import annotations

import dataclasses

import numpy as np

from rosam_core.runtime.ground import Mounting
from rosam_core.runtime.pipeline import DepthPipeline
from rosam_core.types import Camera, DepthPrediction, Float32, UInt8

EDGE = 0.05
"""Share of the width, at either side, that is taken from one of the two predictions alone."""


def predict_with_flip(
    pipeline: DepthPipeline, image: UInt8, camera: Camera, mounting: Mounting | None = None
) -> tuple[DepthPrediction, DepthPrediction]:
    """Returns the prediction of an image, plain and with flip post-processing.

    Args:
        pipeline: Runs the network.
        image: uint8[H,W,3], RGB.
        camera: Intrinsics of the image.
        mounting: Of the camera, see `DepthPipeline.predict`.
    """
    plain = pipeline.predict(image, camera, mounting)
    mirrored_camera = dataclasses.replace(camera, cx=camera.width - 1 - camera.cx)
    mirrored = pipeline.predict(np.ascontiguousarray(image[:, ::-1]), mirrored_camera, mounting)
    depth = blend_flipped(plain.depth, mirrored.depth[:, ::-1])
    confidence = (plain.confidence + mirrored.confidence[:, ::-1]) / 2
    return plain, DepthPrediction(depth, confidence.astype(np.float32), plain.camera)


def blend_flipped(depth: Float32, flipped_back: Float32) -> Float32:
    """Returns the blend of two depth maps of one image, the second made from its mirror image.

    Godard et al., "Unsupervised Monocular Depth Estimation with Left-Right Consistency",
    CVPR 2017: inverse depth is averaged; within 5 % of the left edge the flipped one counts alone,
    within 5 % of the right edge the plain one, and over the next 5 % the weight runs linearly to
    the mean.

    Args:
        depth: float32[H,W] [m], +Inf = beyond range, NaN = unknown.
        flipped_back: float32[H,W] [m], mirrored back.

    Returns:
        float32[H,W] [m]; NaN where either is.
    """
    x = np.linspace(0, 1, depth.shape[1])
    left = 1 - np.clip((x - EDGE) / EDGE, 0, 1)
    weight = (0.5 + 0.5 * left - 0.5 * left[::-1]).astype(np.float32)  # of the flipped one
    with np.errstate(divide="ignore"):
        inverse = (1 - weight) / depth + weight / flipped_back
        return np.asarray(1 / inverse, dtype=np.float32)
