"""From light and paint to the radiance that leaves each surface."""

from __future__ import annotations

import torch
from torch import Tensor

from rosam_core.drives.synthetic.gbuffer import GBuffer
from rosam_core.drives.synthetic.light import Light, columns, sky
from rosam_core.drives.synthetic.raycast import dot
from rosam_core.drives.synthetic.textures import noise

GLOW = 0.55  # radiance of a lit window
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
        facing = dot(g.normal, columns(lights, "sun", device)).clamp_min(0)
        if sun is not None:
            facing = facing * sun
        light = light + sun_colour * facing[..., None]
    if lamps is not None:
        light = light + lamps
    radiance = g.albedo * light
    if any(state.is_night for state in lights):
        is_night = columns(lights, "is_night", device)[..., None]
        radiance = radiance + g.glow * is_night * GLOW
    # What is glossy mirrors the sky, or, looking down, something a lot darker.
    cosine = dot(g.direction, g.normal) / g.direction.norm(dim=-1)
    rise = g.direction[..., 2] / g.direction.norm(dim=-1) - 2 * cosine * g.normal[..., 2]
    mirror = torch.lerp(horizon, zenith, rise.clamp(0, 1).sqrt()[..., None])
    mirror = mirror * torch.where(rise > 0, 1.0, 0.12)[..., None]
    edge = (1 - cosine.abs()).clamp(0, 1) ** 5 * (g.gloss > 0.03)
    share = (g.gloss + (1 - g.gloss) * edge).clamp(0, 0.8)
    radiance = torch.lerp(radiance, mirror, share[..., None])
    at = torch.nonzero(torch.isinf(g.depth), as_tuple=True)
    radiance[at] = sky(lights, g.direction[at], at[0])
    return radiance


def wet_road(radiance: Tensor, mirror: Tensor, g: GBuffer, lights: list[Light]) -> Tensor:
    """Returns the radiance with wet roads, float[b,h,w,3].

    What the road mirrors is weighted by Fresnel's law and by how deep the water stands; what is
    wet is darker itself.

    Args:
        radiance: float[b,h,w,3], of the dry surfaces.
        mirror: float[b,h,w,3], what level water at each pixel would show.
        g: What each pixel sees.
        lights: Light of each frame: `wetness`.
    """
    at = torch.nonzero(g.road > 0, as_tuple=True)
    grain = noise(g.point[at][:, :2] * 0.35, (g.depth[at] * 0.002).clamp(0, 5))
    puddle = torch.zeros_like(g.depth)
    puddle[at] = (0.62 + 0.3 * grain[:, 0] + 0.25 * grain[:, 1]).clamp(0.1, 1)
    wet = columns(lights, "wetness", g.point.device) * g.road
    unit = g.direction / g.direction.norm(dim=-1, keepdim=True)
    share = (fresnel(unit[..., 2].abs()) * puddle * wet).clamp(0, 0.9)[..., None]
    dark = radiance * (1 - 0.45 * wet)[..., None]
    return dark * (1 - share) + mirror * share
