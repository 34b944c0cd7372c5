"""What boundary scores can tell: exact depth, blurred and moved, scored as a prediction.

    python benchmarks/boundary_limits.py [--drive DIR]

Renders a small synthetic drive with lidar, or takes one, and scores depth that is known to be
right, blurred by so many pixels (its inverse, as a network's is) or moved sideways: against the
exact depth, and between the points of the simulated lidar as `rosam eval --lidar-boundaries` does,
with every point and without those hidden from the camera. Prints JSON: F1, mean over frames.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

RANGE_M = (0.1, 80.0)
BLUR_PX = (0, 1, 2, 4, 8, 16)
MOVE_PX = (1, 3, 8)


def main() -> int:
    """Renders, scores and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--drive", type=Path, help="synthetic drive with lidar")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        report = limits(args.drive or made_up(Path(scratch)))
    print(json.dumps(report, indent=2))
    return 0


def made_up(folder: Path) -> Path:
    """Renders a drive; returns its folder."""
    from rosam_core.cli import main as rosam

    command = ["synth", "--out", str(folder), "--drives", "1", "--frames", "8", "--lidar"]
    command += ["--size", "640x384", "--fov", "80", "--seed", "7", "--conditions", "day-clear"]
    with contextlib.redirect_stdout(sys.stderr):  # stdout is for the JSON
        if rosam([*command, "--fps", "2", "--workers", "1"]):
            raise SystemExit("rosam synth failed")
    return folder


def limits(path: Path) -> dict[str, dict[str, float]]:
    """Returns F1 by what was done to the depth and what it was scored against."""
    from rosam_core.drives.opening import open_drives
    from rosam_core.evaluation.boundaries import boundary_scores
    from rosam_core.evaluation.ground_truth import GroundTruth, TruthOptions

    found: dict[str, dict[str, list[float]]] = {}
    for drive in open_drives(path, "synthetic"):
        for frame in drive:
            sparse = dataclasses.replace(frame, depth=None)
            truths = {"exact": (frame.depth, frame.instances)}
            for mode in ("protocol", "filtered"):
                truths[f"lidar_{mode}"] = (GroundTruth(TruthOptions(mode)).of(sparse), None)
            for name, depth in changed(frame.depth).items():
                for against, (truth, instances) in truths.items():
                    scores = boundary_scores(truth, depth, *RANGE_M, instances)
                    if scores is not None and scores["f1"] >= 0:
                        row = found.setdefault(name, {})
                        row.setdefault(against, []).append(scores["f1"])
    return {
        name: {against: round(float(np.mean(values)), 3) for against, values in row.items()}
        for name, row in found.items()
    }


def changed(depth: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the depth, blurred and moved."""
    inverse = 1 / np.clip(depth, *RANGE_M)
    result = {
        f"blurred_{px}px": 1 / (cv2.GaussianBlur(inverse, (0, 0), px) if px else inverse)
        for px in BLUR_PX
    }
    result |= {f"moved_{px}px": np.roll(1 / inverse, px, axis=1) for px in MOVE_PX}
    return {name: np.asarray(values, np.float32) for name, values in result.items()}


if __name__ == "__main__":
    sys.exit(main())
