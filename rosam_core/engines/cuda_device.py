"""The little of CUDA that an engine needs: memory, one stream, graphs, and which GPU it is."""

from __future__ import annotations

import ctypes
import dataclasses
import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

logger = logging.getLogger(__name__)


class GpuError(RuntimeError):
    """The GPU or its driver failed: no memory, or somebody took it away."""


@dataclasses.dataclass(frozen=True)
class Gpu:
    """What an engine depends on in a GPU.

    Attributes:
        name: As the driver gives it.
        compute_capability: Such as `8.7`.
        multiprocessors: Their number; it tells the Orin boards, which share a name, apart.
    """

    name: str
    compute_capability: str
    multiprocessors: int

    def __str__(self) -> str:
        """Returns the name with the compute capability."""
        return f"{self.name} (compute capability {self.compute_capability})"


class CudaDevice:
    """GPU 0 of this process through cuda-bindings; owns one stream and whatever it handed out.

    `CUDA_VISIBLE_DEVICES` chooses another GPU. Not safe to share by threads.
    """

    def __init__(self, runtime: Any = None) -> None:
        """Opens the GPU and makes the stream.

        Args:
            runtime: The module `cuda.bindings.runtime`; imported if None.

        Raises:
            ValueError: There is no cuda-bindings, no driver or no GPU.
            GpuError: It has no room for a stream.
        """
        self._cuda = runtime if runtime is not None else _import_runtime()
        self._freers: list[tuple[Callable[..., Any], Any]] = []
        if not self._call("cudaGetDeviceCount"):
            raise ValueError("there is no NVIDIA GPU in this machine: use the engine 'onnx-cpu'")
        properties = self._call("cudaGetDeviceProperties", 0)
        name = properties.name
        self.gpu = Gpu(
            (name.decode() if isinstance(name, bytes) else str(name)).strip("\0"),
            f"{properties.major}.{properties.minor}",
            int(properties.multiProcessorCount),
        )
        # Non-blocking: another library's use of the default stream does not wait for ours.
        self.stream = self._call("cudaStreamCreateWithFlags", self._cuda.cudaStreamNonBlocking)
        self._freers.append((self._cuda.cudaStreamDestroy, self.stream))

    @property
    def stream_handle(self) -> int:
        """The stream as the integer that TensorRT takes."""
        return int(self.stream)

    def device_memory(self, size: int) -> int:
        """Returns the address of `size` bytes on the GPU."""
        address = int(self._call("cudaMalloc", size))
        self._freers.append((self._cuda.cudaFree, address))
        return address

    def pinned(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """Returns an array in page-locked memory, from which the GPU copies by itself.

        It must not be used after `close`.
        """
        kind = np.dtype(dtype)
        size = int(np.prod(shape)) * kind.itemsize
        address = int(self._call("cudaHostAlloc", size, self._cuda.cudaHostAllocDefault))
        self._freers.append((self._cuda.cudaFreeHost, address))
        memory = (ctypes.c_uint8 * size).from_address(address)
        array: npt.NDArray[Any] = np.ctypeslib.as_array(memory).view(kind).reshape(shape)
        return array

    def to_device(self, address: int, array: npt.NDArray[Any]) -> None:
        """Queues a copy of a pinned array to the GPU."""
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._call("cudaMemcpyAsync", address, array.ctypes.data, array.nbytes, kind, self.stream)

    def to_host(self, array: npt.NDArray[Any], address: int) -> None:
        """Queues a copy from the GPU into a pinned array."""
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._call("cudaMemcpyAsync", array.ctypes.data, address, array.nbytes, kind, self.stream)

    def synchronise(self) -> None:
        """Waits for everything queued; errors of the GPU come out here."""
        self._call("cudaStreamSynchronize", self.stream)

    def capture(self, queue: Callable[[], None]) -> Any:
        """Returns a graph of what `queue` puts on the stream; nothing of it runs yet.

        Raises:
            GpuError: Something in it cannot be captured; the stream is usable again.
        """
        mode = self._cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call("cudaStreamBeginCapture", self.stream, mode)
        try:
            queue()
        except Exception:
            self._cuda.cudaStreamEndCapture(self.stream)  # leaves the failed capture
            raise
        graph = self._call("cudaStreamEndCapture", self.stream)
        try:
            executable = self._call("cudaGraphInstantiate", graph, 0)
        finally:
            self._call("cudaGraphDestroy", graph)
        self._freers.append((self._cuda.cudaGraphExecDestroy, executable))
        return executable

    def launch(self, graph: Any) -> None:
        """Queues a captured graph: one call to the driver for the whole network."""
        self._call("cudaGraphLaunch", graph, self.stream)

    def close(self) -> None:
        """Frees graphs, memory and the stream, the youngest first."""
        while self._freers:
            free, what = self._freers.pop()
            free(what)

    def _call(self, name: str, *arguments: Any) -> Any:
        """Calls a function of the CUDA runtime and returns what it gives beside its status."""
        status, *results = getattr(self._cuda, name)(*arguments)
        if int(status) != 0:
            text = self._cuda.cudaGetErrorString(status)[1]
            words = text.decode() if isinstance(text, bytes) else str(text)
            if name == "cudaGetDeviceCount":  # the first call of all
                raise ValueError(
                    f"CUDA does not start: {words}: if `nvidia-smi` shows a GPU, install the "
                    "cuda-bindings of its CUDA version (`pip install 'cuda-bindings<13'` for "
                    "CUDA 12, JetPack 6), else use the engine 'onnx-cpu'"
                )
            raise GpuError(f"CUDA: {name}: {words}: see whether `nvidia-smi` shows the GPU")
        return results[0] if len(results) == 1 else None


def find_gpu() -> Gpu | None:
    """Returns the GPU that an engine would run on here, or None."""
    try:
        device = CudaDevice()
    except ValueError as error:
        logger.info("no GPU: %s", error)
        return None
    device.close()
    return device.gpu


def _import_runtime() -> Any:
    try:
        from cuda.bindings import runtime
    except ImportError as error:
        raise ValueError(
            "TensorRT needs cuda-bindings: in a checkout, pip install -c constraints.txt "
            "'.[tensorrt]'; for CUDA 12 and Jetson see docs/deploy.md"
        ) from error
    return runtime
