"""Images of a lens with distortion as a pinhole would have taken them."""

from __future__ import annotations

import dataclasses
import functools

import cv2
import numpy as np

from rosam_core.geometry.projection import project_points
from rosam_core.runtime.rays import is_pinhole
from rosam_core.types import Camera, Float64, Frame


@functools.lru_cache(maxsize=8)
def undistortion_table(camera: Camera) -> Float64:
    """Returns where the pixels of the undistorted image were recorded.

    Args:
        camera: Intrinsics and distortion; the undistorted image has the same intrinsics.

    Returns:
        float64[2,H,W], column and row [px]; cached by camera.
    """
    rows, columns = np.mgrid[: camera.height, : camera.width].astype(np.float64)
    if is_pinhole(camera):
        table = np.stack([columns, rows])
    else:
        x, y = (columns - camera.cx) / camera.fx, (rows - camera.cy) / camera.fy
        rays = np.stack([x, y, np.ones_like(x)], axis=-1, dtype=np.float32).reshape(-1, 3)
        pixels = project_points(rays, camera).reshape(camera.height, camera.width, 2)
        table = np.ascontiguousarray(pixels.transpose(2, 0, 1))
    table.setflags(write=False)
    return table


def undistorted(frame: Frame) -> Frame:
    """Returns a frame as a pinhole of the same intrinsics would have taken it.

    Images are interpolated, depth and instances take the nearest pixel; what was not recorded is
    black, NaN and 0. A frame without distortion is returned as it is.

    Args:
        frame: Any frame.
    """
    if is_pinhole(frame.camera):
        return frame
    columns, rows = undistortion_table(frame.camera).astype(np.float32)
    nearest = functools.partial(
        cv2.remap, map1=columns, map2=rows, interpolation=cv2.INTER_NEAREST
    )
    depth, instances = frame.depth, frame.instances
    if depth is not None:
        depth = np.asarray(nearest(depth, borderValue=float("nan")), np.float32)
    if instances is not None:
        instances = np.asarray(nearest(instances), np.uint16)
    return dataclasses.replace(
        frame,
        image=np.asarray(cv2.remap(frame.image, columns, rows, cv2.INTER_LINEAR), np.uint8),
        camera=dataclasses.replace(frame.camera, distortion_model="", distortion=()),
        depth=depth,
        instances=instances,
    )
