"""ONNX Runtime on the CPU or on CUDA: the default engine everywhere."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

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

logger = logging.getLogger(__name__)

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
_FAULTS_OF_FILES = ("InvalidProtobuf", "InvalidGraph", "NoModel", "NoSuchFile")
"""Names of ONNX Runtime's exceptions, which share no public base class."""

_DTYPES = {"tensor(uint8)": "uint8", "tensor(float)": "float32", "tensor(double)": "float64"}


class OnnxEngine:
    """A model file in ONNX Runtime; the session is made once and is safe to share by threads.

    Attributes:
        card: The model's card.
        name: `onnx-cpu`, `onnx-cuda` or `onnx-tensorrt`.
    """

    def __init__(
        self,
        model: Path,
        card: ModelCard,
        device: str = "cpu",
        threads: int = 0,
        spinning: bool = False,
        provider_options: Mapping[str, str] | None = None,
        arena: bool = True,
    ) -> None:
        """Loads the model, checks it against its card and runs it once.

        Args:
            model: The ONNX file.
            card: Its card.
            device: A key of `PROVIDERS`.
            threads: Threads inside one operator; 0 lets ONNX Runtime take every core.
            spinning: Keep threads busy-waiting between operators: quicker on an idle machine,
                but it takes whole cores from the robot's other nodes.
            provider_options: Options of ONNX Runtime's provider, such as `{"device_id": "1"}`.
            arena: Keep freed CPU memory for the next image: quicker, at the price of memory.

        Raises:
            ValueError: The file is damaged or is not what the card and the contract say, or a
                setting is outside its range.
            RuntimeError: The device is not usable here; nothing else is taken in its place.
        """
        import onnxruntime as ort

        if threads < 0:
            raise ValueError(f"threads must be 0 (every core) or more, got {threads}")
        if device not in PROVIDERS:
            raise ValueError(f"unknown device {device!r}: choose one of {', '.join(PROVIDERS)}")
        provider = PROVIDERS[device]
        chosen = dict(provider_options or {})
        if chosen and device == "cpu":
            raise ValueError(f"{provider} has no options, got {', '.join(sorted(chosen))}")
        if provider not in ort.get_available_providers():
            raise RuntimeError(
                f"this onnxruntime has no {provider} (it has "
                f"{', '.join(ort.get_available_providers())}): `pip install onnxruntime-gpu` in "
                "place of onnxruntime"
            )
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.enable_cpu_mem_arena = arena
        # Spinning within an image only (session.force_spinning_stop) makes an engine on an idle
        # machine a fifth quicker, but the node lost up to 5 % of its frames beside a publisher
        # and a subscriber on two cores: threads that spin keep cores from those they wait for.
        options.add_session_config_entry(
            "session.intra_op.allow_spinning", "1" if spinning else "0"
        )
        # CUDA takes what TensorRT has no kernel for, and the CPU what CUDA has none for; whether
        # they are there at all is asked below.
        others = {"tensorrt": ("cuda", "cpu"), "cuda": ("cpu",), "cpu": ()}[device]
        same_gpu = {name: value for name, value in chosen.items() if name == "device_id"}
        settings = {"cuda": same_gpu, "cpu": {}}
        providers = [(provider, chosen), *((PROVIDERS[o], settings[o]) for o in others)]
        try:
            self._session = ort.InferenceSession(str(model), options, providers=providers)
        except Exception as error:
            reason = " ".join(str(error).split())[:300]
            if device != "cpu" and type(error).__name__ not in _FAULTS_OF_FILES:
                raise RuntimeError(f"{provider} did not start: {reason}") from error
            raise ValueError(
                f"model {model} cannot be loaded by ONNX Runtime {ort.__version__}: {reason}: "
                "copy or export the file again"
            ) from error
        # It would go on with other providers after an error of this one, and tell standard output.
        self._session.disable_fallback()
        # ONNX Runtime drops a provider whose libraries do not load and only prints a warning.
        missing = [name for name, _ in providers if name not in self._session.get_providers()]
        if missing:
            raise RuntimeError(
                f"{' and '.join(missing)} did not start: check that the CUDA and cuDNN of this "
                f"machine (and TensorRT) are those onnxruntime {ort.__version__} was built for"
            )
        self.card = card
        self.name = f"onnx-{device}"
        self._model = model
        check_ports(
            model,
            card,
            [_port(node) for node in self._session.get_inputs()],
            [_port(node) for node in self._session.get_outputs()],
        )
        # One run at start: open output sizes are checked and the first frame is not the slowest.
        blank = np.zeros((1, card.input_height, card.input_width, 3), np.uint8)
        try:
            self.infer(blank)
        except ValueError:  # not what the card or the contract says
            raise
        except Exception as error:  # a GPU that has no kernel for the network, or no memory
            reason = " ".join(str(error).split())[:300]
            raise RuntimeError(
                f"{provider} loads {model.name} but cannot run it: {reason}"
            ) from error

    def infer(self, images: UInt8) -> tuple[Float32, Float32]:
        """Returns depth and confidence of a batch.

        Args:
            images: uint8[N,H,W,3], RGB, H and W as the card says.

        Returns:
            depth: float32[N,H,W], metres for a camera of `card.training_focal_px`.
            confidence: float32[N,H,W] in [0, 1].

        Raises:
            ValueError: The batch has the wrong type or size.
        """
        check_images(images, self.card)
        depth, confidence = self._session.run(
            list(OUTPUT_NAMES), {INPUT_NAME: np.ascontiguousarray(images)}
        )
        check_answer(self._model, self.card, len(images), (depth, confidence))
        return depth[:, 0], confidence[:, 0]

    def close(self) -> None:
        """Frees the session; the engine cannot be used afterwards."""
        del self._session


def _port(node: object) -> Port:
    """Returns an ONNX Runtime input or output in our words."""
    kind = str(getattr(node, "type"))  # noqa: B009 - the class has no type stubs
    shape = getattr(node, "shape")  # noqa: B009
    return Port(
        str(getattr(node, "name")),  # noqa: B009
        _DTYPES.get(kind, kind),
        tuple(size if isinstance(size, int) else None for size in shape),
    )
