import math

import pytest

torch = pytest.importorskip("torch")

from rosam_core.losses.regions import (
    number_of_ids,
    region_mean,
    region_statistics,
    region_sum,
    resize_regions,
    spread,
)

pytestmark = pytest.mark.torch


def ids(rows):
    return torch.tensor(rows)[None, None]


def grid(rows):
    return torch.tensor(rows, dtype=torch.float64)[None, None]


def by_loop(values, regions, n, counted=None):
    """Mean, std and count, a mask at a time."""
    b, c = values.shape[:2]
    mean, std, count = (torch.zeros(b, k, n, dtype=values.dtype) for k in (c, c, 1))
    for i in range(b):
        for region in range(n):
            mask = regions[i, 0] == region
            if counted is not None:
                mask &= counted[i, 0]
            count[i, 0, region] = mask.sum()
            for k in range(c):
                if mask.any():
                    inside = values[i, k][mask]
                    mean[i, k, region] = inside.mean()
                    std[i, k, region] = ((inside - inside.mean()) ** 2).mean().sqrt()
    return mean, std, count


def random_batch(b=3, c=2, h=9, w=11, n=7):
    torch.manual_seed(0)
    values = torch.randn(b, c, h, w, dtype=torch.float64)
    regions = torch.randint(0, n - 1, (b, 1, h, w))  # the last id is nowhere
    regions[1] = 0
    regions[2, 0, 4, 4] = n - 1  # a region of one pixel
    return values, regions, n


def test_by_hand():
    statistics = region_statistics(
        grid([[1.0, 3.0, 5.0], [9.0, 9.0, 9.0]]), ids([[2, 2, 0]] * 2), 4
    )
    # id 0: 5, 9; id 1: nothing; id 2: 1, 3, 9, 9
    assert statistics.count.flatten().tolist() == [2, 0, 4, 0]
    assert statistics.mean.flatten().tolist() == [7, 0, 5.5, 0]
    std = math.sqrt((4.5**2 + 2.5**2 + 3.5**2 + 3.5**2) / 4)
    assert statistics.std.flatten().tolist() == pytest.approx([2, 0, std, 0])


@pytest.mark.parametrize("with_counted", [False, True])
def test_scatter_equals_the_loop_over_masks(with_counted):
    values, regions, n = random_batch()
    counted = torch.rand(3, 1, 9, 11) > 0.5 if with_counted else None
    statistics = region_statistics(values, regions, n, counted)
    for got, expected in zip(
        (statistics.mean, statistics.std, statistics.count),
        by_loop(values, regions, n, counted),
        strict=True,
    ):
        torch.testing.assert_close(got, expected)


def test_images_of_a_batch_do_not_mix():
    values, regions, n = random_batch()
    together = region_statistics(values, regions, n)
    for i in range(len(values)):
        alone = region_statistics(values[i : i + 1], regions[i : i + 1], n)
        torch.testing.assert_close(together.mean[i : i + 1], alone.mean)
        torch.testing.assert_close(together.std[i : i + 1], alone.std)


def test_spread_gives_each_pixel_its_region_s_entry():
    table = torch.tensor([[[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]]])
    spread_out = spread(table, ids([[2, 0], [1, 1]]))
    assert spread_out[0].tolist() == [[[3, 1], [2, 2]], [[30, 10], [20, 20]]]
    assert spread(table > 2, ids([[2, 0]]))[0, 0].tolist() == [[True, False]]


def test_what_is_not_counted_may_be_nan_and_weights_weigh():
    values = grid([[1.0, math.nan, 4.0]])
    mean, count = region_mean(values, ids([[1, 1, 1]]), 2, grid([[1, 0, 1]]).bool())
    assert (mean[0, 0].tolist(), count[0, 0].tolist()) == ([0, 2.5], [0, 2])
    mean, count = region_mean(values, ids([[1, 1, 1]]), 2, grid([[0.125, 0, 0.375]]))
    assert (mean[0, 0].tolist(), count[0, 0].tolist()) == ([0, 3.25], [0, 0.5])


def test_statistics_skip_nan_that_is_not_counted():
    values = grid([[1.0, math.nan, 4.0]]).requires_grad_()
    statistics = region_statistics(values, ids([[1, 1, 1]]), 2, ~values.isnan())
    assert statistics.std[0, 0].tolist() == [0, 1.5]
    statistics.std.sum().backward()
    assert values.grad.flatten().tolist() == [-0.5, 0, 0.5]


def test_a_large_even_region_is_even_in_single_precision():
    """Added up in 32 bits, one after the other, 184320 times 0.1 drifts by far more."""
    values = torch.full((1, 1, 320, 576), 0.1)
    statistics = region_statistics(values, torch.zeros_like(values).long(), 1)
    assert statistics.mean.item() == pytest.approx(0.1, rel=1e-7)
    assert statistics.std.item() < 1e-8


def test_half_precision_values_are_added_in_double():
    values = torch.full((1, 1, 64, 64), 0.1, dtype=torch.bfloat16)
    mean, count = region_mean(values, torch.ones(1, 1, 64, 64).long(), 2)
    assert mean.dtype == torch.bfloat16
    assert mean[0, 0, 1] == values[0, 0, 0, 0]
    assert count[0, 0, 1] == 4096


def test_deviation_has_a_finite_gradient_where_there_is_none():
    """Constant regions, regions of one pixel and regions of nothing."""
    values = torch.full((1, 1, 3, 3), 0.3, requires_grad=True)
    regions = ids([[1, 1, 1], [1, 1, 1], [0, 0, 3]])
    statistics = region_statistics(values, regions, 5)
    assert statistics.std.abs().max() < 1e-7
    (statistics.mean.sum() + statistics.std.sum()).backward()
    assert torch.isfinite(values.grad).all()
    # Of the mean alone: one over the count.
    expected = [[1 / 6] * 3, [1 / 6] * 3, [1 / 2, 1 / 2, 1]]
    torch.testing.assert_close(values.grad[0, 0], torch.tensor(expected))


def test_a_map_of_zeros_and_an_empty_map():
    regions = torch.zeros(2, 1, 4, 4).long()
    assert number_of_ids(regions) == 1
    values = torch.rand(2, 1, 4, 4)
    mean, count = region_mean(values, regions, 1)
    torch.testing.assert_close(mean[..., 0], values.mean(dim=(2, 3)))
    assert count.flatten().tolist() == [16, 16]
    assert number_of_ids(torch.zeros(0, 1, 4, 4).long(), regions + 3) == 4


def test_an_id_beyond_the_table_is_refused():
    with pytest.raises(RuntimeError, match="out of bounds"):
        region_sum(torch.rand(1, 1, 2, 2), ids([[0, 1], [2, 3]]), 3)


def test_regions_at_half_and_eighth_size_keep_the_id_at_the_middle():
    regions = torch.arange(16).view(1, 1, 1, 16)
    assert resize_regions(regions, (1, 2)).flatten().tolist() == [4, 12]
    assert resize_regions(regions, (1, 8)).flatten().tolist() == list(range(1, 16, 2))
    large = torch.full((1, 1, 2, 2), 65535)
    assert resize_regions(large, (1, 1)).item() == 65535


def test_gradients_in_float64():
    torch.manual_seed(3)
    values = torch.randn(2, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    regions = torch.randint(0, 3, (2, 1, 4, 5))  # no region of one pixel, where std has a kink
    counted = torch.rand(2, 1, 4, 5) > 0.3

    def spread_mean(values):
        return spread(region_mean(values, regions, 4, counted)[0], regions)

    assert torch.autograd.gradcheck(spread_mean, (values,))
    assert torch.autograd.gradcheck(lambda v: region_statistics(v, regions, 4).std, (values,))
