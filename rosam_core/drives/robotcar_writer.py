"""Writes drives as an Oxford RobotCar download that the dataset's SDK and `RobotCarDrive` read.

- Images are RGB PNGs, undistorted, as prepared for md4all: without loss, if the camera has no
  distortion. The SDK's `load_image` takes them with `debayer=False`. On demand they are raw, as
  the dataset's: a Bayer mosaic of one channel, which keeps a third of the values and which every
  tool of the SDK takes. The undistortion table is the images', so of RGB it changes nothing; its
  size tells `RobotCarDrive` theirs.
- Stamps are whole microseconds: what is below is cut off.
- Poses are those of `gps/ins.csv`, which keeps up and north, unlike odometry; readers take
  positions relative to the first. The INS sits in the camera.
- `Frame.lidar` is one LD-MRS scan with the image's stamp. Readers put scans of seconds together
  (`window_s`); 0 s gives every image its own.

Exact depth, instances and the camera's name have no place in the format.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from rosam_core.drives.base import Drive
from rosam_core.drives.robotcar_files import CAMERAS, table_path
from rosam_core.drives.whole_folder import whole_folder
from rosam_core.geometry.undistortion import undistorted, undistortion_table
from rosam_core.types import Camera, Float64, Frame, UInt8

logger = logging.getLogger(__name__)

DESCRIPTION = "rosam-robotcar.json"
FORMAT = "rosam-robotcar-1"
LIDAR = "ldmrs"
TAGS = {"day-clear": "- sun", "night": "- night", "day-rain": "- rain", "fog": "- fog"}
"""By condition; fog is no tag of the dataset's."""

INS_COLUMNS = (
    *("timestamp", "ins_status", "latitude", "longitude", "altitude"),
    *("northing", "easting", "down", "utm_zone"),
    *("velocity_north", "velocity_east", "velocity_down", "roll", "pitch", "yaw"),
)

# The vehicle: x forward, y right, z down, in the camera's centre.
T_VEHICLE_CAMERA = np.array([[0, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1.0]])
# North, east, down from a world with x east, y north, z up.
T_NED_WORLD = np.array([[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, -1, 0], [0, 0, 0, 1.0]])


def write_robotcar(
    drives: Sequence[Drive],
    out: str | Path,
    *,
    mosaic: bool = False,
    overwrite: bool = False,
) -> int:
    """Writes drives as one folder of traversals with `models`, `extrinsics` and `tags`.

    A traversal is the frames of one scene and camera up to a change of condition, named by its
    first time (UTC, the next free second). One of another camera than the first traversal's has
    calibration files of its own.

    Args:
        drives: Frames. Where only some of a traversal have poses, readers interpolate the others
            between poses at most 0.5 s apart; a warning says how many.
        out: Folder of traversals; it appears when everything is written.
        mosaic: Write raw images.
        overwrite: Replace a tree that this function wrote.

    Returns:
        The number of frames.

    Raises:
        FileExistsError: There is something at `out`.
        ValueError: There is no frame, one is not at least 1 us later than the one before it in
            its traversal, or its time is before 1970.
    """
    out = Path(out)
    with whole_folder(out, "a RobotCar tree", overwrite) as root:
        tree = _Tree(root, mosaic)
        for drive in drives:
            tree.add(drive)
        return tree.finish()


class _Tree:
    """The traversals of a tree that is being written."""

    def __init__(self, root: Path, mosaic: bool) -> None:
        self.root, self.mosaic = root, mosaic
        self.traversals: dict[str, _Traversal] = {}
        self.scenes: dict[str, str] = {}

    def add(self, drive: Drive) -> None:
        """Writes every frame of a drive; frames of its cameras may take turns."""
        current: dict[tuple[str, Camera, str], _Traversal] = {}
        for index in range(len(drive)):
            frame = drive[index]
            key = drive.scene(index), frame.camera, frame.camera_name
            if key not in current or current[key].condition != frame.condition:
                current[key] = self._begin(key[0], frame)
            current[key].add(frame)

    def _begin(self, scene: str, frame: Frame) -> _Traversal:
        if frame.stamp_ns < 0:
            raise ValueError(f"{scene}: a frame has the time {frame.stamp_ns} ns, before 1970")
        time = datetime.datetime.fromtimestamp(frame.stamp_ns // 10**9, datetime.timezone.utc)
        while (name := f"{time:%Y-%m-%d-%H-%M-%S}") in self.traversals:
            time += datetime.timedelta(seconds=1)
        first = next(iter(self.traversals.values()), None)
        is_shared = first is None or first.camera == frame.camera
        shared = self.root if is_shared else self.root / name
        if first is None or not is_shared:
            _write_calibration(shared, frame.camera, self.mosaic)
        (shared / "tags").mkdir(exist_ok=True)
        tag = TAGS.get(frame.condition, "[]")
        (shared / "tags" / f"{name}.yaml").write_text(tag + "\n", encoding="utf-8")
        self.scenes[name] = scene
        self.traversals[name] = _Traversal(self.root / name, frame, self.mosaic)
        return self.traversals[name]

    def finish(self) -> int:
        """Writes the lists of times and poses; returns the number of frames."""
        if not self.traversals:
            raise ValueError("the drives have no frame: nothing to write")
        for traversal in self.traversals.values():
            traversal.finish()
        described = {"format": FORMAT, "scenes": self.scenes}
        (self.root / DESCRIPTION).write_text(json.dumps(described), encoding="utf-8")
        return sum(len(traversal.stamps) for traversal in self.traversals.values())


class _Traversal:
    """A traversal that is being written."""

    def __init__(self, folder: Path, first: Frame, mosaic: bool) -> None:
        self.folder, self.mosaic = folder, mosaic
        self.camera, self.condition = first.camera, first.condition
        self.stamps: list[int] = []
        self.scans: list[int] = []
        self.poses: list[str] = []
        (folder / _folder_of(self.camera)).mkdir(parents=True)

    def add(self, frame: Frame) -> None:
        """Writes the image and scan of a frame."""
        stamp = frame.stamp_ns // 1000
        if self.stamps and stamp <= self.stamps[-1]:
            raise ValueError(
                f"frame {len(self.stamps)} of {self.folder.name} has the time {stamp} us, the one "
                f"before {self.stamps[-1]} us: RobotCar names images by their microsecond"
            )
        self.stamps.append(stamp)
        about = CAMERAS[_folder_of(self.camera)]
        if self.mosaic:
            stored: Any = _mosaic(frame.image, about.bayer)
        else:
            stored = cv2.cvtColor(undistorted(frame).image, cv2.COLOR_RGB2BGR)
        encoded = cv2.imencode(".png", stored)[1]
        path = self.folder / about.folder / f"{stamp}.png"
        path.write_bytes(encoded.tobytes())
        if frame.T_world_camera is not None:
            T = T_NED_WORLD @ frame.T_world_camera @ np.linalg.inv(T_VEHICLE_CAMERA)
            self.poses.append(_ins_row(stamp, T))
        if frame.lidar is not None and len(frame.lidar):  # readers take an empty file as cut off
            (self.folder / LIDAR).mkdir(exist_ok=True)
            points = frame.lidar.astype("<f8") @ T_VEHICLE_CAMERA[:3, :3].T
            (self.folder / LIDAR / f"{stamp}.bin").write_bytes(points.tobytes())
            self.scans.append(stamp)

    def finish(self) -> None:
        """Writes the times of images and scans, and the poses."""
        sensor = CAMERAS[_folder_of(self.camera)].sensor
        for name, stamps in ((sensor, self.stamps), (LIDAR, self.scans)):
            if stamps:
                lines = "".join(f"{stamp} 1\n" for stamp in stamps)
                (self.folder / f"{name}.timestamps").write_text(lines, encoding="utf-8")
        if self.poses:
            (self.folder / "gps").mkdir()
            text = "\n".join([",".join(INS_COLUMNS), *self.poses, ""])
            (self.folder / "gps" / "ins.csv").write_text(text, encoding="utf-8")
            if len(self.poses) < len(self.stamps):
                logger.warning(
                    "%s: %d of %d frames have no pose; readers interpolate it between poses at "
                    "most 0.5 s apart",
                    self.folder.name,
                    len(self.stamps) - len(self.poses),
                    len(self.stamps),
                )


def _folder_of(camera: Camera) -> str:
    """Returns which of the dataset's cameras a camera is written as.

    Readers cut the bonnet off images of the stereo camera that have its own size.
    """
    stereo = CAMERAS["stereo/left"]
    is_cut = camera.width * camera.height == stereo.width * stereo.height
    return "mono_left" if is_cut else "stereo/left"


def _write_calibration(folder: Path, camera: Camera, mosaic: bool) -> None:
    """Writes `models` and `extrinsics`: everything sits in the camera."""
    for name in ("models", "extrinsics"):
        (folder / name).mkdir(parents=True)
    about = CAMERAS[_folder_of(camera)]
    lines = [(camera.fx, camera.fy, camera.cx, camera.cy), *T_VEHICLE_CAMERA.tolist()]
    text = "".join(" ".join(repr(float(value)) for value in line) + "\n" for line in lines)
    (folder / "models" / f"{about.model}.txt").write_text(text, encoding="utf-8")
    taken = camera if mosaic else dataclasses.replace(camera, distortion_model="", distortion=())
    table = undistortion_table(taken).astype("<f8")
    table_path(folder / "models", about).write_bytes(table.tobytes())
    for sensor in (about.sensor, "ins", LIDAR):
        (folder / "extrinsics" / f"{sensor}.txt").write_text("0 0 0 0 0 0\n", encoding="utf-8")


def _mosaic(image: UInt8, bayer: str) -> UInt8:
    """Returns what a sensor with a colour filter a pixel records of an image, uint8[H,W]."""
    recorded = np.empty(image.shape[:2], np.uint8)
    for place, colour in enumerate(bayer):
        row, column = divmod(place, 2)
        recorded[row::2, column::2] = image[row::2, column::2, "rgb".index(colour)]
    return recorded


def _ins_row(stamp: int, T_ned_vehicle: Float64) -> str:
    """Returns a line of `ins.csv`; what is not known, and no reader reads, is `nan`."""
    north, east, down, *angles = (repr(float(value)) for value in _xyzrpy(T_ned_vehicle))
    place = ("INS_SOLUTION_GOOD", "nan", "nan", repr(-float(down)), north, east, down, "")
    return ",".join([str(stamp), *place, "nan", "nan", "nan", *angles])


def _xyzrpy(T: Float64) -> Float64:
    """Returns x, y, z [m], roll, pitch, yaw [rad] of a transform; see `transforms`."""
    r = T[:3, :3]
    yaw = np.arctan2(r[1, 0], r[0, 0])
    pitch = np.arctan2(-r[2, 0], np.hypot(r[0, 0], r[1, 0]))
    # Of Rz(-yaw) R = Ry(pitch) Rx(roll): exact for a camera that looks straight down, too.
    c, s = np.cos(yaw), np.sin(yaw)
    roll = np.arctan2(s * r[0, 2] - c * r[1, 2], c * r[1, 1] - s * r[0, 1])
    return np.array([*T[:3, 3], roll, pitch, yaw])
