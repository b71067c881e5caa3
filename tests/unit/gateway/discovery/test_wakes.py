"""What is known of a wake afterwards: each phase of it, the first step too, as a span of who waited and in a metric."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import httpx2
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client.parser import text_string_to_metric_families

from bowerbird.gateway.demand.phase import Phase

from ..conftest import PROMPT, draw
from ..exported_spans import exporting
from .pods import SERVICES, Pods, becomes, chain, until

Behind = Callable[..., Future[httpx2.Response]]

TRACE = "0af7651916cd43dd8448eb211c80319d"
SAMPLED = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
SCHEDULED = {"type": "PodScheduled", "status": "True"}
FULL = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no node has room"}
RUNS: list[dict[str, Any]] = [{"state": {"running": {}}}]
STATUSES: dict[str, dict[str, Any]] = {
    Phase.DECIDE: {},
    Phase.SCHEDULE: {"conditions": [FULL]},
    Phase.NODE: {"conditions": [SCHEDULED]},
    Phase.PULL: {"conditions": [SCHEDULED], "containerStatuses": [{"state": {"waiting": {"reason": "Waits"}}}]},
    Phase.START: {"conditions": [SCHEDULED], "containerStatuses": RUNS},
    Phase.LOAD: {"conditions": [SCHEDULED, {"type": "Ready", "status": "True"}], "containerStatuses": RUNS},
}
"""What Kubernetes says of the pod next, when who waits has heard of a phase."""


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bowerbird.gateway.demand.climb.LOOK_SECONDS", 0.01)
    monkeypatch.setattr("bowerbird.gateway.demand.waking.LOOK_SECONDS", 0.01)


def put_asleep(pods: Pods, *services: str) -> dict[str, Any]:
    """The settings of a gateway whose services have no pod; those of the others are there."""
    for service in services:
        pods.cluster.put("deployments", service, spec={"replicas": 0})
        pods.cluster.put("scaledobjects", service)
    return {"stages_asleep": frozenset(services)}


def phases(gateway: httpx2.Client, service: str) -> dict[str, float]:
    """Phase -> how often it was measured."""
    families = text_string_to_metric_families(gateway.get("/metrics").text)
    samples = (sample for family in families for sample in family.samples)
    return {
        sample.labels["phase"]: sample.value
        for sample in samples
        if sample.name == "bowerbird_wake_seconds_count" and sample.labels["service"] == service
    }


def waiting(pods: Pods, behind: Behind, gateway: httpx2.Client) -> Future[httpx2.Response]:
    """A request that is held: the gateway looks at what keeps it."""
    looks = pods.cluster.lists
    held = behind(gateway, steps=4)
    becomes(lambda: pods.cluster.lists > looks)
    return held


def spans_of(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    """The request's spans by name."""
    return {each.name: each for each in exporter.get_finished_spans() if f"{each.context.trace_id:032x}" == TRACE}


def test_each_phase_of_a_wake_is_a_span_and_is_measured(pods: Pods, start: Callable[..., httpx2.Client]) -> None:
    chain(pods, "text-to-image")
    gateway = start(**put_asleep(pods, "text-to-image"))
    until(gateway, {"safety": "ready", "text-to-image": "asleep", "curation": "ready"})
    labels = {"app.kubernetes.io/name": "bowerbird", "app.kubernetes.io/component": "text-to-image"}
    heard: list[str] = []
    body = {"prompt": PROMPT, "stream": True}
    with (
        exporting() as exporter,
        gateway.stream("POST", "/v1/images/generations", json=body, headers=SAMPLED) as stream,
    ):
        for line in stream.iter_lines():
            kind, _, phase = json.loads(line[2:])["phase"].partition(".") if line.startswith(": ") else ("", "", "")
            if kind != "wake" or phase in heard:
                continue
            heard.append(phase)
            if phase in STATUSES:
                pods.cluster.put("pods", "wakes", metadata={"labels": labels}, status=STATUSES[phase])
            elif phase == Phase.READY:
                pods.start("text-to-image")
        becomes(lambda: phases(gateway, "text-to-image") == dict.fromkeys([*Phase, "total"], 1.0))
        spans = spans_of(exporter)

    assert heard == [phase for phase in Phase if phase is not Phase.FIRST_STEP]
    wake, drawing = spans["wake"], spans["draw"]
    below = {spans[f"wake {phase}"].parent.span_id for phase in heard}  # type: ignore[union-attr]
    assert below == {wake.context.span_id}
    first_step = spans["wake first_step"]
    assert first_step.parent == wake.parent
    assert dict(first_step.attributes or {}) == {"bowerbird.stage": "text-to-image"}
    assert first_step.start_time < drawing.start_time < first_step.end_time <= drawing.end_time  # type: ignore[operator]


def test_the_first_step_of_a_drawing_is_heard_while_it_goes_on_and_later_ones_are_not_asked_for(
    pods: Pods, start: Callable[..., httpx2.Client], behind: Behind
) -> None:
    chain(pods, "text-to-image")
    gateway = start(**put_asleep(pods, "text-to-image"))
    until(gateway, {"safety": "ready", "text-to-image": "asleep", "curation": "ready"})
    held = waiting(pods, behind, gateway)
    draws = pods.start("text-to-image", told_steps=1, until_frames=threading.Event())
    becomes(lambda: phases(gateway, "text-to-image").get("first_step") == 1)
    assert not held.done()
    assert draws.behaviour.until_frames is not None
    draws.behaviour.until_frames.set()
    assert held.result().status_code == httpx2.codes.OK
    assert draw(gateway).status_code == httpx2.codes.OK
    assert [each.headers.get("bowerbird-progress") for each in draws.asked("/draw")] == [None, "none"]


def test_that_a_drawing_begins_is_no_step(pods: Pods, start: Callable[..., httpx2.Client], behind: Behind) -> None:
    chain(pods, "text-to-image")
    gateway = start(**put_asleep(pods, "text-to-image"))
    until(gateway, {"safety": "ready", "text-to-image": "asleep", "curation": "ready"})
    held = waiting(pods, behind, gateway)
    draws = pods.start("text-to-image", until_frames=threading.Event())
    becomes(lambda: bool(draws.asked("/draw")))
    time.sleep(0.1)
    assert "first_step" not in phases(gateway, "text-to-image")
    assert draws.behaviour.until_frames is not None
    draws.behaviour.until_frames.set()
    assert held.result().status_code == httpx2.codes.OK
    assert phases(gateway, "text-to-image")["first_step"] == 1, "a frame comes of steps"


def test_the_first_answer_of_a_service_without_steps_is_its_first_step_and_later_ones_are_not(
    pods: Pods, start: Callable[..., httpx2.Client], behind: Behind
) -> None:
    gateway = start(**put_asleep(pods, *SERVICES[:3]))
    until(gateway, dict.fromkeys(SERVICES[:3], "asleep"))
    held = [waiting(pods, behind, gateway) for _ in range(2)]
    chain(pods)
    assert [each.result().status_code for each in held] == [httpx2.codes.OK] * 2
    assert draw(gateway).status_code == httpx2.codes.OK
    assert [phases(gateway, service)["first_step"] for service in SERVICES[:3]] == [1, 1, 1]
