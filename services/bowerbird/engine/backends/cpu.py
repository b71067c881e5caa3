"""ONNX Runtime on the CPU.

Threads do not spin while they wait: gateway, safety and curation share the cores, and a spinning pool takes them from
whoever has work. For the same reason all that compute have a lower priority (`niceness`): sessions are opened by such a
thread, so that ONNX Runtime's own threads inherit it.

A batch of the denoiser is computed row by row: batching wins nothing on a CPU, but rows side by side, each on a thread
of its own, beat one run of all threads by 19-29 % on two cores (DESIGN, section 3). A lone row would leave cores idle
that way, so it runs on a second session, with all threads, over the same memory-mapped weights (`prepacked`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from bowerbird.engine.backend import Array, Input, Session
from bowerbird.engine.backends.buckets import joined, split
from bowerbird.engine.backends.onnx_runtime import CPU, RUNTIME, RunsInFlight, open_session, session_options
from bowerbird.engine.backends.prepacked import open_prepacked, write_prepacked
from bowerbird.engine.backends.prepared import PreparedFiles, instruction_set
from bowerbird.engine.backends.runtime_errors import failing_run
from bowerbird.engine.memory import host_memory_bytes
from bowerbird.niceness import give_way

RUN_ENTRIES = {"session.intra_op.allow_spinning": "0"}


class HostArray:
    """A `Resident` in the host's memory, which is where the CPU computes."""

    def __init__(self, array: Array) -> None:
        self.array = np.zeros(array.shape, array.dtype)
        self.shape = array.shape
        self.dtype = array.dtype
        for index in np.flatnonzero(array.reshape(len(array), -1).any(axis=1)):  # an empty slot takes no memory
            self.array[index] = array[index]

    def write(self, index: int, array: Array) -> None:
        """See `Resident.write`."""
        self.array[index] = array


def host_feeds(inputs: Mapping[str, Input]) -> dict[str, Any]:
    """The inputs of a run as plain arrays, without copies."""
    return {name: value.array if isinstance(value, HostArray) else value for name, value in inputs.items()}


class CpuSession:
    """One graph in ONNX Runtime; its runs are among `runs`, the backend's, where there is one."""

    def __init__(self, session: ort.InferenceSession, runs: RunsInFlight | None = None) -> None:
        self._session = session
        self._runs = runs or RunsInFlight()
        self._outputs = [output.name for output in session.get_outputs()]

    def run(self, inputs: Mapping[str, Input]) -> dict[str, Array]:
        """See `Session.run`."""
        with failing_run(RUNTIME), self._runs.one() as options:
            answer = self._session.run(self._outputs, host_feeds(inputs), options)
            return dict(zip(self._outputs, answer, strict=True))


class RowwiseSession:
    """A graph whose batches are computed row by row, `at_once` side by side.

    `narrow` has one thread a run and computes full sets of rows; `wide` gives the session with all threads, which
    computes what is left, a lone row for instance. (They are the same where weights could not be shared: a second copy
    would be too dear.) The last row of a set is computed by whoever calls: waking a thread costs half a millisecond on
    a busy machine.
    """

    def __init__(
        self, narrow: CpuSession, wide: Callable[[], CpuSession], callers: ThreadPoolExecutor, at_once: int
    ) -> None:
        self._narrow = narrow
        self._wide = cache(wide)  # loaded by the first lone row: guided pictures never bring one on two cores
        self._callers = callers
        self._at_once = at_once

    def run(self, inputs: Mapping[str, Input]) -> dict[str, Array]:
        """See `Session.run`; the rows come back in their order."""
        singles = list(split(inputs, 1))
        answers: list[dict[str, Array]] = []
        for first in range(0, len(singles), self._at_once):
            *others, last = singles[first : first + self._at_once]
            session = self._narrow if len(others) + 1 == self._at_once else self._wide()
            elsewhere = [self._callers.submit(session.run, single) for single in others]
            try:
                here = session.run(last)
            finally:
                wait(elsewhere)  # also when this row failed: nothing of a run goes on after it
            answers += [*(each.result() for each in elsewhere), here]
        return joined(answers)


class CpuBackend:
    """Loads graphs that use `threads` threads; 0 means one per core this process may use.

    What is prepared for this machine is kept in the folder `cache`; without one, nothing is kept.
    """

    name = "cpu"
    number_bytes = 4
    measure_rows = False

    def __init__(self, threads: int = 0, *, cache: Path | None = None, memory_bytes: int = 0) -> None:
        self.threads = threads or len(os.sched_getaffinity(0))
        self.memory_bytes = memory_bytes or host_memory_bytes()
        self.efficient_rows = max(2, self.threads)
        self._callers = ThreadPoolExecutor(max(1, self.threads - 1), thread_name_prefix="row", initializer=give_way)
        self._prepared = PreparedFiles(cache / "onnxruntime") if cache else None
        self._runs = RunsInFlight()

    def load(self, graph: Path, *, rowwise: bool = False, key: str | None = None) -> Session:
        """A session; the graph's external data is read from beside it. See `Backend.load`."""
        return self._callers.submit(self._load, graph, rowwise, key).result()

    def _load(self, graph: Path, rowwise: bool, key: str | None) -> Session:
        prepacked = self._prepacked(graph, key)
        if prepacked is None:
            wide = CpuSession(open_session(graph, self._options(self.threads), [CPU]), self._runs)
            return RowwiseSession(wide, lambda: wide, self._callers, self.threads) if rowwise else wide
        if not rowwise:
            return self._load_prepacked(prepacked, self.threads)

        def wide_one() -> CpuSession:
            return self._callers.submit(self._load_prepacked, prepacked, self.threads).result()

        return RowwiseSession(self._load_prepacked(prepacked, 1), wide_one, self._callers, self.threads)

    def resident(self, array: Array) -> HostArray:
        """A copy of `array`. See `Backend.resident`."""
        return HostArray(array)

    def adopt_thread(self) -> None:
        """Its priority is lowered. See `Backend.adopt_thread`."""
        give_way()

    def interrupt(self) -> None:
        """Between two operators. See `Backend.interrupt`."""
        self._runs.interrupt()

    def _prepacked(self, graph: Path, key: str | None) -> Path | None:
        """The graph's folder in the cache, made now when it is not there; None where that cannot be."""
        if self._prepared is None or key is None:
            return None
        facts = {"part": key, "runtime": RUNTIME, "instructions": instruction_set()}
        return self._prepared.find(facts, partial(write_prepacked, graph))

    def _load_prepacked(self, folder: Path, threads: int) -> CpuSession:
        return CpuSession(open_prepacked(folder, self._options(threads)), self._runs)

    def _options(self, threads: int) -> ort.SessionOptions:
        return session_options(threads, RUN_ENTRIES)
