"""Weather from depth: the physics by hand, and what must never come out."""

from __future__ import annotations

import dataclasses
import math

import pytest

torch = pytest.importorskip("torch")

from rosam_core.drives.synthetic.light import random_light
from rosam_core.drives.translation import ADVERSE, radiance, translate
from rosam_core.drives.translation_mirror import mirrored
from rosam_core.drives.translation_scene import camera_rays, pictured_scene, road_plane

pytestmark = pytest.mark.torch

H, W, FOCAL, HEIGHT_M = 48, 80, 60.0, 1.6
K = torch.tensor([[FOCAL, 0, (W - 1) / 2], [0, FOCAL, (H - 1) / 2], [0, 0, 1]])


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def street(wall_m=200.0, height_m=HEIGHT_M):
    """A grey road below a level camera up to a wall, float[1,3,h,w] and float[1,1,h,w]."""
    row = torch.arange(H)[:, None].expand(H, W) - (H - 1) / 2
    road = torch.where(row > 0, height_m * FOCAL / row.clamp_min(0.5), torch.inf)
    depth = road.clamp_max(wall_m)
    generator = torch.Generator().manual_seed(0)
    image = 0.45 + 0.1 * torch.rand(1, 3, H, W, generator=generator)
    return image, depth[None, None]


def light_of(condition, **changes):
    return dataclasses.replace(random_light(1, condition), **changes)


def test_fog_is_koschmieders_law():
    """L = L0 exp(-beta d) + A (1 - exp(-beta d)), with d along the ray, on the optical axis."""
    image, depth = street(wall_m=30.0)
    scene = pictured_scene(image, depth, K[None])
    state = {"horizon": (0.5, 0.6, 0.7), "wetness": 0.0}
    clear = radiance(scene, [light_of("fog", extinction=0.0, **state)], [0])
    foggy = radiance(scene, [light_of("fog", extinction=0.05, **state)], [0])
    v, u = 20, 40  # on the wall; the ray is this much longer than the depth
    length = math.sqrt(1 + ((u - 39.5) / 60) ** 2 + ((v - 23.5) / 60) ** 2)
    left = math.exp(-0.05 * 30.0 * length)
    assert left == pytest.approx(0.2226, abs=1e-4)  # exp(-1.5026)
    air = torch.tensor([0.5, 0.6, 0.7])
    expected = clear[0, :, v, u] * left + air * (1 - left)
    torch.testing.assert_close(foggy[0, :, v, u], expected)
    assert not torch.allclose(foggy[0, :, v, u], air, atol=0.01)


def test_fog_hides_what_is_far():
    image, depth = street(wall_m=300.0)
    image[..., ::2] *= 0.3  # stripes
    foggy = translate(image, depth, K[None], ["fog"], [3])
    contrast = (foggy[..., ::2] - foggy[..., 1::2]).abs().mean(dim=(0, 1, 3))
    assert contrast[-1] > 2 * contrast[H // 2 + 3]


def test_night_is_darker_and_darker_and_noisier_with_distance():
    image, depth = street(wall_m=60.0)
    image = torch.full_like(image, 0.5)
    lampless = [s for s in range(60) if random_light(s, "night").lamp_power == 0]
    seeds = [s for s in lampless if random_light(s, "night").wetness == 0]
    assert len(seeds) >= 3
    n = len(seeds)
    night = translate(
        image.repeat(n, 1, 1, 1),
        depth.repeat(n, 1, 1, 1),
        K.repeat(n, 1, 1),
        ["night"] * n,
        seeds,
    )
    assert night.mean() < 0.6 * image.mean()
    near, far = night[:, :, -8:-4, 20:60], night[:, :, 26:28, 20:60]
    assert (near.mean((1, 2, 3)) > 1.2 * far.mean((1, 2, 3))).all()

    def noise(part):  # of the signal
        grain = part[..., 1:] - part[..., :-1]
        return grain.std((1, 2, 3)) / part.mean((1, 2, 3))

    assert (noise(far) > noise(near)).all()


def test_rain_darkens_the_road_and_shows_the_wall_in_it():
    image, depth = street(wall_m=12.0)
    image = torch.full_like(image, 0.35)
    image[:, :, : H // 2 + 7, 30:50] = torch.tensor([0.9, 0.2, 0.2])[:, None, None]  # a red door
    scene = pictured_scene(image, depth, K[None])
    state = light_of("day-rain", wetness=1.0, extinction=0.0)
    dry = radiance(scene, [light_of("day-rain", wetness=0.0, extinction=0.0)], [0])
    wet = radiance(scene, [state], [0])
    below, beside = (36, 40), (36, 5)  # on the road, in front of the door and of the wall
    shown = mirrored(scene, dry.permute(0, 2, 3, 1), [state])
    door, wall = shown[0, below[0], below[1]], shown[0, beside[0], beside[1]]
    assert door[0] > 1.5 * door[1]
    assert wall[0] < 1.2 * wall[1]
    assert (wet[0, :, 44, 5] < dry[0, :, 44, 5]).all()
    torch.testing.assert_close(wet[0, :, 2, 5], dry[0, :, 2, 5])  # a wall stays as it is


def test_the_same_seed_gives_the_same_weather_whatever_else_is_in_the_batch():
    image, depth = street()
    three = [x.repeat(3, 1, 1, 1) for x in (image, depth)]
    together = translate(*three, K.repeat(3, 1, 1), ADVERSE, [7, 8, 9])
    for i, condition in enumerate(ADVERSE):
        alone = translate(image, depth, K[None], [condition], [7 + i])
        assert (alone - together[i : i + 1]).abs().max() <= 1.01 / 255
        again = translate(image, depth, K[None], [condition], [7 + i])
        assert torch.equal(alone, again)
        assert not torch.equal(alone, translate(image, depth, K[None], [condition], [70 + i]))


def test_clear_pictures_stay_as_they_are():
    image, depth = street()
    two = [x.repeat(2, 1, 1, 1) for x in (image, depth)]
    result = translate(*two, K.repeat(2, 1, 1), ["day-clear", "night"], [1, 2])
    assert torch.equal(result[:1], image)
    assert not torch.equal(result[1:], image)


@pytest.mark.parametrize("condition", ADVERSE)
@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf, -math.inf, 1e-6, 1e9])
@pytest.mark.parametrize("shade", [0.0, 0.5, 1.0])
def test_depth_that_says_nothing_still_gives_a_picture(condition, value, shade):
    image = torch.full((1, 3, H, W), shade)
    result = translate(image, torch.full((1, 1, H, W), value), K[None], [condition], [4])
    assert torch.isfinite(result).all()
    assert ((result >= 0) & (result <= 1)).all()


def test_a_hole_in_the_depth_is_local():
    image, depth = street()
    holed = depth.clone()
    holed[..., 30:34, 10:14] = math.nan
    whole, part = (translate(image, d, K[None], ["fog"], [2]) for d in (depth, holed))
    assert (whole - part)[..., :20, 40:].abs().max() <= 2.01 / 255


@pytest.mark.parametrize("height_m", [1.0, 1.6, 2.5])
def test_the_road_is_found_under_the_camera(height_m):
    _, depth = street(height_m=height_m)
    noisy = depth * torch.exp(
        0.05 * torch.randn(depth.shape, generator=torch.Generator().manual_seed(1))
    )
    noisy[..., 26:40, 5:20] = 4.0  # a car stands on it
    q = road_plane(noisy[:, 0], torch.isfinite(noisy[:, 0]), camera_rays(K[None], H, W))
    assert 1 / q.norm() == pytest.approx(height_m, rel=0.06)
    assert q[0, 1] / q.norm() > 0.995


def test_where_no_road_is_one_as_usual_is_taken():
    q = road_plane(
        torch.full((1, H, W), 5.0),
        torch.ones(1, H, W, dtype=torch.bool),
        camera_rays(K[None], H, W),
    )
    torch.testing.assert_close(q, torch.tensor([[0.0, 1 / 1.5, 0.0]]), rtol=0, atol=0.12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"conditions": ["snow"]}, "cannot translate to snow: choose from night, day-rain, fog"),
        ({"seeds": [1, 2]}, "1 pictures, 1 conditions and 2 seeds"),
        ({"depth": torch.ones(1, 1, 4, 4)}, "do not fit depth"),
    ],
)
def test_what_does_not_fit_is_named(change, message):
    image, depth = street()
    asked = {"conditions": ["fog"], "seeds": [1], "depth": depth, **change}
    with pytest.raises(ValueError, match=message):
        translate(image, asked["depth"], K[None], asked["conditions"], asked["seeds"])
