"""Tasks that wait for their turn and draw."""

from __future__ import annotations

import asyncio
import time

from bowerbird.gateway.admission.admission import Admission
from bowerbird.gateway.admission.ticket import Ticket

A, B = "http://a", "http://b"


def ticket(name: str, seconds: float = 30.0, tenant: str = "t") -> Ticket:
    return Ticket(name, tenant, 1.0, time.monotonic() + seconds, arrived=time.monotonic())


async def until_waiting(admission: Admission, count: int) -> None:
    async with asyncio.timeout(60):
        while admission.waiting != count:  # noqa: ASYNC110 - it says so to nobody
            await asyncio.sleep(0)


async def draw(admission: Admission, name: str, drawn: list[str], hold: asyncio.Event | None = None) -> None:
    async with admission.place(ticket(name)) as turn:
        await turn.grant()
        if hold is not None:
            await hold.wait()
        drawn.append(name)
        turn.finished()


async def drawing_and_waiting(admission: Admission, drawn: list[str], hold: asyncio.Event) -> list[asyncio.Task[None]]:
    """ "1", which draws until it is let go, and "2", which waits for its slot."""
    admission.seen_ready(A, 1, None)
    tasks = [asyncio.create_task(draw(admission, "1", drawn, hold)), asyncio.create_task(draw(admission, "2", drawn))]
    await until_waiting(admission, 1)
    return tasks
