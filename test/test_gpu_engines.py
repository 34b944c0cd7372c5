"""Both students on a real GPU: ONNX Runtime CUDA and TensorRT, against ONNX Runtime on the CPU."""

from __future__ import annotations

from pathlib import Path

import pytest

from rosam_core.engines.cuda_device import find_gpu
from rosam_core.engines.onnx_engine import PROVIDERS, OnnxEngine
from rosam_core.engines.parity import measure_parity, refuse_beyond
from rosam_core.engines.registry import choose_engine, default_model_path
from rosam_core.engines.tensorrt_build import BuildOptions, build_engine
from rosam_core.engines.tensorrt_library import LIBRARIES, load_tensorrt
from rosam_core.types import ModelCard, card_path

pytestmark = [pytest.mark.gpu, pytest.mark.slow]
BATCHES = (1, 6)
SIZE = (576, 320)


@pytest.fixture(scope="module", autouse=True)
def _gpu() -> None:
    if find_gpu() is None:
        pytest.skip("no NVIDIA GPU here, or no cuda-bindings of its CUDA version")


@pytest.fixture(scope="module")
def resnet18(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch = pytest.importorskip("torch", reason="torch is not installed: extra `train`")
    from support import write_tiny_model

    from rosam_core.export import DeployedStudent, write_onnx
    from rosam_core.models import create_model
    from rosam_core.types import file_sha256

    torch.manual_seed(0)
    path = write_tiny_model(tmp_path_factory.mktemp("resnet18"), *SIZE, name="resnet18")
    card = card_path(path).read_text()
    before = file_sha256(path)
    write_onnx(DeployedStudent(create_model("resnet18").eval()), path, SIZE)
    card_path(path).write_text(card.replace(before, file_sha256(path)))
    return path


@pytest.fixture(params=["light", "resnet18"])
def student(request: pytest.FixtureRequest) -> Path:
    if request.param == "light":
        return default_model_path()
    return Path(request.getfixturevalue("resnet18"))


def test_onnx_runtime_on_cuda_agrees_with_the_cpu(student: Path) -> None:
    import onnxruntime

    if PROVIDERS["cuda"] not in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has no CUDA: onnxruntime-gpu")
    card = ModelCard.load(card_path(student))
    cuda = choose_engine(student, "onnx-cuda").engine
    parity = measure_parity(cuda, OnnxEngine(student, card), BATCHES)
    refuse_beyond(parity, "fp16")  # cuDNN takes TF32 for float32


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("library", LIBRARIES)
def test_tensorrt_builds_runs_and_agrees_with_the_cpu(
    student: Path,
    precision: str,
    library: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    try:
        load_tensorrt(library)
    except ValueError as error:
        pytest.skip(str(error))
    monkeypatch.setenv("ROSAM_ENGINE_CACHE", str(tmp_path))
    # Building compares both batch sizes with the CPU and refuses what is too far off.
    entry, built = build_engine(student, BuildOptions(precision, BATCHES, library))
    assert built
    assert entry.card is not None
    assert entry.card.parity["depth_p99"] > 0
    chosen = choose_engine(student, "auto")
    assert chosen.engine.name == f"{library}-{precision}"
    chosen.engine.close()
