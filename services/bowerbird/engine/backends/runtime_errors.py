"""What a runtime's exceptions mean to the engine: one table of phrases, read by every backend.

ONNX Runtime and OpenVINO raise bare RuntimeErrors, or classes of their own that derive from nothing else; what happened
stands only in the text.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bowerbird.engine.backend import BackendFailed, DeviceLost, OutOfMemory, RunInterrupted
from bowerbird.errors import BundleInvalid

OUT_OF_MEMORY = (
    "failed to allocate memory",  # ONNX Runtime's arena: the device, or gpu_mem_limit, is exhausted
    "available memory of",  # the same, "Available memory of 1 is smaller than requested bytes of 2"
    "out of memory",  # cudaErrorMemoryAllocation, cuBLAS, TensorRT, torch
    "status_alloc_failed",  # cuBLAS and cuDNN
    "bad_alloc",  # the host: C++
    "could not allocate",  # oneDNN, inside OpenVINO
    "can't allocate memory",  # torch, on the host
)

DEVICE_LOST = (  # errors after which CUDA answers every call of the process with the same one
    "illegal memory access",
    "unspecified launch failure",
    "uncorrectable ecc error",
    "device-side assert",
    "gpu has fallen off the bus",
)

INTERRUPTED = "terminate flag being set"  # ONNX Runtime: RunOptions.terminate


@contextmanager
def failing_run(runtime: str) -> Iterator[None]:
    """Around a run: what the runtime raises becomes OutOfMemory, DeviceLost, RunInterrupted, or else BackendFailed."""
    try:
        yield
    except Exception as error:  # see above: there is no narrower class
        if INTERRUPTED in str(error).lower():
            raise RunInterrupted(f"{runtime} was told to end this run.") from error
        if means_out_of_memory(error):
            raise OutOfMemory(f"{runtime}: {error}") from error
        lost = any(phrase in str(error).lower() for phrase in DEVICE_LOST)
        raise (DeviceLost if lost else BackendFailed)(f"{runtime}: {error}") from error


@contextmanager
def failing_load(runtime: str, graph: Path) -> Iterator[None]:
    """Around a load: whatever the runtime raises becomes OutOfMemory or BundleInvalid, naming the graph."""
    try:
        yield
    except Exception as error:  # see above: there is no narrower class
        if means_out_of_memory(error):
            raise OutOfMemory(f"{graph} does not fit into memory, says {runtime}: {error}") from error
        raise BundleInvalid(f"{runtime} cannot load {graph}: {error}") from error


def means_out_of_memory(error: Exception) -> bool:
    """True when a smaller batch may help."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(phrase in text for phrase in OUT_OF_MEMORY)
