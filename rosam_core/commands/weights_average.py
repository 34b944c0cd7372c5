"""`rosam weights average`: the mean of several runs' weights, often better than each of them."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def add_average(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of `rosam weights average`."""
    parser.add_argument(
        "checkpoints",
        type=Path,
        nargs="+",
        help="of `rosam train`, each started from the one before, or all from the same; any but "
        "the last may be the .onnx file that it was started from",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="the .pt file")
    parser.add_argument(
        "--shares",
        type=float,
        nargs="+",
        metavar="SHARE",
        help="of each checkpoint, which sum to 1 (all the same)",
    )
    parser.set_defaults(act=run_average, wrong_arguments=parser.error)


def run_average(args: argparse.Namespace) -> int:
    """Writes the checkpoint."""
    from rosam_core.checkpoint import load_checkpoint, save_checkpoint

    count = len(args.checkpoints)
    shares = args.shares or [1 / count] * count
    if count < 2 or len(shares) != count:
        args.wrong_arguments(f"give two checkpoints or more, and a share of each, not {shares}")
    if not all(0 < share < 1 for share in shares) or not math.isclose(sum(shares), 1):
        args.wrong_arguments(f"shares lie between 0 and 1 and sum to 1, got {sum(shares):g}")
    if args.output.suffix != ".pt":
        raise ValueError(f"-o {args.output}: name a .pt file")
    *started_from, newest = args.checkpoints
    if newest.suffix == ".onnx":
        args.wrong_arguments(f"{newest} cannot be the last: that is what was trained from it")
    last = load_checkpoint(newest)
    states = [*(_state(path, last) for path in started_from), last]
    names = [f"{path.parent.name}/{path.name}" for path in args.checkpoints]
    averaged = average(states, shares, names)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(args.output, averaged)
    print(f"{args.output}; next: rosam export {args.output} -o model.onnx")
    return 0


def _state(path: Path, last: dict[str, Any]) -> dict[str, Any]:
    """Returns what `average` needs of a checkpoint or an exported model.

    Heads that only training uses are not in an exported model: they become those of `last`.
    """
    from rosam_core.checkpoint import load_checkpoint
    from rosam_core.config import to_yaml
    from rosam_core.export import load_student

    if path.suffix != ".onnx":
        return load_checkpoint(path)
    opened = load_student(path)
    weights = opened.student.state_dict()
    heads = getattr(opened.student, "training_only", ())
    for name in weights:
        if name.startswith(heads) and name in last["ema"]:
            weights[name] = last["ema"][name]
    return {
        "ema": weights,
        "recipe": to_yaml(opened.recipe),
        "focal_range": opened.focal_range,
        "is_metric": opened.is_metric,
        "licence": opened.licence,
    }


def average(
    states: Sequence[dict[str, Any]], shares: Sequence[float], names: Sequence[str]
) -> dict[str, Any]:
    """Returns a checkpoint of averaged weights; everything else of it is of the last one.

    Wortsman et al., "Model soups", ICML 2022: runs that descend from one another lie in one
    valley of the loss, and a mean of their weights in its middle. Statistics of batch norms are
    averaged like weights.

    Args:
        states: Of `load_checkpoint`; of all but the last only what `_state` gives is read.
        shares: One of each.
        names: Of the checkpoints, for messages and for the model card.

    Raises:
        ValueError: They are of different networks, or metres of theirs mean different things.
    """
    import yaml

    last = states[-1]
    recipes = [yaml.safe_load(state["recipe"]) for state in states]
    focal = [float(recipe["data"]["canonical_focal_px"]) for recipe in recipes]
    shapes = [{name: value.shape for name, value in state["ema"].items()} for state in states]
    for name, shape, px, state in zip(names, shapes, focal, states, strict=True):
        if shape != shapes[-1]:
            raise ValueError(f"{name} is of another network than {names[-1]}")
        if not math.isclose(px, focal[-1], rel_tol=1e-3) or (
            state.get("is_metric", True) != last.get("is_metric", True)
        ):
            raise ValueError(
                f"{name} gives other metres than {names[-1]}: focal lengths of {px:g} and "
                f"{focal[-1]:g} px, or one has no scale"
            )
    weights = dict(last["ema"])
    for name, value in weights.items():
        if value.is_floating_point():  # a count of batches is no weight
            parts = (share * s["ema"][name] for share, s in zip(shares, states, strict=True))
            weights[name] = sum(parts)
    said = ", ".join(f"{share:g} of {name}" for share, name in zip(shares, names, strict=True))
    licences = {str(state["licence"]) for state in states if "licence" in state}
    origin = last.get("origin")
    return {
        "networks": {"student": weights},
        "ema": weights,
        "step": last["step"],
        "focal_range": [
            min(state["focal_range"][0] for state in states),
            max(state["focal_range"][1] for state in states),
        ],
        "validation": {},  # of this mean nothing is measured yet
        "recipe": last["recipe"],
        "commit": last["commit"],
        "is_metric": last.get("is_metric", True),
        "averaged": said,
        **({"licence": " AND ".join(sorted(licences))} if licences else {}),
        **({"origin": origin} if origin else {}),
    }
