"""Ray casting over convex solids and ellipsoids, culled by screen tile, batched, on CPU or GPU.

Every primitive is bounded by a rectangle of tiles; each (tile, primitive) pair tests one tile of
rays, and the nearest hit of every ray is kept. A box with a tapered top is an intersection of six
half-spaces `n . p <= d`; an ellipsoid is a unit sphere in its own scaled frame. The same code
casts camera rays, mirrored rays (wet road) and the sun's parallel rays.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import Tensor

from rosam_core.drives.synthetic.world import World

TILE = 16  # px
# Pairs tested together: as many as fit a CPU's cache, or as keep a GPU busy in 0.5 GB.
PAIRS_AT_ONCE = {"cpu": 256, "cuda": 16384}
NEAR_M = 0.15
SKY, GROUND = -2, -1  # primitive index of rays that hit no primitive


@dataclasses.dataclass
class Solids:
    """The primitives of a batch of frames, in world coordinates.

    Attributes:
        planes: float[n,6,4], outward normal and offset of the six faces.
        rotation: float[n,3,3], rows are the primitive's axes in the world.
        centre: float[n,3] [m].
        half: float[n,3], half extents, or radii [m].
        corners: float[n,8,3], corners of the bounding box [m].
        is_round: bool[n], ellipsoid.
        frame: int64[n], index of the frame in the batch.
        material: float[n, MATERIAL_FIELDS].
        instance: int64[n], object id.
    """

    planes: Tensor
    rotation: Tensor
    centre: Tensor
    half: Tensor
    corners: Tensor
    is_round: Tensor
    frame: Tensor
    material: Tensor
    instance: Tensor

    def take(self, keep: Tensor) -> Solids:
        """Returns the primitives at `keep`, an index or a mask."""
        return Solids(*(getattr(self, f.name)[keep] for f in dataclasses.fields(self)))


def solids_of(world: World, index: int, device: torch.device) -> Solids:
    """Returns the primitives of one frame of a world (frame index 0)."""
    poses = world.object_poses(index)[world.owner]
    shape, turn = world.shape, poses[:, 2]
    c, s = np.cos(turn), np.sin(turn)
    centre = np.column_stack(
        [
            poses[:, 0] + c * shape[:, 0] - s * shape[:, 1],
            poses[:, 1] + s * shape[:, 0] + c * shape[:, 1],
            shape[:, 2],
        ]
    )
    yaw = turn + shape[:, 3]
    c, s = np.cos(yaw), np.sin(yaw)
    zero, one = np.zeros_like(c), np.ones_like(c)
    rotation = np.stack([c, s, zero, -s, c, zero, zero, zero, one], axis=1).reshape(-1, 3, 3)
    hx, hy, hz = shape[:, 4], shape[:, 5], shape[:, 6]
    front, back, side = shape[:, 7], shape[:, 8], shape[:, 9]

    def face(normal: list[np.ndarray], offset: np.ndarray) -> np.ndarray:
        n = np.stack(normal, axis=1)
        scale = np.linalg.norm(n, axis=1, keepdims=True)
        return np.concatenate([n / scale, offset[:, None] / scale], axis=1)

    # A side through the bottom edge (h, -hz) and the top edge (t h, hz) has the normal
    # (2 hz, h (1 - t)).
    local = np.stack(
        [
            face([2 * hz, zero, hx * (1 - front)], hz * hx * (1 + front)),
            face([-2 * hz, zero, hx * (1 - back)], hz * hx * (1 + back)),
            face([zero, 2 * hz, hy * (1 - side)], hz * hy * (1 + side)),
            face([zero, -2 * hz, hy * (1 - side)], hz * hy * (1 + side)),
            face([zero, zero, one], hz),
            face([zero, zero, -one], hz),
        ],
        axis=1,
    )
    normal = np.einsum("nfi,nij->nfj", local[..., :3], rotation)
    offset = local[..., 3] + np.einsum("nfj,nj->nf", normal, centre)
    signs = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=float)
    corners = (
        np.einsum("nki,nij->nkj", signs[None] * shape[:, None, 4:7], rotation) + centre[:, None]
    )
    instance = np.array([thing.instance for thing in world.placed])[world.owner]

    def tensor(values: np.ndarray) -> Tensor:
        return torch.as_tensor(values, dtype=torch.float32, device=device)

    return Solids(
        tensor(np.concatenate([normal, offset[..., None]], axis=2)),
        tensor(rotation),
        tensor(centre),
        tensor(shape[:, 4:7]),
        tensor(corners),
        torch.as_tensor(shape[:, 10] > 0.5, device=device),
        torch.zeros(len(shape), dtype=torch.int64, device=device),
        tensor(world.material),
        torch.as_tensor(instance, device=device),
    )


def join(batch: list[Solids]) -> Solids:
    """Returns the primitives of several frames, numbered by their place in the list."""
    for index, solids in enumerate(batch):
        solids.frame = torch.full_like(solids.frame, index)
    return Solids(
        *(torch.cat([getattr(s, f.name) for s in batch]) for f in dataclasses.fields(Solids))
    )


_EDGES = [(a, b) for a in range(8) for b in range(a + 1, 8) if bin(a ^ b).count("1") == 1]


def perspective_bounds(
    solids: Solids, T_camera_world: Tensor, K: Tensor, width: int, height: int, min_size_px: float
) -> tuple[Tensor, Tensor]:
    """Returns the pixel rectangle of every primitive and whether it can be seen.

    Args:
        solids: n primitives of a batch of b frames.
        T_camera_world: float[b,4,4].
        K: float[b,3,3].
        width: Image width [px].
        height: Image height [px].
        min_size_px: Primitives smaller than this are dropped.

    Returns:
        rectangle: float[n,4], u0, v0, u1, v1 [px].
        visible: bool[n].
    """
    T = T_camera_world[solids.frame]
    p = torch.einsum("nij,nkj->nki", T[:, :3, :3], solids.corners) + T[:, None, :3, 3]
    a, b = p[:, [e[0] for e in _EDGES]], p[:, [e[1] for e in _EDGES]]
    za, zb = a[..., 2:], b[..., 2:]
    crosses = (za - NEAR_M) * (zb - NEAR_M) < 0
    share = torch.where(crosses, (NEAR_M - za) / torch.where(crosses, zb - za, 1.0), 0.0)
    points = torch.cat([p, a + share * (b - a)], dim=1)
    valid = torch.cat([p[..., 2] >= NEAR_M, crosses[..., 0]], dim=1)
    z = points[..., 2].clamp_min(NEAR_M)
    k = K[solids.frame]
    u = k[:, None, 0, 0] * points[..., 0] / z + k[:, None, 0, 2]
    v = k[:, None, 1, 1] * points[..., 1] / z + k[:, None, 1, 2]
    inf = torch.inf
    rectangle = torch.stack(
        [
            torch.where(valid, u, inf).amin(1),
            torch.where(valid, v, inf).amin(1),
            torch.where(valid, u, -inf).amax(1),
            torch.where(valid, v, -inf).amax(1),
        ],
        dim=1,
    )
    extent = torch.maximum(rectangle[:, 2] - rectangle[:, 0], rectangle[:, 3] - rectangle[:, 1])
    visible = (
        valid.any(1)
        & (rectangle[:, 2] > -0.5)
        & (rectangle[:, 0] < width - 0.5)
        & (rectangle[:, 3] > -0.5)
        & (rectangle[:, 1] < height - 0.5)
        & (extent >= min_size_px)
    )
    return rectangle, visible


def tile_rays(image: Tensor) -> Tensor:
    """Returns float[b*tiles, TILE*TILE, c] of float[b,h,w,c], h and w multiples of TILE."""
    b, h, w, c = image.shape
    tiles = image.reshape(b, h // TILE, TILE, w // TILE, TILE, c)
    return tiles.permute(0, 1, 3, 2, 4, 5).reshape(-1, TILE * TILE, c)


def untile(tiles: Tensor, b: int, h: int, w: int) -> Tensor:
    """Returns [b,h,w,...] of [b*tiles, TILE*TILE, ...]."""
    rest = tiles.shape[2:]
    image = tiles.reshape(b, h // TILE, w // TILE, TILE, TILE, *rest).transpose(2, 3)
    return image.reshape(b, h, w, *rest)


def _pairs(rectangle: Tensor, frame: Tensor, rows: int, columns: int) -> tuple[Tensor, Tensor]:
    """Returns tile index and primitive index of every pair to be tested."""
    low = torch.floor((rectangle[:, :2] + 0.5) / TILE).long().clamp_min(0)
    limit = torch.tensor([columns - 1, rows - 1], device=rectangle.device)
    high = torch.minimum(torch.floor((rectangle[:, 2:] + 0.5) / TILE).long(), limit)
    span = (high - low + 1).clamp_min(0)
    count = span[:, 0] * span[:, 1]
    primitive = torch.repeat_interleave(torch.arange(len(count), device=count.device), count)
    first = torch.cumsum(count, 0) - count
    rank = torch.arange(len(primitive), device=count.device) - first[primitive]
    wide = span[primitive, 0]
    x = low[primitive, 0] + rank % wide
    y = low[primitive, 1] + rank // wide
    return (frame[primitive] * rows + y) * columns + x, primitive


def _hit_convex(planes: Tensor, origin: Tensor, direction: Tensor) -> Tensor:
    """Returns the ray parameter of the entry into a convex solid, float[p,r]; inf = none."""
    along = planes[..., :3] @ direction.transpose(1, 2)  # [p,6,r] or [p,6,1]
    gap = planes[..., 3:] - planes[..., :3] @ origin.transpose(1, 2)
    t = gap / torch.where(along.abs() < 1e-9, 1e-9, along)
    entry = torch.where(along < 0, t, -torch.inf).amax(1)
    leave = torch.where(along < 0, torch.inf, t).amin(1)
    return torch.where((entry < leave) & (entry > NEAR_M), entry, torch.inf)


def _hit_round(solids: Solids, pick: Tensor, origin: Tensor, direction: Tensor) -> Tensor:
    """Returns the ray parameter of the entry into an ellipsoid, float[p,r]; inf = none."""
    to_unit = (solids.rotation / solids.half[..., None])[pick]
    o = (origin - solids.centre[pick][:, None]) @ to_unit.transpose(1, 2)
    d = direction @ to_unit.transpose(1, 2)
    a, half_b = (d * d).sum(-1), (o * d).sum(-1)
    c = (o * o).sum(-1) - 1
    root = half_b * half_b - a * c
    t = (-half_b - torch.sqrt(root.clamp_min(0))) / a
    return torch.where((root > 0) & (t > NEAR_M), t, torch.inf)


def cast(
    solids: Solids,
    rectangle: Tensor,
    origin: Tensor,
    direction: Tensor,
    rows: int,
    columns: int,
) -> tuple[Tensor, Tensor]:
    """Finds the nearest primitive along every ray.

    Args:
        solids: n primitives.
        rectangle: float[n,4], bounds of each in the pixels of its frame [px].
        origin: float[tiles, 1 or r, 3], ray origins in the world [m].
        direction: float[tiles, 1 or r, 3]; the parameter counts in lengths of it.
        rows: Rows of tiles in a frame.
        columns: Columns of tiles in a frame.

    Returns:
        t: float[tiles, r], ray parameter, inf = nothing hit.
        index: int64[tiles, r], primitive, `SKY` = none.
    """
    tiles, r = direction.shape[0], TILE * TILE
    best = torch.full((tiles * r,), torch.inf, device=direction.device)
    index = torch.full((tiles * r,), SKY, dtype=torch.int64, device=direction.device)
    tile, primitive = _pairs(rectangle, solids.frame, rows, columns)
    lane = torch.arange(r, device=direction.device)
    at_once = PAIRS_AT_ONCE.get(direction.device.type, PAIRS_AT_ONCE["cuda"])
    round_pair = solids.is_round[primitive]
    for is_round in (False, True):
        chosen = torch.nonzero(round_pair == is_round)[:, 0]
        for part in torch.split(chosen, at_once):
            where, pick = tile[part], primitive[part]
            o, d = origin[where], direction[where]
            t = (
                _hit_round(solids, pick, o, d)
                if is_round
                else _hit_convex(solids.planes[pick], o, d)
            )
            hit_pair, hit_lane = torch.nonzero(torch.isfinite(t), as_tuple=True)
            pixel = where[hit_pair] * r + lane[hit_lane]
            value = t[hit_pair, hit_lane]
            best.scatter_reduce_(0, pixel, value, "amin")
            wins = best[pixel] == value
            # Of equally near primitives the last one wins, whatever order the writes come in.
            index[pixel[wins]] = SKY
            index.scatter_reduce_(0, pixel[wins], pick[hit_pair[wins]], "amax")
    return best.view(tiles, r), index.view(tiles, r)


def surface_normal(solids: Solids, index: Tensor, point: Tensor, direction: Tensor) -> Tensor:
    """Returns the outward unit normal, float[m,3], where rays hit primitives.

    Args:
        solids: The primitives.
        index: int64[m], primitive of each hit.
        point: float[m,3] in the world [m].
        direction: float[m,3], ray directions.
    """
    normal = torch.empty_like(point)
    is_round = solids.is_round[index]
    at = torch.nonzero(~is_round)[:, 0]
    planes = solids.planes[index[at]]
    facing = _dot_faces(planes, direction[at]) < 0
    gap = _dot_faces(planes, point[at]) - planes[..., 3]
    face = torch.where(facing, gap, -torch.inf).argmax(1)
    normal[at] = planes[torch.arange(len(at), device=at.device), face, :3]
    at = torch.nonzero(is_round)[:, 0]
    turn = solids.rotation[index[at]]
    local = rotate(turn, point[at] - solids.centre[index[at]])
    ball = rotate(turn.transpose(1, 2), local / solids.half[index[at]] ** 2)
    normal[at] = ball / ball.norm(dim=1, keepdim=True).clamp_min(1e-9)
    return normal


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Returns the scalar products, [...], of [...,3] and [...,3]; faster than a sum over 3."""
    return a[..., 0] * b[..., 0] + a[..., 1] * b[..., 1] + a[..., 2] * b[..., 2]


def rotate(rotation: Tensor, vector: Tensor) -> Tensor:
    """Returns float[m,3], each vector float[m,3] turned by its own matrix float[m,3,3]."""
    return torch.stack([dot(rotation[:, row], vector) for row in range(3)], 1)


def _dot_faces(planes: Tensor, vector: Tensor) -> Tensor:
    """Returns float[m,6], the components of float[m,3] along the normals of six faces."""
    return dot(planes, vector[:, None])
