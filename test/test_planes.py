"""The plane of each region in a teacher's inverse depth, and labels drawn to it."""

import pytest

torch = pytest.importorskip("torch")

from rosam_core.losses.planes import planar_depth, plane_coefficients, planes_at

pytestmark = pytest.mark.torch

H, W = 24, 40


def plane(a: float, b: float, c: float) -> torch.Tensor:
    v, u = torch.meshgrid(torch.linspace(-1, 1, H), torch.linspace(-1, 1, W), indexing="ij")
    return (a + b * u + c * v).expand(1, 1, H, W)


def regional_planes(inverse: torch.Tensor, regions: torch.Tensor, n: int) -> torch.Tensor:
    return planes_at(plane_coefficients(inverse, regions, n), regions).float()


@pytest.fixture
def street() -> tuple[torch.Tensor, torch.Tensor]:
    """A wall on the left, a road below and something unassigned at the right."""
    regions = torch.zeros(1, 1, H, W, dtype=torch.int64)
    regions[..., :20] = 1
    regions[..., 12:, :30] = 2
    inverse = plane(0.05, 0, 0).clone()
    inverse = torch.where(regions == 1, plane(0.06, 0.03, 0), inverse)
    return torch.where(regions == 2, plane(0.05, 0, 0.1), inverse), regions


def test_a_plane_is_itself(street: tuple[torch.Tensor, torch.Tensor]) -> None:
    inverse, regions = street
    assert torch.allclose(regional_planes(inverse, regions, 3), inverse, rtol=1e-3)
    assert torch.allclose(planar_depth(inverse, regions, 3), inverse, rtol=1e-3)


def test_bleeding_is_drawn_back_to_the_plane(street: tuple[torch.Tensor, torch.Tensor]) -> None:
    inverse, regions = street
    bled = inverse.clone()
    bled[..., :12, 17:20] = 0.05  # the outline of the wall is as far as what is behind it
    wrong = (bled - inverse).abs()[..., :12, 17:20].mean()
    left = (planar_depth(bled, regions, 3) - inverse).abs()[..., :12, 17:20].mean()
    assert left < 0.5 * wrong


def test_noise_is_averaged(street: tuple[torch.Tensor, torch.Tensor]) -> None:
    inverse, regions = street
    noisy = inverse * torch.exp(0.1 * torch.randn(inverse.shape, generator=torch.manual_seed(0)))
    inside = regions > 0
    before = ((noisy - inverse) / inverse)[inside].abs().mean()
    after = ((planar_depth(noisy, regions, 3) - inverse) / inverse)[inside].abs().mean()
    assert after < 0.3 * before


def test_what_is_no_plane_stays_as_it_is() -> None:
    regions = torch.ones(1, 1, H, W, dtype=torch.int64)
    tree = torch.where(torch.rand(1, 1, H, W, generator=torch.manual_seed(0)) < 0.5, 0.02, 0.2)
    assert torch.allclose(planar_depth(tree, regions, 2), tree, rtol=0.05)
    nothing = torch.zeros_like(regions)
    assert torch.equal(planar_depth(tree, nothing, 1), tree)


def test_one_pixel_a_column_and_an_absent_region_are_regions_too() -> None:
    inverse = plane(0.1, 0.02, 0.03).clone()
    regions = torch.zeros(1, 1, H, W, dtype=torch.int64)
    regions[0, 0, 3, 3] = 1
    regions[0, 0, :, 10] = 2
    found = planar_depth(inverse, regions, 5)
    assert torch.isfinite(found).all()
    assert torch.allclose(found, inverse, rtol=1e-2)
    assert torch.isfinite(regional_planes(inverse, regions, 5)).all()


def test_images_of_a_batch_do_not_see_each_other(
    street: tuple[torch.Tensor, torch.Tensor],
) -> None:
    inverse, regions = street
    noisy = inverse * torch.exp(0.1 * torch.randn(inverse.shape, generator=torch.manual_seed(1)))
    both = planar_depth(torch.cat([inverse, noisy]), torch.cat([regions, regions]), 3)
    assert torch.allclose(both[1:], planar_depth(noisy, regions, 3))


def test_labels_carry_no_gradient(street: tuple[torch.Tensor, torch.Tensor]) -> None:
    inverse, regions = street
    assert not planar_depth(inverse.clone().requires_grad_(), regions, 3).requires_grad
