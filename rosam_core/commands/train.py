"""`rosam train`: train a student from a recipe."""

from __future__ import annotations

import argparse
import json
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of `rosam train`."""
    parser.add_argument("recipe", type=Path, help="YAML file, see training/recipes/")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="e.g. train.steps=100 data.drives=D"
    )
    parser.add_argument(
        "--out", type=Path, help="folder of checkpoints and logs (out/train/<recipe name>)"
    )
    parser.add_argument("--resume", action="store_true", help="continue from OUT/last.pt")
    parser.add_argument("--json", action="store_true", help="print the final figures as JSON")


def run(args: argparse.Namespace) -> int:
    """Trains; 0 also when stopped by Ctrl-C, which saves first."""
    from rosam_core.config import load_config
    from rosam_core.recipe import Recipe
    from rosam_core.trainer import train

    recipe = load_config(Recipe, args.recipe, args.overrides)
    out = args.out or Path("out/train") / args.recipe.stem
    summary = train(recipe, out, args.resume)
    if args.json:
        print(json.dumps(summary))
    else:
        stopped = " (stopped; continue with --resume)" if summary["stopped"] else ""
        print(f"{out}: {summary['step']} steps in {summary['minutes']:.1f} minutes{stopped}")
    return 0
