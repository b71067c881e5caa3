"""One service of the stack as a running process: started, watched, asked whether it is ready, ended.

The supervisor owns one `Child` for each service and starts it again after a death. A service counts as dead when its
process ends, and equally when the worker of its `bentoml serve` does: circus would replace that silently and for ever,
while a person should hear of it, and a worker that cannot start should not try all night.
"""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import suppress
from enum import StrEnum

import httpx2
import psutil

from bowerbird.embedded.log import MAX_LINE_BYTES, ServiceLog
from bowerbird.embedded.processes import end_processes, marks, resident_bytes
from bowerbird.embedded.stack import Service

WATCH_SECONDS = 0.2


class State(StrEnum):
    """Where a service stands, as the terminal shows it."""

    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    DIED = "died"
    STOPPING = "stopping"
    STOPPED = "stopped"


class Child:
    """A service's process. `start`, then `watch` until it dies, then maybe `start` again; `end` at any moment."""

    def __init__(self, service: Service, log: ServiceLog, stack_id: str) -> None:
        self.service = service
        self.log = log
        self.state = State.WAITING
        self.ready_seconds: float | None = None
        self.has_been_ready = False
        self._marks = marks(stack_id, service.name)
        self._process: asyncio.subprocess.Process | None = None
        self._copying: asyncio.Task[None] | None = None
        self.workers: list[psutil.Process] = []
        self._started_at = time.monotonic()

    @property
    def name(self) -> str:
        """The service's name."""
        return self.service.name

    @property
    def pid(self) -> int | None:
        """Its process, the master of a `bentoml serve`; None before the first start."""
        return None if self._process is None else self._process.pid

    @property
    def seconds(self) -> float:
        """How long the start took, or has been taking."""
        return self.ready_seconds if self.ready_seconds is not None else time.monotonic() - self._started_at

    @property
    def served_seconds(self) -> float:
        """For how long it has been ready since its last start."""
        return 0.0 if self.ready_seconds is None else time.monotonic() - self._started_at - self.ready_seconds

    def resident_bytes(self) -> int:
        """Resident memory of the process and all its descendants."""
        return resident_bytes(self._marks)

    async def start(self) -> None:
        """Starts the process in a session of its own: a terminal's Ctrl-C is for `up`, which stops in order."""
        self._started_at, self.ready_seconds, self.workers = time.monotonic(), None, []
        self.state = State.STARTING
        self._process = await asyncio.create_subprocess_exec(
            *self.service.command,
            env={**self.service.environment, **self._marks},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            pass_fds=self.service.descriptors,
            limit=MAX_LINE_BYTES,
        )
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe; for the type checker
        self._copying = asyncio.create_task(self.log.copy(self._process.stdout))

    async def watch(self, http: httpx2.AsyncClient) -> str:
        """Follows the process until it dies and returns how; `state` becomes READY when it answers so."""
        while (death := self._death()) is None:
            if self.state is State.STARTING and await self._answers_ready(http):
                self.ready_seconds = time.monotonic() - self._started_at
                self.state, self.has_been_ready = State.READY, True
            await asyncio.sleep(WATCH_SECONDS)
        self.state = State.DIED
        return death

    async def end(self, grace_seconds: float) -> None:
        """Stops the process and everything it started; what has not finished after the grace is killed."""
        self.state = State.STOPPING
        await asyncio.to_thread(end_processes, self._marks, grace_seconds)
        if self._process is not None:
            await self._process.wait()
        if self._copying is not None:
            with suppress(TimeoutError):  # somebody foreign may hold the other end of the pipe
                await asyncio.wait_for(self._copying, timeout=1.0)
        self.state = State.STOPPED

    def _death(self) -> str | None:
        assert self._process is not None  # noqa: S101 - watched after start
        if self._process.returncode is not None:
            return _how(self._process.returncode)
        if self.service.worker_module is None:
            return None
        for worker in self.workers:
            if not _is_running(worker):
                return f"its worker, process {worker.pid}, ended"
        self.workers = self.workers or self._find_workers(self.service.worker_module)
        return None

    def _find_workers(self, module: str) -> list[psutil.Process]:
        assert self._process is not None  # noqa: S101 - watched after start
        found = []
        with suppress(psutil.Error):
            for child in psutil.Process(self._process.pid).children():
                if module in child.cmdline():
                    found.append(child)
        return found

    async def _answers_ready(self, http: httpx2.AsyncClient) -> bool:
        try:
            answer = await http.get(f"{self.service.url}/readyz")
        except httpx2.HTTPError:
            return False
        return bool(answer.is_success)


def _how(returncode: int) -> str:
    if returncode >= 0:
        return f"exit code {returncode}"
    try:
        return f"killed by {signal.Signals(-returncode).name}"
    except ValueError:
        return f"killed by signal {-returncode}"


def _is_running(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
