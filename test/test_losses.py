import math

import pytest

torch = pytest.importorskip("torch")

from rosam_core.losses.gradient import gradient_matching
from rosam_core.losses.laplace import laplace_nll, log_depth_residual
from rosam_core.losses.relative import relative_error

pytestmark = pytest.mark.torch


def grid(rows):
    return torch.tensor(rows, dtype=torch.float64)[None, None]


def test_residual_is_two_sided_where_depth_is_known_and_one_sided_beyond():
    log_depth, target = grid([[1.0, 3.0, 1.0, 3.0]]), grid([[2.0, 2.0, 2.0, 2.0]])
    beyond = grid([[0, 0, 1, 1]]).bool()
    assert log_depth_residual(log_depth, target, beyond).flatten().tolist() == [1, 1, 1, 0]


def test_laplace_by_hand():
    # |r| / b + log 2b: 0.4 / 0.5 + log 1 = 0.8, and 0 / 0.25 + log 0.5
    nll = laplace_nll(grid([[0.4, 0.0]]), torch.log(grid([[0.5, 0.25]])))
    assert nll.flatten().tolist() == pytest.approx([0.8, math.log(0.5)])


def test_laplace_is_least_where_b_equals_the_mean_error():
    residual = grid([[0.1, 0.2, 0.6]])  # mean 0.3
    log_b = torch.tensor(math.log(0.3), dtype=torch.float64, requires_grad=True)
    laplace_nll(residual, log_b.expand_as(residual)).mean().backward()
    assert log_b.grad.item() == pytest.approx(0, abs=1e-12)


def test_beta_one_gives_log_depth_the_gradient_of_an_absolute_error():
    residual = grid([[0.1, 0.2]]).requires_grad_()
    laplace_nll(residual, torch.log(grid([[0.01, 0.9]])), beta=1.0).sum().backward()
    assert residual.grad.flatten().tolist() == pytest.approx([1.0, 1.0])


def test_beta_weights_the_likelihood_without_moving_its_minimum():
    residual = grid([[0.3, 0.3]])
    log_b = torch.log(grid([[0.3, 0.3]])).requires_grad_()
    laplace_nll(residual, log_b, beta=0.5).sum().backward()
    assert log_b.grad.abs().max().item() < 1e-12


def test_gradient_matching_by_hand():
    difference = grid([[0.0, 1.0], [3.0, 3.0]])
    error, counted = gradient_matching(difference, torch.ones_like(difference).bool())
    # top left: |1 - 0| + |3 - 0|; top right: |3 - 1| down; bottom left: |3 - 3| right
    assert error[0, 0].tolist() == [[4.0, 2.0], [0.0, 0.0]]
    assert counted[0, 0].tolist() == [[True, True], [True, False]]


def test_gradient_matching_ignores_a_global_scale_of_depth():
    truth = torch.rand(1, 1, 6, 8, dtype=torch.float64)
    error, _ = gradient_matching(truth + 0.7 - truth, torch.ones_like(truth).bool())
    assert error.abs().max() < 1e-12


def test_gradient_matching_skips_pairs_with_an_unknown_pixel_even_if_it_is_nan():
    difference = grid([[0.0, math.nan, 5.0, 6.0]])
    valid = ~torch.isnan(difference)
    error, counted = gradient_matching(difference, valid)
    assert error.flatten().tolist() == [0, 0, 1, 0]
    assert counted.flatten().tolist() == [False, False, True, False]


def test_gradient_matching_subsamples():
    difference = grid([[0.0, 9.0, 2.0, 9.0, 5.0]])
    error, _ = gradient_matching(difference, torch.ones_like(difference).bool(), step=2)
    assert error.flatten().tolist() == [2, 3, 0]


def test_nothing_valid_gives_zero_and_counts_nothing():
    difference = torch.full((1, 1, 4, 4), math.nan)
    error, counted = gradient_matching(difference, torch.zeros_like(difference).bool())
    assert error.abs().sum() == 0
    assert not counted.any()


def test_gradients_in_float64():
    torch.manual_seed(0)
    log_depth = torch.randn(1, 1, 4, 5, dtype=torch.float64, requires_grad=True)
    log_b = (torch.rand(1, 1, 4, 5, dtype=torch.float64) - 1).requires_grad_()
    target = torch.randn(1, 1, 4, 5, dtype=torch.float64)
    beyond, valid = torch.rand(1, 1, 4, 5) > 0.7, torch.rand(1, 1, 4, 5) > 0.3
    assert torch.autograd.gradcheck(
        lambda d, b: laplace_nll(log_depth_residual(d, target, beyond), b), (log_depth, log_b)
    )
    assert torch.autograd.gradcheck(
        lambda d: gradient_matching(d - target, valid)[0], (log_depth,)
    )


def test_relative_error_by_hand():
    """Twice too far is an error of 1, half of the truth one of 1/2, e^2 times too far 2e - 1."""
    difference = torch.log(grid([[2.0, 0.5, 1.0, math.e**2]]))
    expected = [1.0, 0.5, 0.0, 2 * math.e - 1]
    assert relative_error(difference).flatten().tolist() == pytest.approx(expected)


def test_relative_error_has_a_bounded_continuous_slope():
    difference = grid([[-3.0, -0.3, 0.3, 1 - 1e-9, 1 + 1e-9, 50.0]]).requires_grad_()
    relative_error(difference).sum().backward()
    slopes = [-math.exp(-3), -math.exp(-0.3), math.exp(0.3), math.e, math.e, math.e]
    assert difference.grad.flatten().tolist() == pytest.approx(slopes)
    assert torch.autograd.gradcheck(relative_error, grid([[-1.0, 0.4, 0.9, 2.0]]).requires_grad_())


def test_relative_error_prefers_the_nearer_of_two_equally_likely_depths():
    """8 m or 40 m, even odds: log error is indifferent, relative error wants the 8 m."""
    truth = torch.log(grid([[8.0, 40.0]]))
    near, far = (relative_error(math.log(d) - truth).mean().item() for d in (8.0, 40.0))
    assert near == pytest.approx(0.4)
    assert far > 3 * near
