"""From light and paint to the radiance that leaves each surface."""

from __future__ import annotations

import torch
from torch import Tensor

from rosam_core.drives.synthetic.gbuffer import GBuffer
from rosam_core.drives.synthetic.light import Light, columns, sky

WATER_F0 = 0.02  # reflectance at right angles, ((1.33 - 1) / (1.33 + 1))^2


def fresnel(cosine: Tensor) -> Tensor:
    """Returns the share of light that water mirrors, `F = F0 + (1 - F0) (1 - cos)^5` (Schlick).

    Args:
        cosine: Of the angle between the ray and the normal, in [0, 1].
    """
    return WATER_F0 + (1 - WATER_F0) * (1 - cosine).clamp(0, 1) ** 5


def shade(
    g: GBuffer,
    lights: list[Light],
    sun: Tensor | None,
    ambient: Tensor | None,
    lamps: Tensor | None,
) -> Tensor:
    """Returns the radiance that leaves each surface, float[b,h,w,3]; sky pixels get the sky.

    Args:
        g: What each pixel sees.
        lights: Light of each frame.
        sun: Share of sunlight, float[b,h,w], or None for all of it.
        ambient: Share of skylight, float[b,h,w], or None for all of it.
        lamps: Irradiance of lamps, float[b,h,w,3], or None.
    """
    device = g.point.device
    zenith, horizon = columns(lights, "zenith", device), columns(lights, "horizon", device)
    dome = zenith * 0.6 + horizon * 0.4
    up = g.normal[..., 2:]
    light = dome * (0.55 + 0.45 * up) + 0.18 * horizon * (0.5 - 0.5 * up)
    if ambient is not None:
        light = light * ambient[..., None]
    sun_colour = columns(lights, "sun_colour", device)
    if bool((sun_colour > 0).any()):
        facing = (g.normal * columns(lights, "sun", device)).sum(-1).clamp_min(0)
        if sun is not None:
            facing = facing * sun
        light = light + sun_colour * facing[..., None]
    is_night = columns(lights, "is_night", device)[..., None]
    if lamps is not None:
        light = light + lamps
    radiance = g.albedo * light + g.glow * is_night * 0.55
    backdrop = sky(lights, g.direction)
    unit = g.direction / g.direction.norm(dim=-1, keepdim=True)
    cosine = (unit * g.normal).sum(-1, keepdim=True)
    bounce = unit - 2 * cosine * g.normal
    if bool((g.gloss > 0).any()):
        mirror = torch.lerp(
            horizon.expand_as(unit), zenith.expand_as(unit), bounce[..., 2:].clamp(0, 1).sqrt()
        )
        mirror = torch.where(bounce[..., 2:] > 0, mirror, 0.12 * mirror)
        fresnel = g.gloss + (1 - g.gloss) * (1 - cosine[..., 0].abs()).clamp(0, 1) ** 5 * (
            g.gloss > 0.03
        )
        radiance = torch.lerp(radiance, mirror, fresnel.clamp(0, 0.8)[..., None])
    return torch.where(torch.isfinite(g.depth)[..., None], radiance, backdrop)
