"""Scores of images and their summary by condition."""

import json

import numpy as np
import pytest

from rosam_core.evaluation.scoring import (
    by_condition,
    finite,
    format_table,
    frame_truth,
    score_image,
    summarise,
    table_rows,
)
from rosam_core.types import Camera, DepthPrediction, Frame

CAMERA = Camera(fx=10, fy=10, cx=1.5, cy=0.5, width=4, height=3)


def frame(condition="day-clear", **values):
    return Frame(np.zeros((3, 4, 3), np.uint8), CAMERA, 7, condition=condition, **values)


def scored(truth, depth, confidence, condition="day-clear", height=None):
    prediction = DepthPrediction(np.float32(depth), np.float32(confidence), CAMERA)
    return score_image(frame(condition), np.float32(truth), prediction, 0.1, 80, height)


FULL = np.full((3, 4), 10.0)


def test_one_image_by_hand():
    depth = FULL.copy()
    depth[0] = 20  # a third of the pixels is twice too far
    confidence = np.where(depth > 15, 0.25, 0.75)
    score = scored(FULL, depth, confidence)
    assert score.metric["abs_rel"] == pytest.approx(1 / 3)
    assert score.metric["delta1"] == pytest.approx(2 / 3)
    # 8 pixels correct at 0.75, 4 wrong at 0.25
    assert score.reliability.ece == pytest.approx(0.25)
    assert score.ause == pytest.approx(0, abs=1e-9)  # the wrong ones are the least trusted
    assert score.flat is None
    assert score.stamp_ns == 7


def test_confidence_that_ranks_wrongly_costs_ause():
    depth = FULL.copy()
    depth[0] = 20
    wrong = np.where(depth > 15, 0.75, 0.25)
    assert scored(FULL, depth, wrong).ause > 0.1


def test_unknown_depth_is_no_sample_of_the_calibration():
    depth = FULL.copy()
    depth[0] = np.nan
    score = scored(FULL, depth, np.full((3, 4), 1.0))
    assert int(score.reliability.count.sum()) == 8
    assert score.metric["coverage"] == pytest.approx(2 / 3)
    assert score.reliability.ece == 0


def test_flat_ground_row_and_ratio():
    # Row 2 is 1.5 px below the horizon: 1.5 * 10 / 1.5 = 10 m; row 1: 30 m; row 0: the cap.
    truth = np.full((3, 4), np.nan)
    truth[1:] = 20
    score = scored(truth, np.where(np.isnan(truth), 1, truth * 1.1), FULL * 0 + 0.9, height=1.5)
    assert score.flat["abs_rel"] == pytest.approx(0.5)
    summary = summarise([score])
    assert summary["flat_ground"]["abs_rel"] == pytest.approx(0.5)
    assert summary["flat_ground_ratio"] == pytest.approx(5, rel=1e-5)


def test_prediction_of_another_size_is_resized_to_the_truth():
    small = DepthPrediction(
        np.full((2, 2), 10, np.float32), np.full((2, 2), 0.5, np.float32), CAMERA
    )
    score = score_image(frame(), np.float32(FULL), small, 0.1, 80)
    assert score.metric["abs_rel"] == pytest.approx(0, abs=1e-6)
    assert score.metric["n"] == 12


def test_summary_pools_the_calibration_and_averages_the_rest():
    right = scored(FULL, FULL, FULL * 0 + 0.9, "night")
    wrong = scored(FULL, FULL * 2, FULL * 0 + 0.9, "day-clear")
    tables = by_condition([right, wrong])
    assert list(tables) == ["day-clear", "night", "all"]
    assert tables["all"]["metric"]["abs_rel"] == pytest.approx(0.5)
    # pooled: half of the pixels correct at 0.9, where each image alone is off by 0.1 and 0.9
    assert tables["all"]["ece"] == pytest.approx(0.4, abs=1e-6)
    assert tables["night"]["frames"] == 1
    assert "all" not in by_condition([right])


def test_table_shows_metric_and_median_scaled_and_says_which():
    summaries = by_condition([scored(FULL, FULL * 2, FULL * 0 + 0.9, height=1.5)])
    rows = table_rows(summaries)
    assert [row[2] for row in rows[1:]] == [
        "metric",
        "flat ground, metric",
        "median-scaled",
        "flat ground, median-scaled",
    ]
    assert rows[1][:4] == ["day-clear", "1", "metric", "1.000"]
    assert rows[3][3] == "0.000"
    median = table_rows(summaries, ("median_scaled",))
    assert [row[0] for row in median[1:]] == ["day-clear", ""]
    lines = format_table(rows).splitlines()
    assert len(lines) == len(rows) + 1
    assert lines[1] == "-" * max(len(line) for line in lines)


def test_truth_is_exact_depth_before_lidar():
    lidar = np.array([[0, 0.5, 5.0]], np.float32)  # falls at column 1.5, row 1.5
    exact = np.full((3, 4), 3, np.float32)
    assert frame_truth(frame(depth=exact, lidar=lidar)) is exact
    assert np.nanmax(frame_truth(frame(lidar=lidar))) == 5
    assert frame_truth(frame()) is None


def test_json_has_no_nan():
    nothing = scored(FULL * np.nan, FULL, FULL * 0 + 0.5)
    text = json.dumps(finite(summarise([nothing])), allow_nan=False)
    assert json.loads(text)["metric"]["abs_rel"] is None
