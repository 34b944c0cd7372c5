"""NVIDIA's TensorRT, whichever of its packages is installed, behind one small door.

`tensorrt` (JetPack, desktop; 10.3 to 11.x) and `tensorrt_rtx` (pip only, RTX GPUs) have the same
Python interface as far as this project uses it. The names below are TensorRT's own classes: a test
follows them through the code and looks every attribute up in the real bindings of each version.
"""

from __future__ import annotations

import dataclasses
import importlib
import logging
from typing import Any, TypeAlias

logger = logging.getLogger(__name__)

# TensorRT has no type stubs, and is not installed where most of this is read and tested.
Builder: TypeAlias = Any
IBuilderConfig: TypeAlias = Any
ICudaEngine: TypeAlias = Any
IExecutionContext: TypeAlias = Any
IHostMemory: TypeAlias = Any
ILogger: TypeAlias = Any
INetworkDefinition: TypeAlias = Any
IOptimizationProfile: TypeAlias = Any
ITimingCache: TypeAlias = Any
OnnxParser: TypeAlias = Any
RtxBuilderConfig: TypeAlias = Any  # IBuilderConfig of tensorrt_rtx, which has more
RtxModule: TypeAlias = Any
Runtime: TypeAlias = Any
TensorRtModule: TypeAlias = Any

LIBRARIES = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
"""Names of the libraries and of their Python modules, the preferred one first."""


@dataclasses.dataclass(frozen=True)
class TensorRt:
    """An imported library.

    Attributes:
        trt: The module.
        name: `tensorrt` or `tensorrt-rtx`.
        version: As it states it, such as `10.3.0`.
        messages: The logger that its objects get; keeps the errors it heard.
    """

    trt: TensorRtModule
    name: str
    version: str
    messages: ILogger

    @property
    def is_rtx(self) -> bool:
        """Builds for GPUs that are not here, and compiles for the one that is at load time."""
        return self.name == "tensorrt-rtx"

    def reason(self) -> str:
        """Returns what the library complained about since the last call, in one line."""
        heard = list(self.messages.errors)
        self.messages.errors.clear()
        return " ".join(" ".join(heard).split())[:500] or "it gave no reason"


def load_tensorrt(name: str = "auto") -> TensorRt:
    """Imports TensorRT.

    Args:
        name: A key of `LIBRARIES`, or `auto` for the first that is installed.

    Raises:
        ValueError: The name is unknown, or it is not installed or does not load.
    """
    if name != "auto" and name not in LIBRARIES:
        raise ValueError(f"unknown library {name!r}: choose auto, {', '.join(LIBRARIES)}")
    problems = []
    for candidate in LIBRARIES if name == "auto" else (name,):
        try:
            trt = importlib.import_module(LIBRARIES[candidate])
            return TensorRt(trt, candidate, str(trt.__version__), _make_logger(trt))
        except ModuleNotFoundError:
            problems.append(f"{candidate} is not installed")
        except (ImportError, OSError, AttributeError) as error:
            problems.append(f"{candidate} does not load: {error}")
    raise ValueError(
        f"no usable TensorRT: {'; '.join(problems)}: on a Jetson it comes with JetPack (make the "
        "environment with --system-site-packages), elsewhere, in a checkout, "
        "pip install -c constraints.txt '.[tensorrt]', or '.[tensorrt-rtx]' for RTX GPUs"
    )


def _make_logger(trt: TensorRtModule) -> ILogger:
    """Returns a logger that passes TensorRT's messages to Python's and remembers errors."""
    levels = {
        trt.ILogger.Severity.INTERNAL_ERROR: logging.ERROR,
        trt.ILogger.Severity.ERROR: logging.ERROR,
        trt.ILogger.Severity.WARNING: logging.WARNING,
        trt.ILogger.Severity.INFO: logging.DEBUG,  # its INFO is chatter to anyone else
    }

    class Messages(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            level = levels.get(severity)
            if level == logging.ERROR:
                self.errors.append(message)
                level = logging.DEBUG  # the exception that follows says it, once
            if level is not None:
                logger.log(level, "%s", message)

    return Messages()
