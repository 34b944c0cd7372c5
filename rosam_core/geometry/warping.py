"""Looking at a scene from next door: depth to points, points to pixels, and the image there.

Pixel coordinates are those of `rosam_core.geometry.projection` and of ROS: the centre of the
top-left pixel is (0, 0). Cameras are pinholes; distorted images are undistorted beforehand.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor
from torch.nn import functional

MIN_DEPTH_M = 0.01
"""Points nearer to a camera than this, or behind it, are not seen by it."""


@dataclasses.dataclass(frozen=True)
class Warped:
    """What a source image shows at the pixels of the target.

    Attributes:
        image: float[b,c,h,w]; the nearest border pixel where the point falls outside the source.
        valid: bool[b,1,h,w], the point lies in front of the source camera and inside its image.
    """

    image: Tensor
    valid: Tensor


def backproject(depth: Tensor, K: Tensor) -> Tensor:
    """Returns the point that each pixel sees: D K^-1 (u, v, 1).

    Args:
        depth: float[b,1,h,w], along the optical axis [m], finite.
        K: float[b,3,3], intrinsics without skew [px].

    Returns:
        float[b,3,h,w], camera frame, x right, y down, z forward [m].
    """
    h, w = depth.shape[-2:]
    u = torch.arange(w, dtype=depth.dtype, device=depth.device)
    v = torch.arange(h, dtype=depth.dtype, device=depth.device)[:, None]
    fx, fy, cx, cy = (entry[:, None, None] for entry in _intrinsics(K))
    z = depth[:, 0]
    return torch.stack([(u - cx) / fx * z, (v - cy) / fy * z, z], dim=1)


def project(points: Tensor, K: Tensor) -> tuple[Tensor, Tensor]:
    """Returns where points fall in an image.

    Args:
        points: float[b,3,h,w], camera frame [m].
        K: float[b,3,3], intrinsics without skew [px].

    Returns:
        pixels: float[b,2,h,w], column and row [px]; finite, meaningless where not `in_front`.
        in_front: bool[b,1,h,w], finite and farther than `MIN_DEPTH_M` along the optical axis.
    """
    fx, fy, cx, cy = (entry[:, None, None] for entry in _intrinsics(K))
    in_front = torch.isfinite(points).all(dim=1) & (points[:, 2] > MIN_DEPTH_M)
    x, y, z = torch.where(in_front[:, None], points, 1.0).unbind(1)
    return torch.stack([fx * x / z + cx, fy * y / z + cy], dim=1), in_front[:, None]


def warp(source: Tensor, depth: Tensor, K: Tensor, T_source_target: Tensor) -> Warped:
    """Returns the target view, made of the source image: I_s(K T_s_t D K^-1 p), bilinearly.

    Zhou et al., "Unsupervised Learning of Depth and Ego-Motion from Video", CVPR 2017, eq. 2.

    Args:
        source: float[b,c,h,w], image of the source camera.
        depth: float[b,1,h,w], of the target [m]; pixels without a finite depth > 0 are not valid
            and get no gradient.
        K: float[b,3,3], intrinsics of both [px].
        T_source_target: float[b,4,4], maps points of the target camera to the source camera.
    """
    known = torch.isfinite(depth) & (depth > 0)
    points = backproject(depth.masked_fill(~known, 1.0), K)
    pixels, in_front = project(_moved(points, T_source_target), K)
    h, w = source.shape[-2:]
    size = pixels.new_tensor([w, h]).view(1, 2, 1, 1)
    # align_corners=False puts -1 and 1 at the outer edges of the border pixels, half a pixel
    # outside their centres: a point on a border pixel's centre is safely inside. The grid is
    # finite whatever depth and pose are: torch's grid_sample on a CPU crashes the process on NaN.
    grid = (2 * pixels + 1) / size - 1
    inside = (grid.abs() <= 1).all(dim=1, keepdim=True)
    image = functional.grid_sample(
        source,
        grid.permute(0, 2, 3, 1),
        mode="bilinear",
        padding_mode="border",
        align_corners=False,
    )
    return Warped(image, known & in_front & inside)


def _moved(points: Tensor, T_a_b: Tensor) -> Tensor:
    # Products of matrices would be computed in half precision under autocast: pixels off.
    rows = [(T_a_b[:, i, :3, None, None] * points).sum(dim=1) for i in range(3)]
    return torch.stack(rows, dim=1) + T_a_b[:, :3, 3, None, None]


def _intrinsics(K: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Returns fx, fy, cx and cy, each float[b]."""
    return K[:, 0, 0], K[:, 1, 1], K[:, 0, 2], K[:, 1, 2]
