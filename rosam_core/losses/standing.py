"""What stands on the ground is as far away as the ground at its foot: labels for whole objects.

A teacher knows the road far better than what stands on it, and knows objects least where they are
dark, wet or in fog. A region map says where an object ends below; the ground there says how far
away it is. This is ours, beyond RoSAMDepth, whose regions only judge the teacher's own word.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rosam_core.losses.planes import planar_depth, plane_coefficients, planes_at
from rosam_core.losses.regions import region_mean, spread

LEVEL = 0.9
"""Cosine of the largest angle between the ground and the camera's horizontal plane."""

EVEN = 0.2
"""The mean relative distance of ground from its plane is at most this."""

SAME_HEIGHT = 1.4
"""The camera is as high above all ground, within this factor: the roof of a car is not ground."""

FOOT = 0.3
"""So much of an object's width must touch the ground."""


def ground_regions(
    inverse_depth: Tensor, regions: Tensor, n: int, K: Tensor, coefficients: Tensor | None = None
) -> Tensor:
    """Returns which regions are ground, bool[b,n]: plane, level and below the camera.

    With `1/Z = a + b x + c y` for x = X/Z, y = Y/Z, (b, c, a) is normal to the region's plane,
    and level ground has (0, 1/height, 0).

    Args:
        inverse_depth: float[b,1,h,w], finite, > 0; its unit does not matter.
        regions: int64[b,1,h,w], ids in [0, n), 0 = unassigned.
        n: Number of ids, 0 included.
        K: float[b,3,3], intrinsics [px].
        coefficients: `plane_coefficients` of these, where they are known already.
    """
    return _ground(inverse_depth, regions, n, K, coefficients)[0]


def ground_scale(
    inverse_depth: Tensor,
    regions: Tensor,
    n: int,
    K: Tensor,
    height: Tensor,
    at_most: float = 1.3,
) -> Tensor:
    """Returns what to multiply depth by so that the ground is where it is known to be, float[b].

    Where a camera is mounted is known on every robot, and the scale of the depth of a single image
    is what a network knows least. The factor is `height` over that of `ground_regions`.

    Args:
        inverse_depth: float[b,1,h,w] [1/m], finite, > 0; no gradient flows.
        regions: int64[b,1,h,w], ids in [0, n), 0 = unassigned.
        n: Number of ids, 0 included.
        K: float[b,3,3], intrinsics [px].
        height: float[b], of the camera above the ground [m]; 0 = not known.
        at_most: The factor is between 1 / at_most and this; where there is no ground, or its
            height is not known, it is 1.
    """
    is_ground, usual = _ground(inverse_depth, regions, n, K, None)
    scale = (height.double() * usual).clamp(1 / at_most, at_most)
    known = is_ground.any(1) & (height > 0)
    return torch.where(known, scale, 1.0).to(inverse_depth.dtype)


def _ground(
    inverse_depth: Tensor, regions: Tensor, n: int, K: Tensor, coefficients: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Returns `ground_regions`, and 1 / height of most of them, float64[b] [1/m]."""
    d = inverse_depth.detach()
    h, w = d.shape[-2:]
    if coefficients is None:
        coefficients = plane_coefficients(d, regions, n)
    a, b, c = coefficients.unbind(1)
    K = K.double()[..., None]
    # u = 2 (cx + fx x) / (w - 1) - 1, v likewise.
    normal = torch.stack(
        [
            b * 2 * K[:, 0, 0] / (w - 1),
            c * 2 * K[:, 1, 1] / (h - 1),
            a + b * (2 * K[:, 0, 2] / (w - 1) - 1) + c * (2 * K[:, 1, 2] / (h - 1) - 1),
        ],
        1,
    )
    steepness = normal.norm(dim=1).clamp(min=1e-12)  # 1 / height
    distance = (planes_at(coefficients, regions) - d).abs() / d
    even, count = region_mean(distance, regions, n)
    is_ground = (normal[:, 1] > LEVEL * steepness) & (even[:, 0] < EVEN)
    is_ground[:, 0] = False
    usual = _weighted_median(steepness, torch.where(is_ground, count[:, 0].double(), 0))
    ratio = steepness / usual[:, None]
    alike = (ratio < SAME_HEIGHT) & (ratio > 1 / SAME_HEIGHT)
    return is_ground & (count[:, 0] > 0) & alike, usual


def _weighted_median(values: Tensor, weights: Tensor) -> Tensor:
    """Returns the value of each row of [b,n] that half of its weight lies below, [b]."""
    ordered, order = values.sort(dim=1)
    share = weights.gather(1, order).cumsum(1)
    middle = (share < 0.5 * share[:, -1:]).sum(1, keepdim=True).clamp(max=values.shape[1] - 1)
    return ordered.gather(1, middle)[:, 0]


def standing_depth(
    inverse_depth: Tensor,
    regions: Tensor,
    n: int,
    K: Tensor,
    tolerance: float = 0.4,
    iterations: int = 4,
    tuning: float = 1.5,
    flatness: float = 1.5e-3,
    doubt: float = 8.0,
    overhang: float = 0.5,
) -> Tensor:
    """Returns a teacher's inverse depth with objects where they stand, float[b,1,h,w].

    An object is a region that is not ground and has ground right below it over `FOOT` of its
    width. It is taken for an upright surface, whose inverse depth is linear in the column and the
    same along it: the line `q` is fitted to the ground's inverse depth at the lower edges of its
    lowest pixels, with Cauchy's weights. All other regions are `planar_depth`, and the farther
    away an object is, the more it stays that:

        log d* = s log q + (1 - s) log planar,    s = 1 / (1 + (doubt slope / q)^2)

    because one row is `slope / q` of the depth there, 6 % at 10 m and 25 % at 40 m at 160x96.

    Args:
        inverse_depth: float[b,1,h,w], of the teacher, finite, > 0; no gradient flows.
        regions: int64[b,1,h,w], ids in [0, n), 0 = unassigned.
        n: Number of ids, 0 included.
        K: float[b,3,3], intrinsics [px]; the camera stands about upright.
        tolerance: Of `planar_depth`.
        iterations: Fits, the first one of them plain least squares.
        tuning: A residual of so many deviations weighs half.
        flatness: Ridge on the slope, columns from -1 to 1: what is narrow is at one depth.
        doubt: How many rows a mask may be wrong, over the teacher's relative error; 0: none.
        overhang: Weight, in (0, 1), of edges whose ground is nearer than the line, the others have
            the rest. A bumper hangs over the road, and the ground that is seen below it is
            farther away: only wheels touch it. 0.5 asks all edges alike.
    """
    planes = plane_coefficients(inverse_depth, regions, n)
    label = planar_depth(inverse_depth, regions, n, tolerance, coefficients=planes)
    is_ground = ground_regions(inverse_depth, regions, n, K, planes)
    below, slope, touches, columns = _feet(label, regions, n, is_ground, planes)
    enough = touches.sum(2) >= (FOOT * columns).clamp(min=2)
    stands = enough & ~is_ground
    stands[:, 0] = False

    w = label.shape[-1]
    x = torch.linspace(-1, 1, w, dtype=below.dtype, device=below.device)
    weight, line = touches.to(below.dtype), below
    for _ in range(iterations):
        total = weight.sum(2, keepdim=True).clamp(min=1e-12)
        mx = (weight * x).sum(2, keepdim=True) / total
        md = (weight * below).sum(2, keepdim=True) / total
        xx = (weight * (x - mx) ** 2).sum(2, keepdim=True) / total + flatness
        xd = (weight * (x - mx) * (below - md)).sum(2, keepdim=True) / total
        line = md + xd / xx * (x - mx)
        residual = (below - line).abs()
        sigma = 1.25 * (residual * touches).sum(2, keepdim=True)
        sigma = (sigma / touches.sum(2, keepdim=True).clamp(min=1)).clamp(min=1e-5)
        side = torch.where(below > line, overhang, 1 - overhang)
        weight = touches * side / (1 + (residual / (tuning * sigma)) ** 2)
    least = below.masked_fill(~touches, torch.inf).amin(2, keepdim=True)
    most = below.masked_fill(~touches, 0).amax(2, keepdim=True)
    line = torch.where(stands[..., None], torch.minimum(torch.maximum(line, least), most), 0)
    slope = (slope * touches).sum(2, keepdim=True) / touches.sum(2, keepdim=True).clamp(min=1)
    share = 1 / (1 + (doubt * slope / line.clamp(min=1e-9)) ** 2)
    cells = _cells(regions)
    at, share = (
        x.flatten(1).gather(1, cells).view_as(label).to(label.dtype) for x in (line, share)
    )
    return torch.where(at > 0, (at.clamp(min=1e-9) / label) ** share * label, label)


def _feet(
    label: Tensor, regions: Tensor, n: int, is_ground: Tensor, planes: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Finds the ground right below each region in each column.

    Returns:
        below: float64[b,n,w], inverse depth of that ground at the lower edge of the region's
            lowest pixel, half a row below its middle; 0 where there is none.
        slope: float64[b,n,w], what that changes by from row to row.
        touches: bool[b,n,w], there is ground one or two pixels below the region's lowest.
        columns: int64[b,n], of the region.
    """
    b, _, h, w = label.shape
    rows = (
        torch.arange(h, device=label.device).view(h, 1).expand(h, w).reshape(1, -1).expand(b, -1)
    )
    lowest = rows.new_full((b, n * w), -1).scatter_reduce(1, _cells(regions), rows, "amax")
    lowest = lowest.view(b, n, w)
    ground = spread(is_ground[:, None], regions).flatten(1)
    depth = label.detach().double().flatten(1)
    per_row = spread((planes[:, 2:] * 2 / (h - 1)).to(label.dtype), regions).flatten(1).double()
    column = torch.arange(w, device=label.device)
    below, slope = depth.new_zeros(b, n, w), depth.new_zeros(b, n, w)
    touches = torch.zeros_like(lowest, dtype=torch.bool)
    for step in (2, 1):
        row = lowest + step
        inside = (lowest >= 0) & (row < h)
        place = (row.clamp(0, h - 1) * w + column).flatten(1)
        found = inside & ground.gather(1, place).view(b, n, w)
        here, change = (x.gather(1, place).view(b, n, w) for x in (depth, per_row.clamp(min=0)))
        edge = torch.maximum(here - change * (step - 0.5), 0.2 * here)
        below, slope = torch.where(found, edge, below), torch.where(found, change, slope)
        touches = touches | found
    return below, slope, touches, (lowest >= 0).sum(2)


def _cells(regions: Tensor) -> Tensor:
    """Returns the place of each pixel in a table of regions and columns, int64[b,h*w]."""
    w = regions.shape[-1]
    return (regions * w + torch.arange(w, device=regions.device)).flatten(1)
