"""The light of a drive in one condition: sun, sky and air.

Radiance is linear and relative: a white surface under the noon sun is about 1.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from rosam_core.drives.synthetic.raycast import dot
from rosam_core.drives.synthetic.textures import noise

SKY_RANGE_M = 600.0  # air in front of the sky
SUN_COSINE = 0.9996  # of the angle from the middle of the sun to its edge


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
    common = {"sun": sun, "lamp_colour": tuple(lamp.tolist()), "seed": float(rng.uniform(0, 50))}

    def colour(
        values: Sequence[float], scale: float, spread: float = 0.08
    ) -> tuple[float, float, float]:
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


def sky(lights: list[Light], direction: Tensor, frame: Tensor) -> Tensor:
    """Returns the radiance of the sky.

    Args:
        lights: Light of each frame.
        direction: float[m,3], where to look.
        frame: int64[m], in which frame.

    Returns:
        float[m,3].
    """

    def state(name: str) -> Tensor:
        return columns(lights, name, direction.device)[frame, 0, 0]

    unit = direction / direction.norm(dim=-1, keepdim=True)
    up = unit[:, 2].clamp(0, 1)
    horizon = state("horizon")
    colour = torch.lerp(horizon, state("zenith"), up.sqrt()[:, None])
    uv = unit[:, :2] / (unit[:, 2:].clamp_min(0) + 0.12) * 0.9 + state("seed")[:, None]
    grain = noise(uv, torch.full_like(up, 0.01))
    density = (grain[:, 1] + 0.25 * grain[:, 0]) * 0.5 + state("clouds") * 2.2 - 0.9
    density = (density.clamp(0, 1) * (up * 6).clamp(0, 1))[:, None]
    colour = torch.lerp(colour, horizon * 1.12 * (1 - 0.25 * density), 0.85 * density)
    align = dot(unit, state("sun")).clamp(0, 1)[:, None]
    halo = 0.25 * align**24 + 0.9 * align**300 + 30 * (align > SUN_COSINE)
    return colour + state("sun_colour") * halo * (1 - 0.9 * density)


def airlight(radiance: Tensor, depth: Tensor, direction: Tensor, lights: list[Light]) -> Tensor:
    """Applies Koschmieder's law, `L = L0 exp(-beta d) + A (1 - exp(-beta d))`, to the range d.

    Args:
        radiance: float[b,h,w,3], L0.
        depth: float[b,h,w] [m]; the sky counts as `SKY_RANGE_M` of air.
        direction: float[b,h,w,3], rays of unit depth, which make ranges of depths.
        lights: Of each frame: `extinction` is beta, `horizon` is A.
    """
    device = radiance.device
    beta, air = columns(lights, "extinction", device), columns(lights, "horizon", device)
    distance = torch.where(torch.isfinite(depth), depth * direction.norm(dim=-1), SKY_RANGE_M)
    clear = torch.exp(-beta * distance)[..., None]
    return radiance * clear + air * (1 - clear)
