"""Cast shadows and ambient occlusion, from two maps of parallel rays."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from rosam_core.drives.synthetic import raycast
from rosam_core.drives.synthetic.gbuffer import GBuffer, View
from rosam_core.drives.synthetic.light import Light, columns
from rosam_core.drives.synthetic.raycast import TILE, Solids

SHADOW_TEXELS, SHADOW_EXTENT_M = 512, 76.0
COVER_TEXELS, COVER_EXTENT_M = 256, 64.0
TAPS = ((-0.45, -0.2), (0.2, -0.45), (0.45, 0.2), (-0.2, 0.45))
TAP_REACH = math.hypot(0.45 + 0.5, 0.2 + 0.5)  # of a tap and of rounding to a texel, together


def _parallel_map(
    solids: Solids, towards: Tensor, centre: Tensor, texels: int, extent: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Casts parallel rays.

    Args:
        solids: Primitives of b frames.
        towards: float[b,3], unit vector against the rays.
        centre: float[b,3], middle of the map in the world [m].
        texels: Rows and columns of rays.
        extent: Width of the map [m].

    Returns:
        t: float[b,texels,texels], distance from the plane of the map to the first hit [m].
        u, v: float[b,3], axes of the map.
        start: float[b,3], middle of the plane that the rays start from [m].
    """
    b = len(centre)
    helper = torch.tensor([1.0, 0.0, 0.0], device=centre.device).expand(b, 3)
    v = torch.linalg.cross(towards, helper)
    v = v / v.norm(dim=1, keepdim=True)
    u = torch.linalg.cross(v, towards)
    start = centre + 200 * towards
    scale = texels / extent
    place = solids.corners - start[solids.frame][:, None]
    pu = (place * u[solids.frame][:, None]).sum(-1) * scale + texels / 2 - 0.5
    pv = (place * v[solids.frame][:, None]).sum(-1) * scale + texels / 2 - 0.5
    rectangle = torch.stack([pu.amin(1), pv.amin(1), pu.amax(1), pv.amax(1)], 1)
    big = torch.maximum(rectangle[:, 2] - rectangle[:, 0], rectangle[:, 3] - rectangle[:, 1]) > 0.8
    inside = (rectangle[:, :2] < texels).all(1) & (rectangle[:, 2:] > 0).all(1) & big
    keep = torch.nonzero(inside)[:, 0]
    n = texels // TILE
    grid = (torch.arange(texels, device=centre.device) + 0.5 - texels / 2) / scale
    gv, gu = torch.meshgrid(grid, grid, indexing="ij")
    origin = (
        start[:, None, None]
        + gu[None, ..., None] * u[:, None, None]
        + gv[None, ..., None] * v[:, None, None]
    )
    direction = (-towards).repeat_interleave(n * n, 0)[:, None]
    t, _ = raycast.cast(
        solids.take(keep), rectangle[keep], raycast.tile_rays(origin), direction, n, n
    )
    return raycast.untile(t, b, texels, texels), u, v, start


def _lookup(image: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Samples float[b,n,n] bilinearly at texel coordinates float[b,h,w]; 0 outside."""
    n = image.shape[-1]
    grid = torch.stack([(u + 0.5) / n * 2 - 1, (v + 0.5) / n * 2 - 1], -1)
    return torch.nn.functional.grid_sample(image[:, None], grid, align_corners=False)[:, 0]


def _map_coordinates(
    point: Tensor, u: Tensor, v: Tensor, start: Tensor, texels: int, extent: float
) -> tuple[Tensor, Tensor]:
    """Returns the texel coordinates, float[b,h,w] each, of points float[b,h,w,3]."""
    place = point - start[:, None, None]
    scale = texels / extent
    pu = (place * u[:, None, None]).sum(-1) * scale + texels / 2 - 0.5
    pv = (place * v[:, None, None]).sum(-1) * scale + texels / 2 - 0.5
    return pu, pv


def sunlit(solids: Solids, g: GBuffer, lights: list[Light], view: View) -> Tensor:
    """Returns the share of sunlight that reaches each point, float[b,h,w] in [0, 1]."""
    towards = columns(lights, "sun", g.point.device)[:, 0, 0]
    t, u, v, start = _parallel_map(
        solids, towards, view.ahead(30.0), SHADOW_TEXELS, SHADOW_EXTENT_M
    )
    # The taps below read up to TAP_REACH texels away, where a slanting surface itself lies nearer
    # to the sun by reach x tan(slant). Lifting by reach x sin(slant) makes up for just that.
    sine = (1 - (g.normal * towards[:, None, None]).sum(-1).square()).clamp_min(0).sqrt()
    lift = TAP_REACH * SHADOW_EXTENT_M / SHADOW_TEXELS * sine
    lifted = g.point + lift[..., None] * g.normal
    pu, pv = _map_coordinates(lifted, u, v, start, SHADOW_TEXELS, SHADOW_EXTENT_M)
    mine = ((start[:, None, None] - lifted) * towards[:, None, None]).sum(-1)
    shade = torch.zeros_like(mine)
    t = torch.where(torch.isfinite(t), t, 1e4)
    n = SHADOW_TEXELS
    for du, dv in TAPS:
        x, y = (pu + du).round().long(), (pv + dv).round().long()
        inside = (x >= 0) & (y >= 0) & (x < n) & (y < n)
        flat = y.clamp(0, n - 1) * n + x.clamp(0, n - 1)
        first = t.reshape(len(t), -1).gather(1, flat.reshape(len(t), -1)).view_as(mine)
        shade += ((first < mine - 0.15) & inside).float() / 4
    return 1 - shade


def ambient_occlusion(solids: Solids, g: GBuffer, view: View) -> Tensor:
    """Returns the share of skylight that reaches each point, float[b,h,w] in (0, 1].

    What stands above darkens the ground and what is just above it, as under a car.
    """
    b = len(g.depth)
    up = torch.tensor([0.0, 0.0, 1.0], device=g.point.device).expand(b, 3)
    t, u, v, start = _parallel_map(solids, up, view.ahead(26.0), COVER_TEXELS, COVER_EXTENT_M)
    height = torch.where(torch.isfinite(t), 200 - t, 0.0)
    cover = torch.exp(-height / 3.5) * (height > 0.35)
    k = 5
    for _ in range(2):
        cover = torch.nn.functional.avg_pool2d(cover[:, None], k, 1, k // 2)[:, 0]
    pu, pv = _map_coordinates(g.point, u, v, start, COVER_TEXELS, COVER_EXTENT_M)
    low = torch.exp(-(g.point[..., 2].clamp_min(0) / 0.5))
    return 1 - 0.95 * _lookup(cover, pu, pv) * low
