"""Where work waits or would wait, told by whoever keeps the order to whoever asks."""

from __future__ import annotations

import time
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from bowerbird.contracts import WorkClass
from bowerbird.gateway.admission.admission import Admission
from bowerbird.gateway.admission.order import Order
from bowerbird.gateway.admission.ticket import NOBODY, Ahead, Place, PutBack, Ticket

from .orders import FOREVER, URLS, batch_ticket, order_with, ticket

WAITING = st.lists(
    st.builds(
        lambda tenant, cost, batch: (batch_ticket if batch else ticket)("", tenant, cost),
        tenant=st.sampled_from("abc"),
        cost=st.floats(0.1, 10),
        batch=st.booleans(),
    ),
    max_size=12,
)
QUEUED = st.lists(st.floats(0.1, 10), min_size=1, max_size=12)


def offered(*names: str) -> Order:
    order = order_with()
    for name in names:
        order.offer(ticket(name))
    return order


def test_work_is_found_by_its_own_id_wherever_it_waits_and_has_no_place_once_it_has_a_slot() -> None:
    order = offered("job_1.a", "plain", "job_2.b")
    asked = ticket("job_2")
    assert order.foresee(asked, NOBODY, 0.0) == Place(3, None)
    first = order.grant(0.0)
    assert first
    assert order.foresee(ticket("job_1"), NOBODY, 0.0) is None
    assert order.foresee(asked, NOBODY, 0.0) == Place(2, None)
    order.put_back(first, PutBack.LOST, 0.0)
    assert order.foresee(ticket("job_1"), NOBODY, 0.0) == Place(1, None)
    order.leave("job_1.a", 0.0)
    assert order.foresee(asked, NOBODY, 0.0) == Place(2, None)


def test_work_that_waits_nowhere_is_told_where_it_would_stand_behind_those_that_come_before_it() -> None:
    order = offered("job_1.a", "plain")
    assert order.foresee(ticket("job_2"), NOBODY, 0.0) == Place(3, None)
    assert order.foresee(ticket("job_2"), Ahead(4, 4.0, 3, 3.0), 0.0) == Place(10, None)


def test_eta_counts_what_comes_before_it() -> None:
    order = Order()
    order.endpoints.seen_ready(URLS[0], 1, 1.0, 0.0)
    alone = order.foresee(ticket("job_1"), NOBODY, 0.0)
    behind = order.foresee(ticket("job_1"), Ahead(2, 20.0, 1, 5.0), 0.0)
    assert alone == Place(1, 0.0)
    assert behind == Place(4, 25.0)


def test_of_two_tickets_of_one_job_the_later_is_found_until_it_leaves() -> None:
    """A replica that was paused may still wait with a job that another has claimed since."""
    order = offered("job_1.a", "plain", "job_1.b")
    assert order.foresee(ticket("job_1"), NOBODY, 0.0) == Place(3, None)
    order.leave("job_1.a", 0.0)
    assert order.foresee(ticket("job_1"), NOBODY, 0.0) == Place(2, None)


@given(WAITING, QUEUED, st.sampled_from(WorkClass), st.sampled_from("abd"))
def test_places_of_a_tenants_queued_jobs_grow_in_the_order_in_which_they_are_claimed(
    waiting: list[Ticket], costs: list[float], work_class: WorkClass, tenant: str
) -> None:
    order = order_with()
    for number, each in enumerate(waiting):
        order.offer(replace(each, id=str(number)))
    order.grant(0.0)
    places = []
    for number, cost in enumerate(costs):
        asked = replace(ticket("job", tenant, cost), work_class=work_class)
        place = order.foresee(asked, Ahead(number, sum(costs[:number])), 0.0)
        assert place
        places.append(place.position)
    assert places == sorted(set(places))
    assert places[-1] <= len(waiting) + len(costs)


async def test_while_nobody_keeps_the_order_it_is_told_behind_all_that_wait_here() -> None:
    admission = Admission()
    now = time.monotonic()
    async with (
        admission.place(replace(ticket("job_1.a"), wait_until=FOREVER, arrived=now)),
        admission.place(replace(ticket("2"), wait_until=FOREVER, arrived=now + 1)),
    ):
        asked = replace(ticket("job_3"), arrived=now + 2)
        assert await admission.foresee(replace(asked, id="job_1")) == Place(1, None)
        assert await admission.foresee(asked, Ahead(2, 2.0, 1, 1.0)) == Place(6, None)
