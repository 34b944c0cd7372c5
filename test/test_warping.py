import dataclasses
import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from rosam_core.geometry.projection import project_points
from rosam_core.geometry.rigid import inverse_transform, transform_from_axis_angle
from rosam_core.geometry.warping import backproject, project, warp
from rosam_core.types import Camera

pytestmark = pytest.mark.torch

CAMERA = Camera(fx=10, fy=20, cx=3.5, cy=2, width=8, height=6)


def intrinsics(camera=CAMERA, batch=1):
    return torch.tensor(camera.K).expand(batch, 3, 3)


def moved(x=0.0, y=0.0, z=0.0):
    """T_source_target of a source camera that stands at (-x, -y, -z) of the target's frame."""
    translation = torch.tensor([[x, y, z]], dtype=torch.float64)
    return transform_from_axis_angle(torch.zeros_like(translation), translation)


def test_axis_angle_by_hand():
    """A quarter turn about z takes x to y and y to -x."""
    T = transform_from_axis_angle(torch.tensor([[0, 0, math.pi / 2]]), torch.tensor([[1.0, 2, 3]]))
    expected = torch.tensor([[0.0, -1, 0, 1], [1, 0, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1]])
    torch.testing.assert_close(T[0], expected, atol=1e-6, rtol=0)


def test_axis_angle_has_a_gradient_at_zero_where_pose_networks_start():
    zero = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    shift = torch.rand(2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(transform_from_axis_angle, (zero, shift))
    assert torch.autograd.gradcheck(transform_from_axis_angle, (shift, zero))


def test_inverse_transform_undoes_a_transform():
    torch.manual_seed(0)
    T = transform_from_axis_angle(torch.rand(3, 3).double(), torch.rand(3, 3).double())
    torch.testing.assert_close(inverse_transform(T) @ T, torch.eye(4).double().expand(3, 4, 4))


def test_backproject_by_hand():
    """Column 5, row 4, 2 m: ((5 - 3.5) / 10 * 2, (4 - 2) / 20 * 2, 2)."""
    depth = torch.full((1, 1, 6, 8), 2.0, dtype=torch.float64)
    point = backproject(depth, intrinsics())[0, :, 4, 5]
    assert point.tolist() == pytest.approx([0.3, 0.2, 2.0])


def test_torch_and_numpy_project_to_the_same_pixels():
    rng = np.random.default_rng(0)
    points = rng.uniform((-5, -5, 1), (5, 5, 40), (6, 3)).astype(np.float32)
    pixels, in_front = project(torch.tensor(points.T.reshape(1, 3, 2, 3)).double(), intrinsics())
    assert in_front.all()
    np.testing.assert_allclose(pixels.reshape(2, 6).T.numpy(), project_points(points, CAMERA))


def test_projection_undoes_backprojection_with_each_image_s_own_camera():
    other = dataclasses.replace(CAMERA, fx=17, cy=1)
    K = torch.stack([torch.tensor(CAMERA.K), torch.tensor(other.K)])
    depth = 1 + 9 * torch.rand(2, 1, 6, 8, dtype=torch.float64)
    pixels, _ = project(backproject(depth, K), K)
    rows, columns = torch.meshgrid(torch.arange(6.0), torch.arange(8.0), indexing="ij")
    expected = torch.stack([columns, rows]).double().expand(2, 2, 6, 8)
    torch.testing.assert_close(pixels, expected)


def test_standing_still_gives_the_same_image_to_the_last_pixel():
    source = torch.rand(2, 3, 6, 8, dtype=torch.float64)
    depth = 1 + 50 * torch.rand(2, 1, 6, 8, dtype=torch.float64)
    warped = warp(source, depth, intrinsics(batch=2), moved().expand(2, 4, 4))
    torch.testing.assert_close(warped.image, source)
    assert warped.valid.all()


def test_a_sideways_step_moves_by_focal_length_times_step_over_depth():
    """fx 10 px, 0.4 m, 2 m: two columns; of eight, two look beyond the source's edge."""
    source = torch.arange(8.0).double().expand(1, 1, 6, 8) ** 2
    depth = torch.full((1, 1, 6, 8), 2.0, dtype=torch.float64)
    warped = warp(source, depth, intrinsics(), moved(x=0.4 - 1e-9))
    expected = [4, 9, 16, 25, 36, 49, 49, 49]  # the border repeats
    assert warped.image[0, 0, 3].tolist() == pytest.approx(expected, abs=1e-5)
    assert warped.valid[0, 0, 3].tolist() == [True] * 6 + [False] * 2


def test_a_picture_of_coordinates_shows_where_numpy_projects_the_moved_points():
    rows, columns = np.mgrid[0:6, 0:8].astype(np.float64)
    depth = np.linspace(4, 9, 48).reshape(6, 8)
    rays = np.stack([(columns - 3.5) / 10, (rows - 2) / 20, np.ones_like(rows)])
    pose = torch.tensor([[0.03, -0.05, 0.08, 0.1, -0.05, 0.6]], dtype=torch.float64)
    T = transform_from_axis_angle(pose[:, :3], pose[:, 3:])
    points = T[0, :3, :3].numpy() @ (rays * depth).reshape(3, 48) + T[0, :3, 3:].numpy()
    expected = project_points(points.T, CAMERA).T.reshape(2, 6, 8)
    picture = torch.tensor(np.stack([columns, rows]))[None]
    warped = warp(picture, torch.tensor(depth)[None, None], intrinsics(), T)
    inside = (expected >= 0).all(0) & (expected[0] <= 7) & (expected[1] <= 5)
    assert inside.sum() > 30
    assert warped.valid[0, 0].numpy()[inside].all()
    np.testing.assert_allclose(warped.image[0].numpy()[:, inside], expected[:, inside])


def test_valid_reaches_to_the_outer_edge_of_the_border_pixels():
    source = torch.rand(1, 1, 6, 8, dtype=torch.float64)
    depth = torch.full((1, 1, 6, 8), 2.0, dtype=torch.float64)
    assert warp(source, depth, intrinsics(), moved(x=0.099)).valid.all()  # 0.495 px
    assert not warp(source, depth, intrinsics(), moved(x=0.101)).valid[..., 7].any()
    assert not warp(source, depth, intrinsics(), moved(x=-0.101)).valid[..., 0].any()
    assert not warp(source, depth, intrinsics(), moved(y=0.051)).valid[..., 5, :].any()


def test_half_a_pixel_is_halfway_between_two_pixels():
    source = torch.tensor([0.0, 1, 10, 11, 20, 21, 30, 31]).double().expand(1, 1, 6, 8)
    depth = torch.full((1, 1, 6, 8), 2.0, dtype=torch.float64)
    warped = warp(source, depth, intrinsics(), moved(x=0.1))
    assert warped.image[0, 0, 2, :3].tolist() == pytest.approx([0.5, 5.5, 10.5])


def test_what_lies_behind_the_source_is_not_valid():
    source = torch.rand(1, 1, 6, 8, dtype=torch.float64)
    depth = torch.full((1, 1, 6, 8), 2.0, dtype=torch.float64)
    assert not warp(source, depth, intrinsics(), moved(z=-2)).valid.any()
    assert not warp(source, depth, intrinsics(), moved(z=-5)).valid.any()
    # Five millimetres before the lens, on its axis.
    assert not warp(source, depth, intrinsics(), moved(x=0.1, z=-1.995)).valid.any()
    assert warp(source, depth, intrinsics(), moved(x=0.1, z=-1.98)).valid.any()
    assert warp(source, depth, intrinsics(), moved(z=5)).valid.all()


def test_unknown_and_infinite_depth_is_not_valid_and_leaves_gradients_finite():
    depth = torch.full((1, 1, 6, 8), 2.0, dtype=torch.float64)
    bad = [math.nan, math.inf, 0.0, -1.0]
    depth[0, 0, 2, 2:6] = torch.tensor(bad, dtype=torch.float64)
    depth.requires_grad_()
    source = torch.rand(1, 3, 6, 8, dtype=torch.float64)
    warped = warp(source, depth, intrinsics(), moved(x=0.02))
    assert warped.valid[0, 0, 2].tolist() == [True, True, *[False] * 4, True, True]
    warped.image.sum().backward()
    assert torch.isfinite(warped.image).all()
    assert torch.isfinite(depth.grad).all()
    assert (depth.grad[0, 0, 2, 2:6] == 0).all()
    assert (depth.grad[0, 0, 3, 1:6] != 0).all()


def test_a_pose_that_is_nan_makes_nothing_valid_and_does_not_crash():
    source, depth = torch.rand(1, 3, 6, 8), torch.full((1, 1, 6, 8), 2.0)
    for part in (slice(0, 4), slice(0, 1)):  # the second leaves z finite
        T = torch.eye(4)[None].clone()
        T[:, part] = math.nan
        warped = warp(source, depth, intrinsics().float(), T)
        assert torch.isfinite(warped.image).all()
        assert not warped.valid.any()


def test_geometry_keeps_its_precision_under_autocast():
    """With 8 bits of a rotation the view would be off by a pixel and more."""
    torch.manual_seed(0)
    source, depth = torch.rand(1, 3, 6, 8), 2 + torch.rand(1, 1, 6, 8)
    pose = torch.tensor([[0.03, -0.05, 0.08, 0.1, -0.05, 0.6]])

    def view():
        T = inverse_transform(transform_from_axis_angle(pose[:, :3], pose[:, 3:]))
        return warp(source, depth, intrinsics().float(), T).image

    with torch.autocast("cpu", torch.bfloat16):
        mixed = view()
    torch.testing.assert_close(mixed, view())


def test_gradients_of_depth_pose_and_image_in_float64():
    torch.manual_seed(1)
    source = torch.rand(1, 2, 6, 8, dtype=torch.float64, requires_grad=True)
    depth = (3 + torch.rand(1, 1, 6, 8, dtype=torch.float64)).requires_grad_()
    pose = torch.tensor([[0.01, -0.02, 0.005, 0.11, 0.07, 0.3]], dtype=torch.float64)

    def view(source, depth, pose):
        T = transform_from_axis_angle(pose[:, :3], pose[:, 3:])
        return warp(source, depth, intrinsics(), T).image

    assert torch.autograd.gradcheck(view, (source, depth, pose.requires_grad_()))
