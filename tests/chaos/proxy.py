"""Between a gateway and a stage: passes bytes on, until it is told to make trouble.

A process of its own, `python -m tests.chaos.proxy LINKS`, where LINKS is JSON: name -> [port to listen at, port to
connect to]. It reads commands as lines of JSON from standard input (`{"link": …, "trouble": … or null, "place": …}`),
answers each with a line, and ends with its input. Trouble is made for what a stage answers: the gateway must see
through it. What a stage is asked is passed on as it was, because a stage cannot tell an altered question from another.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum

READ_BYTES = 64 * 1024
SLOW_SECONDS = 0.4
"""For every piece of an answer."""
LONGEST_CUT = 100_000
"""Bytes of answers after which a connection is cut at the latest: half a frame."""
NONSENSE = (b"{}", b'{"index": 0', bytes(range(128, 256)), b"<html><body>It works!</body></html>")


class Trouble(StrEnum):
    """What happens to the answers of a stage."""

    SLOW = "slow"
    """They come in pieces, with pauses."""
    CUT = "cut"
    """The connection breaks in the middle."""
    ALTERED = "altered"
    """In each piece, one bit is another one."""
    ERROR = "error"
    """Status 500, and a page of a server that is none of ours."""
    NONSENSE = "nonsense"
    """Status 200, and something else than was promised."""
    SILENT = "silent"
    """Nothing comes, and nothing is closed."""
    REFUSED = "refused"
    """Nobody is there."""


@dataclass(slots=True)
class Link:
    """One way from a gateway to a stage, and the trouble on it."""

    port: int
    target: int
    trouble: Trouble | None = None
    place: float = 0.0
    healed: asyncio.Event = field(default_factory=asyncio.Event)

    def set(self, trouble: Trouble | None, place: float) -> None:
        """Begins trouble, or ends it."""
        self.trouble, self.place = trouble, place
        self.healed.set()
        self.healed = asyncio.Event()


class _Ended(Exception):
    """This connection is to be broken off."""


async def serve(link: Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection of a gateway, to its end."""
    others: asyncio.StreamWriter | None = None
    try:
        if link.trouble is Trouble.REFUSED:
            raise _Ended
        theirs, others = await asyncio.open_connection("127.0.0.1", link.target)
        async with asyncio.TaskGroup() as ways:
            ways.create_task(_pass_on(link, reader, others, writer))
            ways.create_task(_bring_back(link, theirs, writer))
    except* (OSError, _Ended):
        pass
    finally:
        for each in (writer, others):
            if each is not None:
                _break_off(each)


async def _pass_on(
    link: Link, reader: asyncio.StreamReader, others: asyncio.StreamWriter, back: asyncio.StreamWriter
) -> None:
    """What the gateway asks."""
    while piece := await reader.read(READ_BYTES):
        if link.trouble in (Trouble.ERROR, Trouble.NONSENSE):
            await _answer(link, back)
            raise _Ended
        if link.trouble in (Trouble.SILENT, Trouble.REFUSED):
            await link.healed.wait()
            raise _Ended
        others.write(piece)
        await others.drain()
    raise _Ended


async def _bring_back(link: Link, theirs: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
    """What the stage answers."""
    brought = 0
    while piece := await theirs.read(READ_BYTES):
        answer = piece
        if link.trouble is Trouble.SLOW:
            await asyncio.sleep(SLOW_SECONDS)
        elif link.trouble is Trouble.SILENT:
            await link.healed.wait()
            raise _Ended
        elif link.trouble is Trouble.ALTERED:
            answer = _altered(piece, link.place)
        elif link.trouble is Trouble.CUT:
            limit = round(link.place**2 * LONGEST_CUT)
            if brought + len(piece) > limit:
                back.write(piece[: max(0, limit - brought)])
                await back.drain()
                raise _Ended
        brought += len(piece)
        back.write(answer)
        await back.drain()
    raise _Ended


async def _answer(link: Link, back: asyncio.StreamWriter) -> None:
    """An answer that the stage never gave."""
    status = "500 Internal Server Error" if link.trouble is Trouble.ERROR else "200 OK"
    body = NONSENSE[int(link.place * len(NONSENSE)) % len(NONSENSE)]
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    back.write(f"{head}Connection: close\r\n\r\n".encode() + body)
    await back.drain()


def _altered(piece: bytes, place: float) -> bytes:
    """The piece with the top bit of one byte of a body flipped.

    Such a byte is no UTF-8 beside ASCII, so that JSON with it is no JSON, and bytes with it miss their digest. A digit
    that became another digit is a lie that no reader can see; against that there is TCP's checksum, and TLS.
    """
    body = piece.find(b"\r\n\r\n") + 4 if piece.startswith(b"HTTP/1.") else 0
    if body in (3, len(piece)):
        return piece
    at = body + int(place * (len(piece) - body - 1))
    return piece[:at] + bytes([piece[at] ^ 0x80]) + piece[at + 1 :]


def _break_off(writer: asyncio.StreamWriter) -> None:
    """Closes with a reset: the other side sees a connection that broke, not one that ended."""
    with suppress(OSError):
        sock: socket.socket | None = writer.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.close()


async def _obey(links: dict[str, Link]) -> None:
    """Commands from standard input, until it ends."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer)
    print("ready", flush=True)
    while line := await reader.readline():
        command = json.loads(line)
        trouble = command["trouble"]
        links[command["link"]].set(None if trouble is None else Trouble(trouble), command["place"])
        print("done", flush=True)


async def main(stated: str) -> None:
    """Listens at every link until standard input ends."""
    links = {name: Link(*ports) for name, ports in json.loads(stated).items()}
    for link in links.values():
        await asyncio.start_server(lambda *ends, link=link: serve(link, *ends), "127.0.0.1", link.port)
    await _obey(links)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
