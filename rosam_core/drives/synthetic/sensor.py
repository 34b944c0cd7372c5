"""From radiance to the bytes of a camera: rain, lens, motion, bloom, exposure, noise, tone."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

FULL_WELL = 9000.0  # electrons at white
READ_NOISE = 5.0  # electrons


@dataclasses.dataclass(frozen=True)
class Sensor:
    """The camera of one drive in one condition.

    Attributes:
        brightness: Mean the exposure aims at, in display values.
        max_gain: Largest amplification of the signal.
        shutter: Share of the frame interval during which the shutter is open.
        vignette: Loss of light in the corners.
        softness: Standard deviation of the lens blur [px].
        contrast: Exponent of the tone curve, 1 = sRGB-like.
        saturation: 1 = neutral.
        white: Gains of red, green, blue.
        bloom: Strength of the glow around lamps.
        rain: Density of streaks in the air, 0-1.
        drops: Number of water drops on the lens.
        seed: Of noise, streaks and drops.
        noise: Factor of what photons and electronics add.
    """

    brightness: float
    max_gain: float
    shutter: float
    vignette: float
    softness: float
    contrast: float
    saturation: float
    white: tuple[float, float, float]
    bloom: float
    rain: float
    drops: int
    seed: int
    noise: float = 1.0


def random_sensor(seed: int, condition: str, is_wet: bool) -> Sensor:
    """Draws the camera of a drive in one condition."""
    rng = np.random.default_rng([seed, 57, len(condition), ord(condition[0])])
    is_night = condition == "night"
    raining = condition == "day-rain" or (is_night and is_wet and rng.random() < 0.7)
    return Sensor(
        brightness=float(rng.uniform(0.1, 0.27) if is_night else rng.uniform(0.3, 0.52)),
        max_gain=float(rng.uniform(16, 70)) if is_night else 4.0,
        shutter=float(rng.uniform(0.15, 0.5)) if is_night else float(rng.uniform(0.01, 0.08)),
        vignette=float(rng.uniform(0, 0.35)),
        softness=float(rng.uniform(0.2, 0.75)),
        contrast=float(rng.uniform(0.85, 1.25)),
        saturation=float(rng.uniform(0.6, 1.25))
        * (0.8 if condition in ("fog", "day-rain") else 1.0),
        white=tuple(float(v) for v in 1 + rng.uniform(-0.09, 0.09, 3)),  # type: ignore[arg-type]
        bloom=float(rng.uniform(0.04, 0.12)) * (2.0 if is_wet else 1.0),
        rain=float(rng.uniform(0.3, 1.0)) if raining else 0.0,
        drops=int(rng.integers(2, 28)) if raining and rng.random() < 0.75 else 0,
        seed=int(rng.integers(1 << 31)),
    )


def blur(image: Tensor, sigma: float) -> Tensor:
    """Returns float[b,c,h,w] smoothed by a Gaussian of standard deviation `sigma` [px]."""
    if sigma < 0.15:
        return image
    radius = max(1, int(2.5 * sigma + 0.5))
    x = torch.arange(-radius, radius + 1, device=image.device, dtype=image.dtype)
    k = torch.exp(-0.5 * (x / sigma) ** 2)
    k = (k / k.sum()).expand(image.shape[1], 1, -1)
    image = F.pad(image, (radius, radius, radius, radius), mode="replicate")
    image = F.conv2d(image, k[:, :, None, :], groups=image.shape[1])
    return F.conv2d(image, k[:, :, :, None], groups=image.shape[1])


def motion_blur(image: Tensor, flow: Tensor) -> Tensor:
    """Averages float[1,3,h,w] along the image motion during exposure, float[1,h,w,2] [px]."""
    h, w = image.shape[2:]
    longest = float(flow.abs().amax())
    if longest < 0.7:
        return image
    taps = int(min(7, 3 + longest / 3))
    ys, xs = torch.meshgrid(
        torch.arange(h, device=image.device), torch.arange(w, device=image.device), indexing="ij"
    )
    base = torch.stack([xs, ys], -1).float()[None]
    size = torch.tensor([w, h], device=image.device)
    total = torch.zeros_like(image)
    for share in torch.linspace(-0.5, 0.5, taps).tolist():
        grid = (base + share * flow + 0.5) / size * 2 - 1
        total += F.grid_sample(image, grid, padding_mode="border", align_corners=False)
    return total / taps


def add_bloom(image: Tensor, strength: float) -> Tensor:
    """Adds the veil that lamps brighter than white throw over float[1,3,h,w]."""
    h, w = image.shape[2:]
    excess = (image - 1).clamp(0, 25)
    if float(excess.amax()) <= 0:
        return image
    scale = w / 576
    small = F.interpolate(excess, scale_factor=0.25, mode="area")
    veil = (
        0.5 * blur(small, 1.2 * scale)
        + 0.35 * blur(small, 4.0 * scale)
        + 0.15 * blur(small, 11.0 * scale)
    )
    return image + strength * F.interpolate(veil, size=(h, w), mode="bilinear")


def add_streaks(image: Tensor, density: float, generator: torch.Generator) -> Tensor:
    """Draws falling rain over float[1,3,h,w]: a near layer, long and faint, and a far one."""
    h, w = image.shape[2:]
    light = F.interpolate(image.mean(1, keepdim=True), scale_factor=1 / 16, mode="area")
    light = F.interpolate(light, size=(h, w), mode="bilinear", align_corners=False)
    for length, thick, count, strength in ((0.1, 1.1, 0.0006, 0.5), (0.04, 0.6, 0.0022, 0.32)):
        run = max(3, int(length * h)) | 1
        seeds = torch.rand(1, 1, h + run, w, generator=generator).to(image.device)
        drops = (seeds < count * density).float() * (0.4 + 0.6 * seeds / (count * density + 1e-9))
        lines = F.avg_pool2d(drops, (run, 1), 1, (run // 2, 0))[:, :, :h] * run
        slant = float(torch.rand(1, generator=generator)) * 0.3 - 0.15
        ys = torch.arange(h, device=image.device).float()
        xs = torch.arange(w, device=image.device)[None]
        shifted = (xs + (slant * ys)[:, None]).long() % w
        lines = lines[0, 0].gather(1, shifted)[None, None]
        image = image + strength * blur(lines, thick * w / 576).clamp(0, 1) * (light * 1.1 + 0.02)
    return image


def add_drops(image: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Puts water drops on the lens: each shows the scene upside down and out of focus."""
    h, w = image.shape[2:]
    device = image.device
    place = torch.rand(count, 4, generator=generator).to(device)
    radius = (0.008 + 0.035 * place[:, 2] ** 2) * w
    cx, cy = place[:, 0] * w, place[:, 1] * h
    ys, xs = torch.meshgrid(
        torch.arange(h, device=device).float(),
        torch.arange(w, device=device).float(),
        indexing="ij",
    )
    inside = torch.full((h, w), 9.0, device=device)  # distance from the middle, in radii
    which = torch.zeros((h, w), dtype=torch.int64, device=device)  # the nearest drop
    for k, (x, y, r) in enumerate(torch.stack([cx, cy, radius], 1).tolist()):
        reach_x, reach_y = 1.2 * r + 4, 1.6 * r + 4  # nothing is seen of it farther away
        window = (
            slice(max(int(y - reach_y), 0), int(y + reach_y) + 2),
            slice(max(int(x - reach_x), 0), int(x + reach_x) + 2),
        )
        distance = torch.hypot(
            xs[window] - cx[k], (ys[window] - cy[k]) * (0.75 + 0.5 * place[k, 3])
        )
        nearer = distance / radius[k] < inside[window]
        inside[window] = torch.where(nearer, distance / radius[k], inside[window])
        which[window] = torch.where(nearer, k, which[window])
    lens = inside.clamp(0, 1)
    zoom = -4.0 * (1 - 0.5 * lens)
    u = cx[which] + (xs - cx[which]) * zoom
    v = cy[which] + (ys - cy[which]) * zoom - 0.1 * h
    grid = torch.stack([(u + 0.5) / w * 2 - 1, (v + 0.5) / h * 2 - 1], -1)[None]
    soft = blur(F.avg_pool2d(image, 3, 1, 1), 2.5 * w / 576)
    seen = F.grid_sample(soft, grid, padding_mode="reflection", align_corners=False)
    seen = seen * (1.08 - 0.5 * (lens > 0.8) * (lens - 0.8) / 0.2)
    cover = ((1.05 - inside) / 0.15).clamp(0, 1) * 0.85
    cover = blur(cover[None, None], 0.8 * w / 576)
    return torch.lerp(image, seen, cover)


def expose(radiance: Tensor, sensor: Sensor, frame: int) -> Tensor:
    """Turns radiance into bytes.

    Args:
        radiance: float[1,3,h,w], linear, rain and lens included.
        sensor: The camera.
        frame: Index in the drive; noise differs from frame to frame.

    Returns:
        uint8[h,w,3], RGB.
    """
    h, w = radiance.shape[2:]
    device = radiance.device
    generator = torch.Generator().manual_seed(sensor.seed + 7919 * frame)
    # Exposure is metered on the lower two thirds, as road cameras do, and clipped so that lamps
    # count little.
    metered = radiance[:, :, h // 3 :].clamp_min(1e-6)
    target = sensor.brightness**2.2
    level = float(metered.clamp_max(float(metered.mean()) * 4).mean())
    gain = min(target / max(level, 1e-6), sensor.max_gain)
    signal = radiance * gain
    signal = add_bloom(signal, sensor.bloom)
    ys = torch.linspace(-1, 1, h, device=device)[:, None] * h / w
    xs = torch.linspace(-1, 1, w, device=device)[None]
    signal = signal * (1 - sensor.vignette * (xs**2 + ys**2))
    signal = blur(signal, max(sensor.softness * w / 576, 0.3))
    electrons = FULL_WELL / max(gain, 1.0)
    noise = torch.randn(signal.shape, generator=generator).to(device)
    deviation = torch.sqrt(signal.clamp_min(0) / electrons + (READ_NOISE / electrons) ** 2)
    signal = signal + blur(noise, 0.45) * 1.6 * sensor.noise * deviation
    signal = signal * torch.tensor(sensor.white, device=device)[:, None, None]
    grey = signal.mean(1, keepdim=True)
    signal = grey + (signal - grey) * sensor.saturation
    signal = signal.clamp_min(0)
    shoulder = torch.where(signal > 0.7, 1 - 0.3 * torch.exp(-(signal - 0.7) / 0.3), signal)
    display = shoulder.clamp(0, 1) ** (1 / 2.2)
    display = display + (sensor.contrast - 1) * 1.2 * display * (1 - display) * (2 * display - 1)
    return (display.clamp(0, 1) * 255 + 0.5).to(torch.uint8)[0].permute(1, 2, 0)


def unexposed(display: Tensor) -> Tensor:
    """Returns the signal that a picture was made of: the inverse of the tone curve of `expose`.

    Args:
        display: float[...] in [0, 1]; white has lost how bright it was and becomes 1.8.
    """
    signal = display.clamp(0, 1) ** 2.2
    shoulder = 0.7 - 0.3 * torch.log((1 - signal).clamp_min(0.0077) / 0.3)
    return torch.where(signal > 0.7, shoulder, signal)
