"""KEDA's external-push scaler, asked by the reference implementation of gRPC over a real port."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from sqlalchemy import URL

from bowerbird.errors import RecordsUnavailable
from bowerbird.gateway.admission.admission import Admission
from bowerbird.gateway.admission.order import Order
from bowerbird.gateway.demand import external_scaler_pb2 as wire
from bowerbird.gateway.demand.level import Demand
from bowerbird.gateway.demand.rows import DemandRows
from bowerbird.gateway.demand.scaler import Scaler, listening, serving
from bowerbird.gateway.demand.sharing import Sharing
from bowerbird.gateway.in_flight import InFlight
from bowerbird.gateway.records.database import Database, database_url, open_database
from bowerbird.gateway.upstream import Stage
from bowerbird.tls import Files, accepting

from ..identity.api_server import _write_certificates

SERVICE = "/externalscaler.ExternalScaler/"
VARIANTS = {stage: stage.value for stage in Stage}


@dataclass
class Told:
    """A scaler that serves, and what it tells of."""

    sharing: Sharing
    demand: Demand
    scaler: Scaler
    rows: DemandRows
    database: Database
    channel: Any
    address: str
    pods: set[str] = field(default_factory=set)

    async def ask(self, method: str, request: Any, answer: Any) -> Any:
        call = self.channel.unary_unary(SERVICE + method, type(request).SerializeToString, answer.FromString)
        return await call(request, timeout=10)

    async def active(self, name: str = "text-to-image", **metadata: str) -> bool:
        reference = wire.ScaledObjectRef(name=name, namespace="birds", scalerMetadata=metadata)
        return bool((await self.ask("IsActive", reference, wire.IsActiveResponse)).result)

    async def pods_wanted(self, name: str = "text-to-image", **metadata: str) -> float:
        reference = wire.ScaledObjectRef(name=name, namespace="birds", scalerMetadata=metadata)
        asked = wire.GetMetricsRequest(scaledObjectRef=reference, metricName="wanted-pods")
        [value] = (await self.ask("GetMetrics", asked, wire.GetMetricsResponse)).metricValues
        assert (value.metricName, value.metricValue) == ("wanted-pods", value.metricValueFloat)
        return float(value.metricValueFloat)

    def stream(self, name: str = "text-to-image") -> Any:
        request = wire.ScaledObjectRef(name=name, namespace="birds")
        serialize, parse = wire.ScaledObjectRef.SerializeToString, wire.IsActiveResponse.FromString
        return self.channel.unary_stream(SERVICE + "StreamIsActive", serialize, parse)(request)


@asynccontextmanager
async def told(url: URL, tls: Any = None, credentials: Any = None) -> AsyncIterator[Told]:
    async with open_database(url) as database:
        demand, pods = Demand({Stage.TEXT_TO_IMAGE: Admission.alone(Order())}, InFlight()), set[str]()
        rows = DemandRows(database, "replica")
        sharing = Sharing(demand, rows, VARIANTS, dict, None)
        scaler = Scaler(sharing, pods.__contains__, {"text-to-image": 8}.get)
        listener = listening("127.0.0.1", 0)
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        async with sharing.running(), serving(scaler, listener, tls):
            made = grpc.aio.insecure_channel(address)
            if credentials is not None:
                made = grpc.aio.secure_channel(address, credentials)
            async with made as channel:
                yield Told(sharing, demand, scaler, rows, database, channel, address, pods)


async def until(asked: Callable[[], Awaitable[float]], expected: float) -> None:
    while await asked() != expected:  # noqa: ASYNC110 - as KEDA polls
        await asyncio.sleep(0.005)


async def silent(stream: Any) -> bool:
    """Whether nothing more is said, after what was on its way."""
    reading = asyncio.ensure_future(stream.read())
    while (await asyncio.wait({reading}, timeout=0.2))[0]:
        reading = asyncio.ensure_future(stream.read())
    reading.cancel()
    await asyncio.wait({reading})
    return True


@pytest.fixture
def home(newest_file: Path, tmp_path: Path) -> URL:
    (tmp_path / "records.sqlite").write_bytes(newest_file.read_bytes())
    return database_url(None, tmp_path)


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bowerbird.gateway.demand.sharing.SHARE_SECONDS", 0.02)
    monkeypatch.setattr("bowerbird.gateway.demand.scaler.REPEAT_SECONDS", 0.02)


async def test_a_variant_is_active_while_anything_wants_it(home: URL) -> None:
    async with told(home) as keda:
        assert not await keda.active()
        assert await keda.pods_wanted() == 0
        with keda.demand.raised(Stage.TEXT_TO_IMAGE, Stage.CURATION):
            await until(keda.active, True)
            assert await keda.active("any", variant="curation")
            assert not await keda.active("safety")
            assert await keda.pods_wanted() == 1
        await until(keda.active, False)


async def test_wanted_pods_follow_from_the_slots_of_one_or_what_the_scaled_object_says(home: URL) -> None:
    async with told(home) as keda:
        await DemandRows(keda.database, "another").prewarm("safety", 3, 60)
        with keda.demand.raised(*[Stage.TEXT_TO_IMAGE] * 17):
            await until(keda.pods_wanted, 3)
            assert await keda.pods_wanted(requestsPerPod="4") == 5
            assert await keda.pods_wanted("safety") == 3
        specs = await keda.ask("GetMetricSpec", wire.ScaledObjectRef(name="safety"), wire.GetMetricSpecResponse)
        assert [(each.metricName, each.targetSizeFloat) for each in specs.metricSpecs] == [("wanted-pods", 1.0)]


async def test_a_replica_that_cannot_read_all_demand_never_says_no(home: URL, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away() -> Any:
        raise RecordsUnavailable("The records cannot be read now.")

    async with told(home) as keda:
        monkeypatch.setattr(keda.rows, "read", away)
        for method in ("IsActive", "GetMetrics"):
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await (keda.active() if method == "IsActive" else keda.pods_wanted())
            assert raised.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("metadata", [{"variant": "unknown"}, {"requestsPerPod": "0"}, {"requestsPerPod": "many"}])
async def test_a_scaled_object_that_makes_no_sense_is_told_what_would(home: URL, metadata: dict[str, str]) -> None:
    async with told(home) as keda:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await keda.pods_wanted(**metadata)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "Accepted" in (raised.value.details() or "")


async def test_a_stream_says_yes_at_once_and_again_until_there_is_a_pod(home: URL) -> None:
    async with told(home) as keda:
        stream = keda.stream()
        await stream.initial_metadata()
        with keda.demand.raised(Stage.TEXT_TO_IMAGE):
            assert [(await stream.read()).result for _ in range(3)] == [True] * 3
            keda.pods.add("text-to-image")
            assert await silent(stream)
        stream.cancel()


async def test_streams_end_with_ok_when_the_gateway_ends(home: URL) -> None:
    async with told(home) as keda:
        stream = keda.stream()
        await stream.initial_metadata()
        keda.scaler.end()
        assert await stream.read() is grpc.aio.EOF
        assert await stream.code() is grpc.StatusCode.OK
        assert not await keda.active(), "its other questions are answered to the end"


async def test_only_who_has_a_certificate_of_the_ca_is_answered_and_a_leaf_may_be_renewed(
    home: URL, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "asyncio")
    folder = tmp_path / "tls"
    folder.mkdir()
    _write_certificates(folder)
    certificate, key, ca = folder / "server.crt", folder / "server.key", folder / "ca.crt"
    tls = accepting(Files(certificate, key, ca), protocols=["h2"])
    read = certificate.read_bytes(), key.read_bytes()
    known = grpc.ssl_channel_credentials(ca.read_bytes(), read[1], read[0])
    async with told(home, tls, known) as keda:
        assert not await keda.active()
        other = tmp_path / "other"
        other.mkdir()
        _write_certificates(other)
        certificate.write_bytes((other / "server.crt").read_bytes())
        key.write_bytes((other / "server.key").read_bytes())
        renewed = grpc.ssl_channel_credentials((other / "ca.crt").read_bytes(), read[1], read[0])
        async with grpc.aio.secure_channel(keda.address, renewed) as keda.channel:
            assert not await keda.active(), "it shows what lies in the files now"
    certificate.write_bytes(read[0])
    key.write_bytes(read[1])
    async with told(home, tls, grpc.ssl_channel_credentials(ca.read_bytes())) as stranger:
        with pytest.raises(grpc.aio.AioRpcError):
            await stranger.active()


def test_a_port_that_is_taken_is_named() -> None:
    with listening("127.0.0.1", 0) as taken, pytest.raises(SystemExit, match="Cannot listen for KEDA"):
        listening("127.0.0.1", taken.getsockname()[1])
