"""What a teacher says of a region is one plane, as far as it is one: labels without bleeding.

Inverse depth is linear in the pixel wherever a surface is plane (a wall, a road, the side of a
car), so the plane of a region averages what its teacher says of thousands of pixels, and what
bleeds across an outline is an outlier of both planes beside it. This is ours, beyond RoSAMDepth,
whose regions have one mean: a road or a wall along it is not at one depth.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rosam_core.losses.regions import region_mean, spread


def plane_coefficients(
    inverse_depth: Tensor,
    regions: Tensor,
    n: int,
    iterations: int = 3,
    tuning: float = 1.5,
    flatness: float = 1e-5,
    floor: float = 1e-4,
) -> Tensor:
    """Returns each region's a, b, c of the plane `a + b u + c v`, float64[b,3,n] [1/m].

    (u, v) runs from -1 to 1 over the image. Least squares, reweighted by Cauchy's
    `w = 1 / (1 + (r / (tuning sigma))^2)` with `sigma = 1.25 mean |r|` of the region, which is
    the deviation of Gaussian residuals r. A ridge on b and c keeps slivers of a region flat.

    Args:
        inverse_depth: float[b,1,h,w], of the teacher, finite, > 0 [1/m]; no gradient flows.
        regions: int64[b,1,h,w], ids in [0, n).
        n: Number of ids, 0 included.
        iterations: Fits, the first one of them plain least squares.
        tuning: A residual of so many deviations weighs half.
        flatness: Of the ridge.
        floor: Least deviation [1/m].
    """
    d = inverse_depth.detach().double()
    u, v = _coordinates(d)
    moments = torch.cat([u, v, d, u * u, u * v, v * v, u * d, v * d], 1)
    weight: Tensor | None = None
    plane = d.new_zeros(len(d), 3, n)
    for i in range(iterations):
        mean, _ = region_mean(moments, regions, n, weight)
        mu, mv, md, uu, uv, vv, ud, vd = mean.unbind(1)
        uu, uv, vv = uu - mu * mu + flatness, uv - mu * mv, vv - mv * mv + flatness
        ud, vd = ud - mu * md, vd - mv * md
        determinant = uu * vv - uv * uv
        slope_u = (vv * ud - uv * vd) / determinant
        slope_v = (uu * vd - uv * ud) / determinant
        plane = torch.stack([md - slope_u * mu - slope_v * mv, slope_u, slope_v], 1)
        if i + 1 < iterations:
            residual = (d - planes_at(plane, regions)).abs()
            sigma = 1.25 * region_mean(residual, regions, n)[0]
            scaled = residual / (tuning * spread(sigma, regions).clamp(min=floor))
            weight = 1 / (1 + scaled * scaled)
    return plane


def planes_at(coefficients: Tensor, regions: Tensor) -> Tensor:
    """Returns the plane of its region at each pixel, float64[b,1,h,w] [1/m].

    Args:
        coefficients: float64[b,3,n], see `plane_coefficients`.
        regions: int64[b,1,h,w], ids in [0, n).
    """
    at = spread(coefficients, regions)
    u, v = _coordinates(at[:, :1])
    return at[:, :1] + at[:, 1:2] * u + at[:, 2:] * v


def _coordinates(like: Tensor) -> tuple[Tensor, Tensor]:
    """Returns u and v of the pixels of float[b,1,h,w], from -1 to 1, same shape."""
    h, w = like.shape[-2:]
    v, u = torch.meshgrid(
        torch.linspace(-1, 1, h, dtype=like.dtype, device=like.device),
        torch.linspace(-1, 1, w, dtype=like.dtype, device=like.device),
        indexing="ij",
    )
    return u.expand_as(like), v.expand_as(like)


def plane_depth(
    inverse_depth: Tensor,
    regions: Tensor,
    n: int,
    reach: float = 1.0,
    coefficients: Tensor | None = None,
) -> Tensor:
    """Returns the plane of its region at each pixel, within the depths of the region.

    Args:
        inverse_depth: float[b,1,h,w], of the teacher, finite, > 0 [1/m]; no gradient flows.
        regions: int64[b,1,h,w], ids in [0, n).
        n: Number of ids, 0 included.
        reach: A plane is cut off where it leaves the depths of its region by this factor.
        coefficients: `plane_coefficients` of these, where they are known already.

    Returns:
        float[b,1,h,w] [1/m], > 0.
    """
    d = inverse_depth.detach()
    if coefficients is None:
        coefficients = plane_coefficients(d, regions, n)
    plane = planes_at(coefficients, regions).to(d.dtype)
    index = regions.flatten(2)
    least = d.new_full((*d.shape[:2], n), torch.inf).scatter_reduce(2, index, d.flatten(2), "amin")
    most = d.new_zeros((*d.shape[:2], n)).scatter_reduce(2, index, d.flatten(2), "amax")
    return plane.clamp(spread(least, regions) / reach, spread(most, regions) * reach)


def planar_depth(
    inverse_depth: Tensor,
    regions: Tensor,
    n: int,
    tolerance: float = 0.4,
    reach: float = 1.0,
    coefficients: Tensor | None = None,
) -> Tensor:
    """Returns a teacher's inverse depth drawn to the planes of its regions, float[b,1,h,w] [1/m].

    `log d* = g log plane + (1 - g) log d`, `g = exp(-(e / tolerance)^2)`, e the mean of
    `|plane - d| / d` over the region: what is no plane, a tree or a mask over two things, stays
    as it is. So do unassigned pixels.

    Args:
        inverse_depth: float[b,1,h,w], of the teacher, finite, > 0 [1/m]; no gradient flows.
        regions: int64[b,1,h,w], ids in [0, n), 0 = unassigned.
        n: Number of ids, 0 included.
        tolerance: Mean relative distance from the plane at which 37 % of g are left.
        reach: A plane is cut off where it leaves the depths of its region by this factor.
        coefficients: `plane_coefficients` of these, where they are known already.
    """
    d = inverse_depth.detach()
    plane = plane_depth(d, regions, n, reach, coefficients)
    error = region_mean((plane - d).abs() / d, regions, n)[0]
    share = torch.exp(-((spread(error, regions) / tolerance) ** 2))
    return torch.where(regions > 0, d * (plane / d) ** share, d)
