"""Depths of a street are spread alike whatever the weather: histograms and their divergence."""

from __future__ import annotations

import torch
from torch import Tensor


def histogram_edges(
    bins: int = 256, nearest_m: float = 3.5, farthest_m: float = 80.0
) -> list[float]:
    """Returns the bins + 1 edges of Syn2Real-Depth [m]; equally wide bins are our choice."""
    width = (farthest_m - nearest_m) / bins
    return [nearest_m + i * width for i in range(bins)] + [farthest_m]


def depth_histogram(depth: Tensor, edges: Tensor) -> Tensor:
    """Returns the share of pixels in each bin, with a gradient.

    A pixel is divided between the two bins whose middles it lies between, in proportion: what a
    plain count does not have is a slope. Pixels outside the edges are not counted.

    Args:
        depth: float[b,1,h,w] [m]; NaN and +Inf are not counted.
        edges: float[k + 1], ascending [m].

    Returns:
        float[b,k], sums to 1, or to 0 for an image without depths inside the edges.
    """
    middles = (edges[1:] + edges[:-1]) / 2
    depth = depth.flatten(1)
    counted = (depth >= edges[0]) & (depth <= edges[-1])
    depth = torch.where(counted, depth, middles[0]).clamp(middles[0], middles[-1])
    upper = torch.searchsorted(middles, depth.detach()).clamp(1, len(middles) - 1)
    lower = upper - 1
    share = (depth - middles[lower]) / (middles[upper] - middles[lower])
    counts = depth.new_zeros((len(depth), len(middles)), dtype=torch.float64)
    counts = counts.scatter_add(1, lower, ((1 - share) * counted).double())
    counts = counts.scatter_add(1, upper, (share * counted).double())
    return (counts / counts.sum(dim=1, keepdim=True).clamp(min=1e-12)).to(depth.dtype)


def histogram_divergence(first: Tensor, second: Tensor, floor: float = 1e-6) -> Tensor:
    """Returns KL(first || second) = sum p log(p / q) of each pair of histograms.

    Syn2Real-Depth (CVPR 2025) prints KL(adverse || day); its code computes KL(day || adverse).
    Exchange the arguments for that.

    Args:
        first: float[b,k], sums to 1.
        second: The same shape.
        floor: Added to every bin before both are normalised, so that empty bins stay finite.

    Returns:
        float[b], >= 0.
    """
    p, q = (x + floor for x in (first, second))
    p, q = (x / x.sum(dim=1, keepdim=True) for x in (p, q))
    return (p * (p / q).log()).sum(dim=1)
