"""docs/results/real_drives.md says what its rows say."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def page(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    spec = importlib.util.spec_from_file_location(
        "real_drives_page", ROOT / "benchmarks/real_drives_page.py"
    )
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "real_drives_page", module)
    spec.loader.exec_module(module)
    return module


def figures(metric, scaled):
    return {
        "frames": 40,
        "metric": {"abs_rel": metric, "rmse": 5.0, "delta1": 0.5},
        "median_scaled": {"abs_rel": scaled, "rmse": 5.0, "delta1": 0.5},
    }


def row(metric, **others):
    keys = ("kitti_score", "kitti_choose", "kitti_all_78", "nuscenes")
    scores = {key: figures(metric, metric / 2) for key in keys}
    return {"title": "a student", "scores": scores, **others}


def test_gain_is_relative_to_the_packaged_student(page):
    text = page.accuracy_table({"synthetic": row(0.4), "tuned": row(0.3)})
    assert "| 0.400 / 0.200 |  |" in text
    assert "| 0.300 / 0.150 | +25.0 % |" in text


def test_curves_become_a_loss_at_the_start_and_at_the_end(page):
    values = [[step, 0.2 - step / 1000] for step in range(100)]
    trained = row(
        0.3,
        steps=99,
        wall_minutes=3.0,
        cpu_minutes=None,
        peak_memory_mib=900,
        curves={"photometric_0": values, "abs_rel": []},
    )
    text = page.cost_table({"tuned": trained, "synthetic": row(0.4)})
    assert "| `tuned` | 99 | 3.0 |  | 900 | `photometric_0` 0.1880 to 0.1130 |" in text
    assert "synthetic" not in text


def test_the_page_holds_the_tables_of_the_rows_that_are_kept(page):
    text = page.PAGE.read_text(encoding="utf-8")
    files = sorted(page.ROWS.glob("*.json"))
    assert len(files) > 6
    for file in files:
        kept = json.loads(file.read_text(encoding="utf-8"))
        if "scores" not in kept:
            continue
        pair = kept["scores"]["kitti_score"]
        shown = f"{pair['metric']['abs_rel']:.3f} / {pair['median_scaled']['abs_rel']:.3f}"
        start = f"| `{file.stem}` | {kept['title']} |"
        (line,) = (line for line in text.splitlines() if line.startswith(start))
        assert shown in line, file.name
