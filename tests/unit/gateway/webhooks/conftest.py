"""Endpoints and deliveries on both databases, with a clock that tests set; receivers on loopback."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bowerbird.gateway.identity.audit import Author
from bowerbird.gateway.webhooks.deliveries import Deliveries, InHand
from bowerbird.gateway.webhooks.endpoints import Endpoints, NewEndpoint
from bowerbird.gateway.webhooks.events import EventType
from bowerbird.gateway.webhooks.log import DeliveryLog
from bowerbird.gateway.webhooks.sealing import Sealer
from bowerbird.gateway.webhooks.sending import Attempt, Outcome

from ..records.conftest import Records, other, records  # noqa: F401 - fixtures
from ..records.rows import LEASE_SECONDS, TENANT, new_job, success
from ..stand_ins import served

AUTHOR = Author("key:key_1", "req_1")
GOOD = Attempt(Outcome.DELIVERED, 200, 12)
BAD = Attempt(Outcome.ERROR_STATUS, 500, 12)
NO_HANDS: dict[str, int] = {}


@dataclass
class Post:
    """Endpoints and deliveries, as one replica sees them."""

    records: Records
    sealer: Sealer

    def __post_init__(self) -> None:
        self.endpoints = Endpoints(self.records.database, self.sealer)
        self.deliveries = Deliveries(self.records.database)
        self.log = DeliveryLog(self.records.database)

    async def endpoint(self, *kinds: EventType, tenant: str = TENANT) -> str:
        """The id of a new endpoint."""
        new = NewEndpoint("application", "https://birds.example/hook", frozenset(kinds or EventType))
        return (await self.endpoints.create(tenant, new, AUTHOR)).endpoint.id

    async def drawn(self, count: int = 1, tenant: str = TENANT) -> list[str]:
        """The ids of jobs that have succeeded."""
        for _ in range(count):
            await self.records.jobs.submit(new_job(tenant=tenant))
        claims = await self.records.claims.claim(count, LEASE_SECONDS)
        assert len(claims) == count
        for claim in claims:
            assert await self.records.claims.finish(claim, success(claim))
        return [claim.job_id for claim in claims]

    async def told(self, endpoint_id: str) -> list[tuple[str, str]]:
        """Type and subject of everything that was or is to be told to it."""
        found, _ = await self.log.page(endpoint_id, 100)
        return [(each.event_type, each.subject) for each in found]

    async def take_one(self) -> InHand:
        [taken] = await self.deliveries.take(10, NO_HANDS)
        return taken


@pytest.fixture
def post(records: Records) -> Post:  # noqa: F811
    return Post(records, Sealer([secrets.token_bytes(32)]))


@pytest.fixture
def other_post(other: Records, post: Post) -> Post:  # noqa: F811
    """A second replica."""
    return Post(other, post.sealer)


@dataclass
class Heard:
    """A request that a receiver got."""

    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """A server that keeps what it is told and answers as a test says."""

    heard: list[Heard] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    """Of the next answers; then 200."""
    headers: dict[str, str] = field(default_factory=dict)
    url: str = ""

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/{path:path}", self._answer, methods=["POST", "GET"])])

    async def _answer(self, request: Request) -> Response:
        self.heard.append(Heard(dict(request.headers), await request.body()))
        return Response(b"thanks", self.statuses.pop(0) if self.statuses else 200, self.headers)

    def ids(self) -> Sequence[str]:
        return [each.headers["webhook-id"] for each in self.heard]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver on a real socket."""
    receiver = Receiver()
    with served(receiver.app()) as url:
        receiver.url = url
        yield receiver
