"""Every thread that computes on the CPU gives way to those that answer."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from bowerbird.engine.backends.cpu import CpuBackend
from bowerbird.engine.bundle import Bundle
from bowerbird.engine.drawing import Engine
from bowerbird.engine.executor import Executor
from bowerbird.niceness import LESS_IMPORTANT

from .test_cpu import rows

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="niceness is a thread's own on Linux only")


def threads() -> set[int]:
    return {int(each) for each in os.listdir("/proc/self/task")}


def niceness(thread: int) -> int:
    return os.getpriority(os.PRIO_PROCESS, thread)


def less_important() -> int:
    """Than this thread; nothing is less important than 19."""
    return min(19, niceness(0) + LESS_IMPORTANT)


@pytest.mark.parametrize("cached", [True, False])
def test_threads_of_sessions_and_of_rows_have_a_lower_priority_than_whoever_opens_them(
    bundle: Bundle, tmp_path: Path, cached: bool
) -> None:
    before = threads()
    backend = CpuBackend(3, cache=tmp_path if cached else None)
    key = bundle.part_digest("denoiser")
    session = backend.load(bundle.path("denoiser.onnx"), rowwise=True, key=key)
    session.run(rows(3))
    session.run(rows(1))  # of the session with all threads
    made = threads() - before
    assert len(made) >= 3
    assert {niceness(thread) for thread in made} == {less_important()}


def test_the_executor_has_a_lower_priority_than_its_event_loop(bundle: Bundle) -> None:
    executor = Executor(Engine(bundle, CpuBackend(1)))
    thread = executor._thread.native_id
    assert thread is not None
    while niceness(thread) != less_important():  # which it makes itself, as it begins
        assert executor._thread.is_alive()
    executor.close()
