"""The order: who is put back, who is refused, what one is told, and what a new owner makes of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bowerbird.errors import QueueFull, TenantQueueFull
from bowerbird.gateway.admission.bounds import Amount, Occupancy
from bowerbird.gateway.admission.order import Order
from bowerbird.gateway.admission.ticket import PutBack, Ticket

from .orders import BOUNDS, URLS, order_with, ticket

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


def test_a_tenant_whose_tier_has_another_share_of_the_queue_fills_that() -> None:
    order = order_with(requests=8, tenant_part=0.5)
    for tenant, part, most in (("small", 0.25, 2), ("large", 0.75, 6)):
        for number in range(most):
            order.offer(replace(ticket(f"{tenant} {number}", tenant), queue_part=part))
        with pytest.raises(TenantQueueFull) as refused:
            order.offer(replace(ticket(f"{tenant} more", tenant), queue_part=part))
        assert refused.value.details == {"bound": "requests", "limit": most}


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


def test_what_was_accepted_is_not_refused_and_leaves_the_queue_to_the_others() -> None:
    order = order_with(requests=4, units=8.0, held_bytes=100, tenant_part=0.5)
    order.offer(ticket("first", "flood"))
    order.offer(ticket("second", "flood"))
    for number in range(100):
        order.offer(replace(ticket(f"job {number}", "flood", cost=50.0, held_bytes=90), accepted=True))
    with pytest.raises(TenantQueueFull):
        order.offer(ticket("third", "flood"))
    order.offer(ticket("quiet", "quiet"))

    assert order.waiting == 103
    assert order.left("quiet").requests == 1


def test_retry_after_reckons_with_what_was_accepted() -> None:
    """Two units and eight that were accepted wait before one of the two is gone; a slot makes one unit in 2 s."""
    order = order_with(requests=2)
    order.endpoints.seen_ready(URLS[0], 1, 2.0, 0.0)
    order.offer(replace(ticket("job", cost=8.0), accepted=True))
    order.offer(ticket("x"))
    order.offer(ticket("y"))
    with pytest.raises(QueueFull) as refused:
        order.offer(ticket("more", "another"))
    assert refused.value.retry_after_seconds == 10


def test_a_tenant_of_whom_nothing_waits_takes_no_memory() -> None:
    occupancy = Occupancy(BOUNDS)
    for number in range(100):
        for accepted in (False, True):
            waits = replace(ticket(str(number), tenant=str(number)), accepted=accepted)
            occupancy.add(waits)
            occupancy.remove(waits)

    assert occupancy.tenants == occupancy.accepted == {}
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
