"""Tables and pictures of the adaptation benchmark, from its rows."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ablation_pictures import draw_depths

ADVERSE = ("night", "day-rain")
SHOWN = ("day-clear", "night", "day-rain", "fog")
RESAMPLES, LEVEL = 4000, 0.95
BEGIN, END = "<!-- table: made by benchmarks/ablation.py -->", "<!-- end of table -->"

Rows = Mapping[str, Mapping[int, Mapping[str, Any]]]


def write_results(plan: Mapping[str, Any], found: Rows, out: Path, results: Path) -> None:
    """Prints the table, puts it into `ablation.md` and draws `ablation.png`.

    Args:
        plan: Content of plan.yaml.
        found: Rows by name and seed.
        out: Where checkpoints and drives are; pictures of depth are drawn if they are there.
        results: Where to.
    """
    if "baseline" not in found:
        raise SystemExit("no row of the baseline by this plan: run the benchmark first")
    text = table(plan, found)
    print(text)
    results.mkdir(parents=True, exist_ok=True)
    page = results / "ablation.md"
    if page.is_file():
        before, rest = page.read_text(encoding="utf-8").split(BEGIN)
        page.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}", encoding="utf-8")
    draw_gains(plan, found, results / "ablation.png")
    seed = min(found["baseline"])
    students = {
        plan["ablations"][name]["title"]: out / "runs" / f"{name}-{seed}" / "last.pt"
        for name in plan["shown"]
    }
    picture = results / "ablation_depths.jpg"
    missing = [path for path in (*students.values(), out / "test") if not path.exists()]
    if missing:
        print(f"{picture} is not drawn: there is no {missing[0]}", file=sys.stderr)
    else:
        draw_depths(students, out / "test", ADVERSE, picture)


def table(plan: Mapping[str, Any], found: Rows) -> str:
    """Returns the ablations as a Markdown table: mean and standard deviation over seeds."""
    heads = [
        "student", "seeds", *(f"{c} AbsRel" for c in SHOWN), "night F1", "night spread",
        "gain at night and in rain", "paper, night",
    ]  # fmt: skip
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    titles = {stage: f"*stage: {stage}*" for stage in plan["stages"]}
    titles |= {name: entry["title"] for name, entry in plan["ablations"].items()}
    for name, title in titles.items():
        runs = found.get(name)
        if not runs:
            continue
        cells = [title, str(len(runs))]
        cells += [_mean_std([r["conditions"][c]["abs_rel"] for r in runs.values()]) for c in SHOWN]
        cells += [
            _mean_std([r["conditions"]["night"][f] for r in runs.values()])
            for f in ("boundary_f1", "object_spread")
        ]
        cells.append(_gain_cell(found, name))
        paper = plan["ablations"].get(name, {}).get("paper")
        cells.append("" if paper is None else f"{paper:.4f}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _mean_std(values: Sequence[float]) -> str:
    if len(values) < 2:
        return f"{values[0]:.4f}"
    return f"{np.mean(values):.4f} ± {np.std(values, ddof=1):.4f}"


def _gain_cell(found: Rows, name: str) -> str:
    if name == "baseline":
        return "0"
    known = relative_gain(found, name)
    if known is None:
        return ""
    gain, low, high = known
    return f"{100 * gain:+.1f} % ({100 * low:+.1f} to {100 * high:+.1f})"


def relative_gain(
    found: Rows, name: str, conditions: Sequence[str] = ADVERSE, figure: str = "abs_rel"
) -> tuple[float, float, float] | None:
    """Returns how much smaller a figure is than the baseline's, relative, with its interval.

    The same seeds and scenes of both are compared: 1 - mean(of `name`) / mean(of the baseline).
    The interval is a bootstrap that draws seeds, and scenes in them, with replacement.

    Args:
        found: Rows.
        name: Of the ablation.
        conditions: Whose mean is compared.
        figure: Which figure.

    Returns:
        Gain, lower and upper end; None without a seed that both have.
    """
    seeds = sorted(set(found.get(name, {})) & set(found["baseline"]))
    if not seeds:
        return None

    def scenes(runs: Mapping[int, Mapping[str, Any]]) -> npt.NDArray[np.float64]:
        known = [[runs[s]["conditions"][c]["scenes"][figure] for c in conditions] for s in seeds]
        return np.array(known, np.float64).mean(axis=1)  # float[seeds, scenes]

    own, base = scenes(found[name]), scenes(found["baseline"])
    is_known = np.isfinite(own + base).all(axis=0)  # a scene without boundaries has no F1
    own, base = own[:, is_known], base[:, is_known]
    gain = 1 - own.mean() / base.mean()
    rng = np.random.default_rng(0)
    drawn_scenes = rng.integers(0, own.shape[1], (RESAMPLES, 1, own.shape[1]))
    drawn_seeds = rng.integers(0, len(seeds), (RESAMPLES, len(seeds), 1))
    gains = 1 - own[drawn_seeds, drawn_scenes].mean((1, 2)) / base[drawn_seeds, drawn_scenes].mean(
        (1, 2)
    )
    low, high = np.quantile(gains, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(gain), float(low), float(high)


def draw_gains(plan: Mapping[str, Any], found: Rows, path: Path) -> None:
    """Draws the gains with their intervals, and those that the paper states."""
    from matplotlib.figure import Figure

    names = [n for n in plan["ablations"] if n != "baseline" and n in found]
    base = plan["ablations"]["baseline"]["paper"]
    figure = Figure(figsize=(8, 0.4 * len(names) + 1.2), layout="constrained")
    axes = figure.subplots()
    for place, name in enumerate(reversed(names)):
        known = relative_gain(found, name)
        if known is None:
            continue
        gain, low, high = (100 * value for value in known)
        axes.errorbar(
            gain, place, xerr=[[gain - low], [high - gain]], fmt="o", color="tab:blue", capsize=3
        )
        paper = plan["ablations"][name].get("paper")
        if paper is not None:
            axes.plot(100 * (1 - paper / base), place - 0.2, "d", color="tab:orange")
    axes.axvline(0, color="grey", linewidth=0.8)
    axes.set_yticks(range(len(names)))
    axes.set_yticklabels([plan["ablations"][name]["title"] for name in reversed(names)])
    axes.set_xlabel("less AbsRel than the baseline [%]")
    axes.plot([], [], "o", color="tab:blue", label="here, night and rain, 95 % interval")
    axes.plot([], [], "d", color="tab:orange", label="paper, night (nuScenes)")
    axes.legend(loc="best", fontsize="small")
    figure.savefig(path, dpi=110)
