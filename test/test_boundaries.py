"""Boundaries against pairs counted by hand."""

import math

import numpy as np
import pytest

from rosam_core.evaluation.boundaries import (
    KINDS,
    RATIOS,
    boundary_rows,
    boundary_scores,
    mean_boundaries,
)

LIMITS = (0.1, 80.0)
WEIGHT = RATIOS / RATIOS.sum()


def step(low=10.0, high=20.0, column=4):
    """A wall that jumps from one depth to another at a column: six pairs, one a row."""
    depth = np.full((6, 9), low, np.float32)
    depth[:, column:] = high
    return depth


def test_a_jump_in_the_right_place_is_found_and_one_beside_it_is_not():
    truth = step()
    right = boundary_scores(truth, step(5, 30), *LIMITS)
    assert right == {"kind": "exact", "precision": 1, "recall": 1, "f1": 1, "n": 6}
    beside = boundary_scores(truth, step(column=5), *LIMITS)
    assert (beside["precision"], beside["recall"], beside["f1"]) == (0, 0, 0)
    # The wrong way round: far where it should be near.
    assert boundary_scores(truth, step(20, 10), *LIMITS)["f1"] == 0


def test_half_of_the_pairs_by_hand_in_both_directions_of_the_image():
    truth = step()
    prediction = step()
    prediction[3:, 4:] = 10  # half of the jump is missing; a new one below it, five pairs
    scores = boundary_scores(truth, prediction, *LIMITS)
    assert scores["recall"] == pytest.approx(3 / 6)
    assert scores["precision"] == pytest.approx(3 / (3 + 5))
    assert scores["f1"] == pytest.approx(2 * 3 / (6 + 8))
    turned = boundary_scores(truth.T.copy(), prediction.T.copy(), *LIMITS)
    assert turned == scores


def test_a_small_jump_counts_only_at_the_ratios_that_it_exceeds():
    # 10 to 11.2 m exceeds 1.05, 1.0722, 1.0944 and 1.1167, not the next six.
    scores = boundary_scores(step(), step(10, 11.2), *LIMITS)
    assert scores["recall"] == pytest.approx(WEIGHT[:4].sum())
    assert scores["precision"] == 1  # at the other six nothing was said
    assert scores["f1"] == pytest.approx(WEIGHT[:4].sum())
    assert RATIOS[[0, -1]].tolist() == pytest.approx([1.05, 1.25])


def test_scale_does_not_matter_inside_the_range():
    rng = np.random.default_rng(0)
    truth, depth = rng.uniform(2, 20, (2, 20, 30)).astype(np.float32)
    scores = boundary_scores(truth, depth, *LIMITS)
    assert 0 < scores["f1"] < 1
    assert boundary_scores(truth, 3 * depth, *LIMITS) == pytest.approx(scores)


def test_beyond_the_range_is_one_surface_and_the_sky_is_behind_everything():
    sky = step(10, np.inf)
    assert boundary_scores(sky, step(10, 95), *LIMITS)["f1"] == 1
    far = boundary_scores(step(90, np.inf), step(10, 20), *LIMITS)
    assert far["n"] == 0  # 90 m and the sky are both beyond 80 m
    assert math.isnan(far["recall"])
    assert far["precision"] == 0


def test_the_slope_of_one_object_is_neither_true_nor_false():
    truth = step()
    truth[:, 7:] = 40  # a second jump, inside one object
    ids = np.zeros((6, 9), np.uint16)
    ids[:, 4:] = 3
    steep, flat = truth, step()
    for prediction in (steep, flat):
        assert boundary_scores(truth, prediction, *LIMITS, ids)["f1"] == 1
    assert boundary_scores(truth, flat, *LIMITS)["recall"] == 0.5
    # Scenery and the sky have the id 0, both: between them there is a boundary all the same.
    sky = step(10, np.inf)
    assert boundary_scores(sky, sky, *LIMITS, np.zeros((6, 9), np.uint16))["n"] == 6
    # A jump that is not there is false, also inside an object.
    assert boundary_scores(step(), steep, *LIMITS, ids)["precision"] == 0.5


def test_unknown_depth_shows_no_boundary_and_unknown_truth_asks_for_none():
    truth, prediction = step(), step()
    prediction[:3] = np.nan
    scores = boundary_scores(truth, prediction, *LIMITS)
    assert (scores["precision"], scores["recall"]) == (1, 0.5)
    truth[:3] = np.nan
    assert boundary_scores(truth, step(), *LIMITS)["n"] == 3
    with pytest.raises(ValueError, match="differ in size"):
        boundary_scores(truth, prediction[:2], *LIMITS)


def lidar(depth):
    """One point in every tenth column and twentieth row, of a picture 1000 wide."""
    sparse = np.full_like(depth, np.nan)
    sparse[::20, ::10] = depth[::20, ::10]
    return sparse


def test_between_lidar_points_the_place_of_a_jump_does_not_matter():
    wall = np.full((40, 1000), 10, np.float32)
    wall[:, 505:] = 20  # between the points of columns 500 and 510
    truth = lidar(wall)
    beside, off = wall.copy(), wall.copy()
    beside[:, 501:] = 20
    off[:, 480:] = 20
    scores = boundary_scores(truth, beside, *LIMITS)
    assert scores == {"kind": "lidar", "precision": 1, "recall": 1, "f1": 1, "n": 2}
    assert boundary_scores(truth, off, *LIMITS)["f1"] == 0
    assert boundary_scores(truth, off, *LIMITS, of_lidar=False) is None
    assert boundary_scores(np.full_like(truth, np.nan), wall, *LIMITS) is None


def test_lidar_points_far_apart_or_of_other_bands_are_no_neighbours():
    truth = np.full((40, 1000), np.nan, np.float32)
    truth[0, 0], truth[0, 11] = 10, 20  # 11 px: more than 1 % of the width
    truth[5, 998], truth[6, 2] = 10, 20  # the last of a band of six rows, the first of the next
    truth[12, 500], truth[17, 510] = 10, 20  # one band
    scores = boundary_scores(truth, np.full((40, 1000), 5, np.float32), *LIMITS)
    assert scores["n"] == 1


def test_means_are_over_images_and_never_mix_lidar_with_exact_depth():
    def image(kind, f1, recall=0.5, n=4):
        return {"kind": kind, "precision": 0.25, "recall": recall, "f1": f1, "n": n}

    nan = float("nan")
    images = [image("exact", 0.2), image("exact", 0.4, nan, 0), image("lidar", 0.9), None]
    images.append({"kind": "exact", "precision": nan, "recall": nan, "f1": nan, "n": 0})
    means = mean_boundaries(images)
    assert means["exact"]["f1"] == pytest.approx(0.3)
    assert means["exact"]["recall"] == 0.5
    assert (means["exact"]["frames"], means["exact"]["n"]) == (2, 4)
    assert means["lidar"]["f1"] == 0.9
    assert mean_boundaries([None]) == {}
    rows = boundary_rows({"night": {"boundaries": means}, "fog": {}})
    assert [row[:3] for row in rows[1:]] == [
        ["night", "2", KINDS["exact"]],
        ["night", "1", KINDS["lidar"]],
    ]
    assert rows[1][3:] == ["0.250", "0.500", "0.300"]
