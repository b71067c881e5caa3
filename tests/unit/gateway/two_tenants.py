"""A gateway of two tenants, OpenAI's unmodified client of it, and forms to upload: for tests of files and batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx2
import openai
import pytest

from bowerbird.gateway.app import create_app

from .conftest import opened, settings_for, until_ready
from .stand_ins import StandIns, served

MINE, THEIRS = "first", "second"
ClientOf = Callable[..., openai.OpenAI]


@pytest.fixture
def client_of() -> Iterator[ClientOf]:
    """OpenAI's clients of a gateway, `client_of(gateway, key)`; closed at the end."""
    with ExitStack() as clients:

        def made(gateway: httpx2.Client, key: str = MINE) -> openai.OpenAI:
            url = str(gateway.base_url).rstrip("/")
            return clients.enter_context(openai.OpenAI(api_key=key, base_url=f"{url}/v1", max_retries=0))

        yield made


@pytest.fixture(scope="module")
def _module_gateway(
    _stand_ins: tuple[StandIns, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[httpx2.Client, Path]]:
    home = tmp_path_factory.mktemp("home")
    settings = settings_for(_stand_ins[1], home, api_keys=frozenset({MINE, THEIRS}), tenant_file_bytes=2_000_000)
    with served(create_app(settings)) as url, opened(url) as client:
        client.headers["Authorization"] = f"Bearer {MINE}"
        until_ready(client, "safety", "text-to-image", "curation")
        yield client, home


@pytest.fixture
def shared(_module_gateway: tuple[httpx2.Client, Path], stages: StandIns) -> httpx2.Client:
    """A gateway of two tenants, whose stages behave."""
    until_ready(_module_gateway[0], "safety", "text-to-image", "curation")
    return _module_gateway[0]


@pytest.fixture
def home(_module_gateway: tuple[httpx2.Client, Path]) -> Path:
    """Where that gateway keeps everything."""
    return _module_gateway[1]


@pytest.fixture
def client(shared: httpx2.Client, client_of: ClientOf) -> openai.OpenAI:
    return client_of(shared)


def form(boundary: str = "b", **parts: tuple[str, bytes]) -> bytes:
    """A form whose parts are headers and bytes."""
    body = b""
    for header, content in parts.values():
        body += f"--{boundary}\r\nContent-Disposition: form-data; {header}\r\n\r\n".encode() + content + b"\r\n"
    return body + f"--{boundary}--\r\n".encode()


PURPOSE = ('name="purpose"', b"batch")
