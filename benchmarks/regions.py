"""What regions cost: scatters against a loop over masks, priors in a training step; prints JSON.

python benchmarks/regions.py [--batch 4] [--size 576x320] [--regions 300] [--threads 1]

1. Mean, standard deviation and count of every region of every image, and the normalised deviation
   spread back to the pixels, forward and backward: a ratio of medians of 20, with equal results.
2. A whole step of stage 2, from the batch to the new weights, with and without all priors, of one
   student in turns: at most 1.2 times the time. On a CPU time is that of the process, which other
   work on the machine does not count into.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from rosam_core.losses.regions import region_statistics, spread
from rosam_core.methods.base import Batch
from rosam_core.methods.rosam_depth import RosamDepth, RosamOptions
from rosam_core.methods.syn2real import AdaptationOptions, RealAdaptation
from rosam_core.models import create_model

TARGET_RATIO = 20.0
TARGET_STEP_RATIO = 1.2
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


def made_up_drive(values: Tensor, regions: Tensor) -> Batch:
    """Returns a batch of stage 2, driving straight ahead.

    Args:
        values: float[b,1,h,w] in [0, 1], of which the pictures are made.
        regions: int64[b,1,h,w].
    """
    b, _, h, w = values.shape
    generator = torch.Generator().manual_seed(1)
    grain = torch.rand(b, 3, h, w, generator=generator).to(values.device)
    image = (0.8 * values + 0.2 * grain).contiguous()
    T_source_target = torch.eye(4).repeat(b, 2, 1, 1)
    T_source_target[:, :, 2, 3] = torch.tensor([1.0, -1.0])
    K = torch.tensor([[0.8 * w, 0, w / 2], [0, 0.8 * w, h / 2], [0, 0, 1]]).repeat(b, 1, 1)
    return {
        "image": image,
        "clean": image,
        "sources": torch.stack([image.roll(2, -1), image.roll(-2, -1)], dim=1),
        "source_known": torch.ones(b, 2, dtype=torch.bool, device=values.device),
        "K": K.to(values.device),
        "T_source_target": T_source_target.to(values.device),
        "regions": regions,
    }


class Step:
    """One optimisation step of a method, as the trainer makes it, and the time that it takes."""

    def __init__(self, method: RealAdaptation, device: str) -> None:
        self.method = method.to(device)
        self.method.student.train()
        self.parameters = [p for p in method.student.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=1e-6)
        self.on_gpu = torch.device(device).type == "cuda"
        self.times: list[float] = []

    def __call__(self, batch: Batch) -> None:
        """Makes it; the batch is that of the method."""
        clock = time.perf_counter if self.on_gpu else time.process_time
        start = clock()
        terms = self.method.losses(batch, 0)
        loss = torch.stack([term.mean() * term.weight for term in terms.values()]).sum()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, 5.0)
        self.optimizer.step()
        if self.on_gpu:
            torch.cuda.synchronize()
        self.times.append(clock() - start)


def step_ratio(
    batch: Batch, student: str, device: str, runs: int
) -> dict[str, float | int | str | bool]:
    """Returns the time of a step of the baseline and of RoSAMDepth, and their ratio.

    Args:
        batch: See `made_up_drive`.
        student: Name of the network.
        device: Torch device.
        runs: Steps of each, in turns, after one that does not count.
    """
    focal = 0.8 * batch["image"].shape[-1]
    steps = []
    for priors in (False, True):
        torch.manual_seed(0)
        networks = [create_model(student) for _ in range(3)]
        if priors:
            method: RealAdaptation = RosamDepth(*networks, RosamOptions(), focal)
        else:
            method = RealAdaptation(*networks, AdaptationOptions())
        steps.append(Step(method, device))
    for _ in range(runs + 1):
        for step in steps:
            step(batch)
    baseline, rosam = (statistics.median(step.times[1:]) for step in steps)
    return {
        "student": student,
        "runs": runs,
        "clock": "wall" if steps[0].on_gpu else "process",
        "baseline_step_ms": round(1e3 * baseline, 1),
        "rosam_step_ms": round(1e3 * rosam, 1),
        "step_ratio_of_medians": round(rosam / baseline, 3),
        "step_ratio_of_minima": round(min(steps[1].times[1:]) / min(steps[0].times[1:]), 3),
        "step_target_ratio": TARGET_STEP_RATIO,
        "step_meets_target": rosam / baseline <= TARGET_STEP_RATIO,
    }


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--size", default="576x320", help="width x height")
    parser.add_argument("--regions", type=int, default=300, help="ids, 0 included")
    parser.add_argument("--runs", type=int, default=20, help="of the scatter")
    parser.add_argument("--loop-runs", type=int, default=3, help="of the loop over masks")
    parser.add_argument("--student", default="light", help="network of the steps")
    parser.add_argument("--step-runs", type=int, default=9, help="steps of each method; 0 = none")
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
    if args.step_runs:
        batch = made_up_drive(values, regions)
        report |= step_ratio(batch, args.student, args.device, args.step_runs)
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
