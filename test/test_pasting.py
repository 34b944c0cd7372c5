"""Objects of one frame in another: size and foot by hand, what hides what, who may move."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

cv2 = pytest.importorskip("cv2")

from rosam_core.drives.pasting import RenderedFrame, paste_objects
from rosam_core.types import Camera

CAMERA = Camera(100.0, 100.0, 79.5, 39.5, 160, 80)
LEVEL = np.array([0.0, -1.0, 0.0, 1.5])  # up is -y; 1.5 m above the ground
RED = (200, 10, 10)


def street(camera=CAMERA, ground=LEVEL):
    """Returns a level street under an empty sky."""
    v = np.arange(camera.height)[:, None] - camera.cy
    with np.errstate(divide="ignore"):
        depth = np.where(v > 0, ground[3] * camera.fy / v, np.inf)
    depth = np.broadcast_to(depth, (camera.height, camera.width)).astype(np.float32)
    image = np.full((camera.height, camera.width, 3), 90, np.uint8)
    instances = np.zeros((camera.height, camera.width), np.uint16)
    return RenderedFrame(image, depth.copy(), instances, camera, ground)


def with_board(frame, depth, width, height, x=0.0, number=7, colour=RED):
    """Puts an upright red board on the street, `x` to the right of the middle [m]."""
    camera = frame.camera
    u = np.arange(camera.width)[None] - camera.cx
    v = np.arange(camera.height)[:, None] - camera.cy
    beside, below = u * depth / camera.fx, v * depth / camera.fy
    foot = frame.ground[3]
    inside = (abs(beside - x) <= width / 2) & (below <= foot) & (below >= foot - height)
    for values, value in (
        (frame.image, colour),
        (frame.depth, depth),
        (frame.instances, number),
    ):
        values[inside] = value
    return frame


def pasted_board(frame, donor, nearer=1.0, seeds=60):
    """Yields the frames of many seeds that took the board, with its mask."""
    for seed in range(seeds):
        result = paste_objects(frame, donor, nearer, np.random.default_rng(seed))
        mask = result.instances > 0
        if mask.any():
            yield result, mask


def extent(mask):
    x, y, w, h = cv2.boundingRect(mask.astype(np.uint8))
    return x, y, w, h


def test_a_board_keeps_its_metres_and_stands_on_the_ground():
    donor = with_board(street(), depth=12.0, width=2.0, height=1.6)
    whole = 0
    for result, mask in pasted_board(street(), donor, nearer=0.4):
        x, y, w, h = extent(mask)
        depth = float(np.median(result.depth[mask]))
        assert 0.4 * 12 - 0.01 <= depth <= 12.01
        np.testing.assert_allclose(result.depth[mask], depth, rtol=1e-5)
        if x > 0 and x + w < 160 and y + h < 80:  # not cut off by the border
            whole += 1
            pixels = (12.0 + 1.5 * depth) / 100  # one of the donor's and one and a half of ours
            assert w * depth / 100 == pytest.approx(2.0, abs=pixels)
            assert h * depth / 100 == pytest.approx(1.6, abs=pixels)
            assert (y + h - 0.5 - 39.5) * depth / 100 == pytest.approx(1.5, abs=0.2)
        inner = cv2.erode(np.pad(mask, 2, mode="edge").astype(np.uint8), np.ones((5, 5)))
        assert (result.image[inner[2:-2, 2:-2] > 0] == RED).all()
        assert (result.image[mask][:, 0] > 150).all()  # little of the road it stood on
    assert whole > 20


def test_another_camera_sees_it_where_and_as_large_as_it_would_be():
    donor = with_board(street(), depth=10.0, width=2.0, height=1.6)
    camera = Camera(200.0, 200.0, 150.0, 60.0, 320, 160)
    sine, cosine = np.sin(0.1), np.cos(0.1)  # 0.1 rad down, so up leans forward
    other = street(camera, np.array([0.0, -1.0, 0.0, 2.0]))
    tilted = dataclasses.replace(other, ground=np.array([0.0, -cosine, -sine, 2.0]))
    heights = []
    for frame in (other, tilted):
        everything = dataclasses.replace(frame, depth=np.full_like(frame.depth, np.inf))
        rows = []
        for result, mask in pasted_board(everything, donor):
            x, y, w, h = extent(mask)
            assert np.median(result.depth[mask]) == pytest.approx(10.0)
            if x > 0 and x + w < 320:
                assert w == pytest.approx(2.0 * 200 / 10, abs=3)
            rows.append(y + h - 0.5)
        heights.append(np.median(rows))
    # Ground at depth Z: row = cy + fy tan(...): (height - sine Z) / cosine below the axis.
    assert heights[0] == pytest.approx(60 + 200 * 2.0 / 10, abs=2)
    assert heights[1] == pytest.approx(60 + 200 * (2.0 - sine * 10) / cosine / 10, abs=2)


def with_slanted_wall(frame, near, far, height, number=7):
    """Puts an upright wall on the street, its left end `near`, its right end `far` [m]."""
    camera = frame.camera
    u, v = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
    ray = (u - camera.cx) / camera.fx
    # From (-1, near) to (1, far): x = ray Z on the line through both.
    depth = (near + far) / (2 - (far - near) * ray)
    x, y = ray * depth, (v - camera.cy) / camera.fy * depth
    foot = frame.ground[3]
    inside = (abs(x) <= 1) & (y <= foot) & (y >= foot - height)
    frame.image[inside], frame.instances[inside] = RED, number
    frame.depth[inside] = depth[inside]
    return frame


def test_what_reaches_into_the_distance_stands_on_the_ground_with_both_ends():
    donor = with_slanted_wall(street(), 9.0, 12.0, 1.4)
    found = 0
    for result, mask in pasted_board(street(), donor, nearer=0.4):
        x, y, w, h = extent(mask)
        if x == 0 or x + w == 160 or y + h == 80 or result.depth[mask].max() > 8:
            continue
        found += 1
        for column in (x + 2, x + w // 2, x + w - 3):
            foot = np.nonzero(mask[:, column])[0].max()
            metres = (foot + 0.5 - CAMERA.cy) / CAMERA.fy * result.depth[foot, column]
            assert metres == pytest.approx(1.5, abs=0.15)  # two pixels at 8 m
        shape = result.depth[mask].max() / result.depth[mask].min()
        assert shape == pytest.approx(12 / 9, rel=0.04)
    assert found > 5


def test_what_is_nearer_hides_it_and_stays_as_it_was():
    donor = with_board(street(), depth=12.0, width=2.0, height=1.6)
    wall = street()
    wall.depth[:, 60:100] = np.minimum(wall.depth[:, 60:100], 5.0)
    seen = 0
    for result, mask in pasted_board(wall, donor):
        assert not mask[:, 60:100].any()
        np.testing.assert_array_equal(result.depth[~mask], wall.depth[~mask])
        np.testing.assert_array_equal(result.image[~mask], wall.image[~mask])
        assert (result.depth[mask] < wall.depth[mask]).all()
        seen += 1
    assert seen > 20
    assert not wall.instances.any()  # the frame itself is left alone


def hidden(frame):
    return with_board(frame, depth=6.0, width=0.3, height=1.4, number=0)


def cut(frame):
    frame.instances[:], frame.depth[:] = np.roll((frame.instances, frame.depth), -72, axis=2)
    return frame


def long(frame):
    inside = frame.instances == 7
    frame.depth[inside] = np.linspace(8, 20, int(inside.sum()), dtype=np.float32)
    return frame


def of_sky(frame):
    frame.depth[frame.instances == 7] = np.inf
    return frame


@pytest.mark.parametrize("spoil", [hidden, cut, long, of_sky])
def test_what_is_not_whole_stays_where_it_is(spoil):
    donor = with_board(street(), depth=12.0, width=2.0, height=1.6)
    assert any(True for _ in pasted_board(street(), donor))
    assert not any(True for _ in pasted_board(street(), spoil(donor)))


def test_no_objects_and_unknown_depth():
    assert not any(True for _ in pasted_board(street(), street()))
    unknown = street()
    unknown.depth[:] = np.nan
    donor = with_board(street(), depth=12.0, width=2.0, height=1.6)
    assert not any(True for _ in pasted_board(unknown, donor))


def test_a_camera_on_its_side_takes_nothing():
    donor = with_board(street(), depth=12.0, width=2.0, height=1.6)
    aside = dataclasses.replace(street(), ground=np.array([1.0, 0.0, 0.0, 1.5]))
    assert not any(True for _ in pasted_board(aside, donor))
    aside = dataclasses.replace(donor, ground=aside.ground)
    assert not any(True for _ in pasted_board(street(), aside))


def test_the_same_generator_gives_the_same_picture():
    donor = with_board(street(), depth=12.0, width=2.0, height=1.6)
    first, second = (
        paste_objects(street(), donor, 0.3, np.random.default_rng(4)) for _ in range(2)
    )
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.depth, second.depth)
