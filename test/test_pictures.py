"""Pictures of depth: sizes that a video takes, and colours that mean what they should."""

import cv2
import numpy as np
import pytest

pytest.importorskip("matplotlib")

from rosam_core.evaluation.pictures import (
    VideoWriter,
    colorize_error,
    colorize_relative,
    contact_sheet,
    dilate_sparse,
    encode_animation,
    encode_jpeg,
    encode_png,
    fit,
    relative_error,
    side_by_side,
)

RED = np.zeros((33, 57, 3), np.uint8)
RED[..., 0] = 200


def test_panels_lie_side_by_side_over_a_caption_in_even_size():
    picture = side_by_side([RED, RED // 2, RED], 60, "night", "AbsRel 0.1")
    assert picture.shape[0] % 2 == picture.shape[1] % 2 == 0
    assert picture.shape[0] > 60
    width = 2 * round(57 / 33 * 60 / 2)
    assert picture.shape[1] == 3 * width + 2 * 4
    assert picture[30, width // 2].tolist() == [200, 0, 0]
    assert picture[30, width + 4 + width // 2].tolist() == [100, 0, 0]
    assert side_by_side([RED], 60).shape[0] == 60
    assert (picture[60:].max(axis=2) > 120).any()  # the caption is written


def test_fit_keeps_the_shape():
    boxed = fit(RED, 114, 114)
    assert boxed.shape == (114, 114, 3)
    filled = (boxed[..., 0] > 150).any(axis=1).sum()
    assert filled == 66  # 33 rows, doubled


def test_contact_sheet_stacks_rows_under_a_title():
    rows = [side_by_side([RED], 60) for _ in range(3)]
    sheet = contact_sheet(rows, "title")
    assert sheet.shape == (44 + 180, rows[0].shape[1], 3)
    with pytest.raises(ValueError, match="no pictures"):
        contact_sheet([], "title")


def test_points_grow_without_touching_the_rest():
    error = np.full((9, 9), np.nan, np.float32)
    error[4, 4] = 0.25
    grown = dilate_sparse(error, radius=1)
    assert (grown[3:6, 3:6] == 0.25).all()
    assert np.isnan(grown).sum() == 81 - 9


def test_of_points_that_meet_the_worse_is_seen_in_its_own_colour():
    error = np.full((1, 5), np.nan, np.float32)
    error[0, [1, 3]] = 0, 0.4
    grown = dilate_sparse(error, radius=1)
    np.testing.assert_array_equal(grown, np.float32([[0, 0, 0.4, 0.4, 0.4]]))
    right, wrong = colorize_relative(error)[0, [1, 3]].tolist()
    assert colorize_relative(grown)[0].tolist() == [right, right, wrong, wrong, wrong]


def test_relative_error_by_hand():
    truth = np.float32([[10, 10, 10, 10, np.nan, 0, np.inf]])
    depth = np.float32([[10, 14, np.nan, np.inf, 5, 5, 5]])
    expected = np.float32([[0, 0.4, *[np.nan] * 5]])
    np.testing.assert_allclose(relative_error(truth, depth), expected, rtol=1e-6)
    picture = colorize_error(truth, depth)
    assert picture[0, 2:].tolist() == [[60, 64, 70]] * 5


def test_video_plays_back(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", 10) as video:
        for level in (40, 120, 200):
            video.add(np.full((64, 96, 3), (level, 0, 0), np.uint8))
    reader = cv2.VideoCapture(str(tmp_path / "a.mp4"))
    frames = []
    while (got := reader.read())[0]:
        frames.append(got[1])
    assert [frame.shape for frame in frames] == [(64, 96, 3)] * 3
    reds = [frame[..., 2].mean() for frame in frames]
    assert reds == sorted(reds)
    assert frames[2][..., 2].mean() > frames[2][..., 0].mean() + 100  # red stays red


def test_video_that_cannot_be_written_is_an_error(tmp_path):
    with (
        pytest.raises(OSError, match="cannot write"),
        VideoWriter(tmp_path / "no" / "a.mp4", 1) as v,
    ):
        v.add(np.zeros((64, 64, 3), np.uint8))


def test_encodings_keep_the_order_of_the_channels():
    for data in (encode_png(RED), encode_jpeg(RED)):
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        assert decoded[0, 0, 2] > 190
        assert decoded[0, 0, 0] < 10


def test_animation_has_every_frame():
    import io

    from PIL import Image

    data = encode_animation([RED, RED // 2, RED // 4], 100)
    assert data[:4] == b"RIFF"
    assert Image.open(io.BytesIO(data)).n_frames == 3
