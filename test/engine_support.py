"""TensorRT and CUDA without a GPU, for tests in this process and in others."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from support import write_tiny_model

from rosam_core.engines.engine_cache import EngineKey
from rosam_core.engines.tensorrt_build import BuildOptions, build_engine
from rosam_core.types import ModelCard, card_path

FAKES = Path(__file__).parent / "fake_nvidia"
Nvidia = tuple[ModuleType, ModuleType]
_NAMES = ("tensorrt", "cuda", "cuda.bindings", "cuda.bindings.runtime")


@pytest.fixture
def nvidia(monkeypatch: pytest.MonkeyPatch) -> Iterator[Nvidia]:
    """Puts the stand-ins of `test/fake_nvidia` in place; returns tensorrt and the CUDA runtime."""
    before = {name: sys.modules.pop(name, None) for name in _NAMES}
    monkeypatch.syspath_prepend(str(FAKES))
    try:
        yield importlib.import_module("tensorrt"), importlib.import_module("cuda.bindings.runtime")
    finally:
        for name, module in before.items():
            sys.modules.pop(name, None)
            if module is not None:
                sys.modules[name] = module


def rosam(cache: Path, *arguments: str | Path, **environment: str) -> subprocess.Popen[str]:
    """Starts `rosam engine` with the stand-ins in place of NVIDIA's packages."""
    path = os.pathsep.join([str(FAKES), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-m", "rosam_core.cli", "engine", *map(str, arguments)],
        env={
            **os.environ,
            "ROSAM_ENGINE_CACHE": str(cache),
            "PYTHONPATH": path,
            **environment,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Waits for a process; returns its exit code and what it printed."""
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def make_key(**changes: object) -> EngineKey:
    """Returns the key of an engine of nothing in particular."""
    values: dict[str, object] = {
        "model_sha256": "ab" * 32,
        "library": "tensorrt",
        "version": "10.3.0",
        "target": "Orin, 8.7, 8 multiprocessors",
        "precision": "fp32",
        "batches": (1,),
        "width": 64,
        "height": 48,
        "preparation": 1,
    }
    return EngineKey(**{**values, **changes})  # type: ignore[arg-type]


def tiny(folder: Path) -> tuple[Path, ModelCard]:
    """Writes the tiny model; returns it and its card."""
    model = write_tiny_model(folder)
    return model, ModelCard.load(card_path(model))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of engines that commands and engines use by default."""
    folder = tmp_path / "engines"
    monkeypatch.setenv("ROSAM_ENGINE_CACHE", str(folder))
    return folder


def build(model: Path, batches: tuple[int, ...] = (1,), **options: object) -> Path:
    """Builds an engine of a model in float32; returns its folder."""
    entry, built = build_engine(model, BuildOptions("fp32", batches, **options))  # type: ignore[arg-type]
    assert built
    return entry.folder
