"""OpenVINO on the CPU: the same graphs, in bfloat16 where the CPU computes in it (AVX512-BF16, AMX), else in float32.

An optional extra (`openvino`). OpenVINO reads our ONNX graphs with their weights in safetensors as they are. Importing
the package reports to its vendor (`openvino_telemetry` sends an event from `openvino/tools/ovc/__init__.py`); a service
of ours calls nobody, so that module is declared absent first, which OpenVINO provides for.

What it compiled is kept in the cache and memory-mapped (copy on write, as OpenVINO insists on a writable buffer):
*measured* with fledgling's denoiser, load 0.67 -> 0.20 s of CPU, private memory 83 -> 41 MB.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np

from bowerbird.engine.backend import Array, Input, Session
from bowerbird.engine.backends.cpu import HostArray, host_feeds
from bowerbird.engine.backends.prepared import PreparedFiles, instruction_set
from bowerbird.engine.backends.runtime_errors import failing_load, failing_run
from bowerbird.engine.bundle import unreplaced
from bowerbird.engine.memory import host_memory_bytes
from bowerbird.errors import BackendMissing, BundleInvalid

BLOB = "compiled.blob"
DEVICE = "CPU"

logger = logging.getLogger(__name__)


class OpenVinoSession:
    """One compiled graph, and as many requests as have ever run at once: a request belongs to one run at a time.

    `mapped` is the file that the graph was imported from: OpenVINO computes in its memory and keeps nothing alive.
    """

    def __init__(self, runtime: str, compiled: Any, mapped: Array | None = None) -> None:
        self._compiled = compiled
        self._runtime = runtime
        self._outputs = [_port_name(output) for output in compiled.outputs]
        self._idle: SimpleQueue[Any] = SimpleQueue()
        self._mapped = mapped  # the last attribute is the last to go

    def run(self, inputs: Mapping[str, Input]) -> dict[str, Array]:
        """See `Session.run`; outputs are float32, whatever the graph computed in."""
        try:
            request = self._idle.get_nowait()
        except Empty:
            request = self._compiled.create_infer_request()
        with failing_run(self._runtime):
            answer = request.infer(host_feeds(inputs), share_inputs=True, share_outputs=False)
            results = {name: answer[index] for index, name in enumerate(self._outputs)}
        self._idle.put(request)  # one that failed is not used again
        return results


class OpenVinoBackend:
    """Loads graphs that use `threads` threads, all of them for a run; 0 means one per core."""

    name = "openvino"
    number_bytes = 4
    measure_rows = False

    def __init__(self, threads: int = 0, *, cache: Path | None = None, memory_bytes: int = 0) -> None:
        openvino = _import()
        self._openvino = openvino
        self._runtime = f"OpenVINO {openvino.__version__}"
        self._core = openvino.Core()
        self._core.set_property(DEVICE, {"ENABLE_MMAP": True})
        bfloat16 = "BF16" in self._core.get_property(DEVICE, "OPTIMIZATION_CAPABILITIES")
        self.threads = threads or len(os.sched_getaffinity(0))
        self.efficient_rows = max(2, self.threads)
        self.memory_bytes = memory_bytes or host_memory_bytes()
        self._options = {
            "PERFORMANCE_HINT": "LATENCY",  # one run at a time, on all threads: the scheduler brings the batches
            "INFERENCE_NUM_THREADS": self.threads,
            "ENABLE_CPU_PINNING": False,  # the other services share these cores: a pinned thread waits for them
            "INFERENCE_PRECISION_HINT": "bf16" if bfloat16 else "f32",
        }
        self._prepared = PreparedFiles(cache / "openvino") if cache else None
        logger.info("%s computes in %s", self._runtime, self._options["INFERENCE_PRECISION_HINT"])

    def load(self, graph: Path, *, rowwise: bool = False, key: str | None = None) -> Session:
        """A session; batches are never split. See `Backend.load`."""
        return self._load_prepared(graph, key) or OpenVinoSession(self._runtime, self._compile(graph))

    def resident(self, array: Array) -> HostArray:
        """A copy of `array`. See `Backend.resident`."""
        return HostArray(array)

    def adopt_thread(self) -> None:
        """As it is: OpenVINO computes in threads of its own. See `Backend.adopt_thread`."""

    def interrupt(self) -> None:
        """Nothing. See `Backend.interrupt`.

        OpenVINO cancels asynchronous runs only, and the next run of the graph, by another request, has then answered
        with the shape of the one that was cancelled (2026.4.1).
        """

    def _compile(self, graph: Path) -> Any:
        with failing_load(self._runtime, graph):
            return self._core.compile_model(self._core.read_model(graph), DEVICE, self._options)

    def _load_prepared(self, graph: Path, key: str | None) -> OpenVinoSession | None:
        if self._prepared is None or key is None:
            return None
        options = {name: str(value) for name, value in self._options.items()}
        facts = {"part": key, "runtime": self._runtime, "instructions": instruction_set(), **options}
        folder = self._prepared.find(facts, partial(self._export, graph))
        if folder is None:
            return None
        mapped = np.memmap(folder / BLOB, np.uint8, mode="c")
        try:
            with failing_load(self._runtime, folder / BLOB):
                blob = self._openvino.Tensor(mapped, shared_memory=True)
                return OpenVinoSession(self._runtime, self._core.import_model(blob, DEVICE, self._options), mapped)
        except BundleInvalid as error:
            self._prepared.say(error.message)
            return None

    def _export(self, graph: Path, folder: Path) -> None:
        with unreplaced(graph.parent):
            compiled = self._compile(graph)
        (folder / BLOB).write_bytes(compiled.export_model().getvalue())


def _port_name(output: Any) -> str:
    """The graph's name of an output: that of its last node. Tensors that turn out equal are merged, names and all."""
    name: str = output.get_node().get_friendly_name().removesuffix("/sink_port_0")
    return name if name in output.get_names() else str(output.get_any_name())


def _import() -> Any:
    """The package; raises BackendMissing when it is not installed."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type] # makes its import fail: see above
    try:
        import openvino
    except ImportError as error:
        raise BackendMissing(f"openvino is not installed here: {error}. The extra `openvino` brings it.") from error
    return openvino
