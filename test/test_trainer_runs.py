"""Runs that several processes share, that go on, and that are refused."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from support import claimed_by_another
from training_support import small_overrides, write_train_and_val

from rosam_core.checkpoint import load_checkpoint
from rosam_core.config import load_config
from rosam_core.methods.base import Term
from rosam_core.recipe import Recipe
from rosam_core.trainer import Trainer, train

pytestmark = pytest.mark.torch

ROOT = Path(__file__).resolve().parents[1]
SUPERVISED = ROOT / "training/recipes/pretrain_synthetic.yaml"

TWO_AND_ONE = 1e-3
"""Two processes may differ from one with both their batches by this share of the way they went."""


@pytest.fixture(scope="module")
def drives(tmp_path_factory):
    return write_train_and_val(tmp_path_factory.mktemp("drives"))


def small(drives, *overrides, recipe=SUPERVISED):
    return load_config(Recipe, recipe, [*small_overrides(drives), *overrides])


@pytest.mark.slow
def test_two_processes_share_every_step(drives, tmp_path):
    """Each takes its part of the samples; averaged gradients keep them one model."""
    out = tmp_path / "run"
    script = tmp_path / "both.py"
    script.write_text(
        "import sys\n"
        "import torch\n"
        "from rosam_core.config import load_config\n"
        "from rosam_core.recipe import Recipe\n"
        "from rosam_core.trainer import Trainer\n"
        "from pathlib import Path\n"
        "recipe = load_config(Recipe, sys.argv[1], sys.argv[3:])\n"
        "trainer = Trainer(recipe, Path(sys.argv[2]), False)\n"
        "trainer.run()\n"
        "weights = torch.cat([p.detach().flatten() for p in trainer.student.parameters()])\n"
        "first, second = trainer.fabric.all_gather(weights)\n"
        "assert torch.equal(first, second), (first - second).abs().max()\n"
    )
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    run += [str(script), str(SUPERVISED), str(out)]
    # Batch norms are computed by each process over its own two pictures: frozen, nothing differs.
    given = ["train.steps=4", "train.weight_decay=0", "train.frozen_norms=true"]
    run += [*small_overrides(drives), *given]
    done = subprocess.run(
        run, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    two = load_checkpoint(out / "last.pt")
    assert two["step"] == 4

    # One process with batches of four sees the same samples, though the two hold different
    # numbers of pixels that count.
    train(small(drives, *given, "train.batch_size=4"), tmp_path / "one")
    one = load_checkpoint(tmp_path / "one/last.pt")
    assert one["focal_range"] == two["focal_range"]
    started = Trainer(small(drives), tmp_path / "start", resume=False).student.state_dict()
    weights = [name for name, value in started.items() if value.is_floating_point()]
    way_one, way_two = (
        torch.cat([(run["networks"]["student"][n] - started[n]).flatten() for n in weights])
        for run in (one, two)
    )
    assert float(way_one.norm()) > 1e-3
    assert float((way_two - way_one).norm()) < TWO_AND_ONE * float(way_one.norm())
    rows = [
        [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
        for folder in (tmp_path / "one", out)
    ]
    for a, b in zip(
        *([row for row in run if row["kind"] == "train"] for run in rows), strict=True
    ):
        for name in set(a) - {"kind", "step", "minutes"}:
            assert a[name] == pytest.approx(b[name], rel=1e-3, abs=1e-5), name


def test_resume_needs_a_checkpoint_and_the_same_model(drives, tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        train(small(drives), tmp_path / "absent", resume=True)
    train(small(drives, "train.steps=1"), tmp_path / "run")
    with pytest.raises(ValueError, match="another model than resnet18"):
        train(small(drives, "model.name=resnet18"), tmp_path / "run", resume=True)


def test_two_processes_do_not_train_into_one_folder(drives, tmp_path):
    out = tmp_path / "run"
    train(small(drives, "train.steps=1"), out)
    before = (out / "last.pt").read_bytes()
    with claimed_by_another(out / ".lock"), pytest.raises(BlockingIOError):
        train(small(drives, "train.steps=2"), out, resume=True)
    assert (out / "last.pt").read_bytes() == before
    assert train(small(drives, "train.steps=2"), out, resume=True)["step"] == 2


def test_a_run_goes_on_as_the_one_it_was(drives, tmp_path, caplog):
    train(small(drives, "train.steps=1"), tmp_path / "run")
    kept = (tmp_path / "run/recipe.yaml").read_text()
    for change, told in (
        ("seed=3", "seed=1, now 3"),
        ("train.batch_size=1", "train.batch_size=2, now 1"),
        ("augmentation.crop=[0.5,0.6]", r"augmentation.crop=\[0.7, 1.0\], now \[0.5, 0.6\]"),
    ):
        with pytest.raises(ValueError, match=rf"run began with {told}: .*recipe\.yaml --out"):
            train(small(drives, "train.steps=1", change), tmp_path / "run", resume=True)
    assert (tmp_path / "run/recipe.yaml").read_text() == kept
    moved = tmp_path / "moved"
    moved.symlink_to(drives / "train")
    allowed = [
        "train.steps=2",
        "train.learning_rate=0.5",
        "data.workers=0",
        f"data.drives={moved}",
    ]
    assert train(small(drives, *allowed), tmp_path / "run", resume=True)["step"] == 2
    assert "run began with train.steps=1, now 2; train.learning_rate=" in caplog.text
    caplog.clear()
    again = load_config(Recipe, tmp_path / "run/recipe.yaml", [])
    assert train(again, tmp_path / "run", resume=True)["step"] == 2
    assert "began with" not in caplog.text


def test_frozen_norms_need_a_network_that_was_trained(drives, tmp_path):
    recipe, taught = SUPERVISED.with_name("synthetic_adaptation.yaml"), tmp_path / "taught/last.pt"
    train(small(drives, "train.steps=1"), taught.parent)
    with pytest.raises(ValueError, match=r"needs a network that was trained: set model\.init"):
        train(small(drives, f"adaptation.teacher={taught}", recipe=recipe), tmp_path / "run")


def test_a_term_of_several_numbers_a_frame_is_told_with_its_frames(drives, tmp_path):
    trainer = Trainer(small(drives), tmp_path / "run", resume=False)
    bad = torch.tensor([0.0, 0.0, math.nan, 0.0])  # two of each of two frames
    message = trainer._not_finite({"velocity": Term(bad)}, {"velocity": bad.mean()})
    told = f"velocity is not finite for {trainer.samples.name(1)};"
    assert told in message
