"""The gateway on a real socket, in front of stand-ins on another."""

from __future__ import annotations

import base64
import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.routing import compile_path

from bowerbird.gateway.api.openapi import document
from bowerbird.gateway.api.operations import OPERATIONS
from bowerbird.gateway.app import create_app
from bowerbird.settings import Settings

from .stand_ins import StandIns, served

StartGateway = Callable[..., httpx2.Client]
GatewayIn = Callable[..., AbstractContextManager[httpx2.Client]]

FAILED = 400
PROMPT = "an american robin perched on a branch in winter"


@pytest.fixture(scope="session")
def _stand_ins() -> Iterator[tuple[StandIns, str]]:
    stand_ins = StandIns()
    with served(stand_ins.app()) as url:
        yield stand_ins, url


@pytest.fixture(scope="session")
def _gateway(_stand_ins: tuple[StandIns, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    home = tmp_path_factory.mktemp("home")
    with (
        served(create_app(settings_for(_stand_ins[1], home))) as url,
        opened(url) as client,
    ):
        until_ready(client, "safety", "text-to-image", "curation")
        yield client


@pytest.fixture
def stages(_stand_ins: tuple[StandIns, str]) -> Iterator[StandIns]:
    """The stages, behaving until a test says otherwise, and again after it: the next file may ask for no fixture of
    this one's.
    """
    _stand_ins[0].reset()
    yield _stand_ins[0]
    _stand_ins[0].reset()


@pytest.fixture
def gateway(_gateway: httpx2.Client, stages: StandIns) -> httpx2.Client:
    """A client of a gateway with default settings, whose stages are ready (again, after a test that took them away)."""
    until_ready(_gateway, "safety", "text-to-image", "animation", "curation")
    return _gateway


@pytest.fixture
def start_gateway(
    _stand_ins: tuple[StandIns, str], stages: StandIns, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[StartGateway]:
    """Starts a gateway of one's own: `start_gateway(api_keys=…)`; waits for the stages named in `ready`."""
    with ExitStack() as running:

        def start(ready: tuple[str, ...] = ("safety", "text-to-image", "curation"), **changes: object) -> httpx2.Client:
            url = running.enter_context(
                served(create_app(settings_for(_stand_ins[1], tmp_path_factory.mktemp("home"), **changes)))
            )
            client = running.enter_context(opened(url))
            until_ready(client, *ready)
            return client

        yield start


@pytest.fixture
def gateway_in(_stand_ins: tuple[StandIns, str], stages: StandIns) -> GatewayIn:
    """A gateway whose state lies in a given folder: `with gateway_in(home) as client`, again and again."""

    @contextmanager
    def started(home: Path, **changes: object) -> Iterator[httpx2.Client]:
        with (
            served(create_app(settings_for(_stand_ins[1], home, **changes))) as url,
            opened(url) as client,
        ):
            until_ready(client, "safety", "text-to-image", "curation")
            yield client

    return started


def opened(url: str) -> httpx2.Client:
    """A client that sees to it that whatever is answered is documented, errors by their code."""
    return httpx2.Client(base_url=url, timeout=60, event_hooks={"response": [_is_documented]})


def _is_documented(answer: httpx2.Response) -> None:
    for operation in OPERATIONS:
        path, _, _ = compile_path(operation.path)
        if operation.method == answer.request.method and path.match(answer.request.url.path):
            documented = document()["paths"][operation.documented_path][operation.method.lower()]["responses"]
            status = str(answer.status_code)
            assert status in documented, (operation.path, status)
            if answer.status_code >= FAILED:
                code = json.loads(answer.read())["error"]["code"]
                assert code in documented[status]["content"]["application/json"]["examples"], (operation.path, code)
            return


def settings_for(stages_url: str, home: Path, **changes: object) -> Settings:
    """Settings whose stages are the stand-ins, looked at often."""
    settings = Settings(
        home=home,
        safety_url=f"{stages_url}/safety",
        text_to_image_url=f"{stages_url}/text-to-image",
        animation_url=f"{stages_url}/animation",
        curation_url=f"{stages_url}/curation/",
        stage_poll_seconds=0.1,
        request_timeout_seconds=20,
        queue_timeout_seconds=10,
        result_bytes=0,  # a test that repeats a seed wants it drawn; results/ has tests of what is kept
    )
    return settings.model_copy(update=changes)


def closed_url() -> str:
    """An address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


def until(true: Callable[[], bool]) -> None:
    for _ in range(6000):
        if true():
            return
        time.sleep(0.01)
    raise AssertionError("it never became true")


def until_ready(client: httpx2.Client, *stages: str) -> None:
    """Waits until the gateway has seen these stages ready."""
    for _ in range(3000):
        states = {each["name"]: each["state"] for each in client.get("/readyz").json()["stages"]}
        if all(states[stage] == "ready" for stage in stages):
            return
        time.sleep(0.02)
    raise AssertionError(f"the stages did not get ready: {states}")


def draw(gateway: httpx2.Client, headers: dict[str, str] | None = None, **fields: Any) -> httpx2.Response:
    return gateway.post("/v1/images/generations", json={"prompt": PROMPT, **fields}, headers=headers)


def pictures(answer: httpx2.Response) -> list[bytes]:
    return [base64.b64decode(each["b64_json"]) for each in answer.json()["data"]]
