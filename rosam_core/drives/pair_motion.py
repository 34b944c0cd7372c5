"""What changes from one image to the next: brightness, flow, rotation and parallax."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

from rosam_core.runtime.rays import ray_slopes
from rosam_core.types import Camera, Float64, UInt8

WIDTH = 320
"""Images are compared at this width [px]; flow and parallax are pixels of it."""

LEAST_TRACKS = 30


@dataclasses.dataclass(frozen=True)
class PairMotion:
    """What changed between two images.

    Attributes:
        difference: Mean absolute difference of grey levels.
        exposure: log2 of the ratio of mean brightness, after over before.
        flow_px: Median motion of tracked points at `WIDTH`; NaN if too few were found again.
        parallax_px: 90th percentile of what a pure rotation does not explain; NaN likewise.
        rotation: float64[3,3], that rotation, from the camera before to the one after; None
            likewise.
    """

    difference: float
    exposure: float
    flow_px: float = float("nan")
    parallax_px: float = float("nan")
    rotation: Float64 | None = None


def shrink(image: UInt8, camera: Camera) -> tuple[UInt8, Camera]:
    """Returns a grey picture of `WIDTH` with its camera.

    Args:
        image: uint8[H,W,3] RGB.
        camera: Its intrinsics.

    Returns:
        picture: uint8[h,WIDTH].
        camera: Its intrinsics.
    """
    height = max(16, round(image.shape[0] * WIDTH / image.shape[1]))
    small = cv2.resize(image, (WIDTH, height), interpolation=cv2.INTER_AREA)
    grey = np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), np.uint8)
    return grey, camera.scaled_to(WIDTH, height)


def measure_pair(before: UInt8, after: UInt8, camera: Camera) -> PairMotion:
    """Compares two pictures of one camera.

    Args:
        before: uint8[h,w], grey, of `shrink`.
        after: The same size.
        camera: Of both.
    """
    difference = float(np.abs(after.astype(np.int16) - before).mean())
    exposure = float(np.log2((after.mean() + 1) / (before.mean() + 1)))
    a, b = _track(before, after)
    if len(a) < LEAST_TRACKS:
        return PairMotion(difference, exposure)
    rays_a, rays_b = (_rays(points, camera) for points in (a, b))
    known = np.isfinite(rays_a).all(axis=1) & np.isfinite(rays_b).all(axis=1)
    a, b, rays_a, rays_b = a[known], b[known], rays_a[known], rays_b[known]
    if len(a) < LEAST_TRACKS:  # of a lens whose model does not tell where its pixels look
        return PairMotion(difference, exposure)
    rotation = fit_rotation(rays_a, rays_b)
    turned = rays_a @ rotation.T
    turned /= np.maximum(turned[:, 2:], 1e-6)
    plain = rays_b / rays_b[:, 2:]
    left = np.linalg.norm((plain - turned)[:, :2], axis=1) * camera.fx
    return PairMotion(
        difference,
        exposure,
        float(np.median(np.linalg.norm(b - a, axis=1))),
        float(np.percentile(left, 90)),
        rotation,
    )


def fit_rotation(a: Float64, b: Float64) -> Float64:
    """Returns the rotation R that best explains b = R a, float64[3,3].

    Kabsch's solution with Cauchy weights w = 1 / (1 + (r / median r)^2), repeated: what is far
    away turns only, what is near also shifts and loses weight.

    Args:
        a: float64[N,3], unit rays.
        b: float64[N,3], the same points seen later.
    """
    weights = np.ones(len(a))
    rotation = np.eye(3)
    for _ in range(10):
        left, _, right = np.linalg.svd((b * weights[:, None]).T @ a)
        rotation = left @ np.diag([1.0, 1.0, np.linalg.det(left @ right)]) @ right
        residual = np.linalg.norm(b - a @ rotation.T, axis=1)
        weights = 1 / (1 + (residual / max(float(np.median(residual)), 1e-6)) ** 2)
    return np.asarray(rotation, np.float64)


def rotation_vector(rotation: Float64) -> Float64:
    """Returns axis times angle of a rotation, float64[3] [rad].

    Args:
        rotation: float64[3,3]; its angle must be below pi.
    """
    return np.asarray(cv2.Rodrigues(np.asarray(rotation, np.float64))[0].ravel(), np.float64)


def _track(before: UInt8, after: UInt8) -> tuple[Float64, Float64]:
    """Returns points of the first picture and where they are in the second, float64[N,2]."""
    none = np.zeros((0, 2))
    corners = cv2.goodFeaturesToTrack(before, 300, 0.01, 6)
    if corners is None:
        return none, none
    options = {"winSize": (15, 15), "maxLevel": 3}
    there, ok, _ = cv2.calcOpticalFlowPyrLK(before, after, corners, None, **options)
    back, ok_back, _ = cv2.calcOpticalFlowPyrLK(after, before, there, None, **options)
    kept = (ok & ok_back).ravel().astype(bool)
    kept &= np.linalg.norm((back - corners)[:, 0], axis=1) < 0.5
    return corners[kept, 0].astype(np.float64), there[kept, 0].astype(np.float64)


def _rays(points: Float64, camera: Camera) -> Float64:
    """Returns unit rays of pixels, float64[N,3]; NaN where `ray_slopes` has none."""
    rays = np.column_stack([ray_slopes(points, camera), np.ones(len(points))])
    return np.asarray(rays / np.linalg.norm(rays, axis=1, keepdims=True), np.float64)
