"""A simulated 32-beam spinning lidar above the camera."""

from __future__ import annotations

import math

import numpy as np
import torch

from rosam_core.drives.synthetic import raycast
from rosam_core.drives.synthetic.drive import lidar_position
from rosam_core.drives.synthetic.raycast import TILE, solids_of
from rosam_core.drives.synthetic.world import World
from rosam_core.types import Float32

BEAMS = 32
SECTORS = 136  # one tile of rays each: 32 beams x 8 azimuths
ELEVATION_DEG = (-30.67, 10.67)  # of a 32-beam sensor
RANGE_M = (0.9, 80.0)
NOISE_M = 0.02
DROPOUT = 0.08


@torch.inference_mode()
def scan(world: World, index: int) -> Float32:
    """Returns one sweep, taken at the instant of the frame.

    Args:
        world: The street.
        index: Frame index.

    Returns:
        float32[n,3], points in the camera frame (x right, y down, z forward) [m], from all around.
    """
    rng = np.random.default_rng([world.seed, 97, index])
    solids = solids_of(world, index, torch.device("cpu"))
    T = world.camera_pose(index)
    origin = torch.tensor(lidar_position(T), dtype=torch.float32)
    steps = TILE * TILE // BEAMS
    azimuth = torch.arange(SECTORS * steps) * (2 * math.pi / (SECTORS * steps))
    elevation = torch.deg2rad(torch.linspace(*ELEVATION_DEG, BEAMS))
    a = azimuth.view(SECTORS, steps, 1).expand(-1, -1, BEAMS)
    e = elevation.expand_as(a)
    rays = torch.stack([e.cos() * a.cos(), e.cos() * a.sin(), e.sin()], -1).view(SECTORS, -1, 3)

    centre, radius = (
        solids.corners.mean(1),
        (solids.corners - solids.corners.mean(1, True)).norm(dim=2).amax(1),
    )
    to = centre - origin
    flat = to[:, :2].norm(dim=1)
    near = (to.norm(dim=1) - radius < RANGE_M[1]) & (radius < 150)
    spread = torch.where(
        flat > radius, torch.asin((radius / flat.clamp_min(1e-6)).clamp_max(1)), math.pi
    )
    middle = torch.remainder(torch.atan2(to[:, 1], to[:, 0]), 2 * math.pi)
    scale = SECTORS * TILE / (2 * math.pi)
    full = float(SECTORS * TILE)
    parts, rectangles = [], []
    for shift in (-full, 0.0, full):  # the circle wraps round
        low, high = (middle - spread) * scale + shift, (middle + spread) * scale + shift
        keep = torch.nonzero(near & (high >= 0) & (low < full))[:, 0]
        zero = torch.zeros(len(keep))
        parts.append(keep)
        rectangles.append(torch.stack([low[keep], zero, high[keep], zero + TILE - 1], 1))
    chosen = torch.cat(parts)
    t, _ = raycast.cast(
        solids.take(chosen),
        torch.cat(rectangles),
        origin.view(1, 1, 3).expand(SECTORS, 1, 3),
        rays,
        1,
        SECTORS,
    )
    down = -rays[..., 2]
    ground = torch.where(down > 1e-6, origin[2] / down.clamp_min(1e-6), torch.inf)
    distance = torch.minimum(t, ground).reshape(-1).numpy().astype(np.float64)
    distance = distance + rng.normal(0, NOISE_M, distance.shape)
    kept = (
        (distance > RANGE_M[0]) & (distance < RANGE_M[1]) & (rng.random(distance.shape) > DROPOUT)
    )
    world_points = origin.numpy() + rays.reshape(-1, 3).numpy()[kept] * distance[kept, None]
    return ((world_points - T[:3, 3]) @ T[:3, :3]).astype(np.float32)
