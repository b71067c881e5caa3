"""Requests that want more than an answer: another header, another path, a parser's stack, all of the memory."""

from __future__ import annotations

import gzip
import json
import socket
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import psutil
import pytest

from bowerbird.gateway.api.openapi import document
from bowerbird.gateway.app import create_app
from bowerbird.gateway.main import SERVER_OPTIONS

from .conftest import PROMPT, closed_url, settings_for
from .stand_ins import StandIns, served

GENERATIONS = "/v1/images/generations"
INJECTED = "X-Injected"
BODY = json.dumps({"prompt": PROMPT}).encode()
PATHS = sorted(path for path, methods in document()["paths"].items() if "{" in path and "get" in methods)


def said(gateway: httpx2.Client, raw: bytes) -> bytes:
    """Everything that is answered to bytes that no client would send."""
    address = urlsplit(str(gateway.base_url))
    with socket.create_connection((address.hostname, address.port or 80), timeout=60) as connection:
        connection.sendall(raw)
        answer = b""
        while piece := connection.recv(65_536):
            answer += piece
    return answer


def head_of(answer: bytes) -> str:
    return answer.partition(b"\r\n\r\n")[0].decode("latin-1").lower()


@pytest.mark.parametrize(
    "line",
    [
        b"Idempotency-Key: a\rX-Injected: 1",
        b"Idempotency-Key: a\nX-Injected: 1",
        b"Idempotency-Key: a\r\n X-Injected: 1",
        b"Idempotency-Key: a\x00b",
        b"Prefer: respond-async\x0b, wait=1\x00",
        b"Accept-Language: de\x00",
        b"traceparent: 00-\xff\xff-1-01",
        b'If-None-Match: "a"\x7f',
        b"Bowerbird-Request-Id: req_1\x1b[31m",
        b"x-request-id: req_mine",
    ],
)
def test_no_header_of_a_request_becomes_one_of_the_answer(gateway: httpx2.Client, line: bytes) -> None:
    head = b"POST /v1/images/generations HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    head += b"Content-Type: application/json\r\n"
    answer = said(gateway, head + b"Content-Length: %d\r\n%s\r\n\r\n" % (len(BODY), line) + BODY)

    assert answer.startswith(b"HTTP/1.1 "), answer[:80]
    assert int(answer[9:12]) in (200, 400)
    assert INJECTED.lower() not in head_of(answer)
    assert "req_mine" not in head_of(answer)
    assert "\x1b" not in head_of(answer)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "name", ["%0d%0aX-Injected:%201", "a%00b", "%e2%80%a8", "%ff", "..%2f..%2fetc%2fpasswd", "%2e%2e"]
)
def test_nothing_that_a_path_names_is_anything_but_a_name(gateway: httpx2.Client, path: str, name: str) -> None:
    asked = "/".join(name if step.startswith("{") else step for step in path.split("/"))
    answer = said(gateway, f"GET {asked} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())

    assert int(answer[9:12]) in (200, 400, 404), answer[:300]  # 200: nothing was used by a tenant of no name
    assert INJECTED.lower() not in head_of(answer)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models/../admin/tenants",
        "/v1/models/%2e%2e/admin/tenants",
        "/docs/../../etc/passwd",
        "//v1/usage",
        "/v1//usage",
    ],
)
def test_no_way_around_leads_to_another_path(gateway: httpx2.Client, path: str) -> None:
    answer = said(gateway, f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    assert int(answer[9:12]) == 404, answer[:300]


@pytest.mark.parametrize(
    "body",
    [b"[" * 400_000, b'{"a":' * 150_000, b'{"prompt": ' + b"[" * 300_000, b'{"lora": [' + b'{"id": [' * 100_000],
    ids=["lists", "objects", "in a field", "in a list"],
)
def test_json_in_json_in_json_is_refused(gateway: httpx2.Client, stages: StandIns, body: bytes) -> None:
    answer = gateway.post(GENERATIONS, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert not stages.seen


def test_what_is_packed_is_not_unpacked(gateway: httpx2.Client, stages: StandIns) -> None:
    """Some hundred kilobytes that would be a hundred megabytes of JSON."""
    bomb = gzip.compress(BODY + b" " * 100_000_000)
    before = psutil.Process().memory_info().rss
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    answer = gateway.post(GENERATIONS, content=bomb, headers=headers)

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "Content-Encoding")
    assert not stages.seen
    assert psutil.Process().memory_info().rss - before < 64_000_000


def test_a_form_in_a_form_is_bytes(gateway: httpx2.Client, stages: StandIns) -> None:
    inner = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\nx\r\n--b--\r\n'
    for _ in range(50):
        inner = b"--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" + inner + b"\r\n--b--\r\n"
    answer = gateway.post(
        "/v1/images/edits", content=inner, headers={"Content-Type": "multipart/form-data; boundary=b"}
    )
    assert answer.status_code == 400
    assert not stages.seen


@pytest.mark.parametrize(
    "lines", [b"Content-Length: 3\r\nContent-Length: 30", b"Content-Length: 3\r\nTransfer-Encoding: chunked"]
)
def test_a_body_that_two_readers_would_cut_differently_is_none(tmp_path: Path, lines: bytes) -> None:
    """Request smuggling; the server is the one of the gateway's process."""
    hidden = b"0\r\n\r\nGET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
    asked = b"POST /v1/moderations HTTP/1.1\r\nHost: localhost\r\n" + lines + b"\r\n\r\n" + hidden
    app = create_app(settings_for(closed_url(), tmp_path))
    with served(app, http=SERVER_OPTIONS["http"]) as url, httpx2.Client(base_url=url) as gateway:
        answer = said(gateway, asked)
    assert answer.count(b"HTTP/1.1 ") <= 1, answer[:300]
    assert answer[9:10] in (b"", b"4"), answer[:300]
