"""A model file as TensorRT wants it: bytes cast first, precision written into the graph.

TensorRT networks are strongly typed here, so that 10.x, 11.x and TensorRT for RTX run the same
arithmetic: the types of the ONNX file are the types of the engine, nothing is chosen by flags.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import numpy as np

from rosam_core.engines.contract import INPUT_NAME

PRECISIONS = ("fp16", "int8", "fp32")
"""What `rosam engine build --precision` takes."""

PREPARATION = 2
"""Raised whenever this file changes what it writes: an engine of another number is stale."""

LARGEST_HALF = 65504.0

ModelProto: TypeAlias = Any  # onnx has no stubs that mypy reads
NodeProto: TypeAlias = Any

_ALWAYS_FLOAT = {"Resize": (1, 2)}  # roi and scales, whatever the type of the picture
_QUANTISATION = ("QuantizeLinear", "DequantizeLinear")


def prepare_model(model: Path, precision: str | None = None) -> tuple[bytes, str]:
    """Returns the ONNX that TensorRT gets, and its precision.

    Args:
        model: A model file of the contract.
        precision: One of `PRECISIONS`; None is `int8` for a quantised file and `fp16` otherwise.

    Raises:
        ValueError: The precision is unknown or not that of the file, or the file is quantised in
            a way that TensorRT does not run; or the onnx package is missing.
    """
    onnx = _onnx()
    if precision is not None and precision not in PRECISIONS:
        raise ValueError(f"unknown precision {precision!r}: choose one of {', '.join(PRECISIONS)}")
    try:
        proto = onnx.load(str(model))
    except Exception as error:  # protobuf's own exceptions share no public base class
        raise ValueError(f"model {model} is not ONNX: {error}: copy or export it again") from error
    quantised = is_quantised(proto)
    precision = precision or ("int8" if quantised else "fp16")
    if quantised != (precision == "int8"):
        has, remedy = (
            ("is quantised", "build it with --precision int8")
            if quantised
            else ("holds no Q/DQ pairs", "quantise it first with `rosam quantize`")
        )
        raise ValueError(f"model {model} {has}, precision {precision} was asked for: {remedy}")
    cast_bytes_first(proto)
    if quantised:
        check_quantisation(proto)
    else:
        proto = fold(proto)
    if precision == "fp16":
        proto = to_half(proto)
    onnx.checker.check_model(proto)
    return bytes(proto.SerializeToString()), precision


def is_quantised(proto: ModelProto) -> bool:
    """Returns whether a model states quantisation as Q/DQ pairs."""
    return any(node.op_type in _QUANTISATION for node in proto.graph.node)


def cast_bytes_first(proto: ModelProto) -> None:
    """Makes float the first thing that happens to the image, in place.

    TensorRT takes uint8 inputs, but only into a cast; older exports transpose before it.

    Raises:
        ValueError: Something else than a transpose and a cast reads the bytes.
    """
    readers = [node for node in proto.graph.node if INPUT_NAME in node.input]
    if all(node.op_type == "Cast" for node in readers):
        return
    after = [n for n in proto.graph.node if readers[0].output and readers[0].output[0] in n.input]
    if [node.op_type for node in readers] != ["Transpose"] or [n.op_type for n in after] != [
        "Cast"
    ]:
        raise ValueError(
            f"the image goes into {', '.join(n.op_type for n in readers)} as bytes, TensorRT "
            "needs a cast to float first: export the model with `rosam export`"
        )
    transpose, cast = readers[0], after[0]
    between = f"{INPUT_NAME}__float"
    # The two nodes keep their places in the list, so they swap what they do.
    kept = list(transpose.attribute)
    transpose.op_type, cast.op_type = "Cast", "Transpose"
    moved = list(cast.attribute)
    del transpose.attribute[:], cast.attribute[:]
    transpose.attribute.extend(moved)
    cast.attribute.extend(kept)
    old = transpose.output[0]
    transpose.output[0] = cast.input[0] = between
    infos = [info for info in proto.graph.value_info if info.name != old]
    del proto.graph.value_info[:]
    proto.graph.value_info.extend(infos)


def check_quantisation(proto: ModelProto) -> None:
    """Refuses what TensorRT does not run: zero points, unsigned bytes, quantised biases.

    Raises:
        ValueError: Names the node and the remedy.
    """
    onnx = _onnx()
    constants = {c.name: onnx.numpy_helper.to_array(c) for c in proto.graph.initializer}
    for node in proto.graph.node:
        if node.op_type not in _QUANTISATION or len(node.input) < 3 or not node.input[2]:
            continue
        zero = constants.get(node.input[2])
        if zero is None or zero.dtype != np.int8 or np.any(zero):
            found = "a computed zero point" if zero is None else f"{zero.dtype} {zero.ravel()[:1]}"
            raise ValueError(
                f"{node.op_type} `{node.name}` has the zero point {found}; TensorRT runs "
                "symmetric int8 only: quantise weights and activations symmetrically to signed "
                "int8 and leave the biases in float"
            )


def fold(proto: ModelProto) -> ModelProto:
    """Returns a copy with constants computed and batch norms folded into convolutions.

    ONNX Runtime does it, in standard operators only; in few bits the separate factors of a batch
    norm would be rounded twice. Nodes keep their names, not their order.

    Args:
        proto: A model file of the contract.

    Raises:
        ValueError: ONNX Runtime cannot read it.
    """
    import onnxruntime as ort

    onnx = _onnx()
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    with TemporaryDirectory(prefix="rosam-") as folder:
        options.optimized_model_filepath = str(Path(folder) / "folded.onnx")
        try:
            ort.InferenceSession(
                proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's own exceptions share no public base class
            reason = " ".join(str(error).split())[:300]
            raise ValueError(f"ONNX Runtime cannot read the model: {reason}") from error
        folded = onnx.load(options.optimized_model_filepath)
    # ONNX Runtime imports every set of operators it knows, its own ones included.
    domains = {node.domain for node in folded.graph.node}
    used = [opset for opset in folded.opset_import if opset.domain in domains]
    del folded.opset_import[:]
    folded.opset_import.extend(used)
    return folded


def to_half(proto: ModelProto) -> ModelProto:
    """Returns the model with half precision from the first convolution to the last.

    What comes before (bytes to normalised pixels) and after (log depth to metres, confidence)
    stays float32, and so do input and outputs.

    Raises:
        ValueError: A weight is beyond what half precision holds, or there is no convolution.
    """
    onnx = _onnx()
    graph = proto.graph
    body = _between_convolutions(graph.node)
    if not body:
        raise ValueError("the model has no convolution: there is nothing to run in half precision")
    float_type, half_type = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16
    types = _types(onnx.shape_inference.infer_shapes(proto).graph)
    weights = {c.name: c for c in graph.initializer if c.data_type == float_type}
    from_body = {
        name for i in body for name in graph.node[i].output if types.get(name) == float_type
    }
    halves: dict[str, str] = {}
    nodes: list[NodeProto] = []

    def cast(name: str, to: int) -> str:
        """Returns the name of a tensor in the other type, cast or converted once."""
        if name not in halves:
            halves[name] = f"{name}__{'half' if to == half_type else 'float'}"
            if name in weights:
                graph.initializer.append(_half_weight(weights[name], halves[name]))
            else:
                nodes.append(
                    onnx.helper.make_node("Cast", [name], [halves[name]], halves[name], to=to)
                )
        return halves[name]

    renamed = {name: f"{name}__body" for name in from_body}
    graph_outputs = {output.name for output in graph.output} & from_body
    for index, node in enumerate(graph.node):
        if index in body and node.op_type in ("Cast", "Constant", "ConstantOfShape"):
            raise ValueError(f"{node.op_type} `{node.name}` states its own type: cannot convert")
        fixed = _ALWAYS_FLOAT.get(node.op_type, ())
        for position, name in enumerate(node.input):
            inside = name in from_body
            if index in body and not inside and position not in fixed:
                if types.get(name) == float_type or name in weights:
                    node.input[position] = cast(name, half_type)
            elif inside and (index not in body or position in fixed):
                node.input[position] = cast(renamed[name], float_type)
            elif inside:
                node.input[position] = renamed[name]
        for position, name in enumerate(node.output):
            if name in from_body:
                node.output[position] = renamed[name]
        nodes.append(node)
    for name in sorted(graph_outputs):
        nodes.append(onnx.helper.make_node("Cast", [renamed[name]], [name], to=float_type))
    read = {name for node in nodes for name in node.input}
    kept = [c for c in graph.initializer if c.name in read]
    made = onnx.helper.make_graph(nodes, graph.name, graph.input, graph.output, kept)
    return onnx.helper.make_model(
        made, opset_imports=proto.opset_import, ir_version=proto.ir_version
    )


def _between_convolutions(nodes: Any) -> set[int]:
    """Returns the numbers of the nodes that have a convolution at or before and at or after."""
    before: set[str] = set()
    after: set[str] = set()
    has_before, has_after = set(), set()
    for index, node in enumerate(nodes):  # ONNX lists nodes in the order of computation
        if node.op_type == "Conv" or before.intersection(node.input):
            has_before.add(index)
            before.update(node.output)
    for index in reversed(range(len(nodes))):
        node = nodes[index]
        if node.op_type == "Conv" or after.intersection(node.output):
            has_after.add(index)
            after.update(name for name in node.input if name)
    return has_before & has_after


def _types(graph: Any) -> dict[str, int]:
    """Returns the element type of each tensor that is not a constant."""
    infos = [*graph.input, *graph.value_info, *graph.output]
    return {info.name: int(info.type.tensor_type.elem_type) for info in infos}


def _half_weight(weight: Any, name: str) -> Any:
    onnx = _onnx()
    values = onnx.numpy_helper.to_array(weight)
    # The bounds of Clip and the like may be infinite on purpose.
    if np.any(np.abs(values[np.isfinite(values)]) > LARGEST_HALF):
        raise ValueError(
            f"weight `{weight.name}` reaches {np.abs(values).max():.3g}, half precision ends at "
            f"{LARGEST_HALF:.0f}: build with --precision fp32"
        )
    return onnx.numpy_helper.from_array(values.astype(np.float16), name)


def _onnx() -> Any:
    try:
        import onnx
        import onnx.checker
        import onnx.numpy_helper
        import onnx.shape_inference
    except ImportError as error:
        raise ValueError(
            "building an engine needs the onnx package: in a checkout, pip install -c "
            "constraints.txt onnx"
        ) from error
    return onnx
