"""The Python client at a real gateway whose line breaks, whose process ends, and which has it wait."""

from __future__ import annotations

import asyncio
import io
import logging
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx2
import pytest

from bowerbird.client import AsyncClient, Client, Drawing, JobEvent, Preview, batches
from bowerbird.client import pictures as subject
from bowerbird.contracts import Action
from bowerbird.errors import DeadlineExceeded, FileUnknown, JobCancelled, PromptRefused

from ...relay import Relay, port_of, relay_to
from .conftest import PROMPT, GatewayIn, draw, pictures
from .stand_ins import StandIns, decision

SLOW = 0.03
"""Seconds a step: a drawing of 20 takes a while."""


@pytest.fixture
def line(gateway: httpx2.Client) -> Iterator[Relay]:
    """A line to the gateway that can be broken."""
    with relay_to(str(gateway.base_url)) as relay:
        yield relay


def jobs(gateway: httpx2.Client) -> list[dict[str, object]]:
    """All of the tenant's, newest first."""
    listed: list[dict[str, object]] = gateway.get("/v1/jobs", params={"limit": 100}).json()["data"]
    return listed


def phases(events: list[JobEvent]) -> list[str | None]:
    return [each.phase for each in events if each.kind == "phase"]


def test_what_takes_long_becomes_a_job_and_the_same_pictures(gateway: httpx2.Client, stages: StandIns) -> None:
    expected = pictures(draw(gateway, seed=5, n=2))
    stages.behaviour.seconds_per_step = SLOW
    before = len(jobs(gateway))
    with Client(str(gateway.base_url)) as client:
        drawn = client.draw(PROMPT, seed=5, n=2, wait_seconds=0)

    assert [each.image for each in drawn] == expected
    assert len(jobs(gateway)) == before + 1


async def test_the_async_client_follows_a_job_as_well(gateway: httpx2.Client, stages: StandIns) -> None:
    expected = pictures(draw(gateway, seed=6))
    stages.behaviour.seconds_per_step = SLOW
    heard: list[JobEvent] = []
    async with AsyncClient(str(gateway.base_url)) as client:
        [drawing] = await client.draw(PROMPT, seed=6, on_progress=heard.append)

    assert [drawing.image] == expected
    assert "draw" in phases(heard)
    assert heard[-1].kind == "succeeded"


def test_events_go_on_where_the_line_broke_and_none_is_told_twice(
    gateway: httpx2.Client, stages: StandIns, line: Relay
) -> None:
    stages.behaviour.seconds_per_step = SLOW
    line.break_at(b"event: queued\n", b"id: 2\n", b'"phase": "draw"')
    heard: list[JobEvent] = []
    with Client(line.url) as client:
        client.draw(PROMPT, on_progress=heard.append)
    job_id = str(jobs(gateway)[0]["id"])
    with Client(str(gateway.base_url)) as client:
        whole = [each for each in client.jobs.events(job_id) if each.kind != "heartbeat"]

    assert line.breaks == 3
    assert [each for each in heard if each.kind != "heartbeat"] == whole


async def test_events_go_on_for_the_async_client_too(gateway: httpx2.Client, stages: StandIns, line: Relay) -> None:
    stages.behaviour.seconds_per_step = SLOW
    line.break_at(b"id: 2\n")
    heard: list[JobEvent] = []
    async with AsyncClient(line.url) as client:
        await client.draw(PROMPT, on_progress=heard.append)

    assert line.breaks == 1
    assert [each.kind for each in heard].count("running") == 1
    assert heard[-1].kind == "succeeded"


def test_an_answer_that_breaks_off_is_asked_for_again_and_drawn_once(gateway: httpx2.Client, line: Relay) -> None:
    before = len(jobs(gateway))
    line.break_at(b"HTTP/1.1 200", b'"b64_json"')
    with Client(line.url) as client:
        [drawing] = client.draw(PROMPT, seed=8)

    assert line.breaks == 2
    assert [drawing.image] == pictures(draw(gateway, seed=8))
    assert len(jobs(gateway)) == before + 1


def test_a_stream_that_breaks_off_goes_on_after_the_last_preview(
    gateway: httpx2.Client, stages: StandIns, line: Relay
) -> None:
    stages.behaviour.seconds_per_step = SLOW
    with Client(str(gateway.base_url)) as client:
        whole = list(client.stream(PROMPT, seed=9, partial_images=3))
    line.break_at(b'"partial_image_index":1', b"image_generation.completed")
    with Client(line.url) as client:
        broken = list(client.stream(PROMPT, seed=9, partial_images=3))

    assert line.breaks == 2
    assert [each.image for each in broken] == [each.image for each in whole]
    assert [type(each) for each in broken] == [Preview, Preview, Preview, Drawing]


async def test_a_stream_without_a_seed_is_one_picture_all_the_same(
    gateway: httpx2.Client, stages: StandIns, line: Relay
) -> None:
    stages.behaviour.seconds_per_step = SLOW
    line.break_at(b'"partial_image_index":1')
    async with AsyncClient(line.url) as client:
        told = [each async for each in client.stream(PROMPT, partial_images=2)]

    assert [type(each) for each in told] == [Preview, Preview, Drawing]
    [first, second] = [each.asked.seed for each in stages.asked("/draw")]
    assert first == second


def test_a_refused_stream_is_the_refusal(gateway: httpx2.Client, stages: StandIns) -> None:
    stages.behaviour.decide = lambda check: decision(check, Action.BLOCK)
    with Client(str(gateway.base_url)) as client, pytest.raises(PromptRefused):
        list(client.stream(PROMPT))


def test_a_gateway_that_is_started_again_in_between_is_not_noticed(
    gateway_in: GatewayIn, stages: StandIns, tmp_path: Path
) -> None:
    stages.behaviour.seconds_per_step = SLOW
    drawing = threading.Event()
    drawn: list[Drawing] = []

    def ask(url: str) -> None:
        with Client(url, max_retries=20) as client:
            drawn.extend(client.draw(PROMPT, seed=3, on_progress=lambda event: drawing.set()))

    with ExitStack() as running:
        first = running.enter_context(gateway_in(tmp_path))
        with relay_to(str(first.base_url)) as relay:
            asking = threading.Thread(target=ask, args=(relay.url,))
            asking.start()
            assert drawing.wait(30)
            relay.target = relay.nobody
            relay.break_all()
            running.close()
            with gateway_in(tmp_path) as second:
                relay.target = port_of(str(second.base_url))
                asking.join(60)
                assert [each.image for each in drawn] == pictures(draw(second, seed=3))
                assert len(jobs(second)) == 1


def test_who_gives_up_cancels_the_job(gateway: httpx2.Client, stages: StandIns) -> None:
    stages.behaviour.seconds_per_step = 5.0

    def interrupt(_: JobEvent) -> None:
        raise KeyboardInterrupt

    with Client(str(gateway.base_url)) as client:
        with pytest.raises(KeyboardInterrupt):
            client.draw(PROMPT, on_progress=interrupt)
        [job, *_] = client.jobs.list(limit=1).items
        with pytest.raises(JobCancelled):
            client.jobs.result(job.id)
    assert job.status == "cancelled"


async def test_a_cancelled_task_cancels_the_job_that_it_does_not_know_yet(
    gateway: httpx2.Client, stages: StandIns
) -> None:
    stages.behaviour.seconds_per_step = 5.0
    async with AsyncClient(str(gateway.base_url)) as client:
        drawing = asyncio.create_task(client.draw(PROMPT))
        async with asyncio.timeout(60):
            while not stages.asked("/draw"):  # noqa: ASYNC110 - the stand-in is in another thread
                await asyncio.sleep(0.02)
        drawing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await drawing
        [job, *_] = (await client.jobs.list(limit=1)).items
    assert job.status == "cancelled"


def test_time_that_is_over_cancels_the_job(gateway: httpx2.Client, stages: StandIns) -> None:
    stages.behaviour.seconds_per_step = 5.0
    with Client(str(gateway.base_url), timeout_seconds=1.0) as client:
        with pytest.raises(DeadlineExceeded):
            client.draw(PROMPT)
        [job, *_] = client.jobs.list(limit=1).items
    assert job.status == "cancelled"


def test_an_edit_goes_as_a_form_and_comes_back_as_pictures(gateway: httpx2.Client, stages: StandIns) -> None:
    with Client(str(gateway.base_url)) as client:
        [drawing] = client.edit(("a.png", b"a picture"), PROMPT, strength=0.5, seed=4, steps=10)

    assert drawing.seed == 4
    [asked] = [each.asked for each in stages.asked("/draw")]
    assert (asked.beginning.strength, asked.steps, asked.seed) == (0.5, 10, 4)


async def test_an_edit_that_takes_long_is_followed_as_a_job(gateway: httpx2.Client, stages: StandIns) -> None:
    stages.behaviour.seconds_per_step = SLOW
    heard: list[JobEvent] = []
    image, mask = ("a.png", io.BytesIO(b"a picture")), ("b.png", io.BytesIO(b"a mask"))
    async with AsyncClient(str(gateway.base_url)) as client:
        told = await client.edit(image, PROMPT, mask=mask, seed=4, on_progress=heard.append)
        waited = await client.edit(image, PROMPT, mask=mask, seed=4, wait_seconds=0)
    assert [each.image for each in told] == [each.image for each in waited]
    assert {"open", "check_original", "draw"} <= set(phases(heard))


def test_an_edit_is_sent_once_more_under_its_key_when_the_answer_is_lost(
    gateway: httpx2.Client, line: Relay, stages: StandIns
) -> None:
    line.break_at(b"HTTP/1.1 200")
    with Client(line.url) as client:
        [drawing] = client.edit(("a.png", io.BytesIO(b"a picture")), PROMPT)
    assert line.breaks == 1
    assert [each.asked.seed for each in stages.asked("/draw")] == [drawing.seed]


def test_who_gives_up_an_edit_cancels_its_job(gateway: httpx2.Client, stages: StandIns) -> None:
    stages.behaviour.seconds_per_step = 5.0

    def interrupt(_: JobEvent) -> None:
        raise KeyboardInterrupt

    with Client(str(gateway.base_url)) as client:
        with pytest.raises(KeyboardInterrupt):
            client.edit(("a.png", b"a picture"), PROMPT, on_progress=interrupt)
        [job, *_] = client.jobs.list(limit=1).items
    assert job.status == "cancelled"


def test_the_rooms_of_the_api_answer(gateway: httpx2.Client) -> None:
    with Client(str(gateway.base_url)) as client:
        [drawing] = client.draw(PROMPT, wait_seconds=60)
        given = client.feedback.give(drawing.answer.request_id, "stars", {"stars": 5, "image": 0})
        assert given.reward == 1.0
        assert [each.id for each in client.feedback.list(limit=1).items] == [given.id]
        assert client.moderate("a robin").results[0].flagged is False
        assert client.usage().data[0].pictures >= 1
        assert client.model("fledgling").id == "fledgling"
        assert [each.id for each in client.loras()] == ["watercolour"]
        first = client.jobs.list(limit=1)
        second = client.jobs.list(limit=1, after=first.next_cursor)
        assert {each.id for each in first.items}.isdisjoint(each.id for each in second.items)


def test_a_file_is_sent_from_where_it_lies_and_fetched_to_where_it_shall_lie(
    gateway: httpx2.Client, line: Relay, tmp_path: Path
) -> None:
    lines = tmp_path / "lines.jsonl"
    lines.write_text(
        '{"custom_id": "1", "method": "POST", "url": "/v1/moderations", "body": {"input": "a robin"}}\n' * 9
    )
    with Client(line.url) as client, lines.open("rb") as opened:
        line.break_at(b"HTTP/1.1 200", b'"custom_id": "1"')
        stored = client.files.upload((lines.name, opened))
        length = client.download(batches.file_content(stored.id), tmp_path / "again.jsonl")
        assert [each.id for each in client.files.list().items] == [stored.id]
        client.files.delete(stored.id)

    assert line.breaks == 2
    assert length == stored.bytes == lines.stat().st_size
    assert (tmp_path / "again.jsonl").read_bytes() == lines.read_bytes()
    assert not list(tmp_path.glob("*.part"))


def test_a_download_that_is_refused_leaves_no_file(gateway: httpx2.Client, tmp_path: Path) -> None:
    async def download() -> None:
        async with AsyncClient(str(gateway.base_url)) as client:
            await client.download(batches.file_content("file-0123456789abcdef01234567"), tmp_path / "a")

    with pytest.raises(FileUnknown):
        asyncio.run(download())
    assert not list(tmp_path.iterdir())


def test_a_prompt_is_in_no_log_line_and_in_no_repr(
    gateway: httpx2.Client, line: Relay, caplog: pytest.LogCaptureFixture
) -> None:
    line.break_at(b"HTTP/1.1 200")
    with caplog.at_level(logging.DEBUG), Client(line.url) as client:
        client.draw(PROMPT, negative_prompt="blur")
        list(client.stream(PROMPT))
    call = subject.draw(PROMPT, {"negative_prompt": "blur"}, 1)
    listening = subject.stream(PROMPT, 1, {})

    ours = ("bowerbird.client", "httpx2", "httpcore2", "tenacity")
    logged = [record.getMessage() for record in caplog.records if record.name.startswith(ours)]
    assert logged
    for text in ("\n".join(logged), repr(call), repr(listening), repr(call.read)):
        assert PROMPT not in text
        assert "blur" not in text
