from pathlib import Path

import numpy as np
import pytest
from support import write_tiny_model

from rosam_core.engines.contract import load_card
from rosam_core.engines.onnx_engine import OnnxEngine


@pytest.mark.parametrize("arena", [True, False])
def test_arena_reaches_the_session(tmp_path: Path, arena: bool) -> None:
    model = write_tiny_model(tmp_path)
    engine = OnnxEngine(model, load_card(model), threads=1, arena=arena)
    assert engine._session.get_session_options().enable_cpu_mem_arena == arena
    depth, _ = engine.infer(np.zeros((1, 48, 64, 3), np.uint8))
    assert (depth == 2.0).all()


def test_a_provider_that_is_not_there_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnxruntime

    model = write_tiny_model(tmp_path)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(RuntimeError, match="has no CUDAExecutionProvider"):
        OnnxEngine(model, load_card(model), "cuda", 1)
    with pytest.raises(ValueError, match="unknown device 'gpu': choose one of cpu, cuda"):
        OnnxEngine(model, load_card(model), "gpu", 1)
    with pytest.raises(ValueError, match="CPUExecutionProvider has no options, got device_id"):
        OnnxEngine(model, load_card(model), "cpu", 1, provider_options={"device_id": "1"})


def test_provider_options_reach_the_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnxruntime

    asked: list[object] = []

    class Session:
        def __init__(self, path: str, options: object, providers: object) -> None:
            asked.append(providers)

        def disable_fallback(self) -> None:
            pass

        def get_providers(self) -> list[str]:
            return ["CPUExecutionProvider"]  # CUDA was dropped

    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    names = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: names)
    model, on_the_second = write_tiny_model(tmp_path), {"device_id": "1"}
    with pytest.raises(RuntimeError, match="CUDAExecutionProvider did not start"):
        OnnxEngine(model, load_card(model), "cuda", 1, provider_options=on_the_second)
    assert asked.pop() == [(names[1], on_the_second), (names[2], {})]
    # What TensorRT leaves to CUDA runs on the same GPU; its other options are its own.
    options = {**on_the_second, "trt_fp16_enable": "1"}
    with pytest.raises(RuntimeError, match="did not start"):
        OnnxEngine(model, load_card(model), "tensorrt", 1, provider_options=options)
    assert asked.pop() == [(names[0], options), (names[1], on_the_second), (names[2], {})]


def test_a_provider_that_fails_is_an_error_and_not_another_provider(tmp_path: Path) -> None:
    """Left alone, ONNX Runtime prints a line and goes on with the CPU."""
    from onnxruntime.capi import _pybind_state

    model = write_tiny_model(tmp_path)
    engine = OnnxEngine(model, load_card(model), "cpu", 1)

    class Failing:
        def __init__(self, session: object) -> None:
            self.session = session

        def __getattr__(self, name: str) -> object:
            return getattr(self.session, name)

        def run(self, *_: object) -> None:
            raise _pybind_state.EPFail("CUDA failure 700")

    engine._session._sess = Failing(engine._session._sess)
    with pytest.raises(_pybind_state.EPFail, match="CUDA failure 700"):
        engine.infer(np.zeros((1, 48, 64, 3), np.uint8))


def test_a_provider_that_loads_but_cannot_run_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnxruntime
    from onnxruntime.capi import _pybind_state

    def run(self: object, *_: object) -> None:
        raise _pybind_state.Fail("no kernel image is available\n  for execution")

    monkeypatch.setattr(onnxruntime.InferenceSession, "run", run)
    model = write_tiny_model(tmp_path)
    words = (
        "CPUExecutionProvider loads tiny.onnx but cannot run it: no kernel image is available for"
    )
    with pytest.raises(RuntimeError, match=words):
        OnnxEngine(model, load_card(model), "cpu", 1)
