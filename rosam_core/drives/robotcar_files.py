"""Oxford RobotCar's files: time stamps, camera models, undistortion tables, scans and splits."""

from __future__ import annotations

import dataclasses
import logging
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from rosam_core.drives.condition_words import adverse_condition
from rosam_core.runtime.image_codec import decode_compressed
from rosam_core.types import Float64, UInt8

logger = logging.getLogger(__name__)

Int64 = npt.NDArray[np.int64]

SDK = "https://github.com/ori-mrg/robotcar-dataset-sdk"


@dataclasses.dataclass(frozen=True)
class RobotCarCamera:
    """One of the six cameras, as the dataset names its files.

    Attributes:
        folder: Where its images lie in a traversal; its stamps lie in `<first part>.timestamps`.
        model: Stem of its files in `models/`.
        bayer: Order of its colour filters.
        width: Columns of its images [px].
        height: Rows of its images [px].
        crop_height: Rows that are kept from the top; those below show the car's own bonnet.
    """

    folder: str
    model: str
    bayer: str
    width: int
    height: int
    crop_height: int

    @property
    def sensor(self) -> str:
        """Stem of its files in `extrinsics/` and of its time stamps."""
        return self.folder.split("/")[0]


CAMERAS = {
    camera.folder: camera
    for camera in (
        RobotCarCamera("stereo/left", "stereo_wide_left", "gbrg", 1280, 960, 768),
        RobotCarCamera("stereo/centre", "stereo_narrow_left", "gbrg", 1280, 960, 768),
        RobotCarCamera("stereo/right", "stereo_wide_right", "gbrg", 1280, 960, 768),
        RobotCarCamera("mono_left", "mono_left", "rggb", 1024, 1024, 1024),
        RobotCarCamera("mono_right", "mono_right", "rggb", 1024, 1024, 1024),
        RobotCarCamera("mono_rear", "mono_rear", "rggb", 1024, 1024, 1024),
    )
}
"""By folder. The crop of the stereo cameras is md4all's, 1280x768 at the top left."""


def read_stamps(path: Path) -> Int64:
    """Returns the times in a `.timestamps` file, rising, int64[N] [us since 1970].

    Out of order they are sorted and repeated ones left out, both with a warning that names the
    first line: every image and scan is found by its stamp, so its order in the list is no loss.

    Args:
        path: Lines of a time and the number of a download chunk.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is empty, or a line does not begin with a time.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"no {path}: it comes with the images or scans of the same name, unpack it there"
        )
    lines = path.read_bytes().splitlines()
    found: list[int] = []
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words:
            continue
        try:
            found.append(int(words[0]))
        except ValueError as error:
            raise ValueError(
                f"{path}, line {number}: expected a time in microseconds, found "
                f"{line[:40].decode(errors='replace')!r}"
            ) from error
    if not found:
        raise ValueError(f"{path} has no time stamp: truncated download?")
    stamps = np.array(found, np.int64)
    steps = np.diff(stamps)
    if (steps > 0).all():
        return stamps
    first = int(np.argmax(steps <= 0)) + 2
    unique = np.unique(stamps)
    logger.warning(
        "%s: %d times are not later than the one before, first in line %d: sorted, %d repeated "
        "ones left out",
        path,
        int((steps <= 0).sum()),
        first,
        len(stamps) - len(unique),
    )
    return unique


def stamps_of_files(folder: Path, suffix: str) -> Int64:
    """Returns the times in the names of a folder's files, rising, int64[N] [us].

    Args:
        folder: May be absent, which holds none.
        suffix: Of the files, such as `.png`.
    """
    names = os.listdir(folder) if folder.is_dir() else []
    stems = (name[: -len(suffix)] for name in names if name.endswith(suffix))
    return np.array(sorted(int(stem) for stem in stems if stem.isdigit()), np.int64)


def read_camera_model(
    path: Path,
) -> tuple[tuple[float, float, float, float], Float64]:
    """Returns the intrinsics of undistorted images and the pose of the image frame.

    Args:
        path: `models/<model>.txt`: fx, fy, cx, cy [px], then a 4x4 matrix.

    Returns:
        fx, fy, cx, cy [px], and T_camera_image, float64[4,4]: from x right, y down, z forward to
        the camera's frame of x forward, y right, z down [m].

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It does not hold 4 and 16 finite numbers.
    """
    values = _numbers(path, 20, "a camera model")
    fx, fy, cx, cy = (float(value) for value in values[:4])
    return (fx, fy, cx, cy), values[4:].reshape(4, 4)


def read_extrinsics(path: Path) -> Float64:
    """Returns the transform in a file of `extrinsics/`, float64[4,4] [m].

    The file of a lidar or of the INS holds T_vehicle_sensor, that of a camera T_camera_vehicle,
    as the dataset's own projection uses them. The vehicle's frame is x forward, y right, z down.

    Args:
        path: x, y, z [m], roll, pitch, yaw [rad].

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It does not hold six finite numbers.
    """
    return transforms(_numbers(path, 6, "an extrinsic calibration")[None])[0]


def transforms(xyzrpy: Float64) -> Float64:
    """Returns rigid transforms, R = Rz(yaw) Ry(pitch) Rx(roll), float64[N,4,4].

    Args:
        xyzrpy: float64[N,6], x, y, z [m], roll, pitch, yaw [rad].
    """
    (cr, cp, cy), (sr, sp, sy) = np.cos(xyzrpy[:, 3:].T), np.sin(xyzrpy[:, 3:].T)
    T = np.zeros((len(xyzrpy), 4, 4))
    T[:, :3, 3] = xyzrpy[:, :3]
    T[:, 3, 3] = 1
    T[:, 0, 0], T[:, 0, 1], T[:, 0, 2] = cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr
    T[:, 1, 0], T[:, 1, 1], T[:, 1, 2] = sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr
    T[:, 2, 0], T[:, 2, 1], T[:, 2, 2] = -sp, cp * sr, cp * cr
    return T


def table_path(models: Path, camera: RobotCarCamera) -> Path:
    """Returns where the undistortion table of a camera lies.

    Args:
        models: The folder of camera models.
        camera: Camera.
    """
    return models / f"{camera.model}_distortion_lut.bin"


def read_table(models: Path, camera: RobotCarCamera) -> tuple[Any, Any]:
    """Returns the undistortion table of a camera as maps for `cv2.remap`.

    The file holds, for every pixel of the undistorted image row by row, its column and then, for
    every pixel again, its row in the recorded image, as doubles; the centre of the top-left pixel
    is (0, 0).

    Args:
        models: The folder of camera models.
        camera: Camera.

    Raises:
        FileNotFoundError: There is no table; says which file to get from where.
        ValueError: It is of another size, or does not point into the image.
    """
    path = table_path(models, camera)
    if not path.is_file():
        raise FileNotFoundError(
            f"no undistortion table {path}: the images are raw and need it; get "
            f"models/{path.name} of {SDK} and put it there"
        )
    expected = camera.width * camera.height * 16
    size = path.stat().st_size
    if size != expected:
        hint = "a Git LFS pointer or " if size < 1000 else ""
        raise ValueError(
            f"{path} holds {size} bytes, expected {expected} (two doubles for each of "
            f"{camera.width}x{camera.height} pixels): {hint}a truncated download? "
            f"Get it again from {SDK}"
        )
    table = np.fromfile(path, "<f8").reshape(2, camera.height, camera.width)
    if not table[1, -1].any():  # what a download that was broken off leaves in a reserved file
        raise ValueError(f"{path} ends in zeros: half a download? Get it again from {SDK}")
    with np.errstate(invalid="ignore"):
        inside = (table[0] > -1) & (table[0] < camera.width)
        inside &= (table[1] > -1) & (table[1] < camera.height)
    if inside.mean() < 0.5:
        raise ValueError(
            f"{path} is no undistortion table: {100 * (1 - inside.mean()):.0f} % of it points "
            f"outside the {camera.width}x{camera.height} image; get it again from {SDK}"
        )
    columns, rows = np.where(inside, table, -2).astype(np.float32)  # -2: outside, black
    return cv2.convertMaps(columns, rows, cv2.CV_16SC2)


def is_raw(path: Path) -> bool | None:
    """Returns whether an image is a raw Bayer mosaic; None if its head is no PNG's.

    One channel is a mosaic; three are what md4all's and other preparations leave in its place,
    demosaiced and undistorted.

    Args:
        path: A PNG.
    """
    head = _png_head(path)
    return None if head is None else head[25] == 0


def picture_size(path: Path) -> tuple[int, int] | None:
    """Returns width and height of an image [px]; None if its head is no PNG's.

    Args:
        path: A PNG.
    """
    head = _png_head(path)
    if head is None:
        return None
    return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")


def read_picture(path: Path, camera: RobotCarCamera) -> UInt8:
    """Returns the picture in a file, demosaiced if it is a mosaic, uint8[H,W,3] RGB.

    Args:
        path: A PNG of the dataset.
        camera: The camera that took it.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is truncated, damaged or of another size.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no image {path}: is the copy of the drive complete?")
    data = np.fromfile(path, np.uint8)
    try:
        image = decode_compressed(f"bayer_{camera.bayer}8; png compressed", data)
    except ValueError as error:
        raise ValueError(f"{path} cannot be read, copy it again or remove it: {error}") from error
    if image.shape[:2] != (camera.height, camera.width):
        raise ValueError(
            f"{path} is {image.shape[1]}x{image.shape[0]}, images of {camera.folder} are "
            f"{camera.width}x{camera.height}: use them as downloaded, or open resized ones as "
            "frames, with their own camera"
        )
    return image


def read_scan(path: Path, is_planar: bool) -> Float64:
    """Returns the points of a lidar scan in its sensor's frame, float64[N,3] [m].

    Args:
        path: Rows of three doubles: x, y and reflectance (LMS), or x, y, z (LD-MRS).
        is_planar: The third number is a reflectance and z is 0.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is empty or cut in the middle of a row.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no lidar scan {path}")
    size = path.stat().st_size
    if size == 0 or size % 24:
        raise ValueError(
            f"{path} holds {size} bytes, not rows of three doubles: truncated download?"
        )
    points = np.fromfile(path, "<f8").reshape(-1, 3)
    if is_planar:
        points[:, 2] = 0
    return points[np.isfinite(points).all(axis=1)]


def read_split(path: Path) -> Int64:
    """Returns the frames of one of md4all's split files, int64[N,3] [us].

    Args:
        path: Lines of previous, own and next time (training, validation), or of the own time
            first (test).

    Returns:
        Previous, own and next time; previous and next are 0 where the file has none.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is empty, or a line holds something else.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no split file {path}: md4all's authors hand them out")
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").split("\n")):
        words = line.split()
        if not words:
            continue
        # md4all's readers take the first word of a test file whatever follows it.
        own_only = len(words) < 3 or "_test" in path.stem
        try:
            times = [0, int(words[0]), 0] if own_only else [int(word) for word in words[:3]]
        except ValueError as error:
            raise ValueError(
                f"{path}, line {number + 1}: expected times in microseconds, found {line[:60]!r}"
            ) from error
        rows.append(times)
    if not rows:
        raise ValueError(f"{path} lists no frame")
    return np.array(rows, np.int64)


def condition_of(traversal: str, tags: Path | None) -> str:
    """Returns the condition of a traversal: night comes first, so night rain is night.

    Args:
        traversal: Its name, a date and time.
        tags: The SDK's file of its tags, or None; then only md4all's two traversals are known.
    """
    if tags is None or not tags.is_file():
        known = {"2014-12-09-13-21-02": "day-clear", "2014-12-16-18-44-24": "night"}
        return known.get(traversal, "unknown")
    text = tags.read_text(encoding="utf-8", errors="replace")
    words = {line.strip(" -\t\r") for line in text.splitlines()}
    if adverse := adverse_condition(text):  # fog is a tag of drives written in this form only
        return adverse
    if words & {"snow", "dusk", "dawn"} or not words & {"sun", "clouds", "overcast"}:
        return "unknown"
    return "day-clear"


def _png_head(path: Path) -> bytes | None:
    with path.open("rb") as stream:
        head = stream.read(26)
    return head if len(head) == 26 and head[:8] == b"\x89PNG\r\n\x1a\n" else None


def _numbers(path: Path, count: int, what: str) -> Float64:
    """Returns the numbers in a text file, float64[count]."""
    if not path.is_file():
        raise FileNotFoundError(f"no {path}: it comes with {SDK}, copy its folder there")
    words = path.read_text(encoding="utf-8", errors="replace").split()
    try:
        values = np.array([float(word) for word in words], np.float64)
    except ValueError as error:
        raise ValueError(f"{path} is not {what}: {error}") from error
    if values.size != count or not np.isfinite(values).all():
        raise ValueError(f"{path} is not {what}: expected {count} finite numbers, has {words}")
    return values
