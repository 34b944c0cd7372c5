import numpy as np
import pytest

from rosam_core.runtime.colormap import colorize_confidence, colorize_depth


def brightness(rgb: np.ndarray) -> np.ndarray:
    return rgb.astype(int).sum(axis=-1)


def test_near_is_bright_and_unknown_alone_is_black() -> None:
    depth = np.array([[0.3, 1, 2, 5, 10, 20, 40, 80, 300, np.inf, np.nan]], np.float32)
    rgb = colorize_depth(depth)
    assert rgb.shape == (1, 11, 3)
    assert rgb.dtype == np.uint8
    light = brightness(rgb)[0]
    assert (np.diff(light[1:8]) < 0).all()
    assert light[0] == light[1]  # nearer than 1 m is as bright as 1 m
    assert light[7] == light[8] == light[9] > 0  # beyond range is dark, not black
    assert light[10] == 0


def test_range_sets_the_farthest_colour() -> None:
    depth = np.full((1, 1), 20.0, np.float32)
    far = colorize_depth(np.full((1, 1), np.inf, np.float32))
    assert (colorize_depth(depth, 20.0) == far).all()
    assert brightness(colorize_depth(depth, 100.0)) > brightness(far)
    with pytest.raises(ValueError, match="greater than 1"):
        colorize_depth(depth, 1.0)


def test_magma_is_rgb_and_not_bgr() -> None:
    red, _, blue = colorize_depth(np.full((1, 1), 2.0, np.float32))[0, 0]
    assert red > blue  # magma's bright end is orange to yellow


def test_confidence_runs_from_violet_to_yellow() -> None:
    rgb = colorize_confidence(np.array([[0.0, 0.5, 1.0, np.nan]], np.float32))
    np.testing.assert_array_equal(rgb[0, 0], rgb[0, 3])
    assert (np.diff(brightness(rgb)[0, :3]) > 0).all()
    np.testing.assert_allclose(rgb[0, 0], (68, 1, 84), atol=2)  # viridis, as published
    np.testing.assert_allclose(rgb[0, 2], (253, 231, 37), atol=2)
