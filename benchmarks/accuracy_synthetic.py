"""Scores a model on synthetic worlds it never saw, by condition, against its targets.

    python benchmarks/accuracy_synthetic.py [--model M] [--drives 40] [--frames 2] [--json F]

Renders drives with random cameras from seeds that no training uses (950000 on) at 1 frame a
second, so that few frames see many places; run again, it finds them rendered. Metric depth, no
scaling, 0.1 to 80 m, mean over images. Prints JSON; exit status 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

FIRST_SEED = 950_000
TARGETS = {"day-clear": 0.10, "day-rain": 0.13, "fog": 0.13, "night": 0.15}
"""Largest AbsRel, metric."""
ECE_TARGET = 0.05
AUSE_TARGET = 0.4
"""How much smaller the area under the sparsification error must be than that of a random order."""
FLAT_GROUND_TARGET = 3.0
"""How many times smaller the AbsRel must be than that of the flat-ground baseline."""


def main() -> int:
    """Renders, scores and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="ONNX model; the packaged one if not given")
    parser.add_argument("--drives", type=int, default=40, help="worlds")
    parser.add_argument("--frames", type=int, default=2, help="frames of each world")
    parser.add_argument("--out", type=Path, help="keep the drives here; default: a scratch folder")
    parser.add_argument("--threads", type=int, default=2, help="threads of the engine")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        report = measure(args, args.out or Path(scratch))
    text = json.dumps(report, indent=2)
    print(text)
    if args.json:
        args.json.write_text(text + "\n", encoding="utf-8")
    return 0 if report["met"] else 1


def measure(args: argparse.Namespace, out: Path) -> dict:
    """Returns the figures by condition and whether every target is met."""
    from rosam_core.engines.registry import default_model_path, load_engine
    from rosam_core.evaluation.predictions import ModelPredictions, scoring_pipeline
    from rosam_core.evaluation.protocol import score_drives
    from rosam_core.evaluation.scoring import FLAT_GROUND_CAP_M, by_condition, finite

    render = [sys.executable, "-m", "rosam_core.cli", "synth", "--out", str(out)]
    render += ["--drives", str(args.drives), "--frames", str(args.frames), "--fps", "1"]
    render += ["--conditions", ",".join(TARGETS), "--seed", str(FIRST_SEED)]
    subprocess.run(render, check=True, stdout=sys.stderr)
    engine = load_engine(args.model or default_model_path(), "onnx-cpu", args.threads)
    found = score_drives(ModelPredictions(scoring_pipeline(engine)), out, kind="synthetic")
    if found.skipped:
        raise SystemExit(f"{len(found.skipped)} frames could not be read: {found.skipped[0]}")
    summaries = by_condition(found.scores)
    rows = {}
    for condition, target in TARGETS.items():
        s = summaries[condition]
        rows[condition] = {
            "frames": s["frames"],
            "abs_rel": round(s["metric"]["abs_rel"], 4),
            "abs_rel_target": target,
            "rmse_m": round(s["metric"]["rmse"], 3),
            "delta1": round(s["metric"]["delta1"], 4),
            "abs_rel_median_scaled": round(s["median_scaled"]["abs_rel"], 4),
            "ece": round(s["ece"], 4),
            "ause": round(s["ause"], 4),
            "ause_random": round(s["ause_random"], 4),
            "ause_gain": round(1 - s["ause"] / s["ause_random"], 3),
            "flat_ground_abs_rel": round(s["flat_ground"]["abs_rel"], 4),
            "flat_ground_ratio": round(s["flat_ground_ratio"], 2),
            "met": s["metric"]["abs_rel"] <= target
            and s["ece"] <= ECE_TARGET
            and s["ause"] <= (1 - AUSE_TARGET) * s["ause_random"]
            and s["flat_ground_ratio"] >= FLAT_GROUND_TARGET,
        }
    return finite(
        {
            "model": engine.card.name,
            "sha256": engine.card.sha256,
            "protocol": "metric, no scaling, 0.1-80 m, mean over images, 576x320, random cameras",
            "seeds": [FIRST_SEED, FIRST_SEED + args.drives - 1],
            "frames_per_world": args.frames,
            "flat_ground_cap_m": FLAT_GROUND_CAP_M,
            "ece_target": ECE_TARGET,
            "ause_gain_target": AUSE_TARGET,
            "ece_all": round(summaries["all"]["ece"], 4),
            "ause_gain_all": round(
                1 - summaries["all"]["ause"] / summaries["all"]["ause_random"], 3
            ),
            "conditions": rows,
            "met": all(row["met"] for row in rows.values()),
        }
    )


if __name__ == "__main__":
    sys.exit(main())
