"""Who may grant, and when: by a real lease in a database, with short times."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import aiohttp
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware

from bowerbird.errors import RecordsUnavailable
from bowerbird.gateway.admission.admission import Admission, Turn
from bowerbird.gateway.admission.bounds import Bounds, Occupancy
from bowerbird.gateway.admission.order import Order
from bowerbird.gateway.admission.ticket import Ticket
from bowerbird.gateway.records.database import Database, database_url, open_database
from bowerbird.gateway.records.leases import Lease, Leases
from bowerbird.gateway.replicas import election as module
from bowerbird.gateway.replicas.doorway import DoorwayASGI
from bowerbird.gateway.replicas.election import QUEUE_OWNER, Election, Role
from bowerbird.gateway.replicas.link import CLIPS, PICTURES, Follower, path_of

BOUNDS = Bounds()
NOWHERE = "http://127.0.0.1:9"


class Reachable(Leases):
    """The leases, while the database can be asked."""

    away = False

    async def renew(self, lease: Lease, seconds: float) -> bool:
        self._look()
        return await super().renew(lease, seconds)

    async def holder(self, name: str) -> Lease | None:
        self._look()
        return await super().holder(name)

    def _look(self) -> None:
        if self.away:
            raise RecordsUnavailable("away")


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    times = {"LEASE": 0.6, "RENEW": 0.1, "MARGIN": 0.1, "LOOK": 0.05, "GATHER": 0.1}
    for name, seconds in times.items():
        monkeypatch.setattr(module, f"{name}_SECONDS", seconds)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(database_url(None, tmp_path)) as opened:
        yield opened


@asynccontextmanager
async def running(
    leases: Leases, name: str = "a", queue: str = PICTURES, address: str = NOWHERE, slots: int = 100
) -> AsyncIterator[tuple[Election, Admission]]:
    """A replica in whose eyes there is one endpoint, with slots for everybody."""
    admission = Admission(BOUNDS)
    admission.seen_ready("http://stage", slots, None)
    async with aiohttp.ClientSession() as session:
        follower = Follower(name, admission, Occupancy(BOUNDS), session, b"s" * 32, queue)
        election = Election(leases, address, admission, follower, partial(Order, BOUNDS, None))
        async with election.running():
            yield election, admission


async def test_an_outage_of_the_database_is_no_reason_to_send_those_elsewhere_who_wait(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ABANDONED_SECONDS", 1.0)
    leases = Reachable(database)
    async with running(leases, slots=0) as (election, admission):
        await until(election, Role.OWNER)
        async with admission.place(Ticket("1", "t", 1.0, time.monotonic() + 60, arrived=time.monotonic())) as turn:
            waiting = asyncio.create_task(turn.grant())
            admission.stop(60)
            election.stop()
            leases.away = True
            await asyncio.sleep(1.2)
            leases.away = False
            await asyncio.sleep(0.3)
            assert not waiting.done()
            async with running(Reachable(database), "b") as (other, _):
                await until(other, Role.OWNER)
                assert not waiting.done()
            waiting.cancel()


async def until(election: Election, role: Role) -> None:
    async with asyncio.timeout(60):
        while election.role is not role:  # noqa: ASYNC110 - it says so to nobody
            await asyncio.sleep(0.01)


def ticket(name: str) -> Ticket:
    return Ticket(name, "t", 1.0, time.monotonic() + 60, arrived=time.monotonic())


def waits(turn: Turn) -> bool:
    return turn.held is None


async def test_one_replica_alone_owns_the_order_and_grants(database: Database) -> None:
    async with running(Leases(database)) as (election, admission):
        async with admission.place(ticket("1")) as turn:
            assert waits(turn), "nobody owns the order yet"
            grant = await turn.grant()
        assert election.role is Role.OWNER
        assert grant.epoch == 1
        assert (admission.fence(grant) or "").endswith(":1")
    assert await Leases(database).holder(QUEUE_OWNER) is None, "it gave the lease back"


async def test_owner_whose_lease_may_have_run_out_grants_nothing_until_it_has_looked(database: Database) -> None:
    leases = Reachable(database)
    async with running(leases) as (election, admission):
        await until(election, Role.OWNER)
        async with admission.place(ticket("1")) as turn:
            await turn.grant()
        leases.away = True
        await asyncio.sleep(0.7)
        async with admission.place(ticket("2")) as turn:
            await asyncio.sleep(0.1)
            assert waits(turn)
            leases.away = False
            assert (await turn.grant()).epoch == 1, "nobody was owner meanwhile: its books are right"


async def test_owner_that_stood_still_grants_nothing_before_it_has_looked(database: Database) -> None:
    async with running(Leases(database)) as (election, admission):
        await until(election, Role.OWNER)
        async with admission.place(ticket("1")) as turn:
            await turn.grant()
        time.sleep(0.7)  # noqa: ASYNC251 - as SIGSTOP does it: the process stands still, not its clock
        async with admission.place(ticket("2")) as turn:
            assert waits(turn)
            await turn.grant()


async def test_owner_whose_lease_was_taken_meanwhile_follows_and_what_waits_goes_on_waiting(
    database: Database,
) -> None:
    leases = Reachable(database)
    async with running(leases) as (election, admission):
        await until(election, Role.OWNER)
        leases.away = True
        while await Leases(database).take(QUEUE_OWNER, "b", NOWHERE, 3600) is None:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.05)
        async with admission.place(ticket("1")) as turn:
            leases.away = False
            await until(election, Role.SEEKING)  # "b" is nowhere
            await asyncio.sleep(0.2)
            assert waits(turn)
            assert admission.waiting == 1


async def test_who_is_told_to_stop_gives_the_order_away_and_does_not_take_it_again(database: Database) -> None:
    leases = Leases(database)
    async with running(leases) as (election, _):
        await until(election, Role.OWNER)
        election.stop()
        await until(election, Role.SEEKING)
        await asyncio.sleep(0.2)
        assert await leases.holder(QUEUE_OWNER) is None
        async with running(leases, "b") as (other, _):
            await until(other, Role.OWNER)


@asynccontextmanager
async def front() -> AsyncIterator[tuple[str, dict[str, Election]]]:
    """The front of a replica in this very loop, and the elections that it lets others into."""
    app = Starlette(middleware=[Middleware(DoorwayASGI)])
    app.state.elections = {}
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=1))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", app.state.elections
    finally:
        server.should_exit = True
        await serving


async def test_clips_have_an_order_of_their_own_which_replicas_share(database: Database) -> None:
    leases = Leases(database)
    async with (
        front() as (address, elections),
        running(leases) as (pictures, _),
        running(leases, "a", CLIPS, address, slots=1) as (owner, admission),
    ):
        elections[path_of(CLIPS)] = owner
        await until(owner, Role.OWNER)
        await until(pictures, Role.OWNER)
        async with running(leases, "b", CLIPS, slots=1) as (other, elsewhere):
            await until(other, Role.FOLLOWER)
            async with admission.place(ticket("1")) as first, elsewhere.place(ticket("2")) as second:
                await first.grant()
                await asyncio.sleep(0.2)
                assert waits(second), "the one slot is taken, by whichever replica"
                first.finished()
                await second.grant()


async def test_role_of_many_is_owner_once(database: Database) -> None:
    async with running(Leases(database)) as (one, _), running(Leases(database), "b") as (two, _):
        async with asyncio.timeout(60):
            while Role.OWNER not in (one.role, two.role):  # noqa: ASYNC110 - it says so to nobody
                await asyncio.sleep(0.01)
        assert sorted([one.role, two.role]) == [Role.OWNER, Role.SEEKING], "nobody listens at the owner's address"
