import math

import pytest

torch = pytest.importorskip("torch")

from region_scene import CAR, car_scene

from rosam_core.losses.regions import number_of_ids
from rosam_core.losses.reliability import (
    consistency_weight,
    pixel_reliability,
    region_reliability,
)

pytestmark = pytest.mark.torch


def grid(rows):
    return torch.tensor(rows, dtype=torch.float64)[None, None]


def ids(rows):
    return torch.tensor(rows)[None, None]


def everywhere(x):
    return torch.ones_like(x, dtype=torch.bool)


def test_by_hand():
    """Errors .1 .3 | .5 .3 | .3 unassigned: mean .3; region 1 below it, region 2 a third above."""
    error, regions = grid([[0.1, 0.3, 0.5, 0.3, 0.3]]), ids([[1, 1, 2, 2, 0]])
    weight = region_reliability(error, everywhere(error), regions, 3)
    bad = math.exp(-(0.4 - 0.3) / 0.3) + 0.1
    assert weight.flatten().tolist() == pytest.approx([1.1, 1.1, bad, bad, 1.0])
    sharper = region_reliability(error, everywhere(error), regions, 3, beta=3.0, floor=0.0)
    assert sharper[0, 0, 0, 2].item() == pytest.approx(math.exp(-1.0))


def test_pixel_reliability_by_hand():
    error = grid([[0.1, 0.3, 0.5, math.nan]])
    weight = pixel_reliability(error, ~error.isnan())
    expected = [1.1, 1.1, math.exp(-0.2 / 0.3) + 0.1, 1.0]
    assert weight.flatten().tolist() == pytest.approx(expected)


def test_only_what_a_source_sees_is_judged():
    """The unseen half of region 1 would be bad; region 2 is not seen at all."""
    error = grid([[0.2, 9.0, math.nan, math.nan, 0.4, 0.4]])
    seen = grid([[1, 0, 0, 0, 1, 1]]).bool()
    weight = region_reliability(error, seen, ids([[1, 1, 2, 2, 3, 3]]), 4)
    mean = (0.2 + 0.4 + 0.4) / 3
    bad = math.exp(-(0.4 - mean) / mean) + 0.1
    assert weight.flatten().tolist() == pytest.approx([1.1, 1.1, 1.0, 1.0, bad, bad])


def test_images_of_a_batch_are_judged_by_their_own_mean():
    error = torch.cat([grid([[0.1, 0.3]]), grid([[0.2, 0.6]])])
    regions = ids([[1, 2]]).expand(2, 1, 1, 2)
    weight = region_reliability(error, everywhere(error), regions, 3)
    torch.testing.assert_close(weight[0], weight[1])


@pytest.mark.parametrize("judge", ["regions", "pixels"])
def test_a_frame_without_a_neighbour_and_equal_images_weigh_finite(judge):
    error = torch.zeros(2, 1, 3, 4)
    valid = everywhere(error)
    valid[1] = False
    regions = torch.ones(2, 1, 3, 4).long()
    if judge == "regions":
        weight = region_reliability(error, valid, regions, 2)
    else:
        weight = pixel_reliability(error, valid)
    torch.testing.assert_close(weight[0], torch.full((1, 3, 4), 1.1))
    torch.testing.assert_close(weight[1], torch.ones(1, 3, 4))


def test_without_regions_everything_weighs_one():
    error = torch.rand(1, 1, 3, 4)
    weight = region_reliability(error, everywhere(error), torch.zeros(1, 1, 3, 4).long(), 1)
    assert (weight == 1).all()


def test_weights_carry_no_gradient():
    error = torch.rand(1, 1, 3, 4, requires_grad=True)
    regions = torch.ones(1, 1, 3, 4).long()
    assert not region_reliability(error, everywhere(error), regions, 2).requires_grad
    assert not pixel_reliability(error, everywhere(error)).requires_grad
    assert not consistency_weight(error + 1, error).requires_grad


def test_exact_depth_is_reliable():
    scene = car_scene()
    error, valid = scene.error(scene.depth)
    n = number_of_ids(scene.regions)
    weight = region_reliability(error, valid, scene.regions, n, floor=0.0)
    assert weight[scene.car].min() > 0.9


@pytest.mark.parametrize("factor", [0.25, 0.5, 2.0, 4.0])
def test_a_misplaced_car_hardly_moves_the_pixel_error_but_the_region_is_not_reliable(factor):
    """The paper's counter-example for judging whole objects, on a rendered street."""
    scene = car_scene()
    n = number_of_ids(scene.regions)
    before, seen_before = scene.error(scene.depth)
    after, seen = scene.error(scene.with_car_scaled(factor))
    assert after[seen].mean() < 1.06 * before[seen_before].mean()
    # Pixel by pixel about half of the car still looks as right as anything else.
    assert (pixel_reliability(after, seen, floor=0.0)[scene.car] > 0.5).float().mean() > 0.35
    weight = region_reliability(after, seen, scene.regions, n, floor=0.0)
    assert weight[scene.car].max() < 0.3
    others = (scene.regions > 0) & ~scene.car
    unharmed = region_reliability(before, seen_before, scene.regions, n, floor=0.0)
    assert (weight - unharmed)[others].abs().mean() < 0.05


def test_the_scene_has_the_car_in_it():
    scene = car_scene()
    assert 200 < (scene.regions == CAR).sum() < 2000


def test_consistency_by_hand():
    """|.2 - .1| / .2 = 1/2; equal depths weigh 2."""
    weight = consistency_weight(grid([[0.2, 0.2]]), grid([[0.1, 0.2]]))
    assert weight.flatten().tolist() == pytest.approx([math.exp(-0.5) + 1, 2.0])
    assert consistency_weight(grid([[0.2]]), grid([[0.1]]), 4.0).item() == pytest.approx(
        math.exp(-2.0) + 1
    )
