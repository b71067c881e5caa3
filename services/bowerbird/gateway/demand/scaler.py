"""KEDA's external-push scaler: what all gateways want, told to KEDA over gRPC (`external_scaler.proto`).

    IsActive         whether a variant is needed at all: anything queued, running, draining or pre-warmed. It decides
                     about the last pod, so a replica that cannot read all demand answers UNAVAILABLE, never false
    StreamIsActive   `true` as soon as a variant is needed, and again and again while it has no pod: KEDA drops one that
                     comes before it knows its metrics, or has seen that the last pod is gone, and ignores every `false`
    GetMetricSpec    one metric, wanted pods, with a target of 1
    GetMetrics       its value (`wanted`)

A stream ends with OK when this process ends: after any other end KEDA waits longer and longer, up to a minute, before
it opens the next. Every answer is bounded in time, since KEDA asks without deadlines and holds a lock meanwhile.

`scalerMetadata` names the variant (else it is the ScaledObject's name) and may say how many requests one pod takes.
"""

from __future__ import annotations

import asyncio
import logging
import math
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from socket import AF_INET, AF_INET6, create_server, socket
from typing import Any, TypeVar
from weakref import WeakSet

from grpclib import GRPCError, Status
from grpclib.const import Cardinality, Handler
from grpclib.protocol import H2Protocol
from grpclib.server import Server, Stream

from bowerbird.errors import RecordsUnavailable
from bowerbird.gateway.demand import external_scaler_pb2 as wire
from bowerbird.gateway.demand.sharing import Sharing
from bowerbird.gateway.demand.wanted import Wanted, wanted

SERVICE = "/externalscaler.ExternalScaler/"
METRIC = "wanted-pods"
TARGET_PODS = 1.0
ANSWER_SECONDS = 2.0
REPEAT_SECONDS = 0.5
"""How often a stream says again that a variant without a pod is needed: the stages of a chain are to come within a
second of each other, also where one was not heard."""
USUAL_REQUESTS_PER_POD = 16.0
END_SECONDS = 1.0

Request = TypeVar("Request")
HasPod = Callable[[str], bool]
"""Whether a variant has a pod that is ready."""

logger = logging.getLogger(__name__)


class Scaler:
    """Answers KEDA for all variants; `slots` says how many requests a pod of a variant takes, where it says so."""

    def __init__(self, sharing: Sharing, has_pod: HasPod, slots: Callable[[str], int | None]) -> None:
        self._sharing = sharing
        self._has_pod = has_pod
        self._slots = slots
        self._ending = asyncio.Event()
        self._streams: set[asyncio.Task[None] | None] = set()

    def end(self) -> None:
        """Ends every stream, each with OK: KEDA opens it anew at another replica."""
        self._ending.set()

    async def ended(self) -> None:
        """Returns when they have ended, or after END_SECONDS."""
        self.end()
        if streams := [each for each in self._streams if each is not None]:
            await asyncio.wait(streams, timeout=END_SECONDS)

    async def is_active(self, stream: Stream[wire.ScaledObjectRef, wire.IsActiveResponse]) -> None:
        """Unary."""
        reference = await _request(stream)
        await stream.send_message(wire.IsActiveResponse(result=(await self._wanted(reference)).active))

    async def stream_is_active(self, stream: Stream[wire.ScaledObjectRef, wire.IsActiveResponse]) -> None:
        """Says `true` when that is news, and while nobody acts on it."""
        reference = await _request(stream)
        variant, told, task = self._variant(reference), False, asyncio.current_task()
        self._streams.add(task)
        try:
            await stream.send_initial_metadata()
            while not self._ending.is_set():
                active = wanted(self._sharing.board, variant, 1.0).active
                if active and not (told and self._has_pod(variant)):
                    await stream.send_message(wire.IsActiveResponse(result=True))
                told = active
                await self._news_or_end()
        finally:
            self._streams.discard(task)

    async def get_metric_spec(self, stream: Stream[wire.ScaledObjectRef, wire.GetMetricSpecResponse]) -> None:
        """Unary."""
        await _request(stream)
        spec = wire.MetricSpec(metricName=METRIC, targetSize=math.ceil(TARGET_PODS), targetSizeFloat=TARGET_PODS)
        await stream.send_message(wire.GetMetricSpecResponse(metricSpecs=[spec]))

    async def get_metrics(self, stream: Stream[wire.GetMetricsRequest, wire.GetMetricsResponse]) -> None:
        """Unary."""
        asked = await _request(stream)
        pods = (await self._wanted(asked.scaledObjectRef)).pods
        value = wire.MetricValue(metricName=METRIC, metricValue=pods, metricValueFloat=float(pods))
        await stream.send_message(wire.GetMetricsResponse(metricValues=[value]))

    def __mapping__(self) -> Mapping[str, Handler]:
        """What grpclib serves."""
        unary, to_stream = Cardinality.UNARY_UNARY, Cardinality.UNARY_STREAM
        reference, active = wire.ScaledObjectRef, wire.IsActiveResponse
        return {
            f"{SERVICE}IsActive": Handler(self.is_active, unary, reference, active),
            f"{SERVICE}StreamIsActive": Handler(self.stream_is_active, to_stream, reference, active),
            f"{SERVICE}GetMetricSpec": Handler(self.get_metric_spec, unary, reference, wire.GetMetricSpecResponse),
            f"{SERVICE}GetMetrics": Handler(self.get_metrics, unary, wire.GetMetricsRequest, wire.GetMetricsResponse),
        }

    async def _wanted(self, reference: wire.ScaledObjectRef) -> Wanted:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                rows = await self._sharing.everything()
        except (RecordsUnavailable, TimeoutError) as error:
            raise GRPCError(Status.UNAVAILABLE, "what is wanted cannot be read now") from error
        variant = self._variant(reference)
        return wanted(rows, variant, self._requests_per_pod(reference, variant))

    def _variant(self, reference: wire.ScaledObjectRef) -> str:
        variant = reference.scalerMetadata.get("variant") or reference.name
        if variant not in self._sharing.variants.values():
            known = ", ".join(sorted(self._sharing.variants.values()))
            raise GRPCError(Status.INVALID_ARGUMENT, f"variant: {variant!r} is not served here. Accepted: {known}.")
        return str(variant)

    def _requests_per_pod(self, reference: wire.ScaledObjectRef, variant: str) -> float:
        stated = reference.scalerMetadata.get("requestsPerPod")
        if not stated:
            return float(self._slots(variant) or USUAL_REQUESTS_PER_POD)
        if not (stated.isascii() and stated.isdigit() and int(stated) > 0):
            raise GRPCError(Status.INVALID_ARGUMENT, f"requestsPerPod: {stated!r}. Accepted: a whole number from 1.")
        return float(stated)

    async def _news_or_end(self) -> None:
        """Until the board changes, REPEAT_SECONDS have passed or this process ends."""
        waiting = {asyncio.create_task(self._sharing.news(REPEAT_SECONDS)), asyncio.create_task(self._ending.wait())}
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()


async def _request(stream: Stream[Request, Any]) -> Request:
    request = await stream.recv_message()
    if request is None:
        raise GRPCError(Status.INVALID_ARGUMENT, "a request is missing")
    return request


def listening(host: str, port: int) -> socket:
    """A socket that listens; raises SystemExit naming a port that is taken."""
    try:
        return create_server((host, port), family=AF_INET6 if ":" in host else AF_INET)
    except OSError as error:
        raise SystemExit(f"Cannot listen for KEDA at {host} port {port}: {error.strerror}.") from error


class _Server(Server):
    """Hangs up at its end; grpclib's own leaves connections open for as long as clients keep them."""

    def __init__(self, scaler: Scaler) -> None:
        super().__init__([scaler])
        self._opened: WeakSet[H2Protocol] = WeakSet()

    def _protocol_factory(self) -> H2Protocol:
        protocol = super()._protocol_factory()
        self._opened.add(protocol)
        return protocol

    def close(self) -> None:
        """Takes no connection any more, and ends those that are there; what was said before is still sent."""
        super().close()
        for protocol in self._opened:
            if hasattr(protocol, "processor"):  # it is connected
                protocol.processor.close("The gateway ends.")


@asynccontextmanager
async def serving(scaler: Scaler, listener: socket, tls: ssl.SSLContext | None) -> AsyncIterator[None]:
    """The scaler at a socket that listens, until the context ends; its streams end first."""
    server = _Server(scaler)
    await server.start(sock=listener, ssl=tls)
    host, port = listener.getsockname()[:2]
    logger.info("listening for KEDA", extra={"host": host, "port": port, "tls": tls is not None})
    try:
        yield
    finally:
        await scaler.ended()
        server.close()
        with suppress(TimeoutError):  # what is being answered
            async with asyncio.timeout(END_SECONDS):
                await server.wait_closed()
