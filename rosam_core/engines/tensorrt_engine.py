"""TensorRT on NVIDIA GPUs: loads an engine that `rosam engine build` made, and runs it.

All memory is taken once: one stream, pinned and device buffers for the largest batch, and for each
batch size in use an execution context and a CUDA graph of copy in, network, copy out. A frame then
costs one copy into pinned memory, one graph launch and one copy out.
"""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

import numpy as np

from rosam_core.engines.contract import (
    INPUT_NAME,
    OUTPUT_NAMES,
    Port,
    check_images,
    check_ports,
)
from rosam_core.engines.cuda_device import CudaDevice, Gpu, GpuError
from rosam_core.engines.engine_cache import EngineKey, Entry, cache_folder, entries, read_plan
from rosam_core.engines.onnx_precision import PREPARATION
from rosam_core.engines.parity import refuse_beyond
from rosam_core.engines.tensorrt_library import (
    ICudaEngine,
    IExecutionContext,
    Runtime,
    TensorRt,
    TensorRtModule,
    load_tensorrt,
)
from rosam_core.runtime.buffers import BufferPool
from rosam_core.types import Float32, ModelCard, UInt8

logger = logging.getLogger(__name__)

_DTYPES = {"UINT8": "uint8", "FLOAT": "float32", "HALF": "float16"}


@dataclasses.dataclass(frozen=True)
class _Slot:
    """What runs one batch size."""

    context: IExecutionContext
    graph: Any  # of CUDA; None where it could not be captured


class TensorRtEngine:
    """A built engine on the GPU; not safe to share by threads.

    Attributes:
        card: The model's card.
        name: `tensorrt` or `tensorrt-rtx`, with the precision.
        max_batch: Largest batch it takes.
    """

    def __init__(
        self,
        plan: bytes,
        card: ModelCard,
        key: EngineKey,
        library: TensorRt,
        device: CudaDevice,
        graphs: bool = True,
    ) -> None:
        """Deserialises an engine, takes its memory and runs each tuned batch size once.

        Args:
            plan: The engine; from `read_plan`, which compared it with its card.
            card: The model's card.
            key: What it was built from and for.
            library: The TensorRT that built it.
            device: The GPU; closed with the engine.
            graphs: Use CUDA graphs.

        Raises:
            ValueError: TensorRT refuses the engine, or it is not what card and contract say.
        """
        trt = library.trt
        runtime: Runtime = trt.Runtime(library.messages)
        engine: ICudaEngine = runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise ValueError(f"{library.name} {library.version}: {library.reason()}")
        self.card = card
        self.name = f"{library.name}-{key.precision}"
        self.max_batch = key.batches[-1]
        self._library, self._device, self._key = library, device, key
        self._runtime, self._engine, self._graphs = runtime, engine, graphs
        model = Path(f"engine of {card.name}")
        ports = _ports(trt, engine)
        check_ports(model, card, *ports)
        height, width = card.input_height, card.input_width
        self._image: UInt8 = device.pinned((self.max_batch, height, width, 3), np.uint8)
        self._outputs: list[Float32] = [
            device.pinned((self.max_batch, height, width), np.float32) for _ in OUTPUT_NAMES
        ]
        self._addresses = {INPUT_NAME: device.device_memory(self._image.nbytes)}
        for name, output in zip(OUTPUT_NAMES, self._outputs, strict=True):
            self._addresses[name] = device.device_memory(output.nbytes)
        self._pool = BufferPool()
        self._slots: dict[int, _Slot] = {}
        for batch in key.batches:  # the first frame must not be the slowest
            self._slots[batch] = self._make_slot(batch)

    def infer(self, images: UInt8) -> tuple[Float32, Float32]:
        """Returns depth and confidence of a batch; see `DepthEngine.infer`.

        Args:
            images: uint8[N,H,W,3], RGB, H and W as the card says, N up to `max_batch`.

        Returns:
            depth: float32[N,H,W], metres for a camera of `card.training_focal_px`.
            confidence: float32[N,H,W] in [0, 1].

        Raises:
            ValueError: The batch has the wrong type or size, or is larger than `max_batch`.
            GpuError: The GPU failed.
        """
        check_images(images, self.card)
        batch = len(images)
        if batch > self.max_batch:
            raise ValueError(
                f"the engine takes up to {self.max_batch} images at once, got {batch}: build one "
                f"for more with `rosam engine build MODEL --batch {self.max_batch},{batch}`"
            )
        slot = self._slots.get(batch)
        if slot is None:
            slot = self._slots[batch] = self._make_slot(batch)
        np.copyto(self._image[:batch], images)
        if slot.graph is not None:
            self._device.launch(slot.graph)
        else:
            self._queue(slot.context, batch)
        self._device.synchronise()
        depth, confidence = (self._copy(output[:batch]) for output in self._outputs)
        return depth, confidence

    def close(self) -> None:
        """Frees the GPU; the engine cannot be used afterwards."""
        self._slots.clear()
        self._engine = self._runtime = None
        self._outputs, self._image = [], np.empty(0, np.uint8)  # their memory goes now
        self._device.close()

    def _make_slot(self, batch: int) -> _Slot:
        """Returns a context of its own for a batch size, warmed up, with its graph.

        Its own, because a captured graph is only good for the shapes that its context had.
        """
        context: IExecutionContext = self._engine.create_execution_context()
        if context is None:
            raise GpuError(f"TensorRT has no memory for batch {batch}: {self._reason()}")
        profile = next(i for i, largest in enumerate(self._key.batches) if batch <= largest)
        height, width = self.card.input_height, self.card.input_width
        ready = context.set_optimization_profile_async(profile, self._device.stream_handle)
        self._device.synchronise()
        ready = ready and context.set_input_shape(INPUT_NAME, (batch, height, width, 3))
        for name, address in self._addresses.items():
            ready = ready and context.set_tensor_address(name, address)
        if not ready:
            raise GpuError(f"TensorRT does not take batch {batch}: {self._reason()}")
        for name in OUTPUT_NAMES:
            shape = tuple(context.get_tensor_shape(name))
            if shape != (batch, 1, height, width):
                raise ValueError(f"`{name}` of batch {batch} comes out as {list(shape)}")
        self._image[:batch] = 0
        self._queue(context, batch)  # TensorRT's late set-up must be over before a capture
        self._device.synchronise()
        graph = None
        if self._graphs:
            try:
                graph = self._device.capture(lambda: self._queue(context, batch))
            except RuntimeError as error:
                self._graphs = False
                logger.warning("%s runs without CUDA graphs, slower: %s", self.name, error)
        return _Slot(context, graph)

    def _queue(self, context: IExecutionContext, batch: int) -> None:
        """Puts one inference on the stream: copy in, network, copies out."""
        device = self._device
        device.to_device(self._addresses[INPUT_NAME], self._image[:batch])
        if not context.execute_async_v3(device.stream_handle):
            raise GpuError(f"TensorRT could not run: {self._reason()}")
        for name, output in zip(OUTPUT_NAMES, self._outputs, strict=True):
            device.to_host(output[:batch], self._addresses[name])

    def _copy(self, pinned: Float32) -> Float32:
        """Returns the values in memory that is the caller's for as long as it is held."""
        n, height, width = pinned.shape
        copy: Float32 = self._pool.take(n * height, width).reshape(n, height, width)
        np.copyto(copy, pinned)
        return copy

    def _reason(self) -> str:
        return self._library.reason()


def open_engine(
    model: Path,
    card: ModelCard,
    cache: str | Path | None = None,
    device: CudaDevice | None = None,
    most_images: int = 1,
) -> TensorRtEngine:
    """Loads the newest engine of a model that was built for this GPU and this TensorRT.

    Args:
        model: The ONNX file.
        card: Its card.
        cache: Folder of engines; see `cache_folder`.
        device: The GPU; opened if None.
        most_images: Most images of one call; an engine for fewer is passed over.

    Raises:
        ValueError: There is none; the message says which there are instead, and how to build it.
    """
    device = device if device is not None else CudaDevice()
    try:
        entry, library = find_engine(model, card, device.gpu, cache_folder(cache), most_images)
        return load_entry(entry, model, card, library, device)
    except BaseException:
        device.close()
        raise


def load_entry(
    entry: Entry, model: Path, card: ModelCard, library: TensorRt, device: CudaDevice
) -> TensorRtEngine:
    """Loads one entry of the cache after comparing it with its card.

    Raises:
        ValueError: It is damaged, or TensorRT refuses it; the message names the command.
    """
    if entry.card is None:
        raise ValueError(f"engine {entry.folder}: {entry.problem}: {rebuild_command(model)}")
    try:
        plan = read_plan(entry)
        if entry.card.parity:
            refuse_beyond(entry.card.parity, entry.card.key.precision)
        engine = TensorRtEngine(plan, card, entry.card.key, library, device)
    except ValueError as error:
        raise ValueError(f"{error}: {rebuild_command(model, entry)}") from error
    logger.info("%s for %s: %s", engine.name, model.name, entry.folder)
    if not entry.card.parity:
        logger.warning(
            "the engine of %s was built where no GPU was and has not been compared with ONNX "
            "Runtime yet: run `rosam engine verify %s`",
            model.name,
            model,
        )
    return engine


def find_engine(
    model: Path, card: ModelCard, gpu: Gpu, cache: Path, most_images: int = 1
) -> tuple[Entry, TensorRt]:
    """Returns the newest usable entry and the library that runs it; deserialises nothing.

    Raises:
        ValueError: There is none; says why each entry of this model is not usable.
    """
    of_model = [e for e in entries(cache) if e.card and e.card.key.model_sha256 == card.sha256]
    reasons: list[str] = []
    for name in dict.fromkeys(e.card.key.library for e in of_model if e.card):
        try:
            library = load_tensorrt(name)
        except ValueError as error:
            reasons.append(str(error))
            continue
        for entry in of_model:
            if entry.card is None or entry.card.key.library != name:
                continue
            reason = (
                entry.problem
                or why_not(entry.card.key, library, gpu)
                or _too_few(entry.card.key, most_images)
            )
            if not reason:
                return entry, library
            reasons.append(reason)
    if not reasons:
        stale = sum(1 for e in entries(cache) if e.card and e.card.model == model.name)
        what = f"; the {stale} of an older file of that name are stale" if stale else ""
        reasons.append(f"no engine in {cache} was built from this file{what}")
    batch = f" --batch 1,{most_images}" if most_images > 1 else ""
    raise ValueError(f"{'; '.join(dict.fromkeys(reasons))}: {rebuild_command(model, batch=batch)}")


def _too_few(key: EngineKey, most_images: int) -> str:
    """Returns that an engine takes fewer images at once than are needed, or nothing."""
    most = key.batches[-1]
    return f"the engine takes {most} at once, not {most_images}" if most < most_images else ""


def why_not(key: EngineKey, library: TensorRt, gpu: Gpu) -> str:
    """Returns why an engine does not run with this library on this GPU, or nothing."""
    if key.library != library.name or key.version != library.version:
        return (
            f"the engine was built with {key.library} {key.version}, here is {library.name} "
            f"{library.version}"
        )
    if key.preparation != PREPARATION:
        return "the engine was built by another version of rosam"
    if library.is_rtx:
        fits = gpu.compute_capability in key.target.split(",")
    else:
        fits = key.target == gpu_target(gpu)
    return "" if fits else f"the engine was built for {key.target}, here is {gpu_target(gpu)}"


def gpu_target(gpu: Gpu) -> str:
    """Returns a GPU as the cards of `tensorrt` engines name it."""
    return f"{gpu.name}, {gpu.compute_capability}, {gpu.multiprocessors} multiprocessors"


def rebuild_command(model: Path, entry: Entry | None = None, batch: str = "") -> str:
    """Returns what to do about an engine that is missing or unusable."""
    options = batch
    if entry is not None and entry.card is not None:
        key = entry.card.key
        batches = ",".join(map(str, key.batches))
        options = f" --precision {key.precision} --batch {batches} --force"
    return f"build it with `rosam engine build {model}{options}`"


def is_cached(card: ModelCard) -> bool:
    """Returns whether any engine of this model lies in the default cache, usable or not."""
    found = entries(cache_folder())
    return any(e.card and e.card.key.model_sha256 == card.sha256 for e in found)


def _ports(trt: TensorRtModule, engine: ICudaEngine) -> tuple[list[Port], list[Port]]:
    """Returns inputs and outputs of an engine in our words."""
    inputs: list[Port] = []
    outputs: list[Port] = []
    for index in range(engine.num_io_tensors):
        name = str(engine.get_tensor_name(index))
        kind = str(engine.get_tensor_dtype(name).name)
        sizes = tuple(None if size < 0 else int(size) for size in engine.get_tensor_shape(name))
        # The batch is the profiles' affair; each size in use is checked when it is made.
        port = Port(name, _DTYPES.get(kind, kind.lower()), (None, *sizes[1:]))
        is_input = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
        (inputs if is_input else outputs).append(port)
    return inputs, outputs
