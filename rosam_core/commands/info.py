"""`rosam info`: say what a model, a card, a synthetic drive or a checkpoint is, and check it."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `rosam info`."""
    parser.add_argument(
        "path",
        type=Path,
        nargs="?",
        help="model.onnx, its card model.json, a drive or folder of drives, or a checkpoint .pt; "
        "the packaged model by default",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Runs `rosam info`."""
    from rosam_core.engines.registry import default_model_path

    path = args.path or default_model_path()
    facts = describe(path)
    print(json.dumps(facts, indent=2) if args.json else "\n".join(_lines(facts)))
    return 0


def describe(path: Path) -> dict[str, Any]:
    """Returns what a path holds, as JSON values; `kind` says which of them it is.

    Args:
        path: A model, card, drive, folder of drives or checkpoint.

    Raises:
        FileNotFoundError: There is nothing there, or nothing of ours.
        ValueError: It is damaged, or of another kind.
    """
    if not path.exists():
        raise FileNotFoundError(
            f"{path} does not exist: give a model, a card, a drive or a checkpoint"
        )
    if path.is_dir():
        _refuse_recorded(path)
        return _drives(path)
    if path.suffix == ".onnx":
        return _model(path)
    if path.suffix == ".json":
        return _drives(path.parent) if path.name == "drive.json" else _card(path)
    if path.suffix in (".pt", ".ckpt"):
        return _checkpoint(path)
    raise ValueError(
        f"{path} is none of .onnx, .json, .pt or a drive folder: `rosam bag info` describes bags, "
        "`rosam drive info` other recordings"
    )


def _refuse_recorded(folder: Path) -> None:
    """Leads to the command that describes what others recorded."""
    from rosam_core.drives.opening import find_kind

    try:
        kind = find_kind(folder)
    except ValueError:  # the reader of synthetic drives says what is wrong
        return
    if kind != "synthetic":
        raise ValueError(f"{folder} is a drive of kind {kind}: see `rosam drive info {folder}`")


def _model(path: Path) -> dict[str, Any]:
    """Describes a model after loading it just as the node would: hash, inputs and outputs."""
    from rosam_core.engines.registry import load_engine

    engine = load_engine(path, "onnx-cpu", threads=1)
    card = dataclasses.asdict(engine.card)
    engine.close()
    return {
        "kind": "model",
        "path": str(path),
        "size_mb": round(path.stat().st_size / 1e6, 2),
        "checked": "file matches its card, loads and runs",
        "card": card,
    }


def _card(path: Path) -> dict[str, Any]:
    from rosam_core.types import ModelCard

    model = path.with_suffix(".onnx")
    if model.is_file():
        return _model(model)
    card = dataclasses.asdict(ModelCard.load(path))
    return {
        "kind": "card",
        "path": str(path),
        "checked": f"the card alone: there is no {model.name} beside it",
        "card": card,
    }


def _drives(folder: Path) -> dict[str, Any]:
    from rosam_core.drives.synthetic.drive import find_drives

    drives = [_drive(path) for path in find_drives(folder)]
    if len(drives) == 1:
        return {"kind": "drive", **drives[0]}
    return {
        "kind": "drives",
        "path": str(folder),
        "drives": len(drives),
        "frames": sum(drive["frames"] for drive in drives),
        "conditions": sorted({name for drive in drives for name in drive["conditions"]}),
        "complete": all(drive["complete"] for drive in drives),
        "each": drives,
    }


def _drive(folder: Path) -> dict[str, Any]:
    import numpy as np

    from rosam_core.drives.synthetic.drive import SyntheticDrive

    meta = _first_condition(folder)
    drive = SyntheticDrive(folder, meta)
    stamps = [int(frame["stamp_ns"]) for frame in drive.frames]
    positions = np.array([frame["T_world_camera"] for frame in drive.frames], np.float64)
    steps = np.diff(positions[:, :3, 3], axis=0) if len(stamps) > 1 else np.zeros((0, 3))
    images = {
        name: len(list((folder / "images" / name).glob(f"*{drive.suffix}")))
        for name in drive.rendered
    }
    return {
        "path": str(folder),
        "frames": len(drive),
        "duration_s": round((stamps[-1] - stamps[0]) / 1e9, 3) if stamps else 0.0,
        "fps": drive.meta.get("fps"),
        "length_m": round(float(np.linalg.norm(steps, axis=1).sum()), 1),
        "seed": drive.meta.get("seed"),
        "size": f"{drive.camera.width}x{drive.camera.height}",
        "fov_x_deg": round(drive.camera.fov_x_deg, 1),
        "fx": drive.camera.fx,
        "fy": drive.camera.fy,
        "conditions": list(drive.rendered),
        "images": images,
        "complete": all(count == len(drive) for count in images.values()),
    }


def _first_condition(folder: Path) -> str:
    """Returns a condition that the drive has; the reader itself explains what is wrong."""
    try:
        rendered = json.loads((folder / "drive.json").read_text(encoding="utf-8"))["conditions"]
        return str(rendered[0])
    except (ValueError, KeyError, IndexError, TypeError):
        return "day-clear"


def _checkpoint(path: Path) -> dict[str, Any]:
    try:
        from rosam_core.checkpoint import load_checkpoint
    except ImportError as error:
        raise ValueError(
            f"reading {path} needs torch: in a checkout, pip install -c constraints.txt '.[train]'"
        ) from error
    state = load_checkpoint(path)
    weights = state.get("ema", {})  # the averaged student, which is what is exported
    facts = {
        "kind": "checkpoint",
        "path": str(path),
        "size_mb": round(path.stat().st_size / 1e6, 2),
        "parameters": sum(
            weight.numel()
            for name, weight in weights.items()
            if name.endswith(("weight", "bias"))  # not the statistics of batch norms
        ),
    }
    plain = ("step", "elapsed_s", "best", "focal_range", "validation", "commit", "recipe")
    return {**facts, **{name: state[name] for name in plain if name in state}}


def _lines(facts: dict[str, Any], indent: str = "") -> list[str]:
    """Returns facts as aligned text."""
    lines = []
    width = max((len(name) for name in facts), default=0)
    for name, value in facts.items():
        if isinstance(value, dict) and value:
            lines += [f"{indent}{name}:", *_lines(value, indent + "  ")]
        elif isinstance(value, list | tuple) and any(isinstance(item, dict) for item in value):
            for item in value:
                lines += [f"{indent}{name}:", *_lines(item, indent + "  ")]
        elif isinstance(value, str) and "\n" in value.strip():
            lines += [f"{indent}{name}:", *(f"{indent}  {x}" for x in value.strip().split("\n"))]
        else:
            shown = ", ".join(map(str, value)) if isinstance(value, list | tuple) else value
            lines.append(f"{indent}{name:<{width}}  {shown}")
    return lines
