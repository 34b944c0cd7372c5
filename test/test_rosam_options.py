"""What the options of RoSAMDepth beyond its terms do to labels and weights."""

import math

import pytest

torch = pytest.importorskip("torch")

from test_adaptation import Even, batch, plain

from rosam_core.losses.outliers import regional_depth
from rosam_core.methods.rosam_depth import RosamDepth

pytestmark = pytest.mark.torch


@pytest.mark.parametrize(
    ("student", "farthest", "deviation"),
    [
        (200.0, 100.0, 0.0),  # both are beyond: however far, that is right
        (100.0, 100.0, 0.0),
        (50.0, 100.0, 1 / 50 - 1 / 100),
        (200.0, None, 1 / 200 - 1 / 500),
    ],
)
def test_nothing_beyond_the_farthest_is_drawn_to_its_region(student, farthest, deviation):
    """A sky at 500 m, whose sigma is its floor; even on an inlier M_out is not quite 1."""
    options = plain(likelihood_weight=0.01, farthest_m=farthest)
    method = RosamDepth(Even(student), Even(500.0), None, options, 20.0)
    found = method.losses(batch(1), 0)["likelihood"].map[0, 0, 5, 5].item()
    sigma, mu = 1e-4, 1 / (farthest or 500.0)
    logistic = [1 / (1 + math.exp(2 + sigma / mu))]
    logistic.append(1 / (1 + math.exp(-(logistic[0] - 0.5) / 0.1)))
    assert found == pytest.approx(logistic[1] * (deviation / sigma) ** 2, rel=1e-3, abs=1e-9)


def test_an_outlier_in_a_far_region_does_not_draw_a_student_that_is_beyond():
    teacher = Even(500.0)
    with torch.no_grad():
        teacher.log_depth[..., 8, 20] = math.log(20.0)
    options = plain(likelihood_weight=0.01, farthest_m=100.0)
    for student, drawn in ((500.0, False), (30.0, True)):
        terms = RosamDepth(Even(student), teacher, None, options, 20.0).losses(batch(1), 0)
        assert (terms["likelihood"].map[0, 0, 8, 20] > 1) == drawn


def test_contrast_on_depth_is_with_the_label_that_teaches(monkeypatch):
    """Or the two would draw to different scales."""
    asked = {}

    def contrast(student, means_of, regions, n, pixels, temperature):
        asked["means"] = means_of
        return torch.zeros(1, 4), torch.ones(1, 4, dtype=torch.bool)

    module = "rosam_core.methods.rosam_depth"
    monkeypatch.setattr(f"{module}.depth_contrast", contrast)
    monkeypatch.setattr(f"{module}.ground_scale", lambda inverse, *_: torch.full((1,), 2.0))
    options = plain(known_height=True, contrast_weight=0.01, contrast_on="depth")
    data = batch(1) | {"camera_height": torch.tensor([1.5])}
    RosamDepth(Even(2.0), Even(2.0), None, options, 20.0).losses(data, 0)
    torch.testing.assert_close(asked["means"], torch.full_like(asked["means"], 1 / 4))


def test_values_that_are_ours_are_options(monkeypatch):
    asked = {}

    def outliers(inverse, regions, n, *values, surface):
        asked["outliers"] = *values, surface
        return regional_depth(inverse, regions, n)

    def reliable(error, seen, regions, n, *values):
        asked["reliability"] = values
        return torch.ones_like(error)

    def seen_well(batch, depth, T_source_target, scale):
        asked["depth"] = depth
        return torch.zeros_like(depth), torch.ones_like(depth, dtype=torch.bool)

    module = "rosam_core.methods.rosam_depth"
    monkeypatch.setattr(f"{module}.regional_depth", outliers)
    monkeypatch.setattr(f"{module}.region_reliability", reliable)
    monkeypatch.setattr(f"{module}.neighbour_error", seen_well)
    values = {"outlier_threshold": 3.0, "outlier_slope": 0.5, "outlier_softness": 0.2}
    values |= {"outlier_floor": 0.05}
    values |= {"region_surface": "plane", "reliability_beta": 2.0, "reliability_floor": 0.3}
    for judged, depth in (("teacher", 10.0), ("student", 5.0)):
        given = {"outlier_mask": True, "reliability": "region", "reliability_of": judged}
        RosamDepth(Even(5.0), Even(10.0), None, plain(**given, **values), 20.0).losses(batch(1), 0)
        assert asked["outliers"] == (3.0, 0.5, 0.2, 0.05, "plane")
        assert asked["reliability"] == (2.0, 0.3)
        torch.testing.assert_close(asked["depth"], torch.full_like(asked["depth"], depth))


def test_the_height_of_the_camera_gives_labels_their_scale(monkeypatch):
    """In the unit of the students, and before regions are looked at."""
    asked = {}

    def twice_as_far(inverse, regions, n, K, height):
        asked["height"] = height
        return torch.full((len(inverse),), 2.0)

    monkeypatch.setattr("rosam_core.methods.rosam_depth.ground_scale", twice_as_far)
    data = batch(1) | {"camera_height": torch.tensor([1.5])}
    for label in ("teacher", "planar"):
        options = plain(known_height=True, label=label)
        terms = RosamDepth(Even(2.0), Even(2.0), None, options, 40.0).losses(data, 0)
        # |2 - 4| / 2, and 1.5 m of a view of f = 20 px are 3 for f = 40 px.
        found = terms["distil_0"].map
        torch.testing.assert_close(found, torch.full_like(found, 1.0))
        assert asked["height"].tolist() == [3.0]


@pytest.mark.parametrize(
    ("day", "factor"), [(10.0, 1.0), (10.5, 1.0), (11.5, 2**0.5), (15.0, 2.0)]
)
def test_where_the_day_network_agrees_the_teacher_teaches(monkeypatch, day, factor):
    """Apart by 0, 5, 15 and 50 %; labels begin at 10 % and are all there is at 20 %."""
    module = "rosam_core.methods.rosam_depth"
    monkeypatch.setattr(f"{module}.standing_depth", lambda inverse, *_, overhang: 2 * inverse)
    options = plain(label="standing", label_disagreement=0.1)
    method = RosamDepth(Even(10.0), Even(10.0), Even(day), options, 20.0)
    inverse = torch.full((1, 1, 4, 4), 0.1)
    by_day = torch.full((1, 1, 4, 4), 1 / day)
    label = method.judge(batch(1), inverse, by_day, inverse).inverse
    torch.testing.assert_close(label, torch.full_like(label, 0.1 * factor))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"label_disagreement": -0.1}, "label_disagreement must not be negative, got -0.1"),
        ({"label_overhang": 1.0}, "label_overhang must be between 0 and 1, exclusive, got 1.0"),
        ({"region_surface": "ball"}, "region_surface is 'ball', expected mean or plane"),
        ({"label": "standing", "label_disagreement": 0.1}, "needs a day network"),
    ],
)
def test_labels_that_cannot_be_made_are_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        RosamDepth(Even(10.0), Even(10.0), None, plain(**wrong), 20.0)
