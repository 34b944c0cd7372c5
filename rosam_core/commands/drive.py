"""`rosam drive`: say what a drive holds, and what is wrong with it."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rosam_core.commands import drive_convert, drive_translate
from rosam_core.commands.drive_options import (
    add_source_arguments,
    add_view_arguments,
    drive_options,
)
from rosam_core.commands.outputs import check_picture

if TYPE_CHECKING:
    from rosam_core.drives.image_checkup import Diagnosis


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the actions of `rosam drive`."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    text = "count frames, cameras, conditions, poses and lidar; measure rates, gaps and the way"
    info = actions.add_parser("info", help=text, description=text)
    _add_drive(info)
    info.add_argument(
        "--sheet", type=Path, metavar="FILE", help="write a contact sheet, .png or .jpg"
    )
    info.add_argument(
        "--frames", type=int, default=24, metavar="N", help="pictures on the sheet (default: 24)"
    )
    info.set_defaults(act=_info)
    text = "find what would make training or scores fail, with the frames and the remedy"
    doctor = actions.add_parser("doctor", help=text, description=text)
    _add_drive(doctor)
    doctor.add_argument(
        "--pairs",
        type=int,
        default=400,
        metavar="N",
        help="neighbouring images to compare in each drive, spread over it; 0 looks at none "
        "(default: 400)",
    )
    doctor.set_defaults(act=_doctor)
    drive_convert.add_arguments(actions)
    drive_translate.add_arguments(actions)


def _add_drive(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", type=Path, help="anything `rosam eval` reads; see docs/drives.md")
    add_source_arguments(parser)
    add_view_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Runs the chosen action; returns its exit code."""
    return int(args.act(args))


def _info(args: argparse.Namespace) -> int:
    from rosam_core.drives.opening import find_kind, open_drives
    from rosam_core.drives.survey import survey

    if args.sheet:
        check_picture("--sheet", args.sheet)
    if args.frames < 1:
        raise ValueError(f"--frames must be at least 1, got {args.frames}")
    kind = find_kind(args.path) if args.kind == "auto" else args.kind
    drives = open_drives(args.path, kind, options=drive_options(args))
    facts = {"path": str(args.path), "kind": kind, "drives": [survey(d) for d in drives]}
    if args.sheet:
        from rosam_core.evaluation.sheet import drive_sheet, save_picture

        save_picture(args.sheet, drive_sheet(drives, args.frames))
        facts["sheet"] = str(args.sheet)
    print(json.dumps(facts, indent=2) if args.json else "\n".join(_lines(facts)))
    return 0


def _doctor(args: argparse.Namespace) -> int:
    """Examines every drive; returns 1 if there is an error among the findings."""
    from tqdm import tqdm

    from rosam_core.drives.findings import ERROR
    from rosam_core.drives.image_checkup import diagnose
    from rosam_core.drives.opening import find_kind, open_drives
    from rosam_core.drives.pose_agreement import ENOUGH_TURNING_RAD

    if args.pairs < 0:
        raise ValueError(f"--pairs must be 0 or more, got {args.pairs}")
    kind = find_kind(args.path) if args.kind == "auto" else args.kind
    report: list[dict[str, Any]] = []
    drives = open_drives(args.path, kind, options=drive_options(args))
    if not args.json:
        print(f"{args.path}: {kind}")
    errors = warnings = straight = 0
    with tqdm(unit="pair", disable=None, file=sys.stderr, leave=False) as progress:
        for drive in drives:
            for diagnosis in diagnose(drive, args.pairs, progress.update):
                track, findings = diagnosis.track, diagnosis.findings
                report.append(
                    {
                        "drive": drive.name,
                        "scene": track.scene,
                        "camera": track.camera_name,
                        "frames": len(track.indices),
                        "pairs": diagnosis.pairs,
                        "findings": [finding.to_json() for finding in findings],
                    }
                )
                straight += diagnosis.has_poses and diagnosis.turning_rad < ENOUGH_TURNING_RAD
                found = sum(finding.severity == ERROR for finding in findings)
                errors, warnings = errors + found, warnings + len(findings) - found
                if findings and not args.json:
                    progress.clear()
                    print("\n".join(_diagnosis(drive.name, diagnosis)))
    if args.json:
        print(json.dumps({"path": str(args.path), "kind": kind, "cameras": report}, indent=2))
    else:
        frames, pairs = (sum(row[key] for row in report) for key in ("frames", "pairs"))
        print(f"\n{frames} frames, {pairs} pairs of images: {errors} errors, {warnings} warnings")
        if args.pairs and not pairs:
            print("no frame has a neighbour in time, so motion and brightness were not checked")
        elif args.pairs and straight:
            print(
                f"time offset and focal length were not checked in {straight} of {len(report)} "
                "cameras or scenes: their poses turn by less than 20 degrees in all"
            )
    return 1 if errors else 0


def _diagnosis(name: str, diagnosis: Diagnosis) -> list[str]:
    track = diagnosis.track
    parts = [name, track.scene, track.camera_name]
    unsaid = [part for i, part in enumerate(parts) if not any(part in p for p in parts[:i])]
    lines = ["", f"{', '.join(unsaid)}: {len(track.indices)} frames, {diagnosis.pairs} pairs"]
    for finding in diagnosis.findings:
        lines += [f"  {finding.line()}", f"    remedy: {finding.remedy}"]
    return lines


def _lines(facts: dict[str, Any]) -> list[str]:
    from rosam_core.evaluation.scoring import format_table

    drives = facts["drives"]
    lines = [f"{facts['path']}: {facts['kind']}"]
    for drive in drives:
        lines += ["", _headline(drive), format_table(_rows(drive["cameras"]), left=(0, 2))]
        lines += drive["faults"]
    if len(drives) > 1:
        frames = sum(drive["frames"] for drive in drives)
        lines += ["", f"{len(drives)} drives, {frames} frames in all"]
    if "sheet" in facts:
        lines += ["", f"sheet: {facts['sheet']}"]
    return lines


def _headline(drive: dict[str, Any]) -> str:
    parts = [f"{drive['frames']} frames"]
    if drive["scenes"] > 1:
        parts.append(f"{drive['scenes']} scenes")
    parts.append(f"{drive['duration_s']:.1f} s")
    if drive["distance_m"] is not None:
        parts.append(f"{drive['distance_m']:.1f} m")
    parts += [f"{name} {count}" for name, count in drive["conditions"].items()]
    for name in ("poses", "lidar", "depth"):
        count = drive[name]
        of = "all" if count == drive["frames"] else f"of {count} frames" if count else "none"
        if name == "poses" and count and drive["world_frame"]:
            of += f" (in {drive['world_frame']})"
        parts.append(f"{name} {of}")
    return f"{drive['name']}: " + ", ".join(parts)


def _rows(cameras: Sequence[dict[str, Any]]) -> list[list[str]]:
    rows = [["camera", "frames", "size", "view", "fx", "rate", "largest gap"]]
    for camera in cameras:
        rate, gap = camera["rate_hz"], camera["largest_gap_s"]
        rows.append(
            [
                camera["name"],
                str(camera["frames"]),
                ", ".join(camera["sizes"]),
                _span(camera["fov_x_deg"], 1) + " deg",
                _span(camera["fx"], 1) + " px",
                "-" if rate is None else f"{rate:.1f} Hz",
                "-" if gap is None else f"{gap:.3f} s after frame {camera['gap_after']}",
            ]
        )
    return rows


def _span(values: Sequence[float], digits: int) -> str:
    low, high = (f"{value:.{digits}f}" for value in values)
    return low if low == high else f"{low} to {high}"
