"""Sums over every region of a batch at once: one scatter instead of a pass for each mask.

A region map gives each pixel the id of its region; id 0 is the unassigned rest, for which the
tables have a row like any other: whoever uses them decides what it means.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor
from torch.nn import functional


@dataclasses.dataclass(frozen=True)
class RegionStatistics:
    """What is known of each region of each image.

    Attributes:
        mean: float[b,c,n], 0 where nothing is counted.
        std: float[b,c,n], >= 0, of the population (divided by the count): 0 for one pixel.
        count: float[b,1,n], pixels counted, or the sum of their weights.
    """

    mean: Tensor
    std: Tensor
    count: Tensor


def number_of_ids(*regions: Tensor) -> int:
    """Returns the n that the tables of these maps need: the largest id plus one.

    Waits for the device; a loader that knows the number saves that.
    """
    return 1 + max(int(each.max()) if each.numel() else 0 for each in regions)


def resize_regions(regions: Tensor, size: tuple[int, int]) -> Tensor:
    """Returns a region map at another size: the id at the middle of each new pixel.

    Args:
        regions: int64[b,1,h,w].
        size: Height and width [px].

    Returns:
        int64[b,1,*size].
    """
    # Ids are at most 65535: exact in single precision.
    resized = functional.interpolate(regions.float(), size=size, mode="nearest-exact")
    return resized.to(regions.dtype)


def region_sum(values: Tensor, regions: Tensor, n: int) -> Tensor:
    """Returns the sum of each region, added up in double precision.

    In single precision the sum of a large even region drifts, one rounding after the other.

    Args:
        values: float[b,c,h,w], finite.
        regions: int64[b,1,h,w], ids in [0, n).
        n: Number of ids, 0 included.

    Returns:
        float64[b,c,n].
    """
    if values.is_cpu and len(values) > 1:
        # Features of a whole batch in double precision do not fit into the cache of a CPU, and
        # their memory is asked for and given back each time.
        pairs = zip(values.split(1), regions.split(1), strict=True)
        return torch.cat([region_sum(*pair, n) for pair in pairs])
    b, c = values.shape[:2]
    sums = values.new_zeros((b, c, n), dtype=torch.float64)
    return sums.scatter_add_(2, _indices(regions, c), values.flatten(2).double())


def region_mean(
    values: Tensor, regions: Tensor, n: int, counted: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Returns the mean of each region and how much was counted for it.

    Args:
        values: float[b,c,h,w]; finite where counted, anything elsewhere.
        regions: int64[b,1,h,w], ids in [0, n).
        n: Number of ids, 0 included.
        counted: bool or float[b,1,h,w], weights >= 0 of the pixels, or None for all alike.

    Returns:
        mean: float[b,c,n], 0 where nothing is counted.
        count: float[b,1,n].
    """
    mean, count = _mean(values, regions, n, counted)
    return mean.to(values.dtype), count.to(values.dtype)


def region_statistics(
    values: Tensor, regions: Tensor, n: int, counted: Tensor | None = None
) -> RegionStatistics:
    """Returns mean, standard deviation and count of each region; for the arguments see above.

    The deviation is that of the differences from the mean, not a difference of squares, and its
    gradient at zero is zero.
    """
    if counted is not None:
        values = values.masked_fill(counted == 0, 0.0)  # NaN times a gradient of 0 is NaN
    mean, count = _mean(values, regions, n, counted)
    deviation = values.double() - spread(mean, regions)
    variance, _ = _mean(deviation * deviation, regions, n, counted)
    varied = variance > 0
    std = torch.where(varied, torch.where(varied, variance, 1.0).sqrt(), 0.0)
    return RegionStatistics(*(x.to(values.dtype) for x in (mean, std, count)))


def spread(table: Tensor, regions: Tensor) -> Tensor:
    """Returns each pixel's entry of a table of regions.

    Args:
        table: float or bool[b,c,n].
        regions: int64[b,1,h,w], ids in [0, n).

    Returns:
        [b,c,h,w], the type of the table.
    """
    spread_out = table.gather(2, _indices(regions, table.shape[1]))
    return spread_out.unflatten(2, regions.shape[-2:])


def _indices(regions: Tensor, channels: int) -> Tensor:
    """Returns int64[b,channels,h*w], without a copy for each channel."""
    return regions.flatten(2).long().expand(-1, channels, -1)


def _mean(
    values: Tensor, regions: Tensor, n: int, counted: Tensor | None
) -> tuple[Tensor, Tensor]:
    weights = torch.ones_like(regions) if counted is None else counted
    if counted is not None:
        values = values.double().masked_fill(counted == 0, 0.0) * counted
    count = region_sum(weights, regions, n)
    return region_sum(values, regions, n) / torch.where(count > 0, count, 1.0), count
