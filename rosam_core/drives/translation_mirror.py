"""What level water would show at each pixel of a picture, found in the picture itself."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from rosam_core.drives.synthetic import light
from rosam_core.drives.synthetic.light import Light
from rosam_core.drives.translation_scene import PicturedScene

SHRINK = 2  # reflections are looked for at half the size
STEPS = 14
NEAREST_M, FARTHEST_M = 0.6, 120.0  # along the mirrored ray


def mirrored(scene: PicturedScene, leaving: Tensor, lights: list[Light]) -> Tensor:
    """Returns the radiance that a mirror at the height of each pixel's surface would show.

    The ray that the camera sends down goes on upwards; it is followed in steps that grow with the
    distance until the picture shows something in front of it (McGuire and Mara, "Efficient GPU
    Screen-Space Ray Tracing", JCGT 2014, with world-space steps). Rays that leave the picture, or
    end in its sky, see the sky there.

    Args:
        scene: Of b pictures.
        leaving: float[b,h,w,3], radiance of their surfaces.
        lights: Light of each, for the sky.

    Returns:
        float[b,h,w,3].
    """
    g, view = scene.g, scene.view
    h, w = g.depth.shape[1:]
    size = (max(h // SHRINK, 1), max(w // SHRINK, 1))

    def small(x: Tensor) -> Tensor:
        return functional.interpolate(x, size=size, mode="area")

    origin = small(g.point.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    up = small(g.direction.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    up = functional.normalize(up, dim=-1) * up.new_tensor([1.0, 1.0, -1.0])
    up = torch.cat([up[..., :2], up[..., 2:].abs()], dim=-1)
    picture = torch.cat(
        [leaving.permute(0, 3, 1, 2).clamp_max(40), g.depth[:, None], scene.sky[:, None]], dim=1
    )
    T_camera_world = torch.linalg.inv(view.T_world_camera)
    turn, shift = T_camera_world[:, :3, :3], T_camera_world[:, None, None, :3, 3]
    focal, centre = view.K[:, [0, 1], [0, 1]], view.K[:, [0, 1], [2, 2]]
    extent = origin.new_tensor([w, h])
    found = torch.zeros(up.shape[:3], dtype=torch.bool, device=up.device)
    shown = torch.zeros_like(up)
    ratio = (FARTHEST_M / NEAREST_M) ** (1 / (STEPS - 1))
    for step in range(STEPS):
        p = torch.einsum("bij,bhwj->bhwi", turn, origin + NEAREST_M * ratio**step * up) + shift
        z = p[..., 2].clamp_min(0.05)
        uv = focal[:, None, None] * p[..., :2] / z[..., None] + centre[:, None, None]
        grid = (uv + 0.5) / extent * 2 - 1
        there = functional.grid_sample(picture, grid, padding_mode="border", align_corners=False)
        inside = (grid.abs() <= 1).all(-1) & (p[..., 2] > 0.1)
        hit = inside & ~found & (there[:, 3] < z) & (there[:, 4] < 0.5)
        shown = torch.where(hit[..., None], there[:, :3].permute(0, 2, 3, 1), shown)
        found |= hit
    missed = torch.nonzero(~found & (small(g.road[:, None])[:, 0] > 0), as_tuple=True)
    shown[missed] = light.sky(lights, up[missed], missed[0])
    ripples = functional.avg_pool2d(
        shown.permute(0, 3, 1, 2), (7, 3), 1, (3, 1), count_include_pad=False
    )
    whole = functional.interpolate(ripples, size=(h, w), mode="bilinear", align_corners=False)
    return whole.permute(0, 2, 3, 1)
