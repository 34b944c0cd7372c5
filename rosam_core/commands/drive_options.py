"""What a user states about a drive whose files do not tell it: options that commands share."""

from __future__ import annotations

import argparse
from pathlib import Path

from rosam_core.drives.opening import BAYER_PATTERNS, KINDS, DriveOptions


def add_view_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds `--fov` and `--camera`.

    Args:
        parser: Of the command.
    """
    view = parser.add_mutually_exclusive_group()
    view.add_argument(
        "--fov",
        type=float,
        metavar="DEG",
        help="horizontal field of view of images, a video or a bag without camera_info",
    )
    view.add_argument(
        "--camera",
        type=Path,
        metavar="FILE",
        help="calibration of the same: the YAML of camera_calibration, or fx, fy, cx, cy, width, "
        "height",
    )


def add_pitch_argument(parser: argparse.ArgumentParser) -> None:
    """Adds `--camera-pitch`, which goes with the camera's height.

    Args:
        parser: Of the command.
    """
    parser.add_argument(
        "--camera-pitch",
        type=float,
        default=0.0,
        metavar="DEG",
        help="about how far down the camera looks, to find the ground by: 10 degrees more or less "
        "are found (default: 0)",
    )


def add_source_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds `--kind` and what only some kinds of drives need.

    Args:
        parser: Of the command.
    """
    add = parser.add_argument
    add("--kind", choices=("auto", *KINDS), default="auto", help="what lies there (default: look)")
    add("--fps", type=float, metavar="N", help="rate of images or of a video [1/s]")
    add(
        "--bayer",
        choices=BAYER_PATTERNS,
        help="images are raw mosaics of this pattern: demosaic them (RobotCar: gbrg)",
    )
    add_bag_arguments(parser)
    add("--depth", type=Path, metavar="DIR", help="true depth of images: PNG, metres x 256")
    add(
        "--kitti-camera",
        type=int,
        choices=range(4),
        help="0, 1 grey, 2, 3 colour; left first (default: 2)",
    )
    add(
        "--nuscenes-camera",
        action="append",
        metavar="NAME",
        help="CAM_FRONT, CAM_BACK_LEFT, ...; repeatable (default: all six)",
    )
    add("--nuscenes-version", metavar="NAME", help="folder of tables, if there are several")
    add(
        "--nuscenes-split",
        metavar="NAME",
        help="only its scenes: of splits.json there, of the installed devkit, or a file with one "
        "scene a line",
    )
    add(
        "--nuscenes-sweeps",
        action="store_true",
        default=None,
        help="also the images between the key frames",
    )
    add(
        "--nuscenes-min-speed",
        type=float,
        metavar="M_S",
        help="leave out images of a vehicle slower than this [m/s]",
    )
    add(
        "--robotcar-camera",
        metavar="NAME",
        help="stereo/left, stereo/centre, stereo/right, mono_left, mono_right or mono_rear "
        "(default: the first there is)",
    )
    add(
        "--robotcar-split",
        metavar="NAME",
        help="only frames of md4all's split files of this name: test, val, train, train_stride_2",
    )
    add(
        "--robotcar-truth",
        choices=("corrected", "sdk_compat"),
        help="how lidar becomes true depth: with poses at each scan's time, or as published "
        "figures have it (default: corrected)",
    )
    add(
        "--robotcar-window",
        type=float,
        metavar="S",
        help="scans up to so long before and after an image belong to it; 0 for drives that "
        "`rosam drive convert` wrote (default: 4)",
    )


def add_bag_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds `--topic` and `--lidar`: of the topics of a bag, which ones.

    Args:
        parser: Of the command.
    """
    parser.add_argument(
        "--topic",
        action="append",
        metavar="T",
        help="only this camera of a bag; repeatable (default: every one, and of a raw and a "
        "compressed copy the one with more images, raw first)",
    )
    parser.add_argument(
        "--lidar",
        metavar="T",
        help="the point clouds of a bag that are the lidar (default: the first, by name)",
    )


def drive_options(args: argparse.Namespace) -> DriveOptions:
    """Returns what was stated; an option that a command lacks is not stated.

    Args:
        args: Parsed arguments of a command with some of the options above.

    Raises:
        FileNotFoundError: There is no such camera file.
        ValueError: It is no calibration.
    """
    from rosam_core.drives.bag_cameras import load_camera_file

    camera = getattr(args, "camera", None)
    if camera:
        load_camera_file(camera)  # what is wrong with it is told even if no camera needs it
    return DriveOptions(
        camera=camera,
        fov_deg=getattr(args, "fov", None),
        fps=getattr(args, "fps", None),
        topic=tuple(getattr(args, "topic", None) or ()) or None,
        lidar=getattr(args, "lidar", None),
        bayer=getattr(args, "bayer", None),
        depth=getattr(args, "depth", None),
        kitti_camera=getattr(args, "kitti_camera", None),
        nuscenes_camera=tuple(getattr(args, "nuscenes_camera", None) or ()) or None,
        nuscenes_version=getattr(args, "nuscenes_version", None),
        nuscenes_split=getattr(args, "nuscenes_split", None),
        nuscenes_sweeps=getattr(args, "nuscenes_sweeps", None),
        nuscenes_min_speed=getattr(args, "nuscenes_min_speed", None),
        robotcar_camera=getattr(args, "robotcar_camera", None),
        robotcar_split=getattr(args, "robotcar_split", None),
        robotcar_truth=getattr(args, "robotcar_truth", None),
        robotcar_window=getattr(args, "robotcar_window", None),
    )
