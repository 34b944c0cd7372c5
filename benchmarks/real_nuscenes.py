"""Scores a model on the 12 real nuScenes images, metric and median-scaled, by camera.

    python benchmarks/real_nuscenes.py [--model M] [--data ../shared/data] [--json F]

Ground truth is one motion-compensated lidar sweep, 0.1 to 80 m, mean over images. The flat-ground
baseline stands beside it: its median-scaled AbsRel, the mean over the six cameras of a key frame,
is .36 and .49 (.36 and .50 with one height of 1.5 m for all cameras). Prints JSON; exit status 1
if the median-scaled AbsRel is not below 0.25.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
AIM = 0.25
"""Median-scaled AbsRel to stay below."""


def main() -> int:
    """Scores and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    data = Path(os.environ.get("ROSAM_TEST_DATA", ROOT.parent / "shared" / "data"))
    parser.add_argument("--model", type=Path, help="ONNX model; the packaged one if not given")
    parser.add_argument("--data", type=Path, default=data, help="folder with nuscenes_real/")
    parser.add_argument("--pictures", type=Path, help="write a contact sheet here (PNG)")
    parser.add_argument("--threads", type=int, default=2, help="threads of the engine")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    args = parser.parse_args()
    root = args.data / "nuscenes_real"
    if not root.is_dir():
        print(f"no real frames at {root}: set ROSAM_TEST_DATA or --data", file=sys.stderr)
        return 1
    report = measure(args, root)
    text = json.dumps(report, indent=2)
    print(text)
    if args.json:
        args.json.write_text(text + "\n", encoding="utf-8")
    return 0 if report["met"] else 1


def measure(args: argparse.Namespace, root: Path) -> dict:
    """Returns the figures of every image, every key frame and all."""
    from rosam_core.drives.nuscenes import NuscenesDrive
    from rosam_core.engines.registry import default_model_path, load_engine
    from rosam_core.evaluation.pictures import contact_sheet, encode_png, side_by_side
    from rosam_core.evaluation.predictions import scoring_pipeline
    from rosam_core.evaluation.report import Example, example_panels
    from rosam_core.evaluation.scoring import finite, frame_truth, score_image
    from rosam_core.evaluation.scoring import summarise as summary_of

    engine = load_engine(args.model or default_model_path(), "onnx-cpu", args.threads)
    pipeline = scoring_pipeline(engine)
    drive = NuscenesDrive(root)
    scores, rows, pictures = [], [], []
    for index, frame in enumerate(drive):
        truth = frame_truth(frame, "floor")
        prediction = pipeline.predict(frame.image, frame.camera)
        score = score_image(frame, truth, prediction, 0.1, 80.0, drive.camera_height(index))
        scores.append(score)
        rows.append(
            {
                "camera": frame.camera_name,
                "points": score.metric["n"],
                "abs_rel": round(score.metric["abs_rel"], 4),
                "abs_rel_median_scaled": round(score.scaled["abs_rel"], 4),
                "scale": round(score.scaled["scale"], 3),
                "flat_ground_median_scaled": round(score.flat_scaled["abs_rel"], 4),
            }
        )
        caption = (
            f"AbsRel {score.metric['abs_rel']:.3f} metric, {score.scaled['abs_rel']:.3f} scaled"
        )
        example = Example(
            frame.camera_name,
            caption,
            frame.image,
            prediction.depth,
            prediction.confidence,
            truth,
            True,
        )
        panels = [picture for _, picture in example_panels(example, 80.0)]
        pictures.append(side_by_side(panels, 180, example.title, caption))
    if args.pictures:
        args.pictures.write_bytes(encode_png(contact_sheet(pictures, engine.card.name)))
    total = summary_of(scores)
    key_frames = [summary_of(scores[i : i + 6]) for i in range(0, len(scores), 6)]
    by_camera = {
        name: round(
            float(np.mean([r["abs_rel_median_scaled"] for r in rows if r["camera"] == name])), 4
        )
        for name in dict.fromkeys(row["camera"] for row in rows)
    }

    def brief(s: dict) -> dict:
        return {
            "images": s["frames"],
            "abs_rel": round(s["metric"]["abs_rel"], 4),
            "delta1": round(s["metric"]["delta1"], 4),
            "rmse_m": round(s["metric"]["rmse"], 3),
            "abs_rel_median_scaled": round(s["median_scaled"]["abs_rel"], 4),
            "delta1_median_scaled": round(s["median_scaled"]["delta1"], 4),
            "ece": round(s["ece"], 4),
            "flat_ground_abs_rel": round(s["flat_ground"]["abs_rel"], 4),
            "flat_ground_median_scaled": round(s["flat_ground_median_scaled"]["abs_rel"], 4),
        }

    return finite(
        {
            "model": engine.card.name,
            "sha256": engine.card.sha256,
            "protocol": "lidar, 0.1-80 m, mean over images; median-scaled per image",
            "all": brief(total),
            "key_frames": [brief(s) for s in key_frames],
            "median_scaled_by_camera": by_camera,
            "images": rows,
            "aim": AIM,
            "met": total["median_scaled"]["abs_rel"] < AIM,
        }
    )


if __name__ == "__main__":
    sys.exit(main())
