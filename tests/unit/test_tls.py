"""Mutual TLS within a release, over real sockets: who is answered, by whom, and that leaves are renewed meanwhile."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from bowerbird.beside import OnlyPaths, serving_at
from bowerbird.container import HEALTH_PATHS, SERVER_OPTIONS, listening, tls_options
from bowerbird.gateway.connections import BrokenOff, Unreachable, open_connections
from bowerbird.gateway.main import SERVER_OPTIONS as GATEWAY_OPTIONS
from bowerbird.gateway.main import for_replicas
from bowerbird.gateway.upstream import open_session
from bowerbird.settings import Settings
from bowerbird.tls import RenewingContext, connecting_of

from ..cluster.certificates import Authority

NAME = "bowerbird.birds"
PATH = "/replicas/1/order"


class Release:
    """A release's certificates, all signed by one CA."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca = Authority(folder)

    def settings(self, member: str, name: str = NAME, **more: object) -> Settings:
        """Those of a process whose certificate is made out to `name`."""
        certificate, key = self.issue(member, name)
        files = {"tls_certificate": certificate, "tls_key": key, "tls_ca": self.ca.certificate_file}
        return Settings.model_validate({**files, "tls_name": NAME, **more})

    def issue(self, member: str, name: str = NAME) -> tuple[Path, Path]:
        """A leaf; the next one of the same member takes its place."""
        (self.folder / f"{member}.key").unlink(missing_ok=True)
        return self.ca.issue(self.folder / member, member, hosts=[name])


@pytest.fixture
def release(tmp_path: Path) -> Release:
    return Release(tmp_path)


@pytest.fixture(autouse=True)
def no_lines_of_asyncio(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "asyncio")


async def greet(_: Request) -> Response:
    return PlainTextResponse("tweet")


app = Starlette(routes=[Route(path, greet) for path in ("/describe", "/readyz", PATH)])


@asynccontextmanager
async def serving(config: uvicorn.Config) -> AsyncIterator[str]:
    """Where it listens."""
    listener = listening(0)
    async with serving_at(config, listener):
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def config_of(settings: Settings) -> uvicorn.Config:
    """A model service's, but that nothing is loaded."""
    return uvicorn.Config(app, **{**SERVER_OPTIONS, "lifespan": "off"}, **tls_options(settings))


async def ask(tls: ssl.SSLContext | None, url: str) -> bytes:
    """As the gateway asks for work."""
    async with open_connections(tls) as connections, await connections.send("GET", url, {}) as answer:
        return await answer.read()


async def test_a_service_answers_the_gateway_whichever_address_it_asks_at(release: Release) -> None:
    tls = connecting_of(release.settings("gateway"))
    async with serving(config_of(release.settings("safety"))) as address:
        assert await ask(tls, f"https://{address}/describe") == b"tweet"
        async with open_session(tls) as session, session.get(f"https://{address}/readyz") as answer:
            assert await answer.read() == b"tweet"


async def test_who_is_no_member_is_not_answered(release: Release) -> None:
    stranger = connecting_of(release.settings("stranger", name="bowerbird.fish"))
    nobody = ssl.create_default_context(cafile=str(release.ca.certificate_file))
    nobody.check_hostname = False
    async with serving(config_of(release.settings("safety"))) as address:
        for tls in (stranger, nobody):
            with pytest.raises((BrokenOff, Unreachable)):
                await ask(tls, f"https://{address}/describe")
        with pytest.raises(BrokenOff):
            await ask(None, f"http://{address}/describe")


async def test_a_server_of_another_name_is_sent_nothing(release: Release) -> None:
    tls = connecting_of(release.settings("gateway"))
    async with serving(config_of(release.settings("stranger", name="bowerbird.fish"))) as address:
        with pytest.raises(Unreachable):
            await ask(tls, f"https://{address}/describe")
        async with open_session(tls) as session:
            with pytest.raises(aiohttp.ClientConnectorCertificateError):
                await session.get(f"https://{address}/readyz")


async def shown(tls: RenewingContext | None, address: str) -> str:
    """The serial number of what a server shows."""
    host, port = address.split(":")
    _, writer = await asyncio.open_connection(host, int(port), ssl=tls)
    certificate = writer.get_extra_info("peercert")
    writer.close()
    return str(certificate["serialNumber"])


async def test_a_leaf_is_renewed_on_both_sides_without_a_restart(release: Release) -> None:
    tls = connecting_of(release.settings("gateway"))
    async with serving(config_of(release.settings("safety"))) as address:
        before = await shown(tls, address)
        assert await shown(tls, address) == before
        release.issue("safety")
        release.issue("gateway")
        assert await shown(tls, address) != before
        assert await ask(tls, f"https://{address}/describe") == b"tweet"


async def test_half_of_a_leaf_changes_nothing(release: Release) -> None:
    tls = connecting_of(release.settings("gateway"))
    async with serving(config_of(release.settings("safety"))) as address:
        before = await shown(tls, address)
        certificate, _ = release.issue("other")
        (release.folder / "safety.crt").write_bytes(certificate.read_bytes())
        assert await shown(tls, address) == before
        (release.folder / "safety.key").write_bytes((release.folder / "other.key").read_bytes())
        assert await shown(tls, address) != before


async def test_what_the_kubelet_asks_is_answered_beside_and_nothing_else_is() -> None:
    config = uvicorn.Config(OnlyPaths(app, HEALTH_PATHS), **{**SERVER_OPTIONS, "lifespan": "off"})
    async with serving(config) as address:
        assert await ask(None, f"http://{address}/readyz") == b"tweet"
        assert await ask(None, f"http://{address}/describe") == b"Not found here.\n"


async def test_another_gateway_is_answered_beside_and_only_about_the_order(release: Release) -> None:
    config, listener = for_replicas(app, release.settings("gateway"), 0, GATEWAY_OPTIONS)
    address = f"https://127.0.0.1:{listener.getsockname()[1]}"
    tls = connecting_of(release.settings("other"))
    async with serving_at(config, listener):
        assert await ask(tls, address + PATH) == b"tweet"
        assert await ask(tls, address + "/describe") == b"Not found here.\n"
        with pytest.raises((BrokenOff, Unreachable)):
            await ask(connecting_of(release.settings("stranger", name="bowerbird.fish")), address + PATH)


@pytest.mark.parametrize("missing", ["tls_certificate", "tls_key", "tls_ca", "tls_name"])
def test_a_part_of_it_is_refused_with_a_sentence(release: Release, missing: str) -> None:
    settings = release.settings("gateway").model_copy(update={missing: None})
    with pytest.raises(SystemExit, match="name all four, or none"):
        tls_options(settings)


def test_a_file_that_is_not_there_is_named(release: Release) -> None:
    settings = release.settings("gateway")
    (release.folder / "gateway.key").unlink()
    with pytest.raises(SystemExit, match=r"gateway\.key cannot be read"):
        connecting_of(settings)


def test_a_port_for_replicas_needs_certificates() -> None:
    with pytest.raises(SystemExit, match="BOWERBIRD_REPLICA_PORT is for TLS"):
        for_replicas(app, Settings(), 0, GATEWAY_OPTIONS)
