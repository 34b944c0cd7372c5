"""Writes a drive as a nuScenes tree that the nuScenes devkit and `NuscenesDrive` read.

Every instant becomes a sample: one key frame of every camera of the rig (`nuscenes_rig`) and of
one lidar. The lidar's own frame is that of nuScenes (x right, y forward, z up), where the drive
says that the lidar was; points keep where they were in the world. Every image has an ego pose of
its own, such that the camera is where the drive says. nuScenes knows no distortion: images are
undistorted.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from rosam_core.drives.base import Drive
from rosam_core.drives.nuscenes_rig import Rig, Shot, find_rigs, mounts, scenes_of
from rosam_core.drives.nuscenes_tables import CAMERAS, LIDAR
from rosam_core.drives.whole_folder import whole_folder
from rosam_core.geometry.motion import moved
from rosam_core.geometry.undistortion import undistorted
from rosam_core.types import Camera, Float32, Float64, Frame

CAMERA_HEIGHT_M = 1.5  # of the camera above the ego frame, which nuScenes has on the ground
LIDAR_HEIGHT_M = 1.84
SAME_POINT_M = 0.005  # finer than a lidar measures
DESCRIPTIONS = {
    "day-clear": "Clear day",
    "night": "Night",
    "day-rain": "Rain",
    "fog": "Fog",
    "unknown": "Unknown conditions",
}
EMPTY_TABLES = ("attribute", "category", "instance", "sample_annotation", "visibility")

T_EGO_CAMERA = np.array([[0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, CAMERA_HEIGHT_M], [0, 0, 0, 1.0]])
T_EGO_LIDAR = np.array([[0, 1, 0, 0], [-1, 0, 0, 0], [0, 0, 1, LIDAR_HEIGHT_M], [0, 0, 0, 1.0]])


def write_nuscenes(
    drives: Sequence[Drive],
    out: str | Path,
    *,
    version: str = "v1.0-rosam",
    jpeg_quality: int | None = None,
    overwrite: bool = False,
) -> int:
    """Writes drives as one nuScenes tree; a run of frames of one condition is a scene.

    Args:
        drives: Frames with poses. Drives that recorded one scene with different cameras, such as
            those of a bag, are written together.
        out: Root of the tree; it appears when everything is written.
        version: Name of the folder of tables, `v1.0-...`.
        jpeg_quality: Of the images, 0 to 100; None writes PNG, without loss.
        overwrite: Replace a tree that is there.

    Returns:
        The number of images.

    Raises:
        FileExistsError: There is something at `out`.
        ValueError: A frame has no pose, there is no frame, or a drive has too many cameras.
    """
    out = Path(out)
    with whole_folder(out, "a nuScenes tree", overwrite) as folder:
        tree = _Tree(folder, jpeg_quality)
        for rig in find_rigs(drives):
            tree.add(rig)
        tree.finish(version)
    return tree.images


class _Tree:
    """The tables and files of a tree that is being written."""

    def __init__(self, root: Path, jpeg_quality: int | None) -> None:
        self.root, self.jpeg_quality = root, jpeg_quality
        self.tables: dict[str, list[dict[str, Any]]] = {
            name: []
            for name in (
                *("scene", "sample", "sample_data", "ego_pose", "calibrated_sensor"),
                *("sensor", "log", "map", *EMPTY_TABLES),
            )
        }
        self._calibrations: dict[tuple[str, Camera, bytes], str] = {}
        self.images = 0
        (root / "maps").mkdir()
        self._add_sensor(LIDAR, "lidar")
        self._lidar_calibration = self._calibrate(LIDAR, T_EGO_LIDAR, [], "lidar")

    def _add_sensor(self, channel: str, modality: str) -> None:
        """Adds a row and a folder for a channel, once."""
        token = _token("sensor", channel)
        if all(row["token"] != token for row in self.tables["sensor"]):
            row = {"token": token, "channel": channel, "modality": modality}
            self.tables["sensor"].append(row)
            (self.root / "samples" / channel).mkdir(parents=True)

    def add(self, rig: Rig) -> None:
        """Writes every image of a rig."""
        shots = rig.shots()
        T_ego_camera = mounts(shots, T_EGO_CAMERA)
        for name, condition, instants in scenes_of(shots):
            number = len(self.tables["scene"])
            scene, log = _token("scene", str(number)), _token("log", str(number))
            first = len(self.tables["sample_data"])
            tokens = [self._sample(scene, instant, T_ego_camera) for instant in instants]
            _chain(self.tables["sample"][-len(tokens) :])
            data = self.tables["sample_data"][first:]
            for channel in (*CAMERAS, LIDAR):
                _chain([row for row in data if f"/{channel}/" in row["filename"]])
            self.tables["scene"].append(
                {
                    "token": scene,
                    "log_token": log,
                    "nbr_samples": len(tokens),
                    "first_sample_token": tokens[0],
                    "last_sample_token": tokens[-1],
                    "name": f"scene-{number:04d}",
                    "description": DESCRIPTIONS[condition],
                }
            )
            self.tables["log"].append(
                {
                    "token": log,
                    "logfile": name,
                    "vehicle": "",
                    "date_captured": "",
                    "location": name,
                }
            )

    def _sample(self, scene: str, shots: Sequence[Shot], mounted: dict[str, Float64]) -> str:
        """Writes the images of an instant and their lidar; returns the token of its sample."""
        number = len(self.tables["sample"])
        stamp = shots[0].glance.stamp_ns // 1000
        token = _token("sample", str(number))
        self.tables["sample"].append({"token": token, "timestamp": stamp, "scene_token": scene})
        clouds, T_world_lidar = [], None
        for shot in shots:
            frame = undistorted(shot.drive[shot.index])
            if frame.T_world_camera is None:
                raise ValueError(
                    f"frame {shot.index} has no pose, which nuScenes needs of every frame"
                )
            T_ego_camera = mounted.get(shot.channel, T_EGO_CAMERA)
            T_world_ego = frame.T_world_camera @ np.linalg.inv(T_ego_camera)
            self._image(token, number, shot.channel, frame, T_ego_camera, T_world_ego)
            if frame.lidar is not None:
                if T_world_lidar is None:
                    T_world_lidar = T_world_ego @ T_EGO_LIDAR
                    if frame.lidar_origin is not None:
                        T = frame.T_world_camera
                        T_world_lidar[:3, 3] = T[:3, :3] @ frame.lidar_origin + T[:3, 3]
                T_lidar_camera = np.linalg.inv(T_world_lidar) @ frame.T_world_camera
                clouds.append(moved(frame.lidar.astype(np.float64), T_lidar_camera))
        if T_world_lidar is not None:
            points = clouds[0] if len(clouds) == 1 else _each_once(np.concatenate(clouds))
            rows = np.zeros((len(points), 5), np.float32)  # x, y, z, intensity, ring
            rows[:, :3] = points
            name = f"samples/{LIDAR}/{number:06d}.pcd.bin"
            (self.root / name).write_bytes(rows.tobytes())
            T_world_ego = T_world_lidar @ np.linalg.inv(T_EGO_LIDAR)
            common = self._posed(token, f"{number}/{LIDAR}", stamp, T_world_ego)
            self._data(common, name, self._lidar_calibration, 0, 0)
        return token

    def _image(
        self,
        sample: str,
        number: int,
        channel: str,
        frame: Frame,
        T_ego_camera: Float64,
        T_world_ego: Float64,
    ) -> None:
        """Writes an image with its rows."""
        suffix = ".png" if self.jpeg_quality is None else ".jpg"
        self._add_sensor(channel, "camera")
        name = f"samples/{channel}/{number:06d}{suffix}"
        quality = self.jpeg_quality
        options = [] if quality is None else [cv2.IMWRITE_JPEG_QUALITY, quality]
        encoded = cv2.imencode(suffix, cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR), options)[1]
        (self.root / name).write_bytes(encoded.tobytes())
        camera = frame.camera
        key = (channel, camera, T_ego_camera.tobytes())
        if key not in self._calibrations:
            self._calibrations[key] = self._calibrate(
                channel, T_ego_camera, camera.K.tolist(), str(len(self._calibrations))
            )
        common = self._posed(sample, f"{number}/{channel}", frame.stamp_ns // 1000, T_world_ego)
        self._data(common, name, self._calibrations[key], camera.width, camera.height)
        self.images += 1

    def _posed(self, sample: str, name: str, stamp: int, T_world_ego: Float64) -> dict[str, Any]:
        """Adds an ego pose; returns what a row of `sample_data` says of it."""
        token = _token("ego_pose", name)
        self.tables["ego_pose"].append({"token": token, "timestamp": stamp, **_pose(T_world_ego)})
        return {"sample_token": sample, "ego_pose_token": token, "timestamp": stamp}

    def _data(
        self, common: dict[str, Any], name: str, calibration: str, width: int, height: int
    ) -> None:
        self.tables["sample_data"].append(
            {
                "token": _token("sample_data", name),
                **common,
                "calibrated_sensor_token": calibration,
                "fileformat": "pcd" if name.endswith(".bin") else name.rpartition(".")[2],
                "is_key_frame": True,
                "height": height,
                "width": width,
                "filename": name,
            }
        )

    def _calibrate(self, channel: str, T: Float64, K: list[list[float]], name: str) -> str:
        sensor = _token("sensor", channel)
        token = _token("calibrated_sensor", f"{sensor}/{name}")
        self.tables["calibrated_sensor"].append(
            {"token": token, "sensor_token": sensor, **_pose(T), "camera_intrinsic": K}
        )
        return token

    def finish(self, version: str) -> None:
        """Writes the tables."""
        if not self.tables["sample"]:
            raise ValueError("the drives have no frame: nothing to write")
        logs = [row["token"] for row in self.tables["log"]]
        # The devkit wants a map for every log, and its picture: here one black pixel.
        self.tables["map"].append(
            {
                "token": _token("map", ""),
                "log_tokens": logs,
                "category": "semantic_prior",
                "filename": "maps/none.png",
            }
        )
        cv2.imwrite(str(self.root / "maps/none.png"), np.zeros((1, 1), np.uint8))
        folder = self.root / version
        folder.mkdir()
        for name, rows in self.tables.items():
            (folder / f"{name}.json").write_text(json.dumps(rows, indent=0), encoding="utf-8")


def _each_once(points: Float32) -> Float32:
    """Returns points of several cameras' frames without those that two cameras share."""
    _, first = np.unique(np.rint(points / SAME_POINT_M), axis=0, return_index=True)
    return points[np.sort(first)]


def _chain(rows: list[dict[str, Any]]) -> None:
    """Links rows to their neighbours in time, as nuScenes' linked lists are."""
    tokens = ["", *(row["token"] for row in rows), ""]
    for row, before, after in zip(rows, tokens[:-2], tokens[2:], strict=True):
        row["prev"], row["next"] = before, after


def _token(table: str, name: str) -> str:
    """Returns 32 hexadecimal digits, the same for the same row of the same drives."""
    return hashlib.sha256(f"{table}/{name}".encode()).hexdigest()[:32]


def _pose(T: Float64) -> dict[str, Any]:
    """Returns a rigid transform as nuScenes writes it: quaternion (w, x, y, z), translation."""
    r = T[:3, :3]
    # Of the four equal forms the one that divides by the largest component.
    squares = 1 + np.array(
        [
            np.trace(r),
            r[0, 0] - r[1, 1] - r[2, 2],
            r[1, 1] - r[0, 0] - r[2, 2],
            r[2, 2] - r[0, 0] - r[1, 1],
        ]
    )
    products = np.array(
        [
            [0, r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]],
            [0, 0, r[0, 1] + r[1, 0], r[0, 2] + r[2, 0]],
            [0, 0, 0, r[1, 2] + r[2, 1]],
            [0, 0, 0, 0],
        ]
    )
    products = products + products.T + np.diag(squares)
    largest = products[int(np.argmax(squares))]
    q = largest / np.linalg.norm(largest)
    return {"rotation": q.tolist(), "translation": T[:3, 3].tolist()}
