"""ONNX Runtime on the CPU.

Threads do not spin while they wait: gateway, safety and curation share the cores, and a spinning pool takes them from
whoever has work. The memory arena grows by what is asked for and not by powers of two, since a worker that lives for
weeks keeps what it once took.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import onnxruntime as ort

from bowerbird.engine.backend import Array
from bowerbird.errors import BundleInvalid

PROVIDER = "CPUExecutionProvider"


class CpuSession:
    """One graph in ONNX Runtime."""

    def __init__(self, session: ort.InferenceSession) -> None:
        self._session = session
        self._outputs = [output.name for output in session.get_outputs()]

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """All outputs by name."""
        return dict(zip(self._outputs, self._session.run(self._outputs, dict(inputs)), strict=True))


class CpuBackend:
    """Loads graphs with `threads` intra-op threads each; 0 means one per core this process may use."""

    name = "cpu"

    def __init__(self, threads: int = 0) -> None:
        self.threads = threads or len(os.sched_getaffinity(0))

    def load(self, graph: Path) -> CpuSession:
        """A session; the graph's external data is read from beside it."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        provider = (PROVIDER, {"arena_extend_strategy": "kSameAsRequested"})
        try:
            return CpuSession(ort.InferenceSession(graph, options, providers=[provider]))
        except Exception as error:  # ONNX Runtime raises bare RuntimeErrors and classes of its own
            raise BundleInvalid(f"ONNX Runtime {ort.__version__} cannot load {graph}: {error}") from error
