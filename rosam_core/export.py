"""From a checkpoint to the model file of the contract: ONNX and its card, verified."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import onnxscript.ir
import onnxscript.optimizer
import torch
from torch import Tensor, nn

from rosam_core.checkpoint import (
    LICENCE,
    WEIGHT_PREFIX,
    load_checkpoint,
    load_student_weights,
)
from rosam_core.config import from_mapping
from rosam_core.engines.contract import load_card
from rosam_core.engines.model_files import replaced_model
from rosam_core.engines.parity import probe_images
from rosam_core.models import create_model
from rosam_core.recipe import Recipe
from rosam_core.types import ModelCard, card_path, file_sha256

log = logging.getLogger(__name__)

OPSET = 18
DEPTH_TOLERANCE = 1e-3  # relative
CONFIDENCE_TOLERANCE = 1e-3  # absolute
LOG_RATIO = math.log(1.25)


class DeployedStudent(nn.Module):
    """A student as the model file states it: uint8 NHWC in, depth and confidence out.

    Args:
        student: A model of `rosam_core.models`.
        temperature: Factor of the Laplace scale b.
    """

    def __init__(self, student: nn.Module, temperature: float = 1.0) -> None:
        super().__init__()
        self.student = student
        self.temperature = temperature

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Maps uint8[n,h,w,3] to depth [m] and confidence, float32[n,1,h,w].

        Confidence is P(|log d - log d*| < log 1.25) = 1 - exp(-log 1.25 / b) of a Laplace error.
        """
        # Cast before anything else: TensorRT takes bytes into a cast only.
        output = self.student(image.float().permute(0, 3, 1, 2) / 255.0)
        depth = 1.0 / output["inverse_depth"]
        b = torch.exp(output["log_b"]) * self.temperature
        return depth, 1.0 - torch.exp(-LOG_RATIO / b)


@dataclasses.dataclass(frozen=True)
class TrainedStudent:
    """A checkpoint, opened: its averaged weights in evaluation mode and what it says of them."""

    student: nn.Module
    recipe: Recipe
    step: int
    commit: str
    focal_range: tuple[float, float]
    validation: Mapping[str, Any]
    is_metric: bool
    licence: str
    training_data: str
    card: ModelCard | None = None
    averaged: str = ""


def load_student(checkpoint: str | Path) -> TrainedStudent:
    """Opens a checkpoint of `rosam train`, or a model that `rosam export` made of one.

    Raises:
        FileNotFoundError: There is no such file, or no card beside a model.
        ValueError: It is not a checkpoint or model of a student this version knows.
    """
    import yaml

    if Path(checkpoint).suffix == ".onnx":
        return _load_exported(Path(checkpoint))
    state = load_checkpoint(checkpoint)
    recipe = from_mapping(Recipe, yaml.safe_load(state["recipe"]))
    student = create_model(recipe.model.name)
    try:
        student.load_state_dict(state["ema"])
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{checkpoint} does not fit {recipe.model.name}: {reason}") from error
    low, high = state["focal_range"]
    return TrainedStudent(
        student.eval(),
        recipe,
        int(state["step"]),
        str(state["commit"]),
        (float(low), float(high)),
        state["validation"],
        bool(state.get("is_metric", True)),
        str(state.get("licence", LICENCE)),
        str(state.get("origin") or _trained_on(recipe)),
        averaged=str(state.get("averaged", "")),
    )


def _load_exported(model: Path) -> TrainedStudent:
    card = load_card(model)
    made_from = card.results.get("quantization", {}).get("made_from")
    if made_from:
        raise ValueError(
            f"{model} is an 8-bit model: export the float one that it was made from, "
            f"{made_from['name']} ({str(made_from['sha256'])[:12]}), and quantise that again"
        )
    values = {
        "model": {"name": card.architecture},
        "data": {
            "width": card.input_width,
            "height": card.input_height,
            "canonical_focal_px": card.training_focal_px,
            "min_depth_m": card.min_depth_m,
            "max_depth_m": card.max_depth_m,
            "val_drives": None,
        },
    }
    recipe = from_mapping(Recipe, values)
    student = create_model(card.architecture)
    load_student_weights(student, model)
    trained = card.results.get("training", {})
    return TrainedStudent(
        student.eval(),
        recipe,
        int(trained.get("step", 0)),
        str(trained.get("commit", "unknown")),
        card.focal_range_px,
        trained.get("validation", {}),
        card.is_metric,
        card.licence,
        card.training_data,
        card,
    )


def export_checkpoint(
    checkpoint: str | Path,
    output: str | Path,
    size: tuple[int, int] | None = None,
    temperature: float | None = None,
    results: Mapping[str, Any] | None = None,
    name: str | None = None,
    licence: str | None = None,
    training_data: str | None = None,
) -> ModelCard:
    """Writes `model.onnx` and `model.json`; leaves neither if they do not hold.

    Args:
        checkpoint: `best.pt` or `last.pt` of `rosam train`, or an exported ONNX file, whose card
            then says what is not given here.
        output: The ONNX file.
        size: Network width and height [px], multiples of 32; the training size if None.
        temperature: Factor of b, fitted on a validation drive; it is baked into the graph. 1, or
            that of the exported file, if None.
        results: Measured figures for the card.
        name: Name on the card; that of the file if None.
        licence: SPDX expression of the weights; that of the checkpoint if None: Apache-2.0, or
            what those have that it started from.
        training_data: In words; the drives' name, the method and what it started from if None.

    Raises:
        ValueError: A wrong size or temperature, or ONNX Runtime does not equal torch.
    """
    output = Path(output)
    if output.suffix != ".onnx":
        raise ValueError(f"the model file must end in .onnx, got {output.name}")
    trained = load_student(checkpoint)
    data, former = trained.recipe.data, trained.card
    if temperature is None:
        temperature = former.confidence_temperature if former else 1.0
    training: dict[str, Any] = {
        "step": trained.step,
        "commit": trained.commit,
        "size": f"{data.width}x{data.height}",
        "validation": _plain(trained.validation),
        **({"averaged": trained.averaged} if trained.averaged else {}),
    }
    if former:
        training = {**former.results.get("training", {}), "resized_from": former.sha256}
    width, height = size or (data.width, data.height)
    if width % 32 or height % 32 or min(width, height) < 64:
        raise ValueError(f"network size must be multiples of 32, at least 64: {width}x{height}")
    if not 0 < temperature < math.inf:
        raise ValueError(f"confidence temperature must be positive, got {temperature}")
    with replaced_model(output) as temporary:
        write_onnx(DeployedStudent(trained.student, temperature), temporary, (width, height))
        checks = compare_with_torch(
            temporary, DeployedStudent(trained.student, temperature), (width, height)
        )
        card = ModelCard(
            name=name or output.stem,
            architecture=trained.recipe.model.name,
            input_width=width,
            input_height=height,
            training_focal_px=data.canonical_focal_px,
            focal_range_px=trained.focal_range,
            min_depth_m=data.min_depth_m,
            max_depth_m=data.max_depth_m,
            is_metric=trained.is_metric,
            confidence_temperature=temperature,
            sha256=file_sha256(temporary),
            licence=licence or trained.licence,
            training_data=training_data or trained.training_data,
            results={
                "export": checks,
                "training": training,
                **_plain(results or {}),
            },
        )
        card_path(temporary).write_text(card.to_json(), encoding="utf-8")
    return card


def _trained_on(recipe: Recipe) -> str:
    options = recipe.rosam_depth if recipe.method == "rosam_depth" else recipe.adaptation
    learns_alone = recipe.method in ("supervised", "self_supervised")
    start = recipe.model.init or (None if learns_alone else options.teacher)
    # Without folders: a card goes out with the model, and whose machine it was is nobody's matter.
    origin = f" from {Path(start).parent.name}/{Path(start).name}" if start else ""
    if recipe.method == "supervised":
        return f"synthetic drives of `rosam synth`{origin}"
    return f"{Path(recipe.data.drives).name}, by {recipe.method}{origin}"


def write_onnx(model: nn.Module, path: Path, size: tuple[int, int]) -> None:
    """Writes a deployed student as one ONNX file of opset 18 with a dynamic batch.

    Every weight keeps its name, so that training can start from the file; the engines fold the
    batch norms when they load it.

    Args:
        model: A `DeployedStudent`, in evaluation mode.
        path: Where.
        size: Network width and height [px].
    """
    example = torch.randint(0, 256, (2, size[1], size[0], 3), dtype=torch.uint8)
    quiet = contextlib.redirect_stdout(None)  # the exporter prints its progress
    with warnings.catch_warnings(), quiet, torch.no_grad():
        warnings.simplefilter("ignore")
        # It logs a warning for each operator of torchvision, which no student uses.
        logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)
        torch.onnx.export(
            model.eval(),
            (example,),
            str(path),
            input_names=["image"],
            output_names=["depth", "confidence"],
            opset_version=OPSET,
            dynamo=True,
            optimize=False,  # would fold batch norms into weights that no training starts from
            external_data=False,
            dynamic_shapes={"image": {0: torch.export.Dim("batch", min=1, max=64)}},
            verbose=False,
        )
        graph = onnxscript.ir.load(path)
        onnxscript.optimizer.fold_constants(graph, should_fold=_keep_weights)
        onnxscript.optimizer.remove_unused_nodes(graph)
        _forget_where_it_was_made(graph)
        onnxscript.ir.save(graph, path)
    onnx.checker.check_model(str(path))


def _forget_where_it_was_made(model: onnxscript.ir.Model) -> None:
    """Takes the exporter's notes off a model: they name the folders of the code, line by line."""
    graph = model.graph
    values = [*graph.inputs, *graph.initializers.values()]
    values += [value for node in graph for value in node.outputs]
    for noted in (model, graph, *graph, *values):
        noted.metadata_props.clear()


def _keep_weights(node: onnxscript.ir.Node) -> bool | None:
    """Returns that no operation on a weight is folded, or its name would go; None: as ever."""
    names = [value.name for value in node.inputs if value is not None and value.is_initializer()]
    return False if any(str(name).startswith(WEIGHT_PREFIX) for name in names) else None


def compare_with_torch(
    path: Path, model: nn.Module, size: tuple[int, int]
) -> dict[str, float | int]:
    """Runs ONNX Runtime and torch on the same pictures, one and three at a time.

    Returns:
        `depth_error` (largest, relative), `confidence_error` (largest, absolute), `images`.

    Raises:
        ValueError: They differ by more than the tolerances.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    depth_error, confidence_error, images = 0.0, 0.0, 0
    pictures = probe_images(size)
    for batch in (pictures[:1], pictures[1:4], pictures[4:5], pictures[5:8]):
        depth, confidence = session.run(["depth", "confidence"], {"image": batch})
        with torch.no_grad():
            true_depth, true_confidence = (t.numpy() for t in model(torch.from_numpy(batch)))
        if depth.shape != true_depth.shape:
            raise ValueError(f"export: depth is {depth.shape}, expected {true_depth.shape}")
        depth_error = max(depth_error, float(np.max(np.abs(depth - true_depth) / true_depth)))
        confidence_error = max(
            confidence_error, float(np.max(np.abs(confidence - true_confidence)))
        )
        images += len(batch)
    # Written so that NaN fails too.
    if not (depth_error <= DEPTH_TOLERANCE and confidence_error <= CONFIDENCE_TOLERANCE):
        raise ValueError(
            f"export refused: ONNX Runtime differs from torch by {depth_error:.2e} (relative "
            f"depth, limit {DEPTH_TOLERANCE}) and {confidence_error:.2e} (confidence, limit "
            f"{CONFIDENCE_TOLERANCE})"
        )
    return {"depth_error": depth_error, "confidence_error": confidence_error, "images": images}


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns values as JSON can state them."""
    plain: dict[str, Any] = json.loads(json.dumps(values))
    return plain
