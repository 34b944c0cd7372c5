"""Objects at the depth of the ground at their foot, by hand; and what is left as it was."""

import pytest

torch = pytest.importorskip("torch")

from rosam_core.losses.planes import planar_depth
from rosam_core.losses.standing import ground_regions, ground_scale, standing_depth

pytestmark = pytest.mark.torch

H, W = 48, 64
FOCAL, CX, CY, HEIGHT = 50.0, 31.5, 20.0, 1.5
K = torch.tensor([[[FOCAL, 0, CX], [0, FOCAL, CY], [0, 0, 1]]])
ROAD, BOX, WALL = 1, 2, 3


def road_at(row: float, height: float = HEIGHT) -> float:
    """Returns the inverse depth of level ground in a row [1/m]."""
    return (row - CY) / (FOCAL * height)


@pytest.fixture
def street() -> tuple[torch.Tensor, torch.Tensor]:
    """A road, a wall behind it and a box that the teacher takes for much farther than it is."""
    regions = torch.full((1, 1, H, W), WALL, dtype=torch.int64)
    regions[..., 26:, :] = ROAD
    regions[..., 16:34, 20:36] = BOX
    rows = torch.arange(H, dtype=torch.float32).view(H, 1).expand(1, 1, H, W)
    inverse = torch.where(regions == ROAD, road_at(rows), 0.07)
    return torch.where(regions == BOX, 0.05, inverse), regions


def found(
    inverse: torch.Tensor, regions: torch.Tensor, n: int = 5, doubt: float = 0.0
) -> torch.Tensor:
    return standing_depth(inverse, regions, n, K.expand(len(inverse), 3, 3), doubt=doubt)


def test_only_the_road_is_ground(street: tuple[torch.Tensor, torch.Tensor]) -> None:
    assert ground_regions(*street, 5, K).tolist() == [[False, True, False, False, False]]
    # The unit does not matter, nor what is unassigned.
    inverse, regions = street
    assert ground_regions(0.1 * inverse, regions, 5, K)[0, ROAD]
    assert not ground_regions(inverse, regions - 1, 5, K)[0, 0]


@pytest.mark.parametrize(
    ("height", "scale"),
    [
        (HEIGHT, 1.0),
        (1.2 * HEIGHT, 1.2),  # the teacher has everything too near
        (HEIGHT / 1.25, 0.8),
        (2 * HEIGHT, 1.3),  # beyond belief
        (0.3 * HEIGHT, 1 / 1.3),
        (0.0, 1.0),
    ],
)
def test_the_known_height_of_the_camera_is_the_scale(
    street: tuple[torch.Tensor, torch.Tensor], height: float, scale: float
) -> None:
    inverse, regions = street
    found = ground_scale(inverse.clone().requires_grad_(), regions, 5, K, torch.tensor([height]))
    assert found.tolist() == pytest.approx([scale], rel=1e-3)
    assert not found.requires_grad
    # Each image by its own, and not where there is no ground.
    both = torch.cat([inverse, torch.full_like(inverse, 0.1)])
    maps = torch.cat([regions, regions])
    two = ground_scale(both, maps, 5, K.expand(2, 3, 3), torch.tensor([height, height]))
    assert two.tolist() == pytest.approx([scale, 1.0], rel=1e-3)


@pytest.mark.parametrize("gap", [False, True])
def test_a_box_is_as_far_as_the_ground_below_it(
    street: tuple[torch.Tensor, torch.Tensor], gap: bool
) -> None:
    inverse, regions = street
    if gap:  # the road begins two rows below the box
        regions[..., 34, 20:36] = 0
    label = found(inverse, regions)
    box, road, wall = (regions == i for i in (BOX, ROAD, WALL))
    torch.testing.assert_close(
        label[box], torch.full_like(label[box], road_at(33.5)), rtol=1e-3, atol=0.0
    )
    # The wall ends at row 25 but where the box hides its foot.
    torch.testing.assert_close(
        label[wall], torch.full_like(label[wall], road_at(25.5)), rtol=1e-3, atol=0.0
    )
    torch.testing.assert_close(label[road], planar_depth(inverse, regions, 5)[road])


def test_what_is_far_away_stays_as_the_teacher_has_it(
    street: tuple[torch.Tensor, torch.Tensor],
) -> None:
    inverse, regions = street
    label, planar = found(inverse, regions, doubt=8.0), planar_depth(inverse, regions, 5)
    row = road_at(1) - road_at(0)
    for region, foot in ((BOX, 33.5), (WALL, 25.5)):
        inside = regions == region
        share = 1 / (1 + (8 * row / road_at(foot)) ** 2)
        expected = road_at(foot) ** share * planar[inside] ** (1 - share)
        torch.testing.assert_close(label[inside], expected, rtol=1e-3, atol=0.0)
    assert share < 0.35  # a row is 18 % of the depth at the wall


def test_a_wall_along_the_road_has_a_line_of_depths() -> None:
    regions = torch.full((1, 1, H, W), WALL, dtype=torch.int64)
    rows = torch.arange(H, dtype=torch.float32).view(H, 1).expand(1, 1, H, W)
    columns = torch.arange(W, dtype=torch.float32).expand(1, 1, H, W)
    regions[rows > 24 + columns / 4] = ROAD  # comes nearer to the right
    inverse = torch.where(regions == ROAD, road_at(rows), 0.1)
    label = found(inverse, regions)[0, 0, 10]
    feet = 24.5 + torch.arange(W) / 4
    expected = road_at(1) - road_at(0)
    torch.testing.assert_close(label, (feet - CY) * expected, rtol=0.06, atol=0.0)
    assert float(label[-8:].mean() / label[:8].mean()) > 2.5


def sign(regions: torch.Tensor) -> torch.Tensor:
    """The box floats before the wall."""
    regions[..., 22:34, 20:36] = torch.where(
        torch.arange(22, 34).view(-1, 1) < 26, WALL, ROAD
    ).expand(1, 1, 12, 16)
    return regions


def on_a_post(regions: torch.Tensor) -> torch.Tensor:
    """Hardly any of its width stands on the road."""
    regions = sign(regions)
    regions[..., 20:34, 27:29] = BOX
    return regions


def cut_below(regions: torch.Tensor) -> torch.Tensor:
    """The picture ends before the box does."""
    regions[..., 16:, 20:36] = BOX
    return regions


def unassigned(regions: torch.Tensor) -> torch.Tensor:
    """No region, 0."""
    return regions.masked_fill(regions == BOX, 0)


@pytest.mark.parametrize("change", [sign, on_a_post, cut_below, unassigned])
def test_what_has_no_foot_stays_planar(
    street: tuple[torch.Tensor, torch.Tensor], change: object
) -> None:
    assert callable(change)
    inverse, regions = street
    inside = regions == BOX
    regions = change(regions.clone())
    inside &= regions == (0 if change is unassigned else BOX)
    label = found(inverse, regions)
    planar = planar_depth(inverse, regions, 5)
    assert inside.any()
    torch.testing.assert_close(label[inside], planar[inside])


def test_the_roof_of_a_car_is_no_ground(street: tuple[torch.Tensor, torch.Tensor]) -> None:
    inverse, regions = street
    roof = torch.zeros_like(regions, dtype=torch.bool)
    roof[..., 28:32, 20:36] = True
    regions[roof] = 4
    rows = torch.arange(H, dtype=torch.float32).view(H, 1).expand(1, 1, H, W)
    inverse = torch.where(roof, road_at(rows, 0.5), inverse)
    assert ground_regions(inverse, regions, 5, K).tolist() == [[False, True, False, False, False]]
    # As high as the road it would be.
    pavement = torch.where(roof, road_at(rows, 1.3), inverse)
    assert ground_regions(pavement, regions, 5, K)[0, 4]


def test_ground_beyond_ground_is_no_object(street: tuple[torch.Tensor, torch.Tensor]) -> None:
    inverse, regions = street
    regions[..., 26:34, :] = torch.where(regions[..., 26:34, :] == ROAD, 4, BOX)  # another road
    assert ground_regions(inverse, regions, 5, K).tolist() == [[False, True, False, False, True]]
    beyond = regions == 4
    label = found(inverse, regions)[beyond]
    torch.testing.assert_close(label, planar_depth(inverse, regions, 5)[beyond])


def test_a_jagged_foot_is_outvoted(street: tuple[torch.Tensor, torch.Tensor]) -> None:
    inverse, regions = street
    regions[..., 34:41, 30:33] = BOX  # leaks into the road
    label = found(inverse, regions)[regions == BOX]
    torch.testing.assert_close(label, torch.full_like(label, road_at(34)), rtol=0.05, atol=0.0)


def test_a_gap_of_a_pixel_is_bridged_and_no_more(
    street: tuple[torch.Tensor, torch.Tensor],
) -> None:
    inverse, regions = street
    for gap, stands in ((1, True), (2, False)):
        parted = regions.clone()
        parted[..., 34 : 34 + gap, 20:36] = 0
        label = found(inverse, parted)[0, 0, 20, 25]
        assert (label > 0.1) == stands


def test_without_ground_labels_are_planar() -> None:
    generator = torch.manual_seed(0)
    regions = torch.randint(0, 4, (2, 1, H, W), generator=generator)
    inverse = 0.05 + 0.1 * torch.rand(2, 1, H, W, generator=generator)
    assert torch.equal(found(inverse, regions), planar_depth(inverse, regions, 5))
    nothing = torch.zeros_like(regions)
    assert torch.equal(found(inverse, nothing, 1), inverse)


def test_images_of_a_batch_do_not_see_each_other_and_no_gradient_flows(
    street: tuple[torch.Tensor, torch.Tensor],
) -> None:
    inverse, regions = street
    other = torch.flip(inverse, [3]) * 1.3
    mirrored = torch.flip(regions, [3])
    both = found(torch.cat([inverse, other]), torch.cat([regions, mirrored]))
    torch.testing.assert_close(both[:1], found(inverse, regions))
    torch.testing.assert_close(both[1:], found(other, mirrored))
    assert not found(inverse.clone().requires_grad_(), regions).requires_grad


def test_a_car_stands_on_its_wheels(street: tuple[torch.Tensor, torch.Tensor]) -> None:
    """Under its bumper one sees the road behind the wheels."""
    inverse, regions = street
    regions = regions.clone()
    regions[..., 31:34, 23:33] = ROAD  # of 16 columns, 6 are wheels
    rows = torch.arange(H, dtype=torch.float32).view(H, 1).expand(1, 1, H, W)
    inverse = torch.where(regions == ROAD, road_at(rows), inverse)
    wheels, bumper = road_at(33.5), road_at(30.5)
    labels = [
        standing_depth(inverse, regions, 5, K, doubt=0.0, overhang=o) for o in (0.5, 0.8, 0.95)
    ]
    at = [float(label[0, 0, 20:30, 20:36].mean()) for label in labels]
    assert at[0] < 0.5 * (wheels + bumper)  # most of the edges are the bumper's
    assert at[0] < at[1] < at[2] < wheels * 1.01
    assert at[2] > 0.75 * wheels + 0.25 * bumper
