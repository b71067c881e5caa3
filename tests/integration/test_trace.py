"""One trace, received as a backend would receive it: from the caller's `traceparent` to each denoise step."""

from __future__ import annotations

import secrets

import httpx2
import pytest

from ..embedded_stack import RunningStack
from ..otlp import Collector, ReceivedSpan

pytestmark = pytest.mark.timeout(300)

STEPS = 3
SECRET = "zzsecretzz"
SERVED = {
    ("safety", "POST /check_prompt"),
    ("safety", "POST /check_images"),
    ("text-to-image", "POST /draw"),
    ("curation", "POST /judge"),
    ("curation", "POST /publish"),
}


def path(span: ReceivedSpan, spans: dict[str, ReceivedSpan]) -> list[str]:
    """`service name` of a span and all above it, the caller's own span left out; the outermost first."""
    above: list[str] = []
    here: ReceivedSpan | None = span
    while here is not None:
        above.insert(0, f"{here.service} {here.name}")
        here = spans.get(here.parent_id or "")
    return above


@pytest.fixture(scope="module")
def drawn(stack: RunningStack, otlp: Collector) -> list[ReceivedSpan]:
    """The spans of one drawing of two candidates."""
    stack.wait_until_ready()
    trace_id, caller = secrets.token_hex(16), secrets.token_hex(8)
    answer = httpx2.post(
        f"{stack.url}/v1/images/generations",
        json={"prompt": f"a {SECRET} robin", "steps": STEPS, "candidates": 2},
        headers={"traceparent": f"00-{trace_id}-{caller}-01"},
        timeout=120,
    )
    assert answer.status_code == 200, answer.text
    assert answer.headers["traceparent"].split("-")[1] == trace_id

    def complete(spans: list[ReceivedSpan]) -> bool:
        served = {(span.service, span.name) for span in spans}
        return served >= SERVED and any(span.parent_id == caller for span in spans)

    spans = otlp.wait_for(trace_id, complete)
    assert complete(spans), [(span.service, span.name) for span in spans]
    [root] = [span for span in spans if span.parent_id == caller]
    assert (root.service, root.name) == ("gateway", "POST /v1/images/generations")
    return spans


def test_every_span_hangs_below_the_callers(drawn: list[ReceivedSpan]) -> None:
    known = {span.span_id for span in drawn}
    orphans = [span for span in drawn if span.parent_id not in known and span.service != "gateway"]

    assert orphans == []
    assert not [span for span in drawn if span.failed]


def test_each_denoise_step_is_reached_through_the_gateways_draw(drawn: list[ReceivedSpan]) -> None:
    spans = {span.span_id: span for span in drawn}
    steps = [path(span, spans) for span in drawn if span.name == "denoise_step"]

    assert len(steps) >= STEPS
    for each in steps:
        assert each[:4] == [
            "gateway POST /v1/images/generations",
            "gateway draw",
            "gateway POST",
            "text-to-image POST /draw",
        ]


@pytest.mark.parametrize(
    ("stage", "service", "route"),
    [
        ("check_prompt", "safety", "/check_prompt"),
        ("check_images", "safety", "/check_images"),
        ("judge", "curation", "/judge"),
        ("publish", "curation", "/publish"),
    ],
)
def test_each_stage_is_below_its_step_of_the_story(
    drawn: list[ReceivedSpan], stage: str, service: str, route: str
) -> None:
    spans = {span.span_id: span for span in drawn}
    served = [path(span, spans) for span in drawn if (span.service, span.name) == (service, f"POST {route}")]

    assert served == [
        ["gateway POST /v1/images/generations", f"gateway {stage}", "gateway POST", f"{service} POST {route}"]
    ]


def test_no_span_holds_the_prompt(drawn: list[ReceivedSpan]) -> None:
    assert not [span.name for span in drawn if SECRET in f"{span.name} {span.attributes}"]


def test_no_log_holds_the_prompt_and_each_has_the_trace(stack: RunningStack, drawn: list[ReceivedSpan]) -> None:
    for service in ("gateway", "safety", "text-to-image", "curation"):
        assert SECRET not in stack.log(service)
    assert drawn[0].trace_id in stack.log("gateway")
