"""The supervisor: starts the services together, restarts one that dies, stops them in order.

`up` runs it. A service that dies is ended to its last process, named to the listener with the tail of its log, and
started again after a pause that grows; one that dies several times shortly after its start ends the stack, because
what it needs (a bundle, a port, memory) will not appear by trying. Stopping is gateway first: it finishes the requests
that need the stages, then the stages go.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

import httpx2

from bowerbird.embedded.child import WATCH_SECONDS, Child, State
from bowerbird.embedded.facts import ServiceGaveUp
from bowerbird.embedded.log import ServiceLog
from bowerbird.embedded.processes import end_processes, marks
from bowerbird.embedded.stack import Stack

RESTART_PAUSES_SECONDS = (0.5, 1.0, 2.0)
"""Pauses before the first, second … restart in a row; one more quick death and the service has given up."""

FIRST_START_PAUSES_SECONDS = (0.5,)
"""The same for a service that has never been ready here: a person waits, and what it lacks will hardly appear."""

QUICK_DEATH_SECONDS = 10.0
"""A service that had been ready for longer starts counting anew."""

DRAIN_SECONDS = 30.0
"""How long the gateway may finish what it has accepted; a picture takes a tenth of it."""

STAGE_STOP_SECONDS = 10.0
"""How long a stage may take to stop once the gateway asks nothing of it any more."""


UNREADY_STOP_SECONDS = 1.0
"""The same for a service that is still loading: it has nothing to finish, and BentoML ignores signals for a while."""

PROBE_SECONDS = 2.0
"""How long a service may take to say whether it is ready; two cores are busy while five services load."""


@dataclass(frozen=True, slots=True)
class Death:
    """A service died; `pause_seconds` until it is started again, or None when it will not be."""

    child: Child
    how: str
    pause_seconds: float | None


class Listener(Protocol):
    """Whoever tells a person (or a test) what happens."""

    def died(self, death: Death) -> None:
        """A service died."""


class Supervisor:
    """Keeps the services of one stack running from `run` until `stop` is called or one of them gives up."""

    def __init__(self, stack: Stack, listener: Listener) -> None:
        self.stack_id = uuid.uuid4().hex
        self._door = stack.listener
        self.children = [Child(each, ServiceLog(stack.logs, each.name), self.stack_id) for each in stack.services]
        self._listener = listener
        self._stopping = asyncio.Event()
        self._hurrying = asyncio.Event()

    @property
    def stopping(self) -> bool:
        """True after `stop`."""
        return self._stopping.is_set()

    async def run(self, once_ready: Callable[[], Awaitable[None]]) -> None:
        """Starts all services, calls `once_ready` when every one is, and returns after `stop`.

        Raises ServiceGaveUp, or what `once_ready` raised. Either way the last process has ended when it returns.
        """
        try:
            async with httpx2.AsyncClient(timeout=PROBE_SECONDS, trust_env=False) as http:
                await _first_of(
                    self._stopping.wait(),
                    self._serve(once_ready),
                    *(self._keep_running(child, http) for child in self.children),
                )
        finally:
            await self._end_all()

    def stop(self) -> None:
        """Asks for an orderly end; asked a second time, what is unfinished is killed."""
        if self._stopping.is_set():
            self._hurrying.set()
        self._stopping.set()

    async def _serve(self, once_ready: Callable[[], Awaitable[None]]) -> None:
        while not all(child.state is State.READY for child in self.children):  # noqa: ASYNC110 - true all at once
            await asyncio.sleep(WATCH_SECONDS)
        await once_ready()
        await self._stopping.wait()

    async def _keep_running(self, child: Child, http: httpx2.AsyncClient) -> None:
        quick_deaths = 0
        while True:
            await child.start()
            how = await child.watch(http)
            quick_deaths = quick_deaths + 1 if child.served_seconds < QUICK_DEATH_SECONDS else 1
            await child.end(grace_seconds=0)
            child.state = State.DIED
            pauses = RESTART_PAUSES_SECONDS if child.has_been_ready else FIRST_START_PAUSES_SECONDS
            pause = pauses[quick_deaths - 1] if quick_deaths <= len(pauses) else None
            self._listener.died(Death(child, how, pause))
            if pause is None:
                raise ServiceGaveUp(f"{child.name} died {quick_deaths} times in a row; its log is {child.log.path}.")
            await asyncio.sleep(pause)

    async def _end_all(self) -> None:
        if self._door is not None:  # the gateway's own copy ends with it; nobody is to wait for another one
            self._door.close()
        orderly = asyncio.create_task(self._end_in_order())
        hurrying = asyncio.create_task(self._hurrying.wait())
        await asyncio.wait({orderly, hurrying}, return_when=asyncio.FIRST_COMPLETED)
        hurrying.cancel()
        # Also without a hurry: a start that was cancelled half way may have left a process nobody has a handle on.
        await asyncio.to_thread(end_processes, marks(self.stack_id), 0)
        await orderly
        for child in self.children:
            child.log.close()

    async def _end_in_order(self) -> None:
        gateway, *stages = self.children
        await gateway.end(DRAIN_SECONDS if gateway.state is State.READY else UNREADY_STOP_SECONDS)
        await asyncio.gather(
            *(each.end(STAGE_STOP_SECONDS if each.state is State.READY else UNREADY_STOP_SECONDS) for each in stages)
        )


async def _first_of(*awaitables: Awaitable[object]) -> None:
    """Waits for the first to finish, cancels the others and waits for them too; raises what the first raised."""
    tasks = [asyncio.ensure_future(each) for each in awaitables]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
