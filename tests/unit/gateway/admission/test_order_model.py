"""The order against a model of it: whatever happens in whatever sequence, the books are right."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from bowerbird.contracts import WorkClass
from bowerbird.errors import QueueFull, TenantQueueFull
from bowerbird.gateway.admission.endpoints import Pauses
from bowerbird.gateway.admission.order import Order
from bowerbird.gateway.admission.ticket import Grant, PutBack, Ticket

from .orders import BOUNDS, FOREVER, LARGEST, URLS


class Everything(RuleBasedStateMachine):
    """Tickets come and go, are granted, finish and are put back; endpoints appear, fill up, die and return."""

    def __init__(self) -> None:
        super().__init__()
        self.order = Order(BOUNDS, Pauses(1.0, 8.0), epoch=7)
        self.now = 0.0
        self.offered: dict[str, Ticket] = {}
        self.held: dict[str, Grant] = {}
        self.past: list[Grant] = []
        self.slots: dict[str, int] = {}
        self.put_back: list[str] = []
        self.turns: list[str] = []

    @initialize(slots=st.integers(1, 3))
    def first_endpoint(self, slots: int) -> None:
        self.look(URLS[0], slots)

    @rule(seconds=st.floats(0, 20))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(url=st.sampled_from(URLS), slots=st.integers(0, 4))
    def look(self, url: str, slots: int) -> None:
        if slots:
            self.order.endpoints.seen_ready(url, slots, 0.1, self.now)
            self.slots[url] = slots
        else:
            self.order.endpoints.seen_away(url)

    @rule(
        tenant=st.sampled_from("abcd"),
        cost=st.floats(0.1, LARGEST),
        work_class=st.sampled_from(WorkClass),
        weight=st.sampled_from([0.01, 1.0, 100.0]),
        held_bytes=st.integers(0, 300),
    )
    def offer(self, tenant: str, cost: float, work_class: WorkClass, weight: float, held_bytes: int) -> None:
        name = f"{len(self.offered) + len(self.turns)}-{len(self.past)}-{self.order.waiting}-{self.now}"
        new = Ticket(name, tenant, cost, FOREVER, work_class, weight, held_bytes)
        if name in self.offered:
            return
        own = [each for each in self.waiting_tickets() if each.tenant == tenant]
        if refused := self.refusal(new):
            over = own if isinstance(refused, TenantQueueFull) else self.waiting_tickets()
            part = BOUNDS.tenant_part if isinstance(refused, TenantQueueFull) else 1.0
            assert over
            assert (
                len(over) + 1 > BOUNDS.requests * part
                or sum(each.cost for each in over) + cost > BOUNDS.units * part - 1e-6
                or sum(each.held_bytes for each in over) + held_bytes > BOUNDS.held_bytes * part
            )
            assert (refused.retry_after_seconds or 0) >= 1
        else:
            self.offered[name] = new

    def refusal(self, new: Ticket) -> QueueFull | None:
        try:
            self.order.offer(new)
        except QueueFull as refused:
            return refused
        return None

    @rule()
    def dispatch(self) -> None:
        open_to_all = self.has_room(WorkClass.BATCH)
        while grant := self.order.grant(self.now):
            assert grant.epoch == 7
            assert grant.ticket_id in self.offered
            assert grant.ticket_id not in self.held
            self.it_was_its_turn(grant, open_to_all)
            self.held[grant.ticket_id] = grant
            if grant.ticket_id not in self.turns:
                self.turns.append(grant.ticket_id)
            there = [self.offered[each.ticket_id] for each in self.held.values() if each.endpoint == grant.endpoint]
            interactive = [each for each in there if each.work_class is WorkClass.INTERACTIVE]
            of_batch = self.offered[grant.ticket_id].work_class is WorkClass.BATCH
            assert len(there if of_batch else interactive) <= self.slots[grant.endpoint]
            open_to_all = self.has_room(WorkClass.BATCH)
        for each in self.waiting_tickets():
            assert not self.has_room(each.work_class)

    def has_room(self, work_class: WorkClass) -> bool:
        return self.order.endpoints.least_loaded(self.now, work_class) is not None

    def it_was_its_turn(self, grant: Grant, open_to_all: bool) -> None:
        """Whoever was put back is first, of those for whom there is room."""
        interactive = self.offered[grant.ticket_id].work_class is WorkClass.INTERACTIVE
        assert open_to_all or interactive
        first = [each for each in self.put_back if open_to_all or self.is_interactive(each)]
        if first:
            assert grant.ticket_id == first[0]
            self.put_back.remove(first[0])

    def is_interactive(self, name: str) -> bool:
        return self.offered[name].work_class is WorkClass.INTERACTIVE

    @rule(data=st.data(), finished=st.booleans())
    def settle(self, data: st.DataObject, finished: bool) -> None:
        if self.held:
            grant = self.held.pop(data.draw(st.sampled_from(sorted(self.held))))
            assert self.order.settle(grant, self.now, finished)
            del self.offered[grant.ticket_id]
            self.past.append(grant)

    @rule(data=st.data(), why=st.sampled_from(PutBack))
    def goes_back(self, data: st.DataObject, why: PutBack) -> None:
        if self.held:
            grant = self.held.pop(data.draw(st.sampled_from(sorted(self.held))))
            assert self.order.put_back(grant, why, self.now)
            self.past.append(grant)
            self.put_back = sorted([*self.put_back, grant.ticket_id], key=self.turns.index)

    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        if self.offered:
            name = data.draw(st.sampled_from(sorted(self.offered)))
            self.order.leave(name, self.now)
            self.order.leave(name, self.now)
            del self.offered[name]
            self.put_back = [each for each in self.put_back if each != name]
            if grant := self.held.pop(name, None):
                self.past.append(grant)

    @rule(data=st.data())
    def a_grant_that_is_over_changes_nothing(self, data: st.DataObject) -> None:
        if self.past:
            stale = data.draw(st.sampled_from(self.past))
            assert not self.order.settle(stale, self.now, finished=True)
            assert not self.order.put_back(stale, PutBack.LOST, self.now)

    @rule(data=st.data())
    def a_grant_of_another_epoch_changes_nothing(self, data: st.DataObject) -> None:
        if self.held:
            grant = self.held[data.draw(st.sampled_from(sorted(self.held)))]
            foreign = Grant(grant.ticket_id, grant.endpoint, 6, grant.number)
            assert not self.order.settle(foreign, self.now, finished=True)
            assert not self.order.put_back(foreign, PutBack.FULL, self.now)

    def waiting_tickets(self) -> list[Ticket]:
        return [each for name, each in self.offered.items() if name not in self.held]

    @invariant()
    def nothing_is_lost_and_nothing_is_there_twice(self) -> None:
        assert self.order.waiting == len(self.offered) - len(self.held)
        assert self.order.holding == len(self.held)

    @invariant()
    def everybody_who_waits_is_told_a_place(self) -> None:
        places = [self.order.place(each, self.now) for each in self.waiting_tickets()]
        assert all(1 <= each.position <= len(places) for each in places)
        assert all(each.eta_seconds is None or each.eta_seconds >= 0 for each in places)

    @invariant()
    def what_is_left_to_send_is_what_does_not_wait(self) -> None:
        for tenant in "abcd":
            own = [each for each in self.waiting_tickets() if each.tenant == tenant]
            left = self.order.left(tenant)
            assert left.requests <= max(0, BOUNDS.requests * BOUNDS.tenant_part - len(own))
            assert left.units <= max(0.0, BOUNDS.units * BOUNDS.tenant_part - sum(each.cost for each in own)) + 1e-6

    def teardown(self) -> None:
        """In the end everything can be served, by one endpoint alone, and nothing is left."""
        for _ in range(10 * len(self.offered) + 10):
            self.now += 1_000.0
            self.look(URLS[0], 1)
            self.dispatch()
            for grant in list(self.held.values()):
                del self.held[grant.ticket_id], self.offered[grant.ticket_id]
                assert self.order.settle(grant, self.now, finished=True)
        assert not self.offered
        assert self.order.waiting == self.order.holding == 0


Everything.TestCase.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
TestEverything = Everything.TestCase
