"""Which frames of drives a limit and a condition leave, and that only those are read."""

import collections

import numpy as np
import pytest

from rosam_core.drives.base import Drive, Glance
from rosam_core.drives.places import places_of, spread
from rosam_core.evaluation.protocol import score_drives
from rosam_core.types import Camera, DepthPrediction, Frame

CAMERA = Camera(10, 10, 3.5, 2.5, 8, 6)


class Rig(Drive):
    """Six cameras that take turns; ten scenes of as many frames each, the last one at night.

    The first image of the fourth scene has a pose that is none.
    """

    name = "rig"

    def __init__(self, turns=9):
        self.turns = turns
        self.read = []

    def __len__(self):
        return 10 * 6 * self.turns

    def scene(self, index):
        return f"scene-{index // (6 * self.turns)}"

    def glance(self, index):
        if index == 3 * 6 * self.turns:
            raise ValueError("no pose")
        condition = "night" if self.scene(index) == "scene-9" else "day-clear"
        stamp = 10**9 + index * 10**7
        return Glance(stamp, CAMERA, condition=condition, camera_name=f"camera_{index % 6}")

    def __getitem__(self, index):
        self.read.append(index)
        known = self.glance(index)
        return Frame(
            np.zeros((6, 8, 3), np.uint8),
            CAMERA,
            known.stamp_ns,
            condition=known.condition,
            camera_name=known.camera_name,
            depth=np.full((6, 8), 12, np.float32),
        )


def twelve(frame, drive, index):
    shape = frame.image.shape[:2]
    return DepthPrediction(
        np.full(shape, 12, np.float32), np.ones(shape, np.float32), CAMERA
    ), None


def evaluated(drive, tmp_path, **more):
    return score_drives(twelve, tmp_path, kind="frames", drives=[drive], **more)


def test_spread_does_not_fall_in_step_with_the_drives():
    many = places_of([Rig()])[:400]
    kept = [index for _, index in spread(many, 40)]
    assert len(kept) == len(set(kept)) == 40
    assert kept == sorted(kept)
    assert {index % 4 for index in kept} == {0, 1, 2, 3}
    assert spread(many, 40) == spread(many, 40)
    assert spread(many[:3], 9) == many[:3]


def test_frames_of_a_condition_are_found_without_reading_any():
    drive = Rig()
    night = places_of([drive], ["night"])
    # The one that cannot be glanced at stays for its reader to name.
    assert [index for _, index in night] == [162, *range(486, 540)]
    assert len(places_of([drive])) == 540
    assert not drive.read


def test_a_limit_picks_among_the_frames_of_the_condition(tmp_path):
    drive = Rig()
    found = evaluated(drive, tmp_path, conditions=["night"], limit=5)
    assert {score.condition for score in found.scores} == {"night"}
    assert len(found.scores) + len(found.skipped) == len(drive.read) == 5


def test_no_image_of_another_condition_is_read(tmp_path):
    drive = Rig()
    found = evaluated(drive, tmp_path, conditions=["night"])
    assert len(found.scores) == 54
    assert found.skipped == ["scene-3 frame 162: no pose"]
    assert drive.read == [162, *range(486, 540)]


def test_a_limit_shows_every_camera_and_keeps_the_order(tmp_path):
    drive = Rig()
    found = evaluated(drive, tmp_path, limit=90)  # every 6th frame
    shares = collections.Counter(score.camera_name for score in found.scores)
    assert len(shares) == 6
    assert max(shares.values()) < 30
    assert drive.read == sorted(drive.read)
    scenes = collections.Counter(drive.scene(index) for index in drive.read)
    assert list(scenes.values()) == [9] * 10


def test_a_condition_that_no_frame_has_is_named(tmp_path):
    drive = Rig(turns=1)
    drive.glance = lambda index: Glance(index, CAMERA, condition="day-clear")
    with pytest.raises(ValueError, match="has no frame of condition fog, night"):
        evaluated(drive, tmp_path, conditions=["fog", "night"])
    assert not drive.read
