"""The plain route under LitServe: `python litserve_plain.py PORT`; one API server, one worker process.

LitServe brings no telemetry. With PLAIN_TELEMETRY=1 it gets what its users add: OpenTelemetry's ASGI middleware with an
exporter, a histogram of seconds, and a line of JSON for each request.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from typing import Any

import litserve as ls

TELEMETRY = os.environ.get("PLAIN_TELEMETRY") == "1"


class Plain(ls.LitAPI):
    """No work."""

    def setup(self, device: str) -> None:
        """Nothing to load."""

    def decode_request(self, request):  # type: ignore[no-untyped-def]  # LitServe reads the annotation; none means JSON
        """The body as it is."""
        return request

    def predict(self, x: Any) -> Any:
        """The answer's fields."""
        return {"id": "req_1", "characters": len(x["prompt"]), "steps": x["steps"], "seed": x["seed"]}

    def encode_response(self, output: Any) -> Any:
        """As they are."""
        return output


class Observed:
    """A histogram and a log line a request, around the app."""

    def __init__(self, app: Any) -> None:
        from prometheus_client import Histogram

        self._app = app
        self._seconds = Histogram("request_seconds", "Of a request.", ["route", "status"])
        self._log = logging.getLogger("access")
        self._log.setLevel(logging.INFO)
        self._log.addHandler(logging.StreamHandler())

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begin, status = time.perf_counter(), 500

        async def noted(message: Any) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        await self._app(scope, receive, noted)
        seconds = time.perf_counter() - begin
        self._seconds.labels(scope["path"], status).observe(seconds)
        self._log.info(json.dumps({"route": scope["path"], "status": status, "ms": round(1000 * seconds, 1)}))


def middlewares() -> list[Any]:
    """Around LitServe's app; tracing is set up in the process that asks for them."""
    if not TELEMETRY:
        return []
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return [Observed, (OpenTelemetryMiddleware, {"exclude_spans": ["receive", "send"]})]


if __name__ == "__main__":
    api, layers = Plain(api_path="/plain"), middlewares()
    server = ls.LitServer(api, accelerator="cpu", workers_per_device=1, track_requests=False, middlewares=layers)
    server.run(
        host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning", num_api_servers=1
    )
