"""What regions see and pixels do not: RoSAMDepth's two counter-examples on a rendered street.

python benchmarks/counter_examples.py [--picture docs/images/counter_examples.jpg]

Prints JSON and, where asked, draws both.

1. A parked car whose depth is wrong by a factor of 0.25 to 4: the photometric error of the image
   hardly changes and many of the car's pixels look right, but its region is not reliable.
2. A smooth hill in the inverse depth of the car: no edge gives it away, the outlier mask does.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from rosam_core.drives.synthetic.renderer import Renderer
from rosam_core.drives.synthetic.world import generate_world
from rosam_core.evaluation.pictures import contact_sheet, side_by_side
from rosam_core.evaluation.sheet import save_picture
from rosam_core.geometry.warping import warp
from rosam_core.losses.outliers import regional_depth
from rosam_core.losses.photometric import photometric_error
from rosam_core.losses.regions import number_of_ids
from rosam_core.losses.reliability import pixel_reliability, region_reliability
from rosam_core.losses.smoothness import edge_aware_smoothness
from rosam_core.runtime.colormap import colorize_confidence, colorize_depth
from rosam_core.types import UInt8

WORLD, LENGTH, FRAMES, SIZE, FOV_DEG = 76, 6, (1, 4), (576, 320), 70.0
CAR = 227
FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)
SHOWN = 2.0
FARTHEST_M = 1000.0  # of the sky
HILL = 0.6  # of the inverse depth under it


@dataclasses.dataclass(frozen=True)
class Scene:
    """Two frames of a street; float[1,c,h,w], and what is exactly known of the first."""

    image: Tensor
    source: Tensor
    depth: Tensor
    regions: Tensor
    K: Tensor
    T_source_target: Tensor

    def photometric_error(self, depth: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the error with the source warped by this depth, and where it is known."""
        warped = warp(self.source, depth, self.K, self.T_source_target)
        return photometric_error(self.image, warped.image), warped.valid


def render() -> Scene:
    """Returns two frames of one world by day."""
    world = generate_world(WORLD, LENGTH, 10.0, SIZE, fov_deg=FOV_DEG)
    frames = Renderer().render([world, world], FRAMES, ("day-clear",))
    images = frames.images["day-clear"].permute(0, 3, 1, 2).float() / 255
    target, source = frames.T_world_camera
    return Scene(
        images[:1],
        images[1:],
        frames.depth[:1, None].clamp(max=FARTHEST_M),
        frames.instances[:1, None],
        torch.tensor(world.camera.K, dtype=torch.float32)[None],
        (torch.linalg.inv(source) @ target)[None],
    )


def misplaced_car(scene: Scene) -> tuple[dict[str, dict[str, float]], list[UInt8]]:
    """Returns figures for each factor, and panels for the one that is shown."""
    car = scene.regions == CAR
    n = number_of_ids(scene.regions)
    error, seen = scene.photometric_error(scene.depth)
    exact = error[seen].mean()
    figures, panels = {}, []
    for factor in FACTORS:
        depth = torch.where(car, factor * scene.depth, scene.depth)
        error, seen = scene.photometric_error(depth)
        by_pixel = pixel_reliability(error, seen, floor=0.0)
        by_region = region_reliability(error, seen, scene.regions, n, floor=0.0)
        figures[f"{factor:g}"] = {
            "image_error_ratio": round(float(error[seen].mean() / exact), 3),
            "share_of_car_pixels_over_half": round(float((by_pixel[car] > 0.5).float().mean()), 3),
            "region_reliability": round(float(by_region[car].mean()), 3),
        }
        if factor == SHOWN:
            panels = [
                photograph(scene),
                colorize_depth(depth[0, 0].numpy()),
                heat(error, 0.5),
                colorize_confidence(by_pixel[0, 0].numpy()),
                colorize_confidence(by_region[0, 0].numpy()),
            ]
    return figures, panels


def smooth_outlier(scene: Scene) -> tuple[dict[str, float], list[UInt8]]:
    """Returns the outlier mask inside and outside of a hill on the car, and panels."""
    car = (scene.regions == CAR)[0, 0]
    rows, columns = torch.nonzero(car, as_tuple=True)
    y, x = rows.float().mean(), columns.float().mean()
    radius = 0.06 * float(columns.max() - columns.min())
    v, u = torch.meshgrid(torch.arange(SIZE[1]), torch.arange(SIZE[0]), indexing="ij")
    hill = torch.exp(-((u - x) ** 2 + (v - y) ** 2) / radius**2) * car
    inverse_depth = (1 + HILL * hill) / scene.depth
    mask = regional_depth(inverse_depth, scene.regions, number_of_ids(scene.regions)).outlier_mask
    smoothness = edge_aware_smoothness(inverse_depth, scene.image)
    inside, outside = mask[0, 0][hill > 0.5], mask[0, 0][car & (hill < 0.05)]
    figures = {
        "share_of_car_inside": round(float((hill > 0.5).sum() / car.sum()), 3),
        "largest_mask_inside": round(float(inside.max()), 3),
        "median_mask_outside": round(float(outside.median()), 3),
        "share_of_outside_over_0.9": round(float((outside > 0.9).float().mean()), 3),
        "steepest_step_of_the_hill": round(float(HILL * hill.diff(dim=-1)[car[:, 1:]].max()), 3),
    }
    panels = [
        photograph(scene),
        colorize_depth(scene.depth[0, 0].numpy()),
        colorize_depth((1 / inverse_depth[0, 0]).numpy()),
        heat(smoothness, 0.2),
        colorize_confidence(mask[0, 0].numpy()),
    ]
    return figures, panels


def photograph(scene: Scene) -> UInt8:
    """Returns the frame, uint8[h,w,3]."""
    return (255 * scene.image[0].permute(1, 2, 0)).round().to(torch.uint8).numpy()


def heat(values: Tensor, end: float) -> UInt8:
    """Returns float[1,1,h,w] from black, 0, to yellow-white, `end`, as uint8[h,w,3]."""
    index = (255 * (values[0, 0] / end).clamp(0, 1)).to(torch.uint8).numpy()
    return np.ascontiguousarray(cv2.applyColorMap(index, cv2.COLORMAP_INFERNO)[..., ::-1])


def around_the_car(panel: UInt8, scene: Scene) -> UInt8:
    """Returns the part of a picture around the car."""
    rows, columns = np.nonzero((scene.regions == CAR)[0, 0].numpy())
    height = 2 * int(rows.max() - rows.min())
    top = max(0, int(rows.mean()) - height // 2)
    left = max(0, int(columns.mean()) - 3 * height // 4)
    return panel[top : top + height, left : left + 3 * height // 2]


def draw(path: Path, scene: Scene, misplaced: list[UInt8], outlier: list[UInt8]) -> None:
    """Writes both examples, one a row."""
    captions = (
        f"image · car {SHOWN:g} times too far · photometric error · weight by pixel · by region",
        "image · exact depth · a smooth hill on it · edge-aware smoothness · M_out",
    )
    rows = [
        side_by_side([around_the_car(panel, scene) for panel in panels], 220, caption)
        for panels, caption in zip((misplaced, outlier), captions, strict=True)
    ]
    save_picture(path, contact_sheet(rows, "What regions see and pixels do not"))


def main() -> None:
    """Measures, prints and draws."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--picture", type=Path, help="write a picture, .jpg or .png")
    args = parser.parse_args()
    scene = render()
    misplaced, misplaced_panels = misplaced_car(scene)
    outlier, outlier_panels = smooth_outlier(scene)
    if args.picture:
        draw(args.picture, scene, misplaced_panels, outlier_panels)
    report = {
        "what": "one parked car of a synthetic street by day",
        "size": f"{SIZE[0]}x{SIZE[1]}",
        "car_pixels": int((scene.regions == CAR).sum()),
        "depth_of_the_car_times": misplaced,
        "smooth_hill_on_the_car": outlier,
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
