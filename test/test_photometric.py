import math

import pytest

torch = pytest.importorskip("torch")

from rosam_core.losses.photometric import (
    auto_mask,
    minimum_over_sources,
    photometric_error,
    ssim,
)
from rosam_core.losses.smoothness import edge_aware_smoothness, normalised, region_smoothness
from rosam_core.losses.velocity import velocity_error

pytestmark = pytest.mark.torch


def grid(rows):
    return torch.tensor(rows, dtype=torch.float64)[None, None]


def even(value, dtype=torch.float64):
    return torch.full((1, 3, 4, 5), value, dtype=dtype)


def test_photometric_error_of_two_even_images_by_hand():
    """No variance: SSIM = (2 * .2 * .6 + 1e-4) / (.04 + .36 + 1e-4) = .60010 everywhere."""
    similarity = (0.24 + 1e-4) / (0.4 + 1e-4)
    torch.testing.assert_close(ssim(even(0.2), even(0.6)), even(similarity))
    expected = 0.15 * 0.4 + 0.85 * (1 - similarity) / 2
    error = photometric_error(even(0.2), even(0.6))
    torch.testing.assert_close(error, even(expected)[:, :1])


def test_ssim_of_a_window_by_hand():
    """Columns 0 .6 0 against 0 0 .6, seen from the middle pixel of 3x3.

    Means .2, variances .12 - .04 = .08, covariance 0 - .04.
    """
    first, second = grid([[0.0, 0.6, 0.0]] * 3), grid([[0.0, 0.0, 0.6]] * 3)
    expected = (2 * 0.04 + 1e-4) * (2 * -0.04 + 9e-4) / ((0.08 + 1e-4) * (0.16 + 9e-4))
    assert ssim(first, second)[0, 0, 1, 1].item() == pytest.approx(expected)
    # 0.15 * mean difference 0.6 at the middle pixel + 0.85 * (1 + .49...) / 2
    error = photometric_error(first, second)[0, 0, 1, 1].item()
    assert error == pytest.approx(0.15 * 0.6 + 0.85 * (1 - expected) / 2)


def test_equal_images_have_no_error_in_single_precision():
    """Differences of squares are where 32 bits run out: a bright, nearly even image."""
    torch.manual_seed(0)
    image = (0.98 + 0.002 * torch.rand(1, 3, 8, 8)).requires_grad_()
    error = photometric_error(image, image.detach())
    assert error.max() < 1e-6
    changed = (image + 1e-3 * torch.randn_like(image)).clamp(0, 1)
    accurate = photometric_error(image.double(), changed.double())
    torch.testing.assert_close(
        photometric_error(image, changed).double(), accurate, atol=2e-5, rtol=1e-3
    )
    error.sum().backward()
    assert torch.isfinite(image.grad).all()


def test_colours_count_alike():
    first = even(0.5)
    red, blue = first.clone(), first.clone()
    red[:, 0] += 0.3
    blue[:, 2] += 0.3
    torch.testing.assert_close(photometric_error(first, red), photometric_error(first, blue))
    assert photometric_error(first, red).mean() < photometric_error(first, even(0.8)).mean() / 2


def test_minimum_takes_the_source_that_sees_the_pixel():
    errors = torch.tensor([[[[0.1, 0.1, 0.1, 0.1]], [[0.3, 0.05, 0.3, 0.3]]]])
    valid = torch.tensor([[[[True, True, False, False]], [[True, True, True, False]]]])
    error, seen = minimum_over_sources(errors, valid)
    assert error.flatten().tolist() == pytest.approx([0.1, 0.05, 0.3, 0.0])
    assert seen.flatten().tolist() == [True, True, True, False]


def test_minimum_over_no_valid_source_has_finite_gradients():
    errors = torch.rand(1, 2, 3, 3, requires_grad=True)
    valid = torch.zeros(1, 2, 3, 3, dtype=torch.bool)
    minimum_over_sources(errors, valid)[0].sum().backward()
    assert (errors.grad == 0).all()


def test_auto_mask_leaves_out_what_does_not_move():
    warped, unwarped = grid([[0.1, 0.2, 0.0]]), grid([[0.2, 0.1, 0.0]])
    assert auto_mask(warped, unwarped).flatten().tolist() == [True, False, False]


def test_smoothness_by_hand():
    """Mean of d is 2, so d* = .5 .5 / 1 2; image steps of ln 2 halve the weight."""
    d = grid([[1.0, 1.0], [2.0, 4.0]])
    step = math.log(2.0)
    image = grid([[0.0, 0.0], [0.0, step]])
    error = edge_aware_smoothness(d, image)
    # Top left: 0 + .5; top right: down 1.5 / 2; bottom left: right 1 / 2.
    assert error.flatten().tolist() == pytest.approx([0.5, 0.75, 0.5, 0.0])


def test_smoothness_does_not_depend_on_scale_and_averages_colours():
    torch.manual_seed(0)
    d, image = torch.rand(2, 1, 5, 6).double() + 0.1, torch.rand(2, 3, 5, 6).double()
    twice = d * torch.tensor([2.0, 30.0]).double().view(2, 1, 1, 1)
    torch.testing.assert_close(
        edge_aware_smoothness(twice, image), edge_aware_smoothness(d, image), rtol=1e-5, atol=0
    )
    grey = torch.zeros(1, 3, 1, 2).double()
    grey[0, 0, 0, 1] = 0.9  # an edge of one colour weighs a third
    error = edge_aware_smoothness(grid([[1.0, 3.0]]), grey)
    assert error.flatten().tolist() == pytest.approx([math.exp(-0.3), 0.0])


def test_region_smoothness_stops_at_boundaries_and_unassigned_pixels():
    d = grid([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]])
    regions = torch.tensor([[[[1, 1, 2, 0, 0, 2]]]])
    error = region_smoothness(d, regions)
    assert error.flatten().tolist() == pytest.approx([1 / 3.5, 0, 0, 0, 0, 0])
    # The same for pairs of rows, and with ids of unsigned storage widened by the loader.
    upright = region_smoothness(d.mT, regions.to(torch.int32).mT)
    torch.testing.assert_close(upright, error.mT)


def test_constant_depth_is_smooth_and_its_gradient_finite():
    d = torch.zeros(1, 1, 3, 3, requires_grad=True)
    error = edge_aware_smoothness(d, torch.rand(1, 3, 3, 3))
    error.sum().backward()
    assert error.abs().max() == 0
    assert torch.isfinite(d.grad).all()
    assert normalised(d).isfinite().all()


def test_velocity_by_hand():
    """(3, 0, 4) is 5 m long."""
    translation = torch.tensor([[3.0, 0.0, 4.0]] * 3)
    error, known = velocity_error(translation, torch.tensor([4.0, 7.5, math.nan]))
    assert error.tolist() == pytest.approx([1.0, 2.5, 0.0])
    assert known.tolist() == [True, True, False]


def test_velocity_of_a_pose_network_that_starts_at_zero():
    translation = torch.zeros(2, 3, requires_grad=True)
    error, _ = velocity_error(translation, torch.tensor([1.0, math.nan]))
    error.sum().backward()
    assert error.tolist() == [1.0, 0.0]
    assert torch.isfinite(translation.grad).all()


def test_gradients_in_float64():
    torch.manual_seed(2)
    first = torch.rand(1, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    second = torch.rand(1, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(photometric_error, (first, second))
    errors = torch.rand(1, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    valid = torch.rand(1, 3, 4, 5) > 0.4
    assert torch.autograd.gradcheck(lambda e: minimum_over_sources(e, valid)[0], (errors,))
    d = (torch.rand(1, 1, 4, 5, dtype=torch.float64) + 0.5).requires_grad_()
    assert torch.autograd.gradcheck(lambda d: edge_aware_smoothness(d, second.detach()), (d,))
    regions = torch.randint(0, 3, (1, 1, 4, 5))
    assert torch.autograd.gradcheck(lambda d: region_smoothness(d, regions), (d,))
    step = torch.rand(2, 3, dtype=torch.float64, requires_grad=True)
    distance = torch.tensor([2.0, math.nan], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda t: velocity_error(t, distance)[0], (step,))
