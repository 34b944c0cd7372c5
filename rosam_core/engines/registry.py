"""From the name of an engine and a model file to a running engine."""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path

from rosam_core.engines.base import DepthEngine
from rosam_core.engines.contract import load_card
from rosam_core.types import ModelCard

logger = logging.getLogger(__name__)

ENGINES = ("auto", "onnx-cpu", "onnx-cuda", "openvino", "tensorrt")
"""Names `load_engine` takes; `onnx` is short for `onnx-cpu`."""


def default_model_path() -> Path:
    """Returns the model that ships with the package.

    Raises:
        FileNotFoundError: This installation has none.
    """
    path = Path(__file__).parents[1] / "weights" / "rosam_light.onnx"
    if not path.is_file():
        raise FileNotFoundError(
            f"this installation ships no model ({path.name} is not in rosam_core/weights): give "
            "one with `model:=/path/model.onnx`, or train and export one with "
            "`rosam train training/recipes/pretrain_synthetic.yaml` and `rosam export`"
        )
    return path


def load_engine(
    model: str | Path,
    engine: str = "auto",
    threads: int = 0,
    spinning: bool = False,
    verify: bool = True,
) -> DepthEngine:
    """Loads a model file and its card into an engine.

    `auto` is TensorRT where `rosam engine` has built an engine of this model, else ONNX Runtime on
    CUDA where it works and on the CPU otherwise; one logged line says which, and an engine or a
    CUDA that is there but does not start is a warning with its remedy.

    Args:
        model: The ONNX file; its card lies beside it.
        engine: One of `ENGINES`.
        threads: CPU threads of one inference, 0 = every core.
        spinning: Let idle threads busy-wait.
        verify: Check the file against the card's sha256.

    Raises:
        FileNotFoundError: Model or card missing.
        ValueError: Unknown or unavailable engine, a damaged model, or a card of another file.
    """
    name = "onnx-cpu" if engine == "onnx" else engine
    if name not in ENGINES:
        raise ValueError(f"unknown engine {engine!r}: choose one of {', '.join(ENGINES)}")
    model = Path(model)
    card = load_card(model, verify)
    if name == "openvino":
        return _openvino(model, card, threads)
    if name == "tensorrt":
        return _tensorrt(model, card)
    from rosam_core.engines.onnx_engine import OnnxEngine

    if name == "onnx-cpu":
        return OnnxEngine(model, card, "cpu", threads, spinning)
    if name == "onnx-cuda":
        try:
            return OnnxEngine(model, card, "cuda", threads, spinning)
        except RuntimeError as error:
            raise ValueError(f"engine 'onnx-cuda' is not usable here: {error}") from error
    return _auto(model, card, threads, spinning)


def _auto(model: Path, card: ModelCard, threads: int, spinning: bool) -> DepthEngine:
    import onnxruntime as ort

    from rosam_core.engines.onnx_engine import PROVIDERS, OnnxEngine
    from rosam_core.engines.tensorrt_engine import is_cached

    if is_cached(card):
        try:
            engine = _tensorrt(model, card)
            logger.info("engine auto: %s for %s", engine.name, model.name)
            return engine
        except (ValueError, RuntimeError) as error:
            logger.warning("engine auto: an engine was built but is not used: %s", error)
    if PROVIDERS["cuda"] in ort.get_available_providers():
        try:
            loaded = OnnxEngine(model, card, "cuda", threads, spinning)
            logger.info("engine auto: onnx-cuda for %s", model.name)
            return loaded
        except RuntimeError as error:
            logger.warning("engine auto: CUDA is installed but unusable, using CPU: %s", error)
            return OnnxEngine(model, card, "cpu", threads, spinning)
    logger.info("engine auto: onnx-cpu for %s, onnxruntime has no CUDA here", model.name)
    return OnnxEngine(model, card, "cpu", threads, spinning)


def _openvino(model: Path, card: ModelCard, threads: int) -> DepthEngine:
    if importlib.util.find_spec("openvino") is None:
        raise ValueError(
            "engine 'openvino' needs the openvino package: `pip install rosam_depth_ros[openvino]`"
        )
    from rosam_core.engines.openvino_engine import OpenVinoEngine

    return OpenVinoEngine(model, card, threads)


def _tensorrt(model: Path, card: ModelCard) -> DepthEngine:
    from rosam_core.engines.tensorrt_engine import open_engine

    try:
        return open_engine(model, card)
    except RuntimeError as error:
        raise ValueError(f"engine 'tensorrt' is not usable here: {error}") from error
