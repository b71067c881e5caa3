"""The routes, through an ASGI transport: streams in, streams out, and what is told of them."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import AsyncIterator, Callable, Iterator

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import REGISTRY
from starlette.applications import Starlette

from bowerbird import __version__
from bowerbird.contracts import (
    CurationDescription,
    JudgeRequest,
    OutputFormat,
    Picture,
    ProvenanceReport,
    PublishDone,
    PublishRequest,
)
from bowerbird.curation.certificates import SigningIdentity
from bowerbird.parts import END_OF_STREAM, Kind, part
from tests.unit.curation.streams import HEADERS, TRACE_ID, body, frames_of, judged, parts_of, tinted

Pixels = NDArray[np.uint8]
Make = Callable[..., PublishRequest]


@pytest.fixture
def spans(app: Starlette) -> Iterator[Callable[[], list[ReadableSpan]]]:
    provider = trace.get_tracer_provider()
    assert isinstance(provider, TracerProvider)
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield lambda: list(exporter.get_finished_spans())
    exporter.shutdown()


async def test_the_candidate_that_shows_the_prompt_is_chosen_for_each_image(
    client: httpx.AsyncClient, birds: list[Pixels]
) -> None:
    pictures = [tinted(bird, channel) for bird, channel in zip(birds, (0, 1, 1, 0), strict=True)]
    judgement = await judged(client, JudgeRequest(prompt="green", images=2, candidates=2), *pictures)
    assert [ranking.order[0] for ranking in judgement.rankings] == [1, 2]
    assert [ranking.image for ranking in judgement.rankings] == [0, 1]
    assert judgement.judge.startswith("colours@sha256:")


async def test_every_score_says_how_to_read_it(client: httpx.AsyncClient, birds: list[Pixels]) -> None:
    judgement = await judged(client, JudgeRequest(prompt="red", images=1, candidates=2), *birds[:2])
    for frame in judgement.frames:
        assert [score.name for score in frame.scores] == [
            "prompt_match", "contrast", "sharpness", "exposure", "banding_index"
        ]  # fmt: skip
        for score in frame.scores:
            assert score.minimum <= score.value <= score.maximum
            assert score.version
            assert score.direction in {"higher_is_better", "lower_is_better"}


async def test_a_blank_frame_loses_to_a_picture_that_matches_worse(
    client: httpx.AsyncClient, birds: list[Pixels]
) -> None:
    blank = np.zeros_like(birds[0])
    blank[..., 0] = 255
    judgement = await judged(client, JudgeRequest(prompt="red", images=1, candidates=2), blank, tinted(birds[0], 2))
    match = [frame.scores[0].value for frame in judgement.frames]
    assert match[0] > match[1]
    assert judgement.frames[0].rejected == ["blank"]
    assert judgement.rankings[0].order == [1, 0]


async def test_a_copy_of_an_earlier_choice_gives_way_to_another_picture(
    client: httpx.AsyncClient, birds: list[Pixels]
) -> None:
    best, worse = tinted(birds[0], 0), tinted(birds[1], 1)
    judgement = await judged(client, JudgeRequest(prompt="red", images=2, candidates=2), best, worse, best, worse)
    assert [frame.duplicate_of for frame in judgement.frames] == [None, None, 0, 1]
    assert [ranking.order for ranking in judgement.rankings] == [[0, 1], [3, 2]]


async def test_a_copy_is_still_chosen_when_there_is_nothing_else(
    client: httpx.AsyncClient, birds: list[Pixels]
) -> None:
    judgement = await judged(client, JudgeRequest(prompt="red", images=2, candidates=1), birds[0], birds[0])
    assert [ranking.order for ranking in judgement.rankings] == [[0], [1]]


async def test_a_frame_is_looked_at_before_the_next_one_arrives(app: Starlette, birds: list[Pixels]) -> None:
    """The second frame is sent only when the first one's score has been counted."""
    request = JudgeRequest(prompt="red", images=1, candidates=2)
    frames = frames_of(*birds[:2])

    def counted() -> float:
        return REGISTRY.get_sample_value("bowerbird_score_count", {"name": "sharpness"}) or 0.0

    async def chunks() -> AsyncIterator[bytes]:
        before = counted()
        yield part(Kind.REQUEST, request) + part(Kind.FRAMES, frames[0]) + part(Kind.FRAMES, frames[1])[:40]
        while counted() == before:  # noqa: ASYNC110 - a metric of another thread has no event to wait for
            await asyncio.sleep(0.005)
        yield part(Kind.FRAMES, frames[1])[40:] + END_OF_STREAM

    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://curation") as client, asyncio.timeout(60):
        response = await client.post("/judge", content=chunks(), headers=HEADERS)
    assert response.status_code == 200


@pytest.mark.parametrize("output_format", list(OutputFormat))
async def test_pictures_come_back_in_order_and_end_with_done(
    client: httpx.AsyncClient, birds: list[Pixels], publish_request: Make, output_format: OutputFormat
) -> None:
    request = publish_request(output_format, count=3)
    response = await client.post("/publish", content=body(request, *frames_of(*birds[:3])), headers=HEADERS)
    *pictures, done = await parts_of(response)
    assert [each.kind for each in pictures] == [Kind.PICTURE] * 3
    description = CurationDescription.model_validate_json((await client.get("/describe")).content)
    assert (done.kind, PublishDone.model_validate_json(done.body)) == (
        Kind.DONE,
        PublishDone(count=3, curation=description),
    )
    facts = [Picture.model_validate(each.facts) for each in pictures]
    assert [each.index for each in facts] == [0, 1, 2]
    for each in pictures:
        report = await client.post("/check_provenance", content=each.body)
        assert ProvenanceReport.model_validate_json(report.content).verdict == "made_here_intact"


async def test_what_it_chooses_by_and_signs_with_is_described(
    client: httpx.AsyncClient, birds: list[Pixels], identity: SigningIdentity
) -> None:
    description = CurationDescription.model_validate_json((await client.get("/describe")).content)
    judgement = await judged(client, JudgeRequest(prompt="red", images=1, candidates=1), birds[0])
    leaf = ssl.PEM_cert_to_DER_cert(identity.chain.decode().partition("-----END")[0] + "-----END CERTIFICATE-----")

    assert description.judge == judgement.judge
    assert description.certificate == f"sha256:{hashlib.sha256(leaf).hexdigest()}"
    assert description.version == __version__


async def test_judging_and_publishing_continue_the_callers_trace(
    client: httpx.AsyncClient,
    birds: list[Pixels],
    publish_request: Make,
    spans: Callable[[], list[ReadableSpan]],
) -> None:
    await judged(client, JudgeRequest(prompt="red", images=1, candidates=2), *birds[:2])
    request = publish_request(OutputFormat.PNG)
    await client.post("/publish", content=body(request, *frames_of(birds[0])), headers=HEADERS)
    ours = [span for span in spans() if span.name.startswith(("judge.", "publish."))]
    assert sorted(span.name for span in ours) == ["judge.score", "judge.score", "publish.encode", "publish.sign"]
    for span in ours:
        assert span.context is not None
        assert f"{span.context.trace_id:032x}" == TRACE_ID
    events = [event for span in ours for event in span.events]
    assert {event.name for event in events} == {"gen_ai.evaluation.result"}
    assert {event.attributes["gen_ai.evaluation.name"] for event in events if event.attributes} >= {"prompt_match"}
    assert not any("red" in str(span.to_json()) for span in ours)


async def test_time_to_publish_is_counted_by_phase_and_format(
    client: httpx.AsyncClient, birds: list[Pixels], publish_request: Make
) -> None:
    def count(phase: str) -> float:
        labels = {"phase": phase, "format": "webp"}
        return REGISTRY.get_sample_value("bowerbird_publish_seconds_count", labels) or 0.0

    phases = ("encode", "sign", "verify")
    before = [count(phase) for phase in phases]
    request = publish_request(OutputFormat.WEBP)
    await client.post("/publish", content=body(request, *frames_of(birds[0])), headers=HEADERS)
    assert [count(phase) for phase in phases] == [each + 1 for each in before]
