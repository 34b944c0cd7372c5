"""OpenVINO on Intel and AMD CPUs; an optional extra."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np

from rosam_core.engines.contract import (
    INPUT_NAME,
    OUTPUT_NAMES,
    Port,
    check_answer,
    check_images,
    check_ports,
)
from rosam_core.types import Float32, ModelCard, UInt8

PRECISIONS = ("f32", "bf16", "f16")
"""What `OpenVinoEngine` may compute floats in; what the file has in 8 bits runs in 8 bits."""


class OpenVinoEngine:
    """A model file compiled by OpenVINO for one low-latency stream; not safe to share by threads.

    Single images run on a network compiled for exactly one, which needs no shapes at run time;
    other batches on one of open batch size, compiled when the first of them comes.

    Attributes:
        card: The model's card.
        name: `openvino`.
        precision: What floats are computed in, read back from the compiled network.
        threads: CPU threads, read back likewise; 0 if it takes every core.
    """

    name = "openvino"

    def __init__(
        self,
        model: Path,
        card: ModelCard,
        threads: int = 0,
        precision: str = "f32",
        cache: Path | None = None,
    ) -> None:
        """Compiles the model, checks it against its card and runs it once.

        Args:
            model: The ONNX file.
            card: Its card.
            threads: CPU threads, 0 = every core.
            precision: One of `PRECISIONS`. OpenVINO's own default is bf16 on CPUs that have it,
                which moves depth by more than 1e-3.
            cache: Folder for compiled networks, which load faster the next time; made if absent.

        Raises:
            ValueError: The file is damaged or is not what the card and the contract say, a setting
                is outside its range, or OpenVINO compiled with other settings than these.
        """
        if threads < 0:
            raise ValueError(f"threads must be 0 (every core) or more, got {threads}")
        if precision not in PRECISIONS:
            raise ValueError(
                f"unknown precision {precision!r}: choose one of {', '.join(PRECISIONS)}"
            )
        self._options: dict[str, object] = {
            "INFERENCE_PRECISION_HINT": precision,
            "PERFORMANCE_HINT": "LATENCY",
        }
        if threads:
            self._options["INFERENCE_NUM_THREADS"] = threads
        if cache is not None:
            cache.mkdir(parents=True, exist_ok=True)
            self._options["CACHE_DIR"] = str(cache)
        ov = _import_openvino()
        self.card = card
        self.precision, self.threads = precision, threads
        self._model = model
        self._core: Any = ov.Core()
        self._requests: dict[bool, Any] = {}
        self._requests[True] = self._compile(single=True)
        self.infer(np.zeros((1, card.input_height, card.input_width, 3), np.uint8))

    def _compile(self, single: bool) -> Any:
        """Returns a request of a network for one image, or for any number of them."""
        try:
            network = self._core.read_model(self._model)
            inputs, outputs = map(_ports, (network.inputs, network.outputs))
        except RuntimeError as error:
            raise self._damaged(error) from error
        check_ports(self._model, self.card, inputs, outputs)
        try:
            if single:
                size = [1, self.card.input_height, self.card.input_width, 3]
                network.reshape({INPUT_NAME: size})
            compiled = self._core.compile_model(network, "CPU", self._options)
        except RuntimeError as error:
            raise self._damaged(error) from error
        self._read_back(compiled)
        return compiled.create_infer_request()

    def _read_back(self, compiled: Any) -> None:
        """Refuses a network that was compiled with other settings: hints are only hints."""
        found = str(compiled.get_property("INFERENCE_PRECISION_HINT").to_string())
        if found != self.precision:
            raise ValueError(
                f"OpenVINO computes in {found} where {self.precision} was asked for: this CPU "
                "has no such arithmetic, ask for f32"
            )
        found_threads = int(compiled.get_property("INFERENCE_NUM_THREADS"))
        if self.threads and found_threads != self.threads:
            raise ValueError(
                f"OpenVINO took {found_threads} threads where {self.threads} were asked for: are "
                "there so many cores? (`nproc`)"
            )

    def _damaged(self, error: Exception) -> ValueError:
        reason = " ".join(str(error).split())[:300]
        return ValueError(
            f"model {self._model} cannot be loaded by OpenVINO: {reason}: copy or export it again"
        )

    def infer(self, images: UInt8) -> tuple[Float32, Float32]:
        """Returns depth and confidence of a batch; see `DepthEngine.infer`.

        Args:
            images: uint8[N,H,W,3], RGB, H and W as the card says.

        Returns:
            depth: float32[N,H,W], metres for a camera of `card.training_focal_px`.
            confidence: float32[N,H,W] in [0, 1].

        Raises:
            ValueError: The batch has the wrong type or size.
        """
        check_images(images, self.card)
        single = len(images) == 1
        if single not in self._requests:
            self._requests[single] = self._compile(single)
        request = self._requests[single]
        request.infer([np.ascontiguousarray(images)])
        # Copied: OpenVINO's own output memory is overwritten by the next inference.
        depth, confidence = (
            np.array(request.get_tensor(name).data, copy=True) for name in OUTPUT_NAMES
        )
        check_answer(self._model, self.card, len(images), (depth, confidence))
        return depth[:, 0], confidence[:, 0]

    def close(self) -> None:
        """Frees the network; the engine cannot be used afterwards."""
        self._requests.clear()


def _import_openvino() -> Any:
    """Imports OpenVINO, its shared libraries first.

    All at once stops every thread of Python for 50 ms, in which a node at 30 Hz loses a frame; in
    two parts it is 17 ms.
    """
    spec = importlib.util.find_spec("openvino")
    folder = Path(spec.origin).parent if spec and spec.origin else Path()
    if "openvino" not in sys.modules:
        for library in [*folder.glob("libs/libopenvino.so*"), *folder.glob("_pyopenvino*.so")]:
            with contextlib.suppress(OSError):  # the import says what is wrong with it
                ctypes.CDLL(str(library))
    return importlib.import_module("openvino")


def _ports(nodes: Any) -> list[Port]:
    """Returns OpenVINO inputs or outputs in our words."""
    return [
        Port(
            str(node.get_any_name()),
            str(node.get_element_type().to_dtype()),
            tuple(
                None if size.is_dynamic else int(size.get_length())
                for size in node.get_partial_shape()
            ),
        )
        for node in nodes
    ]
