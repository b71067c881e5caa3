"""Sessions of ONNX Runtime, opened the same way by every backend that uses it (`cpu`, `cuda`, `tensorrt`)."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import onnxruntime as ort

from bowerbird.engine.backends.runtime_errors import failing_load
from bowerbird.errors import BackendMissing

Provider = tuple[str, Mapping[str, str]]

RUNTIME = f"ONNX Runtime {ort.__version__}"
ERRORS_ONLY = 3
CPU: Provider = ("CPUExecutionProvider", {"arena_extend_strategy": "kSameAsRequested"})
"""The arena grows by what is asked for and not by powers of two: a worker that lives for weeks keeps what it took."""


class RunsInFlight:
    """The runs that one backend's sessions are computing now; what `Backend.interrupt` ends.

    ONNX Runtime looks at a run's `terminate` between two operators: *measured*, 1 to 4 ms on one core.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._options: set[ort.RunOptions] = set()

    @contextmanager
    def one(self) -> Iterator[ort.RunOptions]:
        """Around a run: the options that it takes."""
        options = ort.RunOptions()
        with self._lock:
            self._options.add(options)
        try:
            yield options
        finally:
            with self._lock:
                self._options.remove(options)

    def interrupt(self) -> None:
        """Ends those that have begun, and none that begins later."""
        with self._lock:
            for options in self._options:
                options.terminate = True


def session_options(threads: int, entries: Mapping[str, str]) -> ort.SessionOptions:
    """Options with `threads` threads inside an operator, and configuration entries by ONNX Runtime's names."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = ERRORS_ONLY
    for name, value in entries.items():
        options.add_session_config_entry(name, value)
    return options


def open_session(graph: Path, options: ort.SessionOptions, providers: Sequence[Provider]) -> ort.InferenceSession:
    """A session on exactly these providers; the graph's external data is read from beside it.

    Raises BundleInvalid when the graph cannot be loaded, OutOfMemory when the device has no room for its weights, and
    BackendMissing when a provider did not start (ONNX Runtime warns and goes on without it).
    """
    chosen = [(name, dict(facts)) for name, facts in providers]
    with failing_load(RUNTIME, graph):
        # Without `enable_fallback=0` a provider that fails is replaced by the CPU, with a line on standard output.
        session = ort.InferenceSession(graph, options, providers=chosen, enable_fallback=0)
    missing = {name for name, _ in providers} - set(session.get_providers())
    if missing:
        raise BackendMissing(f"{RUNTIME} could not start {', '.join(sorted(missing))} for {graph}.")
    return session


def require_provider(name: str) -> None:
    """Raises BackendMissing when the installed ONNX Runtime was built without the provider."""
    present = ort.get_available_providers()
    if name not in present:
        raise BackendMissing(f"{RUNTIME} has no {name} here; it has {', '.join(present)}.")
