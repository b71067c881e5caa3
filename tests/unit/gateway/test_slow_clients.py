"""Clients that send or read a byte now and then: what they may take has an end, and others do not notice them."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bowerbird.gateway import slow_clients
from bowerbird.gateway.api import body
from bowerbird.gateway.main import SERVER_OPTIONS
from bowerbird.gateway.slow_clients import HeadWithBody

from .conftest import PROMPT
from .stand_ins import StandIns, served

LONG = 16_000_000
"""More than the buffers of a connection hold."""
HEAD = b"POST /v1/images/generations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


async def _long(_: Request) -> Response:
    return Response(b"x" * LONG)


async def _read(request: Request) -> Response:
    return Response(str(len(await request.body())))


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server as the gateway's process runs it."""
    app = Starlette(routes=[Route("/", _long), Route("/read", _read, methods=["POST"])])
    with served(app, http=SERVER_OPTIONS["http"]) as url:
        yield url


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow_clients, "HEAD_SECONDS", 0.3)
    monkeypatch.setattr(slow_clients, "LOOK_SECONDS", 0.3)
    monkeypatch.setattr(body, "PAUSE_SECONDS", 0.3)


def connected(url: str) -> socket.socket:
    where = urlsplit(url)
    connection = socket.create_connection((where.hostname or "", where.port or 0))
    connection.settimeout(60)
    return connection


def ended(connection: socket.socket) -> bool:
    """Whether the server ends the connection while nothing more is sent, and says nothing before."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "])
def test_a_head_that_does_not_come_is_not_waited_for(url: str, sent: bytes) -> None:
    with connected(url) as client:
        client.sendall(sent)
        assert ended(client)


def test_a_head_that_comes_a_byte_at_a_time_is_not_waited_for_either(url: str) -> None:
    with connected(url) as client:
        client.sendall(b"GET / HTTP/1.1\r\nX-Slow: ")
        sent = 0
        with suppress(OSError):  # broken pipe or reset, whichever is noticed first
            while sent < 500:
                sent += client.send(b"x")
                time.sleep(0.02)
    assert sent < 500


def test_after_an_answer_a_stray_line_break_does_not_hold_the_connection(url: str) -> None:
    with connected(url) as client:
        client.sendall(b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nok")
        assert client.recv(4096).endswith(b"2")
        client.sendall(b"\r\n")
        assert ended(client)


def test_requests_that_follow_each_other_on_one_connection_are_all_answered(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slow_clients, "HEAD_SECONDS", 0.6)
    with httpx2.Client(base_url=url) as client:
        for _ in range(6):  # together longer than one head may take
            assert client.post("/read", content=b"four").text == "4"
            time.sleep(0.15)


def test_an_answer_that_nobody_reads_is_given_up(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given_up: set[object] = set()
    lost = slow_clients.BoundedHttpProtocol.connection_lost

    def connection_lost(protocol: slow_clients.BoundedHttpProtocol, error: Exception | None) -> None:
        given_up.add(protocol.client)
        lost(protocol, error)

    monkeypatch.setattr(slow_clients.BoundedHttpProtocol, "connection_lost", connection_lost)
    with connected(url) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        while client.getsockname() not in given_up:
            time.sleep(0.02)
        received = 0
        with suppress(ConnectionResetError):
            while chunk := client.recv(1 << 20):
                received += len(chunk)
        assert received < LONG


def test_an_answer_that_is_read_slowly_but_steadily_arrives_whole(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow_clients, "LOOK_SECONDS", 0.8)  # the whole takes longer
    received = 0
    with httpx2.stream("GET", url, trust_env=False) as answer:
        for chunk in answer.iter_raw(LONG // 100):
            time.sleep(0.01)
            received += len(chunk)
    assert received == LONG


@pytest.mark.parametrize("begun", [b"", b'{"prompt": "a'])
def test_a_body_that_does_not_come_is_408(gateway: httpx2.Client, stages: StandIns, begun: bytes) -> None:
    with connected(str(gateway.base_url)) as client:
        client.sendall(HEAD + b"Content-Length: 100\r\n\r\n" + begun)
        answer = client.recv(65_536)

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"body_too_slow" in answer
    assert not stages.seen


def test_a_body_that_comes_in_pieces_but_steadily_is_read(
    gateway: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(body, "PAUSE_SECONDS", 10.0)
    text = f'{{"prompt": "{PROMPT}"}}'.encode()
    pieces = [text[at : at + 16] for at in range(0, len(text), 16)]

    def steadily() -> Iterator[bytes]:
        for piece in pieces:
            time.sleep(0.2 / len(pieces))
            yield piece

    answer = gateway.post("/v1/images/generations", content=steadily(), headers={"Content-Type": "application/json"})
    assert answer.status_code == 200


@pytest.mark.parametrize("length", [b"Content-Length: 100000000000\r\n", b"Transfer-Encoding: chunked\r\n"])
def test_a_body_that_is_too_large_is_refused_before_it_is_there(
    gateway: httpx2.Client, stages: StandIns, length: bytes
) -> None:
    with connected(str(gateway.base_url)) as client:
        client.sendall(HEAD + length + b"\r\n")
        if b"chunked" in length:
            client.sendall(b"".join(b"186a0\r\n" + b" " * 100_000 + b"\r\n" for _ in range(11)))  # and no end
        answer = client.recv(65_536)

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert not stages.seen


class Sent(asyncio.Transport):
    """Remembers what was sent in one go, and when it was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[bytes] = []

    def write(self, data: Any) -> None:
        self.pieces.append(bytes(data))

    def writelines(self, list_of_data: Any) -> None:
        self.pieces.append(b"".join(list_of_data))

    def close(self) -> None:
        self.pieces.append(b"closed")


ANSWER = b"HTTP/1.1 200 OK\r\n\r\n"


async def test_an_answers_head_leaves_with_what_follows_it() -> None:
    sent = Sent()
    transport = HeadWithBody(sent, asyncio.get_running_loop())
    transport.write(ANSWER)
    transport.write(b"small")
    transport.write(ANSWER)
    transport.write(large := bytes(100_000))
    assert sent.pieces == [ANSWER + b"small", ANSWER, large]


async def test_a_head_that_nothing_follows_leaves_by_itself_and_before_anything_else() -> None:
    sent = Sent()
    transport = HeadWithBody(sent, asyncio.get_running_loop())
    transport.write(ANSWER)
    await asyncio.sleep(0.001)
    assert sent.pieces == [ANSWER]
    transport.write(ANSWER)
    transport.writelines([b"an", b"other"])
    transport.write(ANSWER)
    transport.close()
    await asyncio.sleep(0.001)
    assert sent.pieces == [ANSWER, ANSWER, b"another", ANSWER, b"closed"]
