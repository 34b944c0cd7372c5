"""Faults that only images show, made on purpose with a camera that turns in a far world."""

import dataclasses
import math

import cv2
import numpy as np
import pytest

from rosam_core.drives.base import Drive
from rosam_core.drives.findings import ERROR
from rosam_core.drives.image_checkup import diagnose, spread
from rosam_core.drives.pair_motion import WIDTH, fit_rotation, measure_pair, rotation_vector
from rosam_core.types import Camera, Frame

HEIGHT = 200
CAMERA = Camera(250, 250, 159.5, 99.5, WIDTH, HEIGHT)
WORLD = Camera(250, 250, 399.5, 149.5, 800, 300)  # what is painted on the sky


def yaw(angle):
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


@pytest.fixture(scope="module")
def sky():
    noise = np.random.default_rng(0).integers(0, 255, (75, 200), np.uint8)
    return cv2.resize(noise, (WORLD.width, WORLD.height), interpolation=cv2.INTER_CUBIC)


def look(sky, rotation, gain=1.0, zoom=1.0):
    """The sky seen by a camera of which `rotation` maps rays to the world's."""
    K = CAMERA.K.copy()
    K[:2, :2] *= zoom
    pixels = K @ rotation.T @ np.linalg.inv(WORLD.K)
    seen = cv2.warpPerspective(sky, pixels, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR)
    return np.clip(seen * gain, 0, 255).astype(np.uint8)


class TurningDrive(Drive):
    """Swings left and right by 0.2 rad in 2 s, at 10 Hz; poses may be wrong in a stated way."""

    name = "turning"

    def __init__(self, sky, frames=40, pose=None, gains=(), camera=CAMERA, repeat=(), zoom=1.0):
        self.sky, self.frames, self.pose, self.gains = sky, frames, pose, gains
        self.camera, self.repeat, self.zoom = camera, repeat, zoom
        self.broken = set()
        self.late = frames  # from this frame on, half a second has passed unseen

    def angle(self, seconds):
        return 0.2 * math.sin(math.pi * seconds)

    def __len__(self):
        return self.frames

    def __getitem__(self, index):
        if index in self.broken:
            raise ValueError("truncated")
        seconds = (index - (index in self.repeat)) / 10
        gain = 0.5 * (self.gains[index] if len(self.gains) else 1.0)
        grey = look(self.sky, yaw(self.angle(seconds)), gain, self.zoom**index)
        T = None
        if self.pose:
            T = np.eye(4)
            T[:3, :3] = self.pose(index / 10)
        return Frame(np.repeat(grey[..., None], 3, 2), self.camera, self.stamp_ns(index), T)

    def stamp_ns(self, index):
        return index * 10**8 + (index >= self.late) * 5 * 10**8

    def glance(self, index):
        broken, self.broken = self.broken, set()
        try:
            return super().glance(index)
        finally:
            self.broken = broken


def findings(drive, **options):
    (diagnosis,) = diagnose(drive, **options)
    return {finding.check: finding for finding in diagnosis.findings}


def test_a_turn_is_measured_and_leaves_no_parallax(sky):
    motion = measure_pair(look(sky, yaw(0)), look(sky, yaw(0.03)), CAMERA)
    # A ray that was straight ahead is seen to the left: R_after_before = yaw(-0.03).
    np.testing.assert_allclose(rotation_vector(motion.rotation), [0, -0.03, 0], atol=5e-4)
    assert motion.flow_px == pytest.approx(250 * 0.03, rel=0.15)
    assert motion.parallax_px < 0.2
    assert abs(motion.exposure) < 0.05


def test_coming_nearer_is_parallax_and_no_turn(sky):
    motion = measure_pair(look(sky, yaw(0)), look(sky, yaw(0), zoom=1.05), CAMERA)
    # Points move outwards by a twentieth of their distance from the middle, at most 188 px.
    assert 4 < motion.parallax_px < 9
    assert np.abs(rotation_vector(motion.rotation)).max() < 2e-3


def test_brightness_is_told_in_stops(sky):
    dark, bright = look(sky, yaw(0), 0.4), look(sky, yaw(0), 0.8)
    assert measure_pair(dark, bright, CAMERA).exposure == pytest.approx(1, abs=0.05)
    assert np.isnan(measure_pair(dark * 0, bright * 0, CAMERA).flow_px)


def test_rotation_is_fitted_to_what_is_far(sky):
    rays = np.random.default_rng(1).normal(size=(100, 3)) * 0.3 + [0, 0, 1]
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    turn = cv2.Rodrigues(np.array([0.02, -0.05, 0.03]))[0]
    later = rays @ turn.T
    later[:30] += [0.05, 0, 0]  # near things, shifted
    later /= np.linalg.norm(later, axis=1, keepdims=True)
    np.testing.assert_allclose(rotation_vector(fit_rotation(rays, later)), [0.02, -0.05, 0.03],
                               atol=1e-3)  # fmt: skip


def test_good_poses_agree_and_only_the_parallax_is_missed(sky):
    drive = TurningDrive(sky)
    drive.pose = lambda t: yaw(drive.angle(t))
    found = findings(drive)
    assert set(found) == {"stationary", "parallax"}  # it turns, but never leaves its place
    assert "a camera that only turns" in found["parallax"].remedy


@pytest.mark.parametrize("offset", [0.2, -0.3])
def test_an_offset_between_clocks_is_found(sky, offset):
    drive = TurningDrive(sky)
    drive.pose = lambda t: yaw(drive.angle(t - offset))
    finding = findings(drive)["time offset"]
    assert finding.severity == ERROR
    assert f"{abs(offset):.1f}" in finding.message
    assert ("late" if offset > 0 else "early") in finding.message
    shift = float(finding.remedy.split()[7])
    assert shift == pytest.approx(-offset, abs=0.021)


@pytest.mark.parametrize(
    ("wrong", "remedy"),
    [
        (lambda turn: turn.T, "invert them"),
        (lambda turn: turn @ [[0, 0, 1], [-1, 0, 0], [0, -1, 0]], "not of the vehicle"),
    ],
)
def test_poses_of_something_else_are_found(sky, wrong, remedy):
    drive = TurningDrive(sky)
    drive.pose = lambda t: wrong(yaw(drive.angle(t)))
    finding = findings(drive)["poses"]
    assert finding.severity == ERROR
    assert "do not turn as the images do" in finding.message
    assert remedy in finding.remedy


def test_a_wrong_focal_length_is_found(sky):
    stated = dataclasses.replace(CAMERA, fx=400.0, fy=400.0)
    drive = TurningDrive(sky, camera=stated)
    drive.pose = lambda t: yaw(drive.angle(t))
    finding = findings(drive)["intrinsics"]
    told = float(finding.remedy.split("about ")[1].split()[0])
    assert told == pytest.approx(250, rel=0.05)


def test_repeated_pictures_exposure_and_damage(sky):
    gains = [1.0] * 20 + [1.4] * 20
    drive = TurningDrive(sky, gains=gains, repeat=(7,))
    drive.broken = {30}
    found = findings(drive)
    assert found["duplicate"].frames == (7,)
    assert found["exposure"].frames == (20,)
    assert "factor of up to 1.4" in found["exposure"].message
    assert found["unreadable"].frames == (30,)
    assert "frame 30: truncated" in found["unreadable"].message


def test_standing_still_shows_without_poses(sky):
    drive = TurningDrive(sky, frames=20)
    drive.angle = lambda t: 0.1 * min(t, 0.5)
    generator = np.random.default_rng(2)
    still = drive.__getitem__

    def noisy(index):
        frame = still(index)
        noise = generator.integers(-2, 3, frame.image.shape)
        return dataclasses.replace(
            frame, image=np.clip(frame.image + noise, 0, 255).astype(np.uint8)
        )

    drive.__class__ = type("Noisy", (TurningDrive,), {"__getitem__": lambda _, i: noisy(i)})
    found = findings(drive)
    assert found["stationary"].frames == tuple(range(6, 20))
    assert "duplicate" not in found


def test_the_same_picture_throughout_is_no_standing_still(sky):
    drive = TurningDrive(sky, frames=12)
    drive.angle = lambda t: 0.0
    found = findings(drive)
    assert found["duplicate"].frames == tuple(range(1, 12))
    assert "stationary" not in found


def test_pairs_across_a_gap_are_not_compared(sky):
    drive = TurningDrive(sky, frames=12, gains=[1.0] * 6 + [1.6] * 6)
    drive.late = 6
    found = findings(drive)
    assert found["dropped"].frames == (6,)
    assert "exposure" not in found


def test_too_little_turning_says_nothing_of_poses(sky):
    drive = TurningDrive(sky)
    drive.pose = lambda t: yaw(-0.1 * drive.angle(t))  # 0.16 rad in all
    assert "poses" not in findings(drive)


def test_rays_in_one_plane_give_no_mirror_image():
    rays = np.array([[math.sin(a), 0, math.cos(a)] for a in np.linspace(-0.4, 0.4, 40)])
    rotation = fit_rotation(rays, rays @ yaw(0.1).T)
    np.testing.assert_allclose(rotation, yaw(0.1), atol=1e-9)


def test_what_cannot_be_followed(sky):
    drive = TurningDrive(np.full_like(sky, 100), frames=12)
    drive.gains = [1 + 0.1 * (i % 2) for i in range(12)]
    assert "followed" in findings(drive)["tracking"].message


def test_fewer_pairs_are_spread_in_blocks():
    assert spread(5, 9) == [0, 1, 2, 3, 4]
    chosen = spread(1000, 60)
    assert len(chosen) == 60
    assert chosen[:20] == list(range(20))
    assert chosen[-1] == 999
    assert spread(100, 0) == []


def test_no_image_is_read_if_no_pair_is_wanted(sky):
    drive = TurningDrive(sky, frames=5)
    drive.broken = set(range(5))
    (diagnosis,) = diagnose(drive, pairs=0)
    assert diagnosis.pairs == 0
    assert diagnosis.findings == []


def test_real_drives_are_sound(shared_data):
    from rosam_core.drives.frames import FramesDrive

    drive = FramesDrive(shared_data / "drives" / "kitti_odo00_416")
    (diagnosis,) = diagnose(drive, pairs=60)
    assert [(f.check, f.frames) for f in diagnosis.findings] == [
        ("stationary", tuple(range(543, 558)))
    ]
