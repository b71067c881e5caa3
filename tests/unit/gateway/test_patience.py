"""OpenAI's unmodified client asks again where that helps, when it is told to, and not where it is in vain."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import httpx2
import openai
import pytest
from starlette.responses import Response

from bowerbird.errors import BowerbirdError, StageUnavailable

from .conftest import PROMPT
from .jobs.submitting import ended, submit
from .stand_ins import StandIns


@pytest.fixture
def sent() -> list[httpx2.Request]:
    """Every request that the client sends."""
    return []


@pytest.fixture
def client(gateway: httpx2.Client, sent: list[httpx2.Request]) -> Iterator[openai.OpenAI]:
    """With two retries, as they come."""
    url = f"{str(gateway.base_url).rstrip('/')}/v1"
    watched = openai.DefaultHttpxClient(event_hooks={"request": [sent.append]})
    with openai.OpenAI(base_url=url, api_key="any", http_client=watched) as opened:
        yield opened


def first_unavailable(stages: StandIns, retry_after_seconds: int) -> None:
    """Has safety say, when it is first asked, that it cannot decide now."""

    def answer() -> Response | BowerbirdError:
        del stages.behaviour.answers["/check_prompt"]
        return StageUnavailable("starting", retry_after_seconds=retry_after_seconds)

    stages.behaviour.answers["/check_prompt"] = answer


def test_what_may_soon_be_otherwise_is_asked_again(
    client: openai.OpenAI, sent: list[httpx2.Request], stages: StandIns
) -> None:
    first_unavailable(stages, retry_after_seconds=1)

    assert client.images.generate(prompt=PROMPT).data
    assert [each.headers["x-stainless-retry-count"] for each in sent] == ["0", "1"]


def test_after_more_than_two_minutes_it_is_not_asked_again(
    client: openai.OpenAI, sent: list[httpx2.Request], stages: StandIns
) -> None:
    first_unavailable(stages, retry_after_seconds=121)

    with pytest.raises(openai.InternalServerError):
        client.images.generate(prompt=PROMPT)
    assert len(sent) == 1


def test_a_result_that_is_not_there_yet_is_asked_for_again(
    client: openai.OpenAI, gateway: httpx2.Client, sent: list[httpx2.Request], stages: StandIns
) -> None:
    stages.behaviour.seconds_per_step = 0.05
    job_id = submit(gateway, steps=20)
    answer = client.get(f"/jobs/{job_id}/result", cast_to=httpx2.Response)

    assert answer.status_code == 200
    assert len(sent) == 2


Ask = Callable[[openai.OpenAI, str], object]


@pytest.mark.parametrize(
    "ask",
    [
        lambda client, job: client.delete(f"/jobs/{job}", cast_to=object),
        lambda client, job: client.get(f"/jobs/{job}/result", cast_to=object),
    ],
    ids=["cancelling what has ended", "the result of what was cancelled"],
)
def test_a_conflict_that_will_not_change_is_told_once(
    client: openai.OpenAI, gateway: httpx2.Client, sent: list[httpx2.Request], stages: StandIns, ask: Ask
) -> None:
    stages.behaviour.seconds_per_step = 0.1
    job_id = submit(gateway, steps=20)
    gateway.delete(f"/v1/jobs/{job_id}")
    ended(gateway, job_id)

    with pytest.raises(openai.ConflictError) as conflict:
        ask(client, job_id)
    assert conflict.value.code in ("job_finished", "job_cancelled")
    assert len(sent) == 1
