"""Which real frames train, which settings are chosen by, and which are only scored."""

from __future__ import annotations

import json
from pathlib import Path

POSED = "kitti_odo00_416"
UNPOSED = ("kitti_0926_cam3_road", "kitti_0926_sync_91", "udacity_project_video")
SCORED = "kitti_sfnd_lidar"
CHOOSE, SCORE = range(0, 26), range(38, 78)
"""Frames of `SCORED`: those that settings were chosen by, and those that were only scored."""


def prepare(drives: Path, work: Path) -> None:
    """Links the drives to train on, and the two parts of the scored one, into the work folder."""
    for name in (POSED, *UNPOSED):
        link(work / "all" / name, drives / name)
    scored = drives / SCORED
    known = json.loads((scored / "drive.json").read_text(encoding="utf-8"))
    for name, frames in (("choose", CHOOSE), ("score", SCORE)):
        part = work / name
        for kind in ("frames", "depth"):
            files = sorted((scored / kind).iterdir())
            for index in frames:
                link(part / kind / files[index].name, files[index])
        stamps = [known["frame_stamps"][index] for index in frames]
        described = {**known, "frame_stamps": stamps, "n_frames": len(stamps)}
        (part / "drive.json").write_text(json.dumps(described), encoding="utf-8")


def link(at: Path, target: Path) -> None:
    """Makes a symbolic link, if it is not there."""
    at.parent.mkdir(parents=True, exist_ok=True)
    if not at.is_symlink():
        at.symlink_to(target)


def overlap(work: Path) -> dict:
    """Returns how much scored frames resemble those of training, and what neighbours do.

    Correlation of grey pictures of 52x16 pixels: 1 for the same frame.
    """
    import cv2
    import numpy as np

    def signatures(folder: Path) -> np.ndarray:
        rows = []
        for file in sorted((folder / "frames").iterdir()):
            small = cv2.resize(cv2.imread(str(file), 0), (52, 16), interpolation=cv2.INTER_AREA)
            centred = small.astype(np.float32).ravel() - small.mean()
            rows.append(centred / np.linalg.norm(centred))
        return np.stack(rows)

    score, choose = signatures(work / "score"), signatures(work / "choose")
    nearest = {
        name: round(float((score @ signatures(work / "all" / name).T).max()), 3)
        for name in (POSED, *UNPOSED)
    }
    return {
        "frames_scored": len(score),
        "largest_correlation_with_training": nearest,
        "with_frames_settings_were_chosen_by": round(float((score @ choose.T).max()), 3),
        "of_consecutive_scored_frames_least": round(
            float((score[1:] * score[:-1]).sum(1).min()), 3
        ),
    }
