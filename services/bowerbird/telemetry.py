"""Telemetry: traces, JSON logs with trace ids, and metric buckets that reach minutes.

`set_up_telemetry(service_name)` is called once by every process, before its app is built. Spans go out by OTLP when the
standard variables name an endpoint (`OTEL_EXPORTER_OTLP_ENDPOINT` or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`); without one
they are still made, so that trace ids stand in logs and answers, and go nowhere. Sampling is OpenTelemetry's
(`OTEL_TRACES_SAMPLER`, by default the caller's decision, else always).

`TracedASGI` starts each request from the caller's `traceparent` and from nothing else: BentoML has a middleware of its
own around ours, whose span is never sampled and would otherwise become the parent that switches ours off.

Prompts are personal data: no function here takes one, and no access log is written by uvicorn or BentoML.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Mapping
from typing import Any

from opentelemetry import context, trace
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from pythonjsonlogger.json import JsonFormatter
from starlette.types import ASGIApp, Receive, Scope, Send

from bowerbird import __version__

SECONDS_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)

_once = threading.Lock()
_set_up = False


def set_up_telemetry(service_name: str) -> None:
    """Makes the process' tracer provider and its log format; a second call changes nothing."""
    global _set_up  # noqa: PLW0603 - OpenTelemetry's provider is a global of the process too
    with _once:
        if _set_up:
            return
        _set_up = True
    resource = Resource.create({"service.name": service_name, "service.version": __version__})
    provider = TracerProvider(resource=resource)
    if _exports(os.environ):
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    _set_up_logs(service_name)


def trace_id() -> str | None:
    """The current trace's id, 32 hexadecimal digits, or None outside of a trace."""
    span = trace.get_current_span().get_span_context()
    return f"{span.trace_id:032x}" if span.is_valid else None


class TracedASGI:
    """One server span a request, child of the caller's `traceparent`; probes and metrics are left out."""

    def __init__(self, app: ASGIApp) -> None:
        # Without a span for each message: a stream of parts would make dozens of them.
        self._app = OpenTelemetryMiddleware(
            app, excluded_urls="livez,readyz,metrics", exclude_spans=["receive", "send"]
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request in a fresh context, whatever was current."""
        token = context.attach(context.Context())
        try:
            await self._app(scope, receive, send)
        finally:
            context.detach(token)


def _exports(environment: Mapping[str, str]) -> bool:
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true" or environment.get("OTEL_TRACES_EXPORTER") == "none":
        return False
    return bool(environment.get("OTEL_EXPORTER_OTLP_ENDPOINT") or environment.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"))


class _TraceIds(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        span = trace.get_current_span().get_span_context()
        if span.is_valid:
            record.trace_id, record.span_id = f"{span.trace_id:032x}", f"{span.span_id:016x}"
        return True


def _set_up_logs(service_name: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    fields: dict[str, Any] = {"service": service_name}
    handler.setFormatter(
        JsonFormatter(
            "%(asctime)s %(levelname)s %(name)s %(message)s",
            rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
            static_fields=fields,
        )
    )
    handler.addFilter(_TraceIds())
    root = logging.getLogger("bowerbird")
    root.handlers = [handler]
    root.setLevel(os.environ.get("BOWERBIRD_LOG_LEVEL", "INFO"))
    root.propagate = False
