"""What the filter of hidden lidar points removes, and how right it is where truth is exact.

    rosam synth --out out/lidar --drives 8 --frames 6 --fps 2 --size 640x384 --seed 77 --lidar
    python benchmarks/ground_truth.py out/lidar [DRIVE ...] [--overlay FOLDER] [--limit 50]

Of drives with exact depth and lidar (synthetic ones): the share of lidar points that are more than
5 % off the exact depth of their pixel before and after filtering, and the share of right points
that is lost; with the lidar's position, as it is used, and without it, as it is for scans put
together from many places. Of other drives with lidar: the share that is removed. `--overlay`
writes each frame twice, every point and the removed ones in magenta. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from rosam_core.drives.opening import open_drives
from rosam_core.geometry.occlusion import hidden_points
from rosam_core.geometry.projection import points_in_view
from rosam_core.types import Frame

WRONG = 0.05


def main() -> int:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("drive", nargs="+", type=Path)
    parser.add_argument("--overlay", type=Path, metavar="FOLDER", help="write pictures here")
    parser.add_argument("--limit", type=int, default=50, help="frames of each path")
    args = parser.parse_args()
    report = {str(path): measure(path, args.limit, args.overlay) for path in args.drive}
    print(json.dumps(report, indent=2))
    return 0


def measure(path: Path, limit: int, overlay: Path | None) -> dict[str, Any]:
    """Returns the figures of the drives at a path."""
    places = [(drive, i) for drive in open_drives(path) for i in range(len(drive))]
    if limit < len(places):
        places = [places[i * len(places) // limit] for i in range(limit)]
    counts: dict[str, list[int]] = {}
    frames, seconds = 0, 0.0
    for drive, index in places:
        if not drive.glance(index).has_lidar:
            continue
        frame = drive[index]
        points, pixels = points_in_view(frame.lidar, frame.camera)
        if not len(points):
            continue
        start = time.perf_counter()
        hidden = hidden_points(points, frame.lidar_origin)
        seconds += time.perf_counter() - start
        frames += 1
        exact = None if drive.depth_is_lidar else frame.depth
        for name, gone in (("", hidden), ("_without_position", hidden_points(points, None))):
            count(counts, name, points, pixels, gone, exact)
        if overlay:
            overlay.mkdir(parents=True, exist_ok=True)
            picture = overlay_of(frame, points, pixels, hidden)
            cv2.imwrite(str(overlay / f"{drive.name.replace('/', '_')}_{index:06d}.png"), picture)
    result: dict[str, Any] = {"frames": frames}
    if frames:
        result["ms_a_frame"] = round(1e3 * seconds / frames, 1)
    for name, (n, gone, wrong, wrong_after, right_lost) in counts.items():
        result[f"removed{name}"] = round(gone / n, 4)
        if wrong >= 0:
            result["wrong_before"] = round(wrong / n, 4)
            result[f"wrong_after{name}"] = round(wrong_after / (n - gone), 4)
            result[f"right_lost{name}"] = round(right_lost / (n - wrong), 4)
    return result


def count(
    counts: dict[str, list[int]],
    name: str,
    points: np.ndarray,
    pixels: np.ndarray,
    gone: np.ndarray,
    exact: np.ndarray | None,
) -> None:
    """Adds points: all, removed, wrong, wrong ones left, right ones lost (-1: not known)."""
    row = [len(points), int(gone.sum()), -1, 0, 0]
    if exact is not None:
        columns, rows = np.rint(pixels).astype(int).T
        true = exact[rows.clip(0, len(exact) - 1), columns.clip(0, exact.shape[1] - 1)]
        wrong = ~(np.abs(points[:, 2] / true - 1) <= WRONG)
        row[2:] = [int(wrong.sum()), int((wrong & ~gone).sum()), int((gone & ~wrong).sum())]
    before = counts.setdefault(name, [0] * 5)
    counts[name] = [a + b for a, b in zip(before, row, strict=True)]


def overlay_of(
    frame: Frame, points: np.ndarray, pixels: np.ndarray, hidden: np.ndarray
) -> np.ndarray:
    """Returns the image with all points above the image with the removed ones in magenta."""
    image = cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR)
    near = np.clip(255 - 4 * points[:, 2], 0, 255).astype(np.uint8)
    colours = cv2.applyColorMap(near[:, None], cv2.COLORMAP_JET)[:, 0]
    radius = max(1, image.shape[1] // 800)
    pictures = []
    for marked in (np.zeros_like(hidden), hidden):
        picture = image.copy()
        for (u, v), colour, gone in zip(pixels, colours, marked, strict=True):
            shown = (255, 0, 255) if gone else colour.tolist()
            cv2.circle(picture, (int(u), int(v)), radius + int(gone), shown, -1)
        pictures.append(picture)
    return np.vstack(pictures)


if __name__ == "__main__":
    sys.exit(main())
