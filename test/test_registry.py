import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import expect_values_by_hand, write_tiny_model

from rosam_core.engines import registry
from rosam_core.engines.contract import check_answer
from rosam_core.engines.onnx_engine import OnnxEngine
from rosam_core.engines.registry import (
    EngineOptions,
    choose_engine,
    default_model_path,
    load_engine,
    provider_options,
)
from rosam_core.types import ModelCard, card_path, file_sha256


def rewrite_card(model: Path, **changes: Any) -> None:
    path = card_path(model)
    values = json.loads(path.read_text())
    values.update(changes)
    path.write_text(json.dumps({k: v for k, v in values.items() if v != "REMOVE"}))


def rehash(model: Path) -> Path:
    rewrite_card(model, sha256=file_sha256(model))
    return model


def test_values_by_hand(tmp_path: Path) -> None:
    engine = load_engine(write_tiny_model(tmp_path), "onnx", threads=1)
    assert engine.name == "onnx-cpu"
    assert (engine.card.input_width, engine.card.input_height) == (64, 48)
    expect_values_by_hand(engine)
    engine.close()


def test_strided_batches_are_read_right(tmp_path: Path) -> None:
    engine = load_engine(write_tiny_model(tmp_path), "onnx-cpu", threads=1)
    wide = np.random.default_rng(0).integers(0, 256, (1, 48, 128, 3), np.uint8)
    view = wide[:, :, ::2]
    np.testing.assert_array_equal(engine.infer(view)[0], engine.infer(view.copy())[0])


@pytest.mark.parametrize("spinning", [False, True])
@pytest.mark.parametrize("threads", [1, 2])
def test_threads_and_spinning_reach_the_session(
    tmp_path: Path, threads: int, spinning: bool
) -> None:
    engine = load_engine(write_tiny_model(tmp_path), "onnx-cpu", threads, spinning)
    assert isinstance(engine, OnnxEngine)
    options = engine._session.get_session_options()
    assert options.intra_op_num_threads == threads
    spin = options.get_session_config_entry("session.intra_op.allow_spinning")
    assert spin == ("1" if spinning else "0")


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((48, 64, 3), np.uint8),
        np.zeros((1, 64, 48, 3), np.uint8),
        np.zeros((1, 3, 48, 64), np.uint8),
        np.zeros((1, 48, 64, 3), np.float32),
        np.zeros((0, 48, 64, 3), np.uint8),
    ],
)
def test_batches_of_another_shape_are_refused(tmp_path: Path, images: np.ndarray) -> None:
    engine = load_engine(write_tiny_model(tmp_path), "onnx-cpu", threads=1)
    found = re.escape(f"got {images.dtype}{list(images.shape)}")
    with pytest.raises(ValueError, match=rf"needs uint8\[N,48,64,3\] with N >= 1, {found}"):
        engine.infer(images)


def test_answers_of_another_shape_are_refused(tmp_path: Path) -> None:
    # A file may leave its output sizes open and then break its word.
    card = load_engine(write_tiny_model(tmp_path), "onnx-cpu", threads=1).card
    good, bad = np.zeros((1, 1, 48, 64), np.float32), np.zeros((1, 1, 24, 32), np.float32)
    check_answer(tmp_path, card, 1, (good, good))
    with pytest.raises(ValueError, match=r"`confidence` came out as float32\[1, 1, 24, 32\]"):
        check_answer(tmp_path, card, 1, (good, bad))


def truncate(model: Path) -> Path:
    model.write_bytes(model.read_bytes()[:-100])
    return model


def corrupt(model: Path) -> Path:
    model.write_bytes(b"not a model at all" * 40)
    return model


def flip_a_bit(model: Path) -> Path:
    data = bytearray(model.read_bytes())
    data[len(data) // 2] ^= 1
    model.write_bytes(bytes(data))
    return model


def no_card(model: Path) -> Path:
    card_path(model).unlink()
    return model


def card_text(text: str | bytes) -> Callable[[Path], Path]:
    def change(model: Path) -> Path:
        card_path(model).write_bytes(text if isinstance(text, bytes) else text.encode())
        return model

    return change


def card_change(**changes: Any) -> Callable[[Path], Path]:
    def change(model: Path) -> Path:
        rewrite_card(model, **changes)
        return model

    return change


BAD_FILES: dict[str, tuple[dict[str, Any], Callable[[Path], Path], str]] = {
    "no model": ({}, lambda m: m.with_name("gone.onnx"), "gone.onnx: no such file: give the"),
    "folder": ({}, lambda m: m.parent, "a folder, not a model file"),
    "no card": ({}, no_card, "no model card at"),
    "card empty": ({}, card_text(""), "is not JSON"),
    "card binary": ({}, card_text(b"\xff\xfe\x00card"), "is not JSON"),
    "card cut": ({}, card_text('{"name": "tiny",'), "is not JSON"),
    "card list": ({}, card_text("[1, 2]"), "is not a JSON object"),
    "field missing": ({}, card_change(is_metric="REMOVE"), "missing ['is_metric'], unknown []"),
    "field unknown": ({}, card_change(colour="red"), "missing [], unknown ['colour']"),
    "focal text": ({}, card_change(training_focal_px="long"), "could not convert string"),
    "focal zero": ({}, card_change(training_focal_px=0), "training_focal_px must be positive"),
    "focal nan": ({}, card_change(training_focal_px=float("nan")), "must be positive, got nan"),
    "focal range": ({}, card_change(focal_range_px=[1, 2, 3]), "must be two numbers, got [1, 2"),
    "focal number": ({}, card_change(focal_range_px=5), "must be two numbers, got 5"),
    "results null": ({}, card_change(results=None), "results and its sections must be JSON"),
    "results text": ({}, card_change(results={"quantization": None}), "must be JSON objects"),
    "size negative": ({}, card_change(input_width=-64), "size must be positive, got -64x48"),
    "depth range": ({}, card_change(min_depth_m=90), "need 0 < min_depth_m < max_depth_m"),
    "other size": ({}, card_change(input_width=32), "`image` uint8[?,48,64,3], but its card and"),
    "other file": ({}, card_change(sha256="0" * 64), "its card tiny.json says 000000000000..."),
    "hash no text": ({}, card_change(sha256=None), "its card tiny.json says None"),
    "bit flipped": ({}, flip_a_bit, "the two do not belong together or the copy is damaged"),
    "cut in copy": ({}, truncate, "copy both files again"),
    "cut at birth": ({}, lambda m: rehash(truncate(m)), "cannot be loaded by ONNX Runtime"),
    "no onnx": ({}, lambda m: rehash(corrupt(m)), "cannot be loaded by ONNX Runtime"),
    "input name": ({"input_name": "input"}, Path, "inputs are `input` uint8[?,48,64,3]; expected"),
    "input type": ({"input_type": "float32"}, Path, "input is `image` float32[?,48,64,3], but"),
    "fixed batch": ({"batch": 1}, Path, "has a fixed batch of 1; expected a dynamic batch"),
    "output name": ({"output_names": ("depth", "sigma")}, Path, "outputs are `depth` float32"),
    "no confidence": ({"output_names": ("depth",)}, Path, "outputs are `depth` float32"),
    "output type": ({"output_type": "float64"}, Path, "output is `depth` float64[?,1,48,64]"),
    "output NHWC": ({"channels_last_output": True}, Path, "is `depth` float32[?,48,64,1], but"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_malformed_models_and_cards(tmp_path: Path, case: str) -> None:
    options, damage, message = BAD_FILES[case]
    model = damage(write_tiny_model(tmp_path, **options))
    with pytest.raises((ValueError, FileNotFoundError), match=re.escape(message)) as caught:
        load_engine(model, "onnx-cpu", threads=1)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("engine", "threads", "message"),
    [
        ("tensor-rt", 1, "unknown engine 'tensor-rt': choose one of auto, onnx-cpu"),
        ("", 1, "unknown engine ''"),
        ("onnx-cpu", -1, "threads must be 0 (every core) or more, got -1"),
    ],
)
def test_engine_settings(tmp_path: Path, engine: str, threads: int, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        load_engine(write_tiny_model(tmp_path), engine, threads)


def test_verify_can_be_switched_off(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path, sha256="0" * 64)
    assert load_engine(model, "onnx-cpu", 1, verify=False).card.sha256 == "0" * 64


def test_auto_says_what_it_chose(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        engine = load_engine(write_tiny_model(tmp_path), threads=1)
    assert len(caplog.messages) == 1
    assert f"engine auto: {engine.name} for tiny.onnx" in caplog.messages[0]


def test_cuda_that_is_absent_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    with pytest.raises(ValueError, match=r"'onnx-cuda' is not usable here.*onnxruntime-gpu"):
        load_engine(write_tiny_model(tmp_path), "onnx-cuda", 1)


@pytest.mark.filterwarnings("ignore:Specified provider 'CUDAExecutionProvider'")
def test_broken_cuda_falls_back_with_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A wheel built for CUDA on a machine without its libraries lists the provider, and then
    # quietly drops it from the session.
    import onnxruntime

    monkeypatch.setattr(
        onnxruntime,
        "get_available_providers",
        lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"],
    )
    model = write_tiny_model(tmp_path)
    with caplog.at_level(logging.INFO):
        engine = load_engine(model, "auto", 1)
    assert engine.name == "onnx-cpu"
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "CUDA is installed but unusable, using CPU" in warnings[0]
    with pytest.raises(ValueError, match="check that the CUDA and cuDNN"):
        load_engine(model, "onnx-cuda", 1)


def raised_by_onnxruntime(name: str, text: str) -> Exception:
    """Its exceptions are of no common kind."""
    made: Exception = type(name, (Exception,), {})(text)
    return made


@pytest.mark.parametrize(
    ("error", "told", "falls_back"),
    [
        (("Fail", "CUDA failure 2: out of memory"), "did not start: CUDA failure 2", True),
        (("InvalidProtobuf", "Protobuf parsing failed"), "copy or export the file again", False),
    ],
)
def test_a_gpu_without_memory_is_no_fault_of_the_file(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    error: tuple[str, str],
    told: str,
    falls_back: bool,
) -> None:
    import onnxruntime

    real = onnxruntime.InferenceSession

    def session(model: str, options: object, providers: list) -> object:
        if "CUDA" in providers[0][0]:
            raise raised_by_onnxruntime(*error)
        return real(model, options, providers=providers)

    gpu = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: gpu)
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    model = write_tiny_model(tmp_path)
    if falls_back:
        assert load_engine(model, "auto", 1).name == "onnx-cpu"
        assert "CUDA is installed but unusable, using CPU" in caplog.text
        assert told in caplog.text
    else:
        with pytest.raises(ValueError, match=told):
            load_engine(model, "auto", 1)
    with pytest.raises(ValueError, match=told):
        load_engine(model, "onnx-cuda", 1)


def test_default_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(registry, "__file__", str(tmp_path / "engines" / "registry.py"))
    with pytest.raises(FileNotFoundError, match="ships no model"):
        default_model_path()
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "rosam_light.onnx").write_bytes(b"")
    assert default_model_path() == tmp_path / "weights" / "rosam_light.onnx"


def test_card_survives_a_round_trip(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path, results={"day": {"abs_rel": 0.1}}, max_depth_m=60.0)
    card = ModelCard.load(card_path(model))
    assert card.results == {"day": {"abs_rel": 0.1}}
    assert card.max_depth_m == 60.0
    assert card.focal_range_px == (32.0, 128.0)


def test_settings_reach_the_engine_that_has_them(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path)
    chosen = choose_engine(model, "onnx-cpu", EngineOptions(1, True, arena=False))
    assert chosen.reason == "asked for"
    assert isinstance(chosen.engine, OnnxEngine)
    settings = chosen.engine._session.get_session_options()
    assert not settings.enable_cpu_mem_arena
    assert settings.get_session_config_entry("session.intra_op.allow_spinning") == "1"
    pytest.importorskip("openvino", reason="no OpenVINO: pip install '.[openvino]'")
    options = EngineOptions(1, precision="f32", compiled_cache=tmp_path / "compiled")
    engine = choose_engine(model, "openvino", options).engine
    assert (engine.precision, engine.threads) == ("f32", 1)  # type: ignore[attr-defined]
    assert list((tmp_path / "compiled").iterdir())
    with pytest.raises(ValueError, match="unknown precision 'f8'"):
        choose_engine(model, "openvino", EngineOptions(1, precision="f8"))


def test_auto_says_why_and_takes_openvino_for_an_8_bit_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    why = "no TensorRT engine of this model is built, onnxruntime has no CUDA here"
    chosen = choose_engine(write_tiny_model(tmp_path), "auto", EngineOptions(1))
    assert (chosen.engine.name, chosen.reason) == ("onnx-cpu", why)
    pytest.importorskip("openvino", reason="no OpenVINO: pip install '.[openvino]'")
    eight = write_tiny_model(
        tmp_path, name="eight", results={"quantization": {"precision": "int8"}}
    )
    chosen = choose_engine(eight, "auto", EngineOptions(1))
    assert (chosen.engine.name, chosen.reason) == ("openvino", f"8-bit model; {why}")

    def broken(*_: object) -> None:
        raise ImportError("libtbb.so.12: cannot open shared object file")

    monkeypatch.setattr("rosam_core.engines.openvino_engine.OpenVinoEngine", broken)
    chosen = choose_engine(eight, "auto", EngineOptions(1))
    assert chosen.engine.name == "onnx-cpu"
    assert "OpenVINO is installed but not used (engine 'openvino' is not usable" in chosen.reason
    assert "libtbb" in caplog.text
    with pytest.raises(ValueError, match="'openvino' is not usable here: libtbb"):
        choose_engine(eight, "openvino", EngineOptions(1))


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_tensorrt_in_onnxruntime_is_never_replaced_in_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnxruntime

    if "TensorrtExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has TensorRT")
    model = write_tiny_model(tmp_path)
    with pytest.raises(ValueError, match=r"'onnx-tensorrt' is not usable here.*onnxruntime-gpu"):
        choose_engine(model, "onnx-tensorrt")
    names = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: names)
    with pytest.raises(ValueError, match=r"Tensorrt\w+ and CUDA\w+ did not start"):
        choose_engine(model, "onnx-tensorrt")


@pytest.mark.parametrize("text", ["device_id", "=1", "device_id=", "a=1,,b=2"])
def test_provider_options_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="provider options must be such as device_id=1, got"):
        provider_options(text)


def test_provider_options() -> None:
    assert provider_options("") == {}
    assert provider_options(" device_id=1, path=/a=b") == {"device_id": "1", "path": "/a=b"}
