"""`rosam engine build` in a process of its own, beside a node that serves."""

from __future__ import annotations

import dataclasses
import logging
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

logger = logging.getLogger("rosam_core.engine_builder")

NICENESS = 10
"""Added to the node's own: the build gives way to the node, which shares its cores."""

# The folder one stands in is taken off the search path, as `scripts/depth_node` does it.
_RUN = (
    "import sys; sys.path[:] = filter(None, sys.path); "
    "from rosam_core.cli import main; sys.exit(main())"
)


@dataclasses.dataclass(frozen=True)
class BuildOrder:
    """What is to be built.

    Attributes:
        model: The ONNX file.
        cameras: Images that come at once; the engine is tuned for one and for so many.
        options: More options of `rosam engine build`, as one would type them.
        stamps: Time and size of the file when this was ordered: another file is another order.
    """

    model: Path
    cameras: int = 1
    options: str = ""
    stamps: tuple[float, ...] = ()

    @property
    def precision(self) -> str:
        """The precision that the options name, or nothing."""
        words = [part for word in split_options(self.options) for part in word.split("=", 1)]
        places = [place for place, word in enumerate(words[:-1]) if word == "--precision"]
        return words[places[-1] + 1] if places else ""

    def command(self) -> list[str]:
        """Returns the command line.

        Raises:
            ValueError: The options have an open quote.
        """
        batches = "1" if self.cameras == 1 else f"1,{self.cameras}"
        words = ["engine", "build", str(self.model), "--batch", batches, "--json"]
        return [sys.executable, "-c", _RUN, *words, *split_options(self.options)]


def split_options(text: str) -> list[str]:
    """Returns the words of `build_options`.

    Raises:
        ValueError: A quote is open, or an engine would be built where the node does not look.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ValueError(f"parameter build_options cannot be read: {error}: {text!r}") from error
    if any(word.partition("=")[0] == "--cache" for word in words):
        raise ValueError(
            "parameter build_options has --cache, where the node would not look for the engine: "
            "set ROSAM_ENGINE_CACHE in the node's environment instead"
        )
    return words


class EngineBuilder:
    """Builds one engine at a time and remembers how that went; safe to use from several threads.

    Attributes:
        order: What is being built or was built last, or None.
        problem: Why that failed, or nothing.
    """

    def __init__(self) -> None:
        """Starts nothing."""
        self.order: BuildOrder | None = None
        self.problem = ""
        self._done = False
        self._began_s = 0.0
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()

    def start(self, order: BuildOrder) -> None:
        """Begins a build; one that goes on is stopped."""
        self.stop()
        self.order, self._began_s = order, time.monotonic()
        try:
            process = subprocess.Popen(
                order.command(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                start_new_session=True,  # Ctrl-C is the node's, which ends the build
            )
        except (OSError, ValueError) as error:
            self.problem, self._done = str(error), True
            return
        try:
            own = os.getpriority(os.PRIO_PROCESS, 0)
            os.setpriority(os.PRIO_PROCESS, process.pid, min(own + NICENESS, 19))
        except (OSError, AttributeError) as error:
            logger.warning("the build runs at the node's own priority: %s", error)
        self._process = process
        logger.info("TensorRT engine of %s is being built (process %d)", order.model, process.pid)
        threading.Thread(target=self._watch, args=(process,), name="build", daemon=True).start()

    def stop(self, wait: bool = False) -> None:
        """Ends a build that goes on; what the cache holds stays whole.

        Args:
            wait: Return when it has ended; otherwise at once, for the sake of the next frame.
        """
        with self._lock:
            process, self._process = self._process, None
            self.order, self.problem, self._done = None, "", False
        if process is not None and process.poll() is None:
            process.terminate()
            ender = threading.Thread(target=_end, args=(process,), name="end build", daemon=True)
            ender.start()
            if wait:
                ender.join()

    @property
    def is_building(self) -> bool:
        """Whether a build goes on."""
        return self._process is not None

    @property
    def is_built(self) -> bool:
        """Whether the last build is done and well."""
        return self._done and not self.problem

    def elapsed_s(self) -> float:
        """Returns how long the build has taken so far [s]."""
        return time.monotonic() - self._began_s

    def _watch(self, process: subprocess.Popen[str]) -> None:
        _, heard = process.communicate()
        with self._lock:
            if process is not self._process:  # it was stopped, or another was begun
                return
            self._process = None
            self.problem = _problem(process.returncode, heard.splitlines())
            self._done = True
        if self.problem:
            logger.warning("TensorRT engine could not be built: %s", self.problem)
        else:
            logger.info("TensorRT engine is built, after %.0f s", self.elapsed_s())


def _end(process: subprocess.Popen[str]) -> None:
    """Waits for a process that was told to end; one deep in TensorRT hears no SIGTERM."""
    try:
        process.wait(timeout=2.0)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _problem(status: int, lines: Sequence[str]) -> str:
    """Returns why a build failed, in one line, or nothing."""
    if status == 0:
        return ""
    if status < 0:
        name = signal.Signals(-status).name
        hint = ": did the memory run out?" if -status == signal.SIGKILL else ""
        return f"the build was ended by {name}{hint}"
    said = next((line for line in reversed(lines) if line.strip()), "")
    return said.removeprefix("rosam engine: ") or f"the build ended with status {status}"
