"""A connection on which some requests are answered at once is a connection as any other."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from collections.abc import Iterator

import httpx2
import pytest

from bowerbird.gateway.hot.front import Front

from .conftest import KEYS, ORDINARY, UNSAMPLED, BothWays, at_once
from .test_both_ways import GENERATIONS, STATUS, STORED, finished_job, stored

BODY = json.dumps(STORED[0]).encode()


@pytest.fixture
def job(both_ways: httpx2.Client) -> str:
    """The path of a finished job."""
    return f"/v1/jobs/{finished_job(both_ways)}"


@pytest.fixture
def connection(both_ways: httpx2.Client) -> Iterator[socket.socket]:
    """To the gateway, which has given the picture of BODY before."""
    stored(both_ways, STORED[0])
    url = httpx2.URL(str(both_ways.base_url))
    with socket.create_connection((url.host, url.port), timeout=60) as opened:
        yield opened


def head(method: str, path: str, *lines: str, version: str = "1.1") -> bytes:
    usual = ("Host: h", f"Authorization: Bearer {KEYS[0]}", f"traceparent: {UNSAMPLED['traceparent']}")
    return "\r\n".join([f"{method} {path} HTTP/{version}", *usual, *lines, "", ""]).encode()


def picture(*lines: str) -> bytes:
    return head("POST", GENERATIONS, "Content-Type: application/json", f"Content-Length: {len(BODY)}", *lines)


def answers(connection: socket.socket, count: int) -> list[tuple[int, bytes]]:
    """Status and body of so many answers, in the order in which they come; all of them state a length."""
    buffer, told = b"", list[tuple[int, bytes]]()
    while len(told) < count:
        first, found, rest = buffer.partition(b"\r\n\r\n")
        length = int(first.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
        if found and len(rest) >= length:
            told.append((int(first.split()[1]), rest[:length]))
            buffer = rest[length:]
        else:
            more = connection.recv(1 << 20)
            assert more, "the connection ended early"
            buffer += more
    assert not buffer
    return told


def test_requests_that_are_sent_together_are_answered_in_their_order(
    both_ways: httpx2.Client, connection: socket.socket, job: str
) -> None:
    before = at_once(both_ways, STATUS)
    status, models = head("GET", job), head("GET", "/v1/models")
    connection.sendall(status + models + picture() + BODY + status + models + status)
    said = answers(connection, 6)
    assert [each[0] for each in said] == [200] * 6
    assert [sorted(json.loads(body))[:2] for _, body in said] == [
        ["attempts", "compute_units"],
        ["data", "object"],
        ["background", "bowerbird"],
        ["attempts", "compute_units"],
        ["data", "object"],
        ["attempts", "compute_units"],
    ]
    assert at_once(both_ways, STATUS) > before, "the first of them had nothing before it"


def test_after_an_answer_the_next_request_is_not_waited_for_as_if_it_had_begun(
    connection: socket.socket, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    awaited: list[tuple[BothWays, object]] = []

    def hear(protocol: BothWays) -> None:
        if protocol.client == connection.getsockname():
            awaited.append((protocol, protocol._head))

    monkeypatch.setattr(BothWays, "heard", staticmethod(hear))
    connection.sendall(picture() + BODY)
    answers(connection, 1)
    connection.sendall(head("GET", job))
    answers(connection, 1)
    connection.sendall(head("GET", "/livez"))
    answers(connection, 1)
    assert {head for _, head in awaited} == {None}
    protocol, _ = awaited[-1]
    while protocol.timeout_keep_alive_task is None:  # it ends some time, if nothing comes
        time.sleep(0.01)
    connection.sendall(b"\r\nGET /livez HTT")
    while awaited[-1][1] is None:
        time.sleep(0.01)
    connection.sendall(b"P/1.1\r\nHost: h\r\n\r\n")
    assert answers(connection, 1)[0][0] == 200


@pytest.mark.parametrize("lines", [("Connection: close",), ("Expect: 100-continue",)], ids=["close", "expect"])
def test_what_is_more_than_a_request_goes_the_ordinary_way(
    both_ways: httpx2.Client, connection: socket.socket, lines: tuple[str, ...]
) -> None:
    before = at_once(both_ways, GENERATIONS)
    connection.sendall(picture(*lines) + BODY)
    received = b""
    while b'"bowerbird"' not in received:
        received += connection.recv(1 << 20)
    assert b"HTTP/1.1 200" in received
    assert at_once(both_ways, GENERATIONS) == before


def test_http_1_0_is_answered_and_closed(connection: socket.socket, job: str) -> None:
    connection.sendall(head("GET", job, version="1.0"))
    received = b"".join(iter(lambda: connection.recv(65_536), b""))
    assert received.startswith(b"HTTP/1.1 200")


def test_a_bug_there_is_told_and_costs_nobody_an_answer(
    both_ways: httpx2.Client, job: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> bool:
        raise ArithmeticError

    monkeypatch.setattr(Front, "_status", broken)
    monkeypatch.setattr(logging.getLogger("bowerbird"), "propagate", True)
    assert both_ways.get(job).status_code == 200
    assert "could not be answered at once" in caplog.text


def test_what_was_being_read_when_the_gateway_stops_is_answered(
    connection: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = threading.Event()

    def stop(protocol: BothWays) -> None:
        if protocol._held is not None:
            protocol.shutdown()
            stopped.set()

    monkeypatch.setattr(BothWays, "heard", staticmethod(stop))
    connection.sendall(picture() + BODY[:9])
    assert stopped.wait(60)
    connection.sendall(BODY[9:])
    said = b"".join(iter(lambda: connection.recv(1 << 20), b""))
    assert said.startswith(b"HTTP/1.1 200")
    assert b"connection: close" in said.lower()


def test_a_request_goes_the_ordinary_way_where_a_test_says_so(both_ways: httpx2.Client, job: str) -> None:
    before = at_once(both_ways, STATUS)
    assert both_ways.get(job, headers={ORDINARY: "1"}).status_code == 200
    assert at_once(both_ways, STATUS) == before
