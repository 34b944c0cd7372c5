"""Gives a model file another confidence temperature, and its card with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from rosam_core.engines.contract import load_card
from rosam_core.engines.model_files import replaced_model
from rosam_core.engines.parity import probe_images
from rosam_core.types import ModelCard, card_path, file_sha256

EXPONENT = "rosam_confidence_exponent"
UNCALIBRATED = "rosam_confidence_uncalibrated"
TOLERANCE = 1e-5


def recalibrate(model: Path, factor: float, output: Path, results: Mapping[str, Any]) -> ModelCard:
    """Writes a model whose Laplace scale b is `factor` times that of another, and its card.

    `1 - exp(-ln 1.25 / (t b))` equals `1 - (1 - c)^(1/t)`: three operations behind the confidence
    of any model file, quantised ones included. Depth stays as it is, bit for bit, which is
    checked. Sections of the card that name the file they measured are left out of the new card:
    their confidence was another.

    Args:
        model: The ONNX file; its card lies beside it.
        factor: Of b, > 0.
        output: The new ONNX file; may be `model`.
        results: Section `calibration` of the new card.

    Raises:
        FileNotFoundError: The model or its card is not there.
        ValueError: The new file does not compute what it should.
    """
    if output.suffix != ".onnx":
        raise ValueError(f"the model file must end in .onnx, got {output.name}")
    card = load_card(model)
    graph = onnx.load(str(model))
    set_factor(graph, factor)
    with replaced_model(output) as temporary:
        onnx.checker.check_model(graph)
        onnx.save(graph, str(temporary))
        _verify(model, temporary, factor, (card.input_width, card.input_height))
        kept = {
            name: section
            for name, section in card.results.items()
            if not (isinstance(section, Mapping) and "sha256" in section)
        }
        is_another = output.resolve() != model.resolve()
        updated = dataclasses.replace(
            card,
            name=output.stem if is_another else card.name,
            confidence_temperature=card.confidence_temperature * factor,
            sha256=file_sha256(temporary),
            results={**kept, "calibration": dict(results)},
        )
        card_path(temporary).write_text(updated.to_json(), encoding="utf-8")
    return updated


def set_factor(model: onnx.ModelProto, factor: float) -> None:
    """Multiplies the b of a model by a factor, in place; done twice, the factors multiply.

    Args:
        model: With an output `confidence`.
        factor: > 0.
    """
    graph = model.graph
    for tensor in graph.initializer:
        if tensor.name == EXPONENT:
            exponent = numpy_helper.to_array(tensor) / np.float32(factor)
            tensor.CopyFrom(numpy_helper.from_array(exponent.astype(np.float32), EXPONENT))
            return
    for node in graph.node:
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                if name == "confidence":
                    names[i] = UNCALIBRATED
    one, complement, power = "rosam_one", "rosam_doubt", "rosam_doubt_calibrated"
    graph.initializer.extend(
        [
            helper.make_tensor(one, TensorProto.FLOAT, [], [1.0]),
            helper.make_tensor(EXPONENT, TensorProto.FLOAT, [], [1 / factor]),
        ]
    )
    graph.node.extend(
        [
            helper.make_node("Sub", [one, UNCALIBRATED], [complement], "calibrate_doubt"),
            helper.make_node("Pow", [complement, EXPONENT], [power], "calibrate_power"),
            helper.make_node("Sub", [one, power], ["confidence"], "calibrate_confidence"),
        ]
    )


def _verify(before: Path, after: Path, factor: float, size: tuple[int, int]) -> None:
    """Refuses a file whose depth changed or whose confidence is not the formula's."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    pictures = probe_images(size)[:2]
    depths, confidences = [], []
    for path in (before, after):
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        depth, confidence = session.run(["depth", "confidence"], {"image": pictures})
        depths.append(depth)
        confidences.append(confidence.astype(np.float64))
    expected = 1 - (1 - confidences[0]) ** (1 / factor)
    error = float(np.abs(confidences[1] - expected).max())
    if not np.array_equal(*depths) or not error <= TOLERANCE:
        raise ValueError(f"calibration refused: the new file is off by {error:.1e} in confidence")
