import math

import pytest

torch = pytest.importorskip("torch")

from rosam_core.losses.contrast import (
    depth_contrast,
    region_contrast,
    region_prototypes,
    sample_pixels,
)

pytestmark = pytest.mark.torch


def ids(rows):
    return torch.tensor(rows)[None, None]


def every_pixel(regions):
    return torch.arange(regions[0].numel()).expand(len(regions), -1)


def contrast(features, regions, n, **options):
    prototypes, present = region_prototypes(features, regions, n)
    return region_contrast(features, regions, prototypes, present, every_pixel(regions), **options)


def test_prototypes_by_hand():
    """Region 1: (2, 0) and (0, 5), as directions (1, 0) and (0, 1), in the middle (1, 1)."""
    features = torch.tensor([[2.0, 0, -3], [0, 5, 0]], dtype=torch.float64).view(1, 2, 1, 3)
    prototypes, present = region_prototypes(features, ids([[1, 1, 3]]), 4)
    half = math.sqrt(0.5)
    expected = torch.tensor([[0, half, 0, -1], [0, half, 0, 0]], dtype=torch.float64)
    torch.testing.assert_close(prototypes[0], expected)
    assert present.tolist() == [[False, True, False, True]]


def test_contrast_by_hand():
    """Two regions at right angles, T = 1/2: -log(e^2 / (e^2 + e^0)), each pixel alike."""
    features = torch.tensor([[3.0, 0.0, 7.0], [0.0, 0.1, 7.0]]).view(1, 2, 1, 3)
    loss, counted = contrast(features, ids([[1, 2, 0]]), 5, temperature=0.5)
    expected = math.log(1 + math.exp(-2.0))
    assert loss.flatten().tolist() == pytest.approx([expected, expected, 0.0])
    assert counted.flatten().tolist() == [True, True, False]


def test_a_pixel_that_looks_like_another_region_costs_most():
    features = torch.zeros(1, 2, 1, 8)
    features[0, 0, 0, :4] = 1
    features[0, 1, 0, 4:] = 1
    features[0, :, 0, 3] = torch.tensor([0.0, 1.0])  # of region 1 by its id, of 2 by its look
    loss, _ = contrast(features, ids([[1] * 4 + [2] * 4]), 3)
    assert loss[0, 3] > 5
    assert loss[0, [0, 1, 2, 4, 5, 6, 7]].max() < 0.1


def test_mixed_precision_does_not_round_the_logits():
    torch.manual_seed(0)
    features = torch.randn(2, 8, 4, 6)
    regions = torch.randint(0, 5, (2, 1, 4, 6))
    exact, _ = contrast(features, regions, 5, temperature=0.1)
    with torch.autocast("cpu", torch.bfloat16):
        mixed, _ = contrast(features, regions, 5, temperature=0.1)
    assert mixed.dtype == torch.float32
    torch.testing.assert_close(mixed, exact)


def test_only_regions_of_the_same_image_are_contrasted():
    torch.manual_seed(0)
    features = torch.randn(2, 4, 3, 4)
    regions = torch.cat([torch.randint(1, 3, (1, 1, 3, 4)), torch.randint(3, 6, (1, 1, 3, 4))])
    together, _ = contrast(features, regions, 6)
    alone, _ = contrast(features[:1], regions[:1], 3)
    torch.testing.assert_close(together[:1], alone)


def test_length_of_features_does_not_matter():
    torch.manual_seed(0)
    features, regions = torch.randn(1, 4, 3, 4), torch.randint(1, 4, (1, 1, 3, 4))
    longer = features * (0.5 + torch.rand(1, 1, 3, 4))
    torch.testing.assert_close(
        contrast(features, regions, 4)[0], contrast(longer, regions, 4)[0], rtol=1e-4, atol=1e-5
    )


def test_descending_gathers_regions_and_parts_them():
    torch.manual_seed(0)
    features = torch.randn(1, 8, 6, 6, requires_grad=True)
    regions = torch.randint(1, 4, (1, 1, 6, 6))
    first = contrast(features, regions, 4)[0].mean()
    for _ in range(20):
        (gradient,) = torch.autograd.grad(contrast(features, regions, 4)[0].mean(), features)
        features = (features - 5 * gradient).detach().requires_grad_()
    assert contrast(features, regions, 4)[0].mean() < first / 3


def test_samples_are_assigned_pixels_without_repetition():
    regions = torch.zeros(2, 1, 10, 10).long()
    regions[0, 0, 2:6] = 1  # 40 pixels
    regions[1, 0, 0, :5] = 2  # 5
    pixels = sample_pixels(regions, 20, torch.Generator().manual_seed(1))
    chosen = regions.flatten(1).gather(1, pixels)
    assert pixels.shape == (2, 20)
    assert (chosen[0] == 1).all()
    assert (chosen[1] == 2).sum() == 5
    assert all(len(set(row)) == 20 for row in pixels.tolist())
    again = sample_pixels(regions, 20, torch.Generator().manual_seed(1))
    other = sample_pixels(regions, 20, torch.Generator().manual_seed(2))
    assert torch.equal(pixels, again)
    assert not torch.equal(pixels, other)
    assert sample_pixels(regions, 100) is None  # all of them


def test_all_pixels_are_those_of_every_index():
    features, regions, teacher = torch.rand(2, 5, 4, 6), _striped(2, 4, 6), torch.rand(2, 5, 4, 6)
    prototypes, present = region_prototypes(teacher, regions, 4)
    every = torch.stack([torch.randperm(24) for _ in range(2)])
    prior = 0.1 + torch.rand_like(features[:, :1])
    for contrast in (
        lambda pixels: region_contrast(features, regions, prototypes, present, pixels),
        lambda pixels: depth_contrast(0.1 + features[:, :1], prior, regions, 4, pixels),
    ):
        whole, counted = contrast(None)
        shuffled, also = contrast(every)
        torch.testing.assert_close(whole.gather(1, every), shuffled)
        assert torch.equal(counted.gather(1, every), also)


def _striped(b, h, w):
    """Unassigned on the left, then three regions; the second picture has none."""
    regions = (torch.arange(w) * 4 // w).expand(b, 1, h, w).clone()
    regions[1] = 0
    return regions


def test_a_picture_without_regions_has_no_loss_and_no_broken_gradient():
    features = torch.rand(2, 5, 4, 6, requires_grad=True)
    regions = _striped(2, 4, 6)
    prototypes, present = region_prototypes(torch.rand(2, 5, 4, 6), regions, 4)
    loss, counted = region_contrast(features, regions, prototypes, present, None)
    loss.mean().backward()
    assert not counted[1].any()
    assert (loss[1] == 0).all()
    assert (features.grad[1] == 0).all()
    assert torch.isfinite(features.grad).all()
    assert features.grad[0].abs().sum() > 0


def test_samples_are_spread_evenly():
    regions = torch.ones(200, 1, 2, 5).long()
    counts = torch.bincount(sample_pixels(regions, 3).flatten(), minlength=10)
    assert counts.min() > 30  # 60 expected, deviation 6.5
    assert counts.max() < 90


def test_sampled_loss_is_the_loss_of_those_pixels():
    torch.manual_seed(0)
    features, regions = torch.randn(1, 4, 3, 4), torch.randint(0, 3, (1, 1, 3, 4))
    prototypes, present = region_prototypes(features, regions, 3)
    pixels = torch.tensor([[7, 2, 11]])
    some, counted = region_contrast(features, regions, prototypes, present, pixels)
    every, counted_every = contrast(features, regions, 3)
    torch.testing.assert_close(some, every[:, [7, 2, 11]])
    assert torch.equal(counted, counted_every[:, [7, 2, 11]])


@pytest.mark.parametrize("kind", ["unassigned", "one region", "one pixel", "zero features"])
def test_degenerate_maps_are_finite(kind):
    features = torch.zeros(1, 3, 4, 4) if kind == "zero features" else torch.randn(1, 3, 4, 4)
    features.requires_grad_()
    regions = torch.zeros(1, 1, 4, 4).long()
    if kind == "one region":
        regions += 1
    elif kind in ("one pixel", "zero features"):
        regions[0, 0, 1, 1] = 2

    def on_depth(f, r, n):
        return depth_contrast(f[:, :1].exp(), torch.ones_like(f[:, :1]), r, n, every_pixel(r))

    for make in (contrast, on_depth):
        loss, counted = make(features, regions, 4)
        assert counted.sum() == (regions > 0).sum()
        # One prototype only: nothing to tell it from.
        torch.testing.assert_close(loss, torch.zeros_like(loss), atol=1e-5, rtol=0)
        (gradient,) = torch.autograd.grad(loss.sum(), features, allow_unused=True)
        assert torch.isfinite(gradient).all()


def test_contrast_on_depth_by_hand():
    """The teacher's log d of two regions is 0 and ln 2; T = ln 2 makes of every ln 2 a 1."""
    teacher = torch.tensor([[[[1.0, 2.0, 8.0]]]], dtype=torch.float64)
    regions = ids([[1, 2, 0]])
    near = math.log(1 + math.exp(-1.0))  # on one region, 1 away from the other
    for student, expected in (
        ([1.0, 2.0, 8.0], [near, near, 0.0]),
        ([2.0, 1.0, 8.0], [1 + near, 1 + near, 0.0]),  # the other way round
        ([1.0, 1.0, 8.0], [near, 1 + near, 0.0]),
    ):
        inverse_depth = torch.tensor([[[student]]], dtype=torch.float64, requires_grad=True)
        loss, counted = depth_contrast(
            *(inverse_depth, teacher.clone().requires_grad_()),
            *(regions, 3, every_pixel(regions), math.log(2)),
        )
        assert loss.flatten().tolist() == pytest.approx(expected)
        assert counted.flatten().tolist() == [True, True, False]


def test_contrast_on_depth_teaches_the_student_alone():
    teacher = torch.tensor([[[[1.0, 2.0]]]], requires_grad=True)
    student = torch.tensor([[[[1.2, 1.5]]]], requires_grad=True)
    regions = ids([[1, 2]])
    depth_contrast(student, teacher, regions, 3, every_pixel(regions))[0].sum().backward()
    assert teacher.grad is None
    assert (student.grad.abs() > 0).all()


def test_gradients_in_float64():
    torch.manual_seed(0)
    features = torch.randn(2, 3, 3, 4, dtype=torch.float64, requires_grad=True)
    regions = torch.randint(0, 4, (2, 1, 3, 4))
    assert torch.autograd.gradcheck(lambda f: contrast(f, regions, 4)[0], (features,))
    depth = (0.1 + torch.rand(2, 1, 3, 4, dtype=torch.float64)).requires_grad_()
    pixels, prior = sample_pixels(regions, 6), 0.1 + torch.rand_like(depth)
    assert torch.autograd.gradcheck(
        lambda d: depth_contrast(d, prior, regions, 4, pixels)[0], (depth,)
    )
