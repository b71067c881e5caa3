"""A collector for tests: receives OTLP over HTTP as any backend would, and keeps the spans."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class ReceivedSpan:
    """A span as it arrived; ids in hexadecimal."""

    service: str
    name: str
    begun: float
    """Unix seconds."""
    trace_id: str
    span_id: str
    parent_id: str | None
    attributes: dict[str, Any]
    failed: bool


class Collector:
    """What arrived so far; `endpoint` is what `OTEL_EXPORTER_OTLP_ENDPOINT` has to be."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self._spans: list[ReceivedSpan] = []
        self._arrived = threading.Lock()

    @property
    def environment(self) -> dict[str, str]:
        """The standard variables that make a process send its spans here soon after they ended."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "200"}

    def receive(self, request: ExportTraceServiceRequest) -> None:
        """Keeps the spans of one export."""
        spans = list(_spans(request))
        with self._arrived:
            self._spans += spans

    def trace(self, trace_id: str) -> list[ReceivedSpan]:
        """All spans of a trace that have arrived."""
        with self._arrived:
            return [span for span in self._spans if span.trace_id == trace_id]

    def wait_for(
        self, trace_id: str, complete: Callable[[list[ReceivedSpan]], bool], seconds: float = 15.0
    ) -> list[ReceivedSpan]:
        """The spans of a trace as soon as they are `complete`, or after `seconds` those that came."""
        ends_at = time.monotonic() + seconds
        while not complete(spans := self.trace(trace_id)) and time.monotonic() < ends_at:
            time.sleep(POLL_SECONDS)
        return spans


@contextmanager
def running_collector() -> Iterator[Collector]:
    """A collector on a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            if self.path == "/v1/traces":
                collector.receive(ExportTraceServiceRequest.FromString(body))
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector = Collector(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()


def _spans(request: ExportTraceServiceRequest) -> Iterator[ReceivedSpan]:
    for resource in request.resource_spans:
        about = {each.key: _value(each.value) for each in resource.resource.attributes}
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield ReceivedSpan(
                    service=str(about["service.name"]),
                    name=span.name,
                    begun=span.start_time_unix_nano / 1e9,
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent_id=span.parent_span_id.hex() or None,
                    attributes={each.key: _value(each.value) for each in span.attributes},
                    failed=span.status.code == span.status.STATUS_CODE_ERROR,
                )


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(each) for each in value.array_value.values]
    return None if kind is None else getattr(value, kind)
