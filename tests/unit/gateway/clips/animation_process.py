"""Animation in a process of its own, which a test may kill, and which is then started again: `python -m … BUNDLE PORT`.

Before it is killed it computes `PASSES` windows of a clip, says the process to kill, and waits. Both are forks of one
that has imported everything, since that takes longer than all they do.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from bowerbird.animation import service
from bowerbird.engine.bundle import Bundle
from bowerbird.engine.drawing import Engine
from bowerbird.engine.executor import Executor
from bowerbird.engine.serving.answering import equip
from bowerbird.worker import create_worker_app
from tests.unit.engine.gated_backend import GatedBackend

PASSES = 2
TIMEOUT_SECONDS = 3600.0


class Telling(threading.Semaphore):
    """Says when somebody waits who is not let through."""

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        """As ever."""
        if super().acquire(blocking=False):
            return True
        print(os.getpid(), flush=True)
        return super().acquire(blocking, TIMEOUT_SECONDS)


async def readyz(_: Request) -> Response:
    """The probe that BentoML answers."""
    return Response()


def serve(bundle: str, port: str, backend: GatedBackend) -> None:
    """Until it is killed."""
    app = create_worker_app("animation", service.routes())
    equip(app, Executor(Engine(Bundle.open(Path(bundle)), backend), 2), TIMEOUT_SECONDS)
    routes = [Route("/readyz", readyz), Mount("/", app)]
    uvicorn.run(Starlette(routes=routes), host="127.0.0.1", port=int(port), log_config=None, access_log=False)


def main(bundle: str, port: str) -> None:
    """One that waits in the middle of a clip; and, when it is dead, one that does not."""
    child = os.fork()
    if not child:
        backend = GatedBackend()
        backend.allowed = Telling(PASSES)
        serve(bundle, port, backend)
        return
    os.waitpid(child, 0)
    serve(bundle, port, GatedBackend(gate_open=True))


if __name__ == "__main__":
    main(*sys.argv[1:])
