import math

import pytest

torch = pytest.importorskip("torch")

from rosam_core.losses.outliers import RegionalDepth, regional_depth, regional_likelihood
from rosam_core.losses.smoothness import normalised

pytestmark = pytest.mark.torch


def grid(rows):
    return torch.tensor(rows, dtype=torch.float64)[None, None]


def ids(rows):
    return torch.tensor(rows)[None, None]


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def smooth_bump(height=64, width=96, radius=7.0, strength=0.03):
    """An even region, 0.05 /m or 20 m, with a hill on it whose flanks are as soft as a shadow's.

    Returns the inverse depth and how much of the hill's height there is at each pixel.
    """
    y, x = torch.meshgrid(torch.arange(float(height)), torch.arange(float(width)), indexing="ij")
    hill = torch.exp(-((x - 40) ** 2 + (y - 30) ** 2) / radius**2)[None, None].double()
    return 0.05 + strength * hill, hill


def test_by_hand():
    """d = 1 1 1 3: mu 1.5, sigma sqrt(3)/2; delta 1.73 and 0.58; tau 2 + 0.577."""
    teacher = regional_depth(grid([[1.0, 1.0, 1.0, 3.0]]), ids([[1, 1, 1, 1]]), 2)
    sigma = math.sqrt(3) / 2
    assert teacher.mean.flatten().tolist() == pytest.approx([1.5] * 4)
    assert teacher.std.flatten().tolist() == pytest.approx([sigma] * 4)
    tau = 2 + sigma / 1.5
    near, far = (
        1 - sigmoid((sigmoid(delta - tau) - 0.5) / 0.1) for delta in (0.5 / sigma, 1.5 / sigma)
    )
    assert teacher.outlier_mask.flatten().tolist() == pytest.approx([near, near, near, far])
    assert (round(near, 3), round(far, 3)) == (0.978, 0.88)


def test_a_smooth_outlier_of_a_region_is_found():
    """The paper's case: no edge gives it away, no step is over 8 % of the mean inverse depth."""
    inverse_depth, hill = smooth_bump()
    assert normalised(inverse_depth).diff(dim=-1).abs().max() < 0.08
    mask = regional_depth(inverse_depth, torch.ones_like(hill).long(), 2).outlier_mask
    assert mask[hill > 0.5].max() < 0.2
    assert mask[hill < 0.05].min() > 0.9


def test_an_object_of_its_own_is_no_outlier():
    """The same hill with its own id: a region map is what tells objects from mistakes."""
    inverse_depth, hill = smooth_bump()
    regions = 1 + (hill > 0.2).long()
    mask = regional_depth(inverse_depth, regions, 3).outlier_mask
    assert mask[hill > 0.5].mean() > 0.8


def road():
    """A level road that narrows towards the horizon: inverse depth and its region."""
    rows = torch.arange(1, 65, dtype=torch.float64)[None, None, :, None]
    columns = torch.arange(-48, 48, dtype=torch.float64)[None, None, None]
    return (0.25 / 64 * rows).expand(1, 1, 64, 96), (columns.abs() < 0.75 * rows).long()


def test_the_far_end_of_a_road_is_no_outlier_of_its_plane():
    """Most of its pixels are near, and so is their mean: the paper's mask doubts the rest."""
    depth, regions = road()
    at_the_end = depth[0, 0, 1, 0], (0, 0, 1, 48)
    paper = regional_depth(depth, regions, 2)
    assert paper.outlier_mask[at_the_end[1]] < 0.3
    assert regional_likelihood(depth, paper)[at_the_end[1]] > 4  # and the right depth costs much
    ours = regional_depth(depth, regions, 2, surface="plane")
    torch.testing.assert_close(ours.mean[regions > 0], depth[regions > 0], rtol=0.01, atol=0)
    assert ours.outlier_mask.min() > 0.9


def test_an_outlier_of_a_plane_is_drawn_to_the_plane():
    depth, regions = road()
    reflection = torch.zeros_like(depth)
    reflection[..., 40:46, 40:46] = 0.06
    ours = regional_depth(depth + reflection, regions, 2, surface="plane")
    assert ours.outlier_mask[reflection > 0].max() < 0.1
    assert ours.outlier_mask[reflection == 0].min() > 0.9
    assert regional_likelihood(depth, ours).max() < 0.05
    assert regional_likelihood(depth + reflection, ours)[reflection > 0].min() > 4


def test_the_mask_does_not_depend_on_the_unit_of_depth():
    inverse_depth, hill = smooth_bump()
    regions = torch.ones_like(hill).long()
    centimetres = regional_depth(inverse_depth * 0.01, regions, 2, floor=1e-6)
    metres = regional_depth(inverse_depth, regions, 2)
    torch.testing.assert_close(centimetres.outlier_mask, metres.outlier_mask)


def test_a_varied_region_tolerates_more():
    """Both pictures have the same delta; sigma / mu is .58 and .09: that moves the threshold."""
    varied = regional_depth(grid([[1.0, 1.0, 1.0, 3.0]]), ids([[1] * 4]), 2)
    even = regional_depth(grid([[9.0, 9.0, 9.0, 11.0]]), ids([[1] * 4]), 2)
    assert even.outlier_mask[..., 3] < varied.outlier_mask[..., 3] - 0.1
    same = [
        regional_depth(grid([row]), ids([[1] * 4]), 2, threshold_slope=0.0).outlier_mask
        for row in ([1.0, 1.0, 1.0, 3.0], [9.0, 9.0, 9.0, 11.0])
    ]
    torch.testing.assert_close(*same)


def test_noise_on_an_even_wall_is_below_the_floor_and_no_outlier():
    inverse_depth = torch.full((1, 1, 10, 10), 0.05, dtype=torch.float64)
    inverse_depth[0, 0, 3, 3] *= 1.005
    teacher = regional_depth(inverse_depth, torch.ones(1, 1, 10, 10).long(), 2)
    torch.testing.assert_close(teacher.std, 0.01 * teacher.mean)
    assert teacher.outlier_mask.min() > 0.95


def test_unassigned_pixels_are_never_outliers():
    inverse_depth = grid([[1.0] * 20 + [2.0]])
    assert (regional_depth(inverse_depth, ids([[0] * 21]), 1).outlier_mask == 1).all()
    assert regional_depth(inverse_depth, ids([[1] * 21]), 2).outlier_mask[..., -1] < 0.1


def test_regions_of_one_pixel_even_regions_and_sky_are_finite():
    inverse_depth = grid([[0.2, 0.3, 0.3, 0.0, 0.0]])
    teacher = regional_depth(inverse_depth, ids([[1, 2, 2, 4, 4]]), 6)
    # delta = 0, tau = 2.01, and for the sky, whose floor is the absolute one, 3.
    alone = 1 - sigmoid((sigmoid(-2.01) - 0.5) / 0.1)
    sky = 1 - sigmoid((sigmoid(-3.0) - 0.5) / 0.1)
    expected = [alone, alone, alone, sky, sky]
    assert teacher.outlier_mask.flatten().tolist() == pytest.approx(expected)
    assert teacher.std.flatten().tolist() == pytest.approx([0.002, 0.003, 0.003, 1e-4, 1e-4])
    student = inverse_depth.clone().requires_grad_()
    regional_likelihood(student, teacher).sum().backward()
    assert torch.isfinite(student.grad).all()


def test_known_limits_outliers_that_are_many_or_very_near_are_let_through():
    """docs/methods.md: a fifth of the region, or so near that sigma / mu raises the threshold."""

    def mask_of_outliers(count, times):
        inverse_depth = grid([[0.05 * times] * count + [0.05] * (100 - count)])
        return regional_depth(inverse_depth, ids([[1] * 100]), 2).outlier_mask[0, 0, 0, 0]

    assert mask_of_outliers(5, 2.0) < 0.2
    assert mask_of_outliers(20, 2.0) > 0.5
    assert mask_of_outliers(5, 50.0) > 0.5


def test_likelihood_by_hand():
    """(1 - .25) ((5 - 3) / 2)^2; an unassigned pixel costs nothing however far off it is."""
    teacher = RegionalDepth(grid([[3.0, 3.0]]), grid([[2.0, 2.0]]), grid([[0.25, 1.0]]))
    loss = regional_likelihood(grid([[5.0, 99.0]]), teacher)
    assert loss.flatten().tolist() == pytest.approx([0.75, 0.0])


def test_likelihood_draws_the_outlier_to_its_region_and_leaves_the_rest():
    inverse_depth, hill = smooth_bump()
    teacher = regional_depth(inverse_depth, torch.ones_like(hill).long(), 2)
    student = inverse_depth.clone().requires_grad_()
    regional_likelihood(student, teacher).sum().backward()
    pull = student.grad / student.grad.abs().max()
    assert pull[hill > 0.5].min() > 0.2  # downhill: towards the mean, which lies below
    assert pull[hill < 0.05].abs().max() < 0.02


def test_the_teacher_gets_no_gradient():
    inverse_depth = smooth_bump()[0].requires_grad_()
    teacher = regional_depth(inverse_depth, torch.ones_like(inverse_depth).long(), 2)
    assert not any(x.requires_grad for x in (teacher.mean, teacher.std, teacher.outlier_mask))


def test_gradient_in_float64():
    torch.manual_seed(0)
    regions = torch.randint(0, 3, (1, 1, 4, 5))
    teacher = regional_depth(torch.rand(1, 1, 4, 5, dtype=torch.float64) + 0.1, regions, 3)
    student = torch.rand(1, 1, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda d: regional_likelihood(d, teacher), (student,))
