"""The real builder of TensorRT for RTX, which needs no GPU, on both students."""

import importlib.util
import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

if importlib.util.find_spec("tensorrt_rtx") is None:
    pytest.skip(
        "tensorrt-rtx is not installed: it comes with the extra `dev`, on x86-64",
        allow_module_level=True,
    )
onnx = pytest.importorskip("onnx", reason="the onnx package is not installed: extra `tensorrt`")

from conv_model import HEIGHT, WIDTH, write_conv_model
from support import packaged_size

from rosam_core.engines.engine_cache import read_plan
from rosam_core.engines.onnx_precision import prepare_model
from rosam_core.engines.parity import DEPTH_LIMITS, probe_images
from rosam_core.engines.registry import default_model_path
from rosam_core.engines.tensorrt_build import BuildOptions, build_engine, build_plan
from rosam_core.engines.tensorrt_library import TensorRt, load_tensorrt
from rosam_core.quantize import prepare
from rosam_core.quantize_graph import Graph, insert_pairs

CAPABILITIES = ("8.6", "8.9", "12.0")  # RTX 30, 40 and 50
SIZES = {"light": packaged_size(), "resnet18": (64, 64)}


class Bar:
    """Counts what a build says of its progress."""

    total: float | None = 0

    def __init__(self, at: Callable[[], None] = lambda: None) -> None:
        self.done, self.phases, self.at = 0.0, [], at  # type: ignore[var-annotated]

    def update(self, n: float = 1) -> None:
        self.done += n
        self.at()

    def set_postfix_str(self, s: str = "", refresh: bool = True) -> None:
        self.phases.append(s)


@pytest.fixture(scope="module")
def library() -> TensorRt:
    return load_tensorrt("tensorrt-rtx")


@pytest.fixture(scope="module")
def resnet18(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch = pytest.importorskip("torch", reason="torch is not installed: extra `train`")
    from rosam_core.export import DeployedStudent, write_onnx
    from rosam_core.models import create_model

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("resnet18") / "resnet18.onnx"
    write_onnx(DeployedStudent(create_model("resnet18").eval()), path, SIZES["resnet18"])
    return path


@pytest.fixture
def student(request: pytest.FixtureRequest) -> Path:
    if request.param == "light":
        return default_model_path()
    return Path(request.getfixturevalue(request.param))


def quantise(model: Path, size: tuple[int, int], output: Path) -> None:
    """Writes the 8-bit model that `rosam quantize` makes of it, its scales from probe pictures."""
    network, seen = prepare(onnx.load(str(model)), probe_images(size), 1)
    names = [node.name for node in Graph(network).layers()]
    onnx.save(insert_pairs(network, seen, set(names[1:])), str(output))


def check_half(student: Path, graph: bytes, size: tuple[int, int]) -> None:
    """Compares the half-precision graph with the model file, on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    images = {"image": probe_images(size)}
    (theirs, _), (ours, _) = (
        onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"]).run(
            ["depth", "confidence"], images
        )
        for model in (student.read_bytes(), graph)
    )
    error = float(np.quantile(np.abs(ours - theirs) / theirs, 0.99))
    assert 1e-5 < error < DEPTH_LIMITS["fp16"]


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("student", SIZES, indirect=True)
def test_both_students_in_every_precision(
    library: TensorRt, student: Path, precision: str, tmp_path: Path
) -> None:
    size = SIZES["resnet18" if "resnet18" in student.name else "light"]
    weights = student.stat().st_size
    if precision == "int8":
        quantise(student, size, tmp_path / "quantised.onnx")
        student = tmp_path / "quantised.onnx"
    graph, found = prepare_model(student, precision)
    assert found == precision
    bar = Bar()
    plan = build_plan(library, graph, size, (1, 6), CAPABILITIES, progress=bar)
    assert bar.total
    assert bar.done > 100
    assert "Building engine" in bar.phases
    # An engine holds the weights in the precision that was asked for, and kernels for three GPUs.
    if precision == "fp32":
        assert plan.nbytes > weights
    if precision == "fp16":
        assert len(graph) < 0.6 * weights
        check_half(student, graph, size)
        assert plan.nbytes > len(graph)


def test_bytes_that_are_transposed_first_are_refused_and_mended(
    library: TensorRt, tmp_path: Path
) -> None:
    # Why `prepare_model` casts first: older exports transpose bytes.
    model = write_conv_model(tmp_path)
    with pytest.raises(ValueError, match=r"cannot read the model: .*has type UInt8") as caught:
        build_plan(library, model.read_bytes(), (WIDTH, HEIGHT), (1,), ("8.6",))
    assert "\n" not in str(caught.value)
    assert build_plan(
        library, prepare_model(model, "fp32")[0], (WIDTH, HEIGHT), (1,), ("8.6",)
    ).nbytes


def test_a_build_without_a_gpu_is_kept_and_says_that_nobody_compared_it(tmp_path: Path) -> None:
    from rosam_core.engines.cuda_device import find_gpu

    said: list[str] = []
    options = BuildOptions(
        library="tensorrt-rtx", capabilities=("8.9", "8.6"), cache=tmp_path / "cache"
    )
    entry, built = build_engine(default_model_path(), options, say=said.append)
    assert built
    assert entry.card is not None
    assert entry.card.key.target == "8.6,8.9"
    assert entry.card.key.precision == "fp16"
    read_plan(entry)
    if find_gpu() is None:
        assert entry.card.parity == {}
        assert said == [
            "not compared with ONNX Runtime: there is no GPU here that runs this engine"
        ]
    assert build_engine(default_model_path(), options)[1] is False
    assert not list((tmp_path / "cache").glob("*.timings")), "tensorrt-rtx has none"


def test_unknown_gpus_are_refused(library: TensorRt) -> None:
    graph, _ = prepare_model(default_model_path())
    with pytest.raises(ValueError, match=r"does not build for compute capability 8\.7: it knows"):
        build_plan(library, graph, SIZES["light"], (1,), ("8.6", "8.7"))


def test_ctrl_c_ends_a_build(library: TensorRt) -> None:
    graph, _ = prepare_model(default_model_path())
    before = signal.getsignal(signal.SIGINT)
    bar = Bar(lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        build_plan(library, graph, SIZES["light"], (1,), ("8.6",), progress=bar)
    assert bar.done < 100
    assert signal.getsignal(signal.SIGINT) is before


def test_what_the_exporter_writes_is_read_as_it_is(library: TensorRt, resnet18: Path) -> None:
    size = SIZES["resnet18"]
    plan = build_plan(library, resnet18.read_bytes(), size, (1,), ("8.9",))
    assert plan.nbytes > resnet18.stat().st_size
