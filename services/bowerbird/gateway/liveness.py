"""Whether the gateway lives, said to the kubelet at a port of its own by who holds the gateway's socket (`holding`).

A gateway that hangs is to be killed within seconds. One that was killed and is started again does not answer for as
many, on two cores that start models as well, and must not be: whoever waits in its socket would be refused with it. The
two look the same from outside; who started it knows which it is. Only the standard library is imported.
"""

from __future__ import annotations

import socket
import time
from threading import Thread

ANSWER_SECONDS = 0.8
"""Less than the second that the kubelet waits."""
START_SECONDS = 60.0
"""How long one that was started may take until it answers for the first time."""
_ASKS = b"GET /livez HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n"
_ANSWERS = {True: b"200 OK", False: b"503 Service Unavailable"}


class Liveness:
    """Of the gateway at an address; `started` is called whenever there is a new one."""

    def __init__(self, host: str, port: int) -> None:
        self._address = ({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port)  # noqa: S104 - a comparison
        self._since = time.monotonic()
        self._has_answered = False

    def started(self) -> None:
        """Another one begins."""
        self._since, self._has_answered = time.monotonic(), False

    def lives(self) -> bool:
        """Whether it answers, or was started a moment ago and has not answered yet."""
        if self._answers():
            self._has_answered = True
            return True
        return not self._has_answered and time.monotonic() - self._since < START_SECONDS

    def serve(self, listener: socket.socket) -> None:
        """Answers whoever connects, until the process ends."""
        while True:
            connection, _ = listener.accept()
            Thread(target=self._tell, args=(connection,), daemon=True).start()

    def _answers(self) -> bool:
        try:
            with socket.create_connection(self._address, ANSWER_SECONDS) as gateway:
                gateway.sendall(_ASKS)
                return gateway.recv(12) == b"HTTP/1.1 200"
        except OSError:
            return False

    def _tell(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(ANSWER_SECONDS)
            try:
                connection.recv(4096)  # a request, whichever: what is left unread would undo the answer
                said = _ANSWERS[self.lives()]
                connection.sendall(b"HTTP/1.1 " + said + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            except OSError:
                return  # who asked has gone
