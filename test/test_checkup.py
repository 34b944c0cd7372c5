"""Faults of stamps, poses and intrinsics, each made on purpose."""

import dataclasses
import re

import numpy as np
import pytest

from rosam_core.drives.base import Glance
from rosam_core.drives.checkup import (
    check_cameras,
    check_poses,
    check_stamps,
    doubts,
    long_runs,
)
from rosam_core.drives.findings import ERROR, WARNING, Finding, in_words, ranges
from rosam_core.drives.survey import Track
from rosam_core.types import Camera

CAMERA = Camera(60, 60, 31.5, 23.5, 64, 48)


def track(stamps_s, xs=(), cameras=(), first=10):
    """Frames whose camera is at x [m], None for no pose; indices begin at `first`."""
    glances = []
    for i, stamp in enumerate(stamps_s):
        x = xs[i] if len(xs) else None
        T = None if x is None else np.eye(4)
        if T is not None:
            T[0, 3] = x
        camera = cameras[i] if len(cameras) else CAMERA
        glances.append(Glance(round(stamp * 1e9), camera, T))
    return Track("a", "camera", tuple(range(first, first + len(glances))), tuple(glances))


def tenths(count):
    return [0.1 * i for i in range(count)]


def test_a_good_track_has_no_fault():
    good = track(tenths(20), [0.5 * i for i in range(20)])
    assert check_stamps(good) == check_poses(good) == check_cameras(good) == []
    assert check_stamps(track([0.0])) == check_poses(track([0.0])) == []


def test_repeated_and_older_stamps():
    same, back = sorted(check_stamps(track([0, 0.1, 0.1, 0.2, 0.15, 0.25])), key=str)
    assert {same.frames, back.frames} == {(12,), (14,)}
    assert {same.severity, back.severity} == {ERROR}
    texts = same.message + back.message
    assert "1 frames have the stamp" in texts
    assert "1 frames are older than the one before them, by up to 0.050 s" in texts


def test_dropped_frames_are_counted():
    stamps = [*tenths(5), 0.7, 0.8, 1.0]  # 0.5 and 0.6 are missing, and 0.9
    (finding,) = check_stamps(track(stamps))
    assert finding.check == "dropped"
    assert finding.frames == (15, 17)
    assert "about 3 frames are missing in 2 gaps of up to 0.300 s, usual 0.100 s" in (
        finding.message
    )


def test_a_break_is_no_dropped_frame():
    stamps = [*tenths(5), *(100 + s for s in tenths(5)), 100.7]
    interrupted, dropped = check_stamps(track(stamps))
    assert interrupted.check == "interrupted"
    assert interrupted.frames == (15,)
    assert "1 breaks of up to 100 s" in interrupted.message
    assert "about 2 frames are missing in 1 gaps of up to 0.300 s" in dropped.message


def test_jitter_is_no_drop():
    assert check_stamps(track([0, 0.1, 0.23, 0.29, 0.4, 0.5])) == []


def test_missing_poses_and_standing_still():
    xs = [0.0, 0.5, 1.0, None, 2.0, 2.01, 2.02, 2.03, 2.04, 2.3]
    missing, still = check_poses(track(tenths(10), xs))
    assert missing.frames == (13,)
    assert "1 of 10 frames have no pose" in missing.message
    assert still.check == "stationary"
    assert still.frames == (15, 16, 17, 18)
    assert still.severity == WARNING


def test_a_drive_that_never_moves_is_an_error():
    (finding,) = check_poses(track(tenths(10), [0.0] * 10))
    assert finding.severity == ERROR
    assert "9 of 10 frames" in finding.message


def test_a_pose_that_jumps_is_named_on_both_sides():
    xs = [0.5 * i for i in range(10)]
    xs[5] += 3
    (finding,) = check_poses(track(tenths(10), xs))
    # 5 m/s, then 35, then 25 (backwards), then 5: changes of 300, 100 and 200 m/s2.
    assert finding.frames == (15, 16, 17)
    assert "up to 35 m/s, and 300 m/s2" in finding.message


def test_a_steady_speed_may_be_too_high():
    (finding,) = check_poses(track(tenths(10), [10.0 * i for i in range(10)]))
    assert "up to 100 m/s, and 0 m/s2" in finding.message


def test_poses_that_are_no_rigid_transform():
    good = track(tenths(4), [0.0, 0.5, 1.0, 1.5])
    scaled = good.glances[2].T_world_camera.copy()
    scaled[:3, :3] *= 1.1
    mirrored = scaled.copy()
    mirrored[:3, :3] = np.diag([1, 1, -1])
    for T in (scaled, mirrored):
        glances = list(good.glances)
        glances[2] = dataclasses.replace(glances[2], T_world_camera=T)
        (finding,) = check_poses(dataclasses.replace(good, glances=tuple(glances)))
        assert finding.frames == (12,)
        assert "1 poses are no rigid transforms" in finding.message


@pytest.mark.parametrize(
    ("camera", "doubt"),
    [
        (CAMERA, None),
        (Camera(8, 8, 31.5, 23.5, 64, 48), "152 degrees wide"),
        (Camera(600, 600, 31.5, 23.5, 64, 48), "6 degrees wide"),
        (Camera(60, 60, 10, 23.5, 64, 48), "cx 10.0 px is far from the middle of 64"),
        (Camera(60, 60, 31.5, 40, 64, 48), "cy 40.0 px is far from the middle of 48"),
        (Camera(60, 72, 31.5, 23.5, 64, 48), "not square .fy / fx = 1.20"),
        (Camera(8, 8, 31.5, 23.5, 64, 48, "equidistant", (0.1, 0, 0, 0)), None),
    ],
)
def test_doubtful_intrinsics(camera, doubt):
    found = doubts(camera)
    assert len(found) == (doubt is not None)
    if doubt:
        assert re.search(doubt, found[0])
        (finding,) = check_cameras(track(tenths(2), cameras=[camera, camera]))
        assert finding.frames == ()


def test_intrinsics_that_change_on_the_way():
    other = dataclasses.replace(CAMERA, fx=61.0)
    (finding,) = check_cameras(track(tenths(4), cameras=[CAMERA, CAMERA, other, other]))
    assert finding.frames == (12,)
    assert "change 1 times" in finding.message


def test_short_runs_are_dropped():
    flags = np.array([1, 1, 0, 1, 1, 1, 0, 1], bool)
    assert long_runs(flags, 3).astype(int).tolist() == [0, 0, 0, 1, 1, 1, 0, 0]


def test_frames_are_written_as_ranges():
    assert ranges([5, 3, 4, 9, 4]) == [(3, 5), (9, 9)]
    assert in_words([1, 2, 3, 7]) == "1-3, 7"
    assert in_words(range(0, 20, 2), most=2) == "0, 2 and 8 more"
    finding = Finding("stamps", ERROR, "wrong", "mend", (1, 2))
    assert finding.line() == "error: stamps: wrong (frames 1-2)"
    assert finding.to_json()["frames"] == [[1, 2]]
