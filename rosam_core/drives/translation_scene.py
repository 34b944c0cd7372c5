"""The scene behind one picture by day: geometry from depth, paint from colour.

What a renderer knows exactly is here an estimate, made only of a picture and its depth: where the
road lies, which way surfaces face, what is sky, how bright things are painted, which of them are
lamps.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor
from torch.nn import functional

from rosam_core.drives.synthetic.gbuffer import GBuffer, View
from rosam_core.drives.synthetic.sensor import blur, unexposed

CAMERA_HEIGHT_M = 1.5  # where no road is seen
HEIGHTS_M = (0.3, 8.0)  # of cameras above a road; beyond, the plane found is none
STEEPEST = 0.9  # least cosine between the road's normal and the upright of the image
FARTHEST_M = 250.0
SKY_FROM_M, SKY_TO_M = 35.0, 65.0  # bright pixels above the horizon become sky between these
SKY_COLOUR_SPREAD = 0.25  # of display values
ROAD_SPREAD_M = 0.25  # height error of a road pixel, for a camera 1.5 m above it
MEAN_ALBEDO = 0.16
LOCAL_LIGHT = 0.65
GAMUT = 2.0  # largest ratio of a colour to its own mean that paint is let have
REAR_LAMP = 3.0  # radiance
LUMINANCE = (0.2126, 0.7152, 0.0722)


@dataclasses.dataclass(frozen=True)
class PicturedScene:
    """What b pictures show.

    Attributes:
        g: As of a renderer, in a world whose z is up and 0 on the road below the camera; depths
            are finite everywhere.
        view: Where the pictures were taken from.
        sky: float[b,h,w] in [0, 1], share of the pixel that is sky.
    """

    g: GBuffer
    view: View
    sky: Tensor

    def of(self, pictures: list[int]) -> PicturedScene:
        """Returns the scene of some of the pictures, by their places."""
        g = GBuffer(*(getattr(self.g, f.name)[pictures] for f in dataclasses.fields(GBuffer)))
        view = dataclasses.replace(
            self.view, T_world_camera=self.view.T_world_camera[pictures], K=self.view.K[pictures]
        )
        return PicturedScene(g, view, self.sky[pictures])


def pictured_scene(
    image: Tensor, depth: Tensor, K: Tensor, with_lamps: bool = True
) -> PicturedScene:
    """Returns the scene of pictures by day.

    Args:
        image: float[b,3,h,w] in [0, 1].
        depth: float[b,1,h,w] [m]; what is not finite or not positive is not known: it counts as
            the road below the horizon, and as far away above it.
        K: float[b,3,3], pixels.
        with_lamps: Look for what shines at night.
    """
    h, w = image.shape[2:]
    depth = depth[:, 0].float()
    known = torch.isfinite(depth) & (depth > 0)
    beyond = torch.isposinf(depth)
    rays = camera_rays(K, h, w)
    q = road_plane(depth, known, rays)
    down = q / q.norm(dim=1, keepdim=True)
    height = 1 / q.norm(dim=1)
    T = _camera_pose(down, height)
    view = View(T, K, w, h)
    direction = torch.einsum("bij,bhwj->bhwi", T[:, :3, :3], rays)
    to_road = 1 / torch.einsum("bi,bhwi->bhw", q, rays).clamp_min(1 / FARTHEST_M)
    depth = torch.where(known, depth, to_road)
    depth = torch.where(beyond, FARTHEST_M, depth).clamp(0.1, FARTHEST_M)
    point = T[:, None, None, :3, 3] + direction * depth[..., None]
    signal = unexposed(image).permute(0, 2, 3, 1)
    luminance = (signal * signal.new_tensor(LUMINANCE)).sum(-1)
    sky = _sky(image, direction, depth, beyond)
    road = _road(direction, point, height, signal)
    up = torch.zeros_like(point)
    up[..., 2] = 1
    normal = torch.lerp(_normals(depth, direction), up, road[..., None])
    normal = functional.normalize(normal, dim=-1)
    albedo = _albedo(signal, luminance, 1 - sky)
    g = GBuffer(
        depth=depth,
        index=torch.zeros_like(depth, dtype=torch.int64),
        direction=direction,
        point=point,
        normal=normal,
        albedo=albedo,
        gloss=torch.zeros_like(depth),
        glow=_rear_lamps(image, point, sky) if with_lamps else torch.zeros_like(point),
        road=road * (1 - sky),
    )
    return PicturedScene(g, view, sky)


def camera_rays(K: Tensor, height: int, width: int) -> Tensor:
    """Returns float[b,h,w,3], the rays of unit depth of every pixel, x right, y down, z forward.

    Args:
        K: float[b,3,3], pixels.
        height: Of the picture [px].
        width: Of the picture [px].
    """
    v = torch.arange(height, device=K.device, dtype=torch.float32)
    u = torch.arange(width, device=K.device, dtype=torch.float32)
    x = (u - K[:, 0, 2, None]) / K[:, 0, 0, None]
    y = (v - K[:, 1, 2, None]) / K[:, 1, 1, None]
    shape = (len(K), height, width)
    x, y = x[:, None].expand(shape), y[:, :, None].expand(shape)
    return torch.stack([x, y, torch.ones_like(x)], dim=-1)


def road_plane(depth: Tensor, known: Tensor, rays: Tensor, rounds: int = 6) -> Tensor:
    """Returns q of the road, float[b,3]: its points fulfil q . X = 1 in the camera's frame.

    1 / |q| is the height of the camera. On a plane inverse depth is linear in the pixel, so this
    is a line fit, weighted anew in each round (iteratively reweighted least squares); errors are
    relative to depth, as a network's are. A road 1.5 m below a level camera has a small say, which
    counts where nothing else is a road.

    Args:
        depth: float[b,h,w] [m].
        known: bool[b,h,w].
        rays: float[b,h,w,3], see `camera_rays`.
        rounds: Of weighting.
    """
    h = depth.shape[1]
    lower = slice(h // 2, None)
    usual = depth.new_tensor([0.0, 1 / CAMERA_HEIGHT_M, 0.0]).expand(len(depth), 3)
    z = torch.where(known, depth, 1.0)[:, lower, :, None].clamp(0.1, FARTHEST_M)
    rows = (rays[:, lower] * z).flatten(1, 2)  # times q: 1 on the road
    can_be = (known[:, lower] & (rays[:, lower, :, 1] > 0.03)).flatten(1).float()
    prior = depth.new_tensor([1.0, 0.01, 1.0])  # how much the usual road weighs
    q = usual
    spread = 0.5
    for _ in range(rounds):
        error = torch.einsum("bni,bi->bn", rows, q) - 1
        weight = can_be / (1 + (error / spread) ** 2) ** 2
        weight = weight / weight.sum(1, keepdim=True).clamp_min(0.02 * weight.shape[1])
        products = torch.einsum("bn,bni,bnj->bij", weight, rows, rows) + torch.diag(prior)
        sums = torch.einsum("bn,bni->bi", weight, rows) + usual * prior
        q = torch.linalg.solve(products, sums)
        spread = max(0.6 * spread, 0.08)
    length = q.norm(dim=1)
    fits = (1 / length >= HEIGHTS_M[0]) & (1 / length <= HEIGHTS_M[1])
    fits &= q[:, 1] / length >= STEEPEST
    return torch.where(fits[:, None], q, usual)


def _camera_pose(down: Tensor, height: Tensor) -> Tensor:
    """Returns T_world_camera, float[b,4,4]: x ahead, y left, z up from the road."""
    up = -down
    ahead = functional.normalize(down.new_tensor([0.0, 0.0, 1.0]) - up * up[:, 2:], dim=1)
    T = torch.eye(4, device=down.device).repeat(len(down), 1, 1)
    T[:, :3, :3] = torch.stack([ahead, torch.linalg.cross(up, ahead), up], dim=1)
    T[:, 2, 3] = height
    return T


def _normals(depth: Tensor, direction: Tensor) -> Tensor:
    """Returns normals towards the camera, float[b,h,w,3], of a smoothed surface."""
    w = depth.shape[2]
    smooth = 1 / blur(1 / depth[:, None], 1.2 * w / 160)[:, 0]
    p = (direction * smooth[..., None]).permute(0, 3, 1, 2)
    p = functional.pad(p, (1, 1, 1, 1), mode="replicate")
    across = (p[..., 1:-1, 2:] - p[..., 1:-1, :-2]).permute(0, 2, 3, 1)
    along = (p[..., 2:, 1:-1] - p[..., :-2, 1:-1]).permute(0, 2, 3, 1)
    normal = functional.normalize(torch.linalg.cross(across, along), dim=-1)
    back = -functional.normalize(direction, dim=-1)
    away = (normal * back).sum(-1, keepdim=True) < 0
    # Half the error of a normal from estimated depth, whose surfaces are wavy.
    return torch.lerp(torch.where(away, -normal, normal), back, 0.5)


def _sky(image: Tensor, direction: Tensor, depth: Tensor, beyond: Tensor) -> Tensor:
    """Returns the share of sky, float[b,h,w]: far, above the horizon, and not dark.

    Between twigs and wires a network's depth knows no sky, colour does: near what is far away, a
    pixel of the sky's colour is sky, too.
    """
    w = depth.shape[2]
    far = ((depth - SKY_FROM_M) / (SKY_TO_M - SKY_FROM_M)).clamp(0, 1)
    above = (direction[..., 2] / 0.03).clamp(0, 1)
    far = torch.maximum(far, beyond.float()) * above
    total = far.sum((1, 2)).clamp_min(1.0)
    colour = (image * far[:, None]).sum((2, 3)) / total[:, None]
    unlike = (image - colour[..., None, None]).square().sum(1) / SKY_COLOUR_SPREAD**2
    reach = round(w / 24)
    around = functional.max_pool2d(far, (1, 2 * reach + 1), 1, (0, reach))
    around = functional.max_pool2d(around, (2 * reach + 1, 1), 1, (reach, 0)) * above
    candidate = torch.maximum(far, around * torch.exp(-unlike))
    bright = image.mean(1) / colour.mean(1).clamp_min(0.1)[:, None, None]
    return candidate * ((bright - 0.5) / 0.25).clamp(0, 1)


def _road(direction: Tensor, point: Tensor, height: Tensor, signal: Tensor) -> Tensor:
    """Returns the share of road, float[b,h,w]: on the plane, and not green."""
    allowed = (ROAD_SPREAD_M / CAMERA_HEIGHT_M * height)[:, None, None]
    level = torch.exp(-((point[..., 2] / allowed) ** 2))
    red, green, blue = signal.unbind(-1)
    greenness = (green / torch.maximum(red, blue).clamp_min(1e-3) - 1.05) / 0.2
    return level * (1 - greenness.clamp(0, 1)) * (direction[..., 2] < 0)


def _albedo(signal: Tensor, luminance: Tensor, solid: Tensor) -> Tensor:
    """Returns paint, float[b,h,w,3] in [0.01, 0.9]: the picture over the light it was taken in.

    The light is taken to be LOCAL_LIGHT of what a wide average sees, in logarithms: all of it
    would make dark and bright buildings alike, nothing of it would leave the shade in.
    """
    w = luminance.shape[2]
    log = luminance.clamp_min(0.003).log()
    share = functional.avg_pool2d(solid[:, None], 4, 4, ceil_mode=True) + 1e-3
    around = functional.avg_pool2d((log * solid)[:, None], 4, 4, ceil_mode=True)
    around = blur(around, w / 40) / blur(share, w / 40)
    around = functional.interpolate(around, size=log.shape[1:], mode="bilinear")[:, 0]
    total = solid.sum((1, 2), keepdim=True).clamp_min(1.0)
    mean = (log * solid).sum((1, 2), keepdim=True) / total
    light = torch.exp(torch.lerp(mean, around, LOCAL_LIGHT))[..., None]
    albedo = MEAN_ALBEDO * signal / light.clamp_min(0.003)
    grey = albedo.mean(-1, keepdim=True)
    return torch.minimum(albedo, GAMUT * grey).clamp(0.01, 0.9)


def _rear_lamps(image: Tensor, point: Tensor, sky: Tensor) -> Tensor:
    """Returns what shines at night, float[b,h,w,3]: small red spots as low as vehicles have them.

    White lamps are not looked for: by day they look like any white thing in the sun.
    """
    w = image.shape[3]
    red, green, blue = image.unbind(1)
    redness = red - torch.maximum(green, blue)
    around = blur(redness[:, None], w / 60)[:, 0]
    spot = ((redness - around - 0.08) / 0.1).clamp(0, 1) * ((redness - 0.15) / 0.15).clamp(0, 1)
    height = point[..., 2]
    low = (height > 0.3) & (height < 1.4) & (point[..., 0] < 60)
    glow = REAR_LAMP * (spot * low * (1 - sky))[..., None]
    return glow * glow.new_tensor([1.0, 0.05, 0.03])
