"""Writes a drive as folders of images, which `FramesDrive`, and anybody's script, reads."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2

from rosam_core.drives.base import Drive
from rosam_core.drives.frames_description import DESCRIPTION, FORMAT
from rosam_core.drives.synthetic.drive import encode_depth
from rosam_core.drives.whole_folder import whole_folder
from rosam_core.types import Frame


def write_frames(
    drives: Sequence[Drive],
    out: str | Path,
    *,
    jpeg_quality: int | None = None,
    overwrite: bool = False,
) -> int:
    """Writes drives as folders of images named by their stamps, with depth and `drive.json`.

    Images of one scene, camera (its intrinsics too) and condition in a row share a folder:
    `out` itself if it is the only one, else `out/<number>_<scene>`. Lidar is not written.

    Args:
        drives: Frames.
        out: A folder; it appears when everything is written.
        jpeg_quality: Of the images, 0 to 100; None writes PNG, without loss.
        overwrite: Replace a folder that this function wrote.

    Returns:
        The number of frames.

    Raises:
        FileExistsError: There is something at `out`.
        ValueError: There is no frame, or two frames of one folder have the same stamp.
    """
    out = Path(out)
    is_ours = any(out.glob(DESCRIPTION)) or any(out.glob(f"*/{DESCRIPTION}"))
    frames = 0
    with whole_folder(out, "a folder of frames", is_ours, overwrite) as made:
        folders: list[Path] = []
        for drive in drives:
            numbered = ((drive.scene(i), drive[i]) for i in range(len(drive)))
            runs = itertools.groupby(
                numbered, lambda at: (at[0], at[1].camera, at[1].camera_name, at[1].condition)
            )
            for (scene, *_), run in runs:
                name = "".join(c if c.isalnum() or c in "-_" else "_" for c in scene)
                folders.append(made / f"{len(folders):04d}_{name}")
                frames += _write_run(folders[-1], (frame for _, frame in run), jpeg_quality)
        if not frames:
            raise ValueError("the drives have no frame: nothing to write")
        if len(folders) == 1:
            for path in folders[0].iterdir():
                path.rename(made / path.name)
            folders[0].rmdir()
    return frames


def _write_run(folder: Path, frames: Iterable[Frame], jpeg_quality: int | None) -> int:
    folder.mkdir(parents=True)
    suffix = ".png" if jpeg_quality is None else ".jpg"
    options = [] if jpeg_quality is None else [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality]
    poses, stamps = [], list[int]()
    frame = None
    for frame in frames:
        if frame.stamp_ns in stamps:
            raise ValueError(f"two frames have the stamp {frame.stamp_ns}: {folder.name}")
        stamps.append(frame.stamp_ns)
        pixels = cv2.imencode(suffix, cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR), options)[1]
        (folder / f"{frame.stamp_ns}{suffix}").write_bytes(pixels.tobytes())
        if frame.depth is not None:
            (folder / "depth").mkdir(exist_ok=True)
            (folder / "depth" / f"{frame.stamp_ns}.png").write_bytes(encode_depth(frame.depth))
        poses.append(frame.T_world_camera)
    if frame is None:
        return 0
    described = {
        "format": FORMAT,
        "K": frame.camera.K.tolist(),
        "width": frame.camera.width,
        "height": frame.camera.height,
        "condition": frame.condition,
        "stamps_ns": stamps,
    }
    if all(pose is not None for pose in poses):
        described["poses"] = [pose.tolist() for pose in poses if pose is not None]
    (folder / DESCRIPTION).write_text(json.dumps(described), encoding="utf-8")
    return len(stamps)
