"""What the ground looks like: asphalt with its markings, and the land beside it."""

from __future__ import annotations

import torch
from torch import Tensor

from rosam_core.drives.synthetic.materials import Surface, turf
from rosam_core.drives.synthetic.street import Street
from rosam_core.drives.synthetic.textures import band, noise, stripes


def ground(street: Street, xy: Tensor, footprint: Tensor, seed: float) -> tuple[Surface, Tensor]:
    """Paints the ground plane: asphalt with its markings, and the land beside it.

    Args:
        street: The plan.
        xy: float[n,2], position in the world [m].
        footprint: float[n], extent of a pixel across the view [m].
        seed: Shifts the noise.

    Returns:
        The surface, and float[n] in [0, 1]: how much of it is asphalt (which mirrors when wet).
    """
    s, l = xy[:, 0], xy[:, 1]  # noqa: E741
    if abs(street.curvature) > 1e-9:
        radius = 1 / street.curvature
        sign = 1.0 if radius > 0 else -1.0
        s = radius * torch.atan2(sign * xy[:, 0], sign * (radius - xy[:, 1]))
        l = radius - sign * torch.hypot(xy[:, 0], radius - xy[:, 1])  # noqa: E741
    f = footprint
    grain = noise(xy * 3.0 + seed, f * 3.0)
    medium = noise(xy * 0.7 - seed, f * 0.7)
    coarse = noise(xy * 0.12 + seed, f * 0.12)
    half = street.half_width
    road = band(l.abs(), -1.0, half, f)
    distance = torch.full_like(s, 1e3)
    for cross, width in street.crossings.tolist():
        road = torch.maximum(road, band((s - cross).abs(), -1.0, width, f))
        distance = torch.minimum(distance, (s - cross).abs() - width)
    asphalt_colour = torch.tensor(street.ground[:3], dtype=xy.dtype, device=xy.device)
    shade = 1 + 0.1 * grain[:, 0] + 0.13 * grain[:, 3] + 0.08 * medium[:, 1] + 0.16 * coarse[:, 1]
    crack = (medium[:, 2] - 0.93).clamp(0, 0.05) * 12
    patch = (coarse[:, 0] > 1.6).float() * 0.25
    lanes = torch.cos(2 * torch.pi * (l / street.lane_width)) * 0.05  # worn wheel tracks
    asphalt = asphalt_colour * (shade - crack - patch + lanes).clamp(0.3, 1.8)[:, None]
    centre, edge, dash, wear = street.marking
    clear = (distance > 0.5).float() * (l.abs() < half + 0.1)
    middle = {
        0: stripes(s, dash * 3, 1 / 3, f) * band(l.abs(), -1.0, 0.07, f),
        1: band((l.abs() - 0.14).abs(), -1.0, 0.06, f),
        2: band(l.abs(), -1.0, 0.08, f),
        3: torch.zeros_like(l),
    }[int(centre)]
    marks = middle * clear
    for lane in range(1, street.lanes):
        line = band((l.abs() - lane * street.lane_width).abs(), -1.0, 0.07, f)
        marks = torch.maximum(marks, line * stripes(s, dash * 2.6, 0.4, f) * clear)
    border = street.lanes * street.lane_width - 0.1
    if edge or street.style == "highway":
        marks = torch.maximum(marks, band((l.abs() - border).abs(), -1.0, 0.07, f) * clear)
    zebra = band(distance, 0.8, 3.6, f) * stripes(l, 1.0, 0.5, f) * (l.abs() < half - 0.2)
    stop = band(distance, 4.4, 4.8, f) * (l.abs() < half - 0.2)
    if len(street.crossings) and wear < 0.7:
        marks = torch.maximum(marks, torch.maximum(zebra, stop))
    worn = (1 - wear * (0.5 + 0.5 * medium[:, 0] + 0.4 * grain[:, 0])).clamp(0.12, 1)
    is_yellow = centre == 1
    tint = torch.tensor([0.75, 0.5, 0.08] if is_yellow else [0.7, 0.7, 0.68], device=xy.device)
    white = torch.tensor([0.68, 0.68, 0.66], device=xy.device)
    paint_colour = torch.where((l.abs() < 0.5)[:, None], tint, white)
    asphalt = torch.lerp(asphalt, paint_colour, (marks * worn)[:, None])
    land = turf(
        torch.tensor(street.ground[3:], dtype=xy.dtype, device=xy.device).expand(len(xy), 3),
        grain,
        coarse,
    )
    albedo = torch.lerp(land, asphalt, road[:, None]).clamp(0.01, 0.9)
    return Surface(albedo, 0.02 * road, torch.zeros_like(albedo)), road
