"""Checkpoints: written atomically, read without running code from the file."""

from __future__ import annotations

import dataclasses
import pickle
import subprocess
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from rosam_core.types import ModelCard, card_path
from rosam_core.whole_file import replaced

FORMAT = "rosam-checkpoint-1"

WEIGHT_PREFIX = "student."
"""How the names of weights in an exported model start."""

LICENCE = "Apache-2.0"
"""Of weights that were trained here, from nothing or from weights under the same licence."""


def save_checkpoint(path: str | Path, state: dict[str, Any]) -> None:
    """Writes a checkpoint so that a crash leaves either the old file or the new one.

    Args:
        path: Where; its folder exists.
        state: Tensors, numbers, text and containers of them.

    Raises:
        OSError: It cannot be written, such as for want of space.
    """
    path = Path(path)
    try:
        with replaced(path) as scratch, scratch.open("wb") as stream:
            torch.save({"format": FORMAT, **state}, stream)
    except RuntimeError as error:  # of torch's archive, while it closes what it could not write
        if not isinstance(error.__context__, OSError):
            raise
        reason = error.__context__
        raise OSError(reason.errno, reason.strerror, str(path)) from error


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Reads a checkpoint onto the CPU.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is not a checkpoint of ours, or truncated.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"no checkpoint at {path}; `rosam train` writes last.pt and best.pt"
        )
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # its text advises to run code from the file
        raise ValueError(
            f"{path} is not a readable checkpoint: no file of tensors that torch.save wrote"
        ) from error
    except (RuntimeError, EOFError, ValueError) as error:
        reason = str(error).split("\n", maxsplit=1)[0]
        raise ValueError(f"{path} is not a readable checkpoint: {reason}") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise ValueError(f"{path} is not a checkpoint of `rosam train` (expected {FORMAT})")
    return state


@dataclasses.dataclass(frozen=True)
class StudentFacts:
    """What has to be known of a student beside its weights.

    Attributes:
        canonical_focal_px: Focal length for which its output is metres [px].
        is_metric: Whether it predicts metres, not relative depth.
        licence: SPDX expression of its weights.
    """

    canonical_focal_px: float
    is_metric: bool
    licence: str


def student_facts(path: str | Path) -> StudentFacts:
    """Returns what has to be known of a student beside its weights.

    Args:
        path: A checkpoint of `rosam train`, or an exported ONNX file with its card.

    Raises:
        FileNotFoundError: There is no such file, or no card beside a model.
        ValueError: It is damaged.
    """
    path = Path(path)
    if path.suffix == ".onnx":
        card = ModelCard.load(card_path(path))
        return StudentFacts(card.training_focal_px, card.is_metric, card.licence)
    state = load_checkpoint(path)
    focal = float(yaml.safe_load(state["recipe"])["data"]["canonical_focal_px"])
    metric, licence = bool(state.get("is_metric", True)), str(state.get("licence", LICENCE))
    return StudentFacts(focal, metric, licence)


def load_student_weights(student: nn.Module, path: str | Path) -> None:
    """Starts a student from an earlier run, or from an exported model.

    Args:
        student: Of the same architecture; its weights are overwritten.
        path: A checkpoint of `rosam train`, whose averaged weights are taken, or the ONNX file
            that `rosam export` made of one. The heads that only training uses are not in an ONNX
            file and stay as they are.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged, or of another architecture.
    """
    path = Path(path)
    if path.suffix != ".onnx":
        weights = load_checkpoint(path)["ema"]
    elif not path.is_file():
        raise FileNotFoundError(f"no model at {path}; `rosam export` writes one")
    else:
        # The graph also holds constants, such as the normalisation of the input.
        weights = {k: v for k, v in _weights_of_onnx(path).items() if k in student.state_dict()}
    own = student.state_dict()
    optional: tuple[str, ...] = ()
    if path.suffix == ".onnx":
        optional = ("num_batches_tracked", *getattr(student, "training_only", ()))
    missing = [k for k in own if k not in weights and not any(part in k for part in optional)]
    wrong = [k for k, v in weights.items() if k not in own or v.shape != own[k].shape]
    if missing or wrong:
        raise ValueError(
            f"{path} does not hold the weights of this student: {len(missing)} missing, "
            f"{len(wrong)} that do not fit, such as {(missing + wrong)[0]}; is model.name right?"
        )
    student.load_state_dict(weights, strict=False)


def _weights_of_onnx(path: Path) -> dict[str, torch.Tensor]:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(str(path))
    except DecodeError as error:
        raise ValueError(f"{path} is not an ONNX file, or truncated") from error
    return {
        tensor.name.removeprefix(WEIGHT_PREFIX): torch.from_numpy(
            onnx.numpy_helper.to_array(tensor).copy()
        )
        for tensor in model.graph.initializer
        if tensor.name.startswith(WEIGHT_PREFIX)
    }


def git_commit() -> str:
    """Returns the commit of the source tree, with "+" for local changes, or "unknown"."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--abbrev=40"]
    try:
        run = subprocess.run(
            [*command, "--dirty=+", "--exclude=*"], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return run.stdout.strip() if run.returncode == 0 and run.stdout.strip() else "unknown"
