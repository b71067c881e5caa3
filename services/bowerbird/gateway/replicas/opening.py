"""The queues of this process: alone, or in one order with the other replicas on the same PostgreSQL.

A process is alone with SQLite, and where nobody could reach it (`settings.replica_url`): then it keeps an order of its
own, without lease, connections or epochs. Several such processes before the same stages are kept from overfilling them
by the stages alone.
"""

from __future__ import annotations

import hmac
import logging
import socket
from functools import partial

import aiohttp
from prometheus_client import CollectorRegistry, Counter, Gauge

from bowerbird.gateway.admission.admission import Admission
from bowerbird.gateway.admission.bounds import Bounds, Occupancy
from bowerbird.gateway.admission.endpoints import Pauses
from bowerbird.gateway.admission.order import Order
from bowerbird.gateway.records.opening import Records
from bowerbird.gateway.records.secret import shared_secret
from bowerbird.gateway.replicas.election import Election, Role
from bowerbird.gateway.replicas.link import PICTURES, Follower
from bowerbird.settings import Settings

EVERY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104 - what nobody can be told to connect to

logger = logging.getLogger(__name__)


async def open_order(
    settings: Settings,
    records: Records,
    session: aiohttp.ClientSession,
    registry: CollectorRegistry,
    queue: str = PICTURES,
) -> tuple[Admission, Election | None]:
    """The queue before text-to-image, or before animation, within what the settings allow.

    No Election where this process is alone.
    """
    bounds = Bounds(settings.queue_requests, settings.queue_units, settings.queue_bytes, settings.queue_tenant_part)
    # A pause shorter than the time between two looks would end unseen.
    pauses = Pauses(settings.stage_poll_seconds, 30 * settings.stage_poll_seconds)
    if not records.database.is_postgresql or settings.replica_url is None:
        if records.database.is_postgresql:
            logger.warning("other gateways on this database cannot reach this one: it keeps a queue of its own")
        return Admission.alone(Order(bounds, pauses)), None
    admission = Admission(bounds)
    secret = await shared_secret(records.database, "replicas")
    if queue != PICTURES:
        secret = hmac.digest(secret, queue.encode(), "sha256")
    follower = Follower(records.owner, admission, Occupancy(bounds), session, secret, queue)
    address = settings.replica_url.rstrip("/")
    election = Election(records.leases, address, admission, follower, partial(Order, bounds, pauses))
    _show(election, registry)
    return admission, election


def reachable(settings: Settings, listener: socket.socket) -> Settings:
    """The settings with the address at which other replicas reach this one, where that is known and not stated."""
    host, port = listener.getsockname()[:2]
    if settings.replica_url is not None or host in EVERY_ADDRESS:
        return settings
    named = f"[{host}]" if ":" in host else host
    return settings.model_copy(update={"replica_url": f"http://{named}:{port}"})


def _show(election: Election, registry: CollectorRegistry) -> None:
    """Who owns the order, how often that was this replica, and who follows it, whenever the metrics are read."""
    name = "bowerbird_queue" if election.queue == PICTURES else f"bowerbird_{election.queue}_queue"
    owns = Gauge(f"{name}_owner", "1 where this replica owns the queue's order.", registry=registry)
    owns.set_function(lambda: election.role is Role.OWNER)
    peers = Gauge(f"{name}_followers", "Replicas that are connected to this owner.", registry=registry)
    peers.set_function(lambda: election.peers)
    election.on_takeover = Counter(
        f"{name}_takeovers", "How often this replica became the owner.", registry=registry
    ).inc
