"""Several replicas and one order, whatever dies or breaks in whatever sequence: real fronts, owners and messages over
connections that deliver as the test says."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from typing import cast

import aiohttp
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from bowerbird.gateway.admission.admission import Admission, Turn
from bowerbird.gateway.admission.bounds import Bounds, Occupancy
from bowerbird.gateway.admission.endpoints import Pauses
from bowerbird.gateway.admission.order import Order
from bowerbird.gateway.admission.owner import Owner
from bowerbird.gateway.admission.ticket import Grant, PutBack, Ticket
from bowerbird.gateway.replicas.followers import Followers, Session
from bowerbird.gateway.replicas.link import Follower, Link, LinkFailed

BOUNDS = Bounds(requests=1000, units=1e9, held_bytes=10**9, tenant_part=1.0)
SLOTS = {"http://a": 2, "http://b": 1}
REPLICAS = 3


@dataclass
class Wire:
    """One connection; what was said and not yet heard."""

    link: Link
    session: Session
    up: list[bytes] = field(default_factory=list)
    down: list[bytes] = field(default_factory=list)

    async def take(self) -> None:
        """What both ends have said so far is on its way."""
        self.up += await said(self.link)
        self.down += await said(self.session)

    async def deliver(self, count: int) -> None:
        await self.take()
        up, self.up = self.up[:count], self.up[count:]
        down, self.down = self.down[:count], self.down[count:]
        await self.session.listen(each(up))
        with suppress(LinkFailed):  # the end of what was delivered, not of the connection
            await self.link.listen(each(down))


async def said(end: Link | Session) -> list[bytes]:
    return (await anext(end.outbox.chunks())).splitlines()


async def each(lines: list[bytes]) -> AsyncIterator[bytes]:
    for line in lines:
        yield line


@dataclass
class Process:
    """A gateway: its front, its connection, and the order that it believes to own."""

    admission: Admission = field(default_factory=lambda: Admission(BOUNDS))
    name: str = field(default_factory=lambda: secrets.token_hex(4))
    wire: Wire | None = None
    owner: Owner | None = None
    followers: Followers | None = None
    stopped: bool = False
    waits: dict[str, tuple[Turn, AsyncExitStack]] = field(default_factory=dict)

    def of(self) -> Follower:
        nobody = cast(aiohttp.ClientSession, None)  # what it would be connected by
        return Follower(self.name, self.admission, Occupancy(BOUNDS), nobody, b"")


class Replicas(RuleBasedStateMachine):
    """Tickets come and go at three replicas; owners die, are paused and come back; connections break."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.processes = [Process() for _ in range(REPLICAS)]
        self.epoch = 0
        self.grants: set[tuple[int, int]] = set()
        self.drawing: dict[str, Grant] = {}
        self.latest = 0
        self.tickets = 0
        self.paused_once = False
        self.runner.run(self.take_over(self.processes[0]))

    # ------------------------------------------------------------------------------------------------- what happens

    @rule(which=st.integers(0, REPLICAS - 1), tenant=st.sampled_from("abc"), cost=st.floats(0.1, 10))
    def arrives(self, which: int, tenant: str, cost: float) -> None:
        process = self.processes[which]
        if not process.stopped:
            self.runner.run(self.place(process, tenant, cost))

    @rule(data=st.data(), why=st.none() | st.sampled_from([PutBack.FULL, PutBack.LOST]))
    def ends(self, data: st.DataObject, why: PutBack | None) -> None:
        """A drawing is finished, or its endpoint did not serve it."""
        names = sorted(name for name in self.drawing if self.at(name))
        if names:
            self.runner.run(self.end(data.draw(st.sampled_from(names)), why))

    @rule(data=st.data())
    def leaves(self, data: st.DataObject) -> None:
        """A client hangs up, whether it waits or is drawn for."""
        names = sorted(name for each in self.awake for name in each.waits)
        if names:
            self.runner.run(self.leave(data.draw(st.sampled_from(names))))

    @rule(which=st.integers(0, REPLICAS - 1), count=st.integers(1, 20))
    def some_is_heard(self, which: int, count: int) -> None:
        wire = self.processes[which].wire
        if wire is not None and not self.processes[which].stopped and not self.owning.stopped:
            self.runner.run(wire.deliver(count))
            self.runner.run(self.all_who_may_draw())

    @rule(which=st.integers(0, REPLICAS - 1))
    def a_connection_breaks_and_is_made_again(self, which: int) -> None:
        process = self.processes[which]
        if process.wire is not None and not process.stopped and not self.owning.stopped:
            self.runner.run(self.break_and_connect(process))
            self.runner.run(self.all_who_may_draw())

    @rule(which=st.integers(0, REPLICAS - 1), data=st.data())
    def a_replica_dies(self, which: int, data: st.DataObject) -> None:
        """Its clients see their connections break; another process starts in its place."""
        dead = self.processes[which]
        for name in dead.waits:
            self.drawing.pop(name, None)
        self.processes[which] = Process()
        if dead is self.owning:
            self.change_hands(data)
            return
        if dead.wire is not None:
            self.runner.run(self.lost(dead))
        self.runner.run(self.connect(self.processes[which]))
        self.runner.run(self.all_who_may_draw())

    @precondition(lambda self: not any(each.stopped for each in self.processes))
    @rule(data=st.data())
    def the_owner_is_stopped_for_longer_than_its_lease(self, data: st.DataObject) -> None:
        self.paused_once = True
        paused = self.owning
        paused.stopped = True
        self.change_hands(data)

    @rule()
    def whoever_was_stopped_goes_on(self) -> None:
        for process in self.processes:
            if process.stopped:
                process.stopped = False
                self.runner.run(self.wake(process))
        self.runner.run(self.all_who_may_draw())

    # ------------------------------------------------------------------------------------------------ what is true

    @invariant()
    def no_grant_is_given_twice_and_nobody_draws_by_two(self) -> None:
        for process in self.awake:
            for name, (turn, _) in process.waits.items():
                assert name not in self.drawing or turn.held is not None

    @invariant()
    def no_endpoint_draws_more_than_its_slots(self) -> None:
        for url, slots in SLOTS.items():
            assert sum(grant.endpoint == url for grant in self.drawing.values()) <= slots

    def teardown(self) -> None:
        """In the end everything that still waits is drawn, and nothing is left anywhere."""
        try:
            self.whoever_was_stopped_goes_on()
            for _ in range(20 * (self.tickets + 2)):
                if not any(process.waits for process in self.processes):
                    break
                self.runner.run(self.all_is_heard())
                self.runner.run(self.all_who_may_draw())
                for name in list(self.drawing):
                    self.runner.run(self.end(name, None))
            assert not [name for process in self.processes for name in process.waits]
            self.runner.run(self.all_is_heard())
            assert self.owning.owner is not None
            assert self.owning.owner.order.waiting == self.owning.owner.order.holding == 0
        finally:
            self.runner.close()

    # --------------------------------------------------------------------------------------------------- machinery

    @property
    def awake(self) -> list[Process]:
        return [each for each in self.processes if not each.stopped]

    @property
    def owning(self) -> Process:
        return self._owning

    def at(self, name: str) -> Process | None:
        return next((each for each in self.awake if name in each.waits), None)

    def change_hands(self, data: st.DataObject) -> None:
        self.runner.run(self.take_over(data.draw(st.sampled_from(self.awake))))
        self.runner.run(self.all_who_may_draw())

    async def take_over(self, process: Process) -> None:
        """All that are awake lose the owner, and announce to the new one before it grants."""
        self.epoch += 1
        for each in self.awake:
            each.wire = None
            each.admission.lose()
        gathered, epoch = asyncio.Event(), self.epoch
        order = Order(BOUNDS, Pauses(0.0, 0.0), epoch)
        process.owner = Owner(order, lambda: gathered.is_set() and self.epoch == epoch)
        self._owning, process.followers = process, Followers(process.owner)
        process.admission.keep(process.owner)
        for url, slots in SLOTS.items():
            for each in self.processes:
                each.admission.seen_ready(url, slots, None)
        for each in self.awake:
            if each is not process:
                await self.connect(each)
        gathered.set()
        process.owner.dispatch()

    async def connect(self, process: Process) -> None:
        assert self.owning.followers is not None
        process.wire = Wire(Link(process.of()), self.owning.followers.session(process.name))
        process.admission.follow(process.wire.link)
        await process.wire.deliver(10**6)

    async def break_and_connect(self, process: Process) -> None:
        """What was on its way is lost, and neither end knows how much."""
        assert process.wire is not None
        session = process.wire.session
        process.admission.lose()
        session.end()
        await self.connect(process)

    async def lost(self, dead: Process) -> None:
        assert dead.wire is not None
        dead.wire.session.end()
        dead.wire.session.vacate()

    async def wake(self, process: Process) -> None:
        """It goes on as the owner that it believes to be, and then looks at its lease."""
        if process.owner is not None:
            process.owner.dispatch()
        for url, slots in SLOTS.items():
            process.admission.seen_ready(url, slots, None)
        self.draw_what_is_granted()
        process.owner = process.followers = process.wire = None
        process.admission.lose()
        await self.connect(process)

    async def all_is_heard(self) -> None:
        for _ in range(3):
            for process in self.processes:
                for url, slots in SLOTS.items():
                    process.admission.seen_ready(url, slots, None)
                if process.wire is not None:
                    await process.wire.deliver(10**6)

    async def place(self, process: Process, tenant: str, cost: float) -> None:
        self.tickets += 1
        now = time.monotonic()
        ticket = Ticket(f"{self.tickets:04}", tenant, cost, now + 3600, arrived=now)
        stack = AsyncExitStack()
        turn = await stack.enter_async_context(process.admission.place(ticket))
        process.waits[ticket.id] = (turn, stack)
        self.draw_what_is_granted()

    async def leave(self, name: str) -> None:
        process = self.at(name)
        assert process is not None
        self.drawing.pop(name, None)
        await process.waits.pop(name)[1].aclose()
        self.draw_what_is_granted()

    async def end(self, name: str, why: PutBack | None) -> None:
        process = self.at(name)
        assert process is not None
        del self.drawing[name]
        turn, stack = process.waits[name]
        if why is not None:
            turn.put_back(why, pause_seconds=0.0)
            for url, slots in SLOTS.items():
                self.owning.admission.seen_ready(url, slots, None)
        else:
            turn.finished()
            del process.waits[name]
            await stack.aclose()
        self.draw_what_is_granted()

    async def all_who_may_draw(self) -> None:
        self.draw_what_is_granted()

    def draw_what_is_granted(self) -> None:
        """Whoever has a slot goes there; the stage refuses what is of a former owner, and what is too much."""
        for process in self.awake:
            for name, (turn, _) in list(process.waits.items()):
                if turn.held is None or name in self.drawing:
                    continue
                key = (turn.held.epoch, turn.held.number)
                if turn.held.epoch < self.latest:
                    turn.put_back(PutBack.STALE)
                    continue
                self.latest = turn.held.epoch
                assert key not in self.grants, "a grant was used twice"
                self.grants.add(key)
                url = turn.held.endpoint
                if sum(grant.endpoint == url for grant in self.drawing.values()) >= SLOTS[url]:
                    assert self.paused_once, "only who was not heard may hold a slot that the owner does not know of"
                    turn.put_back(PutBack.FULL, pause_seconds=0.0)
                else:
                    self.drawing[name] = turn.held


Replicas.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestReplicas = Replicas.TestCase
