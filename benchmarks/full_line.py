"""Trains the packaged student on, stage by stage, with video of target worlds: is it better then?

    python benchmarks/full_line.py --out ../line [--only stage_2] [--data ../shared/data]

Renders unlabelled video, trains stages 0, 1 and 2 one from the other, stage 2 also without priors
and from the packaged student itself; scores each on other target worlds, on unseen plain ones and
on the 12 real nuScenes images, and prints three tables; OUT/STUDENT.jpg shows stage 2 beside what
it is compared with. What is trained is not trained again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from ablation_pictures import draw_depths
from ablation_score import score
from ablation_table import relative_gain

ROOT = Path(__file__).resolve().parents[1]
PACKAGED = ROOT / "rosam_core/weights/rosam_light.onnx"
SIZE = (512, 288)

DRIVES = {
    "paired": "--drives 60 --frames 4 --fps 10 --seed 992000",
    "video": "--drives 300 --frames 3 --fps 10 --seed 990000 --conditions-per-drive 1",
    "test": "--drives 40 --frames 2 --fps 0.5 --seed 993000",
}
"""Arguments of `rosam synth --world target`: for stages 0 and 1, for stage 2, and to score by."""

COMMON = (
    "model.name=light",
    f"data.width={SIZE[0]}",
    f"data.height={SIZE[1]}",
    "data.canonical_focal_px=256",
    "data.val_drives=null",
    "data.workers=0",
    "train.batch_size=6",
    "train.warmup_steps=30",
    "train.ema_decay=0.99",
    "train.channels_last=true",
    "train.frozen_norms=true",
    "train.threads=1",
    "train.checkpoint_every=50",
)
LAST = (
    "data.drives={out}/video",
    "data.video.regions={out}/masks",
    "train.learning_rate=1e-4",
    "train.steps=300",
)
TAUGHT = (
    "{section}.relative_to=teacher",
    "{section}.teacher={out}/stage_1/last.pt",
    "{section}.day={out}/stage_0/last.pt",
)
PRIORS = (  # all four, and all of ours: `full_ours` of the benchmark
    "rosam_depth.region_surface=plane",
    "rosam_depth.outlier_floor=0.1",
    "rosam_depth.label=standing",
    "rosam_depth.label_overhang=0.8",
)
STAGES = {
    "stage_0": (
        "self_supervised",
        "data.drives={out}/paired",
        "self_supervised.motion=recorded",
        "model.init={packaged}",
        "train.learning_rate=5e-5",
        "train.steps=150",
    ),
    "stage_1": (
        "synthetic_adaptation",
        "data.drives={out}/paired",
        "adaptation.relative_to=teacher",
        "adaptation.teacher={out}/stage_0/last.pt",
        "model.init={packaged}",
        "train.learning_rate=1e-4",
        "train.steps=200",
    ),
    "stage_2_baseline": (
        "rosam_depth",
        "method=real_adaptation",
        *LAST,
        *(option.replace("{section}", "adaptation") for option in TAUGHT),
    ),
    "stage_2": (
        "rosam_depth",
        *LAST,
        *PRIORS,
        *(option.replace("{section}", "rosam_depth") for option in TAUGHT),
        "rosam_depth.label_disagreement=0.1",
    ),
    "stage_2_packaged": (
        "rosam_depth",
        *LAST,
        *PRIORS,
        "rosam_depth.relative_to=teacher",
        "rosam_depth.teacher={packaged}",
    ),
}
"""Recipe of training/recipes and what is changed in it."""

FIGURES = {"AbsRel": "abs_rel", "F1": "boundary_f1", "spread": "object_spread"}
PAIRS = {"stage_2": "stage_2_baseline", "stage_2_packaged": "packaged"}
"""What stage 2 with priors is compared with: itself without them, and its teacher."""


def main() -> int:
    """Renders, trains, scores and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    data = Path(os.environ.get("ROSAM_TEST_DATA", ROOT.parent / "shared" / "data"))
    parser.add_argument("--out", type=Path, required=True, help="drives, masks and checkpoints")
    parser.add_argument("--only", action="append", choices=STAGES, help="train this, not all")
    parser.add_argument("--data", type=Path, default=data, help="folder with nuscenes_real/")
    parser.add_argument("--processes", type=int, default=2, help="that share a batch, a core each")
    args = parser.parse_args()
    out = args.out.resolve()
    render(out, args.processes)
    torch.set_num_threads(1)
    models = {"packaged": PACKAGED}
    models |= {name: trained(name, out, args.processes) for name in args.only or STAGES}
    scores = {name: score(model, out / "test") for name, model in models.items()}
    worlds = {name: figures_of(found) for name, found in scores.items()}
    others = {name: elsewhere(model, out, args.data) for name, model in models.items()}
    print(f"{len(worlds)} students on target worlds\n\n{table(worlds)}\n")
    print(f"and on unseen plain worlds and real images, AbsRel\n\n{table(others)}\n")
    pairs = {name: other for name, other in PAIRS.items() if {name, other} <= set(scores)}
    if pairs:
        print(f"change, and 95 % interval over worlds\n\n{changes(pairs, scores)}")
        for name, other in pairs.items():
            shown = {other: models[other], name: models[name]}
            draw_depths(shown, out / "test", ("night", "day-rain"), out / f"{name}.jpg", 144)
    return 0


def render(out: Path, workers: int) -> None:
    """Makes the drives and the region maps of the unlabelled ones."""
    size = f"--size={SIZE[0]}x{SIZE[1]}"
    for name, words in DRIVES.items():
        given = ["--world=target", *words.split(), size, f"--workers={workers}"]
        rosam("synth", *given, "--out", out / name)
    rosam("masks", out / "video", "-o", out / "masks", "--source=instances")


def trained(name: str, out: Path, processes: int) -> Path:
    """Trains a stage to its end and exports it; returns the model."""
    folder = out / name
    model = folder / f"{name}.onnx"
    if not model.is_file():
        recipe, options = options_of(name, out)
        words = [ROOT / "training/recipes" / recipe, "--out", folder, *options]
        resume = ["--resume"] if (folder / "last.pt").is_file() else []
        rosam("train", *words, *resume, processes=processes)
        rosam("export", folder / "last.pt", "-o", model, f"--size={SIZE[0]}x{SIZE[1]}")
    return model


def options_of(name: str, out: Path) -> tuple[str, list[str]]:
    """Returns the recipe of a stage, its name in training/recipes, and what is changed in it."""
    recipe, *options = STAGES[name]
    given = [option.format(out=out, packaged=PACKAGED) for option in (*COMMON, *options)]
    return f"{recipe}.yaml", given


def rosam(*words: object, processes: int = 1) -> None:
    """Runs a command of `rosam`, in several processes if asked."""
    line = [sys.executable, "-m", "rosam_core.cli", *map(str, words)]
    if processes > 1:
        several = ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        line[1:1] = ["-m", *several]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run(line, check=True, stdout=sys.stderr, env=environment)


def figures_of(found: dict[str, Any]) -> dict[str, float]:
    """Returns figures of other target worlds, 0.5 to 80 m, by condition."""
    return {f"{c} {word}": found[c][key] for word, key in FIGURES.items() for c in found}


def changes(pairs: dict[str, str], scores: dict[str, dict[str, Any]]) -> str:
    """Returns a table of relative changes of the figures: which student, against which, where."""
    lines = [["student", "against", "condition", *FIGURES]]
    lines += [["---"] * len(lines[0])]
    for name, other in pairs.items():
        rows = {key: {0: {"conditions": scores[key]}} for key in (name, other)}
        rows["baseline"] = rows.pop(other)
        for condition in scores[name]:
            gains = [relative_gain(rows, name, [condition], figure) for figure in FIGURES.values()]
            cells = [
                f"{0 - 100 * gain:+.1f} % ({0 - 100 * high:+.1f} to {0 - 100 * low:+.1f})"
                for gain, low, high in filter(None, gains)
            ]
            lines.append([name, other, condition, *cells])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def elsewhere(model: Path, out: Path, data: Path) -> dict[str, float]:
    """Returns AbsRel by condition of unseen plain worlds and of real images."""
    worlds = report("accuracy_synthetic.py", model, out, "--out", out / "unseen")
    real = report("real_nuscenes.py", model, out, "--data", data)["all"]
    return {
        **{name: row["abs_rel"] for name, row in worlds["conditions"].items()},
        "nuScenes": real["abs_rel"],
        "nuScenes, scaled": real["abs_rel_median_scaled"],
    }


def report(script: str, model: Path, out: Path, *words: object) -> dict:
    """Returns what another benchmark writes of a model; a target that it misses is no failure."""
    written = out / f"{Path(script).stem}.json"
    line = [ROOT / "benchmarks" / script, "--model", model, "--json", written, *words]
    written.unlink(missing_ok=True)
    subprocess.run([sys.executable, *map(str, line)], check=False, stdout=subprocess.DEVNULL)
    if not written.is_file():
        raise SystemExit(f"{script} did not score {model}")
    found: dict = json.loads(written.read_text(encoding="utf-8"))
    return found


def table(rows: dict[str, dict[str, float]]) -> str:
    """Returns the figures as a table, a student a row."""
    names = list(next(iter(rows.values())))
    lines = [["student", *names], ["---"] * (len(names) + 1)]
    lines += [[row, *(f"{figures[name]:.3f}" for name in names)] for row, figures in rows.items()]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


if __name__ == "__main__":
    sys.exit(main())
