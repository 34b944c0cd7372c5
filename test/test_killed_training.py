"""SIGKILL at awkward moments: whatever the method, a resumed run is the run nobody touched."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")

from training_support import small_overrides, write_fake_drives

from rosam_core.checkpoint import load_checkpoint
from rosam_core.cli import main
from rosam_core.config import load_config
from rosam_core.recipe import Recipe
from rosam_core.trainer import train

pytestmark = [pytest.mark.torch, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[1]
RECIPES = ROOT / "training/recipes"

KILLED = """
import io, os, signal, sys
import torch
from rosam_core import checkpoint, cli, trainer

def die():
    os.kill(os.getpid(), signal.SIGKILL)

moment, save, optimise, replace = sys.argv[1], torch.save, trainer.Trainer._optimise, os.replace

def write_half(state, stream):
    if moment != "writing" or state["step"] < 4:
        return save(state, stream)
    whole = io.BytesIO()
    save(state, whole)
    stream.write(whole.getvalue()[: whole.tell() // 2])
    stream.flush()
    die()

def step(self, batch):
    values = optimise(self, batch)
    if moment == "stepping" and self.step == 3:
        die()
    return values

def put(source, target):
    replace(source, target)
    if moment == "replacing" and str(target).endswith("last.pt"):
        put.count += 1
        if put.count == 2:
            die()

put.count = 0
torch.save, trainer.Trainer._optimise, os.replace = write_half, step, put
sys.exit(cli.main(["train", *sys.argv[2:]]))
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Drives, region maps of them, and a checkpoint for the methods that need a teacher."""
    folder = tmp_path_factory.mktemp("killed")
    write_fake_drives(folder / "train", drives=1, frames=4, seed=0)
    write_fake_drives(folder / "val", drives=1, frames=1, seed=7)
    maps = ["masks", str(folder / "train"), "-o", str(folder / "maps"), "--source", "instances"]
    assert main([*maps, "min_region_share=0"]) == 0
    recipe = RECIPES / "pretrain_synthetic.yaml"
    overrides = [*small_overrides(folder), "train.steps=2", "data.val_drives=null"]
    train(load_config(Recipe, recipe, overrides), folder / "taught")
    return folder


@pytest.mark.parametrize(
    ("recipe", "moment", "stopped_at"),
    [
        ("self_supervised", "writing", 2),  # half of the checkpoint of step 4 is on the disk
        ("rosam_depth", "stepping", 2),  # steps since the checkpoint are lost
        ("synthetic_adaptation", "replacing", 4),  # the checkpoint is there, the log behind it
    ],
)
def test_a_killed_run_resumes_to_the_same_bits(place, tmp_path, recipe, moment, stopped_at):
    teacher = place / "taught/last.pt"
    overrides = [*small_overrides(place), "train.steps=6", "train.checkpoint_every=2"]
    overrides += ["data.val_drives=null", "train.ema_decay=0.9"]
    overrides += {
        "self_supervised": [],
        "rosam_depth": [
            f"rosam_depth.teacher={teacher}",
            f"rosam_depth.day={teacher}",
            f"data.video.regions={place / 'maps'}",
        ],
        "synthetic_adaptation": [
            f"adaptation.teacher={teacher}",
            f"model.init={teacher}",
            "adaptation.weather=translated",
        ],
    }[recipe]
    path = RECIPES / f"{recipe}.yaml"
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    done = subprocess.run(
        [sys.executable, "-c", KILLED, moment, str(path), "--out", str(killed), *overrides],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    assert load_checkpoint(killed / "last.pt")["step"] == stopped_at
    loaded = load_config(Recipe, path, overrides)
    train(loaded, killed, resume=True)
    train(loaded, whole)

    one, other = (load_checkpoint(folder / "last.pt") for folder in (whole, killed))
    assert set(one["networks"]) == {"student", *(["pose"] if recipe == "self_supervised" else [])}
    for name in ("networks", "ema", "optimizer", "precision", "step", "focal_range"):
        assert _same(one[name], other[name]), name
    rows, again = (
        [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
        for folder in (whole, killed)
    )
    assert [row["step"] for row in again] == [1, 2, 3, 4, 5, 6]
    for row, resumed in zip(rows, again, strict=True):
        assert {**row, "minutes": 0} == {**resumed, "minutes": 0}


def _same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    return a == b
