"""nuScenes images with motion-compensated lidar, read without the devkit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rosam_core.drives.base import Drive, Glance, height_above_zero
from rosam_core.drives.condition_words import adverse_condition
from rosam_core.drives.image_files import read_image
from rosam_core.drives.nuscenes_tables import CAMERAS, NuscenesIndex, load_index
from rosam_core.geometry.motion import moved
from rosam_core.geometry.projection import points_in_view
from rosam_core.types import Camera, Float32, Float64, Frame, UInt8

LOWEST_M, HIGHEST_M = 0.3, 4.0  # of cameras of vehicles, above the ground


class NuscenesDrive(Drive):
    """The images of a nuScenes tree, in time order: one frame per camera image.

    The lidar sweep of the key frame is moved from its own time to the image's: sensor -> ego at
    lidar time -> world -> ego at camera time -> camera. `Frame.lidar` holds the points more than
    1 m in front and more than 1 px inside the image, as the devkit keeps them. World z is 0 on
    the ground, so the camera's height is `T_world_camera[2, 3]`. Sweeps come without lidar.
    """

    def __init__(
        self,
        root: str | Path,
        version: str | None = None,
        cameras: Sequence[str] = CAMERAS,
        *,
        sweeps: bool = False,
        scenes: Sequence[str] = (),
        min_speed_mps: float = 0.0,
        cache: Path | None = None,
    ) -> None:
        """Reads the tables; images and sweeps are read when a frame is.

        Args:
            root: Folder that holds `samples/` and the version folder.
            version: For example `v1.0-trainval`; by default the only `v1.0-*` folder there is.
            cameras: Channels to give, in this order within a key frame.
            sweeps: Also the images between the key frames, at 12 Hz.
            scenes: Names of the scenes to give (see `split_scenes`); all if empty.
            min_speed_mps: Leave out images during which the vehicle is slower [m/s].
            cache: Where the index of large tables is kept; by default the user's cache folder.

        Raises:
            FileNotFoundError: There is no such tree; the message names what is missing.
            ValueError: Several versions and none chosen, an unknown camera or scene, a broken
                table, or nothing is left.
        """
        self.root = Path(root)
        self.version = version or only_version(self.root)
        self.name = f"{self.root.name}/{self.version}"
        unknown = sorted(set(cameras) - set(CAMERAS))
        if unknown:
            raise ValueError(f"unknown nuScenes cameras {unknown}: there are {list(CAMERAS)}")
        self._index = index = load_index(self.root / self.version, sweeps, cache)
        self._grounded: dict[int, bool] = {}
        self._conditions = [condition_of(scene["description"]) for scene in index.scenes]
        kept = np.isin(index.channel, [CAMERAS.index(name) for name in cameras])
        if scenes:
            kept &= np.isin(index.scene, self._scene_numbers(scenes))
        if min_speed_mps > 0:
            kept &= ego_speed(index) >= min_speed_mps
        rank = np.array([cameras.index(c) if c in cameras else -1 for c in CAMERAS])
        moment = index.stamp_us if sweeps else index.sample_us
        order = np.lexsort((rank[index.channel], moment))
        self._rows = order[kept[order]]
        if not len(self._rows):
            what = "image" if sweeps else "key-frame image"
            slow = f" at {min_speed_mps:g} m/s or more" if min_speed_mps > 0 else ""
            raise ValueError(
                f"{self.root / self.version} has no {what} of {tuple(cameras)}{slow}"
                + (f" in {len(scenes)} scenes" if scenes else "")
            )

    def __len__(self) -> int:
        return len(self._rows)

    def scene(self, index: int) -> str:
        """Returns the name of the nuScenes scene, such as `scene-0061`."""
        return self._index.scenes[int(self._index.scene[self._rows[index]])]["name"]

    def __getitem__(self, index: int) -> Frame:
        known = self.glance(index)
        image = self.image(index)
        lidar, lidar_origin = self._lidar(int(self._rows[index]), known)
        return Frame(
            image=image,
            camera=known.camera,
            stamp_ns=known.stamp_ns,
            T_world_camera=known.T_world_camera,
            condition=known.condition,
            camera_name=known.camera_name,
            lidar=lidar,
            lidar_origin=lidar_origin,
        )

    def image(self, index: int) -> UInt8:
        """Reads an image without its lidar sweep, uint8[H,W,3] RGB."""
        known = self.glance(index)
        row = self._rows[index]
        path = self.root / self._index.file[row].decode()
        if not path.is_file():
            raise FileNotFoundError(
                f"no image {path}: is the nuScenes part with it unpacked here?"
            )
        image = read_image(path)
        if image.shape[:2] != (known.camera.height, known.camera.width):
            raise ValueError(
                f"{path} is {image.shape[1]}x{image.shape[0]}, the table says "
                f"{known.camera.width}x{known.camera.height}"
            )
        return image

    def camera_height(self, index: int) -> float | None:
        """Returns the height of the camera [m], None where the scene has its zero elsewhere."""
        height = height_above_zero(self.glance(index).T_world_camera)
        return (
            height if self._is_on_the_ground(int(self._index.scene[self._rows[index]])) else None
        )

    def _is_on_the_ground(self, scene: int) -> bool:
        """Returns whether all cameras of a scene are where those of a vehicle are above z = 0."""
        if scene not in self._grounded:
            of_scene = np.flatnonzero(self._index.scene[self._rows] == scene)
            poses = (self.glance(int(i)).T_world_camera for i in of_scene)
            self._grounded[scene] = all(
                height_above_zero(T, LOWEST_M, HIGHEST_M) is not None for T in poses
            )
        return self._grounded[scene]

    def glance(self, index: int) -> Glance:
        """Returns what the tables know of a frame; ValueError if that is no camera or no pose."""
        if not 0 <= index < len(self):
            raise IndexError(f"frame {index} of {len(self)}")
        table, row = self._index, self._rows[index]
        calibration = table.calibrations[table.calibration[row]]
        K, (width, height) = calibration["camera_intrinsic"], table.size[row].tolist()
        try:
            camera = Camera(K[0][0], K[1][1], K[0][2], K[1][2], width, height)
            T_world_camera = _world_from_sensor(table.pose[row], calibration)
        except ValueError as error:
            raise ValueError(f"{self.root / table.file[row].decode()}: {error}") from error
        return Glance(
            stamp_ns=int(table.stamp_us[row]) * 1000,
            camera=camera,
            T_world_camera=T_world_camera,
            condition=self._conditions[table.scene[row]],
            camera_name=CAMERAS[table.channel[row]],
            has_lidar=bool(table.lidar[row] >= 0),
        )

    def _scene_numbers(self, names: Sequence[str]) -> list[int]:
        known = {scene["name"]: i for i, scene in enumerate(self._index.scenes)}
        absent = sorted(set(names) - set(known))
        if len(absent) == len(set(names)):
            raise ValueError(
                f"{self.root / self.version} has none of the {len(absent)} scenes, such as "
                f"{absent[0]}: a split of another version?"
            )
        return [known[name] for name in names if name in known]

    def _lidar(self, row: int, known: Glance) -> tuple[Float32 | None, Float64 | None]:
        """Returns the sweep as the camera sees it, float32[N,3] [m], and where it was taken."""
        table = self._index
        number = int(table.lidar[row])
        if number < 0 or known.T_world_camera is None:
            return None, None
        path = self.root / table.lidar_file[number].decode()
        if not path.is_file():
            raise FileNotFoundError(f"no lidar sweep {path}: is the nuScenes part unpacked here?")
        values = np.fromfile(path, dtype=np.float32)
        if values.size % 5 or not values.size:
            raise ValueError(
                f"{path} holds {values.size} floats, not rows of 5 (x, y, z, intensity, ring): "
                "truncated download?"
            )
        T_world_lidar = _world_from_sensor(
            table.lidar_pose[number], table.calibrations[table.lidar_calibration[number]]
        )
        T_camera_lidar = np.linalg.inv(known.T_world_camera) @ T_world_lidar
        points = values.reshape(-1, 5)[:, :3].astype(np.float64)
        kept, _ = points_in_view(moved(points, T_camera_lidar), known.camera)
        return kept, T_camera_lidar[:3, 3]


def ego_speed(index: NuscenesIndex) -> Float64:
    """Returns the speed of the vehicle at every image, float64[n] [m/s].

    Between the image and the next one of the same camera and scene; at the end of a scene, and
    where a scene has one image, the speed before it or 0.

    Args:
        index: Images of a version.
    """
    speed = np.zeros(len(index.file))
    order = np.lexsort((index.stamp_us, index.channel, index.scene))
    same = (np.diff(index.scene[order]) == 0) & (np.diff(index.channel[order]) == 0)
    way = np.linalg.norm(np.diff(index.pose[order, 4:], axis=0), axis=1)
    seconds = np.maximum(np.diff(index.stamp_us[order]) / 1e6, 1e-6)
    between = np.where(same, way / seconds, np.nan)
    after, before = np.append(between, np.nan), np.insert(between, 0, np.nan)
    speed[order] = np.nan_to_num(np.where(np.isnan(after), before, after))
    return speed


def split_scenes(root: str | Path, version: str, split: str) -> list[str]:
    """Returns the names of the scenes of a split.

    Args:
        root: Root of the tree.
        version: Its version folder.
        split: A text file with one scene a line, or a key of `splits.json` (a JSON object of
            lists) in the version folder or the root, or a split of the nuScenes devkit (`train`,
            `val`, `mini_val`, ...) where that is installed.

    Raises:
        ValueError: There is no such split; says where it was looked for.
    """
    root = Path(root)
    if Path(split).is_file():
        lines = Path(split).read_text(encoding="utf-8").split("\n")
        names = [line.strip() for line in lines if line.strip() and line[0] != "#"]
        if not names:
            raise ValueError(f"{split} names no scene")
        return names
    for path in (root / version / "splits.json", root / "splits.json"):
        if not path.is_file():
            continue
        try:
            splits = json.loads(path.read_text(encoding="utf-8"))
            if split in splits:
                return [str(name) for name in splits[split]]
        except (json.JSONDecodeError, TypeError) as error:
            raise ValueError(f"{path} is no object of lists of scenes: {error}") from error
        raise ValueError(f"{path} has no split {split!r}: it has {', '.join(splits)}")
    try:
        from nuscenes.utils.splits import create_splits_scenes
    except ImportError:
        raise ValueError(
            f"no split {split!r}: put the lists of scenes into {root / 'splits.json'}, name a "
            "text file with one scene a line, or install nuscenes-devkit, which has the official"
        ) from None
    splits = create_splits_scenes()
    if split not in splits:
        raise ValueError(f"the nuScenes devkit has no split {split!r}: {', '.join(splits)}")
    return [str(name) for name in splits[split]]


def _world_from_sensor(pose: Float64, calibration: dict[str, Any]) -> Float64:
    """Returns T_world_sensor from an ego pose (w, x, y, z, translation) and a calibration."""
    ego = {"rotation": pose[:4], "translation": pose[4:]}
    return transform(ego) @ transform(calibration)


def condition_of(description: str) -> str:
    """Returns the condition of a scene: night comes first, so night rain is night.

    Fog and unknown conditions occur in what `nuscenes_writer` writes, not in nuScenes itself.

    Args:
        description: The scene's description in nuScenes' words.
    """
    otherwise = "unknown" if "unknown" in description.lower() else "day-clear"
    return adverse_condition(description, within_words=True) or otherwise


def transform(row: dict[str, Any]) -> Float64:
    """Returns the rigid transform of a `calibrated_sensor` or `ego_pose` row, float64[4,4].

    Args:
        row: Has `rotation`, a quaternion (w, x, y, z), and `translation` [m].

    Raises:
        ValueError: The quaternion is zero or a value is not finite.
    """
    q = np.asarray(row["rotation"], dtype=np.float64)
    norm = np.linalg.norm(q)
    if not (np.isfinite(norm) and norm > 0 and np.isfinite(row["translation"]).all()):
        raise ValueError(
            f"nuScenes pose with rotation {q.tolist()} and translation "
            f"{list(row['translation'])} is no pose: damaged table?"
        )
    w, x, y, z = q / norm
    T = np.eye(4)
    T[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    T[:3, 3] = row["translation"]
    return T


def only_version(root: Path) -> str:
    """Returns the name of the only version folder.

    Args:
        root: Root of a tree.

    Raises:
        FileNotFoundError: There is none.
        ValueError: There are several.
    """
    versions = sorted(path.parent.name for path in root.glob("v1.0-*/sample_data.json"))
    if not versions:
        raise FileNotFoundError(
            f"no nuScenes tables in {root}: expected v1.0-*/sample_data.json there"
        )
    if len(versions) > 1:
        raise ValueError(f"{root} holds {versions}: say which version")
    return versions[0]
