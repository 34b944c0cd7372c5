import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conv_model import HEIGHT, WIDTH, conv_network
from support import packaged_size, write_tiny_model

from rosam_core.engines.onnx_engine import OnnxEngine
from rosam_core.engines.parity import DEPTH_LIMITS, measure_parity, probe_images, refuse_beyond
from rosam_core.engines.registry import default_model_path, load_engine

onnx = pytest.importorskip("onnx", reason="the onnx package is not installed: extra `tensorrt`")

from onnx import TensorProto, helper, numpy_helper

from rosam_core.engines.onnx_precision import (
    cast_bytes_first,
    check_quantisation,
    prepare_model,
    to_half,
)

FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16


def types_of(proto: Any) -> dict[str, int]:
    graph = onnx.shape_inference.infer_shapes(proto, strict_mode=True).graph
    infos = [*graph.input, *graph.value_info, *graph.output]
    types = {info.name: info.type.tensor_type.elem_type for info in infos}
    return types | {c.name: c.data_type for c in graph.initializer}


def run(model: bytes, images: np.ndarray) -> list[np.ndarray]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return session.run(["depth", "confidence"], {"image": images})


def test_the_packaged_student_in_half_precision(tmp_path: Path) -> None:
    graph, precision = prepare_model(default_model_path())
    assert precision == "fp16"
    proto = onnx.load_from_string(graph)
    types = types_of(proto)
    assert types["image"] == TensorProto.UINT8
    assert types["depth"] == types["confidence"] == FLOAT
    convolutions = [node for node in proto.graph.node if node.op_type == "Conv"]
    assert len(convolutions) > 50
    for node in convolutions:
        assert {types[name] for name in [*node.input, *node.output]} == {HALF}, node.name
    operators = Counter(node.op_type for node in proto.graph.node)
    assert operators["BatchNormalization"] == 0
    assert operators["Cast"] == 3, "bytes to float, float to half, half to float; nothing between"
    for node in proto.graph.node:  # metres are never rounded to half
        if node.op_type in ("Exp", "Reciprocal"):
            assert types[node.output[0]] == FLOAT
    # Parity, on the CPU: what half precision costs, whatever runs it.
    reference = load_engine(default_model_path(), "onnx-cpu", 1)
    path = tmp_path / "half.onnx"
    path.write_bytes(graph)
    half = OnnxEngine(path, reference.card, "cpu", 1)
    parity = measure_parity(half, reference, (1, 3))
    assert 1e-5 < parity["depth_p99"] < DEPTH_LIMITS["fp16"]
    assert parity["confidence_max"] < 0.03  # of the worst pixel
    refuse_beyond(parity, "fp16")
    with pytest.raises(ValueError, match=r"the limit of fp32 is 0\.001: build with another"):
        refuse_beyond(parity, "fp32")


def test_single_precision_changes_no_value() -> None:
    images = probe_images(packaged_size())[:2]
    before = run(default_model_path().read_bytes(), images)
    for ours, theirs in zip(
        run(prepare_model(default_model_path(), "fp32")[0], images), before, strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_bytes_are_cast_before_anything_else() -> None:
    proto = conv_network()
    first = [node.op_type for node in proto.graph.node if "image" in node.input]
    assert first == ["Transpose"], "as in older exports; TensorRT refuses it"
    images = probe_images((WIDTH, HEIGHT))[3:5]
    before = run(proto.SerializeToString(), images)
    cast_bytes_first(proto)
    onnx.checker.check_model(proto, full_check=True)
    assert [node.op_type for node in proto.graph.node if "image" in node.input] == ["Cast"]
    for ours, theirs in zip(run(proto.SerializeToString(), images), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_model_that_casts_first_stays_as_it_is(tmp_path: Path) -> None:
    proto = onnx.load(str(write_tiny_model(tmp_path)))
    before = proto.SerializeToString()
    cast_bytes_first(proto)
    assert proto.SerializeToString() == before


def small(weight: float = 1.0, **nodes: Any) -> Any:
    """A graph of two 1x1 convolutions with a branch around them; depth = 2 w^2 v + v."""
    weights = numpy_helper.from_array(np.full((1, 1, 1, 1), weight, np.float32), "w")
    two = numpy_helper.from_array(np.array(2, np.float32), "two")
    sizes = [["batch", 48, 64, 3], ["batch", 1, 48, 64]]
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["image"], ["floats"], to=FLOAT),
            helper.make_node("ReduceMean", ["floats", "axes"], ["mean"], keepdims=1),
            helper.make_node("Transpose", ["mean"], ["v"], perm=[0, 3, 1, 2]),
            helper.make_node("Conv", ["v", "w"], ["a"]),
            helper.make_node("Mul", ["a", "two"], ["b"]),
            helper.make_node("Conv", ["b", "w"], ["c"]),
            helper.make_node("Add", ["c", "v"], ["depth"]),
            helper.make_node("Mul", ["b", "two"], ["confidence"]),
        ],
        "small",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, sizes[0])],
        [helper.make_tensor_value_info(n, FLOAT, sizes[1]) for n in ("depth", "confidence")],
        [weights, two, numpy_helper.from_array(np.array([3], np.int64), "axes")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def test_half_from_the_first_convolution_to_the_last() -> None:
    half = to_half(small(1.5))
    types = types_of(half)
    kinds = {node.output[0]: types[node.output[0]] for node in half.graph.node}
    assert {kinds[f"{name}__body"] for name in "abc"} == {HALF}
    # Outside: the branch around, the sum, and what b becomes for the other output.
    assert {kinds[name] for name in ("floats", "mean", "v", "depth", "confidence")} == {FLOAT}
    assert kinds["b__body__float"] == kinds["c__body__float"] == FLOAT
    casts = [node for node in half.graph.node if node.op_type == "Cast"]
    assert len(casts) == 4, "each tensor is converted once"
    # `two` is read in both precisions and is kept in both.
    assert {types["two"], types["two__half"]} == {FLOAT, HALF}
    assert "w" not in {c.name for c in half.graph.initializer}
    images = np.full((2, 48, 64, 3), 8, np.uint8)
    depth, confidence = run(half.SerializeToString(), images)
    assert (depth == 2 * 1.5**2 * 8 + 8).all()
    assert (confidence == 2 * 2 * 1.5 * 8).all()


def test_an_output_of_the_body_is_float() -> None:
    proto = small()
    proto.graph.node[6].CopyFrom(helper.make_node("Conv", ["c", "w"], ["depth"]))
    assert types_of(to_half(proto))["depth"] == FLOAT


def test_weights_beyond_half_precision_are_refused() -> None:
    with pytest.raises(ValueError, match=r"weight `w` reaches 7e\+04.*--precision fp32"):
        to_half(small(7e4))
    to_half(small(6.5e4))


def test_a_model_without_convolutions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no convolution"):
        prepare_model(write_tiny_model(tmp_path), "fp16")


def test_precision_and_file_must_agree(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path)
    with pytest.raises(ValueError, match="holds no Q/DQ pairs, precision int8 was asked for"):
        prepare_model(model, "int8")
    with pytest.raises(ValueError, match="unknown precision 'bf16': choose one of fp16, int8"):
        prepare_model(model, "bf16")
    quantised = quantise(small(), np.int8(0))
    path = tmp_path / "quantised.onnx"
    path.write_bytes(quantised.SerializeToString())
    assert prepare_model(path)[1] == "int8"
    with pytest.raises(ValueError, match=r"is quantised, precision fp16.*--precision int8"):
        prepare_model(path, "fp16")
    path.write_bytes(b"noise")
    with pytest.raises(ValueError, match="is not ONNX"):
        prepare_model(path)


def quantise(proto: Any, zero: Any) -> Any:
    """Puts a Q/DQ pair before the first convolution of `small`."""
    graph = proto.graph
    graph.initializer.append(numpy_helper.from_array(np.array(0.5, np.float32), "scale"))
    graph.initializer.append(numpy_helper.from_array(np.array(zero), "zero"))
    pair = [
        helper.make_node("QuantizeLinear", ["v", "scale", "zero"], ["q"], "q"),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["dq"], "dq"),
    ]
    nodes = [*graph.node[:3], *pair, *graph.node[3:]]
    nodes[5].input[0] = "dq"
    del graph.node[:]
    graph.node.extend(nodes)
    return proto


@pytest.mark.parametrize(
    ("zero", "found"),
    [(np.int8(3), "int8 [3]"), (np.uint8(0), "uint8 [0]"), (np.int32(0), "int32 [0]")],
)
def test_quantisation_that_tensorrt_does_not_run(zero: Any, found: str) -> None:
    check_quantisation(quantise(small(), np.int8(0)))
    words = re.escape(f"QuantizeLinear `q` has the zero point {found}; TensorRT runs symmetric")
    with pytest.raises(ValueError, match=words):
        check_quantisation(quantise(small(), zero))
