"""The engine that serves, and the one that is to follow it, changed between two frames."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from rosam_core.engines.base import DepthEngine
from rosam_core.engines.engine_cache import CARD, cache_folder
from rosam_core.engines.registry import (
    EngineOptions,
    choose_engine,
    default_model_path,
    provider_options,
)
from rosam_core.types import card_path
from rosam_depth_ros.camera_set import camera_names
from rosam_depth_ros.diagnostics import EngineStatus, ErrorLog, in_words
from rosam_depth_ros.engine_builder import BuildOrder, EngineBuilder
from rosam_depth_ros.parameters import NodeParameters

logger = logging.getLogger("rosam_core.engine_swap")

MODEL_RETRY_S = 1.0
"""While nothing serves, a model that did not load is tried again this often."""


@dataclasses.dataclass(frozen=True)
class EngineRequest:
    """What is asked of an engine; two equal requests are served by the same one.

    Attributes:
        model: Path of the ONNX file; empty for the packaged one.
        engine: Name for `choose_engine`.
        options: Its settings.
        cameras: Most images that come at once.
    """

    model: str
    engine: str
    options: EngineOptions
    cameras: int

    @classmethod
    def of(cls, parameters: NodeParameters) -> EngineRequest:
        """Returns what the parameters ask for.

        Raises:
            ValueError: A text among them cannot be read.
        """
        cache = parameters.openvino_cache
        options = EngineOptions(
            parameters.threads,
            parameters.spinning,
            parameters.onnx_arena,
            provider_options(parameters.onnx_provider_options),
            parameters.openvino_precision,
            Path(cache).expanduser() if cache else None,
        )
        cameras = len(camera_names(parameters.cameras))
        return cls(parameters.model, parameters.engine, options, cameras)

    def path(self) -> Path:
        """Returns the model file.

        Raises:
            FileNotFoundError: The packaged one is asked for and there is none.
            ValueError: The path is in the home of somebody who is not known here.
        """
        try:
            return Path(self.model).expanduser() if self.model else default_model_path()
        except RuntimeError as error:
            raise ValueError(f"model {self.model}: {error}") from error


@dataclasses.dataclass(frozen=True)
class _Loaded:
    request: EngineRequest
    engine: DepthEngine
    path: str
    reason: str
    files: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class _Failed:
    request: EngineRequest
    problem: str
    files: tuple[float, ...]
    time_s: float


class EngineSwap:
    """Owns the engines of a node.

    `engine` is called by the thread that runs the network, between two frames, and never waits:
    engines are loaded, run once with every number of images that can come, and closed by threads
    of their own. What cannot be loaded leaves the present engine where it is.
    """

    def __init__(self, errors: ErrorLog, tell: Callable[[str], object], wake: Callable[[], None]):
        """Starts without an engine.

        Args:
            errors: Told what does not load, as stage `model`.
            tell: Takes one line about each change.
            wake: Called from another thread when `engine` has something new.
        """
        self.builder = EngineBuilder()
        self._errors, self._tell, self._wake = errors, tell, wake
        self._lock = threading.Lock()
        self._serving: _Loaded | None = None
        self._arrived: _Loaded | _Failed | None = None
        self._failed: _Failed | None = None
        self._loading: EngineRequest | None = None
        self._loader: threading.Thread | None = None
        self._refused_build = ""
        self._looked_s = -math.inf
        self._is_asked_again = False
        self._asked: tuple[NodeParameters, EngineRequest, BuildOrder | None] | None = None

    @property
    def is_loading(self) -> bool:
        """Whether an engine is on its way."""
        with self._lock:
            return self._loading is not None or self._arrived is not None

    def retry(self) -> None:
        """Forgets what failed, and looks at the files anew: somebody has just asked for them."""
        with self._lock:
            self._failed, self._is_asked_again, self._asked = None, True, None
        if self.builder.problem:
            self.builder.stop()

    def engine(self, parameters: NodeParameters) -> DepthEngine | None:
        """Returns what to run the next frame on, or None while nothing is loaded.

        The engine returned before is closed if this is another one.

        Args:
            parameters: Of this moment.
        """
        asked = self._asked
        if asked is None or asked[0] is not parameters:  # not read for every frame
            request = EngineRequest.of(parameters)
            # As long as nobody asks again, a file that has changed is no other order.
            is_same = asked is not None and asked[1] == request
            order = asked[2] if asked is not None and is_same else _order(parameters, request)
            asked = self._asked = (parameters, request, order)
        wanted = self._see_to_building(*asked)
        with self._lock:
            arrived, self._arrived = self._arrived, None
        if isinstance(arrived, _Failed):
            if arrived.request == wanted:  # what nobody asks for any more may fail unheard
                self._errors.add("model", arrived.problem)
                with self._lock:
                    self._failed = arrived
        elif arrived is not None and arrived.request == wanted:
            self._change_to(arrived)
        elif arrived is not None:  # asked for something else meanwhile
            _close_aside(arrived.engine)
        serving = self._serving
        if self._is_due(wanted) and self._may_load(wanted):
            with self._lock:
                self._loading = wanted
            self._loader = threading.Thread(
                target=self._load, args=(wanted,), name="load", daemon=True
            )
            self._loader.start()
        return serving.engine if serving else None

    def status(self, parameters: NodeParameters) -> EngineStatus:
        """Returns which engine runs and why, for diagnostics.

        Args:
            parameters: Of this moment.
        """
        with self._lock:
            serving, loading, failed = self._serving, self._loading, self._failed
        reasons, degraded = [serving.reason] if serving else [], False
        if loading is not None:
            reasons.append(f"{loading.engine} is being loaded")
        if failed is not None:
            degraded = True
            reasons.append(f"{failed.request.engine} does not load: {failed.problem}")
        if parameters.build_engine and self.builder.is_building:
            reasons.append(f"TensorRT engine is being built, for {self.builder.elapsed_s():.0f} s")
        elif parameters.build_engine and self.builder.problem:
            degraded = True
            reasons.append(f"TensorRT engine could not be built: {self.builder.problem}")
        if self._refused_build:
            degraded = True
            reasons.append(self._refused_build)
        name = serving.engine.name if serving else ""
        model = serving.path if serving else parameters.model
        return EngineStatus(name, model, "; ".join(reasons), degraded)

    def close(self) -> None:
        """Ends a build, waits a little for an engine that is being loaded, and frees all."""
        self.builder.stop(wait=True)
        if self._loader is not None:
            self._loader.join(timeout=5.0)
        for one in (self._arrived, self._serving):
            if isinstance(one, _Loaded):
                one.engine.close()
        self._arrived = self._serving = None

    def _see_to_building(
        self, parameters: NodeParameters, asked: EngineRequest, order: BuildOrder | None
    ) -> EngineRequest:
        """Starts or ends a build; returns what is to be loaded in view of it."""
        self._refused_build = ""
        if not parameters.build_engine:
            if self.builder.order is not None:
                self.builder.stop()
            return asked
        if asked.engine not in ("auto", "tensorrt"):
            self._refused_build = f"build_engine builds nothing for engine {asked.engine}"
            return asked
        if order is None:
            return asked  # loading it says why
        if self.builder.is_built and self.builder.order == order:
            return dataclasses.replace(asked, engine="tensorrt")
        meanwhile = dataclasses.replace(asked, engine="auto")
        serving = self._serving
        is_served = serving is not None and serving.request == meanwhile
        if is_served and not _is_as_ordered(serving, order) and self.builder.order != order:
            self.builder.start(order)
        return meanwhile

    def _is_due(self, wanted: EngineRequest) -> bool:
        """Returns whether what serves is not what is asked for, or its files have changed."""
        serving = self._serving
        if serving is None or serving.request != wanted:
            return True
        with self._lock:
            again = self._is_asked_again and self._loading is None and self._arrived is None
            if again:
                self._is_asked_again = False
        return again and serving.files != _stamps(wanted)

    def _may_load(self, wanted: EngineRequest) -> bool:
        with self._lock:
            failed, busy = self._failed, self._loading is not None
        if busy or self._arrived is not None:
            return False
        if failed is None or failed.request != wanted:
            return True
        if self._serving is None:
            return time.monotonic() - failed.time_s > MODEL_RETRY_S
        # Trying costs the frames of the engine that serves: only when there is something new. That
        # is not looked up for every frame.
        now = time.monotonic()
        if now - self._looked_s < MODEL_RETRY_S:
            return False
        self._looked_s = now
        return failed.files != _stamps(wanted)

    def _load(self, request: EngineRequest) -> None:
        files = _stamps(request)
        result: _Loaded | _Failed
        try:
            path = request.path()
            chosen = choose_engine(
                path, request.engine, request.options, most_images=request.cameras
            )
            try:
                _warm_up(chosen.engine, request.cameras)
            except BaseException:
                chosen.engine.close()
                raise
            result = _Loaded(request, chosen.engine, str(path), chosen.reason, files)
        except Exception as error:  # the node outlives a bad model and tries again
            result = _Failed(request, in_words(error), files, time.monotonic())
        with self._lock:
            self._arrived, self._loading = result, None
        self._wake()

    def _change_to(self, loaded: _Loaded) -> None:
        with self._lock:
            before, self._serving, self._failed = self._serving, loaded, None
        card = loaded.engine.card
        line = f"model {card.name} ({card.input_width}x{card.input_height}) runs on "
        line += f"{loaded.engine.name}: {loaded.reason}"
        if before is not None:
            line += f"; before on {before.engine.name}"
            _close_aside(before.engine)
        self._tell(line)


def _order(parameters: NodeParameters, request: EngineRequest) -> BuildOrder | None:
    """Returns what `build_engine` is to build, or None."""
    if not parameters.build_engine:
        return None
    try:
        path, options = request.path(), parameters.build_options
        return BuildOrder(path, request.cameras, options, _file_stamps(path, card_path(path)))
    except (FileNotFoundError, ValueError):
        return None


def _is_as_ordered(loaded: _Loaded | None, order: BuildOrder) -> bool:
    """Returns whether a TensorRT engine runs, of the precision asked for."""
    name = loaded.engine.name if loaded is not None else ""
    return name.startswith("tensorrt") and name.endswith(order.precision)


def _close_aside(engine: DepthEngine) -> None:
    """Frees an engine in a thread of its own: hundreds of MB take a while to give back."""
    threading.Thread(target=engine.close, name="close", daemon=True).start()


def _warm_up(engine: DepthEngine, cameras: int) -> None:
    """Runs an engine with every number of images that can come at once."""
    card = engine.card
    for count in range(1, cameras + 1):
        engine.infer(np.zeros((count, card.input_height, card.input_width, 3), np.uint8))


def _stamps(request: EngineRequest) -> tuple[float, ...]:
    """Returns times and sizes of model and card, which tell whether trying again is of use.

    Where TensorRT engines are looked for, the cards of these are among them: of all that a build
    leaves there, they are written last.
    """
    try:
        path = request.path()
        files = [path, card_path(path)]
        if request.engine in ("auto", "tensorrt"):
            files += sorted(cache_folder().glob(f"*/{CARD}"))
    except (OSError, ValueError, RuntimeError):  # loading it says so
        return ()
    return _file_stamps(*files)


def _file_stamps(*paths: Path) -> tuple[float, ...]:
    """Returns times and sizes of those files that are there."""
    found = []
    for path in paths:
        with contextlib.suppress(OSError, ValueError):
            if path.is_file():
                found.append(path.stat())
    return tuple(value for one in found for value in (one.st_mtime, one.st_size))
