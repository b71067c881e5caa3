"""Drain: a service that is told to end takes no new work, finishes what it has, and listens all the while.

Kubernetes calls `GET /drain` before it ends a container (`preStop: httpGet`) and waits for the answer within the pod's
grace period; `worker.create_worker_app` puts this around every model service. From that call on

- new work (a POST) is answered 429 with `Retry-After: 1`, and the gateway gives it to another pod;
- what is being computed is finished, and streams that have begun go on to their end;
- probes and descriptions are answered as ever: readiness never means "full", and a pod that drains is not broken.

The answer comes when nothing is computed any more, or after `?seconds=`: whoever states it some seconds below the grace
period leaves the process time to end what is left, which the gateway then draws elsewhere.

Who sends work hears that a pod terminates a moment after the pod does. A service whose refusals nobody takes back to a
queue states `notice_seconds`: for so long it still takes what comes.

A page in a browser could have a local service drained by an image's address; browsers say that they ask (Fetch
Metadata, https://www.w3.org/TR/fetch-metadata/), and are not heard.
"""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import suppress
from urllib.parse import parse_qs

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from bowerbird.errors import RouteUnknown, StageFull, error_body

PATH = "/drain"
RETRY_AFTER_SECONDS = 1


class DrainASGI:
    """Counts the work in an app, and refuses more once it was told to drain; for one event loop."""

    def __init__(self, app: ASGIApp, notice_seconds: float = 0.0) -> None:
        self._app = app
        self._notice_seconds = notice_seconds
        self._refuses_from = math.inf
        self._running = 0
        self._ended = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request, or the order to drain."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["path"] == PATH:
            await self._drain(scope, receive, send)
        elif scope["method"] == "POST":
            await self._work(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _work(self, scope: Scope, receive: Receive, send: Send) -> None:
        if time.monotonic() >= self._refuses_from:
            full = StageFull("The service is about to end.", retry_after_seconds=RETRY_AFTER_SECONDS)
            refusal = JSONResponse(error_body(full), full.status, {"Retry-After": str(RETRY_AFTER_SECONDS)})
            await refusal(scope, receive, send)
            return
        self._running += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._running -= 1
            if not self._running:
                self._ended.set()

    async def _drain(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "GET" or any(name == b"sec-fetch-site" for name, _ in scope["headers"]):
            nobody = RouteUnknown(f"Nothing answers at {PATH}.")
            await JSONResponse(error_body(nobody), nobody.status)(scope, receive, send)
            return
        self._refuses_from = min(self._refuses_from, time.monotonic() + self._notice_seconds)
        with suppress(TimeoutError):
            async with asyncio.timeout(_seconds_of(scope)):
                await asyncio.sleep(max(0.0, self._refuses_from - time.monotonic()))
                while self._running:
                    self._ended.clear()
                    await self._ended.wait()
        await JSONResponse({"running": self._running})(scope, receive, send)


def _seconds_of(scope: Scope) -> float | None:
    """How long the caller waits; None where it does not say."""
    stated = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("seconds", [""])[0]
    return float(stated) if stated.isascii() and stated.isdigit() else None
