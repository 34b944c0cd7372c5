"""A small convolutional student that keeps the model contract, made without torch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper
from support import write_tiny_model

from rosam_core.types import card_path, file_sha256

WIDTH, HEIGHT = 64, 48


def conv_network(seed: int = 0, uneven: float = 1.0) -> ModelProto:
    """Returns a network: stem, depthwise, pointwise (all with batch norm), residual, head.

    Args:
        seed: Of the weights.
        uneven: How many times larger the last channels of the stem are than the first.
    """
    rng = np.random.default_rng(seed)
    weights: dict[str, np.ndarray] = {"norm": np.float32(1 / 255), "two": np.float32(2)}
    nodes = [
        helper.make_node("Transpose", ["image"], ["nchw"], "to_nchw", perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["nchw"], ["float"], "to_float", to=TensorProto.FLOAT),
        helper.make_node("Mul", ["float", "norm"], ["x"], "norm"),
    ]

    def conv(name: str, source: str, outs: int, ins: int, group: int = 1, size: int = 3) -> str:
        fan = ins // group * size * size
        shape = (outs, ins // group, size, size)
        weights[f"{name}.w"] = rng.normal(0, (2 / fan) ** 0.5, shape).astype(np.float32)
        nodes.append(
            helper.make_node(
                "Conv",
                [source, f"{name}.w"],
                [f"{name}.y"],
                name,
                group=group,
                pads=[size // 2] * 4,
            )
        )
        for part, values in {
            "gain": rng.uniform(0.8, 1.2, outs)
            * (np.geomspace(1, uneven, outs) if name == "stem" else 1),
            "shift": rng.normal(0, 0.1, outs),
            "mean": rng.normal(0, 0.1, outs),
            "var": rng.uniform(0.5, 1.5, outs),
        }.items():
            weights[f"{name}.{part}"] = np.asarray(values, np.float32)
        norm = [f"{name}.y", *(f"{name}.{p}" for p in ("gain", "shift", "mean", "var"))]
        nodes.append(
            helper.make_node(
                "BatchNormalization", norm, [f"{name}.n"], f"{name}.norm", epsilon=1e-3
            )
        )
        nodes.append(helper.make_node("Relu", [f"{name}.n"], [f"{name}.r"], f"{name}.relu"))
        return f"{name}.r"

    deep = conv("pointwise", conv("depthwise", conv("stem", "x", 8, 3), 8, 8, 8), 8, 8, 1, 1)
    nodes.append(helper.make_node("Add", [deep, "stem.r"], ["sum"], "residual"))
    weights["head.w"] = rng.normal(0, 0.1, (2, 8, 1, 1)).astype(np.float32)
    weights["head.b"] = np.array([0.5, 0.5], np.float32)
    weights["channels"] = np.array([1, 1], np.int64)
    nodes += [
        helper.make_node("Conv", ["sum", "head.w", "head.b"], ["raw"], "head"),
        helper.make_node("Split", ["raw", "channels"], ["a", "b"], "split", axis=1),
        helper.make_node("Softplus", ["a"], ["positive"], "positive"),
        helper.make_node("Add", ["positive", "two"], ["depth"], "depth"),
        helper.make_node("Sigmoid", ["b"], ["confidence"], "confidence"),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", HEIGHT, WIDTH, 3])
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 1, HEIGHT, WIDTH])
        for name in ("depth", "confidence")
    ]
    tensors = [numpy_helper.from_array(np.asarray(v), k) for k, v in weights.items()]
    graph = helper.make_graph(nodes, "small", [image], outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    return model


def write_conv_model(folder: Path, name: str = "small", seed: int = 0) -> Path:
    """Writes `conv_network` and a card for it."""
    path = write_tiny_model(folder, WIDTH, HEIGHT, name=name, results={"day": {"abs_rel": 0.1}})
    onnx.save(conv_network(seed), str(path))
    card = json.loads(card_path(path).read_text())
    card_path(path).write_text(json.dumps({**card, "sha256": file_sha256(path)}))
    return path
