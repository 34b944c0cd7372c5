"""Things several tests need: a tiny model that keeps the model contract, made without torch."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import subprocess
import sys
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rosam_core.engines.base import DepthEngine
from rosam_core.engines.contract import load_card
from rosam_core.engines.registry import default_model_path
from rosam_core.types import ModelCard, card_path, file_sha256


def write_tiny_model(
    folder: str | Path,
    width: int = 64,
    height: int = 48,
    *,
    name: str = "tiny",
    batch: str | int = "batch",
    input_name: str = "image",
    input_type: str = "uint8",
    output_names: tuple[str, ...] = ("depth", "confidence"),
    output_type: str = "float32",
    channels_last_output: bool = False,
    products: int = 0,
    **card: Any,
) -> Path:
    """Writes `<name>.onnx` and its card into `folder`.

    With m the mean of a pixel's three bytes, the network answers depth = 2 + m / 10 [m] and
    confidence = 1 - m / 510, so every value can be worked out by hand: black gives 2 m with
    confidence 1, white 27.5 m with 0.5. The card says focal length 64 px, seen 32 to 128 px,
    depth 0.1 to 80 m.

    Args:
        folder: Made if absent.
        width: Network input width [px].
        height: Network input height [px].
        name: Stem of both files.
        batch: Batch dimension; an int makes a model that breaks the contract.
        input_name: Name of the input; another than `image` breaks the contract.
        input_type: `uint8`, or `float32` to break the contract.
        output_names: Names of the outputs; others break the contract.
        output_type: `float32`, or `float64` to break the contract.
        channels_last_output: NHWC outputs, which break the contract.
        products: So many products of 1,500 x 1,500 matrices on the way, of no effect: a network
            that takes its time, about 0.1 s of a core each.
        card: Card fields to write in place of the defaults.

    Returns:
        Path of the ONNX file.
    """
    import onnx
    from onnx import TensorProto, helper

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    types = {
        "uint8": TensorProto.UINT8,
        "float32": TensorProto.FLOAT,
        "float64": TensorProto.DOUBLE,
    }

    def scalar(label: str, value: float) -> Any:
        return onnx.numpy_helper.from_array(np.array(value, np.float32), label)

    constants = [
        onnx.numpy_helper.from_array(np.array([3], np.int64), "axes"),
        scalar("ten", 10.0),
        scalar("two", 2.0),
        scalar("minus510", -510.0),
        scalar("one", 1.0),
    ]
    permutation = [0, 1, 2, 3] if channels_last_output else [0, 3, 1, 2]
    nodes = [
        helper.make_node("Cast", [input_name], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats", "axes"], ["mean_last"], keepdims=1),
        helper.make_node("Transpose", ["mean_last"], ["mean"], perm=permutation),
        helper.make_node("Div", ["mean", "ten"], ["tenth"]),
        helper.make_node("Add", ["tenth", "two"], ["raw0"]),
        helper.make_node("Div", ["mean", "minus510"], ["doubt"]),
        helper.make_node("Add", ["doubt", "one"], ["raw1"]),
    ]
    if products:
        constants.append(
            onnx.numpy_helper.from_array(np.full((1500, 1500), 1 / 1500, np.float32), "matrix")
        )
        constants.append(scalar("zero", 0.0))
        # Through the input, or they would be computed once, when the model is loaded.
        nodes += [
            helper.make_node("ReduceMean", ["mean"], ["level"], keepdims=0),
            helper.make_node("Mul", ["level", "zero"], ["nothing"]),
            helper.make_node("Add", ["matrix", "nothing"], ["product0"]),
        ]
        for i in range(products):
            factors = [f"product{i}", "matrix"]
            nodes.append(helper.make_node("MatMul", factors, [f"product{i + 1}"]))
        nodes[4].output[0] = "quick0"  # see raw0 above
        nodes += [
            helper.make_node("ReduceMean", [f"product{products}"], ["end"], keepdims=0),
            helper.make_node("Mul", ["end", "zero"], ["still_nothing"]),
            helper.make_node("Add", ["quick0", "still_nothing"], ["raw0"]),
        ]
    size = [batch, height, width, 1] if channels_last_output else [batch, 1, height, width]
    outputs = []
    for index, label in enumerate(output_names):
        nodes.append(
            helper.make_node("Cast", [f"raw{min(index, 1)}"], [label], to=types[output_type])
        )
        outputs.append(helper.make_tensor_value_info(label, types[output_type], size))
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info(input_name, types[input_type], [batch, height, width, 3])],
        outputs,
        constants,
    )
    # IR 10 and opset 18 are read by every ONNX Runtime since 1.18, whichever onnx wrote them.
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(proto)
    path = folder / f"{name}.onnx"
    path.write_bytes(proto.SerializeToString())
    fields: dict[str, Any] = {
        "name": name,
        "architecture": "tiny",
        "input_width": width,
        "input_height": height,
        "training_focal_px": 64.0,
        "focal_range_px": (32.0, 128.0),
        "min_depth_m": 0.1,
        "max_depth_m": 80.0,
        "is_metric": True,
        "confidence_temperature": 1.0,
        "sha256": file_sha256(path),
        "licence": "Apache-2.0",
        "training_data": "none: arithmetic for tests",
    }
    written = dataclasses.replace(ModelCard(**fields), **card)
    card_path(path).write_text(written.to_json(), encoding="utf-8")
    return path


ONE_SCENE: Any = types.SimpleNamespace(scene=lambda index: "scene-1")
"""As much of a drive as what reads saved depth asks."""


def ground_picture(height_m: float) -> np.ndarray:
    """Returns uint8[48,64,3], in which the tiny model sees a level ground so far below [m].

    Its camera has the focal length of the model, 64 px; above the ground all is 27.5 m away.
    """
    rows = np.arange(48)
    depth = np.minimum(height_m * 64 / np.maximum(rows - 23.5, 0.1), 27.5)
    level = np.clip(np.rint(10 * (depth - 2)), 0, 255).astype(np.uint8)
    return np.repeat(np.repeat(level[:, None, None], 64, 1), 3, 2)


def packaged_size() -> tuple[int, int]:
    """Returns width and height of the packaged student's input [px]."""
    card = load_card(default_model_path())
    return card.input_width, card.input_height


def expect_values_by_hand(engine: DepthEngine) -> None:
    """Asserts what an engine makes of two pictures with the model of `write_tiny_model`."""
    images = np.zeros((2, 48, 64, 3), np.uint8)
    images[1] = 255
    images[1, 3, 5] = (30, 60, 90)
    depth, confidence = engine.infer(images)
    assert depth.shape == confidence.shape == (2, 48, 64)
    assert depth.dtype == confidence.dtype == np.float32
    assert (depth[0] == 2.0).all()
    assert (confidence[0] == 1.0).all()
    assert depth[1, 3, 5] == pytest.approx(8.0)
    assert confidence[1, 3, 5] == pytest.approx(1 - 60 / 510)
    assert depth[1, 5, 3] == pytest.approx(27.5)


def leaving(path: Path, age_s: float = 120) -> Path:
    """Writes what a killed process leaves: half a file, some time ago."""
    path.write_bytes(b"half")
    written = time.time() - age_s
    os.utime(path, (written, written))
    return path


CLAIMING = """
import sys, time
from pathlib import Path
from rosam_core.whole_file import claim
claimed = claim(Path(sys.argv[1]))
print("claimed", flush=True)
time.sleep(60)
"""


@contextlib.contextmanager
def claimed_by_another(path: Path) -> Iterator[None]:
    """Another process has claimed a file; at the end it is killed."""
    command = [sys.executable, "-c", CLAIMING, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
        try:
            assert owner.stdout is not None
            assert owner.stdout.readline() == "claimed\n"
            yield
        finally:
            owner.kill()
