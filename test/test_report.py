"""The report is one file, says what it was given, and shows the right pictures."""

import base64
import re

import cv2
import numpy as np
import pytest

pytest.importorskip("matplotlib")

from rosam_core.evaluation.figures import (
    error_over_time,
    latency_histogram,
    reliability_diagram,
    risk_coverage_plot,
)
from rosam_core.evaluation.report import (
    Card,
    Example,
    Figure,
    Report,
    Table,
    example_panels,
    render_report,
    write_report,
)


def example(truth=None, is_sparse=False, metres=10):
    depth = np.full((30, 40), metres, np.float32)
    return Example(
        "night, worst",
        "AbsRel 0.5",
        np.full((30, 40, 3), 90, np.uint8),
        depth,
        np.full((30, 40), 0.5, np.float32),
        truth,
        is_sparse,
    )


def report(**changes):
    values = {
        "title": "a <b> & c",
        "lead": "One sentence.",
        "hero": b"",
        "cards": [Card("AbsRel", "0.123", "metric")],
        "tables": [
            Table("By condition", [["condition", "AbsRel"], ["night", "0.2"], ["", "0.3"]])
        ],
        "figures": [],
        "examples": [example()],
        "notes": ["noted"],
        "links": [("video", "demo.mp4")],
    }
    return Report(**{**values, **changes})


def test_texts_are_escaped_and_all_there():
    page = render_report(report())
    assert "<title>a &lt;b&gt; &amp; c</title>" in page
    assert "a <b> & c" not in page
    for text in ("One sentence.", "0.123", "By condition", "night, worst", "AbsRel 0.5", "noted"):
        assert text in page
    assert '<a href="demo.mp4">video</a>' in page
    assert "$" not in re.sub(r"base64,[^\"]*", "", page)  # every placeholder was filled


def test_nothing_is_loaded_from_outside():
    page = render_report(report(figures=[Figure("plot", latency_histogram([1.0, 2.0, 3.0]))]))
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert sources
    assert all(s.startswith("data:image/") or s == "demo.mp4" for s in sources)
    assert "url(" not in page
    assert "http" not in re.sub(r"base64,[^\"]*", "", page)


def test_pictures_decode_to_what_they_show():
    page = render_report(report())
    alts = dict(re.findall(r'alt="(\w+)" src="data:image/jpeg;base64,([^"]+)"', page))
    assert list(alts) == ["image", "depth", "confidence"]  # no truth, no error panel
    data = np.frombuffer(base64.b64decode(alts["image"]), np.uint8)
    picture = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert picture.shape[1] / picture.shape[0] == pytest.approx(40 / 30, rel=0.01)
    assert abs(float(picture.mean()) - 90) < 2


def test_rows_without_a_name_belong_to_the_row_above():
    page = render_report(report())
    assert page.count("<tr class=group>") == 1
    assert "<td class=left>night</td><td>0.2</td>" in page


def test_error_panel_tells_right_from_wrong_and_unknown():
    truth = np.full((30, 40), 10, np.float32)
    truth[:, 20:] = 5  # the prediction of 10 m is off by 100 %
    truth[:10] = np.nan
    panels = dict(example_panels(example(truth), 80))
    error = panels["error"].astype(int)
    right, wrong, unknown = error[20, 5], error[20, 30], error[5, 5]
    assert right[2] > right[0]  # blue
    assert wrong[0] > wrong[2]  # red
    assert np.ptp(unknown) < 15  # grey


@pytest.mark.parametrize("is_sparse", [False, True])
def test_depth_beyond_the_range_has_the_error_that_is_scored(is_sparse):
    truth = np.full((30, 40), 64, np.float32)
    truth[:, 20:] = 100  # not scored with an end of 80 m
    beyond, far, end = (
        dict(example_panels(example(truth, is_sparse, metres), 80))["error"]
        for metres in (np.inf, 300, 80)
    )
    np.testing.assert_array_equal(beyond, end)
    np.testing.assert_array_equal(far, end)
    assert np.ptp(end[5, 5].astype(int)) > 50  # 25 % of 64 m
    assert np.ptp(end[5, 30].astype(int)) < 15  # grey
    unknown = dict(example_panels(example(truth, is_sparse, np.nan), 80))["error"]
    assert np.ptp(unknown.astype(int), axis=2).max() < 15


@pytest.mark.parametrize(
    ("end", "ticks"),
    [
        (80.0, ["1 m", "2 m", "5 m", "10 m", "80 m"]),
        (50.0, ["1 m", "2 m", "5 m", "10 m", "50 m"]),
        (12.5, ["1 m", "2 m", "5 m", "12.5 m"]),
        (1.5, ["1 m", "1.5 m"]),
    ],
)
def test_colours_of_depth_are_named_to_their_far_end(end, ticks):
    page = render_report(report(max_depth_m=end))
    found = re.findall(r'<i style="left:([\d.]+)%">([\d.]+ m)</i>', page)
    assert [name for _, name in found] == ticks
    assert [float(place) for place, _ in found][:: len(ticks) - 1] == [0, 100]


def test_lone_lidar_points_are_enlarged_over_the_image():
    truth = np.full((30, 40), np.nan, np.float32)
    truth[15, 20] = 5
    dense = dict(example_panels(example(truth), 80))["error"]
    sparse = dict(example_panels(example(truth, is_sparse=True), 80))["error"]
    assert (np.ptp(dense.astype(int), axis=2) > 50).sum() == 1
    assert (np.ptp(sparse.astype(int), axis=2) > 50).sum() == 9


def test_file_is_written_with_its_folder(tmp_path):
    write_report(tmp_path / "new" / "report.html", report(examples=[]))
    assert (tmp_path / "new" / "report.html").read_text("utf-8").startswith("<!doctype html>")


def test_plots_are_pictures_even_of_little_data():
    count = [0] * 14 + [10]
    curve = {"count": count, "confidence": [None] * 14 + [0.95], "accuracy": [None] * 14 + [0.9]}
    plots = [
        reliability_diagram({"night": {"reliability": curve, "ece": 0.05}}),
        error_over_time([0.0], [0.1], ["night"]),
        error_over_time([0.0, 1, 2], [0.1, np.nan, 0.3], ["night", "night", "fog"], [1, 1, 1]),
        latency_histogram([3.0]),
        risk_coverage_plot({"fog": (np.array([0.5, 1.0]), np.array([0.1, 0.2]))}),
    ]
    for plot in plots:
        picture = cv2.imdecode(np.frombuffer(plot, np.uint8), cv2.IMREAD_COLOR)
        assert picture.std() > 5
