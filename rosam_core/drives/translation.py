"""Night, rain and fog on pictures of clear days, from their depth: weather without a network.

The physics are those of the renderer of synthetic drives; what it knows of a scene is estimated
from the picture and its depth (`translation_scene`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from rosam_core.drives.synthetic import lamps, light, sensor, shading
from rosam_core.drives.synthetic.light import Light
from rosam_core.drives.synthetic.renderer import WET
from rosam_core.drives.translation_mirror import mirrored
from rosam_core.drives.translation_scene import PicturedScene, pictured_scene

ADVERSE = ("night", "day-rain", "fog")
CLEAR = "day-clear"
LAMP_GAP_M = (18.0, 42.0)  # between street lamps of one side
LAMP_REACH_M = 90.0
LAMP_RADIANCE = 20.0
LAMP_SIZE_M = 0.25


@torch.no_grad()
def translate(
    image: Tensor, depth: Tensor, K: Tensor, conditions: Sequence[str], seeds: Sequence[int]
) -> Tensor:
    """Returns pictures of clear days as they might look in other weather.

    Args:
        image: float[b,3,h,w] in [0, 1], by day.
        depth: float[b,1,h,w] [m], of a teacher; unknown where not finite or not positive,
            except that +Inf is beyond range.
        K: float[b,3,3], pixels.
        conditions: b of night, day-rain, fog, and day-clear, which leaves a picture as it is.
        seeds: b numbers >= 0; the same number gives the same weather, bit for bit.

    Returns:
        float[b,3,h,w] in [0, 1], in steps of 1/255.

    Raises:
        ValueError: A condition is unknown, or the sizes do not fit.
    """
    _check(image, depth, K, conditions, seeds)
    chosen = [i for i, condition in enumerate(conditions) if condition != CLEAR]
    result = image.clone()
    if not chosen:
        return result
    with torch.autocast(image.device.type, enabled=False):
        image, depth, K = image[chosen].float(), depth[chosen].float(), K[chosen].float()
        drawn = [_weather(seeds[i], conditions[i]) for i in chosen]
        dark = any(weather.light.is_night for weather in drawn)
        scene = pictured_scene(image, depth, K, dark)
        arriving = radiance(scene, [w.light for w in drawn], [w.seed for w in drawn])
        for k, (i, weather) in enumerate(zip(chosen, drawn, strict=True)):
            taken = _photograph(arriving[k : k + 1], weather)
            result[i] = taken.to(result.dtype)
    return result


def radiance(scene: PicturedScene, lights: list[Light], seeds: Sequence[int]) -> Tensor:
    """Returns what arrives at the lens, float[b,3,h,w], linear.

    Args:
        scene: Of b pictures.
        lights: Light of each.
        seeds: Of the street lamps of each.
    """
    g = scene.g
    street = [_street_lamps(state, seed) for state, seed in zip(lights, seeds, strict=True)]
    irradiance = _lamp_light(scene, lights, street)
    leaving = shading.shade(g, lights, None, None, irradiance)
    at = torch.nonzero(scene.sky > 0, as_tuple=True)
    heaven = light.sky(lights, g.direction[at], at[0])
    leaving[at] = torch.lerp(leaving[at], heaven, scene.sky[at][:, None])
    if wet := [b for b, state in enumerate(lights) if state.wetness > 0]:
        part, theirs = scene.of(wet), [lights[b] for b in wet]
        shown = mirrored(part, leaving[wet], theirs)
        leaving[wet] = shading.wet_road(leaving[wet], shown, part.g, theirs)
    near = light.airlight(leaving, g.depth, g.direction, lights)
    far = light.airlight(leaving, torch.full_like(g.depth, torch.inf), g.direction, lights)
    seen = torch.lerp(near, far, scene.sky[..., None])
    return _with_lamps(seen, scene, lights, street).permute(0, 3, 1, 2).contiguous()


@dataclasses.dataclass(frozen=True)
class _Weather:
    """The light and the camera of one picture."""

    seed: int
    light: Light
    camera: sensor.Sensor


def _weather(seed: int, condition: str) -> _Weather:
    state = light.random_light(seed, condition)
    return _Weather(seed, state, sensor.random_sensor(seed, condition, state.wetness > WET))


def _photograph(arriving: Tensor, weather: _Weather) -> Tensor:
    """Returns what a camera makes of radiance, float[3,h,w] in [0, 1]."""
    camera = weather.camera
    if camera.rain > 0:
        generator = torch.Generator().manual_seed(camera.seed + 1)
        arriving = sensor.add_streaks(arriving, camera.rain, generator)
    if camera.drops:
        generator = torch.Generator().manual_seed(camera.seed)
        arriving = sensor.add_drops(arriving, camera.drops, generator)
    return sensor.expose(arriving, camera, 0).permute(2, 0, 1).float() / 255


def _street_lamps(state: Light, seed: int) -> list[list[float]]:
    """Returns the places of the street lamps ahead, x, y, z [m]; none by day."""
    if not state.is_night or state.lamp_power <= 0:
        return []
    rng = np.random.default_rng([seed, 83])
    places = []
    height = rng.uniform(5.5, 10)
    for side in (-1, 1):
        if rng.random() < 0.25:
            continue
        gap, away = rng.uniform(*LAMP_GAP_M), rng.uniform(4.5, 9)
        start = rng.uniform(-0.3, 0.7) * gap
        places += [
            [start + i * gap, side * away, height] for i in range(int(LAMP_REACH_M / gap) + 1)
        ]
    return places


def _lamp_light(
    scene: PicturedScene, lights: list[Light], street: list[list[list[float]]]
) -> Tensor | None:
    """Returns irradiance of the own headlights and of street lamps, float[b,h,w,3], or None."""
    if not any(state.is_night for state in lights):
        return None
    g = scene.g
    total = torch.zeros_like(g.point)
    for b, state in enumerate(lights):
        if not state.is_night:
            continue
        p = lamps.SurfacePoints(g.point[b].reshape(-1, 3), g.normal[b].reshape(-1, 3))
        own, others = torch.zeros_like(p.x), torch.zeros_like(p.x)
        for side in (-0.65, 0.65):
            own += lamps.headlight(p, [0.8, side, 0.68], (1.0, 0.0))
        for place in street[b][: lamps.LAMPS]:
            others += lamps.street_lamp(p, place)
        tint = torch.tensor([lamps.HEADLIGHT_COLOUR, state.lamp_colour]).to(total)
        lit = lamps.OWN_HEADLIGHT * own[:, None] * tint[0]
        lit = lit + state.lamp_power * others[:, None] * tint[1]
        total[b] = lit.view_as(total[b])
    return total


def _with_lamps(
    seen: Tensor, scene: PicturedScene, lights: list[Light], street: list[list[list[float]]]
) -> Tensor:
    """Adds the street lamps that nothing hides, as spots of the size that they have."""
    g, view = scene.g, scene.view
    h, w = g.depth.shape[1:]
    ys = torch.arange(h, device=seen.device)[:, None]
    xs = torch.arange(w, device=seen.device)[None]
    for b, state in enumerate(lights):
        if not street[b]:
            continue
        T_camera_world = torch.linalg.inv(view.T_world_camera[b])
        world = torch.tensor(street[b], device=seen.device)
        p = world @ T_camera_world[:3, :3].T + T_camera_world[:3, 3]
        z = p[:, 2].clamp_min(0.1)
        K = view.K[b]
        u, v = K[0, 0] * p[:, 0] / z + K[0, 2], K[1, 1] * p[:, 1] / z + K[1, 2]
        inside = (p[:, 2] > 2) & (u >= 0) & (v >= 0) & (u <= w - 1) & (v <= h - 1)
        behind = scene.sky[b] * 1e4 + g.depth[b]
        for k in torch.nonzero(inside)[:, 0].tolist():
            if float(behind[round(float(v[k])), round(float(u[k]))]) < float(z[k]):
                continue
            radius = max(float(K[0, 0]) * LAMP_SIZE_M / float(z[k]), 0.25)
            spread = max(radius, 0.6)
            spot = torch.exp(-0.5 * ((xs - u[k]) ** 2 + (ys - v[k]) ** 2) / spread**2)
            clear = math.exp(-state.extinction * float(p[k].norm()))
            power = LAMP_RADIANCE * (radius / spread) ** 2 * clear
            colour = torch.tensor(state.lamp_colour, device=seen.device)
            seen[b] = seen[b] + power * spot[..., None] * colour
    return seen


def _check(
    image: Tensor, depth: Tensor, K: Tensor, conditions: Sequence[str], seeds: Sequence[int]
) -> None:
    b, _, h, w = image.shape
    if depth.shape != (b, 1, h, w) or K.shape != (b, 3, 3):
        raise ValueError(
            f"pictures {tuple(image.shape)} do not fit depth {tuple(depth.shape)} and intrinsics "
            f"{tuple(K.shape)}"
        )
    if len(conditions) != b or len(seeds) != b:
        raise ValueError(f"{b} pictures, {len(conditions)} conditions and {len(seeds)} seeds")
    if unknown := sorted(set(conditions) - {*ADVERSE, CLEAR}):
        raise ValueError(
            f"cannot translate to {', '.join(unknown)}: choose from {', '.join(ADVERSE)}"
        )
