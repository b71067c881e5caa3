"""The gateway's container: `python -m bowerbird.gateway.holding` holds its socket, and the gateway is its child.

A gateway that is killed (its memory, a fault in a library) takes with it what it was answering, and whoever comes next
is refused until another listens. Kubernetes needs a second or two to send clients to another replica, where there is
one; by then a client's own retries are over (OpenAI's: two, within a second and a half). Here the socket goes on
listening: they wait in it, and are answered by the gateway that is started at once. `bowerbird up` holds its gateway's
socket in the same way (`embedded.stack`).

Nothing else is supervised here. A gateway that ends by itself ends the container, with its status and its last words;
one that is killed sooner after its start than `--again-seconds` does too, and Kubernetes waits longer each time before
it tries again. With `--liveness-port` it says there whether the gateway lives (`liveness`). SIGTERM and SIGINT are
passed on, and waited for. Only the standard library is imported: this process weighs 13 MB.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from threading import Thread
from types import FrameType

from bowerbird.gateway.binding import bind
from bowerbird.gateway.liveness import Liveness

AGAIN_SECONDS = 10.0
COMMAND = (sys.executable, "-m", "bowerbird.gateway.main")


class Holder:
    """A socket, and the gateway that serves it at present."""

    def __init__(self, listener: socket.socket, again_seconds: float, liveness: Liveness) -> None:
        self._listener = listener
        self._again_seconds = again_seconds
        self._liveness = liveness
        self._gateway: subprocess.Popen[bytes] | None = None
        self._told: set[int] = set()

    def tell(self, number: int, _: FrameType | None = None) -> None:
        """Passes a signal on, to the gateway that runs, or to the one that is about to; who comes now is refused."""
        self._told.add(number)
        if self._gateway is not None:
            self._gateway.send_signal(number)
            self._listener.close()

    def run(self) -> int:
        """Serves until the gateway has ended for good; the status to end with."""
        while True:
            began = time.monotonic()
            status = self._serve()
            killed = status < 0 and -status not in self._told
            if not killed:
                return max(status, 0)
            if self._told or time.monotonic() - began < self._again_seconds:
                return 128 - status  # as a shell says it
            say(signal=-status)

    def _serve(self) -> int:
        descriptor = self._listener.fileno()
        environment = {**os.environ, "BOWERBIRD_LISTEN_FD": str(descriptor)}
        self._liveness.started()
        self._gateway = subprocess.Popen(COMMAND, env=environment, pass_fds=(descriptor,))  # noqa: S603 - our own module
        for number in tuple(self._told):  # it came before there was anybody to pass it on to
            self.tell(number)
        return self._gateway.wait()


def say(**facts: object) -> None:
    """One line of the log, as the gateway writes them."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    line = {"time": now, "level": "WARNING", "logger": "bowerbird.gateway.holding", "service": "gateway"}
    message = {"message": "the gateway was killed and is started again"}
    print(json.dumps({**line, **message, **facts}), file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Serves at BOWERBIRD_HOST and BOWERBIRD_PORT; raises SystemExit with the gateway's status, or a sentence."""
    parser = argparse.ArgumentParser(prog="bowerbird.gateway.holding")
    parser.add_argument("--again-seconds", type=float, default=AGAIN_SECONDS)
    parser.add_argument("--liveness-port", type=int)
    asked = parser.parse_args(arguments)
    try:
        host, port = os.environ["BOWERBIRD_HOST"], int(os.environ["BOWERBIRD_PORT"])
    except (KeyError, ValueError) as error:
        raise SystemExit("BOWERBIRD_HOST and BOWERBIRD_PORT say where the gateway listens.") from error
    listener, liveness = bind(host, port), Liveness(host, port)
    if asked.liveness_port is not None:
        Thread(target=liveness.serve, args=(bind(host, asked.liveness_port),), daemon=True).start()
    holder = Holder(listener, asked.again_seconds, liveness)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, holder.tell)
    raise SystemExit(holder.run())


if __name__ == "__main__":
    main()
