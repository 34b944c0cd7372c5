"""Do the weights of stage 2 find the teacher's good labels? By condition; prints a table.

python benchmarks/label_quality.py --teacher weather.pt --day day.pt --drives TARGET --masks MASKS

A teacher's depth on unlabelled drives is weighed by agreement with the day network (W_cst), by
reliability (W_rel, of regions and of pixels) and by the outlier mask (M_out). Drives with exact
depth tell what that is worth: the teacher's mean relative error, and the same mean with each
weight. A weight that knew nothing would leave it as it is. `planar` and `standing` are the means
without weights of the labels that know of regions (docs/methods.md), `height` those of the teacher
at the scale that the camera's height gives. Student and teacher of 160x96, as the benchmark of
adaptation has them.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from rosam_core.checkpoint import load_student_weights
from rosam_core.drives.augmentation import AugmentationOptions
from rosam_core.drives.neighbours import NeighbourOptions
from rosam_core.drives.opening import open_drives
from rosam_core.drives.recorded_samples import RecordedSamples, ViewOptions
from rosam_core.drives.video_samples import video_sample
from rosam_core.evaluation.scoring import format_table
from rosam_core.loader import to_device
from rosam_core.losses.outliers import regional_depth
from rosam_core.losses.planes import planar_depth
from rosam_core.losses.regions import number_of_ids
from rosam_core.losses.reliability import (
    consistency_weight,
    pixel_reliability,
    region_reliability,
)
from rosam_core.losses.standing import ground_scale, standing_depth
from rosam_core.methods.neighbours import metres_per_unit, neighbour_error, view_depth
from rosam_core.models import create_model

RANGE_M = (0.5, 80.0)
BETAS = (1.0, 2.0, 4.0)
SIZES = {"": 1, ", half size": 2}  # of the pictures that are compared


def whole_frames(drives: Path, masks: Path, size: tuple[int, int]) -> RecordedSamples:
    """Returns every frame as recorded, with neighbours, exact depth and regions."""
    return RecordedSamples(
        open_drives(drives),
        size,
        view=ViewOptions(crop=(1.0, 1.0), flip=0.0),
        look=AugmentationOptions(),
        neighbours=NeighbourOptions(need="none", min_speed_mps=0.0, min_flow_px=0.0),
        regions=masks,
        neighbour_looks=False,
    )


@torch.no_grad()
def judged(
    batch: dict[str, Tensor], truth: Tensor, teacher: nn.Module, day: nn.Module, focal: float
) -> dict[str, float]:
    """Returns the teacher's mean relative error on a frame, plain and with each weight.

    Args:
        batch: Of one frame, see `video_sample`.
        truth: float[1,1,h,w] [m], 0 = none.
        teacher: Student of stage 1.
        day: Student of stage 0.
        focal: Canonical focal length [px].
    """
    inverse, by_day = (net(batch["clean"])["inverse_depth"] for net in (teacher, day))
    regions = batch["regions"]
    n = number_of_ids(regions)
    depth = view_depth(1 / inverse, batch, focal)
    judged_at = {
        size: neighbour_error(batch, depth, batch["T_source_target"], scale)
        for size, scale in SIZES.items()
    }
    regional = regional_depth(inverse, regions, n)
    scored = (truth > RANGE_M[0]) & (truth < RANGE_M[1])
    error = (depth - truth).abs()[scored] / truth[scored]

    def mean(weight: Tensor) -> float:
        chosen = weight[scored]
        return float((chosen * error).sum() / chosen.sum())

    outlier = scored & (regional.outlier_mask < 0.5)
    replaced = (view_depth(1 / regional.mean, batch, focal) - truth).abs() / truth
    plain = (depth - truth).abs() / truth
    height = batch["camera_height"] / metres_per_unit(batch, focal)
    scaled = inverse / ground_scale(inverse, regions, n, batch["K"], height).view(-1, 1, 1, 1)
    labels = {
        "planar": planar_depth(inverse, regions, n),
        "standing": standing_depth(inverse, regions, n, batch["K"]),
        "height": scaled,
        "standing, height": standing_depth(scaled, regions, n, batch["K"]),
    }

    def error_of(label: Tensor) -> float:
        metres = view_depth(1 / label, batch, focal)
        return float(((metres - truth).abs() / truth)[scored].mean())

    figures = {
        **{name: error_of(label) for name, label in labels.items()},
        "teacher": mean(torch.ones_like(depth)),
        "W_cst": mean(consistency_weight(inverse, by_day)),
        **{f"W_rel, pixels{size}": mean(pixel_reliability(*at)) for size, at in judged_at.items()},
        **{
            f"W_rel, beta {beta:g}{size}": mean(region_reliability(*at, regions, n, beta))
            for beta in BETAS
            for size, at in judged_at.items()
        },
        "M_out": mean(regional.outlier_mask),
        "outliers": float(outlier.sum() / scored.sum()),
    }
    if bool(outlier.any()):
        figures["teacher on outliers"] = float(plain[outlier].mean())
        figures["region mean there"] = float(replaced[outlier].mean())
    return figures


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--teacher", type=Path, required=True, help="checkpoint of stage 1")
    add("--day", type=Path, required=True, help="checkpoint of stage 0")
    add("--drives", type=Path, required=True, help="synthetic drives in every condition")
    add("--masks", type=Path, required=True, help="their region maps, of `rosam masks`")
    add("--model", default="light", help="name of the networks (light)")
    add("--size", default="160x96", help="width x height of the networks")
    add("--focal", type=float, default=110.0, help="canonical focal length [px]")
    add("--frames", type=int, default=160, help="so many, spread evenly")
    args = parser.parse_args()
    torch.set_num_threads(1)
    width, height = (int(value) for value in args.size.split("x"))
    networks = []
    for checkpoint in (args.teacher, args.day):
        network = create_model(args.model)
        load_student_weights(network, checkpoint)
        networks.append(network.eval())
    recorded = whole_frames(args.drives, args.masks, (width, height))
    found: dict[str, list[dict[str, float]]] = defaultdict(list)
    for index in np.linspace(0, len(recorded) - 1, args.frames).round().astype(int):
        sample = recorded.at(0, int(index))
        batch = {
            name: torch.from_numpy(np.asarray(value))[None]
            for name, value in video_sample(sample).items()
        }
        truth = torch.from_numpy(sample["depth"].astype(np.float32))[None]
        target = recorded.targets[int(index)]
        name = target.drive.glance(target.index).condition
        found[name].append(
            judged(to_device(batch, torch.device("cpu")), truth, *networks, args.focal)
        )
    names = list(dict.fromkeys(name for rows in found.values() for row in rows for name in row))
    table = [["condition", "frames", *names]]
    for condition, rows in sorted(found.items()):
        means = [np.nanmean([row.get(name, np.nan) for row in rows]) for name in names]
        table.append([condition, str(len(rows)), *(f"{mean:.3f}" for mean in means)])
    print(format_table(table))


if __name__ == "__main__":
    main()
