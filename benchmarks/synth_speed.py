"""How fast synthetic frames render, with exact depth and object ids; prints JSON.

python benchmarks/synth_speed.py [--size 576x320] [--processes 2] [--batch 1] [--device cuda]

Without supersampling and without writing files. The target is 4 frames/s in one condition on two
cores at 576x320. Besides what the clock says, `frames_per_s_of_cpu_time` says what as many idle
cores would give: processor time is what a busy machine does not distort (CPU only).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from typing import Any

TARGET_FRAMES_PER_S = 4.0
CONDITIONS = ("day-clear", "night", "day-rain", "fog")
SETTINGS = {"depth and ids only": (), **{name: (name,) for name in CONDITIONS}, "all": CONDITIONS}


def measure(
    job: tuple[int, argparse.Namespace, tuple[int, int]],
) -> dict[str, tuple[int, float, float]]:
    """Renders in one process.

    Args:
        job: Number of the process, arguments of the program, width and height [px].

    Returns:
        By setting: frames rendered, wall time and processor time [s].
    """
    import torch

    from rosam_core.drives.synthetic.renderer import Renderer
    from rosam_core.drives.synthetic.world import generate_world

    number, args, size = job
    torch.set_num_threads(1)
    renderer = Renderer(args.device)
    frames, batch = args.frames, args.batch
    seeds = range(args.seed + number * args.worlds, args.seed + (number + 1) * args.worlds)
    worlds = [generate_world(seed, frames, 10.0, size) for seed in seeds]

    def render(names: tuple[str, ...], count: int) -> int:
        done = 0
        for world in worlds:
            for first in range(0, count, batch):
                indices = range(first, min(first + batch, count))
                frame = renderer.render([world] * len(indices), indices, names)
                for image in (*frame.images.values(), frame.depth, frame.instances):
                    image.cpu()  # waits for the device
                done += len(indices)
        return done

    results = {}
    for label, names in SETTINGS.items():
        render(names, 1)  # tables, kernels and memory are there from now on
        wall, cpu = time.perf_counter(), time.process_time()
        done = render(names, frames)
        results[label] = (done, time.perf_counter() - wall, time.process_time() - cpu)
    return results


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="576x320", help="width x height")
    parser.add_argument("--frames", type=int, default=5, help="frames of each world and setting")
    parser.add_argument("--worlds", type=int, default=4, help="worlds for each process")
    parser.add_argument("--processes", type=int, default=2, help="each has one thread")
    parser.add_argument("--batch", type=int, default=1, help="frames rendered together")
    parser.add_argument("--seed", type=int, default=500, help="of the first world")
    parser.add_argument("--device", default="cpu", help="torch device")
    args = parser.parse_args()
    width, height = (int(value) for value in args.size.split("x"))
    context = multiprocessing.get_context("spawn")
    with context.Pool(args.processes) as pool:
        jobs = [(number, args, (width, height)) for number in range(args.processes)]
        each = pool.map(measure, jobs, chunksize=1)
    report: dict[str, Any] = {
        "what": "synthetic frames with depth and ids, not supersampled, not written",
        "size": f"{width}x{height}",
        "processes": args.processes,
        "threads_each": 1,
        "worlds": args.processes * args.worlds,
        "batch": args.batch,
        "device": args.device,
        "frames_per_s": {},
        "frames_per_s_of_cpu_time": {},
    }
    for label in SETTINGS:
        rows = [result[label] for result in each]
        report["frames_per_s"][label] = round(sum(done / wall for done, wall, _ in rows), 2)
        report["frames_per_s_of_cpu_time"][label] = round(
            sum(done / cpu for done, _, cpu in rows), 2
        )
    slowest = min(report["frames_per_s"][name] for name in CONDITIONS)
    report["slowest_condition_frames_per_s"] = slowest
    report["target_frames_per_s"] = TARGET_FRAMES_PER_S
    report["meets_target"] = slowest >= TARGET_FRAMES_PER_S
    by_cpu = min(report["frames_per_s_of_cpu_time"][name] for name in CONDITIONS)
    report["meets_target_by_cpu_time"] = by_cpu >= TARGET_FRAMES_PER_S
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
