import json
from pathlib import Path

import numpy as np
import pytest
from support import write_tiny_model

from rosam_core.engines.contract import load_card
from rosam_core.engines.openvino_engine import OpenVinoEngine
from rosam_core.engines.registry import load_engine

pytest.importorskip("openvino", reason="the extra `openvino` is not installed")


def test_agrees_with_onnxruntime(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path)
    images = np.random.default_rng(0).integers(0, 256, (3, 48, 64, 3), np.uint8)
    expected = load_engine(model, "onnx-cpu", 1).infer(images)
    engine = load_engine(model, "openvino", 1)
    got = engine.infer(images)
    assert engine.name == "openvino"
    for ours, theirs in zip(got, expected, strict=True):
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    again = engine.infer(np.zeros((1, 48, 64, 3), np.uint8))
    assert (again[0] == 2.0).all()
    assert got[0].max() > 20  # the first answer is not overwritten


def test_precision_and_threads_reach_the_network(tmp_path: Path) -> None:
    engine = load_engine(write_tiny_model(tmp_path), "openvino", 1)
    engine.infer(np.zeros((2, 48, 64, 3), np.uint8))
    assert len(engine._requests) == 2
    for request in engine._requests.values():
        compiled = request.get_compiled_model()
        assert compiled.get_property("INFERENCE_PRECISION_HINT").to_string() == "f32"
        assert compiled.get_property("INFERENCE_NUM_THREADS") == 1
        assert compiled.get_property("PERFORMANCE_HINT") == "LATENCY"


def test_single_images_run_on_a_network_of_fixed_size(tmp_path: Path) -> None:
    engine = load_engine(write_tiny_model(tmp_path), "openvino", 1)
    assert list(engine._requests) == [True]
    shape = engine._requests[True].get_compiled_model().inputs[0].get_partial_shape()
    assert shape.is_static
    assert list(shape.to_shape()) == [1, 48, 64, 3]


class Compiled:
    """Says what OpenVINO would if it did not do what was asked."""

    def __init__(self, precision: str, threads: int) -> None:
        self.values = {"INFERENCE_PRECISION_HINT": self, "INFERENCE_NUM_THREADS": threads}
        self.precision = precision

    def get_property(self, name: str) -> object:
        return self.values[name]

    def to_string(self) -> str:
        return self.precision


def test_other_settings_than_asked_for_are_an_error(tmp_path: Path) -> None:
    engine = load_engine(write_tiny_model(tmp_path), "openvino", 1)
    engine._read_back(Compiled("f32", 1))
    with pytest.raises(ValueError, match="computes in bf16 where f32 was asked for"):
        engine._read_back(Compiled("bf16", 1))
    with pytest.raises(ValueError, match="took 2 threads where 1 were asked for"):
        engine._read_back(Compiled("f32", 2))


def test_precision_that_is_asked_for_is_used_or_refused(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path)
    card = load_card(model)
    try:
        engine = OpenVinoEngine(model, card, 1, "bf16")
    except ValueError as error:
        assert "where bf16 was asked for" in str(error)  # noqa: PT017 - depends on the CPU
    else:
        compiled = engine._requests[True].get_compiled_model()
        assert compiled.get_property("INFERENCE_PRECISION_HINT").to_string() == "bf16"
    with pytest.raises(ValueError, match="unknown precision 'int8': choose one of f32"):
        OpenVinoEngine(model, card, 1, "int8")
    with pytest.raises(ValueError, match="threads must be 0"):
        OpenVinoEngine(model, card, -1)


def test_cache_is_filled_and_used(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path)
    cache = tmp_path / "deep" / "cache"
    image = np.full((1, 48, 64, 3), 100, np.uint8)
    first = OpenVinoEngine(model, load_card(model), 1, cache=cache).infer(image)
    written = {p: p.stat().st_mtime_ns for p in cache.iterdir()}
    assert written
    second = OpenVinoEngine(model, load_card(model), 1, cache=cache).infer(image)
    assert {p: p.stat().st_mtime_ns for p in cache.iterdir()} == written
    np.testing.assert_array_equal(first[0], second[0])


def test_quantised_layers_really_run_in_8_bits(tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="the extra `quantize` is not installed")
    import onnx
    from conv_model import write_conv_model

    from rosam_core.engines.onnx_precision import fold
    from rosam_core.quantize_graph import insert_pairs
    from rosam_core.quantize_ranges import observe
    from rosam_core.types import card_path, file_sha256

    model = write_conv_model(tmp_path)
    images = np.random.default_rng(0).integers(0, 256, (2, 48, 64, 3), np.uint8)
    network = fold(onnx.load(str(model)))
    layers = ("depthwise", "pointwise")
    onnx.save(insert_pairs(network, observe(network, images, 1), layers), str(model))
    values = json.loads(card_path(model).read_text())
    card_path(model).write_text(json.dumps({**values, "sha256": file_sha256(model)}))
    engine = load_engine(model, "openvino", 1)
    runtime = engine._requests[True].get_compiled_model().get_runtime_model()
    types = {}
    for op in runtime.get_ops():
        about = {key: value.astype(str) for key, value in op.get_rt_info().items()}
        if about["layerType"] == "Convolution":
            name = about["originalLayersNames"].split("/")[0].split(",")[0]
            types[name] = about["runtimePrecision"]
    assert set(types) == {"stem", "head", *layers}
    assert {name for name, kind in types.items() if kind in ("i8", "u8")} == set(layers), types
    exact = load_engine(model, "onnx-cpu", 1).infer(images)
    for ours, theirs in zip(engine.infer(images), exact, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0.02, atol=0.02)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_name": "input"}, "inputs are `input`"),
        ({"output_type": "float64"}, "`depth` float64"),
        ({"batch": 1}, "fixed batch of 1"),
    ],
)
def test_contract_is_checked(tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_engine(write_tiny_model(tmp_path, **options), "openvino", 1)


def test_damaged_file(tmp_path: Path) -> None:
    from rosam_core.types import file_sha256

    model = write_tiny_model(tmp_path)
    model.write_bytes(b"noise" * 100)
    card = model.with_suffix(".json")
    card.write_text(json.dumps({**json.loads(card.read_text()), "sha256": file_sha256(model)}))
    with pytest.raises(ValueError, match="cannot be loaded by OpenVINO"):
        load_engine(model, "openvino", 1)
