"""Writes a drive as folders of images, which `FramesDrive`, and anybody's script, reads."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2

from rosam_core.drives.base import Drive, Glance
from rosam_core.drives.frames_description import DESCRIPTION, FORMAT
from rosam_core.drives.repeats import first_of_each
from rosam_core.drives.synthetic.drive import encode_depth
from rosam_core.drives.whole_folder import whole_folder
from rosam_core.geometry.undistortion import undistorted
from rosam_core.types import Float64, Frame

logger = logging.getLogger(__name__)


def write_frames(
    drives: Sequence[Drive],
    out: str | Path,
    *,
    jpeg_quality: int | None = None,
    overwrite: bool = False,
) -> int:
    """Writes drives as folders of images named by their stamps, with depth and `drive.json`.

    Images of one scene, camera (its intrinsics too) and condition share a folder: `out` itself if
    it is the only one, else `out/<number>_<scene>`. They are undistorted. Lidar is not written. Of
    frames of one drive and folder with one stamp the first is written.

    Args:
        drives: Frames.
        out: A folder; it appears when everything is written.
        jpeg_quality: Of the images, 0 to 100; None writes PNG, without loss.
        overwrite: Replace a folder that this function wrote.

    Returns:
        The number of frames.

    Raises:
        FileExistsError: There is something at `out`.
        ValueError: There is no frame, or frames of two drives of one name have the same stamp.
    """
    out = Path(out)
    frames = 0
    chosen = first_of_each(drives, _identity, _in_one_folder)  # before hours of writing
    with whole_folder(out, "a folder of frames", overwrite) as made:
        runs: dict[Any, _Run] = {}
        for drive, index in chosen.values():
            frame = undistorted(drive[index])
            # A drive's cameras take turns.
            key = (drive.name, drive.scene(index), *_kind(frame))
            if key not in runs:
                name = "".join(c if c.isalnum() or c in "-_" else "_" for c in key[1])
                runs[key] = _Run(made / f"{len(runs):04d}_{name}", frame, jpeg_quality)
            runs[key].add(frame)
            frames += 1
        if not frames:
            raise ValueError("the drives have no frame: nothing to write")
        for run in runs.values():
            run.finish()
        if len(runs) == 1:
            folder = next(iter(runs.values())).folder
            for path in folder.iterdir():
                path.rename(made / path.name)
            folder.rmdir()
    return frames


def _kind(seen: Frame | Glance) -> tuple[Any, ...]:
    """Returns what the frames of one folder have in common."""
    return seen.camera, seen.camera_name, seen.condition


def _identity(drive: Drive, index: int, glance: Glance) -> tuple[Any, ...]:
    """Returns what tells the file of a frame from all others."""
    camera = dataclasses.replace(glance.camera, distortion_model="", distortion=())  # as written
    kind = _kind(dataclasses.replace(glance, camera=camera))
    return glance.stamp_ns, drive.name, drive.scene(index), *kind


def _in_one_folder(identity: tuple[Any, ...]) -> str:
    return f"have the same stamp {identity[0]}: convert drives of one name one by one"


class _Run:
    """A folder of images that is being written."""

    def __init__(self, folder: Path, first: Frame, jpeg_quality: int | None) -> None:
        folder.mkdir(parents=True)
        self.folder, self.first = folder, first
        self.suffix = ".png" if jpeg_quality is None else ".jpg"
        self.options = [] if jpeg_quality is None else [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality]
        self.frames: dict[int, Float64 | None] = {}  # pose by stamp

    def add(self, frame: Frame) -> None:
        """Writes the image and the depth of a frame."""
        stamp, name = frame.stamp_ns, f"{frame.stamp_ns}.png"
        if stamp in self.frames:
            raise ValueError(f"two frames have the stamp {stamp}: {self.folder.name}")
        self.frames[stamp] = frame.T_world_camera
        bgr = cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR)
        pixels = cv2.imencode(self.suffix, bgr, self.options)[1]
        (self.folder / name).with_suffix(self.suffix).write_bytes(pixels.tobytes())
        if frame.depth is not None:
            (self.folder / "depth").mkdir(exist_ok=True)
            (self.folder / "depth" / name).write_bytes(encode_depth(frame.depth))

    def finish(self) -> None:
        """Writes what is known of the images, in the order of their names."""
        stamps, camera = sorted(self.frames), self.first.camera
        described = {
            "format": FORMAT,
            "K": camera.K.tolist(),
            "width": camera.width,
            "height": camera.height,
            "condition": self.first.condition,
            "stamps_ns": stamps,
        }
        poses = [self.frames[stamp] for stamp in stamps]
        unknown = sum(pose is None for pose in poses)
        if 0 < unknown < len(poses):
            logger.warning(
                "%s: %d of %d frames have no pose, so none is written",
                self.folder.name,
                unknown,
                len(poses),
            )
        if not unknown:
            described["poses"] = [pose.tolist() for pose in poses if pose is not None]
        (self.folder / DESCRIPTION).write_text(json.dumps(described), encoding="utf-8")
