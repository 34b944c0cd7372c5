"""Oxford RobotCar traversals, as they are downloaded or as md4all prepares them."""

from __future__ import annotations

import copy
import logging
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from rosam_core.drives.base import Drive, Glance
from rosam_core.drives.robotcar_files import (
    Int64,
    condition_of,
    is_raw,
    read_camera_model,
    read_extrinsics,
    read_picture,
    read_split,
    read_stamps,
    read_table,
)
from rosam_core.drives.robotcar_layout import (
    camera_of,
    camera_of_images,
    first_size,
    shared_folder,
    stamps_of_images,
)
from rosam_core.drives.robotcar_lidar import SENSORS, TRUTHS, WINDOW_S, LidarScans, depth_of_points
from rosam_core.drives.robotcar_poses import (
    Trajectory,
    find_poses,
    pose_file,
    read_ins,
    read_vo,
)
from rosam_core.geometry.projection import points_in_view
from rosam_core.types import CONDITIONS, Camera, Float64, Frame, UInt8

logger = logging.getLogger(__name__)


class RobotCarDrive(Drive):
    """The images of one camera of one traversal, in order of time.

    Raw images are demosaiced and undistorted with the dataset's look-up table; images that are
    RGB already (md4all's preparation) are taken as they are. Those of the stereo camera are
    cropped to md4all's 1280x768 at the top left, which leaves the car's bonnet out.

    `Frame.lidar` are the scans around the image that fall into it, moved to its time through the
    poses; `Frame.depth` is the sparse true depth made of the same scans (see `LidarScans.cloud`
    and `depth_of_points`). A frame whose pose is not known has neither. Poses are those of visual
    odometry where it is there, else of the INS; see `read_vo` and `read_ins` for the worlds, whose
    ground is not at 0. Where odometry is broken, frames of its longest stretch only have a pose.
    """

    depth_is_lidar = True

    def __init__(
        self,
        folder: str | Path,
        camera: str | None = None,
        *,
        split: str | Path | None = None,
        poses: str = "auto",
        lidar: str = "auto",
        truth: str = TRUTHS[0],
        window_s: float = WINDOW_S,
        crop: bool = True,
        condition: str | None = None,
    ) -> None:
        """Reads times, calibration and poses; images and scans are read when a frame is.

        Args:
            folder: The traversal. `models` and `extrinsics` (and the SDK's `tags`, which tell the
                condition) lie in it, beside it, or in a `robotcar-dataset-sdk` folder there.
            camera: One of `CAMERAS`; the first of them that has images if None.
            split: md4all's split file: only its frames, in its order.
            poses: `"vo"`, `"ins"`, `"rtk"`; `"auto"` for the first there is, `""` for none.
            lidar: One of `SENSORS`; `"auto"` for the first there is, `""` for none.
            truth: One of `TRUTHS`.
            window_s: Scans up to so long before and after an image belong to it [s].
            crop: Leave the bonnet out.
            condition: One of `CONDITIONS`; else what the tags say.

        Raises:
            FileNotFoundError: A file is missing; the message names it.
            ValueError: An unknown name, or a damaged file.
        """
        self.folder = Path(folder)
        self.name = self.folder.resolve().name
        self._about = camera_of(self.folder, camera)
        self._images = self.folder / self._about.folder
        for value, known in ((truth, TRUTHS), (condition or "unknown", CONDITIONS)):
            if value not in known:
                raise ValueError(f"{value!r} is none of {', '.join(known)}")
        if not 0 <= window_s < np.inf:
            raise ValueError(f"the window of scans must be 0 s or more, got {window_s}")
        self.truth = truth
        self.truth_note = f"RobotCar lidar, {truth}, +-{window_s:g} s"
        self._window_us = round(window_s * 1e6)
        self._find_frames(None if split is None else Path(split))
        models = shared_folder(self.folder, "models")
        size = first_size(self._images / f"{stamp}.png" for stamp in self.stamps)
        self._about = camera_of_images(self._about, models, size)
        (fx, fy, cx, cy), T_sensor_image = read_camera_model(models / f"{self._about.model}.txt")
        self._whole = Camera(fx, fy, cx, cy, self._about.width, self._about.height)
        rows = self._about.crop_height if crop else self._about.height
        self.camera = self._whole.cropped(0, 0, self._about.width, rows)
        self._table: tuple[Any, Any] | None = None
        if self._is_raw():
            self._table = read_table(models, self._about)
        tags = models.parent / "tags" / f"{self.name}.yaml"
        self.condition = condition or condition_of(self.name, tags)
        self.trajectory = self._read_poses(poses)
        self.scans = self._find_scans(lidar)
        self._T_vehicle_camera = np.eye(4)
        if self.trajectory is not None:
            # A camera's file is T_camera_vehicle, the other way round than a lidar's.
            file = shared_folder(self.folder, "extrinsics") / f"{self._about.sensor}.txt"
            self._T_vehicle_camera = np.linalg.inv(read_extrinsics(file)) @ T_sensor_image
            self._pose_frames(self.trajectory)

    def __len__(self) -> int:
        return len(self.stamps)

    def __getitem__(self, index: int) -> Frame:
        """Reads one frame.

        Raises:
            IndexError: Outside the drive.
            ValueError: Its image is damaged.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"frame {index} of {len(self)}")
        return self._read(int(self.stamps[index]))

    def glance(self, index: int) -> Glance:
        """Returns what is known of a frame without reading its image or scans."""
        if not 0 <= index < len(self):
            raise IndexError(f"frame {index} of {len(self)}")
        stamp = int(self.stamps[index])
        has_points = (
            self.trajectory is not None
            and self.scans is not None
            and self.scans.has_cloud(stamp, self.trajectory, self._window_us, self.truth)
        )
        return Glance(
            stamp_ns=stamp * 1000,
            camera=self.camera,
            T_world_camera=self._pose(stamp),
            condition=self.condition,
            camera_name=self._about.folder.replace("/", "_"),
            has_lidar=has_points,
            has_depth=has_points,
        )

    def image(self, index: int) -> UInt8:
        """Reads an image without its scans, uint8[H,W,3] RGB."""
        if not 0 <= index < len(self):
            raise IndexError(f"frame {index} of {len(self)}")
        return self._picture(int(self.stamps[index]))

    def whole(self) -> tuple[Drive, list[int]]:
        """Returns the whole traversal, and where the frames of the split are in it."""
        every = copy.copy(self)
        every.stamps = self._recorded
        every._context = np.zeros((len(self._recorded), 3), np.int64)
        return every, np.searchsorted(self._recorded, self.stamps).tolist()

    def stated_neighbours(self, index: int) -> tuple[int, int] | None:
        """Returns the images that the split lists before and after a frame; see `Drive`."""
        stated = self._context[index, [0, 2]]
        if not stated.any():
            return None
        place = np.searchsorted(self._recorded, stated)
        there = np.append(self._recorded, -1)[place] == stated
        before, after = np.where(there, place, -1).tolist()
        return before, after

    def neighbour(self, index: int, step: int) -> Frame | None:
        """Reads the image before or after a frame: the split's where it says so, else the next.

        Args:
            index: Frame of the drive.
            step: -1 or 1.

        Returns:
            Its frame; None if there is none.

        Raises:
            IndexError: Outside the drive.
            ValueError: Another step, or a damaged image.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"frame {index} of {len(self)}")
        if step not in (-1, 1):
            raise ValueError(f"step must be -1 or 1, got {step}")
        stated = int(self._context[index, 1 + step])
        if not stated:
            there = int(np.searchsorted(self._recorded, self.stamps[index])) + step
            if not 0 <= there < len(self._recorded):
                return None
            stated = int(self._recorded[there])
        return self._read(stated)

    def _read(self, stamp: int) -> Frame:
        T_world_camera = self._pose(stamp)
        lidar = depth = None
        if self.trajectory is not None and self.scans is not None:
            points = self.scans.cloud(stamp, self.trajectory, self._window_us, self.truth)
            if points is not None:
                T = np.linalg.inv(self._T_vehicle_camera)
                # Single precision as md4all stores its clouds, before they are projected.
                seen = (points @ T[:3, :3].T + T[:3, 3]).astype(np.float32)
                seen = seen[seen[:, 2] > 0]
                lidar, _ = points_in_view(seen, self.camera)
                depth = depth_of_points(seen, self._whole)[: self.camera.height]
        return Frame(
            image=self._picture(stamp),
            camera=self.camera,
            stamp_ns=stamp * 1000,
            T_world_camera=T_world_camera,
            condition=self.condition,
            camera_name=self._about.folder.replace("/", "_"),
            lidar=lidar,
            depth=depth,
        )

    def _picture(self, stamp: int) -> UInt8:
        """Returns the image of a time, undistorted and cropped, uint8[H,W,3] RGB."""
        path = self._images / f"{stamp}.png"
        image = read_picture(path, self._about)
        if is_raw(path):
            if self._table is None:
                raise ValueError(
                    f"{path} is a raw mosaic, other images of {self._images} are prepared "
                    "already: a preparation that was broken off? Prepare it too"
                )
            image = cv2.remap(image, *self._table, cv2.INTER_LINEAR, borderValue=0)
        return np.ascontiguousarray(image[: self.camera.height], np.uint8)

    def _pose(self, stamp: int) -> Float64 | None:
        """Returns T_world_camera at a time, None where it is not known in the common world."""
        if self.trajectory is None:
            return None
        T, stretch = self.trajectory.at(np.array([stamp], np.int64))
        if stretch[0] < 0 or stretch[0] != self._stretch:
            return None
        return self.trajectory.T_world_origin @ T[0] @ self._T_vehicle_camera

    def _find_frames(self, split: Path | None) -> None:
        """Lists the images: those recorded, and those of the split."""
        listed = read_stamps(self.folder / f"{self._about.sensor}.timestamps")
        there = stamps_of_images(self._images)
        recorded = listed[np.isin(listed, there)]
        unlisted = int((~np.isin(there, listed)).sum())
        if unlisted:
            logger.warning("%s: %d images without a time stamp left out", self.name, unlisted)
        if not len(recorded):
            raise ValueError(
                f"{self._images} has no image of a time in {self._about.sensor}.timestamps: "
                "files of two traversals?"
            )
        logger.info("%s: %d of %d images are here", self.name, len(recorded), len(listed))
        between = listed[(listed > recorded[0]) & (listed < recorded[-1])]
        self.missing = tuple(map(str, between[~np.isin(between, there)].tolist()))
        self._recorded: Int64 = recorded
        if split is None:
            self.stamps: Int64 = recorded
            self._context: Int64 = np.zeros((len(recorded), 3), np.int64)
            return
        rows = read_split(split)
        kept = np.isin(rows[:, 1], recorded)
        if not kept.any():
            raise ValueError(f"none of the {len(rows)} frames of {split} is in {self._images}")
        if not kept.all():
            lost = rows[~kept, 1]
            logger.warning(
                "%s: %d of %d frames of %s have no image, first %d",
                self.name,
                len(lost),
                len(rows),
                split.name,
                lost[0],
            )
        rows = rows[kept]
        rows = rows[np.argsort(rows[:, 1], kind="stable")]  # as they were driven
        self.stamps, self._context = rows[:, 1], rows

    def _is_raw(self) -> bool:
        """Returns whether the images are raw, by the first whose head can be read."""
        for stamp in self.stamps:
            found = is_raw(self._images / f"{stamp}.png")
            if found is not None:
                return found
        return True

    def _read_poses(self, source: str) -> Trajectory | None:
        if not source:
            return None
        if source == "auto":
            found = find_poses(self.folder)
            if found is None:
                return None
            source, path = found
        else:
            path = pose_file(self.folder, source)
        if source == "vo":
            return read_vo(path)
        return read_ins(path, shared_folder(self.folder, "extrinsics") / "ins.txt", source)

    def _find_scans(self, sensor: str) -> LidarScans | None:
        if sensor == "auto":
            there = [name for name in SENSORS if (self.folder / name).is_dir()]
            sensor = there[0] if there else ""
        if not sensor:
            return None
        if self.trajectory is None:
            logger.warning("%s: lidar left out, there are no poses to move it by", self.name)
            return None
        return LidarScans(self.folder, sensor, shared_folder(self.folder, "extrinsics"))

    def _pose_frames(self, trajectory: Trajectory) -> None:
        """Chooses the stretch that is the common world, and says which images have no pose."""
        self._stretch = int(np.bincount(trajectory.stretches).argmax())
        _, stretches = trajectory.at(self.stamps)
        lost = self.stamps[stretches != self._stretch]
        if len(lost):
            logger.warning(
                "%s: %d of %d images have no pose in %s (outside it, in a gap, or beyond a break),"
                " first %d",
                self.name,
                len(lost),
                len(self.stamps),
                trajectory.source,
                lost[0],
            )
