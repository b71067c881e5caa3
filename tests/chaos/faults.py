"""How each fault is done and undone, and when: before the operation that the plan names.

A fault is over when what it broke is ready again; the next one waits for that, unless the plan has them together.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import psutil

from .ledger import Ledger
from .plan import EVERYTHING, Fault, FaultKind
from .stack import Stack, pausable


class Conductor:
    """Has the faults of a plan meet its operations."""

    def __init__(self, faults: Sequence[Fault], stack: Stack, ledger: Ledger, progress: Callable[[str], None]) -> None:
        self._faults = faults
        self._stack = stack
        self._ledger = ledger
        self._progress = progress
        self._begun = [asyncio.Event() for _ in faults]
        self._sent = 0
        self._more = asyncio.Condition()
        self.failed: BaseException | None = None

    async def may_send(self, number: int) -> None:
        """Returns when every fault that comes before this operation has begun."""
        for fault, begun in zip(self._faults, self._begun, strict=True):
            if fault.before <= number:
                await begun.wait()

    async def sent(self) -> None:
        """One more operation was sent."""
        async with self._more:
            self._sent += 1
            self._more.notify_all()

    async def run(self) -> None:
        """Every fault in its turn; returns when the last is over. Raises when something does not come back."""
        going_on: list[asyncio.Task[None]] = []
        try:
            for fault, begun in zip(self._faults, self._begun, strict=True):
                async with self._more:
                    await self._more.wait_for(lambda before=fault.before: self._sent >= before)  # type: ignore[misc]
                if not fault.together:
                    await asyncio.gather(*going_on)
                    going_on = []
                going_on.append(asyncio.create_task(self._strike(fault, begun)))
                await begun.wait()
            await asyncio.gather(*going_on)
        finally:
            for begun in self._begun:
                begun.set()
            for task in going_on:
                task.cancel()
            await asyncio.gather(*going_on, return_exceptions=True)

    async def _strike(self, fault: Fault, begun: asyncio.Event) -> None:
        try:
            await asyncio.sleep(fault.delay_seconds)
            began = time.time()
            self._progress(f"fault {fault.number + 1}/{len(self._faults)}: {fault}")
            hands, loop = self._stack.hands, asyncio.get_running_loop()
            undo = await loop.run_in_executor(hands, _do, fault, self._stack)
            begun.set()
            await asyncio.sleep(fault.seconds)
            await loop.run_in_executor(hands, undo)
            await asyncio.to_thread(self._stack.wait_until_back)
            self._ledger.struck(fault, began, time.time())
        finally:
            begun.set()


def _do(fault: Fault, stack: Stack) -> Callable[[], None]:
    """Does it; gives back what ends it."""
    if fault.kind is FaultKind.LINK:
        stack.trouble(fault.target, fault.trouble, fault.place)
        return lambda: stack.trouble(fault.target, None)
    if fault.kind is FaultKind.FULL_DISK:
        stack.fill_disk()
        return stack.free_disk
    if fault.target == EVERYTHING:
        stack.kill_everything()
        return stack.start
    if server := pausable(stack, fault.target):
        if fault.kind is FaultKind.PAUSE:
            server.pause()
            return server.resume
        assert stack.postgresql is not None
        stack.postgresql.kill()
        return stack.postgresql.start
    return _do_to_processes(fault, stack)


def _do_to_processes(fault: Fault, stack: Stack) -> Callable[[], None]:
    victims = stack.workers(fault.target) if fault.kind is FaultKind.KILL_WORKER else stack.processes(fault.target)
    if fault.kind is FaultKind.PAUSE:
        _signal(victims, signal.SIGSTOP)
        return lambda: _signal(victims, signal.SIGCONT)
    _signal(victims, signal.SIGKILL)
    return lambda: None


def _signal(processes: Sequence[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process.pid, number)
