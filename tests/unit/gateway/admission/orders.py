"""What tests of the order begin with."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bowerbird.contracts import WorkClass
from bowerbird.gateway.admission.bounds import Bounds
from bowerbird.gateway.admission.order import Order
from bowerbird.gateway.admission.ticket import Ticket

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


def batch_ticket(name: str, tenant: str = "b", cost: float = 1.0) -> Ticket:
    return replace(ticket(name, tenant, cost), work_class=WorkClass.BATCH)
