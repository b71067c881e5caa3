"""The webhooks of a gateway process, opened over its records when the app starts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from bowerbird.gateway.records.opening import Records
from bowerbird.gateway.webhooks.addresses import ReachableAddresses
from bowerbird.gateway.webhooks.carrying import WebhookCarrier
from bowerbird.gateway.webhooks.deliveries import Deliveries
from bowerbird.gateway.webhooks.endpoints import Endpoints
from bowerbird.gateway.webhooks.log import DeliveryLog
from bowerbird.gateway.webhooks.sealing import Sealer, key_of_home, read_keys
from bowerbird.gateway.webhooks.sending import Sender, open_sender
from bowerbird.settings import Settings


@dataclass(frozen=True, slots=True)
class Webhooks:
    """What the API's handlers need."""

    endpoints: Endpoints
    log: DeliveryLog
    sender: Sender
    sealer: Sealer
    addresses: ReachableAddresses
    plain_http: bool


@asynccontextmanager
async def open_webhooks(
    settings: Settings, records: Records, registry: CollectorRegistry
) -> AsyncIterator[Webhooks | None]:
    """Webhooks that are sent until the context ends; None where gateways share a database and no key to seal with."""
    if records.database.is_postgresql and not settings.webhook_keys:
        yield None
        return
    sealer = Sealer(read_keys(settings.webhook_keys) or [key_of_home(settings.home)])
    addresses = ReachableAddresses(settings.webhook_networks)
    async with open_sender(addresses) as sender:
        endpoints = Endpoints(records.database, sealer)
        carrier = WebhookCarrier(Deliveries(records.database), sender, sealer, registry)
        async with carrier.running(records.leases, records.owner):
            log = DeliveryLog(records.database)
            yield Webhooks(endpoints, log, sender, sealer, addresses, settings.webhook_plain_http)
