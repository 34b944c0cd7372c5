"""Trains on the real drives and scores against lidar: the rows and tables of docs/results.

    python benchmarks/real_drives.py prepare --work W           # links what trains and is scored
    python benchmarks/real_drives.py overlap --work W           # are scored frames new?
    python benchmarks/real_drives.py run NAME --work W          # trains, exports, scores: one row
    python benchmarks/real_drives.py table                      # tables and curves of all rows

A row is docs/results/real_drives/NAME.json. A run that was stopped continues; one that is done is
only scored again. Weights trained on these drives and pictures of them stay in W, which must lie
outside the repository: their licences allow research only.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

from real_drives_frames import POSED, SCORED, overlap, prepare
from real_drives_page import ROOT, ROWS, write_page

from rosam_core.engines.contract import load_card

SHIPPED = ROOT / "rosam_core/weights/rosam_light.onnx"
PICTURE = (640, 192)
"""Network size for training and for KITTI: that of the pictures, but for a row."""
NUSCENES = (512, 288)
"""Network size for nuScenes: its shape, and about the focal length (in pixels) of KITTI above."""


@dataclasses.dataclass(frozen=True)
class Run:
    """One row.

    Attributes:
        title: In words, for the table.
        recipe: Of training/recipes, or None for a model that is only scored.
        drives: Folder of the work folder, or one of its drives.
        overrides: Of the recipe; `{work}` is the work folder.
        after: Runs whose checkpoints it starts from.
        kitti: Network size for the scored KITTI frames [px].
    """

    title: str
    recipe: str | None = None
    drives: str = POSED
    overrides: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    kitti: tuple[int, int] = PICTURE


COMMON = (
    "model.name=light",
    f"data.width={PICTURE[0]}",
    f"data.height={PICTURE[1]}",
    f"data.canonical_focal_px={load_card(SHIPPED).training_focal_px:g}",
    "data.workers=0",
    "data.val_drives={work}/choose",
    "train.batch_size=6",
    "train.threads=1",
    "train.channels_last=true",
    "train.warmup_steps=50",
    "train.ema_decay=0.99",
    "train.val_every=100",
    "train.val_samples=26",
    "train.checkpoint_every=100",
)
RECORDED = ("self_supervised.motion=recorded",)
LEARNED = (
    "model.pose_scale=0.5",
    "data.video.view.resize=crop",
    "self_supervised.pose_warmup_steps=150",
    "train.batch_size=4",
    "train.steps=400",
)
SMALL = ("data.width=416", "data.height=128")
FROM_SYNTHETIC = (f"model.init={SHIPPED}",)
TUNED = (*RECORDED, *FROM_SYNTHETIC, "train.learning_rate=5e-5", "train.steps=400")
ANCHORED = (*TUNED, f"self_supervised.anchor={SHIPPED}")
STAGE_0 = "self_supervised.yaml"
STAGE_2 = "rosam_depth.yaml"
TEACHER = "tuned_anchored"
REAL = (
    "adaptation.teacher={work}/runs/" + TEACHER + "/last.pt",
    "rosam_depth.teacher={work}/runs/" + TEACHER + "/last.pt",
    "adaptation.farthest_m=100",
    "train.frozen_norms=true",
    "train.steps=200",
)

RUNS = {
    "synthetic": Run("synthetic only, as packaged (512x288)"),
    "synthetic_fitted": Run("synthetic only, at 640x192"),
    "tuned_recorded": Run("stage 0 from synthetic, recorded poses", STAGE_0, overrides=TUNED),
    "tuned_recorded_seed2": Run("the same, seed 2", STAGE_0, overrides=(*TUNED, "seed=2")),
    TEACHER: Run("the same with an anchor", STAGE_0, overrides=ANCHORED),
    "tuned_anchored_seed2": Run(
        "with an anchor, seed 2", STAGE_0, overrides=(*ANCHORED, "seed=2")
    ),
    "tuned_learned": Run(
        "stage 0 from synthetic, learned motion, all drives, an anchor",
        STAGE_0,
        "all",
        (*LEARNED, *FROM_SYNTHETIC, f"self_supervised.anchor={SHIPPED}"),
    ),
    "scratch_recorded": Run(
        "stage 0 from scratch, recorded poses, at 416x128",
        STAGE_0,
        overrides=(*RECORDED, *SMALL, "train.learning_rate=5e-4", "train.steps=600"),
        kitti=(416, 128),
    ),
    "stage2_baseline": Run(
        "stage 2 without priors",
        STAGE_2,
        overrides=("method=real_adaptation", *REAL),
        after=(TEACHER,),
    ),
    "stage2_superpixels": Run(
        "stage 2, priors of superpixels",
        STAGE_2,
        overrides=(*REAL, "data.video.regions={work}/masks"),
        after=(TEACHER,),
    ),
}


def main() -> int:
    """Does what the command says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=("prepare", "overlap", "run", "table"))
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(RUNS))
    data = Path(os.environ.get("ROSAM_TEST_DATA", ROOT.parent / "shared" / "data"))
    parser.add_argument("--data", type=Path, default=data, help="folder with drives/")
    parser.add_argument("--work", type=Path, help="folder for weights, outside the repository")
    parser.add_argument(
        "--pictures", action="store_true", help="contact sheets into the work folder"
    )
    args = parser.parse_args()
    if args.command == "table":
        write_page(list(RUNS))
        return 0
    if args.work is None or args.work.resolve().is_relative_to(ROOT):
        parser.error("--work must be a folder outside the repository")
    if not (args.data / "drives" / SCORED).is_dir():
        print(f"no drives at {args.data}: set ROSAM_TEST_DATA or --data", file=sys.stderr)
        return 1
    if unknown := set(args.names) - set(RUNS):
        parser.error(f"no run {sorted(unknown)}: choose of {', '.join(RUNS)}")
    work = args.work.resolve()
    prepare(args.data.resolve() / "drives", work)
    if args.command == "overlap":
        save("overlap", overlap(work))
    elif args.names:
        refuse_another_student(ROWS / "synthetic.json")
    for name in args.names if args.command == "run" else ():
        save(name, measure(name, work, args.data.resolve(), args.pictures))
    return 0


def refuse_another_student(first: Path) -> None:
    """Ends the run if the rows that are kept began from another student than is packaged now.

    Gains over "the packaged student" would be of two students.
    """
    if not first.is_file():
        return
    kept = json.loads(first.read_text(encoding="utf-8"))["scores"]["kitti_score"]["model"]
    now = load_card(SHIPPED).sha256[: len(kept)]
    if kept != now:
        raise SystemExit(
            f"the rows in {first.parent} are of the student {kept}, packaged now is {now}: move "
            "them away to measure anew"
        )


def save(name: str, row: dict) -> None:
    """Prints a row and keeps it."""
    text = json.dumps(row, indent=1)
    print(text)
    ROWS.mkdir(parents=True, exist_ok=True)
    (ROWS / f"{name}.json").write_text(text + "\n", encoding="utf-8")


# -- one row --------------------------------------------------------------------------------------


def measure(name: str, work: Path, data: Path, pictures: bool) -> dict:
    """Trains a run as far as it is not, exports and scores it; returns its row."""
    run, out = RUNS[name], work / "runs" / name
    row: dict = {"name": name, "title": run.title}
    sizes = {"kitti": run.kitti, "nuscenes": NUSCENES}
    if run.recipe is None:
        models = {"kitti": SHIPPED, "nuscenes": SHIPPED}
        if name != "synthetic":
            models = {kind: work / f"{name}_{kind}.onnx" for kind in sizes}
            for kind, size in sizes.items():
                resized(SHIPPED, models[kind], size)
    else:
        row.update(trained(name, run, work, out))
        models = {kind: out / f"{kind}.onnx" for kind in sizes}
        for kind, (width, height) in sizes.items():
            size = f"--size={width}x{height}"
            rosam("export", out / "last.pt", "-o", models[kind], size, "--licence=CC-BY-NC-SA-3.0")
    scored = {
        "kitti_score": ("kitti", work / "score"),
        "kitti_choose": ("kitti", work / "choose"),
        "kitti_all_78": ("kitti", data / "drives" / SCORED),
        "nuscenes": ("nuscenes", data / "nuscenes_real"),
    }
    row["scores"] = {key: score(models[kind], drive) for key, (kind, drive) in scored.items()}
    if pictures:
        for key in ("kitti_score", "nuscenes"):
            kind, drive = scored[key]
            draw(models[kind], drive, work / "pictures" / f"{name}_{key}.png")
    return row


def trained(name: str, run: Run, work: Path, out: Path) -> dict:
    """Trains a run to its end; returns what it took and its curves."""
    if missing := [n for n in run.after if not (work / "runs" / n / "last.pt").is_file()]:
        raise SystemExit(f"{name} starts from {', '.join(missing)}: run that first")
    drives = work / "all" if run.drives == "all" else work / "all" / run.drives
    if any("{work}/masks" in override for override in run.overrides):
        rosam("masks", drives, "-o", work / "masks", "--source=superpixels")
    given = [o.format(work=work) for o in (f"data.drives={drives}", *COMMON, *run.overrides)]
    words = ["train", ROOT / "training/recipes" / str(run.recipe), "--out", out, *given]
    resumed = (out / "last.pt").is_file()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    rosam(*words, *(["--resume"] if resumed else []))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cost = out / "cost.json"
    if not cost.is_file():  # of a whole run, not of its end or of a look at what is done
        seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        figures = {
            "cpu_minutes": None if resumed else round(seconds / 60, 1),
            "peak_memory_mib": None if resumed else after.ru_maxrss // 1024,
        }
        cost.write_text(json.dumps(figures), encoding="utf-8")
    log = (out / "log.jsonl").read_text(encoding="utf-8")
    records = [json.loads(line) for line in log.splitlines()]
    train = [r for r in records if r["kind"] == "train"]
    losses = [key for key in ("photometric_0", "distil_0", "velocity") if key in train[0]]
    return {
        "recipe": run.recipe,
        "drives": run.drives,
        "overrides": [*COMMON, *(o.replace(str(ROOT) + "/", "") for o in run.overrides)],
        "steps": train[-1]["step"],
        "wall_minutes": round(records[-1]["minutes"], 1),
        **json.loads(cost.read_text(encoding="utf-8")),
        "curves": {
            **{key: [[r["step"], round(r[key], 4)] for r in train] for key in losses},
            "abs_rel": [
                [r["step"], round(r["all/abs_rel"], 4)] for r in records if r["kind"] == "val"
            ],
        },
    }


def rosam(*words: object) -> None:
    """Runs a command of `rosam`, as a user would."""
    line = [sys.executable, "-m", "rosam_core.cli", *map(str, words)]
    subprocess.run(line, check=True, stdout=sys.stderr)


def score(model: Path, drive: Path) -> dict:
    """Returns the figures of `rosam eval`."""
    line = [sys.executable, "-m", "rosam_core.cli", "eval", "--model", model, "--drive", drive]
    done = subprocess.run(
        [*map(str, line), "--threads=1", "--json"], check=True, stdout=subprocess.PIPE
    )
    report = json.loads(done.stdout)
    (figures,) = report["conditions"].values()

    def brief(kind: str) -> dict:
        return {key: round(figures[kind][key], 4) for key in ("abs_rel", "rmse", "delta1")}

    return {
        "frames": figures["frames"],
        "model": report["sha256"][:12],
        "drive_digest": report["drive_digest"],
        "metric": brief("metric"),
        "median_scaled": brief("median_scaled"),
    }


def resized(model: Path, output: Path, size: tuple[int, int]) -> None:
    """Writes the same student for another size of pictures."""
    from rosam_core.checkpoint import load_student_weights
    from rosam_core.export import DeployedStudent, write_onnx
    from rosam_core.models import create_model
    from rosam_core.types import ModelCard, card_path, file_sha256

    card = ModelCard.load(card_path(model))
    student = create_model(card.architecture)
    load_student_weights(student, model)
    write_onnx(DeployedStudent(student.eval(), card.confidence_temperature), output, size)
    card = dataclasses.replace(
        card,
        name=output.stem,
        input_width=size[0],
        input_height=size[1],
        sha256=file_sha256(output),
    )
    card_path(output).write_text(card.to_json(), encoding="utf-8")


def draw(model: Path, drive: Path, sheet: Path) -> None:
    """Writes frames spread over a drive, their depth, confidence and error."""
    import numpy as np

    from rosam_core.drives.opening import open_drives
    from rosam_core.engines.registry import load_engine
    from rosam_core.evaluation.pictures import contact_sheet, encode_png, side_by_side
    from rosam_core.evaluation.report import Example, example_panels
    from rosam_core.evaluation.scoring import frame_truth
    from rosam_core.runtime.pipeline import DepthPipeline

    pipeline = DepthPipeline(load_engine(model, "onnx-cpu", 1))
    frames, rows = open_drives(drive)[0], []
    for index in np.linspace(0, len(frames) - 1, 4).astype(int):
        frame = frames[int(index)]
        truth = frame_truth(frame, "nearest")
        found = pipeline.predict(frame.image, frame.camera)
        shown = Example("", "", frame.image, found.depth, found.confidence, truth, True)
        rows.append(side_by_side([panel for _, panel in example_panels(shown, 80.0)], 140))
    sheet.parent.mkdir(parents=True, exist_ok=True)
    sheet.write_bytes(encode_png(contact_sheet(rows, sheet.stem)))


if __name__ == "__main__":
    sys.exit(main())
