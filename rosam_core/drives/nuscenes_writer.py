"""Writes a drive as a nuScenes tree that the nuScenes devkit and `NuscenesDrive` read.

Every frame becomes a key frame of one camera and one lidar: `CAM_FRONT`, unless the camera's name
is one of nuScenes'. The lidar's own frame is that of nuScenes (x right, y forward, z up); points
keep where they were in the camera's frame. nuScenes knows no distortion: images are undistorted.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from rosam_core.drives.base import Drive
from rosam_core.drives.nuscenes_tables import CAMERAS, LIDAR
from rosam_core.drives.whole_folder import whole_folder
from rosam_core.geometry.undistortion import undistorted
from rosam_core.types import Camera, Float64, Frame

CAMERA_HEIGHT_M = 1.5  # of the camera above the ego frame, which nuScenes has on the ground
LIDAR_HEIGHT_M = 1.84
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
        drives: Frames with poses.
        out: Root of the tree; it appears when everything is written.
        version: Name of the folder of tables, `v1.0-...`.
        jpeg_quality: Of the images, 0 to 100; None writes PNG, without loss.
        overwrite: Replace a tree that is there.

    Returns:
        The number of frames.

    Raises:
        FileExistsError: There is something at `out`.
        ValueError: A frame has no pose, or there is no frame.
    """
    out = Path(out)
    is_tree = any(out.glob("v1.0-*/sample_data.json"))
    with whole_folder(out, "a nuScenes tree", is_tree, overwrite) as folder:
        tree = _Tree(folder, jpeg_quality)
        for drive in drives:
            tree.add(drive)
        tree.finish(version)
    return len(tree.tables["sample"])


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
        self._calibrations: dict[tuple[str, Camera], str] = {}
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

    def add(self, drive: Drive) -> None:
        """Writes every frame of a drive."""
        frames = ((index, undistorted(drive[index])) for index in range(len(drive)))
        runs = itertools.groupby(frames, lambda at: (drive.scene(at[0]), at[1].condition))
        for (name, condition), run in runs:
            number = len(self.tables["scene"])
            scene, log = _token("scene", str(number)), _token("log", str(number))
            first = len(self.tables["sample_data"])
            tokens = [self._sample(scene, index, frame) for index, frame in run]
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

    def _sample(self, scene: str, index: int, frame: Frame) -> str:
        """Writes a frame; returns the token of its sample."""
        if frame.T_world_camera is None:
            raise ValueError(f"frame {index} has no pose, which nuScenes needs of every frame")
        number = len(self.tables["sample"])
        stamp = frame.stamp_ns // 1000
        token, pose = _token("sample", str(number)), _token("ego_pose", str(number))
        self.tables["sample"].append({"token": token, "timestamp": stamp, "scene_token": scene})
        T_world_ego = frame.T_world_camera @ np.linalg.inv(T_EGO_CAMERA)
        self.tables["ego_pose"].append({"token": pose, "timestamp": stamp, **_pose(T_world_ego)})
        suffix = ".png" if self.jpeg_quality is None else ".jpg"
        channel = frame.camera_name if frame.camera_name in CAMERAS else CAMERAS[0]
        self._add_sensor(channel, "camera")
        name = f"samples/{channel}/{number:06d}{suffix}"
        quality = self.jpeg_quality
        options = [] if quality is None else [cv2.IMWRITE_JPEG_QUALITY, quality]
        encoded = cv2.imencode(suffix, cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR), options)[1]
        (self.root / name).write_bytes(encoded.tobytes())
        camera = frame.camera
        key = (channel, camera)
        if key not in self._calibrations:
            self._calibrations[key] = self._calibrate(
                channel, T_EGO_CAMERA, camera.K.tolist(), str(len(self._calibrations))
            )
        common = {"sample_token": token, "ego_pose_token": pose, "timestamp": stamp}
        self._data(common, name, self._calibrations[key], camera.width, camera.height)
        if frame.lidar is not None:
            name = f"samples/{LIDAR}/{number:06d}.pcd.bin"
            T_lidar_camera = np.linalg.inv(T_EGO_LIDAR) @ T_EGO_CAMERA
            points = frame.lidar.astype(np.float64) @ T_lidar_camera[:3, :3].T
            rows = np.zeros((len(points), 5), np.float32)  # x, y, z, intensity, ring
            rows[:, :3] = points + T_lidar_camera[:3, 3]
            (self.root / name).write_bytes(rows.tobytes())
            self._data(common, name, self._lidar_calibration, 0, 0)
        return token

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
