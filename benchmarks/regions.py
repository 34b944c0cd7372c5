"""How fast statistics of regions are: one scatter against a pass for each mask; prints JSON.

python benchmarks/regions.py [--batch 4] [--size 576x320] [--regions 300] [--threads 1]

Both compute mean, standard deviation and count of every region of every image and spread the
normalised deviation back to the pixels, forward and backward. The target is a ratio of medians of
20, with equal results.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from rosam_core.losses.regions import region_statistics, spread

TARGET_RATIO = 20.0
STD_FLOOR = 1e-3


def by_scatter(values: Tensor, regions: Tensor, n: int) -> Tensor:
    """Returns (v - mean) / std of each pixel in its region, by `rosam_core.losses.regions`."""
    found = region_statistics(values, regions, n)
    mean, std = spread(found.mean, regions), spread(found.std, regions)
    return (values - mean) / std.clamp(min=STD_FLOOR)


def by_masks(values: Tensor, regions: Tensor, n: int) -> Tensor:
    """Returns the same, a mask at a time."""
    images = []
    for image, ids in zip(values, regions, strict=True):
        normalised = torch.zeros_like(image)
        for region in range(n):
            mask = (ids == region).to(image.dtype)
            count = mask.sum()
            if count == 0:
                continue
            mean = (image * mask).sum() / count
            variance = ((image - mean) ** 2 * mask).sum() / count
            std = torch.where(variance > 0, variance, 1.0).sqrt() * (variance > 0)
            normalised = normalised + mask * (image - mean) / std.clamp(min=STD_FLOOR)
        images.append(normalised)
    return torch.stack(images)


def made_up_batch(batch: int, height: int, width: int, n: int) -> tuple[Tensor, Tensor]:
    """Returns smooth values float[b,1,h,w] in [0, 1] and int64 regions with n ids, 0 included.

    Regions are the cells nearest to random points, as superpixels are.
    """
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(batch, 1, 10, 18, generator=generator)
    values = functional.interpolate(coarse, size=(height, width), mode="bicubic").clamp(0, 1)
    points = torch.rand(batch, n, 2, generator=generator) * torch.tensor([height, width])
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pixels = torch.stack([rows, columns], dim=-1).reshape(1, -1, 2).float()
    regions = [torch.cdist(pixels, each[None]).argmin(dim=-1) for each in points]
    return values, torch.stack(regions).view(batch, 1, height, width)


def timed(
    compute: Callable[[Tensor, Tensor, int], Tensor],
    values: Tensor,
    regions: Tensor,
    n: int,
    runs: int,
) -> tuple[list[float], Tensor, Tensor]:
    """Returns times of forward and backward [s], the result and the gradient of its squares."""
    times = []
    for _ in range(runs):
        leaf = values.clone().requires_grad_()
        start = time.perf_counter()
        result = compute(leaf, regions, n)
        (gradient,) = torch.autograd.grad((result**2 * values).sum(), leaf)
        if values.is_cuda:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return times, result.detach(), gradient


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--size", default="576x320", help="width x height")
    parser.add_argument("--regions", type=int, default=300, help="ids, 0 included")
    parser.add_argument("--runs", type=int, default=20, help="of the scatter")
    parser.add_argument("--loop-runs", type=int, default=3, help="of the loop over masks")
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    parser.add_argument("--device", default="cpu", help="torch device")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    width, height = (int(value) for value in args.size.split("x"))
    values, regions = made_up_batch(args.batch, height, width, args.regions)
    values, regions = values.to(args.device), regions.to(args.device)
    timed(by_scatter, values, regions, args.regions, 1)  # allocates
    timed(by_masks, values[:1], regions[:1], args.regions, 1)
    fast, fast_result, fast_gradient = timed(by_scatter, values, regions, args.regions, args.runs)
    slow, slow_result, slow_gradient = timed(
        by_masks, values, regions, args.regions, args.loop_runs
    )
    ratio = statistics.median(slow) / statistics.median(fast)
    scale = slow_gradient.abs().max()
    report = {
        "what": "mean, std, count and normalised deviation of regions, forward and backward",
        "batch": args.batch,
        "size": f"{width}x{height}",
        "regions": args.regions,
        "threads": args.threads,
        "device": args.device,
        "scatter_ms": round(1e3 * statistics.median(fast), 2),
        "loop_ms": round(1e3 * statistics.median(slow), 1),
        "ratio_of_medians": round(ratio, 1),
        "target_ratio": TARGET_RATIO,
        "meets_target": ratio >= TARGET_RATIO,
        "largest_difference": float((fast_result - slow_result).abs().max()),
        "largest_gradient_difference": float((fast_gradient - slow_gradient).abs().max() / scale),
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
