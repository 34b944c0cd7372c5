"""Light at night: street lamps and the headlights of the own and of other vehicles."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from rosam_core.drives.synthetic.gbuffer import GBuffer, View
from rosam_core.drives.synthetic.light import Light
from rosam_core.drives.synthetic.parts import Kind
from rosam_core.drives.synthetic.raycast import Solids
from rosam_core.drives.synthetic.world import World

LAMPS, VEHICLES = 8, 4  # the nearest lights that are taken into account
HEADLIGHT, OWN_HEADLIGHT = 26.0, 22.0  # radiant intensity
HEADLIGHT_COLOUR = (1.0, 0.95, 0.85)


class SurfacePoints:
    """Surface points of one frame, component by component: sums over three are slow.

    Args:
        point: float[n,3] in the world [m].
        normal: float[n,3], unit.
    """

    def __init__(self, point: Tensor, normal: Tensor) -> None:
        self.x, self.y, self.z = point.T.contiguous()
        self.nx, self.ny, self.nz = normal.T.contiguous()

    def towards(self, place: list[float]) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Returns the unit vector to a place, the squared distance and the cosine there."""
        dx, dy, dz = place[0] - self.x, place[1] - self.y, place[2] - self.z
        r2 = (dx * dx + dy * dy + dz * dz).clamp_min(1.0)
        inverse = r2.rsqrt()
        dx, dy, dz = dx * inverse, dy * inverse, dz * inverse
        return dx, dy, dz, r2, dx * self.nx + dy * self.ny + dz * self.nz


def headlight(p: SurfacePoints, place: list[float], heading: tuple[float, float]) -> Tensor:
    """Returns irradiance from a low beam, float[n], for unit intensity.

    Args:
        p: n points.
        place: Of the lamp, x, y, z [m].
        heading: Unit vector that it points along, x and y.
    """
    dx, dy, dz, r2, cosine = p.towards(place)
    along = -(dx * heading[0] + dy * heading[1])
    depth = along.clamp_min(0.05)
    across = (dx * heading[1] - dy * heading[0]) / depth
    drop = dz / depth - 0.012  # below the cut-off line
    beam = torch.exp(-((across / 0.42) ** 2)) * torch.sigmoid(drop / 0.012)
    spill = 0.035 * torch.exp(-((across / 0.7) ** 2))
    return (beam + spill) * (along > 0.05) * cosine.clamp_min(0) / r2


def street_lamp(p: SurfacePoints, place: list[float]) -> Tensor:
    """Returns irradiance from a street lamp, float[n], for unit intensity.

    Args:
        p: n points.
        place: Of the lamp, x, y, z [m].
    """
    _, _, dz, r2, cosine = p.towards(place)
    return (cosine + 0.1).clamp_min(0) * dz.clamp_min(0) ** 0.7 / r2


def night_light(
    worlds: list[World],
    indices: list[int],
    solids: Solids,
    g: GBuffer,
    lights: list[Light],
    view: View,
) -> Tensor:
    """Returns irradiance from the nearest lamps at night, float[b,h,w,3].

    Args:
        worlds: b worlds, for their vehicles.
        indices: Their frames.
        solids: Primitives of the b frames, for their street lamps.
        g: What each pixel sees.
        lights: Light of each frame.
        view: Of the camera, which carries two headlights itself.
    """
    total = torch.zeros_like(g.point)
    for b, (world, index) in enumerate(zip(worlds, indices, strict=True)):
        at = torch.nonzero(torch.isfinite(g.depth[b]), as_tuple=True)
        p = SurfacePoints(g.point[b][at], g.normal[b][at])
        seen = g.index[b][at]
        is_sign = (solids.material[seen.clamp_min(0), 0] == int(Kind.SIGN)) & (seen >= 0)
        own, others = torch.zeros_like(p.x), torch.zeros_like(p.x)
        x, y, _ = view.T_world_camera[b, :3, 3].tolist()
        ax, ay, _ = (view.ahead(1.0) - view.ahead(0.0))[b].tolist()
        for side in (-0.65, 0.65):
            place = [x + 0.8 * ax - side * ay, y + 0.8 * ay + side * ax, 0.68]
            own += headlight(p, place, (ax, ay))
        for pose, length in _vehicles(world, index, x, y):
            nose = (math.cos(pose[2]), math.sin(pose[2]))
            reach = length / 2 + 0.1
            place = [pose[0] + reach * nose[0], pose[1] + reach * nose[1], 0.65]
            others += headlight(p, place, nose)
        # Signs throw our own light back to us.
        white = OWN_HEADLIGHT * own * torch.where(is_sign, 5.0, 1.0) + HEADLIGHT * others
        street = torch.zeros_like(p.x)
        if lights[b].lamp_power > 0:
            for place in _street_lamps(solids, b, (x + 14 * ax, y + 14 * ay)):
                street += street_lamp(p, place)
        tint = torch.tensor([HEADLIGHT_COLOUR, lights[b].lamp_colour]).to(total)
        power = lights[b].lamp_power
        total[b][at] = white[:, None] * tint[0] + power * street[:, None] * tint[1]
    return total


def _vehicles(world: World, index: int, x: float, y: float) -> list[tuple[list[float], float]]:
    """Returns pose and length of the vehicles with lights that are nearest to a place."""
    poses = world.object_poses(index)
    lit = [
        (float(np.hypot(pose[0] - x, pose[1] - y)), i, thing.lights[0])
        for i, (pose, thing) in enumerate(zip(poses, world.placed, strict=True))
        if thing.lights
    ]
    return [(poses[i].tolist(), length) for _, i, length in sorted(lit)[:VEHICLES]]


def _street_lamps(solids: Solids, frame: int, near: tuple[float, float]) -> list[list[float]]:
    """Returns the places of the street lamps of a frame that are nearest to a place."""
    is_lamp = (solids.material[:, 0] == int(Kind.LAMP)) & (solids.material[:, 8] == 1)
    place = solids.centre[is_lamp & (solids.frame == frame)]
    away = torch.hypot(place[:, 0] - near[0], place[:, 1] - near[1])
    return place[away.argsort(stable=True)[:LAMPS]].tolist()  # type: ignore[no-any-return]
