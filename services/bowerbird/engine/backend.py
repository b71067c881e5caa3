"""What runs a graph: the interface between the engine and a runtime.

The engine asks a `Backend` for a `Session` per part and calls it with NumPy arrays by port name; it knows nothing else
of a runtime. `open_backend` is the only place that knows them all:

    cpu.py        ONNX Runtime on the CPU
    openvino.py   OpenVINO on the CPU, in bfloat16 where the CPU has it
    cuda.py       ONNX Runtime on an NVIDIA GPU, with CUDA graphs
    tensorrt.py   TensorRT engines, built ahead, through ONNX Runtime

What was asked for and is not here raises BackendMissing: no other backend is taken instead, because a service that
silently computes a hundred times slower is down without anybody knowing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bowerbird.errors import DrawingFailed

if TYPE_CHECKING:
    from bowerbird.settings import Settings

Array = NDArray[Any]
Floats = NDArray[np.float32]
Ids = NDArray[np.int64]


class BackendFailed(DrawingFailed):
    """The runtime gave up on one run; its session is sound, and the same rows may succeed when they run again."""


class OutOfMemory(BackendFailed):
    """The device has no room for this run; a smaller batch may fit."""


class RunInterrupted(BackendFailed):
    """`Backend.interrupt` ended the run, because nobody waits for it; there is no fault in anything."""


class DeviceLost(BackendFailed):
    """The device answers nothing any more until the process that uses it is started again; trying again is in vain."""


class Resident(Protocol):
    """An array kept where the runtime computes, for inputs that run after run reads and that seldom change."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def write(self, index: int, array: Array) -> None:
        """Replaces `[index]` of the first dimension; never one that a run in flight reads."""
        ...


Input = Array | Resident


class Session(Protocol):
    """One loaded graph; may be called from several threads at once."""

    def run(self, inputs: Mapping[str, Input]) -> dict[str, Array]:
        """All outputs by name. The first dimension of every input and output is the batch.

        LoRA banks are the exception (`is_shared`): all rows read the same. Raises OutOfMemory, DeviceLost,
        RunInterrupted, or else BackendFailed.
        """
        ...


class Backend(Protocol):
    """A runtime that can load graphs.

    `efficient_rows` is the largest batch of the denoiser that pays here: a larger one delays its first frame and
    coarsens cancel without costing less per row; with `measure_rows` it is an upper bound, and warming up finds the
    number. `memory_bytes` is what a bundle may take, `number_bytes` what each stored weight becomes once loaded
    (`memory.refuse_too_large` asks both).
    """

    name: str
    efficient_rows: int
    measure_rows: bool
    memory_bytes: int
    number_bytes: int

    def load(self, graph: Path, *, rowwise: bool = False, key: str | None = None) -> Session:
        """A session; raises BundleInvalid when the runtime cannot read the graph.

        `rowwise` says that it will be run with batches, and allows the runtime to split them. `key` names what the
        graph and its weights compute (`Bundle.part_digest`): with one, what is prepared for this runtime and this
        machine is kept in the cache.
        """
        ...

    def resident(self, array: Array) -> Resident:
        """A copy of `array` where this runtime computes."""
        ...

    def adopt_thread(self) -> None:
        """Makes the calling thread, for good, one that runs sessions all the time; may lower its priority."""
        ...

    def interrupt(self) -> None:
        """Ends the runs in flight within some milliseconds, with RunInterrupted; for any thread.

        It is a wish: a run may end as if nothing had been said. On a GPU it always does, being one launch of some
        milliseconds; ONNX Runtime on the CPU, where a step takes up to seconds of all the cores, hears it.
        """
        ...


def computes_in_half(backend: Backend) -> bool:
    """True where a part's fp16 graph is to be taken; TensorRT makes fp16 of the other itself."""
    return backend.name == "cuda"


def is_shared(name: str) -> bool:
    """True for the inputs that are not by row: LoRA banks, `lora_<k>_down` and `lora_<k>_up`."""
    return name.startswith("lora_") and name.endswith(("_down", "_up"))


def open_backend(settings: Settings) -> Backend:
    """The backend that the settings name; raises BackendMissing when its runtime or its device is not here."""
    cache = settings.cache or settings.home / "cache"
    match settings.backend:
        case "cpu":
            from bowerbird.engine.backends.cpu import CpuBackend

            return CpuBackend(settings.threads, cache=cache, memory_bytes=settings.memory_bytes)
        case "openvino":
            from bowerbird.engine.backends.openvino import OpenVinoBackend

            return OpenVinoBackend(settings.threads, cache=cache, memory_bytes=settings.memory_bytes)
        case "cuda":
            from bowerbird.engine.backends.cuda import CudaBackend

            return CudaBackend(memory_bytes=settings.memory_bytes)
        case "tensorrt":
            from bowerbird.engine.backends.tensorrt import TensorrtBackend

            return TensorrtBackend(cache=cache, lora_slots=settings.lora_slots, memory_bytes=settings.memory_bytes)
