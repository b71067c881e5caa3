"""Whose jobs are claimed next."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from bowerbird.contracts import WorkClass
from bowerbird.gateway.records.turns import WaitingFlow, take_turns, taken_before

FLOWS = st.lists(
    st.builds(
        WaitingFlow,
        tenant=st.sampled_from("abcde"),
        work_class=st.sampled_from(WorkClass),
        waiting=st.integers(0, 30),
        running=st.integers(0, 30),
        oldest_ms=st.integers(0, 5),
    ),
    max_size=10,
    unique_by=lambda flow: (flow.tenant, flow.work_class),
)


@given(FLOWS, st.integers(0, 64))
def test_as_many_are_taken_as_there_are_or_may_be_and_never_more_than_wait(
    flows: list[WaitingFlow], limit: int
) -> None:
    taken = take_turns(flows, limit)
    assert sum(taken.values()) == min(limit, sum(flow.waiting for flow in flows))
    assert all(0 < count <= flow.waiting for flow, count in taken.items())


@given(FLOWS, st.integers(0, 64))
def test_nobody_who_waits_has_two_fewer_in_hand_than_who_was_given_one(flows: list[WaitingFlow], limit: int) -> None:
    taken = Counter(take_turns(flows, limit))
    given_to = [flow.running + taken[flow] for flow in flows if taken[flow]]
    still_waiting = [flow.running + taken[flow] for flow in flows if taken[flow] < flow.waiting]
    assert not given_to or not still_waiting or max(given_to) <= min(still_waiting) + 1


@given(FLOWS, st.integers(0, 30), st.integers(0, 30))
def test_taking_twice_is_taking_once(flows: list[WaitingFlow], first: int, second: int) -> None:
    once = Counter(take_turns(flows, first + second))
    before = Counter(take_turns(flows, first))
    left = {
        WaitingFlow(
            flow.tenant, flow.work_class, flow.waiting - before[flow], flow.running + before[flow], flow.oldest_ms
        ): flow
        for flow in flows
    }
    after = Counter({left[flow]: count for flow, count in take_turns(left, second).items()})
    assert before + after == once


@given(FLOWS)
def test_places_in_the_order_of_turns_are_counted_without_gaps(flows: list[WaitingFlow]) -> None:
    """Each place once, and in a flow each later than the one before: as they are taken."""
    places = {
        (flow, number): number - 1 + sum(taken_before(flow, number, flows).values())
        for flow in flows
        for number in range(1, flow.waiting + 1)
    }
    assert sorted(places.values()) == list(range(len(places)))
    for limit in (1, len(places) // 2, len(places)):
        taken = Counter({flow: 0 for flow in flows} | dict(take_turns(flows, limit)))
        first = {job for job, place in places.items() if place < limit}
        assert Counter(flow for flow, _ in first) == +taken
