"""Compares two evaluations of the same frames, image by image."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rosam_core.evaluation.crops import NO_CROP
from rosam_core.evaluation.intervals import scene_interval
from rosam_core.evaluation.scoring import ImageScore

COMPARED = ("abs_rel", "rmse", "delta1")

OF_THE_METRES = {
    "boundary_f1": ("boundaries", "f1"),
    "flicker": ("flicker", "flicker"),
}
"""Figures of the metres as published, by name: where a frame keeps them. Each has kinds of truth
(`exact`, `lidar`, `own`), which are compared apart from each other."""


def frame_rows(scores: Sequence[ImageScore]) -> list[dict[str, Any]]:
    """Returns the figures of every image, as `rosam eval --json FILE` stores them.

    Args:
        scores: Scores of images.
    """
    return [
        {
            "scene": s.scene,
            "camera": s.camera_name,
            "stamp_ns": s.stamp_ns,
            "condition": s.condition,
            "metric": dict(s.metric),
            "median_scaled": dict(s.scaled),
            **{
                name: dict(known)
                for name, known in (("boundaries", s.boundaries), ("flicker", s.flicker))
                if known
            },
        }
        for s in scores
    ]


def load_frames(
    path: Path,
) -> tuple[dict[str, Any], dict[tuple[str, str, int, str], dict[str, Any]]]:
    """Reads the images of an evaluation.

    Args:
        path: What `rosam eval --json FILE` wrote.

    Returns:
        What was scored, `range_m`, `crop`, `truth` (how it was made, empty = as published) and
        `drive_digest` (of the names, cameras and poses of all images, None = not known);
        and the figures of the images by scene, camera, stamp and condition.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no evaluation, or has no figures of single images.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no evaluation at {path}: `rosam eval --json FILE` writes one")
    try:
        whole = json.loads(path.read_text(encoding="utf-8"))
        rows = {
            (r["scene"], r["camera"], r["stamp_ns"], r["condition"]): r for r in whole["frames"]
        }
        scored = {
            "range_m": whole.get("range_m"),
            "crop": whole.get("crop", NO_CROP),
            "truth": whole.get("truth", ""),
            "drive_digest": whole.get("drive_digest"),
        }
        return scored, rows
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is no evaluation with figures of single images ({error!r}): write it with "
            "`rosam eval --json FILE`"
        ) from error


def compare(first: Path, second: Path, scaling: str = "metric") -> dict[str, Any]:
    """Returns the mean differences, second minus first, over the images that both scored.

    Args:
        first: JSON of `rosam eval`.
        second: The same for another model or engine.
        scaling: `metric` or `median_scaled`.

    Returns:
        `frames`, `only_first`, `only_second`, and by condition and metric `frames` (of both that
        have the figure), `first`, `second`, `difference`, `relative` and `interval` (95 %, over
        scenes; None with a single scene). `boundary_f1_KIND` and `flicker_KIND` are there where
        both evaluations measured them; no scaling changes them.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file is no evaluation, they have no image in common, or scored other parts.
    """
    (of_a, a), (of_b, b) = load_frames(first), load_frames(second)
    digests = [of.pop("drive_digest") for of in (of_a, of_b)]
    if a.keys() == b.keys() and all(digests) and digests[0] != digests[1]:
        raise ValueError(
            f"{first} and {second} scored different images of the same names: their cameras or "
            "poses differ"
        )
    if of_a != of_b:
        raise ValueError(
            f"{first} and {second} did not score the same: {_in_words(of_a)}, {_in_words(of_b)}"
        )
    common = [key for key in a if key in b]
    if not common:
        raise ValueError(f"{first} and {second} have no image in common: other drives?")
    groups = {c: [k for k in common if k[3] == c] for c in dict.fromkeys(k[3] for k in common)}
    if len(groups) > 1:
        groups["all"] = common
    return {
        "first": str(first),
        "second": str(second),
        "scaling": scaling,
        "frames": len(common),
        "only_first": len(a) - len(common),
        "only_second": len(b) - len(common),
        "conditions": {
            condition: {
                **{
                    name: _difference(keys, [[f[k][scaling][name] for f in (a, b)] for k in keys])
                    for name in COMPARED
                },
                **_of_the_metres(keys, a, b),
            }
            for condition, keys in groups.items()
        },
    }


def _in_words(scored: Mapping[str, Any]) -> str:
    low, high = scored["range_m"] or ("?", "?")
    truth = f", truth: {scored['truth']}" if scored["truth"] else ""
    return f"{low} to {high} m with crop {scored['crop']}{truth}"


def _of_the_metres(
    keys: Sequence[tuple[str, str, int, str]], a: Mapping[Any, Any], b: Mapping[Any, Any]
) -> dict[str, dict[str, Any]]:
    """Returns the differences of `OF_THE_METRES`, by name and kind, that both have measured."""
    found = {}
    for name, (part, figure) in OF_THE_METRES.items():
        both = [(k, a[k].get(part), b[k].get(part)) for k in keys]
        pairs = [(k, x, y) for k, x, y in both if x and y and x["kind"] == y["kind"]]
        for kind in dict.fromkeys(x["kind"] for _, x, _ in pairs):
            own = [(k, x[figure], y[figure]) for k, x, y in pairs if x["kind"] == kind]
            difference = _difference([k for k, *_ in own], [values for _, *values in own])
            if difference["frames"]:
                found[f"{name}_{kind}"] = difference
    return found


def _difference(
    keys: Sequence[tuple[str, str, int, str]], values: Sequence[Sequence[float | None]]
) -> dict[str, Any]:
    """Returns the paired difference of a figure of some images, None and NaN left out."""
    pairs = np.array(values, dtype=np.float64)
    pairs[np.isnan(pairs).any(axis=1)] = np.nan
    counted = pairs[~np.isnan(pairs[:, 0])]
    one, two = counted.mean(axis=0) if len(counted) else (np.nan, np.nan)
    return {
        "frames": len(counted),
        "first": float(one),
        "second": float(two),
        "difference": float(two - one),
        "relative": float((two - one) / one) if one else float("nan"),
        "interval": scene_interval(pairs[:, 1] - pairs[:, 0], [key[0] for key in keys]),
    }


def comparison_rows(result: Mapping[str, Any]) -> list[list[str]]:
    """Returns a comparison as rows of text, header first.

    Args:
        result: Of `compare`.
    """
    rows = [["condition", "frames", "", "first", "second", "difference", "relative", "95 %", ""]]
    for condition, metrics in result["conditions"].items():
        said = None
        for place, (name, d) in enumerate(metrics.items()):
            interval, sure = d["interval"], ""
            is_other, said = d["frames"] != said, d["frames"]
            if interval:
                sure = "differs" if interval[0] > 0 or interval[1] < 0 else "could be chance"
            rows.append(
                [
                    condition if not place else "",
                    str(d["frames"]) if is_other else "",
                    name,
                    f"{d['first']:.4f}",
                    f"{d['second']:.4f}",
                    f"{d['difference']:+.4f}",
                    f"{d['relative']:+.1%}",
                    f"{interval[0]:+.4f} to {interval[1]:+.4f}" if interval else "one scene",
                    sure,
                ]
            )
    return rows
