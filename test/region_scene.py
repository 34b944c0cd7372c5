"""Two frames of a synthetic street with a parked car, and what warping with some depth costs."""

from __future__ import annotations

import dataclasses
import functools

import torch
from torch import Tensor

from rosam_core.drives.synthetic.renderer import Renderer
from rosam_core.drives.synthetic.world import generate_world
from rosam_core.geometry.warping import warp
from rosam_core.losses.photometric import photometric_error

WORLD, LENGTH, FRAMES, SIZE, FOV_DEG = 76, 6, (1, 4), (192, 112), 70.0
CAR = 227


@dataclasses.dataclass(frozen=True)
class CarScene:
    """A frame, the next one, exact depth, ids, camera and motion; batches of one."""

    image: Tensor
    source: Tensor
    depth: Tensor
    regions: Tensor
    K: Tensor
    T_source_target: Tensor

    @property
    def car(self) -> Tensor:
        """Where the car is, bool[1,1,h,w]."""
        return self.regions == CAR

    def with_car_scaled(self, factor: float) -> Tensor:
        """Exact depth but for the car's, which is wrong by a factor."""
        return torch.where(self.car, factor * self.depth, self.depth)

    def error(self, depth: Tensor) -> tuple[Tensor, Tensor]:
        """Photometric error and where it is known."""
        warped = warp(self.source, depth, self.K, self.T_source_target)
        return photometric_error(self.image, warped.image), warped.valid


@functools.lru_cache(maxsize=1)
def car_scene() -> CarScene:
    """Renders it; some seconds."""
    world = generate_world(WORLD, LENGTH, 10.0, SIZE, fov_deg=FOV_DEG)
    frames = Renderer().render([world, world], FRAMES, ("day-clear",))
    images = frames.images["day-clear"].permute(0, 3, 1, 2).float() / 255
    target, source = frames.T_world_camera.clone()
    return CarScene(
        images[:1].clone(),
        images[1:].clone(),
        frames.depth[:1, None].clamp(max=1000.0).clone(),
        frames.instances[:1, None].clone(),
        torch.tensor(world.camera.K, dtype=torch.float32)[None],
        (torch.linalg.inv(source) @ target)[None],
    )
