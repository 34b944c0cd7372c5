"""A TensorRT without a GPU: its engines run the ONNX in ONNX Runtime, strict where TensorRT is.

FAKE_TENSORRT   version it states
FAKE_BUILD_S    how long a build takes
FAKE_BUILD_LOG  file that gets a line for each build that begins
FAKE_ERROR      factor on every depth
"""

import enum
import json
import os
import time

import numpy as np
import onnx
import onnxruntime
from cuda.bindings import runtime as cuda

__version__ = os.environ.get("FAKE_TENSORRT", "10.3.0")
DESERIALISED = []


class ILogger:
    class Severity(enum.Enum):
        INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)


class NetworkDefinitionCreationFlag(enum.IntEnum):
    EXPLICIT_BATCH, STRONGLY_TYPED = 0, 1


class BuilderFlag(enum.IntEnum):
    TF32 = 7


class TensorIOMode(enum.Enum):
    NONE, INPUT, OUTPUT = range(3)


class DataType(enum.Enum):
    FLOAT, HALF, UINT8 = range(3)


class IProgressMonitor:
    pass


class INetworkDefinition:
    model = b""


class OnnxParser:
    def __init__(self, network, logger):
        self.network, self.logger = network, logger

    def parse(self, model):
        proto = onnx.load_from_string(model)
        (first,) = [node for node in proto.graph.node if "image" in node.input]
        if first.op_type != "Cast":
            self.logger.log(ILogger.Severity.ERROR, f"{first.op_type} has type UInt8")
            return False
        self.network.model = model
        return True


class _Profile:
    def set_shape(self, name, smallest, best, largest):
        assert name == "image"
        self.range = [smallest[0], best[0], largest[0]]


class _Bytes(bytes):
    @property
    def nbytes(self):
        return len(self)

    def serialize(self):
        return self


class _Config:
    progress_monitor = None
    timings = None

    def __init__(self):
        self.profiles, self.cleared = [], []

    def clear_flag(self, flag):
        self.cleared.append(flag)

    def add_optimization_profile(self, profile):
        self.profiles.append(profile.range)
        return len(self.profiles) - 1

    def create_timing_cache(self, content):
        return _Bytes(content) if not content or content.startswith(b"timings") else None

    def set_timing_cache(self, timings, ignore_mismatch):
        assert not ignore_mismatch
        self.timings = timings
        return True

    def get_timing_cache(self):
        return _Bytes(b"timings" + bytes(len(self.timings)))


class Builder:
    def __init__(self, logger):
        self.logger = logger

    def create_network(self, flags=0):
        assert flags == 1 << NetworkDefinitionCreationFlag.STRONGLY_TYPED
        return INetworkDefinition()

    def create_builder_config(self):
        return _Config()

    def create_optimization_profile(self):
        return _Profile()

    def build_serialized_network(self, network, config):
        assert config.cleared == [BuilderFlag.TF32]
        if os.environ.get("FAKE_BUILD_LOG"):
            with open(os.environ["FAKE_BUILD_LOG"], "a") as stream:
                stream.write(f"{os.getpid()}\n")
        end = time.monotonic() + float(os.environ.get("FAKE_BUILD_S", "0"))
        config.progress_monitor.phase_start("Building engine", None, 2)
        while time.monotonic() < end:
            time.sleep(0.05)
            if not config.progress_monitor.step_complete("Building engine", 0):
                return None
        config.progress_monitor.phase_finish("Building engine")
        head = json.dumps({"profiles": config.profiles}).encode()
        return _Bytes(head + b"\n" + network.model)


class Runtime:
    def __init__(self, logger):
        self.logger = logger

    def deserialize_cuda_engine(self, plan):
        DESERIALISED.append(plan)
        try:
            head, _, model = bytes(plan).partition(b"\n")
            return _Engine(json.loads(head)["profiles"], model)
        except Exception as error:
            self.logger.log(ILogger.Severity.ERROR, f"cannot deserialise: {type(error).__name__}")
            return None


class _Engine:
    def __init__(self, profiles, model):
        self.profiles = profiles
        self.session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        self.ports = [*self.session.get_inputs(), *self.session.get_outputs()]
        self.num_io_tensors = len(self.ports)

    def get_tensor_name(self, index):
        return self.ports[index].name

    def _port(self, name):
        return next(port for port in self.ports if port.name == name)

    def get_tensor_dtype(self, name):
        return DataType.UINT8 if self._port(name).type == "tensor(uint8)" else DataType.FLOAT

    def get_tensor_shape(self, name):
        return tuple(n if isinstance(n, int) else -1 for n in self._port(name).shape)

    def get_tensor_mode(self, name):
        return TensorIOMode.INPUT if name == "image" else TensorIOMode.OUTPUT

    def create_execution_context(self):
        return _Context(self)


class _Context:
    def __init__(self, engine):
        self.engine, self.addresses, self.shape, self.profile = engine, {}, None, None
        self.is_warm = False

    def set_optimization_profile_async(self, index, stream):
        self.profile = self.engine.profiles[index]
        return True

    def set_input_shape(self, name, shape):
        self.shape, self.is_warm = shape, False
        return self.profile[0] <= shape[0] <= self.profile[2]

    def set_tensor_address(self, name, address):
        self.addresses[name] = address
        return True

    def get_tensor_shape(self, name):
        return (self.shape[0], 1, *self.shape[1:3])

    def execute_async_v3(self, stream):
        assert set(self.addresses) == {"image", "depth", "confidence"}
        if cuda.capturing is not None and not self.is_warm:
            return False  # TensorRT's late set-up cannot be captured
        self.is_warm = True
        cuda.put(self._run)
        return True

    def _run(self):
        size = int(np.prod(self.shape))
        image = np.frombuffer(cuda.memory(self.addresses["image"], size), np.uint8)
        answer = self.engine.session.run(
            ["depth", "confidence"], {"image": image.reshape(self.shape)}
        )
        factor = float(os.environ.get("FAKE_ERROR", "1"))
        for name, values in zip(("depth", "confidence"), answer, strict=True):
            values = values * np.float32(factor) if name == "depth" else values
            target = cuda.memory(self.addresses[name], values.nbytes)
            np.frombuffer(target, np.float32)[:] = values.ravel()
