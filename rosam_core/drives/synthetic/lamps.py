"""Light at night: street lamps and the headlights of the own and of other vehicles."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from rosam_core.drives.synthetic.gbuffer import GBuffer, View
from rosam_core.drives.synthetic.light import Light, columns
from rosam_core.drives.synthetic.parts import Kind
from rosam_core.drives.synthetic.raycast import Solids
from rosam_core.drives.synthetic.world import World

LAMPS, VEHICLES = 8, 4  # the nearest lights that are taken into account


def _spot(point: Tensor, normal: Tensor, place: Tensor, ahead: Tensor) -> Tensor:
    """Returns irradiance from a low-beam headlight, float[b,h,w], for unit intensity at 1 m."""
    to = place[:, None, None] - point
    r2 = (to * to).sum(-1).clamp_min(1.0)
    r = r2.sqrt()
    cosine = ((to / r[..., None]) * normal).sum(-1).clamp_min(0)
    ray = -to / r[..., None]
    along = (ray * ahead[:, None, None]).sum(-1)
    left = torch.stack([-ahead[:, 1], ahead[:, 0], torch.zeros_like(ahead[:, 0])], 1)
    across = (ray * left[:, None, None]).sum(-1) / along.clamp_min(0.05)
    rise = ray[..., 2] / along.clamp_min(0.05) + 0.012
    beam = torch.exp(-((across / 0.42) ** 2)) * torch.sigmoid(-rise / 0.012)
    spill = 0.035 * torch.exp(-((across / 0.7) ** 2))
    return (beam + spill) * (along > 0.05) * cosine / r2


def night_light(
    worlds: list[World],
    indices: list[int],
    solids: Solids,
    g: GBuffer,
    lights: list[Light],
    view: View,
) -> Tensor:
    """Returns irradiance from every lamp at night, float[b,h,w,3]."""
    device = g.point.device
    total = torch.zeros_like(g.point)
    eye = view.T_world_camera[:, :3, 3]
    ahead = view.ahead(1.0) - view.ahead(0.0)
    left = torch.stack([-ahead[:, 1], ahead[:, 0], torch.zeros_like(ahead[:, 0])], 1)
    power = torch.tensor([[1.0, 0.95, 0.85]], device=device)
    signs = (solids.material[g.index.clamp_min(0), 0] == int(Kind.SIGN)) & (g.index >= 0)
    for side in (-0.65, 0.65):  # our own headlights
        place = eye + 0.8 * ahead + side * left
        place[:, 2] = 0.68
        beam = _spot(g.point, g.normal, place, ahead) * 22
        total += (beam * torch.where(signs, 5.0, 1.0))[..., None] * power
    lamps = torch.zeros(len(worlds), LAMPS, 4, device=device)
    is_lamp = (solids.material[:, 0] == int(Kind.LAMP)) & (solids.material[:, 8] == 1)
    for b in range(len(worlds)):
        mine = torch.nonzero(is_lamp & (solids.frame == b))[:, 0]
        place = solids.centre[mine]
        away = (place - eye[b] - 14 * ahead[b]).norm(dim=1)
        order = away.argsort()[:LAMPS]
        lamps[b, : len(order), :3] = place[order]
        lamps[b, : len(order), 3] = lights[b].lamp_power
    tint = columns(lights, "lamp_colour", device)
    for k in range(LAMPS):
        to = lamps[:, None, None, k, :3] - g.point
        r2 = (to * to).sum(-1).clamp_min(1.0)
        unit = to / r2.sqrt()[..., None]
        wrap = ((unit * g.normal).sum(-1) + 0.1).clamp_min(0)
        down = unit[..., 2].clamp_min(0) ** 0.7
        total += (lamps[:, None, None, k, 3] * wrap * down / r2)[..., None] * tint
    for b, (world, index) in enumerate(zip(worlds, indices, strict=True)):
        poses = world.object_poses(index)
        lit = [i for i, thing in enumerate(world.placed) if thing.lights]
        near = sorted(
            lit, key=lambda i: float(np.hypot(*(poses[i, :2] - eye[b, :2].cpu().numpy())))
        )
        for i in near[:VEHICLES]:
            length = world.placed[i].lights[0]  # type: ignore[index]
            nose = torch.tensor([math.cos(poses[i, 2]), math.sin(poses[i, 2]), 0.0], device=device)
            place = torch.tensor([poses[i, 0], poses[i, 1], 0.65], device=device) + nose * (
                length / 2 + 0.1
            )
            beam = _spot(g.point[b : b + 1], g.normal[b : b + 1], place[None], nose[None].float())
            total[b] += (beam * 26)[0, ..., None] * power
    return total
