"""What a machine could do at best, and what a network asks of it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper, shape_inference

_BYTES = {
    TensorProto.FLOAT: 4,
    TensorProto.INT64: 8,
    TensorProto.INT32: 4,
    TensorProto.INT8: 1,
    TensorProto.UINT8: 1,
    TensorProto.FLOAT16: 2,
    TensorProto.DOUBLE: 8,
}
_VIEWS = ("Constant", "Shape", "Reshape", "Slice", "Split", "Squeeze", "Unsqueeze", "Identity")
_FUSED = ("Relu", "Clip", "BatchNormalization", "QuantizeLinear", "DequantizeLinear", "Cast")


@dataclasses.dataclass(frozen=True)
class Ceiling:
    """The measured limits of a machine.

    Attributes:
        gflops: Float32 matrix product, 2 n^3 operations [10^9/s].
        gbytes_per_s: Copying of memory, read and written bytes [10^9/s].
    """

    gflops: float
    gbytes_per_s: float


@dataclasses.dataclass(frozen=True)
class Cost:
    """What one run of a network needs.

    Attributes:
        flops: Multiplications and additions of convolutions and matrix products.
        bytes: Weights read once, and every activation that is not fused away written and read.
    """

    flops: int
    bytes: int

    def fastest_ms(self, ceiling: Ceiling) -> float:
        """Returns the time that the scarcer of the two takes at the machine's best [ms]."""
        return 1e3 * max(
            self.flops / (ceiling.gflops * 1e9), self.bytes / (ceiling.gbytes_per_s * 1e9)
        )


class CeilingProbe:
    """Measures the limits a little at a time, so that it can take turns with the engines."""

    def __init__(self, threads: int, size: int = 1024, copied_mib: int = 64) -> None:
        """Prepares a matrix product in ONNX Runtime, with as many threads as the engines get.

        Args:
            threads: CPU threads; 0 = every core.
            size: Rows and columns of the square matrices.
            copied_mib: Size of the copied array, well above the caches [MiB].
        """
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        shape = [size, size]
        ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in "abc"]
        weight = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        graph = helper.make_graph(
            [helper.make_node("MatMul", ["a", "b"], ["c"])],
            "product",
            ports[:1],
            ports[2:],
            [numpy_helper.from_array(weight, "b")],
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10
        )
        self._session = ort.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self._size, self._matrix = size, weight
        self._from = np.ones(copied_mib << 18, np.float32)
        self._to = np.empty_like(self._from)
        self.gflops: list[float] = []
        self.gbytes_per_s: list[float] = []

    def measure(self, times: int = 3) -> None:
        """Takes a few measurements of each."""
        self._session.run(None, {"a": self._matrix})
        for _ in range(times):
            seconds = _seconds(lambda: self._session.run(None, {"a": self._matrix}))
            self.gflops.append(2 * self._size**3 / seconds / 1e9)
            seconds = _seconds(lambda: np.copyto(self._to, self._from))
            self.gbytes_per_s.append(2 * self._from.nbytes / seconds / 1e9)

    def ceiling(self) -> Ceiling:
        """Returns the best of what was measured: a limit is not an average."""
        if not self.gflops:
            self.measure()
        return Ceiling(max(self.gflops), max(self.gbytes_per_s))


def network_cost(model: Path | ModelProto, batch: int = 1) -> Cost:
    """Counts operations and bytes of a network from its graph.

    Bytes are those of an engine that fuses element-wise work into the convolution before it:
    every other result is written once and read once by each node that uses it, in 8 bits where
    the graph quantises it; weights are read once.

    Args:
        model: ONNX file of the contract.
        batch: Images in a run.
    """
    proto = onnx.load(str(model)) if isinstance(model, Path) else ModelProto()
    if isinstance(model, ModelProto):
        proto.CopyFrom(model)
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = batch
    for output in proto.graph.output:
        if output.type.tensor_type.shape.dim:
            output.type.tensor_type.shape.dim[0].dim_value = batch
    del proto.graph.value_info[:]
    graph = shape_inference.infer_shapes(proto, data_prop=True).graph
    weights = {t.name: t for t in graph.initializer}
    shapes, kinds = {}, {}
    for info in (*graph.value_info, *graph.input, *graph.output):
        tensor = info.type.tensor_type
        shapes[info.name] = [d.dim_value for d in tensor.shape.dim]
        kinds[info.name] = tensor.elem_type
    flops, moved = 0, sum(_tensor_bytes(t) for t in weights.values())
    makers = {name: node for node in graph.node for name in node.output}
    narrow: set[str] = set()  # what reaches memory in 8 bits only
    for node in graph.node:
        if node.op_type == "QuantizeLinear":
            name = node.input[0]
            narrow.add(name)
            while name in makers and makers[name].op_type in _FUSED:
                name = makers[name].input[0]
                narrow.add(name)
        elif node.op_type == "DequantizeLinear":
            narrow.add(node.output[0])

    def size_of(name: str) -> int:
        maker = makers.get(name)
        if maker is not None and maker.op_type == "DequantizeLinear" and maker.input[0] in weights:
            return 0  # weights, counted once
        count = int(np.prod(shapes.get(name, [0]), dtype=np.int64))
        return count * (1 if name in narrow else _BYTES.get(kinds.get(name, 0), 4))

    for node in graph.node:
        if node.op_type in ("Conv", "MatMul"):
            kernel = weights.get(node.input[1])
            dims = list(kernel.dims) if kernel is not None else shapes.get(node.input[1], [])
            pixels = int(np.prod(shapes[node.output[0]], dtype=np.int64))
            terms = dims[1:] if node.op_type == "Conv" else dims[-2:-1]
            inner = int(np.prod(terms, dtype=np.int64))
            flops += 2 * pixels * inner
        if node.op_type in _VIEWS or node.op_type in _FUSED:
            continue
        moved += sum(size_of(name) for name in node.input if name and name not in weights)
        moved += sum(size_of(name) for name in node.output)
    return Cost(flops, moved)


def _tensor_bytes(tensor: TensorProto) -> int:
    return int(np.prod(list(tensor.dims), dtype=np.int64)) * _BYTES.get(tensor.data_type, 4)


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun
