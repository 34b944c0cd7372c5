"""KITTI drives: the raw recordings and the odometry sequences, as they are downloaded."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rosam_core.drives.base import Drive, Glance
from rosam_core.drives.image_files import image_files, read_depth_image, read_image
from rosam_core.drives.kitti_calibration import (
    matrix,
    offset_of_projection,
    read_calibration,
    read_poses,
    read_stamps,
    rigid,
)
from rosam_core.drives.kitti_inertial import inertial_poses
from rosam_core.geometry.motion import moved
from rosam_core.types import Camera, Float32, Float64, Frame, UInt8

logger = logging.getLogger(__name__)

CAMERAS = (0, 1, 2, 3)
"""Grey left and right, colour left and right."""

DEFAULT_CAMERA = 2


@dataclasses.dataclass(frozen=True)
class _View:
    """One image with what goes with it."""

    image: Path
    stamp_ns: int
    T_world_camera: Float64 | None
    lidar: Path | None
    depth: Path | None


@dataclasses.dataclass(frozen=True)
class _Rig:
    """Calibration of the chosen camera; `T_camera_lidar` is None without a lidar calibration."""

    camera: Camera
    T_camera_rectified0: Float64
    T_camera_lidar: Float64 | None


class KittiDrive(Drive):
    """One raw recording (`DATE_drive_NNNN_sync`) or one odometry sequence, one camera.

    `Frame.lidar` is the whole Velodyne scan of the frame, as its file has it, in the camera's
    frame: KITTI triggers the cameras when the scanner faces forward, so the points in view are at
    most some 15 ms older or newer than the image, and the published ground truth takes them as
    they are. A frame whose scan is missing has none. `Frame.depth` is the annotated depth of the
    depth benchmark, where `proj_depth/groundtruth` lies in the recording's folder; then frames
    without it, such as the first and last five of a recording, have no truth.

    The world of a raw recording is east, north, up from the first packet of the inertial unit;
    poses are interpolated to the times of the images. The world of a sequence is its first camera
    0, as its poses are published. Neither has its ground at 0.
    """

    def __init__(self, folder: str | Path, camera: int = DEFAULT_CAMERA) -> None:
        """Reads calibration, times and poses; images and scans are read when a frame is.

        Args:
            folder: Holds `image_02/data` (raw) or `image_2` and `calib.txt` (odometry).
            camera: 0 to 3.

        Raises:
            FileNotFoundError: A file is missing; the message names it.
            ValueError: The camera is not there, or a file is damaged.
        """
        self.folder = Path(folder)
        self.camera_index = camera
        if camera not in CAMERAS:
            raise ValueError(f"KITTI has the cameras 0, 1, 2 and 3, not {camera}")
        self.is_raw = _is_raw(self.folder)
        if not self.is_raw and not _is_sequence(self.folder):
            raise FileNotFoundError(
                f"{self.folder} is no KITTI drive: expected image_02/data, or image_2 and "
                "calib.txt"
            )
        self.camera_name = f"image_{camera:02d}" if self.is_raw else f"image_{camera}"
        there = _cameras_of(self.folder)
        if camera not in there:
            raise ValueError(
                f"{self.folder} has no images of camera {camera}: there are those of "
                f"{', '.join(map(str, there)) or 'none'}, choose with --kitti-camera"
            )
        if self.is_raw:
            self.name = self.folder.name
            self._rig, self._views = self._open_raw()
        else:
            self.name = f"odometry-{self.folder.name}"
            self._rig, self._views = self._open_sequence()
        if not self._views:
            raise ValueError(f"{self.folder} has no frame with a time stamp")
        missing = [view.image.stem for view in self._views if view.lidar is None]
        if 0 < len(missing) < len(self._views):
            logger.warning("%s: no lidar scan for %s", self.name, _some(missing))
        self.only_depth_is_truth = any(view.depth is not None for view in self._views)
        if self.only_depth_is_truth:
            self.truth_note = "annotated depth"
        elif len(missing) < len(self._views):
            self.truth_note = "Velodyne"

    def __len__(self) -> int:
        return len(self._views)

    def __getitem__(self, index: int) -> Frame:
        """Reads one frame.

        Raises:
            IndexError: Outside the drive.
            ValueError: Its image or scan is damaged.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"frame {index} of {len(self)}")
        view, camera = self._views[index], self._rig.camera
        T_camera_lidar = self._rig.T_camera_lidar
        image = self.image(index)
        depth = None
        if view.depth is not None:
            depth = read_depth_image(view.depth, camera.width, camera.height)
        return Frame(
            image=image,
            camera=camera,
            stamp_ns=view.stamp_ns,
            T_world_camera=view.T_world_camera,
            condition="day-clear",
            camera_name=self.camera_name,
            lidar=None if view.lidar is None else self._scan(view.lidar),
            depth=depth,
            lidar_origin=None if T_camera_lidar is None else T_camera_lidar[:3, 3],
        )

    def image(self, index: int) -> UInt8:
        """Reads an image without its scan, uint8[H,W,3] RGB."""
        if not 0 <= index < len(self):
            raise IndexError(f"frame {index} of {len(self)}")
        view, camera = self._views[index], self._rig.camera
        image = read_image(view.image)
        if image.shape[:2] != (camera.height, camera.width):
            raise ValueError(
                f"{view.image} is {image.shape[1]}x{image.shape[0]}, its calibration is for "
                f"{camera.width}x{camera.height}: use the images as downloaded, or open resized "
                "ones as frames, with their own --camera"
            )
        return image

    def glance(self, index: int) -> Glance:
        """Returns what is known of a frame without reading its image."""
        view = self._views[index]
        is_empty = view.lidar is not None and view.lidar.stat().st_size == 0
        return Glance(
            stamp_ns=view.stamp_ns,
            camera=self._rig.camera,
            T_world_camera=view.T_world_camera,
            condition="day-clear",
            camera_name=self.camera_name,
            has_lidar=view.lidar is not None and not is_empty,
            has_empty_scan=is_empty,
            has_depth=view.depth is not None,
        )

    def _scan(self, path: Path) -> Float32:
        """Returns a Velodyne scan in the camera's frame, float32[N,3] [m]."""
        values = np.fromfile(path, np.float32)
        if values.size % 4 or path.stat().st_size % 4:
            raise ValueError(
                f"{path} holds {path.stat().st_size} bytes, not rows of four floats (x, y, z, "
                "reflectance): truncated download?"
            )
        T = self._rig.T_camera_lidar
        if T is None:  # a scan is only listed if there is a calibration
            raise ValueError(f"{path} has no calibration")
        points = values.reshape(-1, 4)[:, :3]
        return moved(points, T)

    def _open_raw(self) -> tuple[_Rig, list[_View]]:
        folder, name = self.folder, self.camera_name
        dates = folder if (folder / "calib_cam_to_cam.txt").is_file() else folder.parent
        rig = _raw_rig(dates, self.camera_index)
        images = image_files(folder / name / "data")
        numbered = self._numbered(images, folder / name / "timestamps.txt")
        poses: dict[str, Float64] = {}
        packets = folder / "oxts" / "data"
        imu = dates / "calib_imu_to_velo.txt"
        if packets.is_dir() and imu.is_file() and rig.T_camera_lidar is not None:
            T_imu_camera = np.linalg.inv(rig.T_camera_lidar @ rigid(imu))
            stems, stamps = [path.stem for path, _ in numbered], [stamp for _, stamp in numbered]
            found = inertial_poses(self.name, packets, stems, stamps)
            poses = {stem: T_world_imu @ T_imu_camera for stem, T_world_imu in found.items()}
        elif packets.is_dir():
            logger.warning("%s: poses left out, there is no %s", self.name, imu)
        truths = folder / "proj_depth" / "groundtruth" / name
        views = []
        for path, stamp in numbered:
            scan = folder / "velodyne_points" / "data" / f"{path.stem}.bin"
            truth = truths / f"{path.stem}.png"
            views.append(
                _View(
                    image=path,
                    stamp_ns=stamp,
                    T_world_camera=poses.get(path.stem),
                    lidar=scan if rig.T_camera_lidar is not None and scan.is_file() else None,
                    depth=truth if truth.is_file() else None,
                )
            )
        return rig, views

    def _open_sequence(self) -> tuple[_Rig, list[_View]]:
        folder = self.folder
        images = image_files(folder / self.camera_name)
        numbered = self._numbered(images, folder / "times.txt")
        rig = _sequence_rig(folder / "calib.txt", self.camera_index, images)
        published = folder.parent.parent / "poses" / f"{folder.name}.txt"
        poses = None
        if published.is_file():
            T_rectified0_camera = np.linalg.inv(rig.T_camera_rectified0)
            poses = read_poses(published) @ T_rectified0_camera
            rows = len(read_stamps(folder / "times.txt"))
            if len(poses) != rows:
                raise ValueError(
                    f"{published} has {len(poses)} poses, times.txt {rows} times: files of two "
                    "sequences?"
                )
        views = []
        for path, stamp in numbered:
            scan = folder / "velodyne" / f"{path.stem}.bin"
            views.append(
                _View(
                    image=path,
                    stamp_ns=stamp,
                    T_world_camera=None if poses is None else poses[int(path.stem)],
                    lidar=scan if rig.T_camera_lidar is not None and scan.is_file() else None,
                    depth=None,
                )
            )
        return rig, views

    def _numbered(self, images: Sequence[Path], stamps_file: Path) -> list[tuple[Path, int]]:
        """Returns every image with its time: an image's name is its line, counted from 0."""
        stamps = read_stamps(stamps_file)
        found, without = [], []
        for path in images:
            if not path.stem.isdigit():
                raise ValueError(f"{path} is not named by its number, as KITTI's images are")
            number = int(path.stem)
            stamp = stamps[number] if number < len(stamps) else None
            if stamp is None:
                without.append(path.stem)
            else:
                found.append((path, stamp))
        there = {int(path.stem) for path, _ in found}
        between = range(min(there, default=0), max(there, default=0))
        self.missing = tuple(f"{n:06d}" for n in between if n not in there and stamps[n])
        if without:
            logger.warning(
                "%s: left out, without a time in %s: %s", self.name, stamps_file, _some(without)
            )
        return found


def find_kitti(root: str | Path) -> list[Path]:
    """Returns the drives at a path in order: the folder itself, or those below it.

    Args:
        root: A recording, the folder of a date or of dates, a sequence, the folder of sequences,
            or the folder that holds `sequences`; empty if it is none of them.
    """
    root = Path(root)
    if _is_raw(root) or _is_sequence(root):
        return [root]
    patterns = ("*_sync", "*/*_sync", "sequences/*", "*/sequences/*")
    if root.name == "sequences":
        patterns += ("*",)
    below = {folder for pattern in patterns for folder in root.glob(pattern)}
    return sorted(folder for folder in below if _is_raw(folder) or _is_sequence(folder))


def _cameras_of(folder: Path) -> list[int]:
    """Returns the cameras that have images in a drive's folder."""
    names = {n: (folder / f"image_{n:02d}" / "data", folder / f"image_{n}") for n in CAMERAS}
    return [n for n, places in names.items() if any(image_files(place) for place in places)]


def _is_raw(folder: Path) -> bool:
    return any((folder / f"image_{n:02d}" / "data").is_dir() for n in CAMERAS)


def _is_sequence(folder: Path) -> bool:
    return (folder / "calib.txt").is_file() and any(
        (folder / f"image_{n}").is_dir() for n in CAMERAS
    )


def _raw_rig(dates: Path, index: int) -> _Rig:
    """Reads the calibration of a date for one camera."""
    path = dates / "calib_cam_to_cam.txt"
    rows = read_calibration(path)
    projection = matrix(rows, f"P_rect_{index:02d}", (3, 4), path)
    width, height = matrix(rows, f"S_rect_{index:02d}", (1, 2), path)[0]
    T_camera_rectified0 = offset_of_projection(projection)
    lidar = dates / "calib_velo_to_cam.txt"
    T_camera_lidar = None
    if lidar.is_file():
        rectify = np.eye(4)
        rectify[:3, :3] = matrix(rows, "R_rect_00", (3, 3), path)
        T_camera_lidar = T_camera_rectified0 @ rectify @ rigid(lidar)
    camera = _pinhole(projection, int(width), int(height))
    return _Rig(camera, T_camera_rectified0, T_camera_lidar)


def _pinhole(projection: Float64, width: int, height: int) -> Camera:
    fx, fy, cx, cy = (float(projection[at]) for at in ((0, 0), (1, 1), (0, 2), (1, 2)))
    return Camera(fx, fy, cx, cy, width, height)


def _sequence_rig(path: Path, index: int, images: Sequence[Path]) -> _Rig:
    """Reads the calibration of a sequence for one camera, whose size only its images tell."""
    rows = read_calibration(path)
    projection = matrix(rows, f"P{index}", (3, 4), path)
    T_camera_rectified0 = offset_of_projection(projection)
    T_camera_lidar = None
    name = "Tr" if "Tr" in rows else "Tr_velo_to_cam"
    if name in rows:
        T_rectified0_lidar = np.vstack([matrix(rows, name, (3, 4), path), [0, 0, 0, 1]])
        T_camera_lidar = T_camera_rectified0 @ T_rectified0_lidar
    first_image, picture = _first_picture(images)
    height, width = picture.shape[:2]
    camera = _pinhole(projection, width, height)
    # Rectified KITTI images are centred to within a tenth of their size; resized ones are not.
    if not (0.4 < camera.cx / width < 0.6 and 0.4 < camera.cy / height < 0.6):
        raise ValueError(
            f"{first_image} is {width}x{height}, but {path} has its centre at "
            f"({camera.cx:.0f}, {camera.cy:.0f}): use the images as downloaded, or open resized "
            "ones as frames, with their own --camera"
        )
    return _Rig(camera, T_camera_rectified0, T_camera_lidar)


def _first_picture(images: Sequence[Path]) -> tuple[Path, UInt8]:
    """Returns the first image that can be read; the error of the last one if none can."""
    for path in images[:-1]:
        try:
            return path, read_image(path)
        except ValueError:
            continue
    return images[-1], read_image(images[-1])


def _some(names: Sequence[str]) -> str:
    """Returns the first names, and how many more there are."""
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more
