"""What a trace of the gateway shows: one span for each stage, each hop below it, and never a prompt."""

from __future__ import annotations

import time
from collections.abc import Iterator

import httpx2
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from bowerbird.errors import PromptTooLong

from .exported_spans import exporting
from .stand_ins import DIGEST, StandIns

TRACE = "0af7651916cd43dd8448eb211c80319c"
STAGES = {"check_prompt", "admit", "draw", "judge", "check_images", "publish"}


@pytest.fixture
def exported(gateway: httpx2.Client) -> Iterator[InMemorySpanExporter]:
    with exporting() as exporter:
        yield exporter


def spans_of(exporter: InMemorySpanExporter) -> list[ReadableSpan]:
    """The spans of the request, once its server span has ended."""
    for _ in range(3000):
        spans = [span for span in exporter.get_finished_spans() if f"{span.context.trace_id:032x}" == TRACE]
        if any(span.kind is trace.SpanKind.SERVER for span in spans):
            return spans
        time.sleep(0.02)
    raise AssertionError("the server span did not end")


def test_trace_is_the_callers_with_a_span_for_each_stage_and_its_hop(
    gateway: httpx2.Client, stages: StandIns, exported: InMemorySpanExporter
) -> None:
    gateway.post(
        "/v1/images/generations",
        json={"prompt": "zzsecretzz robin", "seed": 7, "n": 2, "steps": 9},
        headers={"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"},
    )
    spans = spans_of(exported)
    [server] = [span for span in spans if span.kind is trace.SpanKind.SERVER]
    assert server.parent is not None
    assert f"{server.parent.span_id:016x}" == "b7ad6b7169203331"

    by_stage = {span.name: span for span in spans if span.name in STAGES}
    assert set(by_stage) == STAGES
    assert {span.parent and span.parent.span_id for span in by_stage.values()} == {server.context.span_id}
    hops = [span for span in spans if span.kind is trace.SpanKind.CLIENT]
    assert {span.parent and span.parent.span_id for span in hops} == {
        span.context.span_id for name, span in by_stage.items() if name != "admit"
    }
    sent = {each.headers["traceparent"].split("-")[2] for each in stages.seen}
    assert sent == {f"{span.context.span_id:016x}" for span in hops}

    attributes = dict(server.attributes or {})
    assert attributes["gen_ai.operation.name"] == "generate_content"
    assert attributes["gen_ai.output.type"] == "image"
    assert attributes["gen_ai.request.model"] == attributes["gen_ai.response.model"] == "fledgling"
    assert attributes["gen_ai.request.choice.count"] == 2
    assert attributes["gen_ai.request.seed"] == 7
    assert str(attributes["gen_ai.response.id"]).startswith("req_")
    assert (attributes["bowerbird.steps"], attributes["bowerbird.size"]) == (9, "32x32")
    assert attributes["bowerbird.model.digest"] == DIGEST
    assert "zzsecretzz" not in "".join(span.to_json() for span in spans)


def test_looking_at_the_stages_leaves_no_traces(gateway: httpx2.Client, exported: InMemorySpanExporter) -> None:
    gateway.get("/readyz")
    time.sleep(0.3)  # three looks

    assert not exported.get_finished_spans()


def test_a_caller_that_does_not_sample_gets_no_spans_and_its_own_trace(
    gateway: httpx2.Client, stages: StandIns, exported: InMemorySpanExporter
) -> None:
    answer = gateway.post(
        "/v1/images/generations",
        json={"prompt": "a robin", "steps": 2},
        headers={"traceparent": f"00-{TRACE}-b7ad6b7169203331-00"},
    )
    assert answer.status_code == 200
    assert not exported.get_finished_spans()
    assert answer.json()["bowerbird"]["trace_id"] == TRACE
    for said in [answer.headers["traceparent"], *(each.headers["traceparent"] for each in stages.seen)]:
        version, trace_id, span_id, flags = said.split("-")
        assert (version, trace_id) == ("00", TRACE)
        assert span_id != "b7ad6b7169203331"
        assert int(flags, 16) & 1 == 0


@pytest.mark.parametrize(
    ("path", "name", "status"),
    [("/v1/jobs/job_7?secret=zz", "GET /v1/jobs/{job}", 400), ("/no/such?secret=zz", "GET", 404)],
)
def test_a_span_is_named_by_its_route_and_knows_no_query(
    path: str, name: str, status: int, gateway: httpx2.Client, exported: InMemorySpanExporter
) -> None:
    assert gateway.get(path, headers={"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}).status_code == status
    [server] = spans_of(exported)
    assert server.name == name
    assert (server.attributes or {}).get("http.route") == (name.removeprefix("GET").strip() or None)
    assert (server.attributes or {})["http.response.status_code"] == status
    assert "zz" not in server.to_json()


def test_a_failed_stage_is_a_failed_span_without_a_message(
    gateway: httpx2.Client, stages: StandIns, exported: InMemorySpanExporter
) -> None:
    stages.behaviour.answers["/check_prompt"] = lambda: PromptTooLong("zzsecretzz", param="prompt")
    gateway.post(
        "/v1/images/generations",
        json={"prompt": "a robin"},
        headers={"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"},
    )
    spans = {span.name: span for span in spans_of(exported)}
    assert (spans["check_prompt"].attributes or {})["error.type"] == "PromptTooLong"
    assert spans["check_prompt"].status.status_code is trace.StatusCode.ERROR
    assert (spans["POST"].attributes or {})["http.response.status_code"] == PromptTooLong.status
    assert spans["POST /v1/images/generations"].status.status_code is trace.StatusCode.UNSET
    assert "zzsecretzz" not in "".join(span.to_json() for span in spans.values())
