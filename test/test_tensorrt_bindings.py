"""Every name of TensorRT that the code touches, looked up in the real bindings of each version."""

import functools
import importlib.util
import re
import shutil
import sys
from pathlib import Path

import pytest
from tensorrt_attributes import CLASSES, RTX, make_stubs, missing, offered, touched

PACKAGES = {
    "10.3": "tensorrt-cu11-bindings",  # JetPack 6
    "10.16": "tensorrt-cu12-bindings",
    "11.4": "tensorrt-cu13-bindings",
}
SOURCES = sorted(Path(__file__).parents[1].glob("rosam_core/engines/tensorrt_*.py"))


@pytest.fixture(scope="module")
def bindings(tmp_path_factory: pytest.TempPathFactory):
    """Returns what a version offers; skips where its wheel or a C compiler is not installed."""

    @functools.cache
    def of(version: str) -> dict[str, list[str]]:
        folder = Path(sys.prefix) / "share" / "tensorrt-bindings" / PACKAGES[version]
        if not (folder / "tensorrt_bindings").is_dir():
            pytest.skip(f"{PACKAGES[version]} is not in {folder}: `make bindings` puts it there")
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            pytest.skip("no C compiler for the stand-ins of TensorRT's libraries")
        stubs = make_stubs(tmp_path_factory.mktemp(version), version.split(".")[0], compiler)
        found = offered("tensorrt_bindings", str(folder), stubs)
        assert found["version"].startswith(f"{version}.")
        return found["classes"]

    return of


def all_touched(classes: dict[str, str] = CLASSES) -> set[tuple[str, str]]:
    return set().union(*(touched(path.read_text(), classes) for path in SOURCES))


def test_the_search_finds_what_the_code_does() -> None:
    assert len(SOURCES) == 3
    found = all_touched()
    assert found >= {
        ("", "Builder"),
        ("", "OnnxParser"),
        ("ILogger.Severity", "ERROR"),
        ("ILogger", "log"),
        ("NetworkDefinitionCreationFlag", "STRONGLY_TYPED"),
        ("BuilderFlag", "TF32"),
        ("Builder", "build_serialized_network"),
        ("OnnxParser", "parse"),
        ("IBuilderConfig", "add_optimization_profile"),
        ("IBuilderConfig", "progress_monitor"),
        ("IBuilderConfig", "set_timing_cache"),
        ("IOptimizationProfile", "set_shape"),
        ("IProgressMonitor", "step_complete"),
        ("ITimingCache", "serialize"),
        ("Runtime", "deserialize_cuda_engine"),
        ("ICudaEngine", "create_execution_context"),
        ("ICudaEngine", "get_tensor_mode"),
        ("IExecutionContext", "set_input_shape"),
        ("IExecutionContext", "set_tensor_address"),
        ("IExecutionContext", "execute_async_v3"),
        ("TensorIOMode", "INPUT"),
    }


@pytest.mark.parametrize("version", PACKAGES)
def test_every_attribute_exists(bindings, version: str) -> None:
    assert missing(all_touched(), bindings(version)) == []


@pytest.mark.parametrize(
    ("line", "gone"),
    [
        ("config.set_flag(trt.BuilderFlag.FP16)", "BuilderFlag.FP16"),
        ("config.set_flag(trt.BuilderFlag.INT8)", "BuilderFlag.INT8"),
        ("config.int8_calibrator = None", "IBuilderConfig.int8_calibrator"),
        (
            "flags |= 1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)",
            "NetworkDefinitionCreationFlag.EXPLICIT_BATCH",
        ),
        ("trt.IInt8EntropyCalibrator2()", "IInt8EntropyCalibrator2"),
        ("builder.platform_has_fast_fp16", "Builder.platform_has_fast_fp16"),
    ],
)
def test_what_11_removed_is_noticed(bindings, line: str, gone: str) -> None:
    source = next(p for p in SOURCES if p.name == "tensorrt_build.py").read_text()
    anchor = "    config.clear_flag(trt.BuilderFlag.TF32)\n"
    assert source.count(anchor) == 1
    planted = touched(source.replace(anchor, f"{anchor}    {line}\n"))
    assert missing(planted, bindings("10.3")) == []
    assert missing(planted, bindings("11.4")) == [gone]


def test_tensorrt_rtx_has_it_all() -> None:
    if importlib.util.find_spec("tensorrt_rtx") is None:
        pytest.skip("tensorrt-rtx is not installed: it comes with the extra `dev`, on x86-64")
    classes = offered("tensorrt_rtx")["classes"]
    assert missing(all_touched(), classes) == []
    more = all_touched(RTX)
    assert {("", "ComputeCapability"), ("IBuilderConfig", "set_compute_capability")} <= more
    assert missing(more, classes) == []


def test_cuda_functions_exist() -> None:
    pytest.importorskip("cuda.bindings", reason="cuda-bindings is not installed: extra `dev`")
    from cuda.bindings import runtime

    path = Path(__file__).parents[1] / "rosam_core/engines/cuda_device.py"
    named = set(re.findall(r"\bcuda[A-Z]\w+", path.read_text()))
    assert len(named) > 15
    inner = {"cudaMemcpyHostToDevice", "cudaMemcpyDeviceToHost"}
    assert all(hasattr(runtime.cudaMemcpyKind, name) for name in inner)
    mode = "cudaStreamCaptureModeThreadLocal"
    assert hasattr(runtime.cudaStreamCaptureMode, mode)
    assert [n for n in sorted(named - inner - {mode}) if not hasattr(runtime, n)] == []
