"""Work of class batch takes what is left over: no interactive request waits for a slot because of it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bowerbird.gateway.admission.order import Order
from bowerbird.gateway.admission.ticket import Grant, PutBack

from .orders import URLS, batch_ticket, order_with, ticket


def granted(order: Order, now: float = 0.0) -> list[Grant]:
    grants = []
    while grant := order.grant(now):
        grants.append(grant)
    return grants


def names(grants: list[Grant]) -> list[str]:
    return [grant.ticket_id for grant in grants]


@given(slots=st.integers(1, 5), waiting=st.integers(0, 9))
def test_interactive_requests_have_every_slot_however_much_batch_work_is_there(slots: int, waiting: int) -> None:
    order = order_with(slots)
    for number in range(2 * slots):
        order.offer(batch_ticket(f"batch-{number}"))
    assert len(granted(order)) == slots
    for number in range(waiting):
        order.offer(ticket(f"interactive-{number}"))
    assert names(granted(order)) == [f"interactive-{number}" for number in range(min(slots, waiting))]


def test_batch_work_takes_no_slot_that_anybody_has() -> None:
    order = order_with(2)
    order.offer(ticket("a"))
    order.offer(ticket("b"))
    first, _ = granted(order)
    order.offer(batch_ticket("batch"))
    assert granted(order) == []
    order.settle(first, 0.0, finished=True)
    assert names(granted(order)) == ["batch"]


def test_who_was_put_back_waits_for_room_of_its_class_and_holds_nobody_up() -> None:
    order = order_with(1)
    order.offer(batch_ticket("batch"))
    [grant] = granted(order)
    order.offer(batch_ticket("next"))
    assert order.put_back(grant, PutBack.FULL, 0.0, pause_seconds=1.0)
    order.offer(ticket("interactive"))
    [urgent] = granted(order)
    assert urgent.ticket_id == "interactive"
    assert order.endpoints.reopening() is None  # the interactive one has the slot: time will not open it
    order.settle(urgent, 0.5, finished=True)
    assert names(granted(order, 0.5)) == ["batch"]


def test_an_endpoint_that_was_full_of_batch_work_is_asked_again_when_its_pause_is_over() -> None:
    order = order_with(1)
    order.offer(batch_ticket("batch"))
    [grant] = granted(order)
    order.put_back(grant, PutBack.FULL, 0.0, pause_seconds=1.0)
    assert granted(order, 0.9) == []
    assert order.endpoints.reopening() == 1.0
    assert names(granted(order, 1.0)) == ["batch"]


def test_an_interactive_request_is_told_no_wait_for_batch_work() -> None:
    order = order_with(1)
    order.endpoints.seen_ready(URLS[0], 1, 1.0, 0.0)
    order.offer(batch_ticket("batch", cost=1000.0))
    granted(order)
    assert order.place(ticket("interactive"), 0.0).eta_seconds == 0.0
    assert (order.place(batch_ticket("next"), 0.0).eta_seconds or 0.0) > 500.0


def test_batch_work_that_others_overtook_is_no_measure_of_the_rate() -> None:
    order = order_with(1)
    order.endpoints.seen_ready(URLS[0], 1, 1.0, 0.0)
    order.offer(batch_ticket("batch"))
    [batch] = granted(order)
    order.offer(ticket("interactive"))
    [urgent] = granted(order, 0.0)
    order.settle(batch, 500.0, finished=True)
    order.settle(urgent, 500.0, finished=False)
    assert order.unit_seconds == 1.0
