"""Which frames have neighbours that teach depth."""

import dataclasses

import numpy as np
import pytest
from moving_scene import CAMERA, STEP_NS, MovingScene, pose
from robotcar_samples import NAME, use_small_images, write_shared, write_table, write_traversal

from rosam_core.drives.neighbours import NeighbourOptions, find_targets
from rosam_core.drives.robotcar import RobotCarDrive


def places(drive, **options):
    """Frame: (previous, next)."""
    found = find_targets([drive], NeighbourOptions(**options))
    return {
        t.index: tuple(None if n is None else n.index for n in (t.previous, t.next)) for t in found
    }


def test_a_video_in_motion():
    assert places(MovingScene(4)) == {0: (None, 1), 1: (0, 2), 2: (1, 3), 3: (2, None)}
    assert places(MovingScene(4), need="both") == {1: (0, 2), 2: (1, 3)}
    assert places(MovingScene(5), step=2) == {
        0: (None, 2),
        1: (None, 3),
        2: (0, 4),
        3: (1, None),
        4: (2, None),
    }


def test_pose_and_time_between():
    target = find_targets([MovingScene(3)], NeighbourOptions())[1]
    for neighbour, index in ((target.previous, 0), (target.next, 2)):
        expected = np.linalg.inv(pose(index)) @ pose(1)
        np.testing.assert_allclose(neighbour.T_neighbour_target, expected, atol=1e-12)
        assert neighbour.seconds == pytest.approx(0.1)
        assert neighbour.distance_m == pytest.approx(np.linalg.norm([0.1, 0.02, 0.4]))
    unknown = find_targets([MovingScene(3, has_poses=False)], NeighbourOptions())[1].next
    assert (unknown.T_neighbour_target, unknown.distance_m) == (None, None)


def stop(moving_first=2, still=3):
    """Drives, stands, drives on."""
    steps = [*range(moving_first), *[moving_first] * still, moving_first + 1]
    return [pose(i) for i in steps]


def test_a_camera_that_stands_teaches_nothing():
    # Frames 2, 3 and 4 are one place: between them there is no neighbour.
    expected = {0: (None, 1), 1: (0, 2), 2: (1, None), 4: (None, 5), 5: (4, None)}
    assert places(MovingScene(poses=stop())) == expected
    assert 3 in places(MovingScene(poses=stop()), need="none")
    assert len(places(MovingScene(poses=stop()), min_speed_mps=0)) == 6
    slow = [pose(0), pose(0)]
    slow[1] = slow[1].copy()
    slow[1][2, 3] += 0.029  # 0.29 m/s
    assert places(MovingScene(poses=slow)) == {}
    assert places(MovingScene(poses=slow), min_speed_mps=0.28) == {0: (None, 1), 1: (0, None)}


def test_without_poses_the_images_tell():
    found = places(MovingScene(poses=stop(), has_poses=False))
    assert found == {0: (None, 1), 1: (0, 2), 2: (1, None), 4: (None, 5), 5: (4, None)}
    every = places(MovingScene(poses=stop(), has_poses=False), min_flow_px=0)
    assert len(every) == 6


def test_images_in_which_nothing_can_be_followed_are_kept():
    class Dark(MovingScene):
        def image(self, index):
            return np.zeros((112, 160, 3), np.uint8)

    assert len(places(Dark(3, has_poses=False))) == 3


class Damaged(MovingScene):
    """The second image of six cannot be read, the fifth is cut."""

    def image(self, index):
        if index == 1:
            raise ValueError("frame 1 does not decode")
        return super().image(index)[: 80 if index == 4 else None]


def test_a_damaged_image_is_no_neighbour_and_stops_nothing(caplog):
    assert places(Damaged(6, has_poses=False)) == {2: (None, 3), 3: (2, None)}
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert told == ["moving: frame 1 is nobody's neighbour: frame 1 does not decode"]


def test_a_damaged_image_that_a_list_names_stops_nothing():
    class Listed(Damaged):
        def stated_neighbours(self, index):
            return (index - 1, index + 1 if index < 5 else -1)

    assert places(Listed(6, has_poses=False)) == {2: (None, 3), 3: (2, None)}


class Rig(MovingScene):
    """Two cameras in turns, two scenes, a dropped stretch, and a camera that is exchanged."""

    def __init__(self):
        super().__init__(12)

    def glance(self, index):
        known = super().glance(index)
        camera = dataclasses.replace(CAMERA, fx=151.0) if index in (10, 11) else CAMERA
        late = 20 * STEP_NS if index >= 8 else 0
        return dataclasses.replace(
            known, camera_name=f"cam{index % 2}", stamp_ns=known.stamp_ns + late, camera=camera
        )

    def scene(self, index):
        return "one" if index < 4 else "two"


def test_neighbours_are_of_one_scene_and_camera_and_near_in_time():
    assert places(Rig()) == {
        0: (None, 2),
        1: (None, 3),
        2: (0, None),
        3: (1, None),  # the scene ends
        4: (None, 6),
        5: (None, 7),
        6: (4, None),
        7: (5, None),  # 2 s are missing
        # 8 and 10, 9 and 11 have other intrinsics
    }
    assert 7 in places(Rig(), max_gap_s=3.0)
    assert places(Rig(), max_gap_s=3.0)[7] == (5, 9)
    assert places(Rig(), max_gap_s=0.15) == {}


def test_only_pairs_that_are_needed_are_looked_at():
    looked = set()

    class Some(MovingScene):
        def whole(self):
            return self, [5]

        def image(self, index):
            looked.add(index)
            return super().image(index)

    drive = Some(10, has_poses=False)
    assert places(drive) == {5: (4, 6)}
    assert looked == {4, 5, 6}


@pytest.fixture
def traversal(tmp_path, monkeypatch):
    use_small_images(monkeypatch)
    write_shared(tmp_path)
    write_table(tmp_path)
    return write_traversal(tmp_path)


def split_of(traversal, line):
    folder = traversal.parent / "splits"
    folder.mkdir()
    path = folder / f"{NAME}_train.txt"
    path.write_text(line + "\n")
    return RobotCarDrive(traversal, split=path)


def test_neighbours_of_a_split_are_in_the_recording(traversal):
    stamps = RobotCarDrive(traversal).stamps.tolist()
    picked = split_of(traversal, f"{stamps[2]}")
    whole, chosen = picked.whole()
    assert (len(picked), len(whole), chosen) == (1, len(stamps), [2])
    assert whole.glance(3).stamp_ns == stamps[3] * 1000
    assert np.array_equal(whole.image(2), picked.image(0))
    assert np.array_equal(whole[2].image, picked[0].image)
    (target,) = find_targets([picked], NeighbourOptions())
    assert (target.previous.index, target.index, target.next.index) == (1, 2, 3)


def test_neighbours_that_a_split_lists_are_those(traversal):
    stamps = RobotCarDrive(traversal).stamps.tolist()
    picked = split_of(
        traversal,
        f"{stamps[0]} {stamps[2]} {stamps[4]}\n{stamps[1]} {stamps[3]} {stamps[3] + 5}",
    )
    first, second = find_targets([picked], NeighbourOptions())
    assert (first.previous.index, first.index, first.next.index) == (0, 2, 4)
    assert first.next.seconds == pytest.approx((stamps[4] - stamps[2]) / 1e6)
    T = first.drive.glance(4).T_world_camera
    expected = np.linalg.inv(T) @ first.drive.glance(2).T_world_camera
    np.testing.assert_allclose(first.next.T_neighbour_target, expected, atol=1e-9)
    assert (second.previous.index, second.next) == (1, None)  # an image that is not there
    assert find_targets([picked], NeighbourOptions(min_speed_mps=30)) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"need": "one"}, "need must be one of any, both, none, got 'one'"),
        ({"step": 0}, "1 or more frames"),
        ({"max_gap_s": 0}, "more than 0 s apart"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        NeighbourOptions(**options)
