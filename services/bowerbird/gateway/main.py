"""The gateway's process: `python -m bowerbird.gateway.main`.

It binds its socket itself, so that a port that is taken is named before anything starts and port 0 (pick a free one) is
known to who asked: the address stands in a log line, `listening`, and in `<home>/gateway.json`, written atomically once
the socket listens and removed when the process ends.
"""

from __future__ import annotations

import json
import logging
import math
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette

from bowerbird.beside import OnlyPaths, ServerBeside
from bowerbird.ending import end_when_told
from bowerbird.gateway.app import create_app
from bowerbird.gateway.binding import bind
from bowerbird.gateway.garbage import settle_heap
from bowerbird.gateway.gateway import Gateway
from bowerbird.gateway.hot.protocol import GatewayHttpProtocol
from bowerbird.gateway.identity.configured import open_binding
from bowerbird.gateway.records.migrating import migrate_apart
from bowerbird.gateway.replicas.doorway import ROOM
from bowerbird.gateway.replicas.opening import reachable
from bowerbird.gateway.slow_clients import BoundedHttpProtocol
from bowerbird.settings import Settings
from bowerbird.tls import accepting_of, members_only

ADDRESS_FILE = "gateway.json"
# Above the 60 s of common load balancers, so that they close first and no request meets a closing connection.
KEEP_ALIVE_SECONDS = 75

logger = logging.getLogger("bowerbird.gateway.main")  # __name__ is "__main__" when run as a module


def main() -> None:
    """Serves until SIGTERM or SIGINT, then finishes what is being answered."""
    # uvicorn drains on SIGTERM and then raises it again; by default that would end us before spans are exported.
    end_when_told()
    serve(Settings())


def serve(settings: Settings) -> None:
    """Runs the gateway in this process; raises SystemExit with a sentence when it may not or cannot bind."""
    if objection := open_binding(settings):
        raise SystemExit(objection)
    listener = listening(settings)
    migrate_apart(settings)
    app = create_app(reachable(settings, listener))
    logging.getLogger("uvicorn").handlers = logging.getLogger("bowerbird").handlers
    with announced(settings, listener):
        options = {**SERVER_OPTIONS, "timeout_graceful_shutdown": math.ceil(settings.drain_seconds)}
        server = Server(uvicorn.Config(app, **options), app)
        if settings.replica_port is not None:
            server.beside.append(for_replicas(app, settings, settings.replica_port, options))
        server.run(sockets=[listener])


def for_replicas(
    app: Starlette, settings: Settings, port: int, options: dict[str, Any]
) -> tuple[uvicorn.Config, socket.socket]:
    """What other gateways may ask, where they show that they belong to this release; raises SystemExit as `serve`."""
    tls = accepting_of(settings)
    if tls is None or settings.tls_name is None:
        raise SystemExit("BOWERBIRD_REPLICA_PORT is for TLS: set BOWERBIRD_TLS_CERTIFICATE, _KEY, _CA and _NAME too.")
    protocol = members_only(BoundedHttpProtocol, settings.tls_name)
    own = {"lifespan": "off", "http": protocol, "ssl_context_factory": lambda *_: tls}
    listener = bind(settings.host, port)
    return uvicorn.Config(OnlyPaths(app, {ROOM}), **{**options, **own}), listener


class Server(ServerBeside):
    """Uvicorn's, but that the heap is settled when it serves, and that the gateway hears of the end when it begins."""

    def __init__(self, config: uvicorn.Config, app: Starlette) -> None:
        super().__init__(config)
        self._gateway_app = app

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Serves; what was made for that stays."""
        await super().startup(sockets)
        settle_heap()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Lets others keep what is shared, and finishes what was begun."""
        gateway: Gateway | None = getattr(self._gateway_app.state, "gateway", None)
        if gateway is not None:
            gateway.stop()
        await self.end_beside()
        await super().shutdown(sockets)


SERVER_OPTIONS: dict[str, Any] = {
    "loop": "uvloop",
    "http": GatewayHttpProtocol,
    "ws": "none",
    "lifespan": "on",
    "access_log": False,
    "log_config": None,
    "log_level": "warning",
    "server_header": False,
    "proxy_headers": False,  # nothing here asks for the client's address
    "timeout_keep_alive": KEEP_ALIVE_SECONDS,
}


def listening(settings: Settings) -> socket.socket:
    """A listening socket at the configured address, or the inherited one; raises SystemExit naming a taken port."""
    if settings.listen_fd is not None:
        return socket.socket(fileno=settings.listen_fd)
    return bind(settings.host, settings.port)


@contextmanager
def announced(settings: Settings, listener: socket.socket) -> Iterator[None]:
    """Says where the gateway listens, in the log and in `<home>/gateway.json`, until the context ends."""
    host, port = listener.getsockname()[:2]
    address = {"url": f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}", "pid": os.getpid()}
    file = settings.home / ADDRESS_FILE
    try:
        _write(file, json.dumps(address) + "\n")
    except OSError as error:  # a full disk: whoever looks for the file does without, whoever knows the port is served
        logger.warning("the address could not be written", extra={"reason": error.strerror})
    logger.info("listening", extra={"host": host, "port": port})
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


def _write(file: Path, text: str) -> None:
    """The file whole or not at all; what a crash left of an earlier attempt is overwritten."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_suffix(".draft")
    draft.write_text(text, encoding="utf-8")
    draft.replace(file)


if __name__ == "__main__":
    main()
