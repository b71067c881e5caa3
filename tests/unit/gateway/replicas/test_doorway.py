"""Who may follow: only who knows the replicas' secret, and only the owner in its epoch."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, cast

import aiohttp
import httpx2
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.types import Receive, Scope, Send

from bowerbird.errors import QueueFull
from bowerbird.gateway.admission.admission import Admission
from bowerbird.gateway.admission.bounds import Bounds, Occupancy
from bowerbird.gateway.admission.order import Order
from bowerbird.gateway.admission.owner import Owner
from bowerbird.gateway.admission.ticket import NOBODY, Ahead, Place, Standing, Ticket
from bowerbird.gateway.records.database import Database
from bowerbird.gateway.records.leases import Lease, Leases
from bowerbird.gateway.replicas.doorway import DoorwayASGI
from bowerbird.gateway.replicas.election import Election
from bowerbird.gateway.replicas.followers import Followers
from bowerbird.gateway.replicas.link import (
    ACCEPTED,
    CLIPS,
    EPOCH_HEADER,
    FORESEES,
    HEARS_HEADER,
    NONCE_HEADER,
    PICTURES,
    PROOF_HEADER,
    REPLICA_HEADER,
    Follower,
    LinkFailed,
    linked,
    path_of,
    proof,
)

from ..stand_ins import served

SECRET, SECRET_OF_CLIPS = b"s" * 32, b"c" * 32
PATH = path_of(PICTURES)
BOUNDS = Bounds()


def follower(session: aiohttp.ClientSession, secret: bytes = SECRET, queue: str = PICTURES) -> Follower:
    return Follower("replica", Admission(BOUNDS), Occupancy(BOUNDS), session, secret, queue)


@pytest.fixture
def app() -> Starlette:
    """A gateway that takes part in two elections and owns nothing."""
    leases = Leases(cast(Database, None))  # it is never looked at
    app = Starlette(middleware=[Middleware(DoorwayASGI)])
    app.state.elections = {}
    for queue, secret in ((PICTURES, SECRET), (CLIPS, SECRET_OF_CLIPS)):
        nobody = follower(cast(aiohttp.ClientSession, None), secret, queue)
        election = Election(leases, "http://x", Admission(BOUNDS), nobody, partial(Order, BOUNDS, None))
        app.state.elections[path_of(queue)] = election
    return app


@pytest.fixture
def url(app: Starlette) -> Iterator[str]:
    with served(app) as address:
        yield address


def knock(url: str, path: str = PATH, secret: bytes = SECRET, **changes: str) -> int:
    headers = {REPLICA_HEADER: "replica", EPOCH_HEADER: "3", NONCE_HEADER: "n"}
    headers[PROOF_HEADER] = proof(secret, "follower", "replica", "3", "n")
    headers |= {name.replace("_", "-"): value for name, value in changes.items()}
    return httpx2.post(f"{url}{path}", headers=headers, trust_env=False).status_code


def test_who_does_not_know_the_secret_finds_nothing_at_the_path(url: str) -> None:
    assert httpx2.post(f"{url}{PATH}", trust_env=False).status_code == 404
    assert httpx2.get(f"{url}{PATH}", trust_env=False).status_code == 404
    for wrong in (
        proof(b"t" * 32, "follower", "replica", "3", "n"),
        proof(SECRET, "owner", "replica", "3", "n"),
        proof(SECRET, "follower", "another", "3", "n"),
        proof(SECRET, "follower", "replica", "4", "n"),
        proof(SECRET, "follower", "replica", "3", "m"),
        "",
    ):
        assert knock(url, bowerbird_proof=wrong) == 404


def test_who_does_not_own_the_order_says_so_to_whoever_knows_the_secret(url: str) -> None:
    assert knock(url) == 409


def test_what_opens_one_queue_opens_no_other(url: str) -> None:
    of_clips = path_of(CLIPS)
    assert knock(url, of_clips, SECRET_OF_CLIPS) == 409
    assert knock(url, of_clips) == knock(url, PATH, SECRET_OF_CLIPS) == knock(url, path_of("nothing")) == 404


def test_what_was_overheard_opens_nothing_a_second_time(url: str, app: Starlette) -> None:
    followers = Followers(Owner(Order(BOUNDS)))
    app.state.elections[PATH].followers_in = {"3": followers}.get
    followers.close()  # a connection ends as soon as it is made
    assert [knock(url), knock(url)] == [200, 404]
    fresh = proof(SECRET, "follower", "replica", "3", "m")
    assert knock(url, bowerbird_nonce="m", bowerbird_proof=fresh) == 200


async def test_follower_tells_nothing_to_who_cannot_show_that_it_knows_the_secret() -> None:
    """Whoever grants also says where prompts are sent."""
    heard = []

    async def impostor(_: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(PROOF_HEADER.encode(), b"0" * 64)]})
        while (message := await receive())["type"] != "http.disconnect":
            heard.append(message["body"])

    with served(impostor) as address:
        async with aiohttp.ClientSession() as session:
            with pytest.raises(LinkFailed):
                async with linked(follower(session), Lease("queue_owner", "b", 3, address)):
                    raise AssertionError("it is followed")
    assert b"ticket" not in b"".join(heard)


@pytest.mark.parametrize("hears", [{}, {HEARS_HEADER: ACCEPTED}])
async def test_owner_is_told_what_was_accepted_unless_it_is_of_a_release_that_does_not_know_that(
    hears: Mapping[str, str],
) -> None:
    heard: list[dict[str, Any]] = []
    everything = threading.Event()

    async def owner(scope: Scope, receive: Receive, send: Send) -> None:
        nonce = dict(scope["headers"])[NONCE_HEADER.encode()].decode()
        said = {PROOF_HEADER: proof(SECRET, "owner", "replica", "3", nonce), **hears}
        headers = [(name.encode(), value.encode()) for name, value in said.items()]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        while (message := await receive())["type"] != "http.disconnect":
            heard.extend(json.loads(line) for line in message["body"].splitlines())
            if any(each["kind"] == "offer" for each in heard):
                everything.set()

    job = Ticket("job", "t", 1.0, wait_until=60.0, accepted=True)
    with served(owner) as address:
        async with (
            aiohttp.ClientSession() as session,
            linked(follower(session), Lease("queue_owner", "b", 3, address)) as (link, _),
        ):
            link.announce([Standing(job)])
            link.offer(job)
            assert await asyncio.to_thread(everything.wait, 60)
    [announced] = [each for each in heard if each["kind"] == "announce"]
    [offered] = [each for each in heard if each["kind"] == "offer"]
    expected = True if hears else None
    assert announced["standings"][0]["ticket"].get("accepted") is expected
    assert offered["ticket"].get("accepted") is expected


async def test_what_was_accepted_is_not_refused_by_an_owner_elsewhere(url: str, app: Starlette) -> None:
    full = Followers(Owner(Order(Bounds(requests=1, tenant_part=1.0))))
    app.state.elections[PATH].followers_in = {"3": full}.get
    async with aiohttp.ClientSession() as session:
        admission = Admission(BOUNDS)
        replica = Follower("replica", admission, Occupancy(BOUNDS), session, SECRET)
        async with linked(replica, Lease("queue_owner", "b", 3, url)) as (link, lines), AsyncExitStack() as places:
            admission.follow(link)
            listening = asyncio.create_task(link.listen(lines))
            turns = {}
            for name, accepted in (("first", False), ("job", True), ("second", False)):
                ticket = Ticket(name, "t", 1.0, time.monotonic() + 60, accepted=accepted)
                turns[name] = await places.enter_async_context(admission.place(ticket))
            with pytest.raises(QueueFull):  # the last that was asked, so that the others' answers would be here
                await turns["second"].grant()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await turns["job"].grant()
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)


@pytest.mark.parametrize("hears", [ACCEPTED, f"{ACCEPTED}, {FORESEES}"])
async def test_owner_is_asked_about_others_unless_it_is_of_a_release_that_does_not_know_that(hears: str) -> None:
    heard: list[dict[str, Any]] = []
    everything = threading.Event()

    async def owner(scope: Scope, receive: Receive, send: Send) -> None:
        nonce = dict(scope["headers"])[NONCE_HEADER.encode()].decode()
        said = {PROOF_HEADER: proof(SECRET, "owner", "replica", "3", nonce), HEARS_HEADER: hears}
        headers = [(name.encode(), value.encode()) for name, value in said.items()]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        while (message := await receive())["type"] != "http.disconnect":
            for line in message["body"].splitlines():
                heard.append(json.loads(line))
                if heard[-1]["kind"] == "foresee":
                    answer = {"kind": "foreseen", "work_id": heard[-1]["ticket"]["id"], "position": 7}
                    body = json.dumps({**answer, "eta_seconds": 2.5}).encode() + b"\n"
                    await send({"type": "http.response.body", "body": body, "more_body": True})
            if any(each["kind"] == "leave" for each in heard):
                everything.set()

    with served(owner) as address:
        async with (
            aiohttp.ClientSession() as session,
            linked(follower(session), Lease("queue_owner", "b", 3, address)) as (link, lines),
        ):
            listening = asyncio.create_task(link.listen(lines))
            place = await link.foresee(Ticket("job_1", "t", 1.0, wait_until=60.0), NOBODY)
            link.leave("another")
            assert await asyncio.to_thread(everything.wait, 60)
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
    asked = [each for each in heard if each["kind"] == "foresee"]
    assert place == (Place(7, 2.5) if FORESEES in hears else None)
    assert len(asked) == (FORESEES in hears)


async def test_work_that_waits_at_one_replica_is_found_by_another(url: str, app: Starlette) -> None:
    order = Order(BOUNDS)
    owned = Followers(Owner(order))
    app.state.elections[PATH].followers_in = {"3": owned}.get
    async with aiohttp.ClientSession() as session, AsyncExitStack() as stack:
        fronts = []
        for name in ("carries", "asks"):
            front = Admission(BOUNDS)
            replica = Follower(name, front, Occupancy(BOUNDS), session, SECRET)
            link, lines = await stack.enter_async_context(linked(replica, Lease("queue_owner", "b", 3, url)))
            front.follow(link)
            listening = asyncio.create_task(link.listen(lines))
            stack.callback(listening.cancel)
            fronts.append(front)
        carries, asks = fronts
        now = time.monotonic()
        for name in ("plain", "job_1.a"):
            await stack.enter_async_context(carries.place(Ticket(name, "t", 1.0, now + 60, arrived=now)))
        await carries.forecast(Ticket("job_1.a", "t", 1.0, now + 60))  # so that the owner has heard of both
        waits, comes = (Ticket(name, "t", 1.0, now + 60, arrived=now) for name in ("job_1", "job_2"))
        assert await asks.foresee(waits) == Place(2, None)
        assert await asks.foresee(comes, Ahead(count=5, units=5.0)) == Place(8, None)
        order.endpoints.seen_ready("http://a", 2, 1.0, time.monotonic())
        assert order.grant(time.monotonic())
        assert order.grant(time.monotonic())
        assert await asks.foresee(waits) is None, "it has a slot"
