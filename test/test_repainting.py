"""Objects painted over: what must change, and what must not."""

from __future__ import annotations

import numpy as np

from rosam_core.drives.repainting import SMALLEST_PX, repaint_objects


def scene():
    """Returns a picture with texture, and three objects: large, small, too small."""
    rng = np.random.default_rng(0)
    image = rng.integers(60, 160, size=(48, 64, 3), dtype=np.uint8)
    instances = np.zeros((48, 64), np.uint16)
    instances[10:40, 5:30] = 7
    instances[20:30, 40:45] = 40000
    instances[2, 2 : 2 + SMALLEST_PX - 1] = 3
    return image, instances


def test_every_object_is_painted_and_nothing_else():
    image, instances = scene()
    before = image.copy()
    for seed in range(20):
        painted = repaint_objects(image, instances, 1.0, np.random.default_rng(seed))
        changed = (painted != image).any(axis=2)
        assert not changed[(instances == 0) | (instances == 3)].any()
        assert changed[instances == 7].mean() > 0.5
        assert changed[instances == 40000].mean() > 0.5
    np.testing.assert_array_equal(image, before)


def test_the_share_is_the_probability_of_an_object():
    image, instances = scene()
    painted = [
        (repaint_objects(image, instances, 0.3, rng) != image)[instances == 7].any()
        for rng in (np.random.default_rng(seed) for seed in range(300))
    ]
    assert abs(np.mean(painted) - 0.3) < 0.08


def test_nothing_to_paint_returns_the_picture():
    image, instances = scene()
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(repaint_objects(image, instances, 0.0, rng), image)
    np.testing.assert_array_equal(repaint_objects(image, instances * 0, 1.0, rng), image)


def test_paint_keeps_to_the_light_of_the_scene():
    """An object of a night stays dark: nothing is painted far brighter than it was lit."""
    image, instances = scene()
    dark = image // 8
    brightest = [
        repaint_objects(dark, instances, 1.0, np.random.default_rng(seed))[instances == 7].max()
        for seed in range(50)
    ]
    assert np.median(brightest) < 60


def test_the_same_seed_paints_the_same():
    image, instances = scene()
    first, second = (
        repaint_objects(image, instances, 0.7, np.random.default_rng(5)) for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)
