"""PostgreSQL's NOTIFY, heard on a connection of its own; SQLite has one process, and nobody to tell.

What is heard is a reason to look, never the news itself: notices that came while the connection was away are lost, and
whoever listens looks every now and then by itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from bowerbird.gateway.records.database import Login

AGAIN_SECONDS = 1.0
CONNECT_SECONDS = 5.0

logger = logging.getLogger(__name__)


async def notify(connection: AsyncConnection, channel: str) -> None:
    """Has whoever listens look, when this transaction is committed; on SQLite nobody does."""
    if connection.dialect.name == "postgresql":
        await connection.execute(text("SELECT pg_notify(:channel, '')"), {"channel": channel})


class Listener:
    """Listens to one PostgreSQL, as whom `login` names when it connects."""

    def __init__(self, login: Login) -> None:
        self._login = login

    @asynccontextmanager
    async def listening(self, channel: str, heard: Callable[[], None]) -> AsyncIterator[None]:
        """Calls `heard` for each notice, and after each time that the connection was away, until the context ends."""
        listening = asyncio.create_task(self._listen_again_and_again(channel, heard))
        try:
            yield
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

    async def _listen_again_and_again(self, channel: str, heard: Callable[[], None]) -> None:
        import asyncpg

        while True:
            try:
                await self._listen(channel, heard)
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                logger.warning("notices are not heard", extra={"reason": type(error).__name__})
            await asyncio.sleep(AGAIN_SECONDS)

    async def _listen(self, channel: str, heard: Callable[[], None]) -> None:
        import asyncpg

        ended = asyncio.Event()
        dsn = self._login().set(drivername="postgresql").render_as_string(hide_password=False)
        connection: Any = await asyncpg.connect(dsn, timeout=CONNECT_SECONDS)
        try:
            connection.add_termination_listener(lambda _: ended.set())
            await connection.add_listener(channel, lambda *_: heard())
            heard()
            await ended.wait()
        finally:
            with suppress(OSError, asyncpg.InterfaceError, asyncpg.PostgresError, TimeoutError):
                await connection.close(timeout=1.0)
