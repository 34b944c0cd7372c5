from pathlib import Path

import numpy as np
import pytest
from support import write_tiny_model

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


def test_precision_is_full(tmp_path: Path) -> None:
    engine = load_engine(write_tiny_model(tmp_path), "openvino", 1)
    compiled = engine._request.get_compiled_model()
    assert compiled.get_property("INFERENCE_PRECISION_HINT").to_string() == "f32"
    assert compiled.get_property("INFERENCE_NUM_THREADS") == 1


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
    import json

    card.write_text(json.dumps({**json.loads(card.read_text()), "sha256": file_sha256(model)}))
    with pytest.raises(ValueError, match="cannot be loaded by OpenVINO"):
        load_engine(model, "openvino", 1)
