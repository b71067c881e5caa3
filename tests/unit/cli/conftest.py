"""A stack of tiny services, and a listener that remembers."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from bowerbird.embedded.ports import free_ports
from bowerbird.embedded.processes import marked, marks
from bowerbird.embedded.stack import Service, Stack
from bowerbird.embedded.supervisor import Death, Supervisor

TINY_SERVICE = Path(__file__).parent / "tiny_service.py"


class Mourner:
    """Remembers who died."""

    def __init__(self) -> None:
        self.deaths: list[Death] = []

    def died(self, death: Death) -> None:
        self.deaths.append(death)


class Running:
    """A supervisor at work; `task` ends when it does."""

    def __init__(self, stack: Stack) -> None:
        self.mourner = Mourner()
        self.supervisor = Supervisor(stack, self.mourner)
        self.ready = asyncio.Event()
        self.task = asyncio.create_task(self.supervisor.run(self._once_ready))

    async def _once_ready(self) -> None:
        self.ready.set()


def tiny_stack(home: Path, *stages: str) -> Stack:
    """A well-behaved gateway and one stage for each behaviour, which is its name too."""
    ports = free_ports(1 + len(stages))
    services = [
        Service(
            name,
            f"http://127.0.0.1:{port}",
            (sys.executable, str(TINY_SERVICE), str(port), name),
            dict(os.environ),
            "tiny-worker" if name == "family" else None,
        )
        for name, port in zip(("gateway", *stages), ports, strict=True)
    ]
    return Stack(services[0], tuple(services[1:]), home)


@pytest.fixture
def running(tmp_path: Path) -> Callable[..., AbstractAsyncContextManager[Running]]:
    """Runs tiny services, stops them, and sees that none is left."""

    @asynccontextmanager
    async def run(*stages: str) -> AsyncIterator[Running]:
        each = Running(tiny_stack(tmp_path, *stages))
        try:
            yield each
        finally:
            each.supervisor.stop()
            each.supervisor.stop()
            await asyncio.gather(each.task, return_exceptions=True)
            assert marked(marks(each.supervisor.stack_id)) == []

    return run
