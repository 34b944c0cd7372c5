"""What the camera's height is worth: synthetic worlds from mountings no training has seen.

    python benchmarks/camera_height.py [--model M] [--heights 0.3,0.6,1.5] [--drives 8] [--json F]

Renders the same worlds by day with a camera at each height, and with one that looks down, from
seeds that no training uses (991000 on), and scores depth plain and with the scale that the height
gives (`camera_height_m` of the node). Metric, 0.1 to 80 m, mean over images, and the same of the
ground with all scenery, and of things (cars, people, posts). Prints a table.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from rosam_core.evaluation.predictions import ModelPredictions

FIRST_SEED = 991_000
HEIGHTS_M = (0.3, 0.6, 1.0, 1.5, 2.6, 4.0)
STEEP = (0.6, 25.0)
"""Height [m] and pitch [degrees] of the camera that looks down."""


def main() -> int:
    """Renders, scores and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="ONNX model; the packaged one if not given")
    parser.add_argument(
        "--heights",
        type=lambda text: tuple(map(float, text.split(","))),
        default=HEIGHTS_M,
        help="of the camera [m], comma-separated",
    )
    parser.add_argument("--drives", type=int, default=24, help="worlds, one frame each")
    parser.add_argument("--out", type=Path, help="keep the drives here; default: a scratch folder")
    parser.add_argument("--threads", type=int, default=2, help="threads of the engine")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        rows = measure(args, args.out or Path(scratch))
    columns = [name for name in rows[0] if name.startswith("abs_rel")]
    print("height  pitch  " + "  ".join(name.removeprefix("abs_rel_") for name in columns))
    for row in rows:
        figures = "  ".join(
            f"{row[name]:{len(name.removeprefix('abs_rel_'))}.3f}" for name in columns
        )
        print(f"{row['height_m']:5g}m  {row['pitch_deg'] or 0:5g}  {figures}")
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    return 0


def measure(args: argparse.Namespace, out: Path) -> list[dict]:
    """Returns the figures of each mounting."""
    from rosam_core.engines.registry import default_model_path, load_engine
    from rosam_core.evaluation.predictions import ModelPredictions, scoring_pipeline
    from rosam_core.evaluation.protocol import score_drives
    from rosam_core.evaluation.scoring import by_condition

    engine = load_engine(args.model or default_model_path(), "onnx-cpu", args.threads)
    pipeline = scoring_pipeline(engine)
    rows = []
    for height, pitch in [*((h, None) for h in args.heights), STEEP]:
        folder = out / f"height_{height:g}_{'any' if pitch is None else f'{pitch:g}'}"
        render = [sys.executable, "-m", "rosam_core.cli", "synth", "--out", str(folder)]
        render += ["--drives", str(args.drives), "--frames", "1", "--seed", str(FIRST_SEED)]
        render += ["--conditions", "day-clear", "--camera-height", str(height)]
        render += [] if pitch is None else ["--camera-pitch", str(pitch)]
        subprocess.run(render, check=True, stdout=sys.stderr)
        figures, parts = [], []
        for by_height in (False, True):
            predict = ModelPredictions(
                pipeline, by_height=by_height, camera_pitch_deg=pitch or 0.0
            )
            found = score_drives(predict, folder, kind="synthetic")
            figures.append(by_condition(found.scores)["day-clear"])
            parts.append(ground_and_things(predict, found.places))
        plain, scaled = figures
        rows.append(
            {
                "height_m": height,
                "pitch_deg": pitch,
                "frames": plain["frames"],
                "abs_rel": round(plain["metric"]["abs_rel"], 4),
                "abs_rel_by_height": round(scaled["metric"]["abs_rel"], 4),
                "abs_rel_median_scaled": round(plain["median_scaled"]["abs_rel"], 4),
                "abs_rel_ground": parts[0][0],
                "abs_rel_ground_by_height": parts[1][0],
                "abs_rel_things": parts[0][1],
                "abs_rel_things_by_height": parts[1][1],
            }
        )
    return rows


def ground_and_things(predict: ModelPredictions, places: list) -> list[float]:
    """Returns the mean AbsRel of pixels without and with an instance, over images with 200."""
    errors: tuple[list, list] = [], []
    for drive, index in places:
        frame = drive[index]
        depth = predict(frame, drive, index)[0].depth.clip(0.1, 80.0)
        scored = (frame.depth > 0.1) & (frame.depth < 80.0)
        for found, part in zip(errors, (frame.instances == 0, frame.instances > 0), strict=True):
            truth = frame.depth[scored & part]
            if truth.size >= 200:
                found.append(float(np.nanmean(np.abs(depth[scored & part] - truth) / truth)))
    return [round(float(np.mean(found)), 4) for found in errors]


if __name__ == "__main__":
    sys.exit(main())
