"""From the name of an engine and a model file to a running engine."""

from __future__ import annotations

import dataclasses
import importlib.util
import logging
from collections.abc import Mapping
from pathlib import Path

from rosam_core.engines.base import DepthEngine
from rosam_core.engines.contract import load_card
from rosam_core.types import ModelCard

logger = logging.getLogger(__name__)

ENGINES = ("auto", "onnx-cpu", "onnx-cuda", "onnx-tensorrt", "openvino", "tensorrt")
"""Names `load_engine` takes; `onnx` is short for `onnx-cpu`.

`onnx-tensorrt` is TensorRT inside ONNX Runtime; `tensorrt` is TensorRT with what `rosam engine`
built.
"""


@dataclasses.dataclass(frozen=True)
class EngineOptions:
    """Settings of the engines; each has what is named for it.

    Attributes:
        threads: CPU threads of one inference, 0 = every core.
        spinning: ONNX Runtime: let idle threads busy-wait.
        arena: ONNX Runtime: keep freed CPU memory for the next image.
        provider_options: `onnx-cuda`, `onnx-tensorrt`: options of ONNX Runtime's provider.
        precision: OpenVINO: what floats are computed in, one of `openvino_engine.PRECISIONS`.
        compiled_cache: OpenVINO: folder for compiled networks; None = not kept.
    """

    threads: int = 0
    spinning: bool = False
    arena: bool = True
    provider_options: Mapping[str, str] = dataclasses.field(default_factory=dict)
    precision: str = "f32"
    compiled_cache: Path | None = None


@dataclasses.dataclass(frozen=True)
class ChosenEngine:
    """A running engine and why it is this one.

    Attributes:
        engine: The engine.
        reason: `asked for`, or what `auto` found, in words.
    """

    engine: DepthEngine
    reason: str


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
    """Loads a model file and its card into an engine; see `choose_engine`, which says why.

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
    return choose_engine(model, engine, EngineOptions(threads, spinning), verify).engine


def choose_engine(
    model: str | Path,
    engine: str = "auto",
    options: EngineOptions | None = None,
    verify: bool = True,
    most_images: int = 1,
) -> ChosenEngine:
    """Loads a model file and its card into an engine.

    `auto` is TensorRT where `rosam engine` has built an engine of this model for as many images,
    else ONNX Runtime on CUDA where it works; on the CPU OpenVINO for an 8-bit model where it is
    installed, else ONNX Runtime. One logged line says which, and an engine or a CUDA that is there
    but does not start is a warning with its remedy.

    Args:
        model: The ONNX file; its card lies beside it.
        engine: One of `ENGINES`.
        options: Settings of the engines.
        verify: Check the file against the card's sha256.
        most_images: Most images of one call; a TensorRT engine for fewer does not count.

    Raises:
        FileNotFoundError: Model or card missing.
        ValueError: Unknown or unavailable engine, a damaged model, or a card of another file.
    """
    name = "onnx-cpu" if engine == "onnx" else engine
    if name not in ENGINES:
        raise ValueError(f"unknown engine {engine!r}: choose one of {', '.join(ENGINES)}")
    model, options = Path(model), options or EngineOptions()
    card = load_card(model, verify)
    if name == "auto":
        return _auto(model, card, options, most_images)
    if name == "openvino":
        return ChosenEngine(_openvino(model, card, options), "asked for")
    if name == "tensorrt":
        return ChosenEngine(_tensorrt(model, card, most_images), "asked for")
    try:
        return ChosenEngine(_onnx(model, card, name.removeprefix("onnx-"), options), "asked for")
    except RuntimeError as error:
        raise ValueError(f"engine {name!r} is not usable here: {error}") from error


def provider_options(text: str) -> dict[str, str]:
    """Returns options of ONNX Runtime's provider, by name.

    Args:
        text: `name=value,...`, as a parameter or on a command line.

    Raises:
        ValueError: It is something else.
    """
    pairs = [word.partition("=") for word in text.split(",")] if text.strip() else []
    if not all(name.strip() and equals and value.strip() for name, equals, value in pairs):
        raise ValueError(f"provider options must be such as device_id=1, got {text!r}")
    return {name.strip(): value.strip() for name, _, value in pairs}


def _auto(model: Path, card: ModelCard, options: EngineOptions, most_images: int) -> ChosenEngine:
    import onnxruntime as ort

    from rosam_core.engines.onnx_engine import PROVIDERS
    from rosam_core.engines.tensorrt_engine import is_cached

    against = "no TensorRT engine of this model is built"
    if is_cached(card):
        try:
            engine = _tensorrt(model, card, most_images)
            logger.info("engine auto: %s for %s", engine.name, model.name)
            return ChosenEngine(engine, "TensorRT engine of this model is built")
        except (ValueError, RuntimeError) as error:
            logger.warning("engine auto: an engine was built but is not used: %s", error)
            against = f"TensorRT engine is built but not used ({error})"
    if PROVIDERS["cuda"] in ort.get_available_providers():
        try:
            loaded = _onnx(model, card, "cuda", options)
            logger.info("engine auto: onnx-cuda for %s", model.name)
            return ChosenEngine(loaded, f"{against}, CUDA works")
        except RuntimeError as error:
            logger.warning("engine auto: CUDA is installed but unusable, using CPU: %s", error)
            against += f", CUDA is installed but unusable ({error})"
    else:
        against += ", onnxruntime has no CUDA here"
    chosen = None
    if _is_8_bit(card) and importlib.util.find_spec("openvino"):
        try:
            chosen = ChosenEngine(_openvino(model, card, options), f"8-bit model; {against}")
        except ValueError as error:
            logger.warning("engine auto: OpenVINO is installed but not used: %s", error)
            against += f", OpenVINO is installed but not used ({error})"
    chosen = chosen or ChosenEngine(_onnx(model, card, "cpu", options), against)
    logger.info("engine auto: %s for %s, %s", chosen.engine.name, model.name, against)
    return chosen


def _is_8_bit(card: ModelCard) -> bool:
    """Returns whether `rosam quantize` made the model; ONNX Runtime gains nothing from that."""
    return bool(card.results.get("quantization", {}).get("precision") == "int8")


def _onnx(model: Path, card: ModelCard, device: str, options: EngineOptions) -> DepthEngine:
    from rosam_core.engines.onnx_engine import OnnxEngine

    return OnnxEngine(
        model,
        card,
        device,
        options.threads,
        options.spinning,
        options.provider_options if device != "cpu" else None,
        options.arena,
    )


def _openvino(model: Path, card: ModelCard, options: EngineOptions) -> DepthEngine:
    if importlib.util.find_spec("openvino") is None:
        raise ValueError(
            "engine 'openvino' needs the openvino package: in a checkout, pip install -c "
            "constraints.txt '.[openvino]'"
        )
    from rosam_core.engines.openvino_engine import OpenVinoEngine

    given = options.threads, options.precision, options.compiled_cache
    try:
        return OpenVinoEngine(model, card, *given)
    except (ImportError, OSError, RuntimeError) as error:
        raise ValueError(f"engine 'openvino' is not usable here: {error}") from error


def _tensorrt(model: Path, card: ModelCard, most_images: int) -> DepthEngine:
    from rosam_core.engines.tensorrt_engine import open_engine

    try:
        return open_engine(model, card, most_images=most_images)
    except RuntimeError as error:
        raise ValueError(f"engine 'tensorrt' is not usable here: {error}") from error
