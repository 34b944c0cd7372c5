"""World-anchored procedural texture: tileable noise with a mip pyramid, and smooth-edged patterns.

Every function is anti-aliased by the footprint of a pixel on the surface, as a lens would do it.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor

SIZE = 512  # texels of the finest level
CHANNELS = 4  # fine grain, clouds, ridges (cracks, bark), speckle
TEXELS_PER_UNIT = 64  # so one tile of noise spans 8 units of its coordinates


def _fractal(rng: np.random.Generator, slope: float) -> np.ndarray:
    """Returns tileable noise of unit variance and spectrum 1/f^slope, float[SIZE,SIZE]."""
    f = np.hypot(*np.meshgrid(np.fft.fftfreq(SIZE), np.fft.fftfreq(SIZE))) * SIZE
    f[0, 0] = 1
    spectrum = np.fft.fft2(rng.standard_normal((SIZE, SIZE))) / f**slope
    spectrum[0, 0] = 0
    noise = np.fft.ifft2(spectrum).real
    return noise / noise.std()


@functools.lru_cache(maxsize=4)
def _pyramid(device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    rng = np.random.default_rng(20240)
    ridges = 1 - 2 * np.clip(np.abs(_fractal(rng, 1.3)) * 1.2, 0, 1)
    speckle = rng.standard_normal((SIZE, SIZE))
    level = np.stack([_fractal(rng, 0.75), _fractal(rng, 1.6), ridges, speckle], axis=-1)
    levels, offsets, sizes, offset = [], [], [], 0
    while True:
        n = level.shape[0]
        levels.append(level.reshape(-1, CHANNELS))
        offsets.append(offset)
        sizes.append(n)
        offset += n * n
        if n == 4:
            break
        level = level.reshape(n // 2, 2, n // 2, 2, CHANNELS).mean((1, 3))
    table = torch.as_tensor(np.concatenate(levels), dtype=torch.float32, device=device)
    return table, torch.tensor(offsets, device=device), torch.tensor(sizes, device=device)


def noise(uv: Tensor, footprint: Tensor) -> Tensor:
    """Samples the noise pyramid.

    Args:
        uv: float[n,2], surface coordinates; the noise repeats every 8 units.
        footprint: float[n], extent of a pixel in the same units.

    Returns:
        float[n,CHANNELS], zero mean, variance about 1 before filtering.
    """
    table, offsets, sizes = _pyramid(uv.device)
    level = torch.log2((footprint * TEXELS_PER_UNIT).clamp_min(1.0)).round().long()
    level = level.clamp_max(len(sizes) - 1)
    n, base = sizes[level], offsets[level]
    texel = uv * (n / SIZE * TEXELS_PER_UNIT)[:, None]
    low = torch.floor(texel)
    share = texel - low
    low = low.long()
    mask = n - 1  # sizes are powers of two
    x0, y0 = low[:, 0] & mask, low[:, 1] & mask
    x1, y1 = (x0 + 1) & mask, (y0 + 1) & mask
    sx, sy = share[:, :1], share[:, 1:]
    row0, row1 = base + y0 * n, base + y1 * n
    top = torch.lerp(table[row0 + x0], table[row0 + x1], sx)
    bottom = torch.lerp(table[row1 + x0], table[row1 + x1], sx)
    return torch.lerp(top, bottom, sy)


def random_of(*values: Tensor) -> Tensor:
    """Returns float[n] in [0, 1), a hash of the given numbers."""
    total = torch.zeros_like(values[0])
    for value, factor in zip(values, (12.9898, 78.233, 37.719, 4.581), strict=False):
        total = total + value * factor
    return torch.frac(torch.sin(total).abs() * 43758.547)


def band(x: Tensor, low: float | Tensor, high: float | Tensor, blur: Tensor) -> Tensor:
    """Returns the share in [0, 1] of a pixel of width `blur` at x that lies inside [low, high]."""
    half = blur.clamp_min(1e-4) / 2
    inside = torch.minimum(x + half, torch.as_tensor(high, device=x.device))
    inside = inside - torch.maximum(x - half, torch.as_tensor(low, device=x.device))
    return (inside / (2 * half)).clamp(0, 1)


def stripes(x: Tensor, period: float | Tensor, share: float | Tensor, blur: Tensor) -> Tensor:
    """Returns the share of a pixel covered by stripes `share * period` wide, in [0, 1]."""
    phase, width = x / period, blur / period
    phase = phase - torch.floor(phase)
    sharp = band(phase, 0.0, share, width) + band(phase - 1, 0.0, share, width)
    fade = (1.4 - width).clamp(0, 1)  # stripes finer than a pixel become their mean
    return (sharp * fade + share * (1 - fade)).clamp(0, 1)
