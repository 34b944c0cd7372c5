"""Points that the lidar sees and the camera does not, in a scene whose rays are traced by hand."""

import numpy as np
import pytest

from rosam_core.geometry.occlusion import (
    OcclusionOptions,
    hidden_points,
    scan_spacing,
    view_angles,
)

LIDAR = np.array([0.0, -0.5, 0.0])  # half a metre above the camera
FRONT, BACK = 5.0, 20.0


def scan(origin=LIDAR, step_deg=(0.3, 1.2)):
    """A wall at 20 m and, 5 m away, a box from 0.2 m above the camera's axis down: its points."""
    azimuth = np.radians(np.arange(-25, 25, step_deg[0]))
    elevation = np.radians(np.arange(-15, 20, step_deg[1]))
    a, e = (grid.ravel() for grid in np.meshgrid(azimuth, elevation))
    rays = np.stack([np.tan(a), np.tan(e) / np.cos(a), np.ones_like(a)], axis=1)
    at_box = origin + rays * (FRONT - origin[2])
    on_box = in_box(at_box)
    points = np.where(on_box[:, None], at_box, origin + rays * (BACK - origin[2]))
    return points.astype(np.float32), on_box


def in_box(at):
    return (np.abs(at[:, 0]) < 1) & (at[:, 1] > -0.2)


def truly_hidden(points):
    """The wall's points whose way to the camera goes through the box."""
    return (points[:, 2] > FRONT + 1) & in_box(points * (FRONT / points[:, 2:]))


@pytest.mark.parametrize("step_deg", [(0.3, 1.2), (0.3, 1.06)], ids=["between rows", "on rows"])
def test_the_wall_seen_over_the_box_is_hidden_and_nothing_else(step_deg):
    points, _ = scan(step_deg=step_deg)
    hidden, truth = hidden_points(points, LIDAR), truly_hidden(points)
    assert truth.sum() > 100
    assert (hidden & truth).sum() / truth.sum() > 0.9
    assert (hidden & ~truth).sum() / (~truth).sum() < 0.01
    assert not hidden[points[:, 2] < FRONT + 1].any()  # what stands in front hides nothing of it


def test_without_parallax_the_camera_sees_what_the_lidar_sees():
    points, _ = scan(np.zeros(3))
    assert not hidden_points(points, np.zeros(3)).any()


@pytest.mark.parametrize("direction", [(0, 1), (1, 0), (-1, 0), (0, -1)])
def test_parallax_to_every_side(direction):
    """The same pair, turned: a far point that slides over a near one in the camera's view."""
    right, down = direction
    grid = np.radians(np.arange(-6, 6.1, 1.0))
    u, v = (g.ravel() for g in np.meshgrid(grid, grid))
    flat = np.stack([np.tan(u), np.tan(v)], axis=1)
    near = (flat @ [right, down]) > -1e-6  # the near half of the lidar's view lies that way
    depth = np.where(near, 4.0, 40.0)
    origin = np.array([-0.4 * right, -0.4 * down, 0.0])
    points = np.column_stack([flat * depth[:, None], depth]) + origin
    # From the camera the near edge has moved by 0.4 / 4 the other way, over the far points.
    hidden = hidden_points(points.astype(np.float32), origin)
    edge = -0.4 / 4
    shown_at = (points[:, :2] @ [right, down]) / points[:, 2]
    covered = ~near & (shown_at > edge + np.radians(0.5))
    assert covered.sum() > 10
    assert hidden[covered].mean() > 0.9
    assert not hidden[~near & (shown_at < edge - np.radians(1.0))].any()
    # Seen from the other side the halves move apart, and all is seen.
    mirrored = np.column_stack([flat * depth[:, None], depth]) - origin
    assert not hidden_points(mirrored.astype(np.float32), -origin).any()


def test_a_steep_road_under_the_lidar_is_not_hidden():
    elevation = np.radians(np.linspace(2, 30, 24))
    azimuth = np.radians(np.arange(-20, 20, 0.5))
    a, e = (g.ravel() for g in np.meshgrid(azimuth, elevation))
    rays = np.stack([np.tan(a), np.tan(e) / np.cos(a), np.ones_like(a)], axis=1)
    points = LIDAR + rays * (2.0 / rays[:, 1:2])  # a lidar 2 m, a camera 1.5 m above the road
    points = points[points[:, 2] > 1].astype(np.float32)
    depth = np.unique(points[:, 2].round(3))
    assert (np.diff(depth) / depth[1:]).max() > 0.05  # its rings lie farther apart than `nearer`
    assert not hidden_points(points, LIDAR).any()


def test_order_and_scale_of_the_scene_change_nothing():
    points, _ = scan()
    hidden = hidden_points(points, LIDAR)
    order = np.random.default_rng(0).permutation(len(points))
    assert (hidden_points(points[order], LIDAR) != hidden[order]).mean() < 0.002
    assert np.array_equal(hidden_points(points * 2, LIDAR * 2), hidden)


def test_options_say_how_much_goes():
    points, _ = scan()
    assert not hidden_points(points, LIDAR, OcclusionOptions(nearer=0.8)).any()  # 5 m of 20 m
    # Rows of the wall fall halfway between rows of the box: farther off than 0.4 spacings.
    assert not hidden_points(points, LIDAR, OcclusionOptions(reach=0.4)).any()
    assert hidden_points(points, LIDAR, OcclusionOptions(reach=0.6)).any()


def test_the_share_of_the_shift_by_hand():
    """One degree apart for the lidar; the camera, 1 cm lower, sees 0.43 degrees."""
    near = np.array([[0.01 * i, np.tan(np.radians(0.0)) - 0.01, 1.0] for i in range(-5, 6)])
    far = np.array([[i, 100 * np.tan(np.radians(-1.0)) - 0.01, 100.0] for i in range(-5, 6)])
    points = np.concatenate([near, far]).astype(np.float32)
    origin = np.array([0, -0.01, 0.0])
    gaps = [view_angles(points.astype(float) - o)[[5, 16], 1] for o in (origin, np.zeros(3))]
    share = (gaps[1][0] - gaps[1][1]) / (gaps[0][0] - gaps[0][1])
    assert share == pytest.approx(0.43, abs=0.01)
    for shift, expected in ((share - 0.02, False), (share + 0.02, True)):
        options = OcclusionOptions(shift=shift)
        assert hidden_points(points, origin, options)[16] == expected
        assert not hidden_points(points, origin, options)[:11].any()


def test_without_a_lidar_position_what_is_surrounded_is_hidden():
    points, _ = scan()
    hidden, truth = hidden_points(points, None), truly_hidden(points)
    assert (hidden & truth).sum() / truth.sum() > 0.7  # not the row at the upper edge
    assert (hidden & ~truth).sum() < 5  # what is beside the box has nearer points on one side
    assert not hidden[points[:, 2] < FRONT + 1].any()


def test_spacing_is_that_of_the_scan():
    points, _ = scan(step_deg=(0.3, 1.2))
    sideways, upright = np.degrees(scan_spacing(view_angles(points - LIDAR)))
    assert (sideways, upright) == pytest.approx((0.3, 1.2), rel=0.02)
    # One row of a planar scanner has no neighbours up or down, and hides nothing there.
    row = np.stack([np.linspace(-1, 1, 50), np.zeros(50), np.full(50, 5.0)], axis=1)
    assert np.isinf(scan_spacing(view_angles(row))[1])
    assert not hidden_points(row.astype(np.float32), LIDAR).any()


@pytest.mark.parametrize("count", [0, 1, 2, 3])
@pytest.mark.parametrize("origin", [LIDAR, None])
def test_a_few_points_hide_nothing(count, origin):
    points = np.array([[0, 0, 5], [1, 0, 9], [9, 9, 30.0]], np.float32)[:count]
    assert hidden_points(points, origin).tolist() == [False] * count


def test_points_in_one_place_are_no_error():
    points = np.tile(np.array([[0.5, 0.2, 7]], np.float32), (10, 1))
    assert not hidden_points(points, LIDAR).any()
    assert not hidden_points(points, None).any()


@pytest.mark.parametrize("origin", [LIDAR, None])
def test_a_scan_that_was_taken_many_times_is_one_scan(origin):
    """A vehicle that waits: its scans lie on each other, but for the noise."""
    points, _ = scan()
    rng = np.random.default_rng(2)
    often = np.concatenate(
        [points * (1 + rng.normal(0, 1e-5, (len(points), 3)).astype(np.float32)) for _ in range(6)]
    )
    spacing = scan_spacing(view_angles(often.astype(float) - LIDAR))
    assert np.degrees(spacing) == pytest.approx((0.3, 1.2), rel=0.05)
    hidden = hidden_points(often, origin).reshape(6, -1)
    assert (hidden == hidden_points(points, origin)).mean() > 0.98


def test_angles_by_hand():
    angles = view_angles(np.array([[1.0, 0, 1], [0, 1, 1], [0, -1, 0]]))
    np.testing.assert_allclose(np.degrees(angles), [[45, 0], [0, 45], [0, -90]], atol=1e-9)
