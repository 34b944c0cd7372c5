import math

import pytest

torch = pytest.importorskip("torch")

from torch import nn

from rosam_core.losses.smoothness import edge_aware_smoothness
from rosam_core.methods.self_supervised import SelfSupervised, SelfSupervisedOptions
from rosam_core.models import create_model
from rosam_core.models.pose import PoseNetwork

pytestmark = pytest.mark.torch

H, W, FOCAL, DEPTH_M, STEP_M = 64, 96, 80.0, 10.0, 0.5  # 4 px between frames


def textured(width, seed=0):
    """A smooth random picture, float[3,H,width]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, H // 8, width // 8, generator=generator)
    return nn.functional.interpolate(coarse, size=(H, width), mode="bicubic")[0].clamp(0, 1)


def batch_of_a_wall(count=2):
    """A camera that moves to the right past a wall: the image moves 4 px a frame to the left."""
    shift = round(FOCAL * STEP_M / DEPTH_M)
    walls = [textured(W + 16, seed) for seed in range(count)]
    before, image, after = (
        torch.stack([wall[:, :, start : start + W] for wall in walls])
        for start in (4, 4 + shift, 4 + 2 * shift)
    )
    K = torch.tensor([[FOCAL, 0, W / 2], [0, FOCAL, H / 2], [0, 0, 1]])
    return {
        "image": image,
        "clean": image,
        "sources": torch.stack([before, after], dim=1),
        "source_known": torch.ones(count, 2, dtype=torch.bool),
        "K": K.expand(count, 3, 3),
        "T_source_target": recorded_motion(STEP_M, count),
    }


def recorded_motion(step, count=2):
    """Poses of the frames before and after as seen from the middle one, float[count,2,4,4]."""
    T = torch.eye(4).repeat(count, 2, 1, 1)
    T[:, 0, 0, 3], T[:, 1, 0, 3] = step, -step
    return T


class EvenDepth(nn.Module):
    """Answers with one depth at two scales."""

    def __init__(self, depth_m):
        super().__init__()
        self.log_depth = nn.Parameter(torch.tensor(math.log(depth_m)))

    def forward(self, images):
        b, _, h, w = images.shape
        maps = [self.log_depth.expand(b, 1, h // k, w // k) for k in (1, 2)]
        return {"scales": [(x, torch.zeros_like(x)) for x in maps]}


class Ramp(nn.Module):
    """Depth that grows to the right, at two scales; remembers what it was shown."""

    def forward(self, images):
        self.shown = images
        b, _, h, w = images.shape
        maps = [torch.linspace(1, 4, w // k).expand(b, 1, h // k, w // k) for k in (1, 2)]
        return {"scales": [(x, torch.zeros_like(x)) for x in maps]}


class KnownMotion(nn.Module):
    """Answers with one motion for every pair and remembers what it was shown."""

    def __init__(self, translation):
        super().__init__()
        self.motion = nn.Parameter(torch.tensor([0.0, 0.0, 0.0, *translation]))

    def forward(self, earlier, later):
        self.shown = (earlier, later)
        return self.motion.expand(len(earlier), 6)


def method(depth_m=DEPTH_M, translation=(-STEP_M, 0.0, 0.0), canonical=FOCAL):
    # The later camera stands further right: points move to the left in its frame.
    return SelfSupervised(
        EvenDepth(depth_m), KnownMotion(translation), SelfSupervisedOptions(), canonical
    )


def total(terms):
    return sum(term.weight * term.mean() for term in terms.values())


def test_true_depth_and_motion_explain_both_neighbours():
    terms = method().losses(batch_of_a_wall(), 0)
    assert set(terms) == {
        *("photometric_0", "photometric_1", "smoothness_0", "smoothness_1", "velocity")
    }
    for level in (0, 1):
        assert terms[f"photometric_{level}"].counted.all()
        assert terms[f"photometric_{level}"].mean() < 1e-4
    assert terms["velocity"].mean() < 1e-6


@pytest.mark.parametrize(
    ("depth_m", "translation"),
    [(20.0, (-STEP_M, 0, 0)), (6.0, (-STEP_M, 0, 0)), (DEPTH_M, (0.1, 0, 0))],
)
def test_wrong_depth_or_motion_costs(depth_m, translation):
    terms = method(depth_m, translation).losses(batch_of_a_wall(), 0)
    assert terms["photometric_0"].map.mean() > 0.02


def test_the_network_sees_the_earlier_frame_first():
    batch, trained = batch_of_a_wall(1), method()
    trained.losses(batch, 0)
    earlier, later = trained.pose.shown
    before, after = batch["sources"].unbind(1)
    torch.testing.assert_close(earlier, torch.cat([before, batch["image"]]))
    torch.testing.assert_close(later, torch.cat([batch["image"], after]))


def test_depth_scales_with_the_focal_length():
    """Output for half the focal length: half the depth is the same."""
    terms = method(DEPTH_M / 2, canonical=FOCAL / 2).losses(batch_of_a_wall(), 0)
    assert terms["photometric_0"].mean() < 1e-4


def test_one_known_neighbour_is_enough_and_none_is_no_loss():
    batch = batch_of_a_wall(2)
    batch["source_known"] = torch.tensor([[False, True], [False, False]])
    batch["sources"][~batch["source_known"]] = 0.0
    terms = method().losses(batch, 0)
    photometric = terms["photometric_0"]
    assert photometric.counted[0].all()
    # What comes into view between the image and its one neighbour stays unexplained.
    assert photometric.map[0, ..., 6:].mean() < 1e-3
    assert photometric.map[0, ..., :3].mean() > 0.02
    assert not photometric.counted[1].any()
    assert terms["velocity"].counted.tolist() == [False, True, False, False]


def test_a_camera_that_stands_still_teaches_nothing():
    batch = batch_of_a_wall()
    batch["sources"] = batch["image"][:, None].expand(-1, 2, -1, -1, -1)
    trained = method()
    terms = trained.losses(batch, 0)
    assert terms["photometric_0"].map.max() == 0
    terms["photometric_0"].mean().backward()
    assert trained.student.log_depth.grad == 0


def test_smoothness_is_of_inverse_depth_at_each_scale_and_weighs_half_at_the_coarser():
    batch = batch_of_a_wall()
    trained = SelfSupervised(Ramp(), KnownMotion((0.1, 0, 0)), SelfSupervisedOptions(), FOCAL)
    terms = trained.losses(batch, 0)
    inverse_depth = torch.exp(-torch.linspace(1, 4, W).expand(2, 1, H, W))
    expected = edge_aware_smoothness(inverse_depth, batch["clean"])
    torch.testing.assert_close(terms["smoothness_0"].map, expected)
    assert terms["smoothness_1"].map.shape == (2, 1, H // 2, W // 2)
    weights = {name: term.weight for name, term in terms.items()}
    assert weights == pytest.approx(
        {
            "photometric_0": 1 / 2,
            "photometric_1": 1 / 2,
            "smoothness_0": 0.001 / 2,
            "smoothness_1": 0.001 / 4,
            "velocity": 0.05,
        }
    )


def test_the_student_sees_the_augmented_image_and_the_clean_one_is_explained():
    batch = batch_of_a_wall()
    batch["image"] = 1 - batch["clean"]
    trained = SelfSupervised(Ramp(), KnownMotion((0.1, 0, 0)), SelfSupervisedOptions(), FOCAL)
    trained.losses(batch, 0)
    assert torch.equal(trained.student.shown, batch["image"])
    assert method().losses(batch, 0)["photometric_0"].mean() < 1e-4


def test_speed_sets_the_scale():
    """Twice the depth with twice the step explains the images as well: only the speed tells."""
    terms = method(2 * DEPTH_M, (-2 * STEP_M, 0, 0)).losses(batch_of_a_wall(), 0)
    assert terms["photometric_0"].mean() < 1e-4
    assert terms["velocity"].mean().item() == pytest.approx(STEP_M)
    unknown = batch_of_a_wall()
    unknown["T_source_target"][:] = math.nan
    assert method(2 * DEPTH_M, (-1.0, 0, 0)).losses(unknown, 0)["velocity"].mean() == 0


@pytest.mark.parametrize(("depth_m", "step"), [(8.5, STEP_M), (12.0, STEP_M)])
def test_descent_leads_towards_the_true_depth(depth_m, step):
    trained = method(depth_m, (-step, 0.0, 0.0))
    total(trained.losses(batch_of_a_wall(), 0)).backward()
    assert (trained.student.log_depth.grad < 0) == (depth_m < DEPTH_M)


@pytest.mark.parametrize("step", [0.42, 0.6])
def test_descent_leads_towards_the_true_step_even_without_a_measured_one(step):
    trained, batch = method(DEPTH_M, (-step, 0.0, 0.0)), batch_of_a_wall()
    batch["T_source_target"][:] = math.nan
    total(trained.losses(batch, 0)).backward()
    assert (trained.pose.motion.grad[3] > 0) == (step < STEP_M)


def test_depth_waits_while_the_pose_network_warms_up():
    options = SelfSupervisedOptions(pose_warmup_steps=3)
    trained = SelfSupervised(EvenDepth(8.5), KnownMotion((-0.4, 0, 0)), options, FOCAL)
    for step, is_still in ((2, True), (3, False)):
        trained.zero_grad()
        total(trained.losses(batch_of_a_wall(), step)).backward()
        gradient = trained.student.log_depth.grad
        assert gradient is None if is_still else gradient != 0
        assert trained.pose.motion.grad[3] != 0


class NormedDepth(EvenDepth):
    """The same behind a batch norm."""

    def __init__(self, depth_m):
        super().__init__(depth_m)
        self.norm = nn.BatchNorm2d(3)

    def forward(self, images):
        self.norm(images)
        return super().forward(images)


def test_statistics_wait_with_the_depth():
    options = SelfSupervisedOptions(pose_warmup_steps=3)
    trained = SelfSupervised(NormedDepth(8.5), KnownMotion((-0.4, 0, 0)), options, FOCAL)
    for step, batches in ((2, 0), (3, 1)):
        trained.train()  # as every step of the loop begins
        trained.losses(batch_of_a_wall(), step)
        assert int(trained.student.norm.num_batches_tracked) == batches


def with_recorded_motion(depth_m=DEPTH_M):
    options = SelfSupervisedOptions(motion="recorded")
    return SelfSupervised(EvenDepth(depth_m), None, options, FOCAL)


@pytest.mark.parametrize("depth_m", [8.5, 12.0])
def test_recorded_motion_needs_no_network_and_sets_the_scale(depth_m):
    assert with_recorded_motion().losses(batch_of_a_wall(), 0)["photometric_0"].mean() < 1e-4
    trained = with_recorded_motion(depth_m)
    terms = trained.losses(batch_of_a_wall(), 0)
    assert "velocity" not in terms
    total(terms).backward()
    assert (trained.student.log_depth.grad < 0) == (depth_m < DEPTH_M)


def test_a_source_without_recorded_motion_is_as_good_as_absent():
    batch, absent = batch_of_a_wall(), batch_of_a_wall()
    batch["T_source_target"][0, 1] = math.nan
    batch["T_source_target"][1] = math.nan
    absent["source_known"] = torch.tensor([[True, False], [False, False]])
    found, expected = (with_recorded_motion(8.0).losses(b, 0) for b in (batch, absent))
    for name, term in expected.items():
        torch.testing.assert_close(found[name].map, term.map)
        torch.testing.assert_close(found[name].mean(), term.mean())
    assert not found["photometric_0"].counted[1].any()


def test_mixed_motion_takes_poses_where_there_are_any_and_the_network_elsewhere():
    options = SelfSupervisedOptions(motion="mixed")
    batch = batch_of_a_wall()
    batch["T_source_target"][1] = math.nan
    trained = SelfSupervised(EvenDepth(DEPTH_M), KnownMotion((0.2, 0, 0)), options, FOCAL)
    terms = trained.losses(batch, 0)
    assert terms["photometric_0"].map[0].mean() < 1e-4
    assert terms["photometric_0"].map[1].mean() > 0.02
    total(terms).backward()
    assert trained.pose.motion.grad[3] != 0  # of the other image, and of the distance of the first
    assert terms["velocity"].counted.tolist() == [True, True, False, False]


class Shown(nn.Module):
    """Has one depth left of the middle and another right of it, wherever it is trained."""

    def __init__(self, left_m, right_m):
        super().__init__()
        log_depth = torch.full((1, 1, H, W), math.log(left_m))
        log_depth[..., W // 2 :] = math.log(right_m)
        self.log_depth = nn.Parameter(log_depth)

    def forward(self, images):
        self.shown = images
        log_depth = self.log_depth.expand(len(images), 1, H, W)
        scales = [(x, torch.zeros_like(x)) for x in (log_depth, log_depth[..., ::2, ::2])]
        return {"inverse_depth": torch.exp(-log_depth), "scales": scales}


def kept(student, anchor, **options):
    """The terms of an anchor, by the distance at which depths are compared."""
    given = SelfSupervisedOptions(motion="recorded", anchor="there", **options)
    trained = SelfSupervised(student, None, given, FOCAL, anchor)
    terms = trained.losses(batch_of_a_wall(1), 0)
    return {name: term for name, term in terms.items() if name.startswith("anchor")}


def test_an_anchor_keeps_shapes_and_leaves_the_scale():
    same = kept(Shown(10.0, 5.0), Shown(20.0, 10.0))
    assert set(same) == {"anchor_1", "anchor_2", "anchor_4", "anchor_8"}
    for term in same.values():
        assert term.weight == pytest.approx(0.1 / 4)
        assert term.map.abs().max() < 1e-5
    for step in (1, 8):
        melted = kept(Shown(10.0, 10.0), Shown(20.0, 10.0), anchor_weight=1.0)[f"anchor_{step}"]
        expected = torch.zeros_like(melted.map)
        expected[..., W // 2 // step - 1] = math.log(2)
        torch.testing.assert_close(melted.map, expected)
        assert melted.weight == pytest.approx(0.25)
    beyond = kept(Shown(100.0, 300.0), Shown(150.0, 900.0))
    assert all(term.map.abs().max() < 1e-5 for term in beyond.values())


def test_an_anchor_is_frozen_and_sees_the_clean_image():
    student, anchor = Shown(10.0, 5.0), Shown(10.0, 10.0)
    options = SelfSupervisedOptions(motion="recorded", anchor="there")
    trained = SelfSupervised(student, None, options, FOCAL, anchor)
    batch = batch_of_a_wall(1)
    total(trained.losses({**batch, "image": 1 - batch["image"]}, 0)).backward()
    assert anchor.log_depth.grad is None
    assert not anchor.training
    assert anchor.shown is batch["clean"]
    assert student.log_depth.grad.abs().sum() > 0


def test_a_negative_anchor_is_refused():
    with pytest.raises(ValueError, match=r"anchor_weight must not be negative, got -0.1"):
        SelfSupervisedOptions(anchor_weight=-0.1)


def test_where_motion_comes_from_must_be_known():
    with pytest.raises(ValueError, match="learned, recorded, mixed, got 'imu'"):
        SelfSupervisedOptions(motion="imu")


def test_two_steps_of_the_real_networks_lower_the_loss():
    torch.manual_seed(0)
    trained = SelfSupervised(
        create_model("resnet18"), PoseNetwork(), SelfSupervisedOptions(), FOCAL
    ).train()
    optimiser = torch.optim.Adam(trained.parameters(), 1e-4)
    batch, found = batch_of_a_wall(2), []
    for step in range(3):
        loss = total(trained.losses(batch, step))
        found.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        for name, parameter in trained.named_parameters():
            # Nothing here trains the confidence: its half of a head has a gradient of zero.
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name
        optimiser.step()
    assert found[2] < found[1] < found[0]
