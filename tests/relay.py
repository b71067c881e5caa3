"""A line between a client and a server that a test may break: TCP on loopback, passed on as it comes."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

READ_BYTES = 64 * 1024


class Relay:
    """Listens at `url` and passes on to `target`, a port, which may change while clients keep the address."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.connections = 0
        """How many were made."""
        self.breaks = 0
        """How many were broken off."""
        self._marks: list[bytes] = []
        self._open: set[socket.socket] = set()
        self.nobody = 1
        """A target where nobody listens."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def break_at(self, *marks: bytes) -> None:
        """Each mark in turn: the connection whose answer has it is reset just behind it."""
        self._marks = list(marks)

    def break_all(self) -> None:
        """Every connection that is open now is reset."""
        for each in list(self._open):
            _reset(each)

    def close(self) -> None:
        """Nobody is let in any more, and who is in is thrown out."""
        self._listener.close()
        self.break_all()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.connections += 1
                try:
                    server = socket.create_connection(("127.0.0.1", self.target))
                except OSError:
                    _reset(client)
                    continue
                self._open |= {client, server}
                for ends in ((client, server, False), (server, client, True)):
                    threading.Thread(target=self._pass_on, args=ends, daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        with suppress(OSError):
            while piece := source.recv(READ_BYTES):
                behind = self._mark_in(piece) if answers else None
                sink.sendall(piece[:behind])
                if behind is not None:
                    break
        for each in (source, sink):
            self._open.discard(each)
            _reset(each)

    def _mark_in(self, piece: bytes) -> int | None:
        if not self._marks or self._marks[0] not in piece:
            return None
        mark = self._marks.pop(0)
        self.breaks += 1
        return piece.index(mark) + len(mark)


@contextmanager
def relay_to(url: str) -> Iterator[Relay]:
    """A line to the server at `url`."""
    relay = Relay(port_of(url))
    try:
        yield relay
    finally:
        relay.close()


def port_of(url: str) -> int:
    """The port at the end of an address."""
    return int(url.rstrip("/").rpartition(":")[2])


def _reset(end: socket.socket) -> None:
    """Closes so that the other side sees a connection that broke, not one that ended."""
    with suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        end.shutdown(socket.SHUT_RD)
    end.close()
