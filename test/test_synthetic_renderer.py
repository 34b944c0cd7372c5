"""Pictures, depth and ids of one scene state; several views of it; several worlds at once."""

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from rosam_core.drives.synthetic.lidar import scan
from rosam_core.drives.synthetic.renderer import Renderer
from rosam_core.drives.synthetic.world import World, generate_world

pytestmark = pytest.mark.torch
torch.set_num_threads(1)

CONDITIONS = ("day-clear", "night", "day-rain", "fog")
SIZE = (128, 80)


@pytest.fixture(scope="module")
def renderer() -> Renderer:
    return Renderer()


@pytest.fixture(scope="module")
def world() -> World:
    return generate_world(5, 8, 10.0, SIZE)


@pytest.fixture(scope="module")
def everything(renderer: Renderer, world: World):
    return renderer.render([world], [3], CONDITIONS)


def test_shapes_types_and_ranges(everything, world: World) -> None:
    for name in CONDITIONS:
        assert everything.images[name].shape == (1, SIZE[1], SIZE[0], 3)
        assert everything.images[name].dtype == torch.uint8
        assert float(everything.images[name].float().std()) > 3, f"{name} shows nothing"
    assert everything.depth.shape == everything.instances.shape == (1, SIZE[1], SIZE[0])
    finite = torch.isfinite(everything.depth)
    assert float(everything.depth[finite].min()) > 0
    assert float(everything.depth[finite].max()) < 250
    assert not torch.isnan(everything.depth).any()
    assert int(everything.instances[~finite].abs().sum()) == 0  # the sky has no id
    known = {thing.instance for thing in world.placed} | {0}
    assert set(everything.instances.unique().tolist()) <= known
    assert len(everything.instances.unique()) > 3


def test_every_condition_shows_the_same_instant(renderer, world, everything) -> None:
    for name in CONDITIONS:
        alone = renderer.render([world], [3], [name])
        assert torch.equal(alone.depth, everything.depth)
        assert torch.equal(alone.instances, everything.instances)
        assert torch.equal(alone.images[name], everything.images[name])
    pictures = [everything.images[name].numpy().tobytes() for name in CONDITIONS]
    assert len(set(pictures)) == 4


def test_night_is_darker_and_fog_is_flatter(everything) -> None:
    image = {name: everything.images[name].float() for name in CONDITIONS}
    assert image["night"].mean() < 0.75 * image["day-clear"].mean()
    far = (everything.depth[0] > 40) & torch.isfinite(everything.depth[0])
    spread = {name: float(image[name][0][far].std()) for name in ("day-clear", "fog")}
    assert spread["fog"] < 0.6 * spread["day-clear"]


def test_the_same_seed_gives_the_same_bytes(renderer, everything) -> None:
    again = Renderer().render([generate_world(5, 8, 10.0, SIZE)], [3], CONDITIONS)
    for name in CONDITIONS:
        assert torch.equal(again.images[name], everything.images[name])
    assert torch.equal(again.depth, everything.depth)
    other = renderer.render([generate_world(6, 8, 10.0, SIZE)], [3], ())
    assert not torch.equal(other.depth, everything.depth)


def test_a_batch_equals_its_frames_alone(renderer, world, everything) -> None:
    second = generate_world(9, 8, 10.0, SIZE)
    batch = renderer.render([second, world], [6, 3], CONDITIONS)
    alone = renderer.render([second], [6], CONDITIONS)
    for b, single in enumerate((alone, everything)):
        assert torch.equal(batch.depth[b], single.depth[0])
        assert torch.equal(batch.instances[b], single.instances[0])
        assert torch.equal(batch.T_world_camera[b], single.T_world_camera[0])
        for name in CONDITIONS:
            assert torch.equal(batch.images[name][b], single.images[name][0]), (b, name)


def test_what_cannot_be_rendered_is_said(renderer, world) -> None:
    with pytest.raises(ValueError, match="same image size"):
        renderer.render([world, generate_world(1, 2, 10.0, (64, 48))], [0, 0], ())
    with pytest.raises(ValueError, match="unknown condition 'snow': use day-clear, night"):
        renderer.render([world], [0], ["snow"])
    for index in (-1, 8):
        with pytest.raises(IndexError, match=f"frame {index} of 8"):
            renderer.render([world], [index], ())
    with pytest.raises(ValueError, match="unknown device 'toaster': use cpu or cuda"):
        Renderer("toaster")


def _points(depth: np.ndarray, world: World, index: int) -> np.ndarray:
    """Every pixel's place in the world, float64[h,w,3]."""
    camera, T = world.camera, world.camera_pose(index)
    v, u = np.mgrid[: camera.height, : camera.width]
    rays = np.stack(
        [(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy, np.ones(u.shape)], -1
    )
    return (rays * np.where(np.isfinite(depth), depth, 0)[..., None]) @ T[:3, :3].T + T[:3, 3]


def _inverse_depth_at(depth: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Inverse depth between pixels: exactly bilinear on a plane. The sky is 0."""
    u0, v0 = np.floor(u).astype(int), np.floor(v).astype(int)
    a, b = u - u0, v - v0
    inverse = 1 / depth
    top = (1 - a) * inverse[v0, u0] + a * inverse[v0, u0 + 1]
    bottom = (1 - a) * inverse[v0 + 1, u0] + a * inverse[v0 + 1, u0 + 1]
    return (1 - b) * top + b * bottom


def _project(points: np.ndarray, world: World, index: int):
    """Returns pixels u, v, depth and which of the points are well inside the picture."""
    camera, T = world.camera, world.camera_pose(index)
    x, y, z = ((points - T[:3, 3]) @ T[:3, :3]).T
    ahead = z > 0.3
    safe = np.where(ahead, z, 1.0)
    u, v = camera.fx * x / safe + camera.cx, camera.fy * y / safe + camera.cy
    inside = ahead & (u > 0) & (v > 0) & (u < camera.width - 1) & (v < camera.height - 1)
    return u, v, z, inside


@pytest.mark.parametrize("seed", [5, 8, 11])
def test_static_scenery_agrees_between_frames(renderer, seed: int) -> None:
    world = generate_world(seed, 8, 10.0, SIZE)
    here, there = (renderer.render([world], [i], ()) for i in (2, 3))
    moving = [t.instance for t in world.placed if t.speed != 0 or t.on_path]
    assert 0 not in moving  # whatever moves has an id
    depth, ids = here.depth[0].numpy().astype(np.float64), here.instances[0].numpy()
    still = np.isfinite(depth) & ~np.isin(ids, moving)
    u, v, z, inside = _project(_points(depth, world, 2)[still], world, 3)
    inverse = _inverse_depth_at(there.depth[0].numpy(), u[inside], v[inside])
    seen = 1 / np.maximum(inverse, 1e-6)
    error = np.abs(seen - z[inside]) / z[inside]
    assert len(error) > 1000
    assert np.median(error) < 0.01
    assert np.mean(error < 0.02) > 0.7  # the rest is hidden behind edges


def test_moving_cars_move() -> None:
    seen = 0
    for seed in range(5, 15):
        world = generate_world(seed, 11, 10.0, SIZE)
        moved = np.hypot(*(world.object_poses(10) - world.object_poses(0))[:, :2].T)
        for thing, distance in zip(world.placed, moved, strict=True):
            if thing.on_path:
                assert distance > 0 or world.travel[10] == 0
            elif world.street.curvature == 0:  # one second later; chords of bends are shorter
                assert distance == pytest.approx(thing.speed, abs=1e-9)
            seen += thing.on_path or thing.speed > 0
        ids = [thing.instance for thing in world.placed if thing.instance]
        assert len(ids) == len(set(ids))
    assert seen > 100


@pytest.mark.parametrize("seed", [5, 7])
def test_lidar_agrees_with_the_depth(renderer, seed: int) -> None:
    world = generate_world(seed, 8, 10.0, (256, 160))
    points = scan(world, 3)
    assert points.dtype == np.float32
    distance = np.linalg.norm(points, axis=1)
    assert distance.max() < 82
    depth = renderer.render([world], [3], ()).depth[0].numpy()
    T = world.camera_pose(3)
    u, v, z, inside = _project(points @ T[:3, :3].T + T[:3, 3], world, 3)
    seen = 1 / np.maximum(_inverse_depth_at(depth, u[inside], v[inside]), 1e-6)
    error = np.abs(seen - z[inside])
    assert inside.sum() > 500
    assert np.median(error) < 0.05
    assert points[:, 2].min() < -1  # it looks all around


def test_lidar_repeats_itself(world) -> None:
    assert np.array_equal(scan(world, 2), scan(world, 2))
    assert not np.array_equal(scan(world, 2)[:100], scan(world, 3)[:100])


@pytest.mark.gpu
def test_a_gpu_renders_the_same_world(world, everything) -> None:
    pictures = Renderer("cuda").render([world, world], [3, 3], CONDITIONS)
    for b in range(2):
        depth, expected = pictures.depth[b].cpu(), everything.depth[0]
        same = torch.isclose(depth, expected, rtol=1e-4) | (depth == expected)
        assert float(same.float().mean()) > 0.999
        ids = pictures.instances[b].cpu() == everything.instances[0]
        assert float(ids.float().mean()) > 0.999
        for name in CONDITIONS:
            difference = (
                pictures.images[name][b].cpu().float() - everything.images[name][0].float()
            )
            assert float(difference.abs().mean()) < 1, name
