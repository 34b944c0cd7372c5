"""`rosam`: the command line for files. Each command lives in `rosam_core/commands/`."""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
from collections.abc import Sequence

COMMANDS = {
    "demo": "record, replay and score a drive on the real ROS graph, with a report",
    "info": "describe a model, a card, a drive or a checkpoint",
    "synth": "render synthetic drives with exact depth, in day, night, rain and fog",
    "masks": "object priors for training: one region map an image",
    "train": "train a student from a recipe",
    "eval": "score a model on a drive, by condition",
    "export": "turn a checkpoint into an ONNX model with its card",
    "calibrate": "fit the confidence of a model to a drive whose depth is known",
    "weights": "turn a published checkpoint into one of ours",
    "engine": "build, list, check and remove TensorRT engines",
    "quantize": "turn a model into one of 8 bits, and measure what that costs",
    "bench": "time models on this machine's engines, beside what the machine can do",
    "drive": "say what a recorded drive holds, and what is wrong with it",
    "bag": "depth for every camera of a ROS 1 or ROS 2 bag",
}
"""Name and one-line help of every command; `commands/<name>.py` has `add_arguments` and `run`."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: Arguments without the program name; the process's own if None.

    Returns:
        0 = done, 1 = failed with one line on stderr, 2 = wrong arguments.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(prog="rosam", description=__doc__)
    parser.add_argument("-v", "--verbose", action="store_true", help="log what is being done")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    named = next((word for word in argv if word in COMMANDS), None)
    for name, text in COMMANDS.items():
        sub = commands.add_parser(name, help=text, description=text)
        if name == named:  # only the command in use is imported: `rosam --help` stays instant
            module = importlib.import_module(f"rosam_core.commands.{name}")
            module.add_arguments(sub)
            sub.set_defaults(run=module.run)
    args, rest = parser.parse_known_args(argv)
    if rest and hasattr(args, "overrides") and all("=" in w and w[0] != "-" for w in rest):
        args.overrides += rest  # argparse gives up on positionals that follow an option
    elif rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    logging.basicConfig(
        level=logging.INFO if args.verbose else logging.WARNING,
        format="%(levelname)s %(name)s: %(message)s",
    )
    try:
        return int(args.run(args) or 0)
    except KeyboardInterrupt:
        print("rosam: stopped", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package.startswith("rosam_") or not package:
            raise
        print(
            f"rosam {args.command}: needs the package {package}, which is not installed: "
            "in a checkout, pip install -c constraints.txt '.[train]' brings what rendering, "
            "training, exporting and reports need",
            file=sys.stderr,
        )
        return 1
    except (ValueError, OSError) as error:
        print(f"rosam {args.command}: {error}", file=sys.stderr)
        return 1
    except RuntimeError as error:
        from rosam_core.engines.cuda_device import GpuError

        if not isinstance(error, GpuError):
            raise
        print(f"rosam {args.command}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
