"""Tables and curves of docs/results/real_drives.md, from the rows beside it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROWS = ROOT / "docs/results/real_drives"
PAGE = ROOT / "docs/results/real_drives.md"
CURVES = ROOT / "docs/results/real_drives.png"
BASE = "synthetic"
"""Row that gains are relative to: the packaged student as it is."""
MARKS = ("<!-- {0}: made by benchmarks/real_drives.py table -->", "<!-- end of {0} -->")


def write_page(order: Sequence[str]) -> None:
    """Writes the tables between their marks, and the plot.

    Args:
        order: Names of rows; those that have not been run are left out.

    Raises:
        ValueError: The page lacks a mark.
    """
    rows = {name: _read(name) for name in order if (ROWS / f"{name}.json").is_file()}
    page = PAGE.read_text(encoding="utf-8")
    for part, text in (
        ("accuracy", accuracy_table(rows)),
        ("cost", cost_table(rows)),
        ("overlap", overlap_lines(_read("overlap"))),
    ):
        first, last = (mark.format(part) for mark in MARKS)
        if first not in page or last not in page:
            raise ValueError(f"{PAGE.name} has no '{first}' ... '{last}'")
        page = f"{page.split(first)[0]}{first}\n{text}\n{last}{page.split(last)[1]}"
    PAGE.write_text(page, encoding="utf-8")
    plot({name: row for name, row in rows.items() if "curves" in row}, CURVES)
    print(accuracy_table(rows))


def _read(name: str) -> dict:
    return json.loads((ROWS / f"{name}.json").read_text(encoding="utf-8"))


def accuracy_table(rows: dict[str, dict]) -> str:
    """Returns AbsRel of every row, metric / median-scaled, and the gain over `BASE`."""
    lines = [
        "| row | student | choosing | scoring | gain | all 78 | gain | its delta1 | nuScenes |",
        "|---|---|---|---|---|---|---|---|---|",
    ]

    def gain(row: dict, key: str) -> str:
        base, found = (r["scores"][key]["metric"]["abs_rel"] for r in (rows[BASE], row))
        return "" if row is rows[BASE] else f"{100 * (1 - found / base):+.1f} %"

    for name, row in rows.items():
        scores = row["scores"]
        cells = [_pair(scores[key]) for key in ("kitti_choose", "kitti_score", "kitti_all_78")]
        lines.append(
            f"| `{name}` | {row['title']} | {cells[0]} | {cells[1]} | {gain(row, 'kitti_score')} "
            f"| {cells[2]} | {gain(row, 'kitti_all_78')} "
            f"| {scores['kitti_all_78']['metric']['delta1']:.3f} | {_pair(scores['nuscenes'])} |"
        )
    return "\n".join(lines)


def cost_table(rows: dict[str, dict]) -> str:
    """Returns steps, time and memory of every trained row."""
    lines = [
        "| row | steps | wall [min] | CPU [min] | memory [MiB] | loss, first and last quarter |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        if "curves" not in row:
            continue
        key = next(iter(row["curves"]))
        values = [value for _, value in row["curves"][key]]
        quarter = max(len(values) // 4, 1)
        first, last = (sum(part) / quarter for part in (values[:quarter], values[-quarter:]))
        cpu, memory = (
            "" if value is None else f"{value:g}"
            for value in (row["cpu_minutes"], row["peak_memory_mib"])
        )
        lines.append(
            f"| `{name}` | {row['steps']} | {row['wall_minutes']:.1f} | {cpu} "
            f"| {memory} | `{key}` {first:.4f} to {last:.4f} |"
        )
    return "\n".join(lines)


def overlap_lines(found: dict) -> str:
    """Returns how near the scored frames come to those of training."""
    lines = [
        f"| frames beside the {found['frames_scored']} scored ones | largest correlation |",
        "|---|---|",
    ]
    lines += [
        f"| training, `{name}` | {value:.3f} |"
        for name, value in found["largest_correlation_with_training"].items()
    ]
    chosen = found["with_frames_settings_were_chosen_by"]
    lines.append(f"| those that settings were chosen by | {chosen:.3f} |")
    least = found["of_consecutive_scored_frames_least"]
    lines.append(f"| the next scored frame (least of them) | {least:.3f} |")
    return "\n".join(lines)


def plot(rows: dict[str, dict], path: Path) -> None:
    """Draws the losses and, on the frames for choosing, the error of each run."""
    import matplotlib
    import numpy as np

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.4), dpi=90)
    for name, row in rows.items():
        for axis, key in zip(axes, ("photometric_0", "abs_rel"), strict=True):
            if points := row["curves"].get(key):
                steps, values = np.array(points).T
                if key != "abs_rel":
                    values = [values[max(i - 4, 0) : i + 1].mean() for i in range(len(values))]
                axis.plot(steps, values, label=name, linewidth=1.2)
    base = _read("synthetic_fitted")["scores"]["kitti_choose"]["metric"]["abs_rel"]
    axes[1].axhline(base, color="grey", linestyle="--", linewidth=1, label="synthetic_fitted")
    axes[0].set(xlabel="step", title="photometric error, mean of five records")
    axes[1].set(xlabel="step", title="metric AbsRel, frames for choosing")
    axes[1].set_ylim(top=min(0.85, axes[1].get_ylim()[1]))
    for axis in axes:
        axis.grid(alpha=0.3)
    axes[1].legend(fontsize=6.5, ncol=2)
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)


def _pair(scores: dict) -> str:
    return f"{scores['metric']['abs_rel']:.3f} / {scores['median_scaled']['abs_rel']:.3f}"
