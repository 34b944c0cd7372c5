"""Pairs of one view by clear day and in weather."""

import dataclasses
import json

import numpy as np
import pytest

pytest.importorskip("cv2")

from test_augmentation import PLAIN

from rosam_core.drives.paired_samples import PairedSamples
from rosam_core.drives.training_samples import DepthTarget, find_training_drives

TARGET = DepthTarget(canonical_focal_px=80.0)


def test_a_pair_shows_one_view_in_two_conditions(drives):
    options = dataclasses.replace(PLAIN, flip=0.5, crop=(0.6, 1.0), rotate=1.0)
    pairs = PairedSamples(drives, (96, 64), TARGET, options, 1, {"day-clear": 0.0})
    for position in range(6):
        sample = pairs[position]
        clear, night = (sample[name].astype(float) for name in ("clear", "image"))
        # The night of these drives is the day, at a third of the brightness.
        bright = clear > 60
        assert bright.any()
        np.testing.assert_allclose(clear[bright] / 3, night[bright], atol=2.0)
    assert len({float(pairs[i]["focal"]) for i in range(6)}) > 3


def test_what_lies_beside_the_picture_is_not_seen(drives):
    options = dataclasses.replace(PLAIN, rotate=1.0, rotate_deg=8.0)
    pairs = PairedSamples(drives, (96, 64), TARGET, options, 1)
    shares = []
    for position in range(6):
        sample = pairs[position]
        assert sample["seen"].shape == (1, 64, 96)
        assert not sample["image"][:, ~sample["seen"][0]].any()
        shares.append(sample["seen"].mean())
    assert 0.5 < min(shares) < 0.99
    whole = PairedSamples(drives, (96, 64), TARGET, PLAIN, 1)
    assert whole[0]["seen"].all()


def test_a_pair_is_sometimes_the_clear_day_twice(drives):
    pairs = PairedSamples(drives, (96, 64), TARGET, PLAIN, 1)
    same = [np.array_equal(pairs[i]["image"], pairs[i]["clear"]) for i in range(40)]
    assert 5 < sum(same) < 35


def test_pairs_need_a_clear_day(copied):
    described = copied / "drive_000001/drive.json"
    values = json.loads(described.read_text())
    described.write_text(json.dumps({**values, "conditions": ["night"]}))
    with pytest.raises(ValueError, match="drive_000001 has only night: pairs need day-clear"):
        PairedSamples(find_training_drives(copied), (96, 64), TARGET, PLAIN, 1)
