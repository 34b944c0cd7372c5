"""Intersections against values computed by hand; culling against casting everything."""

import math

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from synthetic_scene import CAMERA, block, clutter, scene, shoot, solids

from rosam_core.drives.synthetic import raycast
from rosam_core.drives.synthetic.gbuffer import View, trace
from rosam_core.drives.synthetic.raycast import GROUND, SKY, TILE

pytestmark = pytest.mark.torch
torch.set_num_threads(1)

BOX = block((1, 2, 1), 5.0)  # x in 4..6, y in -2..2, z in 0..2
FRUSTUM = block((1, 1, 1), 5.0, taper=(0.5, 0.8, 0.25))
BALL = block((2, 1, 0.5), 5.0, is_round=True)


@pytest.mark.parametrize(
    ("thing", "origin", "direction", "expected"),
    [
        (BOX, (0, 0, 1), (1, 0, 0), 4.0),
        (BOX, (0, 0, 1), (2, 0, 0), 2.0),  # the parameter counts lengths of the direction
        (BOX, (0, 0, 1), (1, 0.25, 0), 4.0),
        (BOX, (0, 0, 1), (1, 0.6, 0), math.inf),  # at x = 4 it is at y = 2.4
        (BOX, (0, -3, 1), (1, 0.2, 0), 5.0),  # enters through the side, at (5, -2)
        (BOX, (0, 0, 1), (-1, 0, 0), math.inf),  # behind
        (BOX, (5, 0, 1), (1, 0, 0), math.inf),  # inside: nothing is entered
        (BOX, (5, 0, 9), (0, 0, -1), 7.0),  # the top, parallel to four faces
        (BOX, (3.9, 0, 1), (1, 0, 0), math.inf),  # nearer than NEAR_M
        # The front leans from x = 6 at the ground to 5.5 at z = 2, the back from 4 to 4.2,
        # the sides from y = 1 to 0.25.
        (FRUSTUM, (10, 0, 1), (-1, 0, 0), 4.25),
        (FRUSTUM, (10, 0, 0.5), (-1, 0, 0), 4.125),
        (FRUSTUM, (0, 0, 1), (1, 0, 0), 4.1),
        (FRUSTUM, (5, 10, 1), (0, -1, 0), 10 - 0.625),
        (FRUSTUM, (5, -10, 1.5), (0, 1, 0), 10 - 0.4375),
        (FRUSTUM, (0, 0.7, 1), (1, 0, 0), math.inf),  # beside the side at this height
        (FRUSTUM, (5.4, 0, 7), (0, 0, -1), 5.0),
        (FRUSTUM, (5.75, 0, 7), (0, 0, -1), 6.0),  # beyond the top, onto the front at z = 1
        (BALL, (0, 0, 1), (1, 0, 0), 3.0),
        (BALL, (0, 0, 1.25), (1, 0, 0), 5 - math.sqrt(3)),  # (x/2)^2 + (.25/.5)^2 = 1
        (BALL, (5, 0, 4), (0, 0, -2), 1.25),
        (BALL, (0, 0, 1.51), (1, 0, 0), math.inf),
        (BALL, (0, 0, 1), (-1, 0, 0), math.inf),
    ],
)
def test_a_ray_meets_a_primitive_where_geometry_says(thing, origin, direction, expected) -> None:
    t, index = shoot(solids(thing), origin, direction)
    assert t == pytest.approx(expected, abs=2e-5)
    assert index == (0 if math.isfinite(expected) else SKY)


def test_a_turned_box_shows_its_edge() -> None:
    cube = block((1, 1, 1), 5.0, yaw=math.pi / 4)
    assert shoot(solids(cube), (0, 0, 1), (1, 0, 0))[0] == pytest.approx(5 - math.sqrt(2))
    # 0.5 m beside the edge the face lies 0.5 m deeper.
    assert shoot(solids(cube), (0, 0.5, 1), (1, 0, 0))[0] == pytest.approx(5.5 - math.sqrt(2))


def test_a_turned_ellipsoid_swaps_its_radii() -> None:
    ball = block((2, 1, 0.5), 5.0, yaw=math.pi / 2, is_round=True)
    assert shoot(solids(ball), (0, 0, 1), (1, 0, 0))[0] == pytest.approx(4.0)


def test_the_nearer_of_two_wins_in_any_order() -> None:
    near, far = block((1, 1, 1), 5.0), block((1, 1, 1), 9.0, is_round=True)
    assert shoot(solids(near, far), (0, 0, 1), (1, 0, 0)) == (pytest.approx(4.0), 0)
    assert shoot(solids(far, near), (0, 0, 1), (1, 0, 0)) == (pytest.approx(4.0), 1)


def test_of_two_at_the_same_place_the_last_wins() -> None:
    assert shoot(solids(BOX, BOX, BOX), (0, 0, 1), (1, 0, 0)) == (pytest.approx(4.0), 2)


@pytest.mark.parametrize(
    ("thing", "point", "direction", "expected"),
    [
        (BOX, (4, 0.3, 1.2), (1, 0, 0), (-1, 0, 0)),
        (BOX, (5, 0.3, 2), (0, 0, -1), (0, 0, 1)),
        (FRUSTUM, (5.75, 0, 1), (-1, 0, 0), (2 / math.hypot(2, 0.5), 0, 0.5 / math.hypot(2, 0.5))),
        (BALL, (5, 0, 1.5), (0, 0, -1), (0, 0, 1)),
        (
            BALL,
            (5 - math.sqrt(3), 0, 1.25),
            (1, 0, 0),
            np.array([-math.sqrt(3) / 4, 0, 1]) / math.hypot(math.sqrt(3) / 4, 1),
        ),
    ],
)
def test_normals_point_outwards(thing, point, direction, expected) -> None:
    normal = raycast.surface_normal(
        solids(thing),
        torch.tensor([0]),
        torch.tensor([point]).float(),
        torch.tensor([direction]).float(),
    )
    assert normal[0].tolist() == pytest.approx(list(expected), abs=1e-4)


@pytest.mark.parametrize("pitch_deg", [0.0, 4.0])
def test_depth_of_the_ground_is_height_over_the_tangent(pitch_deg: float) -> None:
    pitch, height = math.radians(pitch_deg), 1.5
    world = scene([], mount=(height, pitch, 0.0, 0.0))
    g, _ = _trace(world)
    slope = (np.arange(CAMERA.height) - CAMERA.cy) / CAMERA.fy  # tangent below the optical axis
    fall = slope * math.cos(pitch) + math.sin(pitch)  # metres down for one metre of depth
    expected = np.where(fall > 1e-6, height / np.maximum(fall, 1e-9), np.inf)
    rows = g.depth[0].numpy()
    assert (rows == rows[:, :1]).all()  # the same along a row: there is no roll
    np.testing.assert_allclose(rows[:, 0], expected, rtol=2e-5)
    assert ((g.index[0] == GROUND).numpy() == np.isfinite(rows)).all()


def test_depth_is_along_the_optical_axis_not_the_range() -> None:
    wall = block((0.5, 30, 10), 10.5, z=10)
    g, _ = _trace(scene([wall]))
    assert torch.isclose(g.depth[0, :32], torch.tensor(10.0)).all()  # in the corners, too


def _view(world, index: int = 0) -> View:
    return View(
        torch.as_tensor(world.camera_pose(index), dtype=torch.float32)[None],
        torch.as_tensor(world.camera.K, dtype=torch.float32)[None],
        world.camera.width,
        world.camera.height,
    )


def _trace(world):
    view = _view(world)
    primitives = raycast.join([raycast.solids_of(world, 0, torch.device("cpu"))])
    return trace([world], primitives, view), primitives


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_culling_changes_nothing(seed: int) -> None:
    world = scene(clutter(70, seed), mount=(1.6, 0.03, 0.02, 0.2))
    view = _view(world)
    primitives = raycast.join([raycast.solids_of(world, 0, torch.device("cpu"))])
    rows, columns = CAMERA.height // TILE, CAMERA.width // TILE
    rays = raycast.tile_rays(view.directions())
    start = view.T_world_camera[:, :3, 3].repeat_interleave(rows * columns, 0)[:, None]
    rectangle, visible = raycast.perspective_bounds(
        primitives, torch.linalg.inv(view.T_world_camera), view.K, CAMERA.width, CAMERA.height, 0.0
    )
    keep = torch.nonzero(visible)[:, 0]
    assert 5 < len(keep) < len(visible)  # some are outside of the picture
    t, index = raycast.cast(primitives.take(keep), rectangle[keep], start, rays, rows, columns)
    whole = torch.tensor([[0.0, 0.0, CAMERA.width - 1, CAMERA.height - 1]])
    t_all, index_all = raycast.cast(
        primitives, whole.expand(len(visible), 4), start, rays, rows, columns
    )
    assert torch.equal(t, t_all)
    assert torch.equal(torch.where(index >= 0, keep[index.clamp_min(0)], SKY), index_all)
    assert 0.1 < float(torch.isfinite(t_all).float().mean()) < 1


def test_a_primitive_around_the_camera_is_not_lost() -> None:
    """A long wall beside the camera reaches behind it; its bounds must be clipped, not dropped."""
    wall = block((30, 0.2, 2), 0.0, 3.0, z=2)
    g, _ = _trace(scene([wall], mount=(1.5, 0.0, 0.0, 0.3)))
    hit = g.index[0] == 0
    assert float(hit.float().mean()) > 0.2
    lateral = g.point[0][hit][:, 1]
    assert torch.isclose(lateral, torch.tensor(2.8), atol=1e-3).all()
