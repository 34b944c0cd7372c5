"""Pictures of a synthetic street: one scene state, every condition, exact depth and object ids."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from rosam_core.drives.synthetic import lamps, light, sensor, shading, shadows
from rosam_core.drives.synthetic.gbuffer import GBuffer, View, trace
from rosam_core.drives.synthetic.light import Light
from rosam_core.drives.synthetic.raycast import join, solids_of
from rosam_core.drives.synthetic.world import World

MAX_DEPTH_M = 250.0  # farther surfaces count as sky: +Inf
WET = 0.4  # wetness from which it may be raining at night
BLUR_SHUTTER = 0.1  # shorter exposures are sharp
FRAME_S = 0.1  # the interval that a shutter share refers to
MIRROR_SHRINK = 2  # reflections are rendered at half the size


@dataclasses.dataclass
class Rendered:
    """A batch of b frames.

    Attributes:
        images: Condition to uint8[b,h,w,3], RGB.
        depth: float32[b,h,w] along the optical axis [m], +Inf = sky.
        instances: int64[b,h,w], object ids, 0 = ground, sky and scenery.
        T_world_camera: float[b,4,4].
    """

    images: dict[str, Tensor]
    depth: Tensor
    instances: Tensor
    T_world_camera: Tensor


class _Scene:
    """One instant of b worlds, seen by their cameras; what conditions share is made once."""

    def __init__(self, worlds: list[World], indices: list[int], device: torch.device) -> None:
        self.worlds, self.indices = worlds, indices
        at = list(zip(worlds, indices, strict=True))
        poses = np.stack([world.camera_pose(index) for world, index in at])
        cameras = np.stack([world.camera.K for world in worlds])
        self.view = View(
            torch.as_tensor(poses, dtype=torch.float32, device=device),
            torch.as_tensor(cameras, dtype=torch.float32, device=device),
            worlds[0].camera.width,
            worlds[0].camera.height,
        )
        self.solids = join([solids_of(world, index, device) for world, index in at])
        self.g = trace(worlds, self.solids, self.view)
        self.g.depth = torch.where(self.g.depth < MAX_DEPTH_M, self.g.depth, torch.inf)

    @functools.cached_property
    def instances(self) -> Tensor:
        """Object ids, int64[b,h,w]."""
        seen = (self.g.index >= 0) & torch.isfinite(self.g.depth)
        return torch.where(seen, self.solids.instance[self.g.index.clamp_min(0)], 0)

    @functools.cached_property
    def mirror(self) -> GBuffer:
        """What a wet road shows, at 1/MIRROR_SHRINK of the size."""
        return trace(self.worlds, self.solids, self.view.mirrored(MIRROR_SHRINK))

    @functools.cached_property
    def ambient(self) -> Tensor:
        """Share of skylight, float[b,h,w]."""
        return shadows.ambient_occlusion(self.solids, self.g, self.view)

    @functools.cached_property
    def flow(self) -> Tensor:
        """Image motion over `FRAME_S` caused by the camera, float[b,h,w,2] [px]."""
        return torch.stack([self._flow(b) for b in range(len(self.worlds))])

    def _flow(self, b: int) -> Tensor:
        world, index, view = self.worlds[b], self.indices[b], self.view
        ahead = float(world.travel[index]) + world.speed(index) * FRAME_S
        T = torch.as_tensor(world.camera_pose_at(ahead)).to(view.K)
        p = (self.g.point[b] - T[:3, 3]) @ T[:3, :3]
        z = p[..., 2].clamp_min(0.5)
        u = view.K[b, 0, 0] * p[..., 0] / z + view.K[b, 0, 2]
        v = view.K[b, 1, 1] * p[..., 1] / z + view.K[b, 1, 2]
        ys, xs = torch.meshgrid(torch.arange(view.height), torch.arange(view.width), indexing="ij")
        moved = torch.stack([u, v], -1) - torch.stack([xs, ys], -1).to(u)
        fits = torch.isfinite(self.g.depth[b]) & (p[..., 2] > 0.5)
        return (moved * fits[..., None]).clamp(-120, 120)

    def lamp_light(self, seen: GBuffer, lights: list[Light]) -> Tensor | None:
        """Returns irradiance of all lamps, float[b,h,w,3], or None by day."""
        if not any(state.is_night for state in lights):
            return None
        return lamps.night_light(self.worlds, self.indices, self.solids, seen, lights, self.view)

    def radiance(self, lights: list[Light]) -> Tensor:
        """Returns what arrives at the lens, float[b,h,w,3]."""
        g = self.g
        has_sun = any(max(state.sun_colour) > 0 for state in lights)
        sun = shadows.sunlit(self.solids, g, lights, self.view) if has_sun else None
        ambient = None if any(state.is_night for state in lights) else self.ambient
        radiance = shading.shade(g, lights, sun, ambient, self.lamp_light(g, lights))
        if any(state.wetness > 0 for state in lights):
            below = self.lamp_light(self.mirror, lights)
            radiance = _wet(radiance, g, self.mirror, lights, below)
        return light.airlight(radiance, g.depth, g.direction, lights)


def _wet(
    radiance: Tensor, g: GBuffer, mirror: GBuffer, lights: list[Light], lamp_light: Tensor | None
) -> Tensor:
    """Adds what a wet road mirrors: a picture taken from below it."""
    reflected = shading.shade(mirror, lights, None, None, lamp_light)
    reflected = light.airlight(reflected, mirror.depth, mirror.direction, lights)
    image = reflected.permute(0, 3, 1, 2).clamp_max(40)
    image = F.avg_pool2d(
        image, (7, 3), 1, (3, 1), count_include_pad=False
    )  # ripples blur it vertically
    image = F.interpolate(image, size=g.depth.shape[1:], mode="bilinear", align_corners=False)
    return shading.wet_road(radiance, image.permute(0, 2, 3, 1), g, lights)


class Renderer:
    """Renders frames of synthetic worlds, batched, on CPU or GPU."""

    def __init__(self, device: str | torch.device = "cpu") -> None:
        """Chooses where to render.

        Args:
            device: A torch device.

        Raises:
            ValueError: There is no such device.
        """
        try:
            self.device = torch.device(device)
        except RuntimeError:
            raise ValueError(f"unknown device '{device}': use cpu or cuda") from None
        if self.device.type == "cuda" and not torch.cuda.is_available():
            raise ValueError("this torch sees no CUDA GPU: render on the device cpu")

    @torch.inference_mode()
    def render(
        self, worlds: Sequence[World], indices: Sequence[int], conditions: Sequence[str]
    ) -> Rendered:
        """Renders one frame of each world in every condition.

        Args:
            worlds: b worlds whose images have the same size.
            indices: b frame indices.
            conditions: Names out of day-clear, night, day-rain, fog; may be empty.

        Raises:
            ValueError: The sizes differ, or a condition is unknown.
            IndexError: A world has no such frame.
        """
        worlds, indices = list(worlds), list(indices)
        if len({(world.camera.width, world.camera.height) for world in worlds}) != 1:
            raise ValueError("all worlds of a batch need the same image size")
        for world, index in zip(worlds, indices, strict=True):
            if not 0 <= index < len(world):
                raise IndexError(f"frame {index} of {len(world)}")
        scene = _Scene(worlds, indices, self.device)
        images = {name: self._picture(scene, name) for name in conditions}
        return Rendered(images, scene.g.depth, scene.instances, scene.view.T_world_camera)

    def _picture(self, scene: _Scene, condition: str) -> Tensor:
        """Returns uint8[b,h,w,3]."""
        lights = [
            world.style.light(light.random_light(world.seed, condition)) for world in scene.worlds
        ]
        radiance = scene.radiance(lights)
        pictures = []
        for b, (world, state) in enumerate(zip(scene.worlds, lights, strict=True)):
            drawn = sensor.random_sensor(world.seed, condition, state.wetness > WET)
            camera = world.style.sensor(drawn)
            image = radiance[b : b + 1].permute(0, 3, 1, 2).contiguous()
            if camera.shutter > BLUR_SHUTTER:
                image = sensor.motion_blur(image, scene.flow[b : b + 1] * camera.shutter)
            if camera.rain > 0:
                streaks = torch.Generator().manual_seed(camera.seed + 104729 * scene.indices[b])
                image = sensor.add_streaks(image, camera.rain, streaks)
            if camera.drops:
                on_lens = torch.Generator().manual_seed(camera.seed)  # drops stay where they are
                image = sensor.add_drops(image, camera.drops, on_lens)
            pictures.append(sensor.expose(image, camera, scene.indices[b]))
        return torch.stack(pictures)
