"""ONNX Runtime on an NVIDIA GPU.

Falling back to the CPU is forbidden to ONNX Runtime: a graph with one node that the GPU has no kernel for is refused,
not computed slowly. (The CPU provider must not even be listed for that; ONNX Runtime adds it for arithmetic on shapes.)
The denoiser runs as CUDA graphs, one per shape: at small sizes launching its thousand kernels takes longer than they
do. The other parts run once a picture and are not worth the memory that a captured graph holds. Where the bundle has
graphs that compute in fp16 (`compile --backend cuda`), those are loaded; float32 runs on the tensor cores as TF32.

Not measured on a GPU yet: what runs without one (binding, buckets, options) is tested, the rest is said in the options.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnxruntime as ort

from bowerbird.engine.backend import Array, Session
from bowerbird.engine.backends.binding import BoundSession, DeviceArray
from bowerbird.engine.backends.buckets import ROW_BUCKETS
from bowerbird.engine.backends.nvidia import Gpu, open_driver
from bowerbird.engine.backends.onnx_runtime import Provider, open_session, require_provider, session_options

CUDA = "CUDAExecutionProvider"
ENTRIES = {"session.disable_cpu_ep_fallback": "1"}
OPTIONS: Mapping[str, str] = {
    "arena_extend_strategy": "kSameAsRequested",  # powers of two would take up to twice what SDXL needs
    "cudnn_conv_algo_search": "HEURISTIC",  # EXHAUSTIVE times every algorithm at each new shape: minutes at start
    "cudnn_conv_use_max_workspace": "1",  # without it the fast algorithms of 16-bit convolutions are left out
    "do_copy_in_default_stream": "1",  # copies and kernels in one stream: no race for buffers that stay
    "use_tf32": "1",  # what a bundle keeps in float32 uses the tensor cores; 10 bits of mantissa, as fp16 has
}


class CudaBackend:
    """The GPU that CUDA counts as 0; raises BackendMissing when ONNX Runtime or the machine has none."""

    name = "cuda"
    efficient_rows = ROW_BUCKETS[-1]
    measure_rows = True
    number_bytes = 4
    """Of a part without a graph in fp16 (`PartFacts.half`), whatever the precision that its weights are kept in."""

    def __init__(self, *, memory_bytes: int = 0) -> None:
        require_provider(CUDA)
        ort.preload_dlls()  # CUDA and cuDNN from NVIDIA's wheels, where they are not the system's
        self._gpu = Gpu(open_driver())
        self._limit_bytes = memory_bytes
        self.memory_bytes = memory_bytes or self._gpu.free_bytes()

    def load(self, graph: Path, *, rowwise: bool = False, key: str | None = None) -> Session:
        """A session; `rowwise` makes it one of CUDA graphs. See `Backend.load`."""
        provider = cuda_provider(capture=rowwise, limit_bytes=self._limit_bytes)
        return BoundSession(open_session(graph, session_options(1, ENTRIES), [provider]), self._gpu, capture=rowwise)

    def resident(self, array: Array) -> DeviceArray:
        """A copy on the GPU. See `Backend.resident`."""
        return DeviceArray(array, self._gpu)

    def adopt_thread(self) -> None:
        """As it is: the GPU should not wait for it. See `Backend.adopt_thread`."""

    def interrupt(self) -> None:
        """Nothing: a step is one launch. See `Backend.interrupt`."""


def cuda_provider(*, capture: bool, limit_bytes: int) -> Provider:
    """The provider's options; `limit_bytes` (0: none) bounds what this one session's arena may take."""
    options = {**OPTIONS, "enable_cuda_graph": "1" if capture else "0"}
    if limit_bytes:
        options["gpu_mem_limit"] = str(limit_bytes)
    return CUDA, options
