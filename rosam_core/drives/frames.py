"""A folder of images or a video as a drive: anybody's camera, with a stated view."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path

from rosam_core.drives.bag_cameras import load_camera_file
from rosam_core.drives.base import Drive, Glance
from rosam_core.drives.condition_ranges import condition_at, load_ranges, sidecar_of
from rosam_core.drives.frames_description import DESCRIPTION, Description
from rosam_core.drives.image_files import (
    IMAGE_SUFFIXES,
    image_files,
    looks_like_mosaic,
    read_depth_image,
    read_image,
)
from rosam_core.drives.opening import BAYER_PATTERNS
from rosam_core.drives.video import VIDEO_SUFFIXES, VideoFile
from rosam_core.types import CONDITIONS, Camera, Float64, Frame, UInt8

logger = logging.getLogger(__name__)

DEFAULT_FPS = 10.0
CAMERA_FILE = "camera.yaml"
IMAGE_FOLDERS = ("frames", "images")
DEPTH_FOLDER = "depth"

STATE_A_VIEW = (
    "state its horizontal view with --fov DEGREES or its calibration with --camera FILE (or put "
    f"it there as {CAMERA_FILE})"
)


class FramesDrive(Drive):
    """The images of a folder in natural order of their names, or the pictures of a video.

    Beside the images may lie `camera.yaml` (calibration), `depth/` (16-bit PNGs of metres x 256
    with the names of the images) and `drive.json` (see `Description`). Images may also lie in a
    `frames/` or `images/` folder of the folder.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        camera: Camera | None = None,
        fov_deg: float | None = None,
        fps: float | None = None,
        depth: str | Path | None = None,
        condition: str | None = None,
        bayer: str | None = None,
    ) -> None:
        """Lists the images; each is read when its frame is.

        Args:
            path: A folder of images, a folder with `frames/` or `images/`, or a video.
            camera: Intrinsics; else those beside the images.
            fov_deg: Horizontal field of view instead of intrinsics [degrees].
            fps: Frames a second; else the stamps in the names or in `drive.json`, a video's own
                rate, or `DEFAULT_FPS`.
            depth: Folder of true depth; else `depth/` beside the images, if it is there.
            condition: One of `CONDITIONS`, for every frame; else those of the time ranges beside
                the images (`condition_ranges`), or that of `drive.json`.
            bayer: Pattern of raw images, one of `BAYER_PATTERNS`; they are demosaiced. Without
                it a warning says if they look like a mosaic.

        Raises:
            FileNotFoundError: There is no such folder, file or image.
            ValueError: No intrinsics, a wrong rate, or a damaged sidecar.
        """
        self.path = Path(path)
        self.name = self.path.stem if self.path.is_file() else self.path.resolve().name
        if condition is not None and condition not in CONDITIONS:
            raise ValueError(f"condition {condition!r} is none of {', '.join(CONDITIONS)}")
        if fps is not None and not 0 < fps < float("inf"):
            raise ValueError(f"the frame rate must be positive, got {fps:g}")
        self._bayer = bayer
        if bayer not in (None, *BAYER_PATTERNS):
            raise ValueError(f"bayer {bayer!r} is none of {', '.join(BAYER_PATTERNS)}")
        self._video = VideoFile(self.path) if is_video(self.path) else None
        if self._video and bayer:
            raise ValueError(f"{self.path} is a video, no raw mosaic: leave --bayer out")
        self.files: list[Path] = []
        described = Description()
        beside = self.path.parent if self._video else self.path
        if self._video is None:
            beside, self.files = _find_images(self.path)
            described = Description.load(beside)
        count = self._video.count if self._video else len(self.files)
        described.check(count, beside / DESCRIPTION)
        self._poses: Float64 | None = described.poses
        self.condition = condition or described.condition
        ranges = sidecar_of(self.path)
        self._ranges = load_ranges(ranges) if condition is None and ranges.is_file() else []
        self.stamps_ns = self._stamps(count, fps, described)
        self._start_ns = min(self.stamps_ns)
        self._size = self._first_size()
        self._fov = fov_deg
        self._camera = camera or (None if fov_deg else described.camera or self._beside(beside))
        if self._camera is None and fov_deg is None:
            raise ValueError(f"{self.path} has no intrinsics: {STATE_A_VIEW}")
        try:  # a wrong angle or file is told before anything is scored
            self._camera_for(*self._size)
        except ValueError as error:
            raise ValueError(f"{self.path}: {error}") from error
        folder = Path(depth) if depth else beside / DEPTH_FOLDER
        stems = [path.stem for path in self.files] or [f"{i:06d}" for i in range(count)]
        self._depths = _find_depths(folder, stems, must_exist=depth is not None)

    def __len__(self) -> int:
        return len(self.stamps_ns)

    def __getitem__(self, index: int) -> Frame:
        """Reads one frame.

        Raises:
            IndexError: Outside the drive.
            ValueError: Its image is damaged or of another size than its calibration.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"frame {index} of {len(self)}")
        image = self._video.read(index) if self._video else self._picture(self.files[index])
        height, width = image.shape[:2]
        try:
            camera = self._camera_for(width, height)
        except ValueError as error:
            where = self.files[index] if self.files else f"{self.path} frame {index}"
            raise ValueError(f"{where}: {error}") from error
        depth = self._depths[index]
        return Frame(
            image=image,
            camera=camera,
            stamp_ns=self.stamps_ns[index],
            T_world_camera=None if self._poses is None else self._poses[index].copy(),
            condition=self._condition_at(index),
            depth=None if depth is None else read_depth_image(depth, width, height),
        )

    def glance(self, index: int) -> Glance:
        """Returns what is known of a frame without reading its image."""
        return Glance(
            stamp_ns=self.stamps_ns[index],
            camera=self._camera_for(*self._size),
            T_world_camera=None if self._poses is None else self._poses[index],
            condition=self._condition_at(index),
            has_depth=self._depths[index] is not None,
        )

    def _condition_at(self, index: int) -> str:
        if not self._ranges:
            return self.condition
        return condition_at(self._ranges, (self.stamps_ns[index] - self._start_ns) / 1e9)

    def _camera_for(self, width: int, height: int) -> Camera:
        if self._camera is None:
            return Camera.from_fov(self._fov or 0.0, width, height)
        stated = self._camera
        if (stated.width, stated.height) != (width, height):
            c = stated.scaled_to(width, height)
            raise ValueError(
                f"the image is {width}x{height}, its calibration is for {stated.width}x"
                f"{stated.height}: calibrate at this size; if the images were only resized, not "
                f"cropped, it is fx {c.fx:.2f}, fy {c.fy:.2f}, cx {c.cx:.2f}, cy {c.cy:.2f}"
            )
        return stated

    def _beside(self, folder: Path) -> Camera | None:
        """Returns the intrinsics of the sidecar, None if there is none."""
        name = f"{self.path.stem}.yaml" if self._video else CAMERA_FILE
        return load_camera_file(folder / name) if (folder / name).is_file() else None

    def _first_size(self) -> tuple[int, int]:
        """Returns width and height of the first picture that can be read."""
        if self._video:
            return self._video.width, self._video.height
        for path in self.files:
            try:
                image = self._picture(path)
            except ValueError as error:
                problem = error
                continue
            if self._bayer is None and looks_like_mosaic(image):
                logger.warning(
                    "%s looks like a raw Bayer mosaic and is read as grey: state its pattern with "
                    "--bayer %s",
                    path,
                    "|".join(BAYER_PATTERNS),
                )
            height, width = image.shape[:2]
            return width, height
        raise ValueError(f"none of {len(self.files)} images can be read; the last: {problem}")

    def _picture(self, path: Path) -> UInt8:
        return read_image(path, self._bayer)

    def _stamps(self, count: int, fps: float | None, described: Description) -> list[int]:
        """Returns the time of every frame [ns]; sorts the files by it where names are stamps."""
        if fps is None and described.stamps_ns is not None:
            return list(described.stamps_ns)
        if fps is None and described.fps is None and self.files and self._poses is None:
            named = [stamp_of_name(path.stem) for path in self.files]
            stamps = [stamp for stamp in named if stamp is not None]
            if len(stamps) == count:
                order = sorted(range(count), key=lambda i: stamps[i])
                self.files = [self.files[i] for i in order]
                return [stamps[i] for i in order]
        rate = fps or described.fps or (self._video.fps if self._video else DEFAULT_FPS)
        return [round(index * 1e9 / rate) for index in range(count)]


def stamp_of_name(stem: str) -> int | None:
    """Returns the time that a file name ends with [ns], None if it ends with none.

    A whole number after the last `_`, `-` or blank, of nanoseconds since 1970 if it is 10^17 or
    more, of microseconds if it is 10^14 or more; smaller ones only count the images.

    Args:
        stem: Name without its suffix.
    """
    last = re.split(r"[_\-\s]", stem)[-1]
    if not last.isdigit():
        return None
    value = int(last)
    if 10**17 <= value < 10**19:
        return value
    return value * 1000 if 10**14 <= value < 10**17 else None


def is_video(path: Path) -> bool:
    """Returns whether a path is a video file, by its suffix."""
    return path.suffix.lower() in VIDEO_SUFFIXES and path.is_file()


def find_frames(root: str | Path) -> list[Path]:
    """Returns the drives at a path: a video, a folder with images, or the described ones below.

    Args:
        root: A video, a folder of images, or a folder whose folders each hold `drive.json` and
            images; empty if it is none of them.
    """
    root = Path(root)
    holds_images = any(image_files(root / name) for name in ("", *IMAGE_FOLDERS))
    if is_video(root) or (holds_images and (root / DESCRIPTION).is_file()):
        return [root]
    described = sorted(path.parent for path in root.glob(f"*/{DESCRIPTION}"))
    below = [folder for folder in described if find_frames(folder) == [folder]]
    return below or ([root] if holds_images else [])  # a contact sheet may lie beside drives


def _find_images(path: Path) -> tuple[Path, list[Path]]:
    """Returns the folder that sidecars lie in, and its images in order."""
    if not path.exists():
        raise FileNotFoundError(f"no drive at {path}")
    if path.is_file():
        raise ValueError(f"{path} is no video ({', '.join(VIDEO_SUFFIXES)}): give the folder")
    for name in ("", *IMAGE_FOLDERS):
        files = image_files(path / name)
        if files:
            return path, files
    raise FileNotFoundError(f"{path} has no images ({', '.join(IMAGE_SUFFIXES)})")


def _find_depths(folder: Path, stems: Sequence[str], must_exist: bool) -> list[Path | None]:
    """Returns the depth file of every frame, None where there is none."""
    if not folder.is_dir():
        if must_exist:
            raise FileNotFoundError(f"no depth folder {folder}")
        return [None] * len(stems)
    named = {path.stem: path for path in folder.glob("*.png")}
    found = [named.get(stem) for stem in stems]
    if not any(found):
        raise ValueError(f"{folder} has no PNG with the name of an image, such as {stems[0]}.png")
    return found
