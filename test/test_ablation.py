"""The benchmark of adaptation: its plan, what makes a row stale, and the figures of its table."""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

pytest.importorskip("torch", reason="training needs torch")

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
FOLDER = ROOT / "training/recipes/benchmark"

from ablation import Benchmark
from ablation_table import relative_gain, table, write_results

from rosam_core.checkpoint import save_checkpoint
from rosam_core.config import load_config
from rosam_core.recipe import Recipe


def benchmark(out: Path, plan: Path = FOLDER, **changed) -> Benchmark:
    values = {"plan": plan, "out": out, "rows": out / "rows", "seeds": None, "only": []}
    values |= {"validation": False, "options": [], **changed}
    return Benchmark(argparse.Namespace(**values))


def test_every_run_of_the_plan_is_a_recipe(tmp_path):
    bench = benchmark(tmp_path)
    assert len(bench.seeds) >= 3
    methods = {}
    for name in bench.ablations:
        run = bench.run_of(name, 2)
        methods[name] = load_config(Recipe, run.recipe, run.options).method
    assert [methods[name] for name in ("start", "day", "weather")] == [
        "supervised",
        "self_supervised",
        "synthetic_adaptation",
    ]
    assert methods["baseline"] == "real_adaptation"
    assert {methods[name] for name in bench.plan["ablations"]} == {
        "real_adaptation",
        "rosam_depth",
    }
    assert bench.plan["shown"][0] == "baseline"
    assert set(bench.plan["shown"]) <= set(bench.plan["ablations"])


def test_a_run_begins_when_the_stages_of_its_seed_are_there(tmp_path, monkeypatch):
    bench = benchmark(tmp_path, seeds=[1, 2, 3], only=["baseline", "full"])
    done, trained, steps = [], threading.Event(), {"step": 1, "elapsed_s": 60}

    def prepare(seed):
        if seed == 1:
            assert not trained.wait(0.3)  # nothing of this seed begins before its stages end
        else:
            assert trained.wait(30)  # nor does the first seed wait for the others'
        done.append(seed)

    def train(run):
        done.append(run.label)
        if run.seed:
            trained.set()

    monkeypatch.setattr(bench, "make_data", lambda jobs: None)
    monkeypatch.setattr(bench, "train", train)
    monkeypatch.setattr(bench, "prepare", prepare)
    monkeypatch.setattr("ablation.load_checkpoint", lambda path: steps)
    monkeypatch.setattr("ablation.score", lambda *_: {})
    bench.work(3)
    runs = [f"{name}-{seed}" for name in ("baseline", "full") for seed in (1, 2, 3)]
    assert sorted(map(str, done)) == sorted(["start-0", "1", "2", "3", *runs])
    assert all(done.index(int(label[-1])) < done.index(label) for label in runs)
    assert all(
        bench.row_path(bench.ablation(label[:-2], int(label[-1]))).is_file() for label in runs
    )


def test_a_failure_stops_the_rest(tmp_path, monkeypatch):
    bench, begun = benchmark(tmp_path, seeds=[1, 2], only=["baseline"]), []

    def prepare(seed):
        begun.append(seed)
        raise SystemExit(f"seed {seed} was stopped")

    monkeypatch.setattr(bench, "make_data", lambda jobs: None)
    monkeypatch.setattr(bench, "train", lambda run: begun.append(run.label))
    monkeypatch.setattr(bench, "prepare", prepare)
    with pytest.raises(SystemExit, match="was stopped"):
        bench.work(1)
    assert bench.stopped
    assert begun[:2] == ["start-0", 1]
    assert not [label for label in begun if str(label).startswith("baseline")]


def test_seed_0_is_that_of_the_start(tmp_path):
    with pytest.raises(SystemExit, match="seeds begin with 1, got 0"):
        benchmark(tmp_path, seeds=[0])


def test_stages_follow_each_other(tmp_path):
    bench = benchmark(tmp_path)
    start, day, weather = (bench.stage(name, 3) for name in ("start", "day", "weather"))
    assert start.label == "start-0"  # one for all seeds
    assert f"model.init={bench.checkpoint(start)}" in day.options
    assert f"adaptation.teacher={bench.checkpoint(day)}" in weather.options
    options = bench.ablation("full", 3).options
    assert f"rosam_depth.teacher={bench.checkpoint(weather)}" in options
    assert f"rosam_depth.day={bench.checkpoint(day)}" in options


def test_a_row_is_stale_when_its_recipe_changes_but_not_when_it_is_made_elsewhere(tmp_path):
    plan = tmp_path / "plan"
    plan.mkdir()
    for path in FOLDER.glob("*.yaml"):
        (plan / path.name).write_bytes(path.read_bytes())
    bench = benchmark(tmp_path / "a", plan)
    full, day = bench.ablation("full", 1), bench.stage("day", 1)
    before = bench.digest(full), bench.digest(day)
    other = benchmark(tmp_path / "b", plan)
    assert other.digest(other.ablation("full", 1)) == before[0]
    assert bench.digest(bench.ablation("full", 2)) != before[0]
    bench.rows.mkdir(parents=True)
    bench.row_path(full).write_text(json.dumps({"digest": before[0], "scored": "test"}))
    assert bench.is_done(full)
    assert not benchmark(tmp_path / "a", plan, validation=True).is_done(full)
    target = yaml.safe_load((plan / "target.yaml").read_text())
    target["train"]["steps"] += 1
    (plan / "target.yaml").write_text(yaml.safe_dump(target))
    assert not bench.is_done(full)
    assert bench.digest(day) == before[1]
    weather = yaml.safe_load((plan / "weather.yaml").read_text())
    changed = bench.digest(full)
    weather["train"]["steps"] += 1
    (plan / "weather.yaml").write_text(yaml.safe_dump(weather))
    assert bench.digest(full) != changed  # its teacher is another


def test_rows_of_another_network_are_stale_and_left_out_of_the_table(
    tmp_path, monkeypatch, capsys
):
    bench = benchmark(tmp_path)
    bench.rows.mkdir(parents=True)
    for name, seed in (("full", 1), ("full", 2), ("start", 0)):
        run = bench.run_of(name, seed)
        digest = bench.digest(run)
        row = {"name": name, "seed": seed, "digest": digest, "scored": "test"}
        bench.row_path(run).write_text(json.dumps(row))
    stranger = {"name": "gone", "seed": 1, "digest": "", "scored": "test"}
    (bench.rows / "gone-1.json").write_text(json.dumps(stranger))
    found = bench.rows_done()
    assert {name: sorted(seeds) for name, seeds in found.items()} == {"full": [1, 2], "start": [0]}
    assert "gone-1.json is of another plan or network: left out" in capsys.readouterr().err
    monkeypatch.setattr("ablation.parameters", lambda model: [(model, (1,))])
    assert not bench.is_done(bench.ablation("full", 1))
    assert bench.rows_done() == {}
    with pytest.raises(SystemExit, match="no row of the baseline"):
        write_results(bench.plan, bench.rows_done(), tmp_path, tmp_path / "results")
    assert not (tmp_path / "results").exists()


def test_what_was_begun_by_another_plan_is_not_gone_on_with(tmp_path, monkeypatch):
    bench = benchmark(tmp_path)
    run = bench.run_of("full", 1)
    path = bench.checkpoint(run)
    called = []

    def stop_early(command, *words, processes):
        assert processes == 1
        called.append("--resume" in words)
        save_checkpoint(path, {"step": 5})

    monkeypatch.setattr(bench, "call", stop_early)
    for _ in range(2):
        with pytest.raises(SystemExit, match="full-1 was stopped after 5 of"):
            bench.train(run)
    assert called == [False, True]
    bench.plan["revision"] += 1
    with pytest.raises(SystemExit, match="is of another plan: delete it"):
        bench.train(run)
    (path.parent / "digest.txt").unlink()  # as of an older version
    with pytest.raises(SystemExit, match="is of another plan: delete it"):
        bench.train(run)
    assert len(called) == 2


def test_the_start_is_trained_by_as_many_processes_as_the_plan_says(tmp_path, monkeypatch):
    bench = benchmark(tmp_path)
    started = []

    class Child:
        returncode = 0

        def __init__(self, line, **options):
            started.append(line)
            out = Path(line[line.index("--out") + 1])
            save_checkpoint(out / "last.pt", {"step": 10**6})

        def communicate(self):
            return b"", None

    monkeypatch.setattr("ablation.subprocess.Popen", Child)
    for name in ("start", "day"):
        bench.train(bench.stage(name, 1))
    start, day = started
    assert start[1:5] == ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    assert start[5:8] == ["-m", "rosam_core.cli", "train"]
    assert day[1:4] == ["-m", "rosam_core.cli", "train"]


def row(name, seed, figures):
    conditions = {
        condition: {
            "abs_rel": float(np.mean(values)),
            "boundary_f1": 0.5,
            "object_spread": 0.1,
            "scenes": {"abs_rel": values},
        }
        for condition, values in figures.items()
    }
    return {"name": name, "seed": seed, "conditions": conditions}


def rows(base, own):
    """Two seeds; figures of night, the other conditions alike."""
    names = ("day-clear", "night", "day-rain", "fog")
    return {
        "baseline": {s: row("baseline", s, dict.fromkeys(names, base)) for s in (1, 2)},
        "full": {s: row("full", s, dict.fromkeys(names, own)) for s in (1, 2, 9)},
    }


def test_the_gain_is_of_the_means_and_its_interval_of_paired_scenes():
    base = [0.2, 0.4, 0.3, 0.1]
    gain, low, high = relative_gain(rows(base, [0.9 * v for v in base]), "full")
    assert gain == pytest.approx(0.1)
    assert (low, high) == pytest.approx((0.1, 0.1))  # the same in every scene: nothing is unsure
    gain, low, high = relative_gain(rows(base, [0.2, 0.4, 0.3, 0.15]), "full")
    assert gain == pytest.approx(-0.05)
    assert low < -0.05 < high == pytest.approx(0)
    assert relative_gain({"baseline": rows(base, base)["baseline"]}, "full") is None


def test_the_table_has_a_line_for_every_ablation_that_was_run():
    plan = yaml.safe_load((FOLDER / "plan.yaml").read_text())
    text = table(plan, rows([0.2, 0.4], [0.1, 0.3]))
    lines = text.splitlines()
    assert len(lines) == 4
    assert "| all four | 3 | 0.2000 ± 0.0000 |" in lines[3]
    assert "+33.3 %" in lines[3]
    assert lines[3].rstrip("| ").endswith("0.1667")


def test_an_unknown_ablation_is_refused(tmp_path):
    with pytest.raises(SystemExit, match="no such ablation: most"):
        benchmark(tmp_path, only=["most"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_benchmark_leaves_no_process_behind(tmp_path, number):
    """Whatever the shell that started it has made of its signals, and a kill of it alone."""

    def left() -> list[str]:
        lines = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:  # it has ended
                continue
            if f"--out {tmp_path}" in words:
                lines.append(words)
        return lines

    command = [sys.executable, ROOT / "benchmarks/ablation.py", "--out", tmp_path, "--jobs", "1"]
    process = subprocess.Popen(
        [*command, "--rows", tmp_path / "rows"],
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),  # as with `nohup ... &`
    )
    until = time.monotonic() + 60
    while not (tmp_path / "stills").is_dir() and time.monotonic() < until:
        time.sleep(0.1)
    assert len(left()) >= 2
    process.send_signal(number)
    assert b"stopped; the same command resumes" in process.communicate(timeout=60)[1]
    assert process.returncode == 1
    while left() and time.monotonic() < until:
        time.sleep(0.1)
    assert not left()
