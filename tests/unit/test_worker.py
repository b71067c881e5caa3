"""The shell that every model service shares, through an ASGI transport."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bowerbird import __version__
from bowerbird.animation.service import app as animation
from bowerbird.contracts import DrawProgress, PromptCheck
from bowerbird.errors import StageUnavailable
from bowerbird.parts import CONTENT_TYPE, Kind, part, read_parts
from bowerbird.worker import PartsResponse, create_worker_app, read_json

SECRET = "a prompt nobody may read"


async def echo(request: Request) -> Response:
    check = await read_json(request, PromptCheck, max_bytes=4000)
    return JSONResponse({"characters": len(check.prompt)})


async def break_down(_: Request) -> Response:
    raise ZeroDivisionError(SECRET)


async def sleep(_: Request) -> Response:
    raise StageUnavailable("Still loading.", retry_after_seconds=7)


async def stream(request: Request) -> Response:
    async def parts() -> AsyncIterator[bytes]:
        yield part(Kind.PROGRESS, DrawProgress(step=1, steps=2, finished=0, count=1))
        if request.query_params["fails"] == "foreseen":
            raise StageUnavailable("Out of memory.")
        raise ZeroDivisionError(SECRET)

    return PartsResponse(parts())


def client(app: httpx.ASGITransport | None = None) -> httpx.AsyncClient:
    worker = create_worker_app(
        "test",
        [
            Route("/echo", echo, methods=["POST"]),
            Route("/break", break_down),
            Route("/sleep", sleep),
            Route("/stream", stream),
        ],
    )
    transport = app or httpx.ASGITransport(worker, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://worker")


@pytest.mark.parametrize(
    ("body", "status", "code", "param"),
    [
        (b"", 400, "invalid_value", None),
        (b"{", 400, "invalid_value", None),
        (b"[]", 400, "invalid_value", None),
        (b"{}", 400, "invalid_value", "prompt"),
        (b'{"prompt": ""}', 400, "invalid_value", "prompt"),
        (b'{"prompt": 7}', 400, "invalid_value", "prompt"),
        (b'{"prompt": "x", "colour": 1}', 400, "invalid_value", "colour"),
        (b'{"prompt": "' + b"x" * 5000 + b'"}', 413, "body_too_large", None),
    ],
)
async def test_a_bad_body_names_the_field(body: bytes, status: int, code: str, param: str | None) -> None:
    async with client() as http:
        answer = await http.post("/echo", content=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (status, code, param)


async def test_an_unforeseen_error_tells_nobody_what_was_asked(capfd: pytest.CaptureFixture[str]) -> None:
    async with client() as http:
        answer = await http.get("/break")
    assert answer.status_code == 500
    assert SECRET not in answer.text
    assert SECRET not in capfd.readouterr().err
    assert answer.json()["error"]["code"] == "internal_error"


async def test_asking_again_is_told_when() -> None:
    async with client() as http:
        answer = await http.get("/sleep")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "7")


async def test_every_answer_says_who_gave_it() -> None:
    async with client() as http:
        answers = [await http.get("/sleep"), await http.get("/break"), await http.get("/nowhere")]
    assert {answer.headers["bowerbird-service"] for answer in answers} == {f"test/{__version__}"}


@pytest.mark.parametrize(
    ("path", "method", "code"), [("/nowhere", "GET", "unknown_url"), ("/echo", "GET", "method_not_supported")]
)
async def test_a_wrong_path_or_method_answers_in_the_same_shape(path: str, method: str, code: str) -> None:
    async with client() as http:
        answer = await http.request(method, path)
    assert answer.json()["error"]["code"] == code


@pytest.mark.parametrize(("fails", "code"), [("foreseen", "stage_unavailable"), ("unforeseen", "internal_error")])
async def test_an_error_after_the_first_byte_is_the_streams_last_part(fails: str, code: str) -> None:
    async with client() as http:
        answer = await http.get("/stream", params={"fails": fails})
    assert answer.headers["content-type"] == CONTENT_TYPE

    async def body() -> AsyncIterator[bytes]:
        yield answer.content

    parts = [each async for each in read_parts(body())]
    assert [each.kind for each in parts] == [Kind.PROGRESS, Kind.ERROR]
    assert f'"{code}"'.encode() in parts[-1].body
    assert SECRET.encode() not in answer.content


@pytest.mark.parametrize(("path", "method"), [("/animate", "POST"), ("/describe", "GET")])
async def test_animation_without_a_model_that_moves_says_so(path: str, method: str) -> None:
    async with client(httpx.ASGITransport(animation)) as http:
        answer = await http.request(method, path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (501, "not_implemented")
