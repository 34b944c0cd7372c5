import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")

from training_support import small_overrides, write_train_and_val

from rosam_core.checkpoint import load_checkpoint, save_checkpoint
from rosam_core.cli import main
from rosam_core.config import load_config
from rosam_core.drives.opening import open_drives
from rosam_core.drives.training_samples import ValidationSamples, find_training_drives
from rosam_core.drives.video_samples import RecordedValidation
from rosam_core.evaluation.student import evaluate_student
from rosam_core.recipe import Recipe
from rosam_core.trainer import Trainer, train

pytestmark = pytest.mark.torch

ROOT = Path(__file__).resolve().parents[1]
RECIPES = sorted((ROOT / "training/recipes").glob("*.yaml"))
SUPERVISED = ROOT / "training/recipes/pretrain_synthetic.yaml"


@pytest.fixture(scope="module")
def drives(tmp_path_factory):
    return write_train_and_val(tmp_path_factory.mktemp("drives"))


def small(drives, *overrides, recipe=SUPERVISED):
    return load_config(Recipe, recipe, [*small_overrides(drives), *overrides])


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.fixture(scope="module")
def taught(drives, tmp_path_factory):
    """A checkpoint of two steps, for the methods that need a teacher, and region maps beside."""
    out = tmp_path_factory.mktemp("taught") / "run"
    train(small(drives, "train.steps=2", recipe=SUPERVISED), out)
    masks = ["-o", str(out / "masks"), "--source", "instances"]
    assert main(["masks", str(drives / "train"), *masks]) == 0
    return out / "last.pt"


def teachers(recipe, checkpoint):
    method = yaml.safe_load(recipe.read_text())["method"]
    return {
        "synthetic_adaptation": [f"adaptation.teacher={checkpoint}", f"model.init={checkpoint}"],
        "rosam_depth": [
            f"rosam_depth.teacher={checkpoint}",
            f"rosam_depth.day={checkpoint}",
            f"data.video.regions={checkpoint.parent / 'masks'}",
        ],
    }.get(method, [])


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda p: p.stem)
def test_every_recipe_takes_two_steps_and_validates(recipe, drives, taught, tmp_path):
    overrides = ["train.steps=2", *teachers(recipe, taught)]
    summary = train(small(drives, *overrides, recipe=recipe), tmp_path / "run")
    assert summary["step"] == 2
    assert set(summary["validation"]) == {"day-clear", "night", "all"}
    assert 0 < summary["validation"]["all"]["abs_rel"] < 10
    assert recipe.read_text().startswith("#")
    assert f"rosam train training/recipes/{recipe.name}" in recipe.read_text()
    lines = (tmp_path / "run/log.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert all(math.isfinite(row["loss"]) for row in rows if row["kind"] == "train")


def test_real_adaptation_starts_from_its_teacher(drives, taught, tmp_path):
    recipe = ROOT / "training/recipes/rosam_depth.yaml"
    trainer = Trainer(
        small(drives, *teachers(recipe, taught), recipe=recipe), tmp_path / "a", False
    )
    assert same(trainer.student.state_dict(), load_checkpoint(taught)["ema"])
    assert not any(p.requires_grad for p in trainer.method.teacher.parameters())


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["method=rosam"], r"no method named 'rosam' \(did you mean 'rosam_depth'\?\)"),
        (["method=rosam_depth"], r"rosam_depth needs rosam_depth\.teacher: a checkpoint"),
        (["method=real_adaptation"], r"real_adaptation needs adaptation\.teacher: a checkpoint"),
        (
            ["method=rosam_depth", "rosam_depth.teacher=nowhere.pt"],
            r"no checkpoint at nowhere\.pt",
        ),
        (["method=self_supervised", "data.drives=nowhere"], "no drive at nowhere"),
    ],
)
def test_what_a_method_lacks_is_named(drives, tmp_path, overrides, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        train(small(drives, *overrides), tmp_path / "run")


def test_without_validation_drives_a_run_ends_with_its_last_checkpoint(drives, tmp_path):
    summary = train(small(drives, "train.steps=3", "data.val_drives=null"), tmp_path / "run")
    assert summary["validation"] == {}
    assert (tmp_path / "run/last.pt").is_file()
    assert not (tmp_path / "run/best.pt").exists()


def test_a_recorded_drive_validates_what_learns_from_video(drives, taught, tmp_path):
    """The exact depth of a synthetic drive, read as a recording, gives the same figures."""
    recipe = ROOT / "training/recipes/self_supervised.yaml"
    made = small(drives, f"model.init={taught}", "train.val_samples=3", recipe=recipe)
    size, target = (made.data.width, made.data.height), made.data.target
    recorded = open_drives(drives / "val", conditions=["day-clear"])
    student = Trainer(made, tmp_path / "a", False).student.eval()
    validation = RecordedValidation(recorded, size, target, 3)
    found = evaluate_student(student, validation, 2, torch.device("cpu"))
    usual = ValidationSamples(find_training_drives(drives / "val"), size, target, 4)
    expected = evaluate_student(student, usual, 2, torch.device("cpu"))
    assert found["day-clear"] == pytest.approx(expected["day-clear"], rel=1e-3)


@pytest.mark.parametrize("has_poses", [True, False])
def test_metres_are_known_only_where_poses_are(drives, tmp_path, has_poses):
    recipe = ROOT / "training/recipes/self_supervised.yaml"
    overrides = ["train.steps=2", "data.val_drives=null"]
    if not has_poses:  # the same pictures in a plain folder
        images = drives / "train/drive_000000/images/day-clear"
        overrides += [f"data.drives={images}", "data.video.fov_deg=60"]
        overrides += ["data.video.neighbours.min_flow_px=0", "data.video.neighbours.max_gap_s=9"]
    train(small(drives, *overrides, recipe=recipe), tmp_path / "run")
    assert load_checkpoint(tmp_path / "run/last.pt")["is_metric"] is has_poses

    recorded = small(drives, *overrides, "self_supervised.motion=recorded", recipe=recipe)
    if has_poses:
        train(recorded, tmp_path / "recorded")
        networks = load_checkpoint(tmp_path / "recorded/last.pt")["networks"]
        assert set(networks) == {"student"}
    else:
        with pytest.raises(ValueError, match=r"use self_supervised\.motion=learned"):
            train(recorded, tmp_path / "recorded")


@pytest.mark.slow
@pytest.mark.parametrize("is_metric", [True, False])
def test_a_student_has_the_metres_of_its_teacher(drives, taught, tmp_path, is_metric):
    teacher = tmp_path / "teacher.pt"
    save_checkpoint(teacher, {**load_checkpoint(taught), "is_metric": is_metric})
    recipe = ROOT / "training/recipes/rosam_depth.yaml"
    images = drives / "train/drive_000000/images/day-clear"  # a plain folder, without poses
    overrides = ["train.steps=1", "data.val_drives=null", f"data.drives={images}"]
    overrides += ["data.video.fov_deg=60", "data.video.regions=null"]
    overrides += ["data.video.neighbours.min_flow_px=0", "data.video.neighbours.max_gap_s=9"]
    overrides += ["method=real_adaptation", f"adaptation.teacher={teacher}"]
    train(small(drives, *overrides, recipe=recipe), tmp_path / "run")
    assert load_checkpoint(tmp_path / "run/last.pt")["is_metric"] is is_metric


def test_a_killed_run_resumes_to_the_same_bits(drives, tmp_path):
    """SIGKILL in mid-epoch, resume, and compare with the run nobody touched."""
    whole = tmp_path / "whole"
    overrides = ["train.steps=9", "train.val_every=100", "train.checkpoint_every=2"]
    train(small(drives, *overrides), whole)

    killed = tmp_path / "killed"
    command = [
        sys.executable,
        "-m",
        "rosam_core.cli",
        "train",
        str(SUPERVISED),
    ]
    command += ["--out", str(killed), *small_overrides(drives), *overrides]
    process = subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 200
    log = killed / "log.jsonl"
    while process.poll() is None and time.monotonic() < deadline:
        if log.is_file() and log.read_text().count("\n") >= 3:  # past the checkpoint of step 2
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.005)
    assert process.wait(60) == -signal.SIGKILL
    stopped_at = load_checkpoint(killed / "last.pt")["step"]
    assert 0 < stopped_at < 9
    train(small(drives, *overrides), killed, resume=True)

    a, b = load_checkpoint(whole / "last.pt"), load_checkpoint(killed / "last.pt")
    assert a["step"] == b["step"] == 9
    assert a["networks"].keys() == b["networks"].keys()
    assert all(same(a["networks"][name], b["networks"][name]) for name in a["networks"])
    assert same(a["ema"], b["ema"])
    for i, moments in a["optimizer"]["state"].items():
        assert torch.equal(moments["exp_avg"], b["optimizer"]["state"][i]["exp_avg"])
    lines = [json.loads(x) for x in log.read_text().splitlines()]
    assert [x["step"] for x in lines if x["kind"] == "train"] == list(range(1, 10))
    reference = [json.loads(x) for x in (whole / "log.jsonl").read_text().splitlines()]
    assert [x["loss"] for x in lines if x["kind"] == "train"] == [
        x["loss"] for x in reference if x["kind"] == "train"
    ]


def test_a_record_is_the_mean_of_the_steps_since_the_last_one(drives, tmp_path):
    """One batch differs from the next by more than a run improves."""
    logged = {}
    for every in (1, 3):
        overrides = [f"train.log_every={every}", "train.steps=4", "data.val_drives=null"]
        train(small(drives, *overrides), tmp_path / str(every))
        lines = (tmp_path / str(every) / "log.jsonl").read_text().splitlines()
        logged[every] = {row["step"]: row["loss"] for row in map(json.loads, lines)}
    assert list(logged[3]) == [3, 4]
    assert logged[3][3] == pytest.approx(sum(logged[1][step] for step in (1, 2, 3)) / 3)
    assert logged[3][4] == pytest.approx(logged[1][4])


def test_loader_processes_do_not_change_the_result(drives, tmp_path):
    for workers in (0, 2):
        overrides = [f"data.workers={workers}", "train.steps=2", "train.val_every=100"]
        train(small(drives, *overrides), tmp_path / str(workers))
    a, b = (load_checkpoint(tmp_path / w / "last.pt")["networks"]["student"] for w in ("0", "2"))
    assert same(a, b)


@pytest.mark.slow
def test_it_learns_a_handful_of_frames(drives, tmp_path):
    plain = [f"augmentation.{k}=0" for k in ("rotate", "mix", "tone", "colour", "gray", "blur")]
    plain += [f"augmentation.{k}=0" for k in ("noise", "jpeg", "blotches", "flip")]
    overrides = ["train.steps=40", "train.warmup_steps=3", "train.learning_rate=3e-3"]
    overrides += ["augmentation.full_view=1", "train.val_every=1000"]
    train(small(drives, *plain, *overrides), tmp_path / "run")
    lines = [json.loads(x) for x in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    losses = [x["laplace_0"] for x in lines if x["kind"] == "train"]
    first, last = sum(losses[:5]) / 5, sum(losses[-5:]) / 5
    assert last < first - 0.5, (first, last)


def test_what_a_step_draws_depends_on_seed_and_step_only(drives, tmp_path):
    drawn = {}
    for run, state in (("a", 1), ("b", 2), ("seed=5", 3)):
        trainer = Trainer(small(drives, *([run] if "=" in run else [])), tmp_path / run, False)
        losses, here = trainer.method.losses, drawn.setdefault(run, [])

        def drawing(batch, step, losses=losses, here=here):
            here.append(float(torch.rand(())))
            return losses(batch, step)

        trainer.method.losses = drawing
        batch, _ = next(trainer._batches())
        for trainer.step in (0, 1):
            torch.manual_seed(state)  # as where another run would be
            trainer._optimise(batch)
    assert drawn["a"] == drawn["b"]
    assert len({*drawn["a"], *drawn["seed=5"]}) == 4


def test_a_bad_pixel_names_term_and_frame(drives, tmp_path):
    trainer = Trainer(small(drives), tmp_path / "run", resume=False)
    whole = trainer.samples.__class__.__getitem__

    class Poisoned(type(trainer.samples)):
        def __getitem__(self, position):
            sample = whole(self, position)
            if position == 3:  # the second frame of the second step
                sample["log_depth"][sample["valid"]] = float("nan")
            return sample

    trainer.samples.__class__ = Poisoned
    name = trainer.samples.name(3)
    with pytest.raises(ValueError, match=f"loss term laplace_0 is not finite for {name}; step 1"):
        trainer.run()


def test_validating_on_training_worlds_is_warned_of(drives, tmp_path, caplog):
    Trainer(small(drives), tmp_path / "apart", resume=False)
    assert "training worlds" not in caplog.text
    same = f"data.val_drives={drives / 'train'}"
    Trainer(small(drives, same), tmp_path / "same", resume=False)
    assert "2 validation worlds are training worlds too: [0, 1]" in caplog.text


def test_a_folder_with_a_run_is_not_overwritten(drives, tmp_path):
    (tmp_path / "last.pt").touch()
    with pytest.raises(ValueError, match="already holds a run: add --resume"):
        train(small(drives), tmp_path)


def test_missing_drives_say_how_to_make_them(drives, tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"absent does not exist; make some with: rosam syn"
    ):
        train(small(drives, f"data.drives={tmp_path / 'absent'}"), tmp_path / "run")


def test_minutes_end_a_run_before_its_steps(drives, tmp_path):
    summary = train(small(drives, "train.steps=100000", "train.max_minutes=0.02"), tmp_path)
    assert 0 < summary["step"] < 1000
    assert load_checkpoint(tmp_path / "last.pt")["step"] == summary["step"]


def test_checkpoints_are_whole_or_refused(tmp_path):
    path = tmp_path / "a.pt"
    save_checkpoint(path, {"step": 3})
    assert load_checkpoint(path)["step"] == 3
    assert [p.name for p in tmp_path.iterdir()] == ["a.pt"]
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="not a readable checkpoint"):
        load_checkpoint(path)
    path.write_bytes(b"\x08\x0a an ONNX file, for example")
    with pytest.raises(ValueError, match="no file of tensors that torch"):
        load_checkpoint(path)
    torch.save({"step": 3}, path)
    with pytest.raises(ValueError, match="not a checkpoint of `rosam train`"):
        load_checkpoint(path)


def test_a_failed_save_keeps_the_old_checkpoint(tmp_path):
    path = tmp_path / "a.pt"
    save_checkpoint(path, {"step": 3})
    with pytest.raises(Exception, match="pickle"):
        save_checkpoint(path, {"step": lambda: None})
    assert load_checkpoint(path)["step"] == 3
    assert [p.name for p in tmp_path.iterdir()] == ["a.pt"]


@pytest.mark.parametrize("frozen", [False, True])
def test_frozen_norms_keep_their_statistics_and_train_all_else(drives, taught, tmp_path, frozen):
    overrides = ["train.steps=2", f"model.init={taught}", f"train.frozen_norms={frozen}"]
    train(small(drives, *overrides, "train.warmup_steps=1"), tmp_path / "run")
    before = load_checkpoint(taught)["ema"]
    after = load_checkpoint(tmp_path / "run/last.pt")["networks"]["student"]
    statistics = [name for name in before if "running_" in name]
    assert len(statistics) > 20
    assert all(torch.equal(before[n], after[n]) for n in statistics) is frozen
    gains = [name.replace("running_mean", "weight") for name in statistics if "mean" in name]
    assert not any(torch.equal(before[n], after[n]) for n in gains)
