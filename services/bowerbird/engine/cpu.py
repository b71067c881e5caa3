"""ONNX Runtime on the CPU.

Threads do not spin while they wait: gateway, safety and curation share the cores, and a spinning pool takes them from
whoever has work. The memory arena grows by what is asked for and not by powers of two, since a worker that lives for
weeks keeps what it once took.

A batch of the denoiser is computed row by row, two rows at a time, each with half of the threads: one picture with
guidance is two rows, and two one-thread runs beat one run of two threads by 19-29 % on two cores (DESIGN, section 3)
where batching wins nothing. It also makes a row's numbers the same bits whatever stands beside it in the batch.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime as ort

from bowerbird.engine.backend import Array, Session
from bowerbird.errors import BundleInvalid

PROVIDER = "CPUExecutionProvider"
ROWS_AT_ONCE = 2


class CpuSession:
    """One graph in ONNX Runtime."""

    def __init__(self, session: ort.InferenceSession) -> None:
        self._session = session
        self._outputs = [output.name for output in session.get_outputs()]

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """All outputs by name."""
        return dict(zip(self._outputs, self._session.run(self._outputs, dict(inputs)), strict=True))


class RowwiseSession:
    """A graph whose batches are computed row by row, side by side."""

    def __init__(self, session: CpuSession, callers: ThreadPoolExecutor) -> None:
        self._session = session
        self._callers = callers

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """All outputs by name, the rows in their order."""
        rows = range(len(next(iter(inputs.values()))))
        singles = [{name: value[row : row + 1] for name, value in inputs.items()} for row in rows]
        answers = list(self._callers.map(self._session.run, singles))
        return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}


class CpuBackend:
    """Loads graphs that use `threads` threads; 0 means one per core this process may use."""

    name = "cpu"
    efficient_rows = ROWS_AT_ONCE
    """*Measured*: 28 ms for one row, 56 ms for two in one run, 57 ms for two side by side on a contended core."""

    def __init__(self, threads: int = 0) -> None:
        self.threads = threads or len(os.sched_getaffinity(0))
        self._callers = ThreadPoolExecutor(min(ROWS_AT_ONCE, self.threads), thread_name_prefix="row")

    def load(self, graph: Path, *, rowwise: bool = False) -> Session:
        """A session; the graph's external data is read from beside it. See `Backend.load`."""
        if not rowwise or self.threads == 1:
            return self._load(graph, self.threads)
        return RowwiseSession(self._load(graph, self.threads // ROWS_AT_ONCE), self._callers)

    def _load(self, graph: Path, threads: int) -> CpuSession:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        provider = (PROVIDER, {"arena_extend_strategy": "kSameAsRequested"})
        try:
            return CpuSession(ort.InferenceSession(graph, options, providers=[provider]))
        except Exception as error:  # ONNX Runtime raises bare RuntimeErrors and classes of its own
            raise BundleInvalid(f"ONNX Runtime {ort.__version__} cannot load {graph}: {error}") from error
