"""Runs the benchmark of adaptation: what each prior of RoSAMDepth is worth on synthetic drives.

python benchmarks/ablation.py [--jobs N] [--seeds 1,2] [--only baseline,full] [--rows FOLDER]

`training/recipes/benchmark/plan.yaml` says what is rendered, trained and compared. Every finished
run is a file in `training/recipes/benchmark/rows`; what has its row is not run again, and what was
stopped or killed goes on where it was. Drives, masks and checkpoints are in `--out`. With rows of
every run nothing is rendered: `--table` writes the tables and pictures of docs/results from them.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import dataclasses
import functools
import hashlib
import json
import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED
from pathlib import Path
from typing import Any

import torch
import yaml
from ablation_score import score
from ablation_table import write_results
from tqdm import tqdm

from rosam_core.checkpoint import load_checkpoint
from rosam_core.config import load_config
from rosam_core.models import create_model
from rosam_core.recipe import Recipe
from rosam_core.whole_file import write_whole

FOLDER = Path(__file__).resolve().parents[1] / "training" / "recipes" / "benchmark"
DIGEST = "digest.txt"  # beside a checkpoint: what it depends on
MEASURED = "test"  # the drives that are scored; `--validation` chooses among options


@dataclasses.dataclass(frozen=True)
class Run:
    """One training run: a stage of a seed, or an ablation of its last stage."""

    name: str
    seed: int
    recipe: Path
    drives: Path
    options: tuple[str, ...]

    @property
    def label(self) -> str:
        """Names its folder and its row."""
        return f"{self.name}-{self.seed}"


class Benchmark:
    """The plan, where everything is, and what is left to do."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.plan = yaml.safe_load((args.plan / "plan.yaml").read_text(encoding="utf-8"))
        self.folder, self.out, self.rows = args.plan, args.out, args.rows
        self.seeds = args.seeds or self.plan["seeds"]
        if min(self.seeds) < 1:
            raise SystemExit(f"seeds begin with 1, got {min(self.seeds)}")
        self.ablations = self._chosen(args.only)
        self.scored = "validation" if args.validation else MEASURED
        self.extra = tuple(args.options)
        self.children: set[subprocess.Popen[bytes]] = set()
        self.lock, self.stopped = threading.Lock(), False

    def _chosen(self, only: Sequence[str]) -> list[str]:
        known = [*self.plan["stages"], *self.plan["ablations"]]
        if unknown := sorted(set(only) - set(known)):
            raise SystemExit(f"no such ablation: {', '.join(unknown)}; there are {known}")
        return [name for name in known if not only or name in only]

    # -- what is to be run ----------------------------------------------------------------------

    def stage(self, name: str, seed: int) -> Run:
        """Returns the run of a stage that others start from."""
        order, options = list(self.plan["stages"]), []
        if name != order[0]:
            before = self.checkpoint(self.stage(order[order.index(name) - 1], seed))
            options = [f"adaptation.teacher={before}", f"model.init={before}"]
        drives = self.out / self.plan["stages"][name]
        # The first stage is the same for all seeds.
        own = seed if options else 0
        return Run(name, own, self.folder / f"{name}.yaml", drives, tuple(options))

    def ablation(self, name: str, seed: int) -> Run:
        """Returns the run of one ablation."""
        day, teacher = (self.checkpoint(self.stage(s, seed)) for s in ("day", "weather"))
        options = [f"data.video.regions={self.out / 'masks'}", f"model.init={teacher}"]
        for section in ("adaptation", "rosam_depth"):
            options += [f"{section}.teacher={teacher}", f"{section}.day={day}"]
        options += [*self.plan["ablations"][name]["options"], *self.extra]
        target = self.folder / "target.yaml"
        return Run(name, seed, target, self.out / "target", tuple(options))

    def run_of(self, name: str, seed: int) -> Run:
        """Returns the run of a stage or an ablation."""
        return (self.stage if name in self.plan["stages"] else self.ablation)(name, seed)

    def checkpoint(self, run: Run) -> Path:
        """Returns where a run leaves its network."""
        return self.out / "runs" / run.label / "last.pt"

    def digest(self, run: Run) -> str:
        """Returns what a run depends on, hashed: not where its files are.

        Of the code, what the networks are made of, and `revision` for what else changes figures: a
        row of another one is no comparison.
        """
        places = str(self.out)
        parts: list[Any] = [
            self.plan["revision"],
            self.plan["drives"],
            self.plan["size"],
            self.plan["masks"],
            self.plan["processes"],
            run.seed,
        ]
        parts.append(parameters(yaml.safe_load(run.recipe.read_text("utf-8"))["model"]["name"]))
        for name in self.plan["stages"]:
            parts.append(yaml.safe_load((self.folder / f"{name}.yaml").read_text("utf-8")))
            if name == run.name:
                break
        else:
            parts.append(yaml.safe_load(run.recipe.read_text("utf-8")))
            parts.append([o.replace(places, "") for o in run.options])
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]

    def row_path(self, run: Run) -> Path:
        """Returns where the row of a run is kept."""
        return self.rows / f"{run.label}.json"

    def is_done(self, run: Run) -> bool:
        """Returns whether the row of a run is there, made by this plan."""
        path = self.row_path(run)
        if not path.is_file():
            return False
        row = json.loads(path.read_text(encoding="utf-8"))
        return (row["digest"], row["scored"]) == (self.digest(run), self.scored)

    def rows_done(self) -> dict[str, dict[int, dict[str, Any]]]:
        """Returns the rows of this plan by name and seed; says which files are of another."""
        found: dict[str, dict[int, dict[str, Any]]] = {}
        known = {*self.plan["stages"], *self.plan["ablations"]}
        for path in sorted(self.rows.glob("*.json")):
            row = json.loads(path.read_text(encoding="utf-8"))
            if row["name"] in known and self.is_done(self.run_of(row["name"], row["seed"])):
                found.setdefault(row["name"], {})[row["seed"]] = row
            else:
                print(f"{path} is of another plan or network: left out", file=sys.stderr)
        return found

    # -- doing it -------------------------------------------------------------------------------

    def work(self, jobs: int) -> None:
        """Renders, trains and scores whatever has no row."""
        runs = [self.run_of(n, s) for s in self.seeds for n in self.ablations]
        left = [run for run in {r.label: r for r in runs}.values() if not self.is_done(run)]
        if not left:
            return
        self.make_data(jobs)
        self.rows.mkdir(parents=True, exist_ok=True)
        seeds = sorted({run.seed for run in left} - {0})  # the stage of seed 0 is made for all
        with (
            concurrent.futures.ThreadPoolExecutor(jobs) as pool,
            tqdm(total=len(left) + len(seeds), unit="run", desc="runs") as bar,
        ):
            try:
                self.train(self.stage(next(iter(self.plan["stages"])), 0))
                stages = {pool.submit(self.prepare, seed): seed for seed in seeds}
                waiting = {*stages, *(pool.submit(self.finish, r) for r in left if not r.seed)}
                while waiting:
                    ended, waiting = concurrent.futures.wait(waiting, return_when=FIRST_COMPLETED)
                    for each in ended:
                        each.result()
                        bar.update()
                        seed = stages.get(each)
                        waiting |= {pool.submit(self.finish, r) for r in left if r.seed == seed}
            except BaseException:
                self.stop()
                pool.shutdown(cancel_futures=True)
                raise

    def stop(self) -> None:
        """Ends the training processes; each saves where it is."""
        with self.lock:
            self.stopped = True
            for child in self.children:
                child.terminate()

    def make_data(self, jobs: int) -> None:
        """Renders the drives and makes the region maps of the target's."""
        for name, words in self.plan["drives"].items():
            where = ["--out", str(self.out / name), "--size", self.plan["size"]]
            self.call("synth", *shlex.split(words), *where, "--workers", str(jobs))
        masks = shlex.split(self.plan["masks"])
        self.call("masks", str(self.out / "target"), "-o", str(self.out / "masks"), *masks)

    def prepare(self, seed: int) -> None:
        """Trains the stages that the ablations of a seed start from."""
        for name in self.plan["stages"]:
            self.train(self.stage(name, seed))

    def finish(self, run: Run) -> None:
        """Trains and scores a run, and writes its row."""
        self.train(run)
        state = load_checkpoint(self.checkpoint(run))
        row = {
            "name": run.name,
            "seed": run.seed,
            "digest": self.digest(run),
            "steps": state["step"],
            "minutes": round(state["elapsed_s"] / 60, 2),
            "scored": self.scored,
            "conditions": score(self.checkpoint(run), self.out / self.scored),
        }
        write_whole(self.row_path(run), (json.dumps(row) + "\n").encode())

    def train(self, run: Run) -> None:
        """Trains a run to its end, on from where it was, unless it was there already."""
        path, digest = self.checkpoint(run), self.digest(run)
        options = [*run.options, f"data.drives={run.drives}", f"seed={run.seed}"]
        steps = load_config(Recipe, run.recipe, options).train.steps
        mark = path.with_name(DIGEST)
        if path.is_file():
            if not mark.is_file() or mark.read_text(encoding="utf-8") != digest:
                raise SystemExit(
                    f"{path.parent} is of another plan: delete it, or --out elsewhere"
                )
            if load_checkpoint(path)["step"] >= steps:
                return
        mark.parent.mkdir(parents=True, exist_ok=True)
        write_whole(mark, digest.encode())
        resume = ["--resume"] if path.is_file() else []
        words = [str(run.recipe), "--out", str(path.parent), *resume, *options]
        self.call("train", *words, processes=self.plan["processes"].get(run.name, 1))
        state = load_checkpoint(path)
        if state["step"] < steps:
            raise SystemExit(f"{run.label} was stopped after {state['step']} of {steps} steps")

    def call(self, command: str, *words: str, processes: int = 1) -> None:
        """Runs a `rosam` command, quietly; its last words are shown if it fails."""
        line = [sys.executable, "-m", "rosam_core.cli", command, *words]
        if processes > 1:
            several = ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
            line[1:1] = ["-m", *several]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        with self.lock:
            if self.stopped:
                raise SystemExit("stopped; the same command resumes")
            child = subprocess.Popen(
                line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment
            )
            self.children.add(child)
        said, _ = child.communicate()
        with self.lock:
            self.children.discard(child)
        if child.returncode:
            last = said.decode(errors="replace").strip().splitlines()[-3:]
            raise SystemExit(f"rosam {command} failed ({child.returncode}): " + " | ".join(last))


@functools.cache
def parameters(model: str) -> list[tuple[str, tuple[int, ...]]]:
    """Returns the name and shape of every parameter of a student."""
    return [(name, tuple(value.shape)) for name, value in create_model(model).named_parameters()]


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def main() -> None:
    """Runs what is left, then writes the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--out", type=Path, default=Path("out/benchmark"), help="drives, masks, checkpoints")
    add("--plan", type=Path, default=FOLDER, help="folder with plan.yaml and its recipes")
    add("--rows", type=Path, default=None, help="one JSON file a run (PLAN/rows)")
    add("--jobs", type=int, default=os.cpu_count() or 1, help="runs at a time, a core each")
    add("--seeds", type=lambda t: [int(s) for s in _names(t)], help="as in 1,2 (plan.yaml's)")
    add("--only", type=_names, default=[], help="ablations, as in baseline,full (all)")
    add("--validation", action="store_true", help="score other worlds: to choose options by")
    add("--table", action="store_true", help="run nothing; write the tables of the rows")
    add("--results", type=Path, default=Path("docs/results"), help="folder of the tables")
    add("options", nargs="*", help="key=value for every ablation, to try something out")
    args = parser.parse_args()
    if args.rows is None:
        if args.options or args.validation:
            parser.error("options and --validation need --rows FOLDER: they are no benchmark")
        args.rows = args.plan / "rows"
    args.out = args.out.resolve()
    torch.set_num_threads(1)
    benchmark = Benchmark(args)
    if not args.table:
        # A kill of this process alone must not leave its children to train on.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler)
        try:
            benchmark.work(args.jobs)
        except KeyboardInterrupt:
            benchmark.stop()
            raise SystemExit("stopped; the same command resumes") from None
    write_results(benchmark.plan, benchmark.rows_done(), args.out, args.results)


if __name__ == "__main__":
    main()
