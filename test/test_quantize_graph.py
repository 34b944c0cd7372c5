from __future__ import annotations

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the extra `quantize` is not installed")

import onnxruntime
from conv_model import HEIGHT, WIDTH, conv_network
from onnx import ModelProto, TensorProto, numpy_helper

from rosam_core.engines.onnx_precision import fold
from rosam_core.quantize_graph import Graph, equalise, insert_pairs
from rosam_core.quantize_ranges import Observation, best_scale, observe

MIDDLE = ("depthwise", "pointwise")


@pytest.fixture
def frames() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (6, HEIGHT, WIDTH, 3), np.uint8)


def run(model: ModelProto, images: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return list(session.run(["depth", "confidence"], {"image": images}))


def by_op(model: ModelProto, op: str) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if node.op_type == op]


def test_folding_keeps_the_function(frames: np.ndarray) -> None:
    model = conv_network()
    folded = fold(model)
    assert len(by_op(model, "BatchNormalization")) == 3  # the original is untouched
    assert not by_op(folded, "BatchNormalization")
    for ours, theirs in zip(run(folded, frames), run(model, frames), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=1e-5)


def test_a_batch_norm_that_others_look_past_is_left() -> None:
    model = conv_network()
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info("extra"))
    model.graph.node.append(onnx.helper.make_node("Relu", ["stem.y"], ["extra"], "extra"))
    assert [n.name for n in by_op(fold(model), "BatchNormalization")] == ["stem.norm"]


def test_equalising_keeps_the_function_and_evens_the_channels(frames: np.ndarray) -> None:
    network = fold(conv_network())
    before = observe(network, frames, 1)
    expected = run(network, frames)
    equalise(network, before)
    for ours, theirs in zip(run(network, frames), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=1e-5)
    after = observe(network, frames, 1)

    def spread(seen: Observation) -> float:
        return float(seen.channel_max.max() / seen.channel_max.min())

    # What the pointwise layer reads changed; the stem also feeds the residual sum, so it must not.
    assert spread(after["stem.r"]) == pytest.approx(spread(before["stem.r"]), rel=1e-4)
    assert not np.allclose(after["depthwise.r"].channel_max, before["depthwise.r"].channel_max)


def test_depthwise_layers_get_equal_channels(frames: np.ndarray) -> None:
    model = conv_network(uneven=20.0)
    residual = next(n for n in model.graph.node if n.name == "residual")
    residual.input[1] = "pointwise.r"  # so that the stem feeds the depthwise layer alone
    network = fold(model)
    expected = run(network, frames)
    seen = observe(network, frames, 1)["stem.r"].channel_max
    assert seen.max() / seen.min() > 10
    equalise(network, observe(network, frames, 1))
    largest = observe(network, frames, 1)["stem.r"].channel_max
    assert largest.max() / largest.min() == pytest.approx(1, rel=1e-3)
    for ours, theirs in zip(run(network, frames), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=1e-4)


def test_pairs_are_what_tensorrt_takes(frames: np.ndarray) -> None:
    network = fold(conv_network())
    paired = insert_pairs(network, observe(network, frames, 1), MIDDLE)
    onnx.checker.check_model(paired, full_check=True)
    weights = {t.name: t for t in paired.graph.initializer}
    assert [o.domain for o in paired.opset_import] == [""]
    assert len(by_op(paired, "QuantizeLinear")) == 2
    for node in by_op(paired, "QuantizeLinear") + by_op(paired, "DequantizeLinear"):
        zero = numpy_helper.to_array(weights[node.input[2]])
        assert zero.dtype == np.int8
        assert not zero.any()
    makers = {name: node for node in paired.graph.node for name in node.output}
    for conv in by_op(paired, "Conv"):
        in_int8 = conv.name in MIDDLE
        assert (conv.input[1] not in weights) == in_int8
        if in_int8:
            pair = makers[conv.input[1]]
            integers = weights[pair.input[0]]
            assert integers.data_type == TensorProto.INT8
            assert weights[pair.input[1]].dims == integers.dims[:1]  # a scale a channel
            assert [a.i for a in pair.attribute if a.name == "axis"] == [0]
            assert np.abs(numpy_helper.to_array(integers)).max() == 127
            assert weights[conv.input[2]].data_type == TensorProto.FLOAT  # never an int32 bias
    assert {o.name for o in paired.graph.output} == {"depth", "confidence"}


def test_weights_are_rounded_to_the_nearest_of_their_channel() -> None:
    network = fold(conv_network())
    weight = Graph(network).value(Graph(network).layers()[1].input[1])
    seen = {
        n.input[0]: Observation(0.01, np.zeros(8, np.float32), np.ones(8, np.float32))
        for n in Graph(network).layers()
    }
    paired = Graph(insert_pairs(network, seen, ["depthwise"]))
    got = paired.value("depthwise.weight.integers") * paired.value(
        "depthwise.weight.scales"
    ).reshape(-1, 1, 1, 1)
    step = np.abs(weight).reshape(8, -1).max(axis=1) / 127
    assert (np.abs(got - weight).reshape(8, -1).max(axis=1) <= step * 0.5001).all()
    # With a mean input of zero rounding adds no mean error, so the bias is as it was.
    bias = Graph(network).value(Graph(network).layers()[1].input[2])
    np.testing.assert_array_equal(paired.value("depthwise.bias"), bias)


@pytest.mark.parametrize("layer", MIDDLE)
def test_bias_takes_up_the_mean_error_of_the_weights(layer: str) -> None:
    network = fold(conv_network())
    conv = next(n for n in Graph(network).layers() if n.name == layer)
    mean = np.linspace(0.5, 2, 8).astype(np.float32)
    seen = {conv.input[0]: Observation(0.1, mean, mean)}
    paired = Graph(insert_pairs(network, seen, [layer]))
    rounded = paired.value(f"{layer}.weight.integers") * paired.value(
        f"{layer}.weight.scales"
    ).reshape(-1, 1, 1, 1)
    exact = Graph(network).value(conv.input[1])
    shift = paired.value(f"{layer}.bias") - Graph(network).value(conv.input[2])
    for o in range(8):
        inputs = mean[o : o + 1] if layer == "depthwise" else mean
        error = sum(
            float((rounded - exact)[o, c].sum() * inputs[c]) for c in range(exact.shape[1])
        )
        assert shift[o] == pytest.approx(-error, abs=1e-6)


def test_int8_is_close_and_float_layers_are_exact(frames: np.ndarray) -> None:
    network = fold(conv_network())
    seen = observe(network, frames, 1)
    exact = run(network, frames)[0]
    close = run(insert_pairs(network, seen, MIDDLE), frames)[0]
    assert 0 < np.median(np.abs(close - exact) / exact) < 0.01
    np.testing.assert_array_equal(run(insert_pairs(network, seen, []), frames)[0], exact)
    both = run(insert_pairs(network, seen, MIDDLE), frames[:3])[0]
    np.testing.assert_allclose(both, close[:3], rtol=1e-5)  # the batch is still open


def test_scale_by_hand() -> None:
    counts = np.zeros(256, np.int64)
    counts[[63, 127, 255]] = 1000  # three values, near 1/4, 1/2 and 1 of the range 8
    assert best_scale(counts, 8.0) * 127 == pytest.approx(8.0, rel=0.02)
    # One value in a million at the end is worth less than fine steps for the rest.
    dense = np.zeros(2048, np.int64)
    dense[:600], dense[-1] = 100_000, 1
    assert best_scale(dense, 8.0) * 127 < 4
    assert best_scale(np.zeros(8, np.int64), 0.0) == 1.0


def test_observation_by_hand(frames: np.ndarray) -> None:
    network = fold(conv_network())
    seen = observe(network, frames, 1)
    watched = fold(conv_network())
    watched.graph.output.append(onnx.helper.make_empty_tensor_value_info("stem.r"))
    session = onnxruntime.InferenceSession(watched.SerializeToString())
    values = np.concatenate([session.run(["stem.r"], {"image": f[None]})[0] for f in frames])
    np.testing.assert_allclose(seen["stem.r"].mean, values.mean((0, 2, 3)), rtol=1e-4)
    np.testing.assert_allclose(seen["stem.r"].channel_max, values.max((0, 2, 3)), rtol=1e-5)
    assert set(seen) == {"x", "stem.r", "depthwise.r", "sum"}


def test_the_histogram_grows_with_later_frames() -> None:
    network = fold(conv_network())
    dark = np.full((1, HEIGHT, WIDTH, 3), 8, np.uint8)
    bright = np.full((1, HEIGHT, WIDTH, 3), 255, np.uint8)
    one = observe(network, [dark[0], bright[0]], 1)["x"].scale
    other = observe(network, [bright[0], dark[0]], 1)["x"].scale
    assert one == pytest.approx(other, rel=0.02)
    assert one * 127 == pytest.approx(1.0, rel=0.1)


def test_no_frames() -> None:
    with pytest.raises(ValueError, match="no frames"):
        observe(fold(conv_network()), [], 1)
