"""Small RobotCar traversals with a known drive, made by the tests."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from rosam_core.drives import robotcar_files
from rosam_core.drives.robotcar_files import RobotCarCamera

NAME = "2014-12-09-13-21-02"
START = 1418130000000000  # us
SMALL = RobotCarCamera("stereo/left", "stereo_wide_left", "gbrg", 64, 48, 40)
LMS_AT = (1.0, 0.0, 0.5)  # in front of and below the camera, turned by nothing
POINT = (20.0, 1.0, 0.5)  # in the vehicle's frame at START: forward, right, down


def straight(seconds: float) -> np.ndarray:
    """T_start_vehicle of 10 m/s straight ahead."""
    T = np.eye(4)
    T[0, 3] = 10 * seconds
    return T


def turning(seconds: float) -> np.ndarray:
    """T_start_vehicle of 10 m/s on a circle to the right, 0.2 rad/s."""
    angle = 0.2 * seconds
    c, s = np.cos(angle), np.sin(angle)
    T = np.eye(4)
    T[:2, :2] = [[c, -s], [s, c]]
    T[:2, 3] = 50 * s, 50 * (1 - c)
    return T


def use_small_images(monkeypatch) -> None:
    """64x48 images in place of 1280x960, cropped to 40 rows."""
    monkeypatch.setitem(robotcar_files.CAMERAS, "stereo/left", SMALL)
    mono = RobotCarCamera("mono_left", "mono_left", "rggb", 64, 48, 48)
    monkeypatch.setitem(robotcar_files.CAMERAS, "mono_left", mono)


def write_table(root: Path, camera: RobotCarCamera = SMALL, shift: float = 0.0) -> None:
    """The undistortion table; it takes column u from column u + shift."""
    rows, columns = np.mgrid[: camera.height, : camera.width].astype(np.float64)
    table = np.stack([columns + shift, rows])
    table.tofile(root / "models" / f"{camera.model}_distortion_lut.bin")


def write_shared(root: Path, camera: RobotCarCamera = SMALL) -> None:
    """models/ and extrinsics/."""
    (root / "models").mkdir(parents=True)
    (root / "extrinsics").mkdir()
    half = camera.width / 2
    (root / "models" / f"{camera.model}.txt").write_text(
        f"{half} {half} {half - 0.5} {camera.height / 2 - 0.5}\n"
        "0 0 1 0\n1 0 0 0\n0 1 0 0\n0 0 0 1\n"
    )
    write_table(root, camera)
    x, y, z = LMS_AT
    for name, values in (
        ("stereo", "0 0 0 0 0 0"),
        ("ins", "-1.7 0.1 1.2 -0.01 0.04 0.005"),
        ("lms_front", f"{x} {y} {z} 0 0 0"),
        ("ldmrs", "1.5 0.01 1.4 0.02 0.08 -0.03"),
    ):
        (root / "extrinsics" / f"{name}.txt").write_text(values + "\n")


def write_stamps(path: Path, stamps) -> None:
    path.write_text("".join(f"{stamp} 1\n" for stamp in stamps))


def xyzrpy(T: np.ndarray) -> list[float]:
    roll, pitch = np.arctan2(T[2, 1], T[2, 2]), -np.arcsin(T[2, 0])
    return [*T[:3, 3], roll, pitch, np.arctan2(T[1, 0], T[0, 0])]


def write_vo(path: Path, stamps, motion: Callable[[float], np.ndarray]) -> None:
    """Steps between neighbouring stamps: source is the later one, as in the dataset."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ["source_timestamp,destination_timestamp,x,y,z,roll,pitch,yaw"]
    for before, after in itertools.pairwise(stamps):
        T_before, T_after = (motion((t - START) / 1e6) for t in (before, after))
        step = xyzrpy(np.linalg.inv(T_before) @ T_after)
        lines.append(f"{after},{before}," + ",".join(f"{v:.12g}" for v in step))
    path.write_text("\n".join(lines) + "\n")


def write_traversal(
    root: Path,
    motion: Callable[[float], np.ndarray] = straight,
    frames: int = 5,
    camera: RobotCarCamera = SMALL,
) -> Path:
    """A traversal: images at 16 Hz, LMS scans of `POINT` at 50 Hz, visual odometry.

    The first scan is 10 ms after the first image. Image i has brightness 10 i + 20 everywhere.
    """
    folder = root / NAME
    images = folder / camera.folder
    images.mkdir(parents=True)
    stamps = [START + 62500 * i for i in range(frames)]
    for i, stamp in enumerate(stamps):
        mosaic = np.full((camera.height, camera.width), 10 * i + 20, np.uint8)
        cv2.imwrite(str(images / f"{stamp}.png"), mosaic)
    write_stamps(folder / f"{camera.sensor}.timestamps", stamps)
    write_vo(folder / "vo" / "vo.csv", stamps, motion)
    times = range(START + 10000, stamps[-1], 20000)
    (folder / "lms_front").mkdir()
    write_stamps(folder / "lms_front.timestamps", times)
    for time in times:
        T = motion((time - START) / 1e6)
        seen = (np.linalg.inv(T) @ [*POINT, 1])[:3] - LMS_AT
        assert abs(seen[2]) < 1e-12  # the third number of a row is the reflectance
        np.array([[seen[0], seen[1], 77.0]]).tofile(folder / "lms_front" / f"{time}.bin")
    return folder
