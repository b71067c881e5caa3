"""Finding and ending every process of a stack, whoever its parent is by now.

`bentoml serve` is a master and a worker; the worker has a session of its own, lives on when its master is killed, and
may be given a day to finish (circus' `graceful_timeout`). Neither a process group nor a parent's id therefore finds it.
What every descendant keeps is its environment: each process is started with `MARK`, and whoever carries the mark
belongs to the stack. `bowerbird up` and `embedded.guard` end processes by it, and tests assert that none is left.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from contextlib import suppress

import psutil

STACK_MARK = "BOWERBIRD_STACK_ID"
SERVICE_MARK = "BOWERBIRD_STACK_SERVICE"

POLL_SECONDS = 0.05
KILL_SECONDS = 10.0


def marks(stack_id: str, service: str | None = None) -> dict[str, str]:
    """The environment variables that make a process, and all it will ever start, part of a stack."""
    return {STACK_MARK: stack_id} | ({} if service is None else {SERVICE_MARK: service})


def marked(wanted: Mapping[str, str]) -> list[psutil.Process]:
    """The living processes that carry all of these marks, this one excepted; a zombie is not alive."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and wanted.items() <= process.environ().items():
                found.append(process)
    return found


def end_processes(wanted: Mapping[str, str], grace_seconds: float) -> int:
    """Asks the marked processes to finish, waits, and kills what is left; returns how many had to be killed.

    Only those without a marked parent are asked: a master that is told to stop ends its workers, and one whose worker
    vanishes would replace it.
    """
    ends_at = time.monotonic() + grace_seconds
    alive = marked(wanted)
    pids = {process.pid for process in alive}
    for process in alive:
        with suppress(psutil.NoSuchProcess):
            if process.ppid() not in pids:
                process.send_signal(signal.SIGTERM)
    while marked(wanted) and time.monotonic() < ends_at:
        time.sleep(POLL_SECONDS)
    return _kill(wanted)


def _kill(wanted: Mapping[str, str]) -> int:
    """SIGKILL until none is left: one that was just being started may appear after the first round."""
    killed: set[int] = set()
    ends_at = time.monotonic() + KILL_SECONDS
    while (alive := marked(wanted)) and time.monotonic() < ends_at:
        for process in alive:
            with suppress(psutil.NoSuchProcess):
                process.kill()
                killed.add(process.pid)
        time.sleep(POLL_SECONDS)
    return len(killed)


def resident_bytes(wanted: Mapping[str, str]) -> int:
    """Resident memory of all marked processes; a page that two of them share counts twice."""
    total = 0
    for process in marked(wanted):
        with suppress(psutil.Error):
            total += process.memory_info().rss
    return total
