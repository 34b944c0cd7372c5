"""Pictures of a synthetic street: one scene state, every condition, exact depth and object ids."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from rosam_core.drives.synthetic import lamps, light, sensor, shading, shadows
from rosam_core.drives.synthetic.gbuffer import GBuffer, View, trace
from rosam_core.drives.synthetic.light import Light
from rosam_core.drives.synthetic.raycast import Solids, join, solids_of
from rosam_core.drives.synthetic.textures import noise
from rosam_core.drives.synthetic.world import World

MAX_DEPTH_M = 250.0  # farther surfaces count as sky: +Inf
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


def _view(worlds: Sequence[World], indices: Sequence[int], device: torch.device) -> View:
    poses = [
        torch.as_tensor(w.camera_pose(i), dtype=torch.float32)
        for w, i in zip(worlds, indices, strict=True)
    ]
    K = [torch.as_tensor(w.camera.K, dtype=torch.float32) for w in worlds]
    camera = worlds[0].camera
    return View(
        torch.stack(poses).to(device), torch.stack(K).to(device), camera.width, camera.height
    )


def _flow(g: GBuffer, view: View, worlds: Sequence[World], indices: Sequence[int]) -> Tensor:
    """Returns image motion over `FRAME_S` caused by the camera, float[b,h,w,2] [px]."""
    flows = []
    for b, (world, index) in enumerate(zip(worlds, indices, strict=True)):
        ahead = world.travel[index] + world.speed(index) * FRAME_S
        T = torch.as_tensor(
            world.camera_pose_at(float(ahead)), dtype=torch.float32, device=g.point.device
        )
        p = (g.point[b] - T[:3, 3]) @ T[:3, :3]
        z = p[..., 2].clamp_min(0.5)
        u = view.K[b, 0, 0] * p[..., 0] / z + view.K[b, 0, 2]
        v = view.K[b, 1, 1] * p[..., 1] / z + view.K[b, 1, 2]
        ys, xs = torch.meshgrid(torch.arange(view.height), torch.arange(view.width), indexing="ij")
        here = torch.stack([xs, ys], -1).to(u)
        moved = torch.stack([u, v], -1) - here
        fits = torch.isfinite(g.depth[b]) & (p[..., 2] > 0.5)
        flows.append((moved * fits[..., None]).clamp(-120, 120))
    return torch.stack(flows)


def _wet(
    radiance: Tensor, g: GBuffer, mirror: GBuffer, lights: list[Light], lamp_light: Tensor | None
) -> Tensor:
    """Adds what a wet road mirrors.

    The reflection is a picture taken from below the road, weighted by Fresnel's law and by how
    deep the water stands.
    """
    reflected = shading.shade(mirror, lights, None, None, lamp_light)
    reflected = light.airlight(reflected, mirror.depth, mirror.direction, lights)
    image = reflected.permute(0, 3, 1, 2).clamp_max(40)
    image = F.avg_pool2d(
        image, (7, 3), 1, (3, 1), count_include_pad=False
    )  # ripples blur it vertically
    image = F.interpolate(image, size=g.depth.shape[1:], mode="bilinear", align_corners=False)
    device = g.point.device
    shape = g.depth.shape
    xy = g.point[..., :2].reshape(-1, 2)
    grain = noise(xy * 0.35, (g.depth.nan_to_num(posinf=1e3) * 0.002).reshape(-1).clamp(0, 5))
    puddle = (0.62 + 0.3 * grain[:, 0] + 0.25 * grain[:, 1]).clamp(0.1, 1).reshape(shape)
    wet = light.columns(lights, "wetness", device) * g.road
    unit = g.direction / g.direction.norm(dim=-1, keepdim=True)
    cosine = unit[..., 2].abs()
    share = (shading.fresnel(cosine) * puddle * wet).clamp(0, 0.9)[..., None]
    dark = radiance * (1 - 0.45 * wet)[..., None]
    return dark * (1 - share) + image.permute(0, 2, 3, 1) * share


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
        """
        worlds, indices = list(worlds), list(indices)
        if len({(w.camera.width, w.camera.height) for w in worlds}) != 1:
            raise ValueError("all worlds of a batch need the same image size")
        view = _view(worlds, indices, self.device)
        solids = join([solids_of(w, i, self.device) for w, i in zip(worlds, indices, strict=True)])
        g = trace(worlds, solids, view)
        g.depth = torch.where(g.depth < MAX_DEPTH_M, g.depth, torch.inf)
        images = {
            name: self._condition(name, worlds, indices, solids, g, view) for name in conditions
        }
        instances = torch.where(g.index >= 0, solids.instance[g.index.clamp_min(0)], 0)
        return Rendered(images, g.depth, instances, view.T_world_camera)

    def _condition(
        self,
        name: str,
        worlds: list[World],
        indices: list[int],
        solids: Solids,
        g: GBuffer,
        view: View,
    ) -> Tensor:
        lights = [light.random_light(world.seed, name) for world in worlds]
        cameras = [
            sensor.random_sensor(world.seed, name, state.wetness > 0.4)
            for world, state in zip(worlds, lights, strict=True)
        ]
        is_night = any(state.is_night for state in lights)
        has_sun = any(max(state.sun_colour) > 0 for state in lights)
        sun = shadows.sunlit(solids, g, lights, view) if has_sun else None
        ambient = None if is_night else shadows.ambient_occlusion(solids, g, view)

        def lamp_light(seen: GBuffer) -> Tensor | None:
            if not is_night:
                return None
            return lamps.night_light(worlds, indices, solids, seen, lights, view)

        radiance = shading.shade(g, lights, sun, ambient, lamp_light(g))
        if any(state.wetness > 0 for state in lights):
            mirror = trace(worlds, solids, view.mirrored(MIRROR_SHRINK))
            radiance = _wet(radiance, g, mirror, lights, lamp_light(mirror))
        radiance = light.airlight(radiance, g.depth, g.direction, lights)
        moves = max(camera.shutter for camera in cameras) > BLUR_SHUTTER
        flow = _flow(g, view, worlds, indices) if moves else None
        pictures = []
        for b, camera in enumerate(cameras):
            image = radiance[b : b + 1].permute(0, 3, 1, 2).contiguous()
            if flow is not None and camera.shutter > BLUR_SHUTTER:
                image = sensor.motion_blur(image, flow[b : b + 1] * camera.shutter)
            if camera.rain > 0:
                streaks = torch.Generator().manual_seed(camera.seed + 104729 * indices[b])
                image = sensor.add_streaks(image, camera.rain, streaks)
            if camera.drops:
                on_lens = torch.Generator().manual_seed(camera.seed)  # drops stay where they are
                image = sensor.add_drops(image, camera.drops, on_lens)
            pictures.append(sensor.expose(image, camera, indices[b]))
        return torch.stack(pictures)
