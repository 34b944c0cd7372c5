"""Syn2Real and RoSAMDepth as methods: which term is there, what it weighs, what stays frozen."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from torch import nn

from rosam_core.methods import neighbours
from rosam_core.methods.neighbours import neighbour_error
from rosam_core.methods.rosam_depth import RosamDepth, RosamOptions
from rosam_core.methods.syn2real import (
    AdaptationOptions,
    RealAdaptation,
    SyntheticAdaptation,
)

pytestmark = pytest.mark.torch

H, W = 16, 32


class Even(nn.Module):
    """Predicts one depth everywhere; features of two directions, left and right."""

    def __init__(self, depth, b=0.1):
        super().__init__()
        self.log_depth = nn.Parameter(torch.full((1, 1, H, W), math.log(depth)))
        self.log_b = nn.Parameter(torch.tensor(math.log(b)))
        self.features = nn.Parameter(torch.randn(1, 4, H // 2, W // 2))

    def forward(self, images):
        n = len(images)
        log_depth = self.log_depth.expand(n, -1, -1, -1)
        log_b = self.log_b.expand_as(log_depth)
        output = {
            "inverse_depth": torch.exp(-log_depth),
            "log_b": log_b,
            "features": [self.features.expand(n, -1, -1, -1)],
        }
        if self.training:
            output["scales"] = [
                (log_depth, log_b),
                (log_depth[..., ::2, ::2], log_b[..., ::2, ::2]),
            ]
        return output


def batch(n=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(n, 3, H, W, generator=generator)
    regions = torch.ones(n, 1, H, W, dtype=torch.int64)
    regions[..., W // 2 :] = 2
    regions[..., :2, :] = 0
    return {
        "image": image,
        "clean": image,
        "clear": image,
        "regions": regions,
        "sources": image[:, None].repeat(1, 2, 1, 1, 1),
        "source_known": torch.ones(n, 2, dtype=torch.bool),
        "T_source_target": torch.eye(4).expand(n, 2, 4, 4).clone(),
        "K": torch.tensor([[20.0, 0, 15.5], [0, 20, 7.5], [0, 0, 1]]).expand(n, 3, 3),
    }


def total(terms):
    return sum(term.weight * term.mean() for term in terms.values())


def plain(**changes):
    """RoSAMDepth without any of its terms: the baseline."""
    off = {
        "contrast_weight": 0.0,
        "likelihood_weight": 0.0,
        "outlier_mask": False,
        "reliability": "none",
    }
    return RosamOptions(**{**off, **changes})


def test_the_day_network_teaches_another_weather():
    method = SyntheticAdaptation(Even(2.0), Even(1.0), AdaptationOptions(confidence_weight=0.0))
    terms = method.losses(batch(), 0)
    # |2 - 1| / 2 at both scales, each with half the weight.
    assert terms["distil_0"].mean().item() == pytest.approx(0.5)
    assert total(terms).item() == pytest.approx(0.5)
    total(terms).backward()
    assert method.student.log_depth.grad.abs().sum() > 0
    assert all(p.grad is None for p in method.day.parameters())


def test_nothing_is_taught_beside_the_picture():
    method = SyntheticAdaptation(Even(2.0), Even(1.0), AdaptationOptions(confidence_weight=1.0))
    given = batch()
    whole = method.losses(given, 0)
    seen = torch.ones_like(given["image"][:, :1], dtype=torch.bool)
    seen[..., : seen.shape[-1] // 2] = False
    half = method.losses({**given, "seen": seen}, 0)
    for name in ("distil_0", "confidence"):
        mean = whole[name].mean().item()
        assert half[name].mean().item() == pytest.approx(mean / 2)
        assert half[name].map[..., 0].abs().max() == 0


def test_a_frozen_teacher_stays_in_evaluation_mode_when_all_is_set_to_training():
    teacher = Even(1.0)
    method = RealAdaptation(Even(2.0), teacher, None, AdaptationOptions())
    method.losses(batch(), 0)
    assert not teacher.training
    assert not any(p.requires_grad for p in teacher.parameters())


def test_confidence_trains_b_alone_and_learns_the_residual():
    method = RealAdaptation(Even(2.0), Even(1.0), None, AdaptationOptions(confidence_weight=1.0))
    term = method.losses(batch(), 0)["confidence"]
    # r / b + log 2b with r = log 2, b = 0.1
    assert term.mean().item() == pytest.approx(math.log(2) / 0.1 + math.log(0.2), rel=1e-5)
    (term.weight * term.mean()).backward()
    assert method.student.log_b.grad < 0  # b has to grow
    assert method.student.log_depth.grad is None


def test_where_the_day_network_disagrees_the_teacher_weighs_less():
    options = AdaptationOptions(confidence_weight=0.0, histogram_weight=0.0)
    agree = RealAdaptation(Even(2.0), Even(1.0), Even(1.0), options).losses(batch(), 0)
    differ = RealAdaptation(Even(2.0), Even(1.0), Even(4.0), options).losses(batch(), 0)
    assert agree["distil_0"].mean().item() == pytest.approx(0.5 * 2)
    # exp(-|1 - 1/4| / 1) + 1
    assert differ["distil_0"].mean().item() == pytest.approx(0.5 * (math.exp(-0.75) + 1))
    off = AdaptationOptions(confidence_weight=0.0, histogram_weight=0.0, consistency=False)
    without = RealAdaptation(Even(2.0), Even(1.0), Even(4.0), off).losses(batch(), 0)
    assert without["distil_0"].mean().item() == pytest.approx(0.5)


def test_histograms_are_compared_in_the_stated_order():
    student, day = Even(10.0), Even(20.0)
    found = [
        RealAdaptation(
            student, Even(1.0), day, AdaptationOptions(histogram_day_first=first)
        ).losses(batch(), 0)["histogram"]
        for first in (False, True)
    ]
    assert all(term.weight == 0.001 and term.mean() > 1 for term in found)
    same = RealAdaptation(Even(20.0), Even(1.0), day, AdaptationOptions())
    assert same.losses(batch(), 0)["histogram"].mean().item() == pytest.approx(0.0, abs=1e-6)


def test_rosam_depth_without_its_terms_is_the_baseline():
    student, teacher = Even(2.0), Even(1.0)
    base = RealAdaptation(student, teacher, None, AdaptationOptions()).losses(batch(), 0)
    ours = RosamDepth(student, teacher, None, plain(), 20.0).losses(batch(), 0)
    assert base.keys() == ours.keys()
    for name, term in base.items():
        torch.testing.assert_close(term.map, ours[name].map)


def test_every_term_of_the_paper_is_there_and_reaches_the_student():
    torch.manual_seed(0)
    method = RosamDepth(Even(2.0), Even(1.0), Even(1.5), RosamOptions(), 20.0)
    terms = method.losses(batch(), 0)
    assert set(terms) == {
        "distil_0",
        "distil_1",
        "confidence",
        "histogram",
        "contrast_2",
        "likelihood",
    }
    assert terms["contrast_2"].weight == terms["likelihood"].weight == 0.01
    for name in ("contrast_2", "likelihood"):
        method.student.zero_grad()
        terms[name].mean().backward(retain_graph=True)
        student = method.student
        reached = student.features if name == "contrast_2" else student.log_depth
        assert reached.grad.abs().sum() > 0


def test_an_outlier_of_its_region_does_not_teach_but_is_drawn_to_the_region():
    teacher = Even(10.0)
    with torch.no_grad():
        teacher.log_depth[..., 8, 20] = math.log(2.0)
    method = RosamDepth(Even(5.0), teacher, None, plain(outlier_mask=True), 20.0)
    base = RosamDepth(Even(5.0), teacher, None, plain(), 20.0)
    ratio = method.losses(batch(), 0)["distil_0"].map / base.losses(batch(), 0)["distil_0"].map
    assert ratio[0, 0, 8, 20] < 0.05
    assert ratio[0, 0, 8, 25] > 0.9
    assert ratio[0, 0, 0, 0] == 1.0  # unassigned
    drawn = RosamDepth(Even(5.0), teacher, None, plain(likelihood_weight=0.01), 20.0)
    likelihood = drawn.losses(batch(), 0)["likelihood"].map
    assert likelihood[0, 0, 8, 20] > 30 * likelihood[0, 0, 8, 25]


def test_a_region_that_the_neighbours_contradict_is_not_believed():
    data = batch(n=1)
    # The camera stood still, so the sources equal the target, but for the right half.
    data["sources"][..., W // 2 :] = torch.rand(1, 2, 3, H, W // 2)
    options = plain(reliability="region")
    found = RosamDepth(Even(2.0), Even(1.0), None, options, 20.0).losses(data, 0)["distil_0"].map
    left, right = found[0, 0, 8, 4], found[0, 0, 8, 28]
    assert left > 0.5  # W_rel = 1 + eps where the error is below the mean
    assert right < 0.5 * left
    # Nothing to judge by: every region keeps the weight 1.
    data["source_known"][:] = False
    found = RosamDepth(Even(2.0), Even(1.0), None, options, 20.0).losses(data, 0)["distil_0"].map
    torch.testing.assert_close(found, torch.full_like(found, 0.5))
    data["source_known"][:] = True
    data["T_source_target"][:] = float("nan")
    found = RosamDepth(Even(2.0), Even(1.0), None, options, 20.0).losses(data, 0)["distil_0"].map
    torch.testing.assert_close(found, torch.full_like(found, 0.5))


def test_prototypes_of_regions_are_the_teachers():
    torch.manual_seed(0)
    teacher, student = Even(1.0), Even(2.0)
    with torch.no_grad():  # the teacher tells left and right apart
        teacher.features[:] = 0
        teacher.features[:, 0, :, : W // 4] = 1
        teacher.features[:, 1, :, W // 4 :] = 1
        student.features.copy_(teacher.features)
    options = plain(contrast_weight=0.01)
    agree = RosamDepth(student, teacher, None, options, 20.0).losses(batch(), 0)["contrast_2"]
    # -log(exp(1 / T) / (exp(1 / T) + exp(0))) with T = 0.1
    assert agree.mean().item() == pytest.approx(math.log1p(math.exp(-10)), abs=1e-6)
    with torch.no_grad():  # just as well apart, but the other way round
        student.features.copy_(teacher.features[:, [1, 0, 2, 3]])
    differ = RosamDepth(student, teacher, None, options, 20.0).losses(batch(), 0)["contrast_2"]
    assert differ.mean().item() == pytest.approx(10.0, rel=1e-3)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"contrast_weight": 0.01, "contrast_on": "depth"}, "contrast_1"),
        ({"smoothness": "image"}, "smoothness"),
        ({"smoothness": "region"}, "smoothness"),
    ],
)
def test_alternatives_of_the_ablation(changes, name):
    terms = RosamDepth(Even(2.0), Even(1.0), None, plain(**changes), 20.0).losses(batch(), 0)
    assert name in terms
    assert torch.isfinite(terms[name].map).all()


def test_planar_labels_teach_the_plane_of_a_region():
    torch.manual_seed(0)
    teacher = Even(2.0)
    data = batch(1)
    noise = 0.05 * torch.randn(1, 1, H, W)
    teacher.log_depth.data += noise
    taught = {}
    for label in ("teacher", "planar"):
        method = RosamDepth(Even(2.0), teacher, None, plain(label=label), 20.0)
        terms = method.losses(data, 0)
        taught[label] = terms["distil_0"].mean().item()
        assert torch.isfinite(total(terms))
    # The plane of noise about an even depth is that depth: what the student says already.
    assert taught["teacher"] == pytest.approx(noise.abs().mean().item(), rel=0.1)
    assert taught["planar"] < 0.35 * taught["teacher"]  # an eighth of the pixels has no region


def test_standing_labels_teach_the_ground_at_the_foot(monkeypatch):
    """What the method hands over, and that it is what is taught."""
    asked = {}

    def half_as_far(inverse, regions, n, K, tolerance, overhang):
        asked.update(regions=regions, n=n, K=K, tolerance=tolerance)
        return inverse * 2

    monkeypatch.setattr("rosam_core.methods.rosam_depth.standing_depth", half_as_far)
    data = batch(1)
    options = plain(label="standing", label_tolerance=0.3)
    terms = RosamDepth(Even(2.0), Even(2.0), None, options, 20.0).losses(data, 0)
    # |2 - 1| / 2 where the student says 2 m, as its teacher did, and the label 1 m.
    torch.testing.assert_close(terms["distil_0"].map, torch.full_like(terms["distil_0"].map, 0.5))
    assert asked["tolerance"] == 0.3
    assert asked["n"] == int(data["regions"].max()) + 1
    assert torch.equal(asked["K"], data["K"])
    assert torch.equal(asked["regions"], data["regions"])


def test_weights_judge_the_label_that_teaches(monkeypatch):
    """A pixel where the teacher is an outlier and the label is not."""
    teacher, asked = Even(10.0), []
    with torch.no_grad():
        teacher.log_depth[..., 8, 20] = math.log(2.0)
    module = "rosam_core.methods.rosam_depth"
    monkeypatch.setattr(
        f"{module}.standing_depth", lambda inverse, *_, overhang: torch.full_like(inverse, 1 / 8)
    )

    def seen_well(batch, depth, T_source_target, scale):
        asked.append(depth)
        return torch.zeros_like(depth), torch.ones_like(depth, dtype=torch.bool)

    monkeypatch.setattr(f"{module}.neighbour_error", seen_well)
    options = plain(label="standing", outlier_mask=True, reliability="region")
    data = batch(1)
    found = RosamDepth(Even(5.0), teacher, None, options, 20.0).losses(data, 0)["distil_0"].map
    focal = math.sqrt(float(data["K"][0, 0, 0] * data["K"][0, 1, 1]))
    torch.testing.assert_close(asked[0], torch.full_like(asked[0], 8 * focal / 20))
    assert found[0, 0, 8, 20].item() == pytest.approx(found[0, 0, 8, 25].item(), rel=1e-4)


@pytest.mark.parametrize("scale", [1, 2])
def test_pictures_of_half_the_size_judge_alike(scale):
    """A wall 8 m ahead, seen again from 0.8 m further right: 2 px of shift."""
    columns = torch.arange(W).float()
    data = batch(1)
    generator = torch.Generator().manual_seed(3)
    waves = torch.rand(1, 3, H, 1, generator=generator) * 0.3
    data["clean"] = 0.5 + waves * torch.sin(columns * 0.35)
    data["sources"] = (0.5 + waves * torch.sin((columns + 2) * 0.35))[:, None].repeat(
        1, 2, 1, 1, 1
    )
    data["T_source_target"][:, :, 0, 3] = -0.8
    inner = (..., slice(4, -4), slice(8, -8))
    errors = {}
    for depth in (4.0, 8.0, 16.0):
        wall = torch.full((1, 1, H, W), depth)
        error, seen = neighbour_error(data, wall, data["T_source_target"], scale)
        assert error.shape == seen.shape == wall.shape
        errors[depth] = error[inner].mean().item()
    assert errors[8.0] < 0.01
    assert min(errors[4.0], errors[16.0]) > 5 * errors[8.0]


def test_a_smaller_picture_has_the_camera_of_its_pixels():
    data, depth = batch(1), torch.full((1, 1, H, W), 4.0)
    smaller, coarse = neighbours._reduced(data, depth, 2)
    assert smaller["clean"].shape == (1, 3, H // 2, W // 2)
    assert smaller["sources"].shape == (1, 2, 3, H // 2, W // 2)
    torch.testing.assert_close(coarse, torch.full((1, 1, H // 2, W // 2), 4.0))
    # Its first pixel covers four, whose middle is (0.5, 0.5): the same ray.
    for K, pixel in ((smaller["K"][0], 0.0), (data["K"][0], 0.5)):
        ray = torch.linalg.solve(K, torch.tensor([pixel, pixel, 1.0]))
        torch.testing.assert_close(ray, torch.tensor([-0.75, -0.35, 1.0]))


def test_pictures_that_cannot_shrink_are_refused():
    with pytest.raises(ValueError, match="32x16 at 1/3"):
        neighbour_error(batch(1), torch.ones(1, 1, H, W), batch(1)["T_source_target"], 3)
    with pytest.raises(ValueError, match="reliability_scale must be at least 1, got 0"):
        plain(reliability_scale=0)


def test_an_unknown_choice_is_named():
    with pytest.raises(ValueError, match=r"reliability is 'objects', expected region or"):
        RosamOptions(reliability="objects")
