"""A watch that goes on: through changes, disconnects, lost history and an API server that is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from bowerbird.gateway.discovery.api_server import ApiServer, ApiServerAway, ApiServerRefused, open_api_server
from bowerbird.gateway.discovery.discovery import PATH
from bowerbird.gateway.discovery.reflecting import Reflection
from bowerbird.settings import Settings

from ..identity.api_server import _write_certificates
from .cluster import Cluster, endpoint

SELECTOR = "kubernetes.io/service-name in (draws,judges)"


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bowerbird.gateway.discovery.reflecting.FIRST_PAUSE_SECONDS", 0.005)
    monkeypatch.setattr("bowerbird.gateway.discovery.reflecting.LONGEST_PAUSE_SECONDS", 0.02)


class Mirror:
    """What a reflection told last."""

    def __init__(self) -> None:
        self.addresses: dict[str, list[str]] | None = None

    def told(self, objects: Mapping[str, Any]) -> None:
        self.addresses = {
            name: [each["addresses"][0] for each in found["endpoints"]] for name, found in objects.items()
        }

    async def until(self, expected: dict[str, list[str]] | None) -> None:
        while self.addresses != expected:  # noqa: ASYNC110 - told in callbacks
            await asyncio.sleep(0.002)


@asynccontextmanager
async def mirrored(settings: Settings) -> AsyncIterator[Mirror]:
    mirror = Mirror()
    async with open_api_server(settings, "birds") as server:
        running = asyncio.create_task(Reflection(server, PATH, SELECTOR, mirror.told).run())
        try:
            yield mirror
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def test_what_is_there_and_what_changes_is_told(cluster: Cluster, in_cluster: Settings) -> None:
    cluster.slice("draws", endpoint("10.0.0.1"))
    cluster.slice("others", endpoint("10.0.9.9"))
    async with mirrored(in_cluster) as mirror:
        await mirror.until({"draws-abcde": ["10.0.0.1"]})
        cluster.slice("draws", endpoint("10.0.0.1"), endpoint("10.0.0.2"))
        await mirror.until({"draws-abcde": ["10.0.0.1", "10.0.0.2"]})
        cluster.slice("judges", endpoint("10.0.1.1"))
        await mirror.until({"draws-abcde": ["10.0.0.1", "10.0.0.2"], "judges-abcde": ["10.0.1.1"]})
        cluster.remove("endpointslices", "draws-abcde")
        await mirror.until({"judges-abcde": ["10.0.1.1"]})
    assert cluster.lists == 1


async def test_a_watch_that_is_cut_goes_on_where_it_was(cluster: Cluster, in_cluster: Settings) -> None:
    cluster.slice("draws", endpoint("10.0.0.1"))
    async with mirrored(in_cluster) as mirror:
        await mirror.until({"draws-abcde": ["10.0.0.1"]})
        cluster.bookmark("endpointslices")
        seen = cluster.version
        while cluster.told < seen:  # noqa: ASYNC110 - by its own thread
            await asyncio.sleep(0.002)
        cluster.cut += 1
        cluster.slice("draws", endpoint("10.0.0.2"))
        await mirror.until({"draws-abcde": ["10.0.0.2"]})
    assert cluster.lists == 1, "nothing was listed anew"
    assert cluster.watches[1] == seen, "it was resumed at the bookmark"


@pytest.mark.parametrize("as_event", [True, False])
async def test_a_place_that_is_forgotten_is_listed_anew(cluster: Cluster, in_cluster: Settings, as_event: bool) -> None:
    cluster.slice("draws", endpoint("10.0.0.1"))
    async with mirrored(in_cluster) as mirror:
        await mirror.until({"draws-abcde": ["10.0.0.1"]})
        cluster.objects["endpointslices"].clear()  # it is deleted, and no event will ever say so
        if as_event:
            cluster.fail("endpointslices", 410)
        else:
            cluster.forget()
            cluster.cut += 1
        await mirror.until({})
        while cluster.watches[-1] != cluster.version:  # noqa: ASYNC110 - else it ends within a handshake, unclosed
            await asyncio.sleep(0.002)
    assert cluster.lists == 2


async def test_while_the_api_server_is_away_what_is_known_stands(cluster: Cluster, in_cluster: Settings) -> None:
    cluster.slice("draws", endpoint("10.0.0.1"))
    async with mirrored(in_cluster) as mirror:
        await mirror.until({"draws-abcde": ["10.0.0.1"]})
        cluster.away = True
        await asyncio.sleep(0.1)
        assert mirror.addresses == {"draws-abcde": ["10.0.0.1"]}
        cluster.slice("draws", endpoint("10.0.0.2"))
        cluster.away = False
        await mirror.until({"draws-abcde": ["10.0.0.2"]})
    assert cluster.lists == 1


async def test_an_object_that_is_not_understood_does_not_end_the_watch(cluster: Cluster, in_cluster: Settings) -> None:
    cluster.slice("draws", endpoint("10.0.0.1"))
    async with mirrored(in_cluster) as mirror:
        await mirror.until({"draws-abcde": ["10.0.0.1"]})
        cluster.put("endpointslices", "odd", metadata={"labels": {"kubernetes.io/service-name": "draws"}})
        await asyncio.sleep(0.02)
        cluster.remove("endpointslices", "odd")
        cluster.slice("draws", endpoint("10.0.0.3"))
        await mirror.until({"draws-abcde": ["10.0.0.3"]})


async def test_the_token_is_read_again_for_each_request(cluster: Cluster, in_cluster: Settings) -> None:
    async with open_api_server(in_cluster, "birds") as server:
        await server.get(PATH)
        cluster.token = "the-next-token"
        with pytest.raises(ApiServerRefused, match="401 Unauthorized"):
            await server.get(PATH)
        in_cluster.kubernetes_token.write_text("the-next-token\n")
        await server.get(PATH)


async def test_a_ca_that_was_replaced_is_trusted_from_the_next_connection_on(
    cluster: Cluster, in_cluster: Settings
) -> None:
    right = in_cluster.kubernetes_ca.read_bytes()
    other = cluster.certificates / "other"
    other.mkdir()
    _write_certificates(other)
    in_cluster.kubernetes_ca.write_bytes((other / "ca.crt").read_bytes())
    async with open_api_server(in_cluster, "birds") as server:
        with pytest.raises(ApiServerAway):
            await server.get(PATH)
        in_cluster.kubernetes_ca.write_bytes(right)
        assert (await server.get(PATH))["items"] == []


def test_a_cluster_without_a_ca_is_named(in_cluster: Settings, tmp_path: Any) -> None:
    async def opened() -> ApiServer:
        missing = in_cluster.model_copy(update={"kubernetes_ca": tmp_path / "missing"})
        async with open_api_server(missing, "birds") as server:
            return server

    with pytest.raises(SystemExit, match="BOWERBIRD_KUBERNETES_CA"):
        asyncio.run(opened())
