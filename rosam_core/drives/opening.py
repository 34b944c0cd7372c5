"""Opens what lies at a path as drives: bags, nuScenes, RobotCar, KITTI, synthetic, images."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rosam_core.drives.base import Drive
from rosam_core.types import Camera

if TYPE_CHECKING:
    from rosam_core.drives.bag_cameras import CameraTopic

logger = logging.getLogger(__name__)

KINDS = ("synthetic", "nuscenes", "robotcar", "bag", "kitti", "frames")
BAYER_PATTERNS = ("rggb", "bggr", "gbrg", "grbg")
"""Colours of the first two rows of a raw image, as ROS names them."""

BAG_SUFFIXES = (".bag", ".mcap", ".db3")
SYNTHETIC_FORMAT = "rosam-synthetic-1"
FRAMES_FORMAT = "rosam-frames-1"


@dataclasses.dataclass(frozen=True)
class DriveOptions:
    """What a user states about a drive because its files do not; only where a kind has a use.

    Attributes:
        topic: Cameras of a bag, by their topics; None is every one, and of a raw and a compressed
            copy of the same images one.
        lidar: Point cloud topic of a bag that is the lidar; None is the first by name.
        bayer: Pattern of raw images, one of `BAYER_PATTERNS`; None is no mosaic.
        camera: Intrinsics of images, of a video, or of a bag's cameras without camera_info; or
            their calibration file, of which rectified images of a bag use the projection.
        fov_deg: Horizontal field of view of the same, instead of intrinsics [degrees].
        fps: Rate of images or of a video [1/s].
        depth: Folder of true depth of images.
        kitti_camera: Which of KITTI's cameras, 0 to 3; None is 2.
        nuscenes_camera: Which of nuScenes' cameras; None is all six.
        nuscenes_version: Folder of tables, if there are several.
        nuscenes_split: Only scenes of this split (`split_scenes`).
        nuscenes_sweeps: Also its images between the key frames.
        nuscenes_min_speed: Without images of a vehicle slower than this [m/s].
        robotcar_camera: Which of RobotCar's, such as `stereo/left`; None is the first there.
        robotcar_split: Only frames of this split of md4all's, such as `test`.
        robotcar_truth: How its lidar becomes true depth, `corrected` (None) or `sdk_compat`.
        robotcar_window: Scans up to so long before and after an image belong to it; None is 4 [s].
    """

    camera: Camera | Path | None = None
    fov_deg: float | None = None
    fps: float | None = None
    depth: Path | None = None
    kitti_camera: int | None = None
    nuscenes_camera: tuple[str, ...] | None = None
    nuscenes_version: str | None = None
    nuscenes_split: str | None = None
    nuscenes_sweeps: bool | None = None
    nuscenes_min_speed: float | None = None
    robotcar_camera: str | None = None
    robotcar_split: str | None = None
    robotcar_truth: str | None = None
    robotcar_window: float | None = None
    topic: tuple[str, ...] | None = None
    lidar: str | None = None
    bayer: str | None = None

    def check(self, kind: str) -> None:
        """Refuses what has no meaning for a kind of drive: it would be ignored silently.

        Args:
            kind: One of `KINDS`.

        Raises:
            ValueError: An option is stated that this kind has no use for.
        """
        names = {"fov_deg": "fov"}
        for name, value in vars(self).items():
            if value is not None and name not in self._used_by(kind):
                option = names.get(name, name).replace("_", "-")
                raise ValueError(f"--{option} has no meaning for a drive of kind {kind}")

    def usable_by(self, kind: str) -> DriveOptions:
        """Returns what a kind of drive has a use for, and nothing else.

        Args:
            kind: One of `KINDS`.
        """
        return DriveOptions(**{name: getattr(self, name) for name in self._used_by(kind)})

    def _used_by(self, kind: str) -> set[str]:
        return {
            "frames": {"camera", "fov_deg", "fps", "depth", "bayer"},
            "bag": {"camera", "fov_deg", "topic", "lidar"},
            "kitti": {"kitti_camera"},
            "nuscenes": {name for name in vars(self) if name.startswith("nuscenes_")},
            "robotcar": {name for name in vars(self) if name.startswith("robotcar_")},
        }.get(kind, set())


def find_kind(path: Path) -> str:
    """Returns which of `KINDS` lies at a path.

    Args:
        path: A file or folder.

    Raises:
        FileNotFoundError: There is nothing at the path.
        ValueError: It is none of them; the message says what was looked for.
    """
    if not path.exists():
        raise FileNotFoundError(f"no drive at {path}")
    if path.suffix in BAG_SUFFIXES or (path / "metadata.yaml").is_file():
        return "bag"
    if any(path.glob("v1.0-*/sample_data.json")):
        return "nuscenes"
    from rosam_core.drives.frames import find_frames
    from rosam_core.drives.kitti import find_kitti
    from rosam_core.drives.robotcar_layout import find_robotcar

    if find_robotcar(path):
        return "robotcar"
    if find_kitti(path):
        return "kitti"
    described = path / "drive.json"
    if described.is_file():
        found = _format_of(described)
        if found == SYNTHETIC_FORMAT:
            return "synthetic"
        if found not in (None, FRAMES_FORMAT) or not find_frames(path):
            raise ValueError(
                f"{described} has format {found!r}, expected {SYNTHETIC_FORMAT!r}, or "
                f"{FRAMES_FORMAT!r} with images beside it"
            )
        return "frames"
    below = [_format_of(file) for file in path.glob("*/drive.json")]
    if SYNTHETIC_FORMAT in below:
        return "synthetic"
    if find_frames(path):
        return "frames"
    if below:
        return "synthetic"  # whose reader says what is wrong
    raise ValueError(
        f"{path} is no drive: expected a bag ({', '.join(BAG_SUFFIXES)} or a rosbag2 folder), a "
        "nuScenes root (v1.0-*/sample_data.json), KITTI (image_02/data, or sequences), RobotCar "
        "(stereo/left and stereo.timestamps), synthetic drives (drive.json here or one folder "
        "below; `rosam synth` makes them), a video, or a folder of images"
    )


def _format_of(described: Path) -> object:
    """Returns the format that a `drive.json` states, None if it states none."""
    try:
        return json.loads(described.read_text(encoding="utf-8")).get("format")
    except (json.JSONDecodeError, UnicodeDecodeError, AttributeError) as error:
        raise ValueError(f"{described} is not a drive description: {error}") from error


def open_drives(
    path: str | Path,
    kind: str = "auto",
    conditions: Sequence[str] = (),
    options: DriveOptions | None = None,
) -> list[Drive]:
    """Opens the drives at a path, one for every folder, camera or condition it holds.

    Args:
        path: Bag, nuScenes root, RobotCar traversal, folder of them or split file of md4all, KITTI
            recording, sequence or folder of them, synthetic drive or folder of them, folder of
            images, or video.
        kind: One of `KINDS`, or `"auto"` to look.
        conditions: For synthetic drives, which renderings to open; every one there is if empty.
            Other kinds have one condition a frame, which the caller picks.
        options: What the files do not tell.

    Raises:
        FileNotFoundError: There is nothing at the path.
        ValueError: It cannot be read as that kind, or lacks a condition.
    """
    path = Path(path)
    kind = find_kind(path) if kind == "auto" else kind
    options = options or DriveOptions()
    options.check(kind)
    if kind == "nuscenes":
        return [_open_nuscenes(path, options)]
    if kind == "bag":
        return _open_bag(path, options)
    if kind == "kitti":
        from rosam_core.drives.kitti import DEFAULT_CAMERA, KittiDrive, find_kitti

        index = DEFAULT_CAMERA if options.kitti_camera is None else options.kitti_camera
        return [KittiDrive(folder, index) for folder in find_kitti(path) or [path]]
    if kind == "robotcar":
        from rosam_core.drives.robotcar import RobotCarDrive
        from rosam_core.drives.robotcar_layout import find_robotcar
        from rosam_core.drives.robotcar_lidar import TRUTHS, WINDOW_S

        truth = options.robotcar_truth or TRUTHS[0]
        window = WINDOW_S if options.robotcar_window is None else options.robotcar_window
        return [
            RobotCarDrive(
                folder, options.robotcar_camera, split=split, truth=truth, window_s=window
            )
            for folder, split in find_robotcar(path, options.robotcar_split) or [(path, None)]
        ]
    if kind == "frames":
        from rosam_core.drives.frames import FramesDrive, find_frames

        stated = {
            "camera": _stated_camera(options),
            "fov_deg": options.fov_deg,
            "fps": options.fps,
            "depth": options.depth,
            "bayer": options.bayer,
        }
        return [FramesDrive(folder, **stated) for folder in find_frames(path) or [path]]
    if kind != "synthetic":
        raise ValueError(f"unknown kind of drive {kind!r}: expected auto, {', '.join(KINDS)}")
    from rosam_core.drives.synthetic.drive import RECORDED, SyntheticDrive, find_drives

    folders = [path] if (path / "drive.json").is_file() else find_drives(path)
    drives: list[Drive] = []
    for folder in folders:
        described = json.loads((folder / "drive.json").read_text(encoding="utf-8"))
        rendered = described.get("conditions", [])
        if all("condition" in frame for frame in described.get("frames", [{}])):
            drives.append(SyntheticDrive(folder, RECORDED))  # one condition a frame
            continue
        drives += [
            SyntheticDrive(folder, name) for name in conditions or rendered if name in rendered
        ]
    if not drives:
        raise ValueError(f"{path} has no synthetic drive in {list(conditions) or 'any condition'}")
    return drives


def _open_nuscenes(path: Path, options: DriveOptions) -> Drive:
    from rosam_core.drives.nuscenes import NuscenesDrive, only_version, split_scenes
    from rosam_core.drives.nuscenes_tables import CAMERAS

    version = options.nuscenes_version or only_version(path)
    split = options.nuscenes_split
    return NuscenesDrive(
        path,
        version,
        options.nuscenes_camera or CAMERAS,
        sweeps=bool(options.nuscenes_sweeps),
        scenes=split_scenes(path, version, split) if split else (),
        min_speed_mps=options.nuscenes_min_speed or 0.0,
    )


def _open_bag(path: Path, options: DriveOptions) -> list[Drive]:
    """Opens every camera of a bag, or the stated ones, by a camera_info or the stated view.

    A warning names each that is left out.
    """
    from rosam_core.drives.bag_cameras import choose_cameras
    from rosam_core.drives.bag_index import choose_lidar, index_bag
    from rosam_core.drives.bag_reader import BagReader
    from rosam_core.drives.rosbag import RosbagDrive

    with BagReader(path) as bag:
        cameras, copies = choose_cameras(bag, options.topic or ())
        found = [(camera, _stated_view(camera, options)) for camera in cameras]
        usable = [(camera, stated) for camera, stated in found if camera.camera or stated]
        problems = [f"{c.topic}: {c.problem}" for c, stated in found if not (c.camera or stated)]
        if problems and (options.topic or not usable):
            raise ValueError(f"{path} has no camera that can be scored: " + "; ".join(problems))
        for copy in copies:
            logger.warning(
                "%s left out, a copy of another transport: --topic %s takes it", copy, copy
            )
        for problem in problems:
            logger.warning("left out %s", problem)
        lidar = choose_lidar(bag, options.lidar)
        index = index_bag(bag, [camera for camera, _ in usable], lidar)
    return [RosbagDrive(path, camera.topic, stated, index=index) for camera, stated in usable]


def _stated_view(topic: CameraTopic, options: DriveOptions) -> Camera | None:
    """Returns the stated intrinsics for a camera without camera_info, None if not needed."""
    if topic.camera is not None:
        return None
    if options.camera is None and options.fov_deg is not None:
        if not (topic.width and topic.height):
            return None
        return Camera.from_fov(options.fov_deg, topic.width, topic.height)
    return _stated_camera(options, topic.topic)


def _stated_camera(options: DriveOptions, image_topic: str = "") -> Camera | None:
    """Returns the stated intrinsics, of a file those of such a topic."""
    if not isinstance(options.camera, Path):
        return options.camera
    from rosam_core.drives.bag_cameras import load_camera_file

    return load_camera_file(options.camera, image_topic)
