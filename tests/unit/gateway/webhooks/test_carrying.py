"""A replica's hands send what waits; a receiver that hangs costs others nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_network

import pytest
from prometheus_client import CollectorRegistry

from bowerbird.gateway.webhooks import carrying
from bowerbird.gateway.webhooks.addresses import ReachableAddresses
from bowerbird.gateway.webhooks.carrying import WebhookCarrier
from bowerbird.gateway.webhooks.deliveries import PER_ENDPOINT
from bowerbird.gateway.webhooks.endpoints import Change
from bowerbird.gateway.webhooks.sealing import Sealer
from bowerbird.gateway.webhooks.sending import open_sender

from ..records.rows import TENANT
from .conftest import AUTHOR, Post, Receiver

LOOPBACK = ReachableAddresses([ip_network("127.0.0.0/8")])


@asynccontextmanager
async def carried(post: Post, sealer: Sealer | None = None) -> AsyncIterator[CollectorRegistry]:
    """A carrier that runs; yields its metrics."""
    registry = CollectorRegistry()
    async with open_sender(LOOPBACK) as sender:
        carrier = WebhookCarrier(post.deliveries, sender, sealer or post.sealer, registry)
        async with carrier.running(post.records.leases, post.records.owner):
            yield registry


async def until(done: Callable[[], bool]) -> None:
    for _ in range(2000):
        if done():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come to pass")


def attempts(registry: CollectorRegistry, outcome: str) -> float:
    return registry.get_sample_value("bowerbird_webhook_attempts_total", {"outcome": outcome}) or 0


async def state_of(post: Post, endpoint: str) -> tuple[str, list[str]]:
    [[logged], _] = await post.log.page(endpoint, 10)
    return logged.state, [each.outcome for each in logged.attempts]


async def test_a_receiver_that_hangs_does_not_keep_another_waiting(
    post: Post, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(carrying, "STOP_SECONDS", 0.1)

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    hanging = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    for url in (hanging, receiver.url):
        await post.endpoints.change(TENANT, await post.endpoint(), Change(url=url), AUTHOR)
    await post.drawn(2 * PER_ENDPOINT)
    async with carried(post) as registry:
        await until(lambda: attempts(registry, "delivered") == 2 * PER_ENDPOINT)
    assert len(set(receiver.ids())) == 2 * PER_ENDPOINT
    server.close()


async def test_two_replicas_tell_each_event_once_while_none_dies(
    post: Post, other_post: Post, receiver: Receiver
) -> None:
    await post.endpoints.change(TENANT, await post.endpoint(), Change(url=receiver.url), AUTHOR)
    await post.drawn(20)
    async with carried(post) as one, carried(other_post) as two:
        await until(lambda: attempts(one, "delivered") + attempts(two, "delivered") >= 20)
        await asyncio.sleep(0.1)
    assert attempts(one, "delivered") + attempts(two, "delivered") == 20
    assert len(set(receiver.ids())) == len(receiver.ids()) == 20


async def test_without_the_key_nothing_is_sent_and_the_receiver_is_not_blamed(post: Post, receiver: Receiver) -> None:
    endpoint = await post.endpoint()
    await post.endpoints.change(TENANT, endpoint, Change(url=receiver.url), AUTHOR)
    await post.drawn()
    async with carried(post, Sealer([b"another key, of 32 bytes exactly"])) as registry:
        await until(lambda: attempts(registry, "secret_unreadable") == 1)
    assert receiver.heard == []
    assert await state_of(post, endpoint) == ("waiting", ["secret_unreadable"])
    assert (await post.endpoints.get(TENANT, endpoint)).failing_since_ms is None


async def test_what_is_in_hand_when_a_gateway_stops_is_finished(post: Post, receiver: Receiver) -> None:
    endpoint = await post.endpoint()
    await post.endpoints.change(TENANT, endpoint, Change(url=receiver.url), AUTHOR)
    await post.drawn()
    async with carried(post):
        await until(lambda: bool(receiver.heard))
    assert await state_of(post, endpoint) == ("delivered", ["delivered"])
