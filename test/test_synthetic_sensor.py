"""The camera: exposure, noise, blur, rain and drops, on flat fields and single points."""

import dataclasses

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from rosam_core.drives.synthetic import sensor
from rosam_core.drives.synthetic.sensor import FULL_WELL, READ_NOISE, Sensor, random_sensor

pytestmark = pytest.mark.torch
torch.set_num_threads(1)

PLAIN = Sensor(
    brightness=0.5,
    max_gain=1000.0,
    shutter=0.0,
    vignette=0.0,
    softness=0.0,
    contrast=1.0,
    saturation=1.0,
    white=(1.0, 1.0, 1.0),
    bloom=0.0,
    rain=0.0,
    drops=0,
    seed=3,
)


def flat(level: float, h: int = 96, w: int = 128) -> torch.Tensor:
    return torch.full((1, 3, h, w), level)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("level", [0.02, 0.3, 1.0])
def test_exposure_brings_any_light_to_the_brightness_it_aims_at(level: float) -> None:
    picture = sensor.expose(flat(level), PLAIN, 0).float()
    assert float(picture.mean()) == pytest.approx(0.5 * 255, abs=1.5)


def test_a_limited_gain_leaves_the_dark_dark() -> None:
    dim = dataclasses.replace(PLAIN, max_gain=4.0)
    # 4 x 0.001 to the power of 1 / 2.2, of 255.
    assert float(sensor.expose(flat(0.001), dim, 0).float().mean()) == pytest.approx(
        0.004 ** (1 / 2.2) * 255, rel=0.1
    )


def test_noise_grows_as_exposure_falls() -> None:
    """Shot noise and read noise, in electrons, at a signal s of white: sqrt(s/N + (r/N)^2)."""
    spread = []
    expected = []
    signal = 0.5**2.2
    for level in (signal, signal / 30):
        linear = (sensor.expose(flat(level), PLAIN, 1).double() / 255) ** 2.2
        spread.append(float(linear.std()))
        electrons = FULL_WELL / (signal / level)
        expected.append(np.sqrt(signal / electrons + (READ_NOISE / electrons) ** 2))
    assert spread[1] / spread[0] == pytest.approx(expected[1] / expected[0], rel=0.08)
    assert spread[1] > 4 * spread[0]


def test_noise_differs_between_frames_and_repeats_for_one() -> None:
    one, same, other = (sensor.expose(flat(0.01), PLAIN, frame) for frame in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_blur_keeps_the_light_and_has_the_width_it_says() -> None:
    image = torch.zeros(1, 1, 31, 31)
    image[0, 0, 15, 15] = 1
    blurred = sensor.blur(image, 2.0)
    assert float(blurred.sum()) == pytest.approx(1, abs=1e-5)
    x = torch.arange(31.0) - 15
    assert float((blurred[0, 0].sum(0) * x**2).sum().sqrt()) == pytest.approx(2.0, rel=0.06)
    assert torch.equal(sensor.blur(image, 0.1), image)


def test_motion_blur_smears_along_the_motion_only() -> None:
    image = torch.zeros(1, 3, 21, 41)
    image[..., 20] = 1
    flow = torch.zeros(1, 21, 41, 2)
    assert torch.equal(sensor.motion_blur(image, flow), image)
    flow[..., 0] = 8
    smeared = sensor.motion_blur(image, flow)
    row = smeared[0, 0, 10]
    assert float(row.sum()) == pytest.approx(1, abs=0.02)
    lit = torch.nonzero(row > 0.01)[:, 0]
    assert 7 <= int(lit.max() - lit.min()) <= 9
    flow = torch.zeros(1, 21, 41, 2)
    flow[..., 1] = 8  # along the line
    assert torch.allclose(sensor.motion_blur(image, flow), image, atol=1e-5)


def test_bloom_spreads_only_what_is_brighter_than_white() -> None:
    assert torch.equal(sensor.add_bloom(flat(0.9), 0.1), flat(0.9))
    image = flat(0.0)
    image[:, :, 48, 64] = 20
    veil = sensor.add_bloom(image, 0.1) - image
    assert float(veil.min()) >= 0
    assert float(veil[0, 0, 48, 70]) > float(veil[0, 0, 48, 90]) >= 0
    assert float(veil.sum()) > 1


def test_rain_adds_streaks_and_is_reproducible() -> None:
    image = flat(0.3)
    wet = sensor.add_streaks(image, 1.0, generator(4))
    assert float((wet - image).min()) >= 0
    assert 0.005 < float((wet - image > 0.02).float().mean()) < 0.8
    assert torch.equal(wet, sensor.add_streaks(image, 1.0, generator(4)))
    assert not torch.equal(wet, sensor.add_streaks(image, 1.0, generator(5)))


def test_drops_change_the_picture_only_where_they_sit() -> None:
    image = torch.rand(1, 3, 96, 128, generator=generator(1))
    wet = sensor.add_drops(image, 3, generator(7))
    changed = ((wet - image).abs().amax(1) > 1e-6).float().mean()
    assert 0.001 < float(changed) < 0.4


def test_cameras_suit_their_condition() -> None:
    for seed in range(20):
        day, night = random_sensor(seed, "day-clear", False), random_sensor(seed, "night", False)
        assert day.rain == day.drops == 0
        assert night.brightness < day.brightness
        assert night.max_gain > day.max_gain
        assert night.shutter > 0.1 > day.shutter
        assert random_sensor(seed, "day-rain", True).rain > 0
        assert random_sensor(seed, "fog", False) == random_sensor(seed, "fog", False)
