"""A CUDA runtime without a GPU: memory is the host's, a stream runs at once, graphs replay.

Strict where the real one is: wrong addresses, freed memory and work during a capture that cannot
be captured are errors. Tests read `CALLS`, which counts the functions.
"""

# ruff: noqa: N801, N802, N815, N816
import ctypes
import enum
import os
from collections import Counter

CALLS = Counter()
_memory = {}
_pinned = set()
_graphs = {}
capturing = None
cudaStreamNonBlocking = 1
cudaHostAllocDefault = 0


class cudaError_t(enum.IntEnum):
    cudaSuccess = 0
    cudaErrorInvalidValue = 1
    cudaErrorMemoryAllocation = 2
    cudaErrorInsufficientDriver = 35
    cudaErrorNoDevice = 100
    cudaErrorStreamCaptureUnsupported = 900


class cudaMemcpyKind(enum.IntEnum):
    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2


class cudaStreamCaptureMode(enum.IntEnum):
    cudaStreamCaptureModeThreadLocal = 1


OK, BAD = (cudaError_t.cudaSuccess,), (cudaError_t.cudaErrorInvalidValue, None)


class Properties:
    name = os.environ.get("FAKE_GPU", "Orin").encode()
    major, minor = 8, 7
    multiProcessorCount = int(os.environ.get("FAKE_MULTIPROCESSORS", "8"))


def live():
    """Pieces of memory and graphs that are not freed."""
    return len(_memory) + len(_graphs)


def memory(address, size):
    """The bytes at an address, checked against what was allocated."""
    for start, block in _memory.items():
        if start <= address and address + size <= start + len(block):
            return (ctypes.c_uint8 * size).from_address(address)
    raise AssertionError(f"{size} bytes at {address} are nobody's")


def put(work):
    """Puts work on the stream."""
    if capturing is None:
        work()
    else:
        capturing.append(work)


def _counted(function):
    def counted(*arguments):
        CALLS[function.__name__] += 1
        return function(*arguments)

    counted.__name__ = function.__name__
    return counted


def _allocate(size):
    block = (ctypes.c_uint8 * size)()
    _memory[ctypes.addressof(block)] = block
    return cudaError_t.cudaSuccess, ctypes.addressof(block)


@_counted
def cudaGetDeviceCount():
    if os.environ.get("FAKE_OLD_DRIVER"):
        return cudaError_t.cudaErrorInsufficientDriver, None
    return cudaError_t.cudaSuccess, int(os.environ.get("FAKE_GPUS", "1"))


@_counted
def cudaGetDeviceProperties(device):
    return cudaError_t.cudaSuccess, Properties


@_counted
def cudaGetErrorString(error):
    return cudaError_t.cudaSuccess, error.name.encode()


@_counted
def cudaStreamCreateWithFlags(flags):
    return cudaError_t.cudaSuccess, 77


@_counted
def cudaStreamDestroy(stream):
    return OK


@_counted
def cudaStreamSynchronize(stream):
    return BAD if capturing is not None or stream != 77 else OK


@_counted
def cudaMalloc(size):
    return _allocate(size)


@_counted
def cudaHostAlloc(size, flags):
    status, address = _allocate(size)
    _pinned.add(address)
    return status, address


@_counted
def cudaFree(address):
    return OK if _memory.pop(address, None) is not None else BAD


cudaFreeHost = _counted(lambda address: cudaFree(address))


@_counted
def cudaMemcpyAsync(target, source, size, kind, stream):
    host = source if kind == cudaMemcpyKind.cudaMemcpyHostToDevice else target
    memory(host, size), memory(source, size), memory(target, size)
    assert any(a <= host < a + len(_memory[a]) for a in _pinned if a in _memory), "not pinned"
    put(lambda: ctypes.memmove(memory(target, size), memory(source, size), size))
    return OK


@_counted
def cudaStreamBeginCapture(stream, mode):
    global capturing
    if os.environ.get("FAKE_NO_CAPTURE"):
        return cudaError_t.cudaErrorStreamCaptureUnsupported, None
    capturing = []
    return OK


@_counted
def cudaStreamEndCapture(stream):
    global capturing
    work, capturing = capturing, None
    return cudaError_t.cudaSuccess, work


@_counted
def cudaGraphInstantiate(graph, flags):
    _graphs[id(graph)] = graph
    return cudaError_t.cudaSuccess, id(graph)


@_counted
def cudaGraphDestroy(graph):
    return OK


@_counted
def cudaGraphExecDestroy(graph):
    return OK if _graphs.pop(graph, None) is not None else BAD


@_counted
def cudaGraphLaunch(graph, stream):
    for work in _graphs[graph]:
        work()
    return OK
