"""A backend whose denoiser waits for a test: computes when it is allowed to, fails when it is told to, and counts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from bowerbird.engine.backend import Array, Input, Resident, RunInterrupted, Session
from bowerbird.engine.backends.cpu import CpuBackend


class GatedSession:
    """The denoiser's session; everything about it is the backend's."""

    def __init__(self, inside: Session, backend: GatedBackend) -> None:
        self._inside = inside
        self._backend = backend

    def run(self, inputs: Mapping[str, Input]) -> dict[str, Array]:
        """Waits to be allowed, then fails or computes."""
        backend = self._backend
        rows = len(inputs["sample"])  # type: ignore[arg-type]
        backend.begun.append(rows)
        if not backend.gate_open:
            assert backend.allowed.acquire(timeout=60)
        if backend.interrupted:
            backend.interrupted = False
            raise RunInterrupted("by a test")
        if error := backend.fault(rows):
            raise error
        return self._inside.run(inputs)


class GatedBackend:
    """ONNX Runtime on one thread; `begun` has the rows of each denoiser call, `fault` says what a call raises.

    With `interruptible` a call that waits can be interrupted; without, none can, as on a GPU.
    """

    name = "gated"
    measure_rows = False
    memory_bytes = 0
    number_bytes = 4

    def __init__(self, efficient_rows: int = 4, gate_open: bool = False) -> None:
        self.efficient_rows = efficient_rows
        self.gate_open = gate_open
        self.interruptible = self.interrupted = False
        self.allowed = threading.Semaphore(0)
        self.begun: list[int] = []
        self.fault: Callable[[int], Exception | None] = lambda _: None
        self._cpu = CpuBackend(threads=1)

    def load(self, graph: Path, *, rowwise: bool = False, key: str | None = None) -> Session:
        """The CPU's session, whole batches in one run as on a GPU; gated where it is the denoiser's."""
        session = self._cpu.load(graph, key=key)
        return GatedSession(session, self) if rowwise else session

    def resident(self, array: Array) -> Resident:
        """The CPU's."""
        return self._cpu.resident(array)

    def adopt_thread(self) -> None:
        """As it is."""

    def interrupt(self) -> None:
        """Ends the call that waits."""
        if self.interruptible and not self.interrupted:
            self.interrupted = True
            self.allowed.release()
