import math

import pytest

torch = pytest.importorskip("torch")

from rosam_core.losses.distillation import cut_off, depth_distillation, pose_distillation
from rosam_core.losses.histogram import (
    depth_histogram,
    histogram_divergence,
    histogram_edges,
)

pytestmark = pytest.mark.torch


def grid(rows):
    return torch.tensor(rows, dtype=torch.float64)[None, None]


def edges(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_depth_distillation_relative_to_the_teacher_by_hand():
    student, teacher = grid([[4.0, 10.0]]), grid([[5.0, 5.0]])
    loss = depth_distillation(student, teacher, grid([[1.0, 3.0]]), "teacher")
    torch.testing.assert_close(loss, grid([[0.2, 3.0]]))
    with pytest.raises(ValueError, match="'both', expected student or teacher"):
        depth_distillation(student, teacher, relative_to="both")


def test_depth_distillation_by_hand():
    """4 m taught as 5: 1/4; 10 m as 5: 1/2, times a weight of 3."""
    loss = depth_distillation(grid([[4.0, 10.0]]), grid([[5.0, 5.0]]), grid([[1.0, 3.0]]))
    assert loss.flatten().tolist() == pytest.approx([0.25, 1.5])


def test_too_near_costs_more_than_too_far():
    near, far = (depth_distillation(grid([[d]]), grid([[10.0]])).item() for d in (5.0, 20.0))
    assert (near, far) == (1.0, 0.5)


def test_pose_distillation_by_hand():
    student = torch.tensor([[0.0, 0.1, 0.0, 1.0, 2.0, -3.0]])
    loss = pose_distillation(student, torch.zeros(1, 6))
    assert loss[0].tolist() == pytest.approx([0, 0.01, 0, 1, 4, 9])


def test_teachers_get_no_gradient():
    student, teacher = (torch.rand(1, 6).add(1).requires_grad_() for _ in range(2))
    for loss in (pose_distillation, depth_distillation):
        grads = torch.autograd.grad(
            loss(student, teacher).sum(), (student, teacher), allow_unused=True
        )
        assert (grads[0] is None, grads[1] is None) == (False, True)


def test_edges_are_those_of_the_paper():
    made = histogram_edges()
    assert (len(made), made[0], made[-1]) == (257, 3.5, 80.0)
    assert made[128] == pytest.approx(41.75)


def test_histogram_by_hand():
    """Bins 0-2, 2-4, 4-6 with middles 1, 3, 5: 2.5 m is 1/4 the first, 3/4 the next."""
    depth = grid([[2.5, 0.4, 5.9, 3.0, 6.1, math.inf, math.nan, -1.0]])
    histogram = depth_histogram(depth, edges(0, 2, 4, 6))
    assert histogram[0].tolist() == pytest.approx([1.25 / 4, 1.75 / 4, 1 / 4])


def test_histogram_of_uneven_bins():
    """Middles 1 and 6: 2 m is a fifth of the way."""
    assert depth_histogram(grid([[2.0]]), edges(0, 2, 10))[0].tolist() == pytest.approx([0.8, 0.2])


def test_histogram_counts_as_numpy_does_where_depths_are_middles():
    torch.manual_seed(0)
    low = torch.tensor(histogram_edges(), dtype=torch.float64)
    middles = (low[1:] + low[:-1]) / 2
    chosen = torch.randint(0, 256, (2, 1, 8, 9))
    histogram = depth_histogram(middles[chosen], low)
    for i in range(2):
        expected = torch.bincount(chosen[i].flatten(), minlength=256) / 72
        torch.testing.assert_close(histogram[i], expected.double())


def test_a_depth_that_moves_moves_the_histogram():
    depth = grid([[2.5]]).requires_grad_()
    depth_histogram(depth, edges(0, 2, 4, 6))[0, 1].backward()
    assert depth.grad.item() == pytest.approx(0.5)  # one bin in 2 m


def test_nothing_inside_the_edges():
    depth = torch.full((2, 1, 3, 3), 200.0, requires_grad=True)
    depth.data[1] = math.nan
    made = torch.tensor(histogram_edges())
    histogram = depth_histogram(depth, made)
    assert (histogram == 0).all()
    divergence = histogram_divergence(histogram, histogram.detach().roll(1, 1))
    divergence.sum().backward()
    assert divergence.abs().max() < 1e-5
    assert (depth.grad == 0).all()


def test_divergence_by_hand_and_in_which_direction():
    """1/2 log 2/1 + 1/2 log(2/3); the other way 1/4 log 1/2 + 3/4 log 3/2."""
    even, uneven = edges(0.5, 0.5)[None], edges(0.25, 0.75)[None]
    forward = histogram_divergence(even, uneven).item()
    backward = histogram_divergence(uneven, even).item()
    assert forward == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(2 / 3), rel=1e-4)
    assert backward == pytest.approx(0.25 * math.log(0.5) + 0.75 * math.log(1.5), rel=1e-4)
    assert histogram_divergence(even, even).item() == 0


def test_divergence_of_disjoint_histograms_is_finite():
    divergence = histogram_divergence(edges(1, 0)[None], edges(0, 1)[None])
    assert 10 < divergence.item() < 20


def test_gradients_in_float64():
    torch.manual_seed(0)
    depth = (1 + 4 * torch.rand(2, 1, 3, 4, dtype=torch.float64)).requires_grad_()
    teacher = 1 + 4 * torch.rand(2, 1, 3, 4, dtype=torch.float64)
    weight = torch.rand(2, 1, 3, 4, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda d: depth_distillation(d, teacher, weight), (depth,))
    pose = torch.rand(2, 6, dtype=torch.float64, requires_grad=True)
    target = torch.rand(2, 6, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda p: pose_distillation(p, target), (pose,))
    day = depth_histogram(teacher, edges(0, 1, 2, 3, 4, 5))

    def divergence(depth):
        return histogram_divergence(depth_histogram(depth, edges(0, 1, 2, 3, 4, 5)), day)

    assert torch.autograd.gradcheck(divergence, (depth,))


def test_a_sky_that_is_far_enough_costs_nothing_and_a_near_one_no_more_than_the_end():
    teacher = torch.tensor([1600.0, 1600.0, 1600.0, 30.0])[None, None, None]
    student = torch.tensor([400.0, 50.0, 100.0, 150.0])[None, None, None].requires_grad_()
    depth, taught = cut_off(student, teacher, 100.0)
    loss = depth_distillation(depth, taught)
    assert loss.flatten().tolist() == pytest.approx([0.0, 1.0, 0.0, 0.8])
    loss.sum().backward()
    # d/ds (100/s - 1) = -100/s^2 and d/ds (1 - 30/s) = 30/s^2: what is too far still comes back.
    assert student.grad.flatten()[[0, 1, 3]].tolist() == pytest.approx([0, -0.04, 30 / 150**2])
