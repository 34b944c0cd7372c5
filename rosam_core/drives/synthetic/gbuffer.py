"""What each pixel sees, before any light: depth, object, place, surface orientation and paint."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from rosam_core.drives.synthetic import ground, materials, raycast
from rosam_core.drives.synthetic.raycast import GROUND, SKY, TILE, Solids
from rosam_core.drives.synthetic.world import World

MIN_SIZE_PX = 0.7  # smaller primitives are dropped


@dataclasses.dataclass
class View:
    """Where a batch of pictures is taken from.

    Attributes:
        T_world_camera: float[b,4,4]; improper (mirrored) for reflections.
        K: float[b,3,3], pixels of the rendered size.
        width: Image width [px].
        height: Image height [px].
    """

    T_world_camera: Tensor
    K: Tensor
    width: int
    height: int

    def directions(self) -> Tensor:
        """Returns the rays of all pixels in the world, padded to whole tiles.

        Returns:
            float[b,h,w,3]; the parameter along a ray is the depth.
        """
        h, w = _up(self.height), _up(self.width)
        v, u = torch.meshgrid(
            torch.arange(h, device=self.K.device, dtype=torch.float32),
            torch.arange(w, device=self.K.device, dtype=torch.float32),
            indexing="ij",
        )
        fx, fy = self.K[:, 0, 0, None, None], self.K[:, 1, 1, None, None]
        x = (u - self.K[:, 0, 2, None, None]) / fx
        y = (v - self.K[:, 1, 2, None, None]) / fy
        d = torch.stack([x, y, torch.ones_like(x)], dim=-1)
        return torch.einsum("bij,bhwj->bhwi", self.T_world_camera[:, :3, :3], d)

    def ahead(self, distance: float) -> Tensor:
        """Returns float[b,3], points on the ground `distance` metres ahead of the cameras."""
        forward = self.T_world_camera[:, :3, 2].clone()
        forward[:, 2] = 0
        forward = forward / forward.norm(dim=1, keepdim=True).clamp_min(1e-6)
        centre = self.T_world_camera[:, :3, 3] + distance * forward
        centre[:, 2] = 0
        return centre

    def mirrored(self, shrink: int) -> View:
        """Returns the view from below the ground, at 1/shrink of the size."""
        T = self.T_world_camera.clone()
        T[:, 2] = -T[:, 2]
        K = self.K.clone()
        K[:, :2, 2] = (K[:, :2, 2] + 0.5) / shrink - 0.5
        K[:, 0, 0] /= shrink
        K[:, 1, 1] /= shrink
        return View(T, K, self.width // shrink, self.height // shrink)


@dataclasses.dataclass
class GBuffer:
    """Per-pixel geometry and paint of b pictures.

    Attributes:
        depth: float[b,h,w] along the optical axis [m], inf = sky.
        index: int64[b,h,w], primitive, or `GROUND`, or `SKY`.
        direction: float[b,h,w,3], ray in the world, unit depth.
        point: float[b,h,w,3] in the world [m]; zero for sky.
        normal: float[b,h,w,3], unit.
        albedo: float[b,h,w,3].
        gloss: float[b,h,w].
        glow: float[b,h,w,3].
        road: float[b,h,w] in [0, 1], share of asphalt.
    """

    depth: Tensor
    index: Tensor
    direction: Tensor
    point: Tensor
    normal: Tensor
    albedo: Tensor
    gloss: Tensor
    glow: Tensor
    road: Tensor


def _up(size: int) -> int:
    return (size + TILE - 1) // TILE * TILE


def trace(worlds: list[World], solids: Solids, view: View) -> GBuffer:
    """Casts and paints one picture a frame.

    Args:
        worlds: b worlds, for their ground.
        solids: Primitives of the b frames.
        view: Where the pictures are taken from.
    """
    b, h, w = len(worlds), view.height, view.width
    direction = view.directions()
    origin = view.T_world_camera[:, :3, 3]
    rows, columns = direction.shape[1] // TILE, direction.shape[2] // TILE
    rectangle, visible = raycast.perspective_bounds(
        solids, torch.linalg.inv(view.T_world_camera), view.K, w, h, MIN_SIZE_PX
    )
    keep = torch.nonzero(visible)[:, 0]
    rays = raycast.tile_rays(direction)
    start = origin.repeat_interleave(rows * columns, 0)[:, None]
    t, index = raycast.cast(solids.take(keep), rectangle[keep], start, rays, rows, columns)
    depth = raycast.untile(t, b, rows * TILE, columns * TILE)[:, :h, :w]
    index = raycast.untile(index, b, rows * TILE, columns * TILE)[:, :h, :w]
    index = torch.where(index >= 0, keep[index.clamp_min(0)] if len(keep) else index, index)
    direction = direction[:, :h, :w]
    down = direction[..., 2] * -torch.sign(origin[:, 2])[:, None, None]
    to_ground = origin[:, 2].abs()[:, None, None] / down.clamp_min(1e-6)
    is_mirror = bool((origin[:, 2] < 0).any())
    if not is_mirror:
        on_ground = (down > 1e-6) & (to_ground < depth) & (to_ground < 1e4)
        depth = torch.where(on_ground, to_ground, depth)
        index = torch.where(on_ground, torch.full_like(index, GROUND), index)
    point = (
        origin[:, None, None]
        + direction * torch.where(torch.isfinite(depth), depth, 0.0)[..., None]
    )
    buffer = GBuffer(
        depth,
        index,
        direction,
        point,
        torch.zeros_like(point),
        torch.zeros_like(point),
        torch.zeros_like(depth),
        torch.zeros_like(point),
        torch.zeros_like(depth),
    )
    _paint_solids(buffer, solids, view)
    if not is_mirror:
        _paint_ground(buffer, worlds, view)
    return buffer


def _paint_solids(g: GBuffer, solids: Solids, view: View) -> None:
    at = torch.nonzero(g.index >= 0, as_tuple=True)
    if not len(at[0]):
        return
    index, point, direction = g.index[at], g.point[at], g.direction[at]
    normal = raycast.surface_normal(solids, index, point, direction)
    turn = solids.rotation[index]
    local = raycast.rotate(turn, point - solids.centre[index])
    local_normal = raycast.rotate(turn, normal)
    slant = raycast.dot(normal, direction).abs() / direction.norm(dim=-1)
    footprint = g.depth[at] / view.K[at[0], 0, 0] / slant.clamp_min(0.25)
    surface = materials.paint(
        solids.material[index], local, solids.half[index], local_normal, footprint
    )
    g.normal[at], g.albedo[at] = normal, surface.albedo
    g.gloss[at], g.glow[at] = surface.gloss, surface.glow


def _paint_ground(g: GBuffer, worlds: list[World], view: View) -> None:
    for b, world in enumerate(worlds):
        at = torch.nonzero(g.index[b] == GROUND, as_tuple=True)
        if not len(at[0]):
            continue
        xy, direction = g.point[b][at][:, :2], g.direction[b][at]
        slant = direction[:, 2].abs() / direction.norm(dim=-1)
        # The footprint is longest along the view; between the two extents noise keeps its detail.
        footprint = g.depth[b][at] / view.K[b, 0, 0] / slant.clamp_min(0.02).sqrt()
        surface, road = ground.ground(world.street, xy, footprint, float(world.seed % 61))
        up = torch.zeros_like(g.point[b][at])
        up[:, 2] = 1
        g.normal[b][at], g.albedo[b][at] = up, surface.albedo
        g.gloss[b][at], g.road[b][at] = surface.gloss, road


__all__ = ["GROUND", "SKY", "GBuffer", "View", "trace"]
