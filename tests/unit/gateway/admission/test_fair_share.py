"""Lines and fair share: what a tenant gets of any window, whatever the others do."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import accumulate

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bowerbird.contracts import WorkClass
from bowerbird.gateway.admission.lines import CLASS_WEIGHTS, Lines
from bowerbird.gateway.admission.ticket import Ticket

INTERACTIVE, BATCH = WorkClass.INTERACTIVE, WorkClass.BATCH
LARGEST = 20.0
COSTS = st.floats(0.5, LARGEST)
WEIGHTS = st.sampled_from([0.01, 0.3, 1.0, 2.0, 10.0, 100.0])
FOREVER = float("inf")


@dataclass
class Served:
    """One ticket that had its turn, and who waited when it was chosen."""

    tenant: str
    cost: float
    waiting: frozenset[str]


class Queue:
    """Lines whose tickets are taken one after the other, and what happened."""

    def __init__(self) -> None:
        self.lines = Lines()
        self.waiting: Counter[str] = Counter()
        self.served: list[Served] = []
        self._numbers = 0

    def add(self, tenant: str, cost: float, weight: float = 1.0, work_class: WorkClass = INTERACTIVE) -> Ticket:
        self._numbers += 1
        ticket = Ticket(str(self._numbers), tenant, cost, FOREVER, work_class, weight)
        self.lines.add(ticket)
        self.waiting[tenant] += 1
        return ticket

    def take(self) -> Ticket | None:
        ticket = self.lines.first()
        if ticket is not None:
            self.served.append(Served(ticket.tenant, ticket.cost, frozenset(+self.waiting)))
            self.lines.take(ticket)
            self.waiting[ticket.tenant] -= 1
        return ticket


def ahead_of_share(served: list[Served], tenant: str, weights: dict[str, float]) -> list[float]:
    """How much more than its weight's share of everything the tenant has had after each ticket, from the start."""
    share = weights[tenant] / sum(weights.values())
    steps = (each.cost * ((each.tenant == tenant) - share) for each in served)
    return list(accumulate(steps, initial=0.0))


def largest_fall(levels: list[float]) -> float:
    """The deepest drop from any moment to a later one: the worst window."""
    return max(best - level for best, level in zip(accumulate(levels, max), levels, strict=True))


@settings(max_examples=60)
@given(
    tenants=st.lists(st.tuples(WEIGHTS, st.lists(COSTS, min_size=1, max_size=5)), min_size=2, max_size=12),
)
@example([(100.0, [LARGEST]), *([(1.0, [LARGEST])] * 11)])
@example([(7.0, [LARGEST]), *([(1.0, [LARGEST])] * 7)])
@example([(0.01, [0.5]), (100.0, [LARGEST]), (0.01, [LARGEST])])
def test_tenants_that_always_wait_get_their_weights_share_of_any_window(
    tenants: list[tuple[float, list[float]]],
) -> None:
    """Give or take three times the largest cost (Shreedhar and Varghese, 1995), whatever window one looks at."""
    queue = Queue()
    weights = {str(number): weight for number, (weight, _) in enumerate(tenants)}
    sent: Counter[str] = Counter()

    def more(tenant: str) -> None:
        costs = tenants[int(tenant)][1]
        queue.add(tenant, costs[sent[tenant] % len(costs)], weights[tenant])
        sent[tenant] += 1

    for tenant in weights:
        more(tenant)
        more(tenant)
    for _ in range(400):
        ticket = queue.take()
        assert ticket is not None
        more(ticket.tenant)

    largest = max(each.cost for each in queue.served)
    for tenant in weights:
        levels = ahead_of_share(queue.served, tenant, weights)
        assert largest_fall(levels) <= 3 * largest
        assert largest_fall([-level for level in levels]) <= 3 * largest


@settings(max_examples=100)
@given(
    weight=WEIGHTS,
    costs=st.lists(COSTS, min_size=1, max_size=4),
    others=st.lists(st.tuples(WEIGHTS, COSTS, st.integers(0, 30), st.integers(1, 8)), min_size=1, max_size=10),
)
def test_a_tenant_that_waits_gets_its_share_whoever_comes_and_goes_beside_it(
    weight: float, costs: list[float], others: list[tuple[float, float, int, int]]
) -> None:
    """At least its part of the weights of all that ever came, less three times the largest cost."""
    queue = Queue()
    weights = {"constant": weight, **{f"other {number}": each[0] for number, each in enumerate(others)}}
    for turn in range(200):
        while queue.waiting["constant"] < 2:
            queue.add("constant", costs[turn % len(costs)], weight)
        for number, (other_weight, cost, pause, burst) in enumerate(others):
            if turn % (pause + 1) == 0:
                for _ in range(burst):
                    queue.add(f"other {number}", cost, other_weight)
        queue.take()

    largest = max(each.cost for each in queue.served)
    assert largest_fall(ahead_of_share(queue.served, "constant", weights)) <= 3 * largest


@given(costs=st.lists(COSTS, min_size=2, max_size=12), idle=st.integers(1, 20))
def test_a_tenant_brings_no_credit_along_from_when_it_did_not_wait(costs: list[float], idle: int) -> None:
    queue = Queue()
    for _ in range(idle + 40):
        queue.add("busy", LARGEST)
    for _ in range(idle):
        queue.take()
    queue.served.clear()
    for cost in costs:
        queue.add("late", cost)
    for _ in range(len(costs)):
        queue.take()

    together = [each for each in queue.served if {"busy", "late"} <= each.waiting]
    levels = ahead_of_share(together, "late", {"busy": 1.0, "late": 1.0})
    assert max(levels) <= 2 * LARGEST


def test_a_tenant_brings_its_debt_along_when_it_comes_back() -> None:
    queue = Queue()
    for _ in range(30):
        queue.add("steady", 1.0)
    queue.add("greedy", 10.0)
    while queue.waiting["greedy"]:
        queue.take()
    queue.add("greedy", 1.0)
    queue.add("newcomer", 1.0)
    order = [ticket.tenant for _ in range(30) if (ticket := queue.take()) and ticket.tenant != "steady"]

    assert order == ["newcomer", "greedy"]


def test_sending_one_request_at_a_time_is_no_way_to_get_more_than_ones_share() -> None:
    queue = Queue()
    for _ in range(200):
        queue.add("steady", 1.0)
    queue.add("sly", 10.0)
    for _ in range(100):
        ticket = queue.take()
        assert ticket is not None
        if ticket.tenant == "sly":
            queue.add("sly", 10.0)

    had = Counter[str]()
    for each in queue.served:
        had[each.tenant] += int(each.cost)
    assert had["sly"] <= had["steady"] + 20


@settings(max_examples=60)
@given(
    interactive=st.lists(st.tuples(WEIGHTS, COSTS), min_size=1, max_size=5),
    batch=st.lists(st.tuples(WEIGHTS, COSTS), min_size=1, max_size=5),
)
def test_classes_that_always_wait_share_nine_to_one(
    interactive: list[tuple[float, float]], batch: list[tuple[float, float]]
) -> None:
    queue = Queue()
    classes: list[str] = []

    def more(work_class: WorkClass, number: int) -> None:
        weight, cost = (interactive if work_class is INTERACTIVE else batch)[number]
        queue.add(f"{work_class} {number}", cost, weight, work_class)

    for work_class, supply in ((INTERACTIVE, interactive), (BATCH, batch)):
        for number in range(len(supply)):
            more(work_class, number)
            more(work_class, number)
    for _ in range(300):
        ticket = queue.take()
        assert ticket is not None
        more(ticket.work_class, int(ticket.tenant.split()[1]))
        classes.append(str(ticket.work_class))

    for each, tenant in zip(queue.served, classes, strict=True):
        each.tenant = tenant
    weights = {str(each): weight for each, weight in CLASS_WEIGHTS.items()}
    largest = max(each.cost for each in queue.served)
    for name in weights:
        levels = ahead_of_share(queue.served, name, weights)
        assert largest_fall(levels) <= 3 * largest
        assert largest_fall([-level for level in levels]) <= 3 * largest


def test_a_lone_class_has_everything() -> None:
    queue = Queue()
    batch = [queue.add("b", 1.0, work_class=BATCH) for _ in range(3)]

    assert [queue.take() for _ in range(3)] == batch
    assert queue.take() is None


def test_a_line_is_first_come_first_served() -> None:
    queue = Queue()
    line = [queue.add("a", cost) for cost in (9.0, 1.0, 5.0)]

    assert [queue.take() for _ in range(3)] == line


def test_who_was_put_back_is_next_and_in_the_order_of_their_turns() -> None:
    queue = Queue()
    for cost in (1.0, 2.0, 3.0):
        queue.add("a", cost)
    first, second = queue.take(), queue.take()
    queue.add("b", 0.5, weight=100.0)
    assert first is not None
    assert second is not None
    queue.lines.put_back(second, 2)
    queue.lines.put_back(first, 1)

    assert queue.take() is first
    assert queue.take() is second


def test_who_was_put_back_is_charged_once() -> None:
    queue = Queue()
    for _ in range(10):
        queue.add("a", 1.0)
        queue.add("b", 1.0)
    for turn in range(6):
        ticket = queue.lines.first()
        assert ticket is not None
        queue.lines.take(ticket)
        if ticket.tenant == "a":
            for _ in range(5):
                queue.lines.put_back(ticket, turn)
                assert queue.lines.first() is ticket
                queue.lines.take(ticket)
        queue.served.append(Served(ticket.tenant, 1.0, frozenset()))

    assert Counter(each.tenant for each in queue.served) == {"a": 3, "b": 3}


@pytest.mark.parametrize(("units", "ahead"), [(3.0, 3), (6.0, 6)])
def test_what_is_ahead_is_ones_own_line_and_the_others_shares_until_then(units: float, ahead: int) -> None:
    queue = Queue()
    for _ in range(3):
        queue.add("a", 1.0)
    for _ in range(int(units - 3)):
        queue.add("b", 1.0)
    newcomer = Ticket("new", "a", 1.0, FOREVER)

    count, cost = queue.lines.ahead_of(newcomer)
    assert count == ahead
    assert cost == pytest.approx(units)


@settings(max_examples=60)
@given(
    sent=st.lists(st.tuples(st.sampled_from("abcd"), COSTS, st.sampled_from(WorkClass)), min_size=1, max_size=40),
    weights=st.lists(st.sampled_from([0.5, 1.0, 2.0]), min_size=4, max_size=4),
)
def test_the_position_told_is_about_when_ones_turn_comes(
    sent: list[tuple[str, float, WorkClass]], weights: list[float]
) -> None:
    """Within three largest requests of each line: the fair share's own bound."""
    queue = Queue()
    tickets = [queue.add(who, cost, weights["abcd".index(who)], work_class) for who, cost, work_class in sent]
    told = {ticket.id: queue.lines.ahead_of(ticket)[1] for ticket in tickets}
    before = 0.0
    lines = len({(who, work_class) for who, _, work_class in sent})
    while ticket := queue.take():
        assert abs(told[ticket.id] - before) <= 3 * LARGEST * lines
        before += ticket.cost


@settings(max_examples=60)
@given(sent=st.text("abcd", min_size=1, max_size=60), taken=st.integers(0, 20))
def test_the_position_of_equal_requests_is_exact_but_for_one_of_each_other_line(sent: str, taken: int) -> None:
    queue = Queue()
    tickets = [queue.add(who, 1.0) for who in sent]
    gone = {ticket.id for _ in range(taken) if (ticket := queue.take())}
    told = {ticket.id: queue.lines.ahead_of(ticket)[0] for ticket in tickets if ticket.id not in gone}
    before = 0
    while ticket := queue.take():
        assert abs(told[ticket.id] - before) <= len(set(sent)) - 1
        before += 1
