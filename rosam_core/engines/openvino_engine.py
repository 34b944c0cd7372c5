"""OpenVINO on Intel and AMD CPUs; an optional extra."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rosam_core.engines.contract import (
    OUTPUT_NAMES,
    Port,
    check_answer,
    check_images,
    check_ports,
)
from rosam_core.types import Float32, ModelCard, UInt8


class OpenVinoEngine:
    """A model file compiled by OpenVINO for one low-latency stream; not safe to share by threads.

    Attributes:
        card: The model's card.
        name: `openvino`.
    """

    name = "openvino"

    def __init__(self, model: Path, card: ModelCard, threads: int = 0) -> None:
        """Compiles the model, checks it against its card and runs it once.

        Args:
            model: The ONNX file.
            card: Its card.
            threads: CPU threads, 0 = every core.

        Raises:
            ValueError: The file is damaged or is not what the card and the contract say.
        """
        import openvino as ov

        if threads < 0:
            raise ValueError(f"threads must be 0 (every core) or more, got {threads}")
        options: dict[str, object] = {
            # The default is bf16 on CPUs that have it, which moves depth by more than 1e-3.
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
        }
        if threads:
            options["INFERENCE_NUM_THREADS"] = threads
        try:
            core = ov.Core()
            network = core.read_model(model)
            compiled = core.compile_model(network, "CPU", options)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:300]
            raise ValueError(
                f"model {model} cannot be loaded by OpenVINO: {reason}: copy or export it again"
            ) from error
        self.card = card
        self._model = model
        check_ports(
            model,
            card,
            [_port(node) for node in compiled.inputs],
            [_port(node) for node in compiled.outputs],
        )
        self._request = compiled.create_infer_request()
        self.infer(np.zeros((1, card.input_height, card.input_width, 3), np.uint8))

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
        self._request.infer([np.ascontiguousarray(images)])
        # Copied: OpenVINO's own output memory is overwritten by the next inference.
        depth, confidence = (
            np.array(self._request.get_tensor(name).data, copy=True) for name in OUTPUT_NAMES
        )
        check_answer(self._model, self.card, len(images), (depth, confidence))
        return depth[:, 0], confidence[:, 0]

    def close(self) -> None:
        """Frees the network; the engine cannot be used afterwards."""
        del self._request


def _port(node: object) -> Port:
    """Returns an OpenVINO input or output in our words."""
    shape = node.get_partial_shape()  # type: ignore[attr-defined]
    return Port(
        str(node.get_any_name()),  # type: ignore[attr-defined]
        str(node.get_element_type().to_dtype()),  # type: ignore[attr-defined]
        tuple(None if size.is_dynamic else int(size.get_length()) for size in shape),
    )
