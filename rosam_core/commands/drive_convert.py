"""`rosam drive convert`: write any drive as a bag, a nuScenes or RobotCar tree or images."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rosam_core.commands.drive_options import (
    add_source_arguments,
    add_view_arguments,
    drive_options,
)
from rosam_core.drives.base import Drive, Glance
from rosam_core.drives.whole_folder import refuse_overlap

if TYPE_CHECKING:
    from rosam_core.types import Frame

FORMS = ("bag", "nuscenes", "robotcar", "frames")


def add_arguments(actions: Any) -> None:
    """Declares the action.

    Args:
        actions: Sub-parsers of `rosam drive`.
    """
    text = "write a drive in another form: bag, nuScenes or RobotCar tree or folders of images"
    parser = actions.add_parser("convert", help=text, description=text)
    add = parser.add_argument
    add("path", type=Path, help="anything `rosam eval` reads; see docs/drives.md")
    add("-o", "--output", type=Path, required=True, metavar="OUT", help="what to write")
    add(
        "--to",
        choices=FORMS,
        help="form (default: a bag if OUT ends in .mcap, .db3 or .bag, which says which kind)",
    )
    add_source_arguments(parser)
    add_view_arguments(parser)
    add("--condition", action="append", default=[], help="of synthetic drives; repeatable")
    add("--jpeg", type=int, metavar="Q", help="store JPEG of this quality instead of PNG")
    add("--mosaic", action="store_true", help="of robotcar: raw Bayer images, as the SDK expects")
    add("--force", action="store_true", help="replace an existing output of this form")
    parser.set_defaults(act=run)


def run(args: argparse.Namespace) -> int:
    """Runs `rosam drive convert`."""
    from rosam_core.drives.opening import BAG_SUFFIXES, open_drives

    form = args.to or ("bag" if args.output.suffix in BAG_SUFFIXES else None)
    if form is None:
        raise ValueError(f"say what {args.output} shall be: --to {'|'.join(FORMS)}")
    if args.jpeg is not None and not 0 <= args.jpeg <= 100:
        raise ValueError(f"--jpeg must be between 0 and 100, got {args.jpeg}")
    if args.mosaic and form != "robotcar":
        raise ValueError(f"--mosaic has no meaning for the form {form}")
    refuse_overlap(args.path, args.output)
    if args.condition and (kind := _kind_of(args)) != "synthetic":
        raise ValueError(f"--condition has no meaning for a drive of kind {kind}")
    drives = open_drives(args.path, args.kind, args.condition, drive_options(args))
    from tqdm import tqdm

    total = sum(len(drive) for drive in drives)
    with tqdm(total=total, unit="frame", disable=None, file=sys.stderr) as bar:
        written = _write(form, [_Shown(drive, bar) for drive in drives], args)
    print(f"{args.output}: {written} frames")
    return 0


def _kind_of(args: argparse.Namespace) -> str:
    from rosam_core.drives.opening import find_kind

    return find_kind(args.path) if args.kind == "auto" else str(args.kind)


def _write(form: str, drives: Sequence[Drive], args: argparse.Namespace) -> int:
    if form == "nuscenes":
        from rosam_core.drives.nuscenes_writer import write_nuscenes

        return write_nuscenes(drives, args.output, jpeg_quality=args.jpeg, overwrite=args.force)
    if form == "robotcar":
        from rosam_core.drives.robotcar_writer import write_robotcar

        if args.jpeg is not None:
            raise ValueError("RobotCar has images as PNG only: leave out --jpeg")
        return write_robotcar(drives, args.output, mosaic=args.mosaic, overwrite=args.force)
    if form == "frames":
        from rosam_core.drives.frames_writer import write_frames

        return write_frames(drives, args.output, jpeg_quality=args.jpeg, overwrite=args.force)
    from rosam_core.drives.bag_writer import write_drive
    from rosam_core.drives.condition_ranges import save_ranges, sidecar_of

    if len(drives) != 1:
        names = ", ".join(f"{drive.name} {_condition(drive)}".strip() for drive in drives)
        raise ValueError(
            f"a bag holds one drive, {args.path} has {len(drives)} ({names}): name one by its "
            "path, one --topic of a bag or one --condition of a synthetic drive"
        )
    (drive,) = drives
    glances = [drive.glance(index) for index in range(len(drive))]
    _refuse_several_views(drive, glances, args.path)
    written = write_drive(
        drive,
        args.output,
        compressed=None if args.jpeg is None else "jpeg",
        quality=92 if args.jpeg is None else args.jpeg,
        with_truth=True,
        overwrite=args.force,
    )
    save_ranges(
        sidecar_of(args.output), [g.stamp_ns for g in glances], [g.condition for g in glances]
    )
    return written


def _refuse_several_views(drive: Drive, glances: Sequence[Glance], path: Path) -> None:
    """Refuses what would mix cameras or scenes on the topics of one camera.

    Raises:
        ValueError: The frames, as nuScenes' are, are of several.
    """
    found = {
        "camera": dict.fromkeys(glance.camera_name for glance in glances),
        "scene": dict.fromkeys(drive.scene(index) for index in range(len(drive))),
    }
    if all(len(names) < 2 for names in found.values()):
        return
    words = " and ".join(
        f"{len(names)} {what}{'s' * (len(names) > 1)} ({', '.join(list(names)[:6])}"
        + (", ...)" if len(names) > 6 else ")")
        for what, names in found.items()
    )
    raise ValueError(
        f"a bag holds one camera of one scene, {path} has {words}: choose with --nuscenes-camera "
        "NAME and --nuscenes-split FILE, a text file that names one scene"
    )


def _condition(drive: Drive) -> str:
    return drive.glance(0).condition if len(drive) else ""


class _Shown(Drive):
    """A drive whose reading moves a progress bar."""

    def __init__(self, drive: Drive, bar: Any) -> None:
        self.drive, self.name, self.bar = drive, drive.name, bar

    def __len__(self) -> int:
        return len(self.drive)

    def __getitem__(self, index: int) -> Frame:
        frame = self.drive[index]
        self.bar.update()
        return frame

    def scene(self, index: int) -> str:
        return self.drive.scene(index)

    def glance(self, index: int) -> Glance:
        return self.drive.glance(index)
