"""When the client asks again, and when it does not."""

from __future__ import annotations

import time

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bowerbird.client import AsyncClient, Client, ConnectionLost, GatewayUnreachable, jobs, models, pictures, webhooks
from bowerbird.client.calls import KEY_HEADER, Call
from bowerbird.client.retrying import LONGEST_REST_SECONDS, backoff_seconds, retry_after_seconds
from bowerbird.contracts import DEADLINE_HEADER
from bowerbird.errors import BowerbirdError, StageBroken, StageUnavailable, error_body

MODELS = httpx2.Response(200, json={"data": []})
LIST = models.list_models()
ENDPOINT = webhooks.create_webhook("a", "https://birds.example", ["batch.completed"])

Answer = httpx2.Response | type[httpx2.TransportError]


class Server:
    """Answers in turn, the last one again and again; remembers what it was asked, and when."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = list(answers)
        self.asked: list[httpx2.Request] = []
        self.at: list[float] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(request)
        self.at.append(time.monotonic())
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, httpx2.Response):
            return httpx2.Response(answer.status_code, headers=answer.headers, content=answer.content)
        raise answer("it broke", request=request)

    def client(self, **options: float) -> Client:
        """A client that speaks to nobody else."""
        return Client(transport=httpx2.MockTransport(self), **options)  # type: ignore[arg-type]


def refused(status: int, **headers: str) -> httpx2.Response:
    """A status of a server that is not ours, unless it is 503."""
    body = error_body(StageUnavailable("starting")) if status == 503 else {}
    return httpx2.Response(status, json=body, headers={each.replace("_", "-"): text for each, text in headers.items()})


@pytest.mark.parametrize("call", [LIST, ENDPOINT, pictures.draw("a robin", {}, 1)], ids=lambda call: call.path)
@pytest.mark.parametrize("first", [httpx2.ConnectError, httpx2.ConnectTimeout, refused(429)])
def test_what_was_certainly_not_done_is_asked_again(first: Answer, call: Call[object]) -> None:
    server = Server(first, httpx2.Response(400, json={}))
    with server.client() as client, pytest.raises(StageBroken):
        client.send(call)
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    "first", [httpx2.ReadError, httpx2.RemoteProtocolError, refused(502), refused(503), refused(504), refused(409)]
)
def test_what_may_have_been_done_is_asked_again_only_where_that_changes_nothing(first: Answer) -> None:
    server = Server(first, MODELS)
    with server.client() as client:
        assert client.models() == []
    assert len(server.asked) == 2

    server = Server(first)
    with server.client() as client, pytest.raises((ConnectionLost, StageBroken, StageUnavailable)):
        client.send(ENDPOINT)
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422, 500, 501])
def test_what_would_be_answered_the_same_is_not_asked_again(status: int) -> None:
    server = Server(refused(status))
    with server.client() as client, pytest.raises(StageBroken):
        client.models()
    assert len(server.asked) == 1


def test_the_servers_own_word_on_asking_again_wins() -> None:
    final = Server(refused(503, x_should_retry="false"))
    with final.client() as client, pytest.raises(StageUnavailable):
        client.models()
    assert len(final.asked) == 1

    wanted = Server(refused(500, x_should_retry="true"), MODELS)
    with wanted.client() as client:
        client.models()
    assert len(wanted.asked) == 2


@pytest.mark.parametrize("seconds", ["1", "Sun, 06 Nov 1994 08:49:37 GMT"])
def test_retry_after_is_waited_for(seconds: str) -> None:
    server = Server(refused(429, retry_after=seconds), MODELS)
    with server.client() as client:
        client.models()
    assert server.at[1] - server.at[0] >= (1.0 if seconds == "1" else 0.0)


async def test_the_async_client_waits_as_well() -> None:
    server = Server(refused(503, retry_after="1"), httpx2.ReadError, MODELS)
    async with AsyncClient(transport=httpx2.MockTransport(server)) as client:
        assert await client.models() == []
    assert len(server.asked) == 3
    assert server.at[1] - server.at[0] >= 1.0


def test_who_would_have_to_wait_longer_than_they_have_is_told_at_once() -> None:
    server = Server(refused(503, retry_after="30"))
    with server.client(timeout_seconds=20) as client, pytest.raises(StageUnavailable) as raised:
        client.models()
    assert raised.value.retry_after_seconds == 30
    assert len(server.asked) == 1


def test_a_client_without_retries_asks_once() -> None:
    server = Server(httpx2.ConnectError)
    with server.client(max_retries=0) as client, pytest.raises(GatewayUnreachable):
        client.models()
    assert len(server.asked) == 1


def test_each_attempt_says_how_much_time_is_left_and_keeps_its_key() -> None:
    server = Server(refused(429, retry_after="1"), httpx2.Response(400, json={}))
    with server.client(timeout_seconds=10) as client, pytest.raises(StageBroken):
        client.draw("a robin")
    first, second = server.asked
    assert int(second.headers[DEADLINE_HEADER]) <= int(first.headers[DEADLINE_HEADER]) - 1_000
    assert first.headers[KEY_HEADER] == second.headers[KEY_HEADER]
    assert first.content == second.content


def test_a_stream_that_never_says_anything_new_is_given_up() -> None:
    silent = httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=b": nothing\n\n")
    server = Server(silent)
    with server.client(max_retries=1) as client, pytest.raises(ConnectionLost):
        list(client.jobs.events("job_1"))
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("call", "listening"), [(True, jobs.job_events("job_1")), (False, pictures.stream("a robin", 1, {}))]
)
@pytest.mark.parametrize("data", ["", "{}", "[]", '{"type": "x"}', '{"type": "error", "error": {}}', "nonsense"])
def test_a_strangers_stream_is_said_to_be_broken(call: bool, listening: object, data: str) -> None:
    said = httpx2.Response(
        200, headers={"content-type": "text/event-stream"}, content=f"event: a\ndata: {data}\n\n".encode()
    )
    with Server(said).client(max_retries=0) as client, pytest.raises(BowerbirdError):
        list(client.listen(listening))  # type: ignore[arg-type]


@given(st.integers(1, 10_000))
def test_rests_are_bounded(failures: int) -> None:
    assert 0 < backoff_seconds(failures) <= LONGEST_REST_SECONDS


@given(st.text(max_size=40))
def test_whatever_retry_after_says_is_seconds_or_nothing(stated: str) -> None:
    seconds = retry_after_seconds({"retry-after": stated})
    assert seconds is None or seconds >= 0
