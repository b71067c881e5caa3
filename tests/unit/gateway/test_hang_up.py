"""A client that leaves ends the work; nothing else is mistaken for it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.requests import Request
from starlette.types import Message

from bowerbird.gateway.hang_up import ClientGone, unless_hung_up


class Connection:
    """What a handler knows of its client."""

    def __init__(self) -> None:
        self.left = asyncio.Event()
        self.request = Request({"type": "http"}, self._receive)

    async def _receive(self) -> Message:
        await self.left.wait()
        return {"type": "http.disconnect"}


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


async def nobody_listens() -> None:
    """Every task but this one has ended, one turn later at most."""
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_the_result_is_that_of_the_work() -> None:
    async def work() -> str:
        await asyncio.sleep(0)
        return "drawn"

    assert await unless_hung_up(Connection().request, work()) == "drawn"
    await nobody_listens()


async def test_an_error_of_the_work_is_its_own() -> None:
    async def work() -> None:
        raise ValueError("no bird")

    with pytest.raises(ValueError, match="no bird"):
        await unless_hung_up(Connection().request, work())
    await nobody_listens()


async def test_the_work_has_ended_when_the_client_is_said_to_be_gone() -> None:
    connection, ended = Connection(), False

    async def work() -> None:
        nonlocal ended
        try:
            connection.left.set()
            await forever()
        finally:
            await asyncio.sleep(0)
            ended = True

    with pytest.raises(ClientGone):
        await unless_hung_up(connection.request, work())
    assert ended
    await asyncio.sleep(0)  # the task is not cancelled any more
    await nobody_listens()


async def test_who_cancels_the_handler_is_not_mistaken_for_the_client() -> None:
    handler = asyncio.create_task(unless_hung_up(Connection().request, forever()))
    await asyncio.sleep(0)
    handler.cancel()
    with pytest.raises(asyncio.CancelledError):
        await handler


async def test_a_handler_that_is_cancelled_as_its_client_leaves_stays_cancelled() -> None:
    connection = Connection()
    handler = asyncio.create_task(unless_hung_up(connection.request, forever()))
    for _ in range(2):
        await asyncio.sleep(0)
    connection.left.set()
    for _ in range(2):
        await asyncio.sleep(0)
    handler.cancel()
    with pytest.raises(asyncio.CancelledError):
        await handler


async def test_a_client_that_leaves_with_the_answer_does_not_cancel_what_follows() -> None:
    connection = Connection()

    async def work() -> str:
        connection.left.set()
        return "drawn"

    async def handler() -> str:
        result = await unless_hung_up(connection.request, work())
        for _ in range(5):
            await asyncio.sleep(0)
        return result

    assert await asyncio.create_task(handler()) == "drawn"


@pytest.mark.parametrize("group", [False, True])
async def test_a_timeout_inside_the_work_is_its_own(group: bool) -> None:
    async def work() -> Any:
        async with asyncio.timeout(0.01):
            if group:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(forever())
            await forever()

    with pytest.raises(TimeoutError):
        await unless_hung_up(Connection().request, work())
    await nobody_listens()
