"""A model service as the one process of its container: `python -m bowerbird.container SERVICE [--port …]`.

What `Dockerfile.inference` runs; SERVICE is what `bentoml serve` is given, `bowerbird.safety.service:Safety` say.
`bentoml serve` is a supervisor: it imports all of BentoML, starts a worker that imports it again, and starts that one
anew whenever it ends. Where the kubelet supervises, that takes twice as long and 100 MB more, and hides what matters: a
service that cannot start. Here it ends the process, with status 1 and one sentence as its last words, which Kubernetes
keeps as the container's termination message (`terminationMessagePolicy: FallbackToLogsOnError`).

It serves BentoML's own app for the service, with what its worker gives it; only metrics are kept in memory, since there
are no other workers to share them with. The socket listens from the first moment on: who connects while the model is
read is answered when it has been. SIGTERM finishes what is being computed and takes nothing new; how long that may take
is the pod's grace to say. One that comes while the model is read ends the process at once.

With certificates in the settings (`tls`) only members of the release are answered. The kubelet is none and can show no
certificate, so what it and Prometheus ask is answered at a port of its own, without TLS, as etcd does it
(`--listen-metrics-urls`): a probe that starts an interpreter in the container every second would cost more than the
service does while it is idle.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import socket
from collections.abc import Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from bowerbird.beside import OnlyPaths, ServerBeside
from bowerbird.drain import PATH as DRAIN_PATH
from bowerbird.ending import end_when_told
from bowerbird.errors import BowerbirdError
from bowerbird.settings import Settings
from bowerbird.tls import accepting_of, members_only

if TYPE_CHECKING:
    from bentoml import Service

PORT = 3000
BACKLOG = 2048
KEEP_ALIVE_SECONDS = 5
"""The gateway gives up a connection that is idle for a second less (`gateway/connections.py`)."""
HEALTH_PATHS = frozenset({"/livez", "/readyz", "/metrics", DRAIN_PATH})

logger = logging.getLogger("bowerbird.container")  # __name__ is "__main__" when run as a module


def main(arguments: Sequence[str] | None = None) -> None:
    """Serves until SIGTERM; raises SystemExit with a sentence where the service cannot start."""
    asked = _arguments(arguments)
    # uvicorn drains on SIGTERM and then raises it again; by default that would end us before spans are exported.
    end_when_told()
    listener = listening(asked.port)
    serve(asked.service, listener, listening(asked.health_port) if asked.health_port is not None else None)


def serve(name: str, listener: socket.socket, health: socket.socket | None = None) -> None:
    """Runs a service at a socket that listens, in this process; raises SystemExit as `main` does."""
    tls = tls_options(Settings())
    try:
        starting = Starting(app_of(name))
    except (ImportError, AttributeError, ValueError) as error:
        raise SystemExit(f"{name} is no service of this image: {error}") from error
    logging.getLogger("uvicorn").handlers = logging.getLogger("bowerbird").handlers
    server = Server(uvicorn.Config(starting, **SERVER_OPTIONS, **tls))
    if health is not None:
        config = uvicorn.Config(OnlyPaths(starting, HEALTH_PATHS), **{**SERVER_OPTIONS, "lifespan": "off"})
        server.beside.append((config, health))
    try:
        server.run(sockets=[listener])
    except SystemExit:
        if starting.failure is None:
            raise
        raise SystemExit(_last_words(name, starting.failure)) from None


def tls_options(settings: Settings) -> dict[str, Any]:
    """What uvicorn is told where only members of the release are to be answered; nothing where there is no TLS."""
    context = accepting_of(settings)
    if context is None or settings.tls_name is None:
        return {}
    return {
        "ssl_context_factory": lambda *_: context,
        "http": members_only(HttpToolsProtocol, settings.tls_name),
    }


def listening(port: int) -> socket.socket:
    """A socket that listens at every address of the pod; raises SystemExit naming a port that is taken."""
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    try:
        return socket.create_server(("", port), family=family, backlog=BACKLOG, dualstack_ipv6=both)
    except OSError as error:
        raise SystemExit(f"Cannot listen at port {port}: {error.strerror}.") from error


def app_of(name: str) -> ASGIApp:
    """BentoML's app of a service, as its own worker makes it; raises ImportError, AttributeError or ValueError."""
    from bentoml._internal.configuration.containers import BentoMLContainer  # its worker has no front of its own
    from bentoml._internal.context import server_context
    from bentoml._internal.log import configure_server_logging
    from bentoml._internal.server.metrics.prometheus import PrometheusClient

    module, _, attribute = name.partition(":")
    service: Service[Any] = getattr(importlib.import_module(module), attribute)
    configure_server_logging()  # type: ignore[no-untyped-call]
    BentoMLContainer.metrics_client.set(PrometheusClient(multiproc=False))
    server_context.service_type = "entry_service"
    server_context.service_name = server_context.bento_name = service.name
    server_context.bento_version = "not available"
    app: ASGIApp = service.to_asgi(is_main=True)
    return app


class Starting:
    """An app, and what kept it from starting: kept for the last words, so that no stack stands below them."""

    def __init__(self, app: ASGIApp) -> None:
        self.failure: BaseException | None = None
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request, or the app's whole life."""
        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)
            return
        began = False

        async def send_watched(message: Message) -> None:
            nonlocal began
            began = began or message["type"] == "lifespan.startup.complete"
            if message["type"] == "lifespan.startup.failed":
                message = {**message, "message": ""}
            await send(message)

        try:
            await self._app(scope, receive, send_watched)
        except BaseException as error:
            if not began:
                self.failure = error
            raise


class Server(ServerBeside):
    """Uvicorn's, but that one told to end while its app starts does so: there is nothing to finish."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal came."""
        if not self.started:
            raise SystemExit(0)
        super().handle_exit(sig, frame)


SERVER_OPTIONS: dict[str, Any] = {
    "lifespan": "on",
    "ws": "none",
    "access_log": False,
    "log_config": None,
    "log_level": "warning",
    "server_header": False,
    "timeout_keep_alive": KEEP_ALIVE_SECONDS,
    "backlog": BACKLOG,
}


def _last_words(name: str, failure: BaseException) -> str | int:
    """One sentence for whoever asks why; a fact of ours speaks for itself, of another error the stack is logged."""
    if isinstance(failure, SystemExit):
        return failure.code or 0
    if not isinstance(failure, BowerbirdError):
        logger.error("%s cannot start", name, exc_info=failure)
    for handler in logging.getLogger("bowerbird").handlers:
        handler.flush()  # nothing is written after the last words
    said = " ".join(str(getattr(failure, "message", failure)).split())
    return f"{name} cannot start: {type(failure).__name__}: {said}"


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bowerbird.container")
    parser.add_argument("service", help="module:Class, bowerbird.safety.service:Safety say")
    parser.add_argument("--port", type=int, default=PORT)
    parser.add_argument("--health-port", type=int, help="where probes, /drain and /metrics are answered without TLS")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
