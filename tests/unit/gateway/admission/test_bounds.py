"""The bounds that come with it fit together: each is met by what it is there for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bowerbird.contracts import MAX_PROMPT_CHARACTERS
from bowerbird.deadline import Deadline
from bowerbird.errors import QueueFull, TenantQueueFull
from bowerbird.gateway.admission.bounds import Bounds
from bowerbird.gateway.admission.order import Order
from bowerbird.gateway.admission.ticket import Ticket
from bowerbird.gateway.api.image_request import GenerateImages
from bowerbird.gateway.call import Call
from bowerbird.gateway.metrics import Metrics
from bowerbird.gateway.plan import plan_images
from bowerbird.gateway.waiting import ticket_of
from bowerbird.settings import Settings

from ..stand_ins import MODEL

SETTINGS = Settings()
LONGEST = "\N{BIRD}" * MAX_PROMPT_CHARACTERS


def longest_ticket() -> Ticket:
    """Of a request with as much text as one may have."""
    asked = GenerateImages(prompt=LONGEST, negative_prompt=LONGEST)
    call = Call(request_id="req", deadline=Deadline.after(60), metrics=Metrics())
    return ticket_of(plan_images(asked, MODEL, 10**9), call, SETTINGS)


def filled(order: Order, ticket: Ticket, tenants: int) -> int:
    """How many such tickets the order takes from so many tenants, in turn, until it refuses one."""
    taken = 0

    def offer_more() -> None:
        nonlocal taken
        while True:
            order.offer(replace(ticket, id=str(taken), tenant=f"tenant {taken % tenants}"))
            taken += 1

    with pytest.raises(QueueFull) as full:
        offer_more()
    assert full.value.details["bound"] == "requests"
    return taken


def order_of(settings: Settings) -> Order:
    return Order(
        Bounds(settings.queue_requests, settings.queue_units, settings.queue_bytes, settings.queue_tenant_part)
    )


def test_as_many_requests_may_wait_as_is_said_however_long_their_prompts_are() -> None:
    assert filled(order_of(SETTINGS), longest_ticket(), tenants=8) == SETTINGS.queue_requests


def test_a_tenant_may_have_its_part_of_them() -> None:
    assert filled(order_of(SETTINGS), longest_ticket(), tenants=1) == SETTINGS.queue_requests * 0.25


def test_requests_that_bring_more_than_text_meet_the_bound_on_memory() -> None:
    order, brings = order_of(SETTINGS), replace(longest_ticket(), held_bytes=SETTINGS.queue_bytes // 8)
    order.offer(replace(brings, id="first"))
    order.offer(replace(brings, id="second"))
    with pytest.raises(TenantQueueFull) as full:
        order.offer(replace(brings, id="third"))
    assert full.value.details["bound"] == "bytes"


def test_what_the_settings_say_is_what_holds_without_them() -> None:
    assert Bounds() == Bounds(
        SETTINGS.queue_requests, SETTINGS.queue_units, SETTINGS.queue_bytes, SETTINGS.queue_tenant_part
    )
