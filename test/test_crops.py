"""The windows of published KITTI figures."""

import numpy as np
import pytest

from rosam_core.evaluation.crops import crop_window, crop_words, cropped


@pytest.mark.parametrize(
    ("name", "size", "window"),
    [
        # 0.40810811 * 375 = 153.04, 0.99189189 * 375 = 371.96, 44.65 and 1197.35 of 1242
        ("garg", (375, 1242), (153, 371, 44, 1197)),
        # 0.40810811 * 370 is just above 151, 0.99189189 * 370 just below 367
        ("garg", (370, 1226), (151, 366, 44, 1181)),
        # 0.3324324 * 375 = 124.66, 0.91351351 * 375 = 342.57
        ("eigen", (375, 1242), (124, 342, 44, 1197)),
        # both just below 123 and 338
        ("eigen", (370, 1226), (122, 337, 44, 1181)),
        ("none", (375, 1242), (0, 375, 0, 1242)),
    ],
)
def test_windows_by_hand(name, size, window):
    assert crop_window(name, *size) == window


def test_the_truth_outside_is_not_known():
    truth = np.arange(60, dtype=np.float32).reshape(10, 6)
    inside = cropped(truth, "garg")
    # Rows 4.08 to 9.92, columns 0.22 to 5.78, cut to whole numbers.
    assert np.array_equal(inside[4:9, 0:5], truth[4:9, 0:5])
    assert np.isfinite(inside).sum() == 25
    assert np.isfinite(truth).all()
    assert cropped(truth, "none") is truth


def test_an_unknown_crop_is_refused():
    with pytest.raises(ValueError, match="garg, eigen or none, not 'Garg'"):
        crop_window("Garg", 10, 10)
    assert [crop_words(name) for name in ("garg", "eigen", "none")] == [
        "Garg crop",
        "Eigen crop",
        "",
    ]
