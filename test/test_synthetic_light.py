"""Sun, shadow, fog, lamps and paint against values computed by hand."""

import dataclasses
import math

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from synthetic_scene import block, scene, solids

from rosam_core.drives.synthetic import lamps, light, raycast, shading, shadows
from rosam_core.drives.synthetic.gbuffer import GBuffer, View, trace
from rosam_core.drives.synthetic.ground import ground
from rosam_core.drives.synthetic.light import Light, random_light
from rosam_core.drives.synthetic.textures import band, noise, stripes
from rosam_core.drives.synthetic.world import generate_world

pytestmark = pytest.mark.torch
torch.set_num_threads(1)


def plain_light(**changes: object) -> Light:
    noon = Light(
        sun=(0.0, 0.0, 1.0),
        sun_colour=(1.0, 1.0, 1.0),
        zenith=(0.0, 0.0, 0.0),
        horizon=(0.0, 0.0, 0.0),
        clouds=0.0,
        extinction=0.0,
        is_night=False,
        wetness=0.0,
        lamp_colour=(1.0, 1.0, 1.0),
        lamp_power=0.0,
        seed=0.0,
    )
    return dataclasses.replace(noon, **changes)


def surface(points, normal=(0.0, 0.0, 1.0), albedo: float = 1.0) -> GBuffer:
    """Points in the world as if seen by a camera from above, 1 m away."""
    point = torch.tensor(points).float().reshape(1, 1, -1, 3)
    one = torch.ones(point.shape[:3])
    zero = torch.zeros_like(point)
    down = zero.clone()
    down[..., 2] = -1
    facing = torch.tensor(normal).float().expand_as(point)
    return GBuffer(
        one, one.long() * 0, down, point, facing, zero + albedo, one * 0, zero.clone(), one * 0
    )


def view_of(world) -> View:
    return View(
        torch.as_tensor(world.camera_pose(0), dtype=torch.float32)[None],
        torch.as_tensor(world.camera.K, dtype=torch.float32)[None],
        world.camera.width,
        world.camera.height,
    )


def unit(*values: float) -> tuple[float, ...]:
    return tuple((np.array(values) / np.linalg.norm(values)).tolist())


def test_fog_follows_koschmieder() -> None:
    # beta = 3 / 100 m; 40 m deep along a ray of length 1.25 is 50 m of air: exp(-1.5) = 0.22313.
    # 0.2 x 0.22313 + 0.7 x 0.77687 = 0.58844.
    foggy = [plain_light(extinction=0.03, horizon=(0.7, 0.7, 0.7))]
    radiance = torch.full((1, 1, 2, 3), 0.2)
    depth = torch.tensor([[[40.0, torch.inf]]])
    rays = torch.tensor([0.75, 0.0, 1.0]).expand(1, 1, 2, 3)
    seen = light.airlight(radiance, depth, rays, foggy)
    assert seen[0, 0, 0].tolist() == pytest.approx([0.58844] * 3, abs=2e-5)
    assert seen[0, 0, 1].tolist() == pytest.approx([0.7] * 3, abs=1e-5)  # no sky in dense fog


@pytest.mark.parametrize("seed", range(5))
def test_fog_hides_what_is_beyond_the_visibility(seed: int) -> None:
    foggy = random_light(seed, "fog")
    assert 28 <= 3 / foggy.extinction <= 150  # contrast has fallen to exp(-3) = 5 % there
    assert random_light(seed, "day-clear").extinction < 0.004
    assert random_light(seed, "day-rain").wetness > 0.4
    assert random_light(seed, "night").is_night
    assert random_light(seed, "fog") == foggy


def test_an_unknown_condition_is_said() -> None:
    with pytest.raises(ValueError, match="unknown condition 'snow': use day-clear, night"):
        random_light(0, "snow")


def test_water_mirrors_at_a_grazing_angle() -> None:
    share = shading.fresnel(torch.tensor([1.0, 0.5, 0.0]))
    assert share.tolist() == pytest.approx([0.02, 0.02 + 0.98 / 32, 1.0])


def test_a_lambertian_surface_takes_the_cosine_of_the_sun() -> None:
    low = [plain_light(sun=unit(0, 1, 1), sun_colour=(2.0, 1.0, 0.5))]
    g = surface([(0, 0, 0)], albedo=0.5)
    expected = 0.5 * np.array([2.0, 1.0, 0.5]) / math.sqrt(2)
    assert shading.shade(g, low, None, None, None)[0, 0, 0].tolist() == pytest.approx(expected)
    shaded = shading.shade(g, low, torch.zeros(1, 1, 1), None, None)
    assert shaded.abs().max() == 0


def test_a_box_casts_its_shadow_where_geometry_says() -> None:
    # x in 19..21, y in -1..1, 2 m high; the sun stands 45 degrees high at +y: the shadow is 2 m
    # long, from y = -1 to -3.
    things = block((1, 1, 1), 20.0)
    ground_points = [(20, -2, 0), (20, -2.7, 0), (20, -3.3, 0), (20, 1.3, 0), (21.4, -2, 0)]
    share = shadows.sunlit(
        raycast.join([solids(things)]),
        surface(ground_points),
        [plain_light(sun=unit(0, 1, 1))],
        view_of(scene([things])),
    )
    assert share[0, 0].tolist() == [0, 0, 1, 1, 1]


@pytest.mark.parametrize("cosine", [0.02, 0.06, 0.15, 0.4, 0.8, 0.99])
@pytest.mark.parametrize("around", [0.1, 0.7, 1.4])
def test_a_flat_wall_does_not_shade_itself(cosine: float, around: float) -> None:
    wall = block((14, 0.5, 3), 30.0, 3.0, z=3)  # its face at y = 2.5 looks along -y
    sine = math.sqrt(1 - cosine**2)
    sun = (-sine * math.cos(around), -cosine, sine * math.sin(around))
    x, z = np.meshgrid(np.arange(17.0, 43, 0.173), np.arange(0.4, 5.6, 0.131))
    points = np.column_stack([x.ravel(), np.full(x.size, 2.5), z.ravel()])
    share = shadows.sunlit(
        raycast.join([solids(wall)]),
        surface(points, (0, -1, 0)),
        [plain_light(sun=sun)],
        view_of(scene([wall])),
    )
    assert float(share.min()) == 1.0


@pytest.mark.parametrize("elevation_deg", [9, 30, 68])
def test_the_ground_under_a_low_sun_does_not_shade_itself(elevation_deg: float) -> None:
    elevation = math.radians(elevation_deg)
    slab = block((15, 10, 0.1), 30.0, z=0.1)
    x, y = np.meshgrid(np.arange(16.0, 44, 0.37), np.arange(-9.0, 9, 0.29))
    points = np.column_stack([x.ravel(), y.ravel(), np.full(x.size, 0.2)])
    share = shadows.sunlit(
        raycast.join([solids(slab)]),
        surface(points),
        [plain_light(sun=(math.cos(elevation), 0.0, math.sin(elevation)))],
        view_of(scene([slab])),
    )
    assert float(share.min()) == 1.0


def test_it_is_dark_under_a_car_and_open_elsewhere() -> None:
    roof = block((2, 1, 0.5), 20.0, z=1.0)
    share = shadows.ambient_occlusion(
        raycast.join([solids(roof)]),
        surface([(20, 0, 0), (20, 1.1, 0), (20, 6, 0), (20, 0, 5)]),
        view_of(scene([roof])),
    )[0, 0]
    assert share[0] < 0.6
    assert share[0] < share[1] < 1
    assert share[2] == 1
    assert share[3] > 0.99  # far above


@pytest.mark.parametrize("seed", [0, 7])
def test_shares_of_light_are_shares(seed: int) -> None:
    world = generate_world(seed, 4, 10.0, (128, 80))
    view = view_of(world)
    primitives = raycast.join([raycast.solids_of(world, 0, torch.device("cpu"))])
    g = trace([world], primitives, view)
    lights = [plain_light(sun=unit(1, 2, 1))]
    sun = shadows.sunlit(primitives, g, lights, view)
    ambient = shadows.ambient_occlusion(primitives, g, view)
    assert set(sun.unique().tolist()) <= {0, 0.25, 0.5, 0.75, 1}
    assert 0.02 < float(sun.mean()) < 1
    assert 0 < float(ambient.min()) < 0.95
    assert float(ambient.max()) <= 1
    assert 0.01 <= float(g.albedo[torch.isfinite(g.depth)].max()) <= 0.95
    assert float(g.road.min()) >= 0
    assert float(g.road.max()) <= 1


def test_headlights_light_the_road_ahead_and_not_the_sky() -> None:
    world = scene([])
    points = [(10, 0, 0), (40, 0, 0), (-5, 0, 0), (10, 0, 5), (10, 9, 0)]
    g = surface(points)
    g.normal[0, 0, 3] = torch.tensor([-1.0, 0, 0])
    primitives = raycast.join([raycast.solids_of(world, 0, torch.device("cpu"))])
    night = [plain_light(is_night=True)]
    total = lamps.night_light([world], [0], primitives, g, night, view_of(world))[0, 0, :, 0]
    ahead, far, behind, above, beside = total.tolist()
    assert ahead > 4 * far > 0
    assert behind == 0
    assert above < 0.2 * ahead
    assert beside < 0.3 * ahead


def test_a_band_covers_its_share_of_a_pixel() -> None:
    x = torch.tensor([0.5, 0.0, -0.25, -1.0])
    covered = band(x, 0.0, 1.0, torch.full((4,), 1.0))
    assert covered.tolist() == pytest.approx([1.0, 0.5, 0.25, 0.0])


def test_stripes_finer_than_a_pixel_become_their_mean() -> None:
    x = torch.linspace(0, 3, 50)
    assert stripes(x, 1.0, 0.3, torch.full((50,), 5.0)).tolist() == pytest.approx([0.3] * 50)
    sharp = stripes(torch.tensor([0.1, 0.29, 0.31, 0.9, 1.1]), 1.0, 0.3, torch.full((5,), 1e-3))
    assert sharp.tolist() == pytest.approx([1, 1, 0, 0, 1], abs=1e-4)


def test_noise_has_detail_near_and_none_far() -> None:
    uv = torch.rand(4000, 2, generator=torch.Generator().manual_seed(1)) * 8
    near = noise(uv, torch.full((4000,), 0.01))
    far = noise(uv, torch.full((4000,), 1.0))
    assert float(near[:, 0].std()) == pytest.approx(1, abs=0.25)
    assert float(far[:, 3].std()) < 0.05  # speckle has averaged out
    assert torch.allclose(near, noise(uv + 8, torch.full((4000,), 0.01)), atol=1e-3)  # it tiles


def test_the_road_is_asphalt_with_a_painted_line() -> None:
    street = dataclasses.replace(
        scene([]).street,
        marking=(2.0, 0.0, 3.0, 0.0),
        lanes=1,
        lane_width=3.0,
        parking=0.3,
        ground=(0.1, 0.1, 0.1, 0.1, 0.16, 0.05),
    )
    xy = torch.tensor([(10.0, 0.0), (10.0, 1.5), (10.0, 3.2), (10.0, 3.5)])
    painted, road = ground(street, xy, torch.full((4,), 0.01), 0.0)
    assert road.tolist() == pytest.approx([1, 1, 1, 0], abs=1e-4)
    assert painted.albedo[0].mean() > 0.4 > 0.25 > painted.albedo[1].mean()
