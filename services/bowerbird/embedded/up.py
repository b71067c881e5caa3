"""`bowerbird up`: the whole stack on this machine, from nothing to the first picture, until Ctrl-C.

`cli` calls `run`. One stack at a time works in a home; nothing it started outlives it, whatever ends it: an orderly
stop ends the processes itself, and should `up` be killed, the guard does.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx2

from bowerbird.embedded.display import Display, Summary
from bowerbird.embedded.home import locked
from bowerbird.embedded.self_check import draw_first_picture
from bowerbird.embedded.stack import Stack, embedded_stack
from bowerbird.embedded.supervisor import Supervisor
from bowerbird.settings import Settings

FIRST_PICTURE = Path("out") / "first.png"
GUARD_SECONDS = 20.0
POLL_SECONDS = 0.1


async def run(
    settings: Settings, display: Display, *, self_check: bool, plan: Callable[[Settings], Stack] = embedded_stack
) -> None:
    """Starts the stack that `plan` lays out, checks it, and returns after SIGINT or SIGTERM stopped it.

    Raises StackError (a port taken, the home locked, a service that gave up, the first picture failed); no process of
    the stack is left either way.
    """
    started = time.monotonic()
    with locked(settings.home):
        stack = plan(settings)
        supervisor = Supervisor(stack, display)

        async def once_ready() -> None:
            await _seen_ready(stack.gateway.url)
            seconds = time.monotonic() - started
            picture = None
            if self_check:
                display.drawing()
                key = next(iter(sorted(settings.api_keys or settings.admin_keys)), None)
                picture = await draw_first_picture(stack.gateway.url, key, FIRST_PICTURE)
            display.ready(
                Summary(stack.gateway.url, supervisor.stack_id, stack.home, seconds, supervisor.children, picture)
            )

        with _guarded(supervisor.stack_id), _stopped_by_signals(supervisor, display):
            display.starting(supervisor.children)
            await supervisor.run(once_ready)


async def _seen_ready(url: str) -> None:
    """Waits until the gateway, too, has noticed that every stage is ready: it looks about once a second."""
    async with httpx2.AsyncClient(base_url=url, trust_env=False) as http:
        while True:
            with suppress(httpx2.HTTPError):
                stages = (await http.get("/readyz")).json()["stages"]
                if all(stage["state"] == "ready" for stage in stages):
                    return
            await asyncio.sleep(POLL_SECONDS)


@contextmanager
def _guarded(stack_id: str) -> Iterator[None]:
    """A guard that outlives a killed `up` just long enough to end the stack; see `embedded.guard`."""
    command = [sys.executable, "-m", "bowerbird.embedded.guard", stack_id]
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as guard:  # noqa: S603 - our own
        try:
            yield
        finally:
            assert guard.stdin is not None  # noqa: S101 - it is a pipe; for the type checker
            guard.stdin.close()
            guard.wait(GUARD_SECONDS)


@contextmanager
def _stopped_by_signals(supervisor: Supervisor, display: Display) -> Iterator[None]:
    loop = asyncio.get_running_loop()

    def stop() -> None:
        if not supervisor.stopping:
            display.stopping()
        supervisor.stop()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.remove_signal_handler(number)
