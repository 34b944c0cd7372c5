"""Where a RobotCar download keeps what: traversals, cameras, shared folders and split files."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterable
from pathlib import Path

from rosam_core.drives.robotcar_files import (
    CAMERAS,
    SDK,
    Int64,
    RobotCarCamera,
    picture_size,
    stamps_of_files,
    table_path,
)

TRAVERSAL_NAME = re.compile(r"\d{4}(-\d\d){5}")
SPLIT_NAME = re.compile(r"(\d{4}(?:-\d\d){5})_(?:train|val|test)\w*\.txt")
"""Names of md4all's split files: traversal, set, stride."""


def find_robotcar(path: str | Path, split: str | None = None) -> list[tuple[Path, Path | None]]:
    """Returns the traversals at a path in order, each with its split file.

    Args:
        path: A traversal, the folder of traversals, or one of md4all's split files in a folder
            beside or with the traversals; empty if it is none of them.
        split: Only traversals with a split file of this name, such as `test`,
            `train_stride_2` or `train`, which is the one of stride 1.

    Raises:
        FileNotFoundError: It is a split file whose traversal is not there, or no traversal has a
            file of that split.
        ValueError: A split is named and the path is a split file.
    """
    path = Path(path)
    named = SPLIT_NAME.fullmatch(path.name)
    if named and path.is_file():
        if split is not None:
            raise ValueError(f"{path} is a split file itself: leave out the split {split!r}")
        for beside in (path.parent, path.parent.parent):
            if _is_traversal(beside / named[1]):
                return [(beside / named[1], path)]
        raise FileNotFoundError(
            f"{path} lists frames of the traversal {named[1]}, which is neither in {path.parent} "
            f"nor in {path.parent.parent}"
        )
    if not path.is_dir():
        return []
    if _is_traversal(path):
        found = [path]
    else:
        with os.scandir(path) as entries:  # tells folders from many images, asking for none
            below = sorted(entry.name for entry in entries if entry.is_dir())
        found = [path / name for name in below if _is_traversal(path / name)]
    if split is None or not found:
        return [(folder, None) for folder in found]
    with_split = [(folder, file) for folder in found if (file := _split_file(folder, split))]
    if not with_split:
        raise FileNotFoundError(
            f"no split file {found[0].name}_{split}.txt in {found[0].absolute().parent} or its "
            "splits folder: md4all's authors hand them out"
        )
    return with_split


def camera_of(folder: Path, name: str | None) -> RobotCarCamera:
    """Returns one of a traversal's cameras.

    Args:
        folder: The traversal.
        name: One of `CAMERAS`; the first that has images if None.

    Raises:
        FileNotFoundError: There is no camera's folder.
        ValueError: There is no such camera.
    """
    there = [camera for camera in CAMERAS if (folder / camera).is_dir()]
    if name is None and not there:
        raise FileNotFoundError(
            f"{folder} is no RobotCar traversal: expected a folder of images such as stereo/left"
        )
    if name is not None and name not in CAMERAS:
        raise ValueError(f"RobotCar has the cameras {', '.join(CAMERAS)}, not {name!r}")
    if name is not None and name not in there:
        raise ValueError(f"{folder} has no {name}: there is {', '.join(there) or 'no camera'}")
    filled = [camera for camera in there if any((folder / camera).glob("*.png"))]
    return CAMERAS[name or (filled or there)[0]]


def camera_of_images(
    camera: RobotCarCamera, models: Path, size: tuple[int, int] | None
) -> RobotCarCamera:
    """Returns a camera in the size of its images, if its undistortion table is of that size too.

    So are drives of other cameras that were written in this form. Images of the dataset that
    somebody resized do not fit the camera model: they keep the dataset's size and are refused.

    Args:
        camera: As the dataset has it.
        models: The folder of camera models.
        size: Width and height of the images [px]; None if it is not known.

    Raises:
        ValueError: The table is neither of the dataset's size nor of the images'.
    """
    table = table_path(models, camera)
    if size is None or not table.is_file():
        return camera
    width, height = size
    pixels, held = width * height, table.stat().st_size
    theirs = camera.width * camera.height
    if theirs in (pixels, held // 16):
        return camera
    if held != 16 * pixels:
        raise ValueError(
            f"{table} holds {held} bytes: images of {width}x{height} need {16 * pixels}, the "
            f"dataset's of {camera.width}x{camera.height} {16 * theirs}; the table is cut short, "
            "or the images were resized: copy or write the drive again"
        )
    return dataclasses.replace(camera, width=width, height=height, crop_height=height)


def first_size(images: Iterable[Path]) -> tuple[int, int] | None:
    """Returns width and height of the first image with a readable head [px], None without one.

    Args:
        images: In order.
    """
    return next(filter(None, map(picture_size, images)), None)


def stamps_of_images(folder: Path) -> Int64:
    """Returns the times in the names of a folder's images, rising, int64[N] [us].

    Args:
        folder: Of a camera.

    Raises:
        FileNotFoundError: There is none.
    """
    stamps = stamps_of_files(folder, ".png")
    if not len(stamps):
        raise FileNotFoundError(f"{folder} has no image: expected PNGs named by their times")
    return stamps


def shared_folder(folder: Path, name: str) -> Path:
    """Returns the folder that all traversals share.

    Args:
        folder: A traversal; the shared one lies in it, beside it, or in a `robotcar-dataset-sdk`
            there.
        name: `models` or `extrinsics`.

    Raises:
        FileNotFoundError: It is in none of these places.
    """
    beside = (folder, folder.absolute().parent, folder.resolve().parent)
    places = [place / part / name for place in beside for part in ("", "robotcar-dataset-sdk")]
    for place in places:
        if place.is_dir():
            return place
    raise FileNotFoundError(f"no {name} folder in {folder} or beside it: copy {name}/ of {SDK}")


def _is_traversal(folder: Path) -> bool:
    named = TRAVERSAL_NAME.fullmatch(folder.name)  # so that missing stamps are not unnoticed
    return any(
        (named or (folder / f"{camera.sensor}.timestamps").exists())
        and (folder / camera.folder).is_dir()
        for camera in CAMERAS.values()
    )


def _split_file(folder: Path, split: str) -> Path | None:
    """Returns the split file of a traversal, None if it has none."""
    for place in (folder.absolute().parent / "splits", folder.absolute().parent):
        for ending in (split, f"{split}_stride_1"):
            path = place / f"{folder.name}_{ending}.txt"
            if path.is_file():
                return path
    return None
