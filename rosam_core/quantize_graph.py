"""Edits of an ONNX graph that make a network 8-bit: folding, equalisation, Q/DQ pairs.

Written out here, because the tools at hand cannot write what TensorRT reads: NNCF refuses signed
symmetric activations for its generic target (and reports its use over the network unless told
not to), and ONNX Runtime's quantiser, told to be symmetric, parts convolutions from their ReLU.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from rosam_core.quantize_ranges import Observation

LEVELS = 127
"""Signed symmetric 8 bits: -127 to 127, zero point 0, the only form that TensorRT takes."""

Array = npt.NDArray[np.float32]


class Graph:
    """An ONNX graph with what the edits look up, made again after each of them."""

    def __init__(self, model: ModelProto) -> None:
        self.model = model
        self.nodes = model.graph.node
        self.weights = {tensor.name: tensor for tensor in model.graph.initializer}
        self.makers = {name: node for node in self.nodes for name in node.output}
        self.users: dict[str, list[NodeProto]] = {}
        for node in self.nodes:
            for name in node.input:
                self.users.setdefault(name, []).append(node)
        self.outputs = {output.name for output in model.graph.output}

    def value(self, name: str) -> Array:
        """Returns a weight as numpy."""
        return np.asarray(numpy_helper.to_array(self.weights[name]))

    def set_value(self, name: str, values: npt.NDArray[np.generic]) -> None:
        """Replaces or adds a weight."""
        tensor = numpy_helper.from_array(np.ascontiguousarray(values), name)
        if name in self.weights:
            self.weights[name].CopyFrom(tensor)
        else:
            self.model.graph.initializer.append(tensor)
            self.weights[name] = self.model.graph.initializer[-1]

    def layers(self) -> list[NodeProto]:
        """Returns the convolutions with constant weights, in the order they run."""
        return [n for n in self.nodes if n.op_type == "Conv" and n.input[1] in self.weights]


def equalise(model: ModelProto, seen: Mapping[str, Observation]) -> None:
    """Balances the channels between convolutions, in place; the network computes the same.

    A channel c that a convolution (and a ReLU, for which f(s x) = s f(x), s > 0) hands to one
    other convolution is divided by s_c and that one's weights multiplied by it: cross-layer
    equalisation (Nagel et al., Data-free quantization, ICCV 2019, eq. 7 to 11), with the largest
    activation in place of the weights' of the first layer, as 8 bits per channel already adapt
    to these. Where the second is depthwise its weights adapt, too, and channels become equal.

    Args:
        model: With batch norms folded.
        seen: What `observe` saw of the inputs of the convolutions.
    """
    graph = Graph(model)
    for second in graph.layers():
        name = second.input[0]
        activation = graph.makers.get(name)
        first = activation
        if activation is not None and activation.op_type == "Relu":
            first = graph.makers.get(activation.input[0])
            if len(graph.users[activation.input[0]]) != 1:
                continue
        alone = len(graph.users[name]) == 1 and name not in graph.outputs
        if first is None or first.op_type != "Conv" or not alone or name not in seen:
            continue
        weight, following = graph.value(first.input[1]), graph.value(second.input[1])
        largest = seen[name].channel_max
        if following.shape[1] == 1 and len(following) == len(largest):  # depthwise
            factor = largest.copy()
        elif following.shape[1] == len(largest):
            axes = (0, *range(2, following.ndim))
            factor = np.sqrt(largest / np.maximum(np.abs(following).max(axis=axes), 1e-9))
        else:
            continue
        # Silent channels, and those far below the others, are not blown up into noise.
        factor = np.maximum(factor, 1e-2 * factor.max())
        if not factor.min() > 0:
            continue
        factor = (factor / np.exp(np.mean(np.log(factor)))).astype(np.float32)
        column = factor.reshape(-1, *[1] * (weight.ndim - 1))
        bias = graph.value(first.input[2]) if len(first.input) > 2 else 0 * factor
        _give_own_weights(graph, first, weight / column, bias / factor)
        depthwise = following.shape[1] == 1 and len(following) == len(largest)
        scaled = following * (column if depthwise else factor.reshape(1, -1, 1, 1))
        own_bias = graph.value(second.input[2]) if len(second.input) > 2 else None
        _give_own_weights(graph, second, scaled, own_bias)


def insert_pairs(
    model: ModelProto, seen: Mapping[str, Observation], layers: Collection[str]
) -> ModelProto:
    """Returns a copy in which some convolutions read 8-bit inputs and weights.

    Their input passes QuantizeLinear and DequantizeLinear with one scale; their weights are
    stored in 8 bits with a scale for each output channel; their bias stays float32, less the mean
    error that the rounded weights make of the mean input (Nagel et al., section 4.2). Engines
    fuse each such pair with the convolution; one that does not computes the same in float.

    Args:
        model: With batch norms folded.
        seen: What `observe` saw of the inputs of the convolutions.
        layers: Names of the convolutions.
    """
    paired = ModelProto()
    paired.CopyFrom(model)
    graph = Graph(paired)
    rewired: dict[str, str] = {}
    added: dict[str, list[NodeProto]] = {}
    zero = "quantized.zero"
    graph.set_value(zero, np.zeros((), np.int8))
    for conv in [node for node in graph.layers() if node.name in layers]:
        source = conv.input[0]
        observed = seen[source]
        if source not in rewired:
            scale, rewired[source] = f"{source}.scale", f"{source}.dequantized"
            graph.set_value(scale, np.float32(observed.scale))
            added[source] = [
                helper.make_node(
                    "QuantizeLinear",
                    [source, scale, zero],
                    [f"{source}.quantized"],
                    f"{source}.quantize",
                ),
                helper.make_node(
                    "DequantizeLinear",
                    [f"{source}.quantized", scale, zero],
                    [rewired[source]],
                    f"{source}.dequantize",
                ),
            ]
        weight = graph.value(conv.input[1])
        rows = weight.reshape(len(weight), -1)
        scales = np.maximum(np.abs(rows).max(axis=1), 1e-12) / LEVELS
        column = scales.reshape(-1, *[1] * (weight.ndim - 1)).astype(np.float32)
        integers = np.clip(np.rint(weight / column), -LEVELS, LEVELS).astype(np.int8)
        error = ((integers * column - weight).reshape(*weight.shape[:2], -1)).sum(axis=2)
        bias = graph.value(conv.input[2]) if len(conv.input) > 2 else 0 * scales
        own = f"{conv.name}.weight"
        graph.set_value(f"{own}.integers", integers)
        graph.set_value(f"{own}.scales", scales.astype(np.float32))
        graph.set_value(f"{own}.zeros", np.zeros(len(scales), np.int8))
        graph.set_value(
            f"{conv.name}.bias", (bias - _response(error, observed.mean)).astype(np.float32)
        )
        added.setdefault(f"weights of {conv.name}", []).append(
            helper.make_node(
                "DequantizeLinear",
                [f"{own}.integers", f"{own}.scales", f"{own}.zeros"],
                [own],
                f"{own}.dequantize",
                axis=0,
            )
        )
        del conv.input[:]
        conv.input.extend([rewired[source], own, f"{conv.name}.bias"])
    ordered: list[NodeProto] = []
    for node in paired.graph.node:
        ordered += added.pop(f"weights of {node.name}", [])
        ordered.append(node)
        for name in node.output:
            ordered += added.pop(name, [])
    begin = [node for nodes in added.values() for node in nodes]  # of the graph's own inputs
    del paired.graph.node[:]
    paired.graph.node.extend([*begin, *ordered])
    del paired.graph.value_info[:]
    drop_unused_weights(paired)
    return paired


def _response(error: Array, mean: Array) -> Array:
    """Returns what a weight error [out, in of its group] makes of the mean input, by output."""
    per_group = error.shape[1]
    groups = len(mean) // per_group
    inputs = mean.reshape(groups, per_group).repeat(len(error) // groups, axis=0)
    return np.asarray((error * inputs).sum(axis=1))


def _give_own_weights(graph: Graph, conv: NodeProto, weight: Array, bias: Array | None) -> None:
    """Sets a convolution's weights under its own name: two may have shared them."""
    names = [f"{conv.name}.float_weight", f"{conv.name}.float_bias"]
    graph.set_value(names[0], weight.astype(np.float32))
    inputs = [conv.input[0], names[0]]
    if bias is not None:
        graph.set_value(names[1], bias.astype(np.float32))
        inputs.append(names[1])
    del conv.input[:]
    conv.input.extend(inputs)


def drop_unused_weights(model: ModelProto) -> None:
    """Removes weights that no node reads.

    Args:
        model: Changed in place.
    """
    used = {name for node in model.graph.node for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
    copies = []
    for tensor in kept:
        copy = TensorProto()
        copy.CopyFrom(tensor)
        copies.append(copy)
    del model.graph.initializer[:]
    model.graph.initializer.extend(copies)
