"""What an engine swap does about files that change, paths that cannot be, and old failures."""

import dataclasses
import os
import threading
import time

import pytest
from conv_model import write_conv_model
from engine_support import FAKES, build, cache, nvidia  # noqa: F401 - fixtures
from support import write_tiny_model

pytestmark = pytest.mark.ros
pytest.importorskip("rclpy", reason="no ROS 2: source one, or pip install '.[ros]'")
pytest.importorskip("onnx", reason="onnx makes the tiny model: extra dev")

from rosam_core.engines.tensorrt_build import BuildOptions, build_engine
from rosam_depth_ros import engine_swap
from rosam_depth_ros.diagnostics import ErrorLog
from rosam_depth_ros.engine_builder import split_options
from rosam_depth_ros.engine_swap import EngineSwap
from rosam_depth_ros.parameters import NodeParameters


@pytest.fixture
def swap():
    made = EngineSwap(ErrorLog(lambda text: None), lambda line: None, lambda: None)
    yield made
    made.close()


def asked(model, **others):
    return NodeParameters(model=str(model), **{"engine": "onnx-cpu", "threads": 1} | others)


def served(swap, parameters, timeout_s=30.0):
    """Asks as the node does between frames, until nothing is on its way any more."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        engine = swap.engine(parameters)
        if not swap.is_loading:
            return engine
        time.sleep(0.005)
    raise AssertionError("still loading")


def served_by(swap, parameters, engine, timeout_s=60.0):
    """Asks as the node does between frames, until this engine serves."""
    end = time.monotonic() + timeout_s
    while (found := swap.engine(parameters)) is None or found.name != engine:
        assert time.monotonic() < end, swap.status(parameters)
        time.sleep(0.01)
    return found


@pytest.mark.parametrize("wrong", ["~nobody-of-this-name/m.onnx", ".", "absent.onnx"])
def test_a_path_that_cannot_be_leaves_the_way_free_for_the_next(tmp_path, swap, wrong):
    assert served(swap, asked(wrong)) is None
    assert "does not load" in swap.status(asked(wrong)).reason
    swap.retry()
    good = asked(write_tiny_model(tmp_path))
    assert served(swap, good).name == "onnx-cpu"
    assert not swap.status(good).degraded
    assert served(swap, asked(wrong, build_engine=True, engine="auto")).name == "onnx-cpu"


def test_a_model_that_is_exported_anew_is_loaded_when_it_is_set_again(tmp_path, swap):
    parameters = asked(write_tiny_model(tmp_path))
    first = served(swap, parameters)
    swap.retry()
    assert served(swap, parameters) is first  # nothing has changed
    os.utime(write_tiny_model(tmp_path), (1, 1))
    assert served(swap, parameters) is first  # nobody has asked
    swap.retry()
    assert served(swap, parameters) is not first


def test_a_failure_that_nobody_waits_for_any_more_is_not_told(tmp_path, swap, monkeypatch):
    parameters = asked(write_tiny_model(tmp_path))
    first = served(swap, parameters)
    go_on, choose = threading.Event(), engine_swap.choose_engine

    def waiting(*arguments, **named):
        assert go_on.wait(30)
        return choose(*arguments, **named)

    monkeypatch.setattr(engine_swap, "choose_engine", waiting)
    swap.retry()
    swap.engine(asked("absent.onnx"))
    swap.retry()
    swap.engine(parameters)  # back, before the other was found missing
    go_on.set()
    assert served(swap, parameters) is first
    assert not swap.status(parameters).degraded


def test_an_engine_for_one_image_does_not_serve_three_cameras(
    tmp_path,
    cache,  # noqa: F811
    nvidia,  # noqa: F811
    swap,
):
    model = write_tiny_model(tmp_path)
    build(model)
    parameters = asked(model, engine="auto", cameras="a,b,c")
    assert served(swap, parameters).name == "onnx-cpu"
    reason = swap.status(parameters).reason
    assert "the engine takes 1 at once, not 3" in reason
    assert "--batch 1,3`" in reason
    build(model, (1, 3))
    swap.retry()
    assert served(swap, parameters).name.startswith("tensorrt")


@pytest.fixture
def builds(monkeypatch):
    """Lets the node build, with the stand-ins."""
    path = os.pathsep.join([str(FAKES), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", path)
    return {"engine": "auto", "build_engine": True, "build_options": "--precision fp32"}


@pytest.mark.usefixtures("cache", "nvidia")
def test_a_model_that_is_exported_anew_is_built_anew_when_it_is_set_again(tmp_path, swap, builds):
    parameters = asked(write_conv_model(tmp_path), **builds)
    old = served_by(swap, parameters, "tensorrt-fp32")
    swap.retry()
    assert served(swap, parameters) is old  # nothing has changed
    write_conv_model(tmp_path, seed=1)
    assert served(swap, dataclasses.replace(parameters, max_depth_m=70.0)) is old
    swap.retry()
    served_by(swap, parameters, "onnx-cpu")
    new = served_by(swap, parameters, "tensorrt-fp32")
    assert new.card.sha256 != old.card.sha256
    assert not swap.status(parameters).degraded


@pytest.mark.usefixtures("cache", "nvidia")
def test_an_engine_of_another_precision_than_asked_for_is_no_reason_not_to_build(
    tmp_path, swap, builds
):
    model = write_conv_model(tmp_path)
    build_engine(model, BuildOptions("fp16"))
    parameters = asked(model, **builds)
    served_by(swap, parameters, "tensorrt-fp16")
    served_by(swap, parameters, "tensorrt-fp32")


@pytest.mark.usefixtures("nvidia")
def test_an_engine_that_is_built_elsewhere_is_seen_as_soon_as_it_is_whole(
    tmp_path,
    cache,  # noqa: F811
    swap,
):
    model = write_tiny_model(tmp_path)
    parameters = asked(model, engine="auto")
    files = {path: path.read_bytes() for path in build(model).iterdir()}
    for path in files:  # an empty folder is what a build begins with
        path.unlink()
    served_by(swap, parameters, "onnx-cpu")
    for path, content in files.items():
        path.write_bytes(content)
    swap.retry()
    served_by(swap, parameters, "tensorrt-fp32")


def test_an_engine_is_not_built_where_the_node_does_not_look():
    assert split_options("--precision fp32") == ["--precision", "fp32"]
    for text in ("--cache /tmp/x", "--precision fp32 --cache=/tmp/x"):
        with pytest.raises(ValueError, match="set ROSAM_ENGINE_CACHE"):
            split_options(text)
