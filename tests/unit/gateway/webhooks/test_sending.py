"""A receiver may do what it likes: an attempt ends, in time, as a word, and leads nowhere it should not."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_network
from typing import Any

import pytest
from openai import OpenAI

from bowerbird.gateway.webhooks import sending
from bowerbird.gateway.webhooks.addresses import ReachableAddresses
from bowerbird.gateway.webhooks.events import Event, EventType, new_event_id
from bowerbird.gateway.webhooks.sending import Outcome, open_sender
from bowerbird.gateway.webhooks.signing import make_secret, secret_text

from .conftest import Receiver

LOOPBACK = ReachableAddresses([ip_network("127.0.0.0/8")])
SECRET = make_secret()

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def event() -> Event:
    return Event(new_event_id(), EventType.IMAGE_JOB_SUCCEEDED, "job_1", 1_795_262_400_000)


@asynccontextmanager
async def hostile(answer: Answer) -> AsyncIterator[str]:
    """A server that does what `answer` does with each connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            await answer(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    finally:
        server.close()


def leads_to(*addresses: str) -> Callable[..., list[tuple[Any, ...]]]:
    """A name service that knows these addresses, of every name."""

    def get_addresses(_: str, port: int, **__: object) -> list[tuple[Any, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in addresses]

    return get_addresses


async def sent(url: str, get_addresses: Callable[..., Any] = socket.getaddrinfo) -> sending.Attempt:
    async with open_sender(LOOPBACK, get_addresses) as sender:
        return await sender.send(url, event(), [SECRET])


async def test_a_receiver_gets_what_the_openai_client_believes(receiver: Receiver) -> None:
    attempt = await sent(f"{receiver.url}/hook")
    assert (attempt.outcome, attempt.status) == (Outcome.DELIVERED, 200)
    [heard] = receiver.heard
    unwrapped = OpenAI(api_key="unused").webhooks.unwrap(heard.body, heard.headers, secret=secret_text(SECRET))
    assert unwrapped.data.id == "job_1"  # type: ignore[union-attr]
    assert json.loads(heard.body)["object"] == "event"
    assert heard.headers["content-type"] == "application/json"
    assert heard.headers["user-agent"].startswith("Bowerbird/")
    assert not {"authorization", "cookie", "traceparent"} & heard.headers.keys()


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(204, "delivered"), (302, "redirected"), (307, "redirected"), (404, "error_status"), (503, "error_status")],
)
async def test_any_status_but_2xx_is_a_failure_and_a_redirect_is_not_followed(
    receiver: Receiver, status: int, outcome: str
) -> None:
    receiver.statuses, receiver.headers = [status], {"Location": f"{receiver.url}/elsewhere"}
    attempt = await sent(receiver.url)
    assert (attempt.outcome.value, attempt.status) == (outcome, status)
    assert len(receiver.heard) == 1


@pytest.mark.parametrize(
    ("stated", "seconds"),
    [("120", 120), ("999999", 3600), ("Fri, 31 Dec 2027 23:59:59 GMT", 0), ("-1", 0), ("9" * 50, 0)],
)
async def test_a_receiver_may_ask_for_a_rest(receiver: Receiver, stated: str, seconds: float) -> None:
    receiver.statuses, receiver.headers = [429], {"Retry-After": stated}
    assert (await sent(receiver.url)).retry_after_seconds == seconds


async def test_a_receiver_that_does_not_answer_is_left_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "ATTEMPT_SECONDS", 0.2)

    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nX: ")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.05)

    async with hostile(drip) as url:
        assert (await sent(url)).outcome is Outcome.TIMED_OUT


async def test_a_name_server_that_does_not_answer_is_left_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "ATTEMPT_SECONDS", 0.2)

    def hang(*_: object, **__: object) -> list[tuple[Any, ...]]:
        time.sleep(0.6)
        return []

    assert (await sent("http://birds.example/", hang)).outcome is Outcome.TIMED_OUT


async def test_of_an_endless_answer_nothing_but_the_status_is_waited_for() -> None:
    async def flood(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n")
        while not writer.is_closing():
            writer.write(b"x" * 65_536)
            await writer.drain()

    async with hostile(flood) as url:
        assert (await sent(url)).outcome is Outcome.DELIVERED


@pytest.mark.parametrize(
    "said", [b"SSH-2.0-OpenSSH_9.7\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n"]
)
async def test_what_is_not_http_is_a_broken_answer(said: bytes) -> None:
    async def say(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        await writer.drain()

    async with hostile(say) as url:
        assert (await sent(url)).outcome is Outcome.ANSWER_BROKEN


async def test_a_receiver_that_hangs_up_or_is_not_there_is_a_failed_connection() -> None:
    async def leave(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with hostile(leave) as url:
        assert (await sent(url)).outcome is Outcome.CONNECTION_FAILED
    assert (await sent(url)).outcome is Outcome.CONNECTION_FAILED


async def test_a_server_without_a_valid_certificate_is_told_nothing(receiver: Receiver) -> None:
    assert (await sent(receiver.url.replace("http://", "https://"))).outcome is Outcome.TLS_FAILED
    assert receiver.heard == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "127.1", "2130706433"])
async def test_without_leave_nothing_is_sent_to_this_machine(receiver: Receiver, host: str) -> None:
    async with open_sender(ReachableAddresses()) as sender:
        attempt = await sender.send(receiver.url.replace("127.0.0.1", host), event(), [SECRET])
    assert attempt.outcome in (Outcome.ADDRESS_REFUSED, Outcome.NAME_UNRESOLVED)
    assert receiver.heard == []


async def test_a_name_that_leads_elsewhere_the_second_time_is_looked_at_again(receiver: Receiver) -> None:
    answers = [leads_to("127.0.0.1"), leads_to("10.0.0.1")]
    url = receiver.url.replace("127.0.0.1", "rebinding.example")

    def get_addresses(host: str, port: int, **options: object) -> list[tuple[Any, ...]]:
        return answers.pop(0)(host, port, **options)

    async with open_sender(LOOPBACK, get_addresses) as sender:
        first, second = [await sender.send(url, event(), [SECRET]) for _ in range(2)]
    assert (first.outcome, second.outcome) == (Outcome.DELIVERED, Outcome.ADDRESS_REFUSED)


async def test_of_several_addresses_only_those_that_are_allowed_are_connected_to(receiver: Receiver) -> None:
    url = receiver.url.replace("127.0.0.1", "mixed.example")
    assert (await sent(url, leads_to("10.0.0.1", "127.0.0.1"))).outcome is Outcome.DELIVERED
    assert (await sent(url, leads_to("10.0.0.1", "192.168.0.1"))).outcome is Outcome.ADDRESS_REFUSED


async def test_no_proxy_of_the_environment_is_used(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert (await sent(receiver.url)).outcome is Outcome.DELIVERED
