"""What values a network's layers see on calibration frames, and the 8-bit scales for them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, helper

from rosam_core.types import Float32, UInt8

BINS = 2048


@dataclasses.dataclass(frozen=True)
class Observation:
    """The values of one tensor over all frames.

    Attributes:
        scale: Step of 8 bits with the least squared error.
        mean: float32[c], mean of every channel.
        channel_max: float32[c], largest magnitude in every channel.
    """

    scale: float
    mean: Float32
    channel_max: Float32


class _Collector:
    """A histogram of magnitudes whose range doubles when a larger one comes."""

    def __init__(self) -> None:
        self.counts = np.zeros(BINS, np.int64)
        self.top = 0.0
        self.total: Float32 | None = None
        self.largest: Float32 | None = None
        self.frames = 0

    def add(self, values: Float32) -> None:
        """Takes float32[1,c,...]."""
        rows = values.reshape(values.shape[1], -1)
        magnitude = np.abs(rows)
        largest, mean = magnitude.max(axis=1), rows.mean(axis=1)
        self.frames += 1
        self.total = mean if self.total is None else self.total + mean
        self.largest = largest if self.largest is None else np.maximum(self.largest, largest)
        peak = float(largest.max())
        if peak == 0:
            self.counts[0] += rows.size
            return
        if self.top == 0:
            self.top = peak
        while peak > self.top:
            halved = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts[: BINS // 2], self.counts[BINS // 2 :] = halved, 0
            self.top *= 2
        places = np.minimum((magnitude * (BINS / self.top)).astype(np.int32), BINS - 1)
        self.counts += np.bincount(places.ravel(), minlength=BINS)

    def finish(self) -> Observation:
        """Returns what was collected."""
        if self.total is None or self.largest is None:
            raise ValueError("calibration: no frames")
        scale = best_scale(self.counts, self.top)
        return Observation(scale, (self.total / self.frames).astype(np.float32), self.largest)


def best_scale(counts: npt.NDArray[np.int64], top: float, levels: int = 127) -> float:
    """Returns the step s that minimises `sum n (x - s clip(round(x / s), -levels, levels))^2`.

    A smaller step rounds more finely and cuts more of the large values off.

    Args:
        counts: int[b], how many values have a magnitude in each b-th of [0, top].
        top: Upper end of the histogram; 0 if all values were 0.
        levels: Largest integer.
    """
    if not top > 0:
        return 1.0
    centres = (np.arange(len(counts)) + 0.5) * (top / len(counts))
    last = centres[np.flatnonzero(counts)[-1]]
    steps = last / levels * np.linspace(0.2, 1.0, 81)
    rounded = np.minimum(np.rint(centres / steps[:, None]), levels) * steps[:, None]
    return float(steps[np.argmin(((centres - rounded) ** 2 * counts).sum(axis=1))])


def observe(
    model: ModelProto, frames: Iterable[UInt8], threads: int = 0
) -> dict[str, Observation]:
    """Runs frames through a network in float and returns what every convolution reads.

    Args:
        model: With batch norms folded.
        frames: uint8[h,w,3] each, at network size.
        threads: CPU threads; 0 = every core.

    Returns:
        By the name of the tensor.

    Raises:
        ValueError: There are no frames.
    """
    import onnxruntime as ort

    inputs = {port.name for port in model.graph.input}
    names = sorted({n.input[0] for n in model.graph.node if n.op_type == "Conv"} - inputs)
    watched = ModelProto()
    watched.CopyFrom(model)
    watched.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = ort.InferenceSession(
        watched.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    collectors = {name: _Collector() for name in names}
    for frame in frames:
        for name, values in zip(
            names, session.run(names, {next(iter(inputs)): frame[None]}), strict=True
        ):
            collectors[name].add(values)
    return {name: collector.finish() for name, collector in collectors.items()}
