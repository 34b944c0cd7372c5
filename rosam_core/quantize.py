"""From a float model file to one of 8 bits for every engine, with what it costs in accuracy."""

from __future__ import annotations

import dataclasses
import logging
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from tqdm import tqdm

from rosam_core.drives.places import Place
from rosam_core.engines.contract import load_card
from rosam_core.engines.model_files import replaced_model
from rosam_core.engines.onnx_precision import fold
from rosam_core.quantize_check import Checked, compare, read_frames
from rosam_core.quantize_graph import Graph, equalise, insert_pairs
from rosam_core.quantize_ranges import Observation, observe
from rosam_core.types import Float32, ModelCard, UInt8, card_path, file_sha256

log = logging.getLogger(__name__)

RANKING_FRAMES = 6
FLOAT_SHARE = 0.5
"""At most this share of the layers stays in float; a model with more is not worth its name."""

MAX_LOSS = 0.02
"""Largest loss that is accepted: of AbsRel, relative, in every condition; without true depth, the
median relative difference of depth."""


@dataclasses.dataclass(frozen=True)
class Quantized:
    """What `quantize` did.

    Attributes:
        card: Of the new file.
        checked: Its accuracy beside that of the float model.
        float_layers: Convolutions that stayed in float32, in the order they run.
        layers: How many convolutions there are.
    """

    card: ModelCard
    checked: Checked
    float_layers: Sequence[str]
    layers: int


def quantize(
    model: Path,
    output: Path,
    calibration: Sequence[Place],
    check: Sequence[Place],
    *,
    max_loss: float = MAX_LOSS,
    keep_float: Collection[str] = (),
    engine: str = "onnx-cpu",
    threads: int = 0,
    about: Mapping[str, Any] | None = None,
) -> Quantized:
    """Writes an 8-bit model and its card, or neither if it is not accurate enough.

    Inputs and weights of all convolutions but the last become 8 bits. While the
    loss is above `max_loss`, the layers that hurt most on calibration frames go back to float:
    one, two more, four more, ... up to `FLOAT_SHARE` of all.

    Args:
        model: The float model; its card lies beside it.
        output: The ONNX file to write.
        calibration: Frames whose activations set the scales.
        check: Other frames, on which accuracy is compared.
        max_loss: See `MAX_LOSS`, as a fraction.
        keep_float: Names of convolutions that stay in float from the start.
        engine: Which engine compares the two.
        threads: CPU threads; 0 = every core.
        about: For the card: what the frames were.

    Raises:
        FileNotFoundError: The model or its card is not there.
        ValueError: The model is 8-bit already, there are no frames, or the loss stays too high.
    """
    if output.suffix != ".onnx":
        raise ValueError(f"the model file must end in .onnx, got {output.name}")
    if output.resolve() == model.resolve():
        raise ValueError(f"{output} is the float model itself: name another file with -o")
    card = load_card(model)
    source = onnx.load(str(model))
    if any(node.op_type == "DequantizeLinear" for node in source.graph.node):
        raise ValueError(f"{model} is 8-bit already: give the float model it was made from")
    places = {node.name: place for place, node in enumerate(source.graph.node)}
    layers = [node.name for node in Graph(fold(source)).layers()]
    names = sorted(layers, key=lambda name: places.get(name, len(places)))  # as they run
    if len(names) < 3 or len(set(names)) < len(names):
        raise ValueError(
            f"{model} has {len(names)} convolutions, {len(set(names))} names: need three or more, "
            "each with a name of its own"
        )
    if unknown := sorted(set(keep_float) - set(names)):
        raise ValueError(f"{model} has no convolution {', '.join(unknown)}: see its graph")
    pictures = read_frames(calibration, card, "calibrate")
    network, seen = prepare(source, pictures, threads)
    stays = {names[-1], *keep_float}
    order: list[str] = []
    with replaced_model(output) as temporary:
        step = 1
        while True:
            paired = insert_pairs(network, seen, set(names) - stays)
            paired.producer_name = "rosam quantize"
            onnx.checker.check_model(paired)
            onnx.save(paired, str(temporary))
            draft = _card(card, output, temporary, {})
            card_path(temporary).write_text(draft.to_json(), encoding="utf-8")
            checked = compare(model, temporary, check, engine, threads)
            if checked.loss <= max_loss:
                break
            order = order or rank_layers(network, seen, set(names) - stays, pictures, threads)
            if len(stays) + step > max(len(names) * FLOAT_SHARE, 2):
                raise ValueError(
                    f"refused: {checked.words()}; the limit is {max_loss:.1%}, and "
                    f"{len(stays)} of {len(names)} layers are in float already: calibrate with "
                    "more frames of every condition (--frames), or allow more with --max-loss"
                )
            log.info("%s: %d more layers stay in float", checked.words(), step)
            stays |= set(order[:step])
            order, step = order[step:], step * 2
        kept = [name for name in names if name in stays]
        details = {
            "precision": "int8",
            "made_from": {"name": card.name, "sha256": card.sha256},
            "calibration_frames": len(pictures),
            "layers": len(names),
            "float_layers": kept,
            "max_loss": max_loss,
            **checked.as_dict(),
            **(about or {}),
        }
        final = _card(card, output, temporary, details)
        card_path(temporary).write_text(final.to_json(), encoding="utf-8")
    return Quantized(final, checked, kept, len(names))


def prepare(
    source: onnx.ModelProto, pictures: UInt8, threads: int
) -> tuple[onnx.ModelProto, dict[str, Observation]]:
    """Returns the folded and equalised network, and what its layers see.

    Args:
        source: The float model.
        pictures: uint8[n,h,w,3], n > 0.
        threads: CPU threads; 0 = every core.
    """
    network = fold(source)
    some = pictures[:: max(1, len(pictures) // 32)]
    equalise(network, observe(network, _bar(some, "balance"), threads))
    return network, observe(network, _bar(pictures, "ranges"), threads)


def rank_layers(
    network: onnx.ModelProto,
    seen: Mapping[str, Observation],
    layers: Collection[str],
    pictures: UInt8,
    threads: int,
) -> list[str]:
    """Returns layers, that first which alone in 8 bits changes the depth most.

    Args:
        network: As from `prepare`.
        seen: As from `prepare`.
        layers: Names of convolutions.
        pictures: uint8[n,h,w,3]; a few of them are used.
        threads: CPU threads; 0 = every core.
    """
    few = pictures[:: max(1, len(pictures) // RANKING_FRAMES)][:RANKING_FRAMES]
    depth = _depth(network, few, threads)
    harm = {}
    for name in _bar(sorted(layers), "rank"):
        changed = _depth(insert_pairs(network, seen, [name]), few, threads)
        harm[name] = float(np.mean(np.abs(changed - depth) / depth))
    return sorted(harm, key=lambda name: -harm[name])


def _depth(network: onnx.ModelProto, pictures: UInt8, threads: int) -> Float32:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = ort.InferenceSession(
        network.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return np.concatenate([session.run(["depth"], {"image": one[None]})[0] for one in pictures])


def _card(card: ModelCard, output: Path, file: Path, details: Mapping[str, Any]) -> ModelCard:
    """Returns the card of the new file; of the old results only the training is its own."""
    kept = {name: card.results[name] for name in ("training",) if name in card.results}
    return dataclasses.replace(
        card,
        name=output.stem,
        sha256=file_sha256(file),
        results={**kept, "quantization": dict(details)},
    )


def _bar(items: Any, what: str) -> Any:
    return tqdm(items, desc=what, disable=None, file=sys.stderr, leave=False)
