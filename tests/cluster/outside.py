"""What a cluster is given from outside of it: PostgreSQL and an object store on this machine, which pods can reach.

Both listen on loopback, as everywhere in the tests; a forwarder at this machine's end of the cluster's bridge lets pods
in, by the same port.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from .network import HOST_ADDRESS

READ_BYTES = 64 * 1024


@contextmanager
def reachable(*ports: int) -> Iterator[str]:
    """Lets the cluster reach these ports of loopback while the block runs; gives the address to ask for."""
    with ExitStack() as stack:
        for port in ports:
            stack.enter_context(_forwarding(port))
        yield HOST_ADDRESS


@contextmanager
def _forwarding(port: int) -> Iterator[None]:
    loop = asyncio.new_event_loop()
    listening, ended = threading.Event(), asyncio.Event()

    async def serve() -> None:
        async with await asyncio.start_server(lambda *ends: _connect(port, *ends), HOST_ADDRESS, port):
            listening.set()
            await ended.wait()
            connected = asyncio.all_tasks() - {asyncio.current_task()}
            for task in connected:
                task.cancel()
            await asyncio.gather(*connected, return_exceptions=True)

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        listening.wait()
        yield
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()
        loop.close()


async def _connect(port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection of a pod, to its end."""
    others = None
    with suppress(asyncio.CancelledError):  # of all that are open when the block ends: `streams` takes it for an error
        try:
            theirs, others = await asyncio.open_connection("127.0.0.1", port)
            async with asyncio.TaskGroup() as directions:
                directions.create_task(_pass_on(reader, others))
                directions.create_task(_pass_on(theirs, writer))
        except* OSError:
            pass  # one end is gone: the other is told so by the end of its connection
    for each in (writer, others):
        if each is not None:
            each.transport.abort()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(READ_BYTES):
        writer.write(chunk)
        await writer.drain()
    writer.write_eof()
