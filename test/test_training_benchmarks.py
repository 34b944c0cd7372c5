"""Benchmarks that train ask for what recipes have, and for runs that are there."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch")

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

import ablation_score
import full_line
import real_drives

from rosam_core.config import load_config
from rosam_core.engines.contract import load_card
from rosam_core.engines.registry import load_engine
from rosam_core.recipe import Recipe
from rosam_core.runtime.pipeline import DepthPipeline
from rosam_core.types import Camera

pytestmark = pytest.mark.torch


def recipe_of(name, options):
    return load_config(Recipe, ROOT / "training/recipes" / name, options)


@pytest.mark.parametrize("name", full_line.STAGES)
def test_each_stage_of_the_line_starts_where_another_ended(name, tmp_path):
    recipe, options = full_line.options_of(name, tmp_path)
    made = recipe_of(recipe, options)
    teachers = {
        "self_supervised": (made.model.init,),
        "synthetic_adaptation": (made.model.init, made.adaptation.teacher),
        "real_adaptation": (made.adaptation.teacher, made.adaptation.day),
        "rosam_depth": (made.rosam_depth.teacher,),
    }[made.method]
    before = list(full_line.STAGES)[: list(full_line.STAGES).index(name)]
    known = {str(full_line.PACKAGED), *(str(tmp_path / stage / "last.pt") for stage in before)}
    assert set(teachers) <= known
    assert Path(made.data.drives).name in full_line.DRIVES
    assert (made.data.width, made.data.height) == full_line.SIZE
    assert made.data.canonical_focal_px == load_card(full_line.PACKAGED).training_focal_px


@pytest.mark.parametrize("name", [n for n, run in real_drives.RUNS.items() if run.recipe])
def test_each_run_on_real_drives_is_one_that_can_be_made(name, tmp_path):
    run = real_drives.RUNS[name]
    given = [o.format(work=tmp_path) for o in (*real_drives.COMMON, *run.overrides)]
    made = recipe_of(run.recipe, given)
    assert (made.data.width, made.data.height) == run.kitti
    assert set(run.after) <= set(list(real_drives.RUNS)[: list(real_drives.RUNS).index(name)])


def test_a_table_has_a_student_a_row():
    rows = {"packaged": {"night": 0.1234, "fog": 0.1}, "stage_2": {"night": 0.2, "fog": 0.3}}
    assert full_line.table(rows).splitlines() == [
        "| student | night | fog |",
        "| --- | --- | --- |",
        "| packaged | 0.123 | 0.100 |",
        "| stage_2 | 0.200 | 0.300 |",
    ]


def test_a_change_is_relative_and_of_the_worlds_that_have_a_score():
    def night(**figures):
        return {"night": {"scenes": figures}}

    scores = {
        "stage_2": night(abs_rel=[0.09, 0.18], boundary_f1=[0.3, None], object_spread=[1.0, 1.0]),
        "before": night(abs_rel=[0.1, 0.2], boundary_f1=[0.2, 0.9], object_spread=[1.0, 1.0]),
    }
    row = full_line.changes({"stage_2": "before"}, scores).splitlines()[2]
    assert row == (
        "| stage_2 | before | night | -10.0 % (-10.0 to -10.0) | +50.0 % (+50.0 to +50.0) "
        "| +0.0 % (+0.0 to +0.0) |"
    )


def test_an_exported_student_is_scored_as_it_runs():
    """Twice the canonical focal length: things of so many pixels are twice as far away."""
    predictor = ablation_score.Predictor(full_line.PACKAGED)
    width, height = full_line.SIZE
    image = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
    drive = SimpleNamespace(camera=Camera(512, 512, 255.5, 143.5, width, height))
    shown = DepthPipeline(load_engine(full_line.PACKAGED, "onnx-cpu", 1)).predict(
        image, drive.camera
    )
    inside = np.isfinite(shown.depth)
    assert inside.mean() > 0.9
    found = predictor.depth(image, drive)
    np.testing.assert_allclose(found[inside], shown.depth[inside], rtol=0.01)
