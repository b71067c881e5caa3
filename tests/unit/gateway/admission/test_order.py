"""The order against a model of it: whatever happens in whatever sequence, the books are right."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from bowerbird.contracts import WorkClass
from bowerbird.errors import QueueFull, TenantQueueFull
from bowerbird.gateway.admission.bounds import Amount, Bounds, Occupancy
from bowerbird.gateway.admission.endpoints import Pauses
from bowerbird.gateway.admission.order import Order
from bowerbird.gateway.admission.ticket import Grant, PutBack, Ticket

FOREVER = float("inf")
LARGEST = 10.0
URLS = ("http://a", "http://b", "http://c")
UNBOUNDED = Bounds(requests=10**6, units=1e12, held_bytes=10**12, tenant_part=1.0)
BOUNDS = Bounds(requests=24, units=120.0, held_bytes=2_000, tenant_part=0.5)


def ticket(name: str, tenant: str = "t", cost: float = 1.0, held_bytes: int = 0) -> Ticket:
    return Ticket(name, tenant, cost, FOREVER, held_bytes=held_bytes)


def order_with(slots: int = 1, **bounds: Any) -> Order:
    order = Order(replace(UNBOUNDED, **bounds))
    order.endpoints.seen_ready(URLS[0], slots, None, 0.0)
    return order


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
        while grant := self.order.grant(self.now):
            assert grant.epoch == 7
            assert grant.ticket_id in self.offered
            assert grant.ticket_id not in self.held
            if self.put_back:
                assert grant.ticket_id == self.put_back.pop(0)
            self.held[grant.ticket_id] = grant
            if grant.ticket_id not in self.turns:
                self.turns.append(grant.ticket_id)
            in_flight = sum(each.endpoint == grant.endpoint for each in self.held.values())
            assert in_flight <= self.slots[grant.endpoint]
        assert not self.waiting_tickets() or self.order.endpoints.least_loaded(self.now) is None

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


# ------------------------------------------------------------------------------------------------------- put back


def test_who_is_put_back_by_a_full_endpoint_is_next_when_that_has_room() -> None:
    order = order_with(slots=2)
    for name in "xyz":
        order.offer(ticket(name))
    x, y = order.grant(0.0), order.grant(0.0)
    assert x
    assert y
    order.put_back(y, PutBack.FULL, 1.0, pause_seconds=5.0)

    assert order.grant(1.0) is None
    assert order.endpoints.reopening() == 6.0
    order.settle(x, 2.0, finished=True)
    again = order.grant(2.0)
    assert again
    assert again.ticket_id == "y"
    assert again.number != y.number


def test_who_is_put_back_is_told_that_it_is_next() -> None:
    order = order_with()
    order.endpoints.seen_ready(URLS[0], 1, 1.0, 0.0)
    for name in "xyz":
        order.offer(ticket(name))
    grant = order.grant(0.0)
    assert grant
    order.put_back(grant, PutBack.FULL, 0.0)

    assert order.place(ticket("x"), 0.0).position == 1
    assert order.place(replace(ticket("x"), wait_until=5.0), 0.0).position == 1
    assert [order.place(ticket(name), 0.0).position for name in "yz"] == [2, 3]


def test_full_endpoint_is_asked_again_when_its_pause_is_over() -> None:
    order = order_with()
    order.offer(ticket("x"))
    grant = order.grant(0.0)
    assert grant
    order.put_back(grant, PutBack.FULL, 0.0, pause_seconds=5.0)

    assert order.grant(4.9) is None
    assert order.grant(5.0)


def test_who_is_put_back_goes_to_another_endpoint_at_once() -> None:
    order = order_with()
    order.endpoints.seen_ready(URLS[1], 1, None, 0.0)
    order.offer(ticket("x"))
    grant = order.grant(0.0)
    assert grant
    order.put_back(grant, PutBack.LOST, 0.0)
    again = order.grant(0.0)

    assert again
    assert {grant.endpoint, again.endpoint} == {URLS[0], URLS[1]}


# ------------------------------------------------------------------------------------------------------ refusals


def test_a_flooding_tenant_fills_its_own_part_and_is_told_so() -> None:
    order = order_with(requests=8, tenant_part=0.5)
    for number in range(4):
        order.offer(ticket(f"flood {number}", "flood"))
    with pytest.raises(TenantQueueFull) as refused:
        order.offer(ticket("flood 5", "flood"))
    order.offer(ticket("quiet", "quiet"))

    assert refused.value.details == {"bound": "requests", "limit": 4}


@pytest.mark.parametrize(
    ("bound", "second"),
    [({"units": 10.0}, ticket("y", "u", cost=6.0)), ({"held_bytes": 100}, ticket("y", "u", held_bytes=60))],
)
def test_units_and_bytes_are_bounded_in_all(bound: dict[str, Any], second: Ticket) -> None:
    order = order_with(**bound)
    order.offer(ticket("x", "t", cost=6.0, held_bytes=60))
    with pytest.raises(QueueFull):
        order.offer(second)
    assert order.waiting == 1


def test_one_request_may_always_wait_however_much_it_is() -> None:
    order = order_with(requests=8, units=10.0, held_bytes=100, tenant_part=0.25)
    order.offer(ticket("huge", cost=1e6, held_bytes=10**6))

    assert order.grant(0.0)


def test_a_tenant_of_whom_nothing_waits_takes_no_memory() -> None:
    occupancy = Occupancy(BOUNDS)
    for number in range(100):
        occupancy.add(ticket(str(number), tenant=str(number)))
        occupancy.remove(ticket(str(number), tenant=str(number)))

    assert occupancy.tenants == {}
    assert occupancy.all == Amount()


def test_retry_after_is_how_long_the_queue_needs_to_make_room() -> None:
    """Ten units wait and one must go; a slot makes one unit in 2 s, by its own account."""
    order = order_with(requests=10)
    order.endpoints.seen_ready(URLS[0], 1, 2.0, 0.0)
    for number in range(10):
        order.offer(ticket(str(number)))
    with pytest.raises(QueueFull) as refused:
        order.offer(ticket("more", "another"))
    assert refused.value.retry_after_seconds == 2


def test_retry_after_of_a_tenant_is_by_its_share() -> None:
    """Its part has room when one of its own is served, which is every second turn."""
    order = order_with(requests=20, tenant_part=0.25)
    order.endpoints.seen_ready(URLS[0], 1, 2.0, 0.0)
    for number in range(5):
        order.offer(ticket(f"t {number}", "t"))
        order.offer(ticket(f"u {number}", "u"))
    with pytest.raises(TenantQueueFull) as refused:
        order.offer(ticket("more", "t"))
    assert refused.value.retry_after_seconds == 4


# ----------------------------------------------------------------------------------------------------- estimates


def test_nobody_is_told_a_time_while_there_is_no_endpoint() -> None:
    order = Order()
    order.offer(ticket("x"))

    assert order.place(ticket("x"), 0.0).eta_seconds is None
    assert order.place(ticket("x"), 0.0).position == 1


def test_eta_is_what_the_measured_rate_says() -> None:
    """Two slots that need 10 s for a request of 5 units; the endpoint had promised a second for it."""
    order = Order()
    order.endpoints.seen_ready(URLS[0], 2, 0.1, 0.0)
    for number in range(60):
        order.offer(ticket(str(number), cost=5.0))
    now = 0.0
    for _ in range(20):
        grants = [order.grant(now), order.grant(now)]
        assert order.grant(now) is None
        now += 10.0
        for grant in grants:
            assert grant
            order.settle(grant, now, finished=True)
    assert order.grant(now)
    assert order.grant(now)
    last = order.place(ticket("59", cost=5.0), now)

    assert last.position == 18
    assert last.eta_seconds == pytest.approx(90.0, rel=0.1)


# ------------------------------------------------------------------------------------------------- after an owner


def arrived(name: str, at: float, tenant: str = "t") -> Ticket:
    return replace(ticket(name, tenant), arrived=at)


def test_those_who_waited_under_an_earlier_owner_wait_in_the_order_in_which_they_came() -> None:
    """Two replicas announce, each its own in order; one ticket of each had its turn already."""
    order = order_with(slots=1)
    order.offer(arrived("new", 9.0))
    for name, at in (("b", 2.0), ("e", 5.0), ("a", 1.0), ("c", 3.0), ("d", 4.0)):
        order.restore(arrived(name, at), had_turn=name in "de")

    granted = []
    while grant := order.grant(0.0):
        granted.append(grant.ticket_id)
        order.settle(grant, 0.0, finished=True)
    assert granted == ["d", "e", "a", "b", "c", "new"]


def test_who_was_admitted_once_is_not_refused_by_the_next_owner() -> None:
    order = order_with(requests=1)
    for number in range(3):
        order.restore(arrived(str(number), number), had_turn=False)
    with pytest.raises(QueueFull):
        order.offer(ticket("new"))
    assert order.waiting == 3


def test_a_slot_that_was_held_before_is_not_given_away() -> None:
    order = order_with(slots=2)
    kept = order.adopt(ticket("x"), URLS[0], 0.0)
    elsewhere = order.adopt(ticket("y"), URLS[1], 0.0)  # nobody has looked there yet
    for name in "abc":
        order.offer(ticket(name))
    first = order.grant(0.0)
    assert first
    assert order.grant(0.0) is None

    assert order.settle(kept, 1.0, finished=True)
    assert order.grant(1.0)
    assert order.grant(1.0) is None
    order.endpoints.seen_ready(URLS[1], 1, None, 2.0)
    assert order.grant(2.0) is None
    assert order.settle(elsewhere, 3.0, finished=True)
    last = order.grant(3.0)
    assert last
    assert last.endpoint == URLS[1]


def test_who_is_put_back_from_a_slot_that_was_held_before_is_next() -> None:
    order = order_with(slots=1)
    order.offer(ticket("a"))
    kept = order.adopt(arrived("x", 1.0), URLS[0], 5.0)
    order.put_back(kept, PutBack.STALE, 5.0)
    grant = order.grant(5.0)
    assert grant
    assert grant.ticket_id == "x"


def test_what_is_not_known_to_have_begun_is_no_measure_of_the_rate() -> None:
    order = order_with(slots=1)
    order.endpoints.seen_ready(URLS[0], 1, 1.0, 0.0)
    for name in "ab":
        order.offer(ticket(name, cost=10.0))
    kept = order.adopt(ticket("x", cost=10.0), URLS[0], 0.0)
    assert order.grant(0.0) is None
    order.settle(kept, 0.1, finished=True)
    assert order.unit_seconds == pytest.approx(1.0)
