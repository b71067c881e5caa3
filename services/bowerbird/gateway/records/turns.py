"""Whose jobs are claimed next: tenants take turns, so that one tenant's thousand jobs do not fill every hand.

The n-th job of a flow (a tenant's work of one class; what it has in hand counts) comes after every other flow's
(n-1)-th; within a turn interactive work comes first, then the flow whose oldest job is the oldest. Claiming is only who
may stand in the queue: the order by cost, weight and class is made there (`gateway/admission/`).
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bowerbird.contracts import WorkClass
from bowerbird.gateway.records.job import JobKind


@dataclass(frozen=True, slots=True)
class WaitingFlow:
    """A tenant's jobs of one class and kind."""

    tenant: str
    work_class: WorkClass
    waiting: int
    running: int
    oldest_ms: int
    """When the oldest that waits was accepted."""
    kind: JobKind = JobKind.PICTURES
    units: float = 0.0
    """Compute units of those that wait; 0 where nobody asked for it."""


def take_turns(flows: Iterable[WaitingFlow], limit: int) -> Mapping[WaitingFlow, int]:
    """How many jobs of which flow are taken, `limit` in all or every one that waits."""
    taken: Counter[WaitingFlow] = Counter()
    queue = [(_turn(flow, 1), flow.tenant, flow) for flow in flows if flow.waiting]
    heapq.heapify(queue)
    while queue and taken.total() < limit:
        _, tenant, flow = heapq.heappop(queue)
        taken[flow] += 1
        if taken[flow] < flow.waiting:
            heapq.heappush(queue, (_turn(flow, taken[flow] + 1), tenant, flow))
    return taken


def taken_before(flow: WaitingFlow, number: int, flows: Iterable[WaitingFlow]) -> Mapping[WaitingFlow, int]:
    """How many jobs of which other flow of its kind are taken before this flow's `number`-th (from 1), as things are.

    With the `number - 1` of its own these are all that `take_turns` takes before it.
    """
    its = _turn(flow, number), flow.tenant
    before: dict[WaitingFlow, int] = {}
    for other in flows:
        if other.kind is flow.kind and (other.tenant, other.work_class) != (flow.tenant, flow.work_class):
            level = its[0][0] - other.running  # the number of its job whose turn is in the same round
            count = level if (_turn(other, level), other.tenant) < its else level - 1
            before[other] = max(0, min(other.waiting, count))
    return before


def _turn(flow: WaitingFlow, number: int) -> tuple[int, bool, int, str]:
    return (flow.running + number, flow.work_class is not WorkClass.INTERACTIVE, flow.oldest_ms, flow.work_class.value)
