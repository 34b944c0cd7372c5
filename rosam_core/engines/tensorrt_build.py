"""From a model file to a TensorRT engine in the cache."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import logging
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from rosam_core.engines.contract import INPUT_NAME, load_card
from rosam_core.engines.cuda_device import CudaDevice, Gpu, find_gpu
from rosam_core.engines.engine_cache import (
    EngineKey,
    Entry,
    build_lock,
    cache_folder,
    entries,
    read_plan,
    renew,
    store,
)
from rosam_core.engines.onnx_precision import PREPARATION, prepare_model
from rosam_core.engines.parity import measure_parity, refuse_beyond
from rosam_core.engines.tensorrt_engine import TensorRtEngine, gpu_target
from rosam_core.engines.tensorrt_library import (
    Builder,
    IBuilderConfig,
    IHostMemory,
    INetworkDefinition,
    IOptimizationProfile,
    ITimingCache,
    OnnxParser,
    RtxBuilderConfig,
    RtxModule,
    TensorRt,
    TensorRtModule,
    load_tensorrt,
)
from rosam_core.types import ModelCard
from rosam_core.whole_file import write_whole

logger = logging.getLogger(__name__)


class Progress(Protocol):
    """Who is told how far a build is; `tqdm` is one."""

    total: float | None

    def update(self, n: float = 1) -> Any:
        """Says that `n` more steps are done."""

    def set_postfix_str(self, s: str = "", refresh: bool = True) -> None:
        """Says what is being done."""


@dataclasses.dataclass(frozen=True)
class BuildOptions:
    """What to build.

    Attributes:
        precision: `fp16`, `int8`, `fp32`; None is that of the file, half for a float one.
        batches: Batch sizes to tune for; every size up to the largest can be run.
        library: `tensorrt`, `tensorrt-rtx` or `auto`.
        capabilities: Compute capabilities to build for, `tensorrt-rtx` only; the GPU's if empty.
        cache: Folder of engines; see `cache_folder`.
        timing_cache: File of measured kernels; one for each library and GPU in the cache if None.
        force: Build again what is there already.
    """

    precision: str | None = None
    batches: tuple[int, ...] = (1,)
    library: str = "auto"
    capabilities: tuple[str, ...] = ()
    cache: Path | None = None
    timing_cache: Path | None = None
    force: bool = False


def build_engine(
    model: Path,
    options: BuildOptions,
    progress: Progress | None = None,
    say: Callable[[str], None] = logger.info,
) -> tuple[Entry, bool]:
    """Builds an engine, compares it with ONNX Runtime if a GPU is here, and keeps it.

    Args:
        model: The ONNX file; its card lies beside it.
        options: What to build.
        progress: Told how far it is.
        say: Told what takes long, or is not done.

    Returns:
        The entry, and whether it was built now.

    Raises:
        FileNotFoundError: Model or card are missing.
        ValueError: TensorRT is missing or refuses the model, or the engine is too far off.
        OSError: It cannot be stored.
    """
    card = load_card(model)
    batches = check_batches(options.batches)
    library = load_tensorrt(options.library)
    gpu = find_gpu() if library.is_rtx else _gpu_here()
    target = _target(library, gpu, options.capabilities)
    graph, precision = prepare_model(model, options.precision)
    size = (card.input_width, card.input_height)
    key = EngineKey(
        card.sha256, library.name, library.version, target, precision, batches, *size, PREPARATION
    )
    cache = cache_folder(options.cache)
    say_waiting = f"another process is building this engine, waiting for it ({key.digest()})"
    with build_lock(cache, key, lambda: say(say_waiting)):
        entry = _existing(cache, key)
        if entry is not None and not options.force:
            return _renewed(entry), False
        _require_space(cache, len(graph))
        capabilities = tuple(target.split(",")) if library.is_rtx else ()
        timing = options.timing_cache or _timing_cache(cache, library, target)
        plan = bytes(build_plan(library, graph, size, batches, capabilities, timing, progress))
        fits = gpu is not None and (not library.is_rtx or gpu.compute_capability in capabilities)
        if fits:
            parity = compare(plan, model, card, key, library)
            refuse_beyond(parity, precision)
        else:
            say("not compared with ONNX Runtime: there is no GPU here that runs this engine")
            parity = {}
        return store(cache, key, model.name, plan, parity), True


def compare(
    plan: bytes, model: Path, card: ModelCard, key: EngineKey, library: TensorRt
) -> dict[str, Any]:
    """Returns how far an engine is from ONNX Runtime on the CPU; see `measure_parity`."""
    from rosam_core.engines.onnx_engine import OnnxEngine

    reference = OnnxEngine(model, card, "cpu")
    device = CudaDevice()
    try:
        engine = TensorRtEngine(plan, card, key, library, device)
        return measure_parity(engine, reference, key.batches)
    finally:
        device.close()
        reference.close()


def build_plan(
    library: TensorRt,
    graph: bytes,
    size: tuple[int, int],
    batches: Sequence[int],
    capabilities: Sequence[str] = (),
    timing_cache: Path | None = None,
    progress: Progress | None = None,
) -> IHostMemory:
    """Returns a serialised engine.

    Args:
        library: The TensorRT that builds it.
        graph: The model from `prepare_model`; its types are the engine's.
        size: Network width and height [px].
        batches: Batch sizes to tune for, ascending: one optimisation profile each.
        capabilities: For `tensorrt-rtx`: compute capabilities, such as `8.6`.
        timing_cache: Read if it is there, and written; `tensorrt-rtx` has none.
        progress: Told how far it is.

    Raises:
        ValueError: TensorRT refuses the model.
        KeyboardInterrupt: Ctrl-C.
    """
    trt: TensorRtModule = library.trt
    try:
        builder: Builder = trt.Builder(library.messages)
    except Exception as error:  # pybind raises whatever it likes when there is no driver
        raise ValueError(
            f"{library.name} {library.version} does not start: {library.reason()}: see whether "
            "`nvidia-smi` shows the GPU"
        ) from error
    # The flag is the default in 11.x and a choice in 10.x.
    flags = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network: INetworkDefinition = builder.create_network(flags)
    parser: OnnxParser = trt.OnnxParser(network, library.messages)
    if not parser.parse(graph):
        raise ValueError(
            f"{library.name} {library.version} cannot read the model: {library.reason()}: export "
            "it again with `rosam export`"
        )
    config: IBuilderConfig = builder.create_builder_config()
    # float32 means float32: whoever wants fewer bits asks for fp16.
    config.clear_flag(trt.BuilderFlag.TF32)
    for smallest, largest in batch_ranges(batches):
        profile: IOptimizationProfile = builder.create_optimization_profile()
        shapes = [(n, size[1], size[0], 3) for n in (smallest, largest, largest)]
        profile.set_shape(INPUT_NAME, *shapes)
        if config.add_optimization_profile(profile) < 0:
            raise ValueError(f"TensorRT does not take batch {largest}: {library.reason()}")
    if capabilities:
        _set_capabilities(library.trt, config, capabilities)
    timings = None if library.is_rtx else timing_cache
    if timings is not None:
        _read_timings(config, timings)
    with _interruptible() as interrupted:
        config.progress_monitor = _make_monitor(trt, progress, interrupted)
        plan: IHostMemory = builder.build_serialized_network(network, config)
    if interrupted.is_set():
        raise KeyboardInterrupt
    if plan is None:
        raise ValueError(
            f"{library.name} {library.version} cannot build the model: {library.reason()}"
        )
    if timings is not None:
        _write_timings(config, timings)
    return plan


def batch_ranges(batches: Sequence[int]) -> list[tuple[int, int]]:
    """Returns smallest and largest batch of each profile; tuned for its largest.

    (1, 6) is (1, 1), for one camera, and (2, 6): every size up to the last is in exactly one.
    """
    return list(zip([1, *(b + 1 for b in batches)], batches, strict=False))


def check_batches(batches: Sequence[int]) -> tuple[int, ...]:
    """Returns batch sizes ascending, each once.

    Raises:
        ValueError: There is none, or one is not in 1 to 64, as the model file states it.
    """
    chosen = tuple(sorted(set(batches)))
    if not chosen or chosen[0] < 1 or chosen[-1] > 64:
        raise ValueError(f"batch sizes must be in 1 to 64, got {list(batches)}")
    return chosen


def _gpu_here() -> Gpu:
    """Returns the GPU; unlike `find_gpu` it says why there is none."""
    device = CudaDevice()
    device.close()
    return device.gpu


def _target(library: TensorRt, gpu: Gpu | None, capabilities: Sequence[str]) -> str:
    if not library.is_rtx:
        if capabilities:
            raise ValueError(
                "only tensorrt-rtx builds for other GPUs than the one that is here: leave out "
                "--compute-capability, or add --library tensorrt-rtx"
            )
        return gpu_target(gpu or _gpu_here())
    if not capabilities:
        if gpu is None:
            raise ValueError(
                "there is no GPU here: name those to build for, such as --compute-capability "
                "8.6,8.9,12.0 (RTX 30, 40 and 50)"
            )
        capabilities = (gpu.compute_capability,)
    return ",".join(sorted(set(capabilities), key=lambda c: [int(n) for n in c.split(".")]))


def _set_capabilities(trt: RtxModule, config: RtxBuilderConfig, names: Sequence[str]) -> None:
    """Names the GPUs that an engine of `tensorrt-rtx` shall run on."""
    known = {
        f"{int(n[2:]) // 10}.{int(n[2:]) % 10}": value
        for n, value in trt.ComputeCapability.__members__.items()
        if n.startswith("SM")
    }
    missing = [name for name in names if name not in known]
    if missing:
        raise ValueError(
            f"tensorrt-rtx does not build for compute capability {', '.join(missing)}: it knows "
            f"{', '.join(known)}"
        )
    config.num_compute_capabilities = len(names)
    for index, name in enumerate(names):
        config.set_compute_capability(known[name], index)


def _existing(cache: Path, key: EngineKey) -> Entry | None:
    """Returns the entry of a key if its engine is what its card says."""
    for entry in entries(cache):
        if entry.folder.name == key.digest() and not entry.problem:
            try:
                read_plan(entry)
            except ValueError as error:
                logger.warning("%s: building it again", error)
                return None
            return entry
    return None


def _renewed(entry: Entry) -> Entry:
    """Returns an entry as the newest: what was asked for last is what shall be loaded."""
    try:
        return renew(entry)
    except OSError as error:
        logger.warning(
            "%s stays as old as it is, a newer engine of the model goes before it: %s",
            entry.folder,
            error.strerror or error,
        )
        return entry


def _require_space(cache: Path, size: int) -> None:
    free = shutil.disk_usage(cache).free
    if free < size:  # seconds into the build instead of minutes
        raise OSError(
            f"{cache} has {free / 1e6:.1f} MB left, the engine needs about {size / 1e6:.1f} MB: "
            "make room (`rosam engine prune`) or name another folder with --cache"
        )


def _timing_cache(cache: Path, library: TensorRt, target: str) -> Path:
    """Returns where the timings of a library on a GPU are kept; a file, so never an entry."""
    name = f"{library.name} {library.version} {target}"
    return cache / f"{hashlib.sha256(name.encode()).hexdigest()[:24]}.timings"


def _read_timings(config: IBuilderConfig, path: Path) -> None:
    content = path.read_bytes() if path.is_file() else b""
    timings: ITimingCache = config.create_timing_cache(content)
    # False: what was measured on another GPU is no help.
    if timings is None or not config.set_timing_cache(timings, False):
        logger.warning("timing cache %s is damaged or of another GPU: starting anew", path)
        config.set_timing_cache(config.create_timing_cache(b""), False)


def _write_timings(config: IBuilderConfig, path: Path) -> None:
    timings: ITimingCache = config.get_timing_cache()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        content: IHostMemory = timings.serialize()
        write_whole(path, content)
    except OSError as error:  # the engine is worth more than the time of the next build
        logger.warning("timing cache %s is not kept: %s", path, error.strerror or error)


@contextlib.contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """Turns Ctrl-C into an event: an exception inside TensorRT's callbacks ends the process."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    before = signal.signal(signal.SIGINT, lambda *_: event.set())
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, before)


def _make_monitor(
    trt: TensorRtModule, progress: Progress | None, interrupted: threading.Event
) -> Any:
    """Returns a progress monitor of TensorRT; it also carries Ctrl-C into the build."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, name: str, parent: str | None, steps: int) -> None:
            if progress is not None:
                progress.total = (progress.total or 0) + steps
                progress.set_postfix_str(name)

        def phase_finish(self, name: str) -> None:
            return None

        def step_complete(self, name: str, step: int) -> bool:
            if progress is not None:
                progress.update(1)
            return not interrupted.is_set()

    return Monitor()
