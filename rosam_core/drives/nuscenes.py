"""nuScenes key frames with motion-compensated lidar, read without the devkit."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from rosam_core.drives.base import Drive, Glance
from rosam_core.geometry.projection import points_in_view
from rosam_core.types import Camera, Float32, Float64, Frame

CAMERAS = (
    "CAM_FRONT",
    "CAM_FRONT_RIGHT",
    "CAM_BACK_RIGHT",
    "CAM_BACK",
    "CAM_BACK_LEFT",
    "CAM_FRONT_LEFT",
)
LIDAR = "LIDAR_TOP"


@dataclasses.dataclass(frozen=True)
class _View:
    """One key-frame image: where it lies, its calibration and the sweep that goes with it."""

    file: str
    stamp_ns: int
    channel: str
    scene: str
    condition: str
    camera: Camera
    T_world_camera: Float64
    lidar_file: str | None
    T_world_lidar: Float64 | None


class NuscenesDrive(Drive):
    """The key frames of a nuScenes tree, in time order, one frame per camera image.

    The lidar sweep of the key frame is moved from its own time to the image's: sensor -> ego at
    lidar time -> world -> ego at camera time -> camera. `Frame.lidar` holds the points more than
    1 m in front and more than 1 px inside the image, as the devkit keeps them. World z is 0 on
    the ground, so the camera's height is `T_world_camera[2, 3]`.
    """

    def __init__(
        self,
        root: str | Path,
        version: str | None = None,
        cameras: Sequence[str] = CAMERAS,
    ) -> None:
        """Reads the tables; images and sweeps are read when a frame is.

        Args:
            root: Folder that holds `samples/` and the version folder.
            version: For example `v1.0-trainval`; by default the only `v1.0-*` folder there is.
            cameras: Channels to give, in this order within a key frame.

        Raises:
            FileNotFoundError: There is no such tree; the message names what is missing.
            ValueError: Several versions and none chosen, an unknown camera, or a broken table.
        """
        self.root = Path(root)
        self.version = version or _only_version(self.root)
        self.name = f"{self.root.name}/{self.version}"
        unknown = sorted(set(cameras) - set(CAMERAS))
        if unknown:
            raise ValueError(f"unknown nuScenes cameras {unknown}: there are {list(CAMERAS)}")
        self._views = self._read_tables(tuple(cameras))

    def __len__(self) -> int:
        return len(self._views)

    def scene(self, index: int) -> str:
        """Returns the name of the nuScenes scene, such as `scene-0061`."""
        return self._views[index].scene

    def __getitem__(self, index: int) -> Frame:
        if not 0 <= index < len(self):
            raise IndexError(f"frame {index} of {len(self)}")
        view = self._views[index]
        image = cv2.imread(str(self.root / view.file), cv2.IMREAD_COLOR)
        if image is None:
            raise FileNotFoundError(
                f"cannot read the image {self.root / view.file}: is the nuScenes part with it "
                "unpacked here?"
            )
        if image.shape[:2] != (view.camera.height, view.camera.width):
            raise ValueError(
                f"{self.root / view.file} is {image.shape[1]}x{image.shape[0]}, the table says "
                f"{view.camera.width}x{view.camera.height}"
            )
        return Frame(
            image=np.ascontiguousarray(image[..., ::-1], np.uint8),
            camera=view.camera,
            stamp_ns=view.stamp_ns,
            T_world_camera=view.T_world_camera,
            condition=view.condition,
            camera_name=view.channel,
            lidar=self._lidar(view),
        )

    def glance(self, index: int) -> Glance:
        """Returns what the tables know of a frame."""
        view = self._views[index]
        return Glance(
            stamp_ns=view.stamp_ns,
            camera=view.camera,
            T_world_camera=view.T_world_camera,
            condition=view.condition,
            camera_name=view.channel,
            has_lidar=view.lidar_file is not None,
        )

    def _lidar(self, view: _View) -> Float32 | None:
        """Returns the sweep as the camera sees it, float32[N,3] [m]."""
        if view.lidar_file is None or view.T_world_lidar is None:
            return None
        path = self.root / view.lidar_file
        if not path.is_file():
            raise FileNotFoundError(f"no lidar sweep {path}: is the nuScenes part unpacked here?")
        values = np.fromfile(path, dtype=np.float32)
        if values.size % 5:
            raise ValueError(
                f"{path} holds {values.size} floats, not rows of 5 (x, y, z, intensity, ring): "
                "truncated download?"
            )
        T_camera_lidar = np.linalg.inv(view.T_world_camera) @ view.T_world_lidar
        points = values.reshape(-1, 5)[:, :3].astype(np.float64)
        in_camera = points @ T_camera_lidar[:3, :3].T + T_camera_lidar[:3, 3]
        kept, _ = points_in_view(in_camera.astype(np.float32), view.camera)
        return kept

    def _read_tables(self, cameras: tuple[str, ...]) -> list[_View]:
        samples = self._table("sample")
        scenes = self._table("scene")
        sensors = self._table("sensor")
        calibrations = self._table("calibrated_sensor")
        key_data = [row for row in self._rows("sample_data") if row["is_key_frame"]]
        poses = self._table("ego_pose", {row["ego_pose_token"] for row in key_data})
        by_sample: dict[str, dict[str, dict[str, Any]]] = {}
        for row in key_data:
            calibration = _find(calibrations, row["calibrated_sensor_token"], "calibrated_sensor")
            channel = _find(sensors, calibration["sensor_token"], "sensor")["channel"]
            by_sample.setdefault(row["sample_token"], {})[channel] = row

        def world_from_sensor(row: dict[str, Any]) -> Float64:
            pose = _find(poses, row["ego_pose_token"], "ego_pose")
            return transform(pose) @ transform(calibrations[row["calibrated_sensor_token"]])

        views = []
        for sample in sorted(samples.values(), key=lambda row: row["timestamp"]):
            data = by_sample.get(sample["token"], {})
            scene = _find(scenes, sample["scene_token"], "scene")
            lidar = data.get(LIDAR)
            T_world_lidar = None if lidar is None else world_from_sensor(lidar)
            for channel in cameras:
                if channel not in data:
                    continue
                row = data[channel]
                K = calibrations[row["calibrated_sensor_token"]]["camera_intrinsic"]
                views.append(
                    _View(
                        file=row["filename"],
                        stamp_ns=int(row["timestamp"]) * 1000,
                        channel=channel,
                        scene=str(scene.get("name", scene["token"])),
                        condition=condition_of(scene["description"]),
                        camera=Camera(
                            K[0][0], K[1][1], K[0][2], K[1][2], row["width"], row["height"]
                        ),
                        T_world_camera=world_from_sensor(row),
                        lidar_file=None if lidar is None else lidar["filename"],
                        T_world_lidar=T_world_lidar,
                    )
                )
        if not views:
            raise ValueError(f"{self.root / self.version} has no key-frame image of {cameras}")
        return views

    def _rows(self, table: str) -> list[dict[str, Any]]:
        path = self.root / self.version / f"{table}.json"
        if not path.is_file():
            raise FileNotFoundError(
                f"no nuScenes table {path}: expected ROOT/{self.version}/{table}.json"
            )
        try:
            rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            raise ValueError(f"nuScenes table {path} is not JSON: {error}") from error
        return rows

    def _table(self, table: str, tokens: set[str] | None = None) -> dict[str, dict[str, Any]]:
        rows = self._rows(table)
        return {r["token"]: r for r in rows if tokens is None or r["token"] in tokens}


def condition_of(description: str) -> str:
    """Returns the condition of a scene: night comes first, so night rain is night.

    Fog and unknown conditions occur in what `nuscenes_writer` writes, not in nuScenes itself.

    Args:
        description: The scene's description in nuScenes' words.
    """
    words = description.lower()
    named = {"night": "night", "rain": "day-rain", "fog": "fog", "unknown": "unknown"}
    return next((named[word] for word in named if word in words), "day-clear")


def transform(row: dict[str, Any]) -> Float64:
    """Returns the rigid transform of a `calibrated_sensor` or `ego_pose` row, float64[4,4].

    Args:
        row: Has `rotation`, a quaternion (w, x, y, z), and `translation` [m].
    """
    q = np.asarray(row["rotation"], dtype=np.float64)
    w, x, y, z = q / np.linalg.norm(q)
    T = np.eye(4)
    T[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    T[:3, 3] = row["translation"]
    return T


def _find(table: dict[str, dict[str, Any]], token: str, name: str) -> dict[str, Any]:
    """Returns the row of a token, or says which table lacks it."""
    if token not in table:
        raise ValueError(f"nuScenes table {name}.json lacks the token {token}: incomplete copy?")
    return table[token]


def _only_version(root: Path) -> str:
    """Returns the name of the only version folder."""
    versions = sorted(path.parent.name for path in root.glob("v1.0-*/sample_data.json"))
    if not versions:
        raise FileNotFoundError(
            f"no nuScenes tables in {root}: expected v1.0-*/sample_data.json there"
        )
    if len(versions) > 1:
        raise ValueError(f"{root} holds {versions}: say which version")
    return versions[0]
