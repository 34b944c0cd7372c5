"""Light on the street: sky, sun with cast shadows, ambient occlusion, street lamps and headlights.

Radiance is linear and relative: a white surface under the noon sun is about 1.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import torch
from torch import Tensor

from rosam_core.drives.synthetic import raycast
from rosam_core.drives.synthetic.gbuffer import GBuffer, View
from rosam_core.drives.synthetic.parts import Kind
from rosam_core.drives.synthetic.raycast import TILE, Solids
from rosam_core.drives.synthetic.textures import noise
from rosam_core.drives.synthetic.world import World

SHADOW_TEXELS, SHADOW_EXTENT_M = 512, 76.0
COVER_TEXELS, COVER_EXTENT_M = 256, 64.0
LAMPS, VEHICLES = 8, 4  # the nearest lights that are taken into account


@dataclasses.dataclass
class Light:
    """The light of one frame in one condition.

    Attributes:
        sun: Unit vector towards the sun.
        sun_colour: Irradiance of the sun, 3 numbers, 0 = overcast or night.
        zenith: Radiance of the sky overhead.
        horizon: Radiance of the sky at the horizon, and of the air.
        clouds: Share of sky with clouds.
        extinction: Of the air [1/m].
        is_night: Lamps, windows and headlights are on.
        wetness: How wet the road is, 0-1.
        lamp_colour: Of the street lamps.
        lamp_power: Radiant intensity of a street lamp; 0 = none.
        seed: For clouds and puddles.
    """

    sun: tuple[float, float, float]
    sun_colour: tuple[float, float, float]
    zenith: tuple[float, float, float]
    horizon: tuple[float, float, float]
    clouds: float
    extinction: float
    is_night: bool
    wetness: float
    lamp_colour: tuple[float, float, float]
    lamp_power: float
    seed: float


def random_light(seed: int, condition: str) -> Light:
    """Draws the light of a drive in one condition; the same seed gives the same light."""
    rng = np.random.default_rng([seed, 31, len(condition), ord(condition[0])])
    elevation, azimuth = math.radians(rng.uniform(9, 68)), rng.uniform(0, 2 * math.pi)
    sun = (
        math.cos(elevation) * math.cos(azimuth),
        math.cos(elevation) * math.sin(azimuth),
        math.sin(elevation),
    )
    lamp = np.array([(1.0, 0.62, 0.25), (1.0, 0.8, 0.55), (0.85, 0.93, 1.0)])[rng.integers(3)]
    common = {"sun": sun, "lamp_colour": tuple(lamp), "seed": float(rng.uniform(0, 50))}

    def colour(values: object, scale: float, spread: float = 0.08) -> tuple[float, float, float]:
        r, g, b = np.asarray(values) * scale * (1 + rng.uniform(-spread, spread, 3))
        return (float(r), float(g), float(b))

    if condition == "day-clear":
        cloudy = rng.random() ** 2
        warm = math.exp(-math.degrees(elevation) / 14)
        strength = 2.6 * max(0.0, 1 - cloudy * 1.25)
        return Light(
            sun_colour=colour((1.0, 0.95 - 0.25 * warm, 0.88 - 0.45 * warm), strength),
            zenith=colour((0.28 + 0.3 * cloudy, 0.42 + 0.2 * cloudy, 0.7), 0.75),
            horizon=colour((0.75 + 0.1 * warm, 0.8, 0.86 - 0.1 * warm), rng.uniform(0.75, 1.1)),
            clouds=float(cloudy),
            extinction=float(10 ** rng.uniform(-3.7, -2.5)),
            is_night=False,
            wetness=0.0,
            lamp_power=0.0,
            **common,  # type: ignore[arg-type]
        )
    if condition == "day-rain":
        return Light(
            sun_colour=(0.0, 0.0, 0.0),
            zenith=colour((0.46, 0.5, 0.55), rng.uniform(0.6, 1.0)),
            horizon=colour((0.6, 0.63, 0.66), rng.uniform(0.6, 1.0)),
            clouds=float(rng.uniform(0.3, 0.7)),
            extinction=float(10 ** rng.uniform(-2.5, -1.75)),
            is_night=False,
            wetness=float(rng.uniform(0.45, 1.0)),
            lamp_power=0.0,
            **common,  # type: ignore[arg-type]
        )
    if condition == "fog":
        visibility = rng.uniform(28, 150)
        return Light(
            sun_colour=(0.0, 0.0, 0.0),
            zenith=colour((0.62, 0.64, 0.66), rng.uniform(0.7, 1.0)),
            horizon=colour((0.7, 0.72, 0.74), rng.uniform(0.7, 1.0), 0.05),
            clouds=0.0,
            extinction=float(3.0 / visibility),
            is_night=False,
            wetness=float(rng.uniform(0, 0.3)),
            lamp_power=0.0,
            **common,  # type: ignore[arg-type]
        )
    if condition == "night":
        glow = 10 ** rng.uniform(-3.2, -1.9)
        return Light(
            sun_colour=(0.0, 0.0, 0.0),
            zenith=colour((0.35, 0.42, 0.7), glow, 0.2),
            horizon=colour((0.9, 0.7, 0.55), glow * 1.8, 0.25),
            clouds=float(rng.uniform(0, 0.5)),
            extinction=float(10 ** rng.uniform(-3.5, -2.2)),
            is_night=True,
            wetness=float(rng.uniform(0.4, 1.0)) if rng.random() < 0.3 else 0.0,
            lamp_power=float(rng.uniform(4, 16)) if rng.random() < 0.85 else 0.0,
            **common,  # type: ignore[arg-type]
        )
    raise ValueError(f"unknown condition '{condition}': use day-clear, night, day-rain or fog")


def columns(lights: list[Light], name: str, device: torch.device) -> Tensor:
    """Returns one attribute of every light, float[b,1,1] or float[b,1,1,3]."""
    values = torch.tensor(
        [getattr(light, name) for light in lights], dtype=torch.float32, device=device
    )
    return values[:, None, None]


def sky(lights: list[Light], direction: Tensor) -> Tensor:
    """Returns radiance of the sky, float[b,h,w,3], along float[b,h,w,3] directions."""
    device = direction.device
    unit = direction / direction.norm(dim=-1, keepdim=True)
    up = unit[..., 2].clamp(0, 1)
    zenith, horizon = columns(lights, "zenith", device), columns(lights, "horizon", device)
    colour = torch.lerp(horizon.expand_as(unit), zenith.expand_as(unit), up.sqrt()[..., None])
    cover = columns(lights, "clouds", device)
    shift = columns(lights, "seed", device)[..., None]
    uv = unit[..., :2] / (unit[..., 2:].clamp_min(0) + 0.12) * 0.9 + shift
    shape = uv.shape[:3]
    grain = noise(uv.reshape(-1, 2), torch.full((uv[..., 0].numel(),), 0.01, device=device))
    density = ((grain[:, 1] + 0.25 * grain[:, 0]).reshape(shape) * 0.5 + cover * 2.2 - 0.9).clamp(
        0, 1
    )
    density = density * (up * 6).clamp(0, 1)
    white = (horizon * 1.12 * (1 - 0.25 * density[..., None])).expand_as(colour)
    colour = torch.lerp(colour, white, 0.85 * density[..., None])
    sun, strength = columns(lights, "sun", device), columns(lights, "sun_colour", device)
    align = (unit * sun).sum(-1, keepdim=True).clamp(0, 1)
    halo = 0.25 * align**24 + 0.9 * align**300 + 30 * (align > 0.9996)
    return colour + strength * halo * (1 - 0.9 * density[..., None])


def _parallel_map(
    solids: Solids, towards: Tensor, centre: Tensor, texels: int, extent: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Casts parallel rays; returns the hit parameters float[b,texels,texels] and axes u, v, start."""
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
    place = point - start[:, None, None]
    scale = texels / extent
    pu = (place * u[:, None, None]).sum(-1) * scale + texels / 2 - 0.5
    pv = (place * v[:, None, None]).sum(-1) * scale + texels / 2 - 0.5
    return pu, pv


def _ahead(view: View, distance: float) -> Tensor:
    forward = view.T_world_camera[:, :3, 2].clone()
    forward[:, 2] = 0
    forward = forward / forward.norm(dim=1, keepdim=True).clamp_min(1e-6)
    centre = view.T_world_camera[:, :3, 3] + distance * forward
    centre[:, 2] = 0
    return centre


def sunlit(solids: Solids, g: GBuffer, lights: list[Light], view: View) -> Tensor:
    """Returns the share of sunlight that reaches each point, float[b,h,w] in [0, 1]."""
    towards = columns(lights, "sun", g.point.device)[:, 0, 0]
    t, u, v, start = _parallel_map(
        solids, towards, _ahead(view, 30.0), SHADOW_TEXELS, SHADOW_EXTENT_M
    )
    lifted = g.point + 0.12 * g.normal
    pu, pv = _map_coordinates(lifted, u, v, start, SHADOW_TEXELS, SHADOW_EXTENT_M)
    mine = ((start[:, None, None] - lifted) * towards[:, None, None]).sum(-1)
    shade = torch.zeros_like(mine)
    t = torch.where(torch.isfinite(t), t, 1e4)
    n = SHADOW_TEXELS
    for du, dv in ((-0.45, -0.2), (0.2, -0.45), (0.45, 0.2), (-0.2, 0.45)):
        x, y = (pu + du).round().long(), (pv + dv).round().long()
        inside = (x >= 0) & (y >= 0) & (x < n) & (y < n)
        flat = y.clamp(0, n - 1) * n + x.clamp(0, n - 1)
        first = t.reshape(len(t), -1).gather(1, flat.reshape(len(t), -1)).view_as(mine)
        shade += ((first < mine - 0.15) & inside).float() / 4
    return 1 - shade


def ambient_occlusion(solids: Solids, g: GBuffer, view: View) -> Tensor:
    """Returns the share of skylight that reaches points near the ground, float[b,h,w] in (0, 1]."""
    b = len(g.depth)
    up = torch.tensor([0.0, 0.0, 1.0], device=g.point.device).expand(b, 3)
    t, u, v, start = _parallel_map(solids, up, _ahead(view, 26.0), COVER_TEXELS, COVER_EXTENT_M)
    height = torch.where(torch.isfinite(t), 200 - t, 0.0)
    cover = torch.exp(-height / 3.5) * (height > 0.35)
    k = 5
    for _ in range(2):
        cover = torch.nn.functional.avg_pool2d(cover[:, None], k, 1, k // 2)[:, 0]
    pu, pv = _map_coordinates(g.point, u, v, start, COVER_TEXELS, COVER_EXTENT_M)
    low = torch.exp(-(g.point[..., 2].clamp_min(0) / 0.5))
    return 1 - 0.95 * _lookup(cover, pu, pv) * low


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
    ahead = _ahead(view, 1.0) - _ahead(view, 0.0)
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
    shiny = torch.nonzero((g.gloss > 0.03).flatten(1).any(0))
    if len(shiny):
        mirror = torch.lerp(
            horizon.expand_as(unit), zenith.expand_as(unit), bounce[..., 2:].clamp(0, 1).sqrt()
        )
        mirror = torch.where(bounce[..., 2:] > 0, mirror, 0.12 * mirror)
        fresnel = g.gloss + (1 - g.gloss) * (1 - cosine[..., 0].abs()).clamp(0, 1) ** 5 * (
            g.gloss > 0.03
        )
        radiance = torch.lerp(radiance, mirror, fresnel.clamp(0, 0.8)[..., None])
    return torch.where(torch.isfinite(g.depth)[..., None], radiance, backdrop)


def airlight(radiance: Tensor, depth: Tensor, direction: Tensor, lights: list[Light]) -> Tensor:
    """Applies Koschmieder's law, `L = L0 exp(-beta d) + A (1 - exp(-beta d))`, with the true range."""
    device = radiance.device
    beta, air = columns(lights, "extinction", device), columns(lights, "horizon", device)
    distance = torch.where(torch.isfinite(depth), depth * direction.norm(dim=-1), 600.0)
    clear = torch.exp(-beta * distance)[..., None]
    return radiance * clear + air * (1 - clear)
