"""Telemetry: traces, log lines with trace ids, and metric buckets that reach minutes.

`set_up_telemetry(service_name)` is called once by every process, before its app is built. Spans go out by OTLP when the
standard variables name an endpoint (`OTEL_EXPORTER_OTLP_ENDPOINT` or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`); without one
they are still made, so that trace ids stand in logs and answers, and go nowhere. Sampling is OpenTelemetry's
(`OTEL_TRACES_SAMPLER`, by default the caller's decision, else always).

A request's spans are made here, by OpenTelemetry's API: `TracedASGI` for the server's side of a hop, `Hop` for the
client's, `Step` for what happens between. OpenTelemetry's own instrumentations do the same at several times the cost,
most of it for requests that are not sampled (measured: `python -m benchmarks.gateway`). Below a span that is not
sampled nothing is made: the caller's decision holds for the whole trace, and what goes on with a hop is the trace's id.

`TracedASGI` starts each request from the caller's `traceparent` and from nothing else: BentoML has a middleware of its
own around ours, whose span is never sampled and would otherwise become the parent that switches ours off.

Names and attributes are those of the semantic conventions for HTTP (https://opentelemetry.io/docs/specs/semconv/http/).
A query, a body or an exception's message is in none of them. Prompts are personal data: no function here takes one, and
no access log is written by uvicorn or BentoML.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from contextvars import Token
from functools import partial
from random import getrandbits
from types import TracebackType
from typing import NamedTuple

from opentelemetry import context, trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, SpanKind, StatusCode, TraceFlags
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bowerbird import __version__
from bowerbird.log_lines import set_up_log_lines

SECONDS_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)

UNTRACED = frozenset({"/livez", "/readyz", "/metrics"})
"""Asked every few seconds by machines that no trace is for."""

TRACED = "bowerbird.traced"
"""In an ASGI scope: how the request's span is named, and told to the caller (`SpanIds`)."""

SPAN = "bowerbird.span"
"""In an ASGI scope: the span itself."""

DROPPED = TraceFlags(TraceFlags.RANDOM_TRACE_ID)
"""W3C's flags of a trace that is not sampled, whose id is random (https://www.w3.org/TR/trace-context-2/)."""

NOWHERE = context.Context()
"""What is current where nothing is."""

_W3C = TraceContextTextMapPropagator()
_tracer = trace.get_tracer("bowerbird.http")
_once = threading.Lock()
_set_up = False
_drops_roots = False
"""The sampler takes no trace that begins here: it need not be asked each time, which costs more than all the rest."""


def set_up_telemetry(service_name: str) -> None:
    """Makes the process' tracer provider and its log format; a second call changes nothing."""
    global _set_up, _drops_roots  # noqa: PLW0603 - OpenTelemetry's provider is a global of the process too
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
    _drops_roots = provider.sampler.get_description().startswith(("AlwaysOff", "ParentBased{root:AlwaysOff"))
    set_up_log_lines(service_name, os.environ.get("BOWERBIRD_LOG_LEVEL", "INFO"))


def trace_id() -> str | None:
    """The current trace's id, 32 hexadecimal digits, or None outside of a trace."""
    span = trace.get_current_span().get_span_context()
    return f"{span.trace_id:032x}" if span.is_valid else None


def traced_headers() -> dict[str, str]:
    """What tells the next hop, or the caller, which span it belongs to: `traceparent`, `tracestate` (W3C)."""
    return _headers_of(trace.get_current_span().get_span_context())


def unrecorded_headers() -> dict[str, str] | None:
    """As `traced_headers`, where nobody records the current span, nor what would be below it; else None."""
    span = trace.get_current_span()
    context_of_span = span.get_span_context()
    return _headers_of(context_of_span) if context_of_span.is_valid and not span.is_recording() else None


def _headers_of(span: SpanContext) -> dict[str, str]:
    if not span.is_valid:
        return {}
    parent = {"traceparent": f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags:02x}"}
    return parent if not span.trace_state else {**parent, "tracestate": span.trace_state.to_header()}


class Step:
    """A span around what happens inside the block, below the current span; none where that is not sampled.

    What ends the block with an error ends the span with its type; its message may quote what nobody should read.
    """

    def __init__(self, name: str, kind: SpanKind = SpanKind.INTERNAL) -> None:
        self._name = name
        self._kind = kind
        self.span: Span | None = None
        """While the block runs, if it is sampled."""
        self._token: Token[context.Context] | None = None

    def __enter__(self) -> Step:
        above = trace.get_current_span()
        if above.is_recording() or not above.get_span_context().is_valid:
            self.span = _tracer.start_span(self._name, kind=self._kind)
            self._token = context.attach(trace.set_span_in_context(self.span))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self.span is None or self._token is None:
            return
        context.detach(self._token)
        if isinstance(error, Exception):
            _failed(self.span, error)
        self.span.end()


class Hop(Step):
    """The client's span of one request to another service; `traced_headers` inside of it are that request's."""

    def __init__(self, method: str, url: str) -> None:
        super().__init__(method, SpanKind.CLIENT)
        self._url = url

    def __enter__(self) -> Hop:
        super().__enter__()
        if self.span is not None and self.span.is_recording():
            self.span.set_attributes({"http.request.method": self._name, "url.full": self._url})
        return self

    def answered(self, status: int) -> None:
        """Writes down what came back."""
        if self.span is not None:
            self.span.set_attribute("http.response.status_code", status)
            if status >= 400:
                self.span.set_status(StatusCode.ERROR)


class TracedASGI:
    """One server span a request, child of the caller's `traceparent`; probes and metrics are left out."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request in a fresh context, whatever was current."""
        if scope["type"] != "http" or scope["path"] in UNTRACED:
            token = context.attach(NOWHERE)
            try:
                await self._app(scope, receive, send)
            finally:
                context.detach(token)
            return
        span = span_of(scope)
        scope[TRACED] = ids_of(span)
        token = context.attach(trace.set_span_in_context(span, NOWHERE))
        serve = partial(self._recorded, span) if span.is_recording() else self._app
        try:
            await serve(scope, receive, send)
        finally:
            context.detach(token)

    async def _recorded(self, span: Span, scope: Scope, receive: Receive, send: Send) -> None:
        """The same, with what the span says of the request and its answer."""
        span.set_attributes({"http.request.method": scope["method"], "url.path": scope["path"]})

        async def send_noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                span.set_attribute("http.response.status_code", message["status"])
                if message["status"] >= 500:
                    span.set_status(StatusCode.ERROR)
            await send(message)

        try:
            await self._app(scope, receive, send_noted)
        except Exception as error:
            _failed(span, error)
            raise
        finally:
            route = getattr(scope.get("route"), "path", None)
            if route is not None:
                span.update_name(f"{scope['method']} {route}")
                span.set_attribute("http.route", route)
            span.end()


class SpanIds(NamedTuple):
    """How a span is named in a log line, and to whom it is told."""

    trace_id: str
    """32 hexadecimal digits."""
    span_id: str
    """16 hexadecimal digits."""
    headers: list[tuple[bytes, bytes]]


def unsampled(scope: Scope) -> SpanIds | None:
    """How a request's span is named that nobody records; None for one that is recorded, and where there is none.

    What is kept of it in the scope is what `TracedASGI` goes on with, should the request come to it.
    """
    if _drops_roots and _callers(scope) is NOWHERE:
        trace_id, span_id = f"{getrandbits(128):032x}", f"{getrandbits(64):016x}"
        return SpanIds(trace_id, span_id, [(b"traceparent", f"00-{trace_id}-{span_id}-{DROPPED:02x}".encode())])
    span = span_of(scope)
    return ids_of(span) if span.get_span_context().is_valid and not span.is_recording() else None


def span_of(scope: Scope) -> Span:
    """The server's span of a request, child of the caller's; begun by whoever asks for it first."""
    span: Span | None = scope.get(SPAN)
    if span is None:
        above = _callers(scope)
        if above is NOWHERE and _drops_roots:
            span = NonRecordingSpan(
                SpanContext(getrandbits(128), getrandbits(64), is_remote=False, trace_flags=DROPPED)
            )
        else:
            span = _tracer.start_span(scope["method"], above, SpanKind.SERVER)
        scope[SPAN] = span
    return span


def ids_of(span: Span) -> SpanIds:
    """A span by its names."""
    of = span.get_span_context()
    headers = [(name.encode(), value.encode()) for name, value in _headers_of(of).items()]
    return SpanIds(f"{of.trace_id:032x}", f"{of.span_id:016x}", headers)


def _callers(scope: Scope) -> context.Context:
    """The caller's span as the parent, where it names one."""
    carrier = {}
    for name, value in scope["headers"]:
        if name in (b"traceparent", b"tracestate"):
            carrier[name.decode()] = value.decode("latin-1")
    return _W3C.extract(carrier, NOWHERE) if carrier else NOWHERE


def _failed(span: Span, error: Exception) -> None:
    span.set_attribute("error.type", type(error).__qualname__)
    span.set_status(StatusCode.ERROR, type(error).__qualname__)


def _exports(environment: Mapping[str, str]) -> bool:
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true" or environment.get("OTEL_TRACES_EXPORTER") == "none":
        return False
    return bool(environment.get("OTEL_EXPORTER_OTLP_ENDPOINT") or environment.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"))
