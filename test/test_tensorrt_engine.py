import dataclasses
import logging
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from engine_support import Nvidia, build, cache, make_key, nvidia, tiny
from support import expect_values_by_hand

from rosam_core.engines import registry
from rosam_core.engines.cuda_device import CudaDevice, Gpu, find_gpu
from rosam_core.engines.engine_cache import CARD, entries, set_parity
from rosam_core.engines.onnx_precision import PREPARATION
from rosam_core.engines.registry import load_engine
from rosam_core.engines.tensorrt_engine import TensorRtEngine, gpu_target, open_engine, why_not
from rosam_core.engines.tensorrt_library import TensorRt, load_tensorrt
from rosam_core.types import card_path

__all__ = ["cache", "nvidia"]  # the fixtures

ORIN = Gpu("Orin", "8.7", 8)


def pictures(batch: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (batch, 48, 64, 3), np.uint8)


def test_values_by_hand(tmp_path: Path, cache: Path, nvidia: Nvidia) -> None:
    model, _ = tiny(tmp_path)
    build(model, (1, 2))
    engine = load_engine(model, "tensorrt")
    assert engine.name == "tensorrt-fp32"
    expect_values_by_hand(engine)
    engine.close()


@pytest.mark.parametrize("graphs", [True, False])
def test_every_batch_up_to_the_largest(
    tmp_path: Path, cache: Path, nvidia: Nvidia, graphs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not graphs:
        monkeypatch.setenv("FAKE_NO_CAPTURE", "1")
    model, _ = tiny(tmp_path)
    build(model, (1, 4))
    reference = load_engine(model, "onnx-cpu", 1)
    engine = load_engine(model, "tensorrt")
    # Back and forth: a graph that was captured for one size must not run another.
    for seed, batch in enumerate((1, 4, 2, 1, 3, 4)):
        images = pictures(batch, seed)
        for ours, theirs in zip(engine.infer(images), reference.infer(images), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(ValueError, match=r"up to 4 images at once, got 5.*--batch 4,5"):
        engine.infer(pictures(5))
    with pytest.raises(ValueError, match=r"needs uint8\[N,48,64,3\]"):
        engine.infer(np.zeros((1, 64, 48, 3), np.uint8))


def test_a_frame_takes_no_memory_and_one_launch(
    tmp_path: Path, cache: Path, nvidia: Nvidia
) -> None:
    model, _ = tiny(tmp_path)
    build(model, (1,))
    calls = nvidia[1].CALLS
    engine = load_engine(model, "tensorrt")
    engine.infer(pictures(1))
    calls.clear()
    held: set[int] = set()
    others: list[np.ndarray] = []
    for _ in range(5):
        depth, confidence = engine.infer(pictures(1))
        held |= {depth.ctypes.data, confidence.ctypes.data}
        del depth, confidence
        others += [np.empty((1, 48, 64), np.float32) for _ in range(2)]  # take what was freed
    assert dict(calls) == {"cudaGraphLaunch": 5, "cudaStreamSynchronize": 5}
    assert len(held) == 2, "the arrays are recycled once nobody holds them"
    first, _ = engine.infer(pictures(1, seed=1))
    kept = first.copy()
    engine.infer(pictures(1, seed=2))
    np.testing.assert_array_equal(first, kept, err_msg="a held answer was overwritten")


def test_graphs_that_cannot_be_captured_cost_one_warning(
    tmp_path: Path,
    cache: Path,
    nvidia: Nvidia,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, _ = tiny(tmp_path)
    build(model, (1, 2, 3))
    monkeypatch.setenv("FAKE_NO_CAPTURE", "1")
    engine = load_engine(model, "tensorrt")
    warnings = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert "runs without CUDA graphs, slower: CUDA: cudaStreamBeginCapture" in warnings[0]
    nvidia[1].CALLS.clear()
    assert engine.infer(np.zeros((1, 48, 64, 3), np.uint8))[0].max() == 2.0
    assert nvidia[1].CALLS["cudaMemcpyAsync"] == 3


def test_close_frees_everything(tmp_path: Path, cache: Path, nvidia: Nvidia) -> None:
    model, _ = tiny(tmp_path)
    build(model, (1, 2))
    assert nvidia[1].live() == 0, "the comparison of the build leaves nothing behind"
    engine = load_engine(model, "tensorrt")
    depth, _ = engine.infer(np.zeros((1, 48, 64, 3), np.uint8))
    # Three tensors, on the GPU and pinned, and two graphs.
    assert nvidia[1].live() == 8
    engine.close()
    engine.close()
    assert nvidia[1].live() == 0
    assert depth.max() == 2.0, "an answer outlives its engine"


def test_failures_of_loading_free_everything(
    tmp_path: Path, cache: Path, nvidia: Nvidia, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, _ = tiny(tmp_path)
    build(model)
    monkeypatch.setattr(nvidia[0]._Context, "execute_async_v3", lambda self, stream: False)
    with pytest.raises(ValueError, match="'tensorrt' is not usable here: TensorRT could not run"):
        load_engine(model, "tensorrt")
    assert nvidia[1].live() == 0


def refuse(model: Path, message: str, trt: ModuleType) -> None:
    """Checks the refusal, its remedy, and that TensorRT never saw the engine."""
    trt.DESERIALISED.clear()
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        load_engine(model, "tensorrt")
    assert f"build it with `rosam engine build {model}" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert trt.DESERIALISED == []


def test_damaged_engines_are_never_deserialised(
    tmp_path: Path, cache: Path, nvidia: Nvidia
) -> None:
    trt = nvidia[0]
    model, _ = tiny(tmp_path)
    folder = build(model)
    (plan,) = folder.glob("*.plan")
    whole, card = plan.read_bytes(), (folder / CARD).read_text()
    plan.write_bytes(whole[:-1])
    refuse(model, f"has {len(whole) - 1} bytes, its card says {len(whole)}", trt)
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    plan.write_bytes(flipped)
    refuse(model, "it is damaged or was exchanged", trt)
    plan.unlink()
    refuse(model, "the engine that its card names is not there", trt)
    plan.write_bytes(whole)
    (folder / CARD).unlink()
    refuse(model, "was built from this file", trt)
    (folder / CARD).write_text(card[: len(card) // 2])
    refuse(model, "was built from this file", trt)
    # The card of this engine in the folder of another.
    (folder / CARD).write_text(card.replace('"10.3.0"', '"10.4.0"'))
    refuse(model, "its card is of another engine", trt)
    (folder / CARD).write_text(card)
    load_engine(model, "tensorrt").close()


def test_foreign_and_stale_engines_are_refused(
    tmp_path: Path, cache: Path, nvidia: Nvidia, monkeypatch: pytest.MonkeyPatch
) -> None:
    trt, cuda = nvidia
    model, _ = tiny(tmp_path)
    refuse(model, "no engine in", trt)
    build(model)
    monkeypatch.setattr(trt, "__version__", "10.16.1")
    refuse(model, "built with tensorrt 10.3.0, here is tensorrt 10.16.1", trt)
    monkeypatch.undo()
    monkeypatch.setenv("ROSAM_ENGINE_CACHE", str(cache))
    monkeypatch.setattr(cuda.Properties, "multiProcessorCount", 16)  # Orin NX, then AGX
    refuse(model, "built for Orin, 8.7, 8 multiprocessors, here is Orin, 8.7, 16 multi", trt)
    monkeypatch.undo()
    monkeypatch.setenv("ROSAM_ENGINE_CACHE", str(cache))
    # The same name, other weights.
    tiny(tmp_path / "new")
    changed = (tmp_path / "new" / "tiny.onnx").read_bytes() + b"\x3a\x00"
    model.write_bytes(changed)
    from rosam_core.types import ModelCard, file_sha256

    fresh = dataclasses.replace(ModelCard.load(card_path(model)), sha256=file_sha256(model))
    card_path(model).write_text(fresh.to_json())
    refuse(model, "the 1 of an older file of that name are stale", trt)


def test_what_an_engine_fits() -> None:
    library = load_tensorrt_stub("tensorrt", "10.3.0")
    key = make_key(target=gpu_target(ORIN), preparation=PREPARATION)
    assert why_not(key, library, ORIN) == ""
    old = dataclasses.replace(key, preparation=PREPARATION - 1)
    assert "another version of rosam" in why_not(old, library, ORIN)
    assert "here is RTX, 8.9" in why_not(key, library, Gpu("RTX", "8.9", 128))
    rtx = load_tensorrt_stub("tensorrt-rtx", "1.7")
    portable = dataclasses.replace(
        key, library="tensorrt-rtx", version="1.7", target="8.6,8.9,12.0"
    )
    assert why_not(portable, rtx, Gpu("RTX", "8.9", 128)) == ""
    assert "built for 8.6,8.9,12.0" in why_not(portable, rtx, ORIN)
    assert "built with tensorrt-rtx 1.7" in why_not(portable, library, ORIN)


def load_tensorrt_stub(name: str, version: str) -> TensorRt:
    return TensorRt(None, name, version, None)


def test_the_newest_engine_is_taken(tmp_path: Path, cache: Path, nvidia: Nvidia) -> None:
    model, card = tiny(tmp_path)
    build(model, (1,))
    build(model, (1, 3))
    for age, entry in enumerate(sorted(entries(cache), key=lambda e: e.card.key.batches)):
        text = (entry.folder / CARD).read_text().replace(entry.card.built, f"200{age}-01-01")
        (entry.folder / CARD).write_text(text)
    engine = open_engine(model, card)
    assert engine.max_batch == 3
    engine.close()


def test_an_engine_that_was_found_too_far_off_is_refused(
    tmp_path: Path, cache: Path, nvidia: Nvidia
) -> None:
    model, _ = tiny(tmp_path)
    build(model)
    (entry,) = entries(cache)
    set_parity(entry, {**entry.card.parity, "depth_p99": 0.2})
    refuse(model, "differs from ONNX Runtime by 2.00e-01 (p99, relative)", nvidia[0])


def test_an_engine_nobody_compared_says_so(
    tmp_path: Path, cache: Path, nvidia: Nvidia, caplog: pytest.LogCaptureFixture
) -> None:
    model, _ = tiny(tmp_path)
    build(model)
    (entry,) = entries(cache)
    set_parity(entry, {})
    load_engine(model, "tensorrt").close()
    assert f"run `rosam engine verify {model}`" in caplog.text


def test_an_engine_of_another_shape_is_refused(
    tmp_path: Path, cache: Path, nvidia: Nvidia
) -> None:
    # A plan whose hash is right but whose inputs are not the model's.
    model, card = tiny(tmp_path)
    folder = build(model)
    (plan,) = folder.glob("*.plan")
    wider = dataclasses.replace(card, input_width=96)
    with pytest.raises(ValueError, match=r"`image` uint8\[\?,48,64,3\], but its card"):
        TensorRtEngine(plan.read_bytes(), wider, make_key(), load_tensorrt(), CudaDevice())


def test_auto_takes_an_engine_that_was_built(
    tmp_path: Path,
    cache: Path,
    nvidia: Nvidia,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, _ = tiny(tmp_path)
    assert load_engine(model, "auto", 1).name == "onnx-cpu"
    build(model)
    with caplog.at_level(logging.INFO, logger=registry.__name__):
        assert load_engine(model, "auto", 1).name == "tensorrt-fp32"
    assert "engine auto: tensorrt-fp32 for tiny.onnx" in caplog.text
    caplog.clear()
    monkeypatch.setattr(nvidia[0], "__version__", "11.4.0")
    assert load_engine(model, "auto", 1).name == "onnx-cpu"
    assert "engine auto: an engine was built but is not used" in caplog.text


def test_no_gpu_and_no_library(
    tmp_path: Path, nvidia: Nvidia, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_GPUS", "0")
    model, _ = tiny(tmp_path)
    assert find_gpu() is None
    with pytest.raises(ValueError, match="no NVIDIA GPU in this machine: use the engine"):
        load_engine(model, "tensorrt")
    monkeypatch.setenv("FAKE_OLD_DRIVER", "1")
    with pytest.raises(ValueError, match=r"InsufficientDriver.*pip install 'cuda-bindings<13'"):
        load_engine(model, "tensorrt")
    assert find_gpu() is None
    with pytest.raises(ValueError, match="unknown library 'trt': choose auto, tensorrt"):
        load_tensorrt("trt")
