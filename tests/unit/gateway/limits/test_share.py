"""However many replicas spend, in whatever order and with whatever delays: no window gives more than its quota."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bowerbird.gateway.identity.tiers import COMPUTE_UNITS, REQUESTS, Limit
from bowerbird.gateway.limits.share import HandOut, Share, Want

MINUTE = Limit("requests-per-minute", REQUESTS, 60, 60)


@dataclass
class Ledger:
    """What the database does, in a few lines; `test_ledger` holds the real one to the same."""

    limit: Limit
    handed_out: dict[int, float] = field(default_factory=lambda: defaultdict(float))

    def hand_out(self, want: Want, now: float) -> HandOut:
        number = int(now // self.limit.seconds) + want.ahead
        left = self.limit.quota - self.handed_out[number]
        granted = 0.0 if left < want.needed else min(left, want.wanted)
        self.handed_out[number] += granted
        return HandOut(number, granted, left - granted, (number + 1) * self.limit.seconds - now)


def take(share: Share, ledger: Ledger, amount: float, asked_at: float, answered_at: float) -> bool:
    """One request at a replica: from its share, or asking for more."""
    if not share.has(amount, asked_at):
        if share.hopeless(amount):
            return False
        share.receive(ledger.hand_out(share.want(amount, asked_at), asked_at), asked_at, answered_at)
        if not share.has(amount, answered_at):
            return False
    share.spend(amount)
    return True


STEPS = st.lists(
    st.tuples(
        st.integers(0, 2),  # replica
        st.floats(0, 20),  # seconds until then
        st.floats(0, 2),  # how long the ledger takes to answer
        st.sampled_from([1.0, 1.0, 2.5, 7.0]),  # how much
        st.booleans(),  # whether the background looks first
    ),
    max_size=120,
)


@given(STEPS, st.sampled_from([3.0, 10.0, 40.0]), st.sampled_from([1, 7, 60]))
def test_no_window_gives_more_than_its_quota(
    steps: list[tuple[int, float, float, float, bool]], quota: float, seconds: int
) -> None:
    limit = Limit("units", COMPUTE_UNITS, quota, seconds)
    ledger, shares = Ledger(limit), [Share(limit) for _ in range(3)]
    spent: dict[int, float] = defaultdict(float)
    now = 1_000_000.0
    for replica, pause, delay, amount, background in steps:
        now += pause
        share = shares[replica]
        for want in share.top_up(now) if background else []:
            share.receive(ledger.hand_out(want, now), now, now + delay)
        if take(share, ledger, amount, now, now + delay):
            spent[share._number] += amount
        now += delay
        assert share.tokens >= 0
    assert all(spent[number] <= quota + 1e-6 for number in spent)
    assert all(spent[number] <= ledger.handed_out[number] + 1e-6 for number in spent)


@pytest.mark.parametrize("replicas", [1, 2, 5])
def test_all_of_a_quota_can_be_spent_whoever_is_asked(replicas: int) -> None:
    ledger, shares = Ledger(MINUTE), [Share(MINUTE) for _ in range(replicas)]
    taken = sum(take(shares[turn % replicas], ledger, 1.0, 30.0, 30.0) for turn in range(200))
    assert taken == 60


def test_a_replica_that_is_idle_keeps_little_of_what_others_could_spend() -> None:
    ledger, busy, idle = Ledger(MINUTE), Share(MINUTE), Share(MINUTE)
    assert take(idle, ledger, 1.0, 1.0, 1.0)
    taken = sum(take(busy, ledger, 1.0, 2.0, 2.0) for _ in range(100))
    assert taken >= 60 - 60 / 8 - 1


def test_the_ledger_is_asked_seldom() -> None:
    limit = Limit("requests-per-minute", REQUESTS, 10_000, 60)
    ledger, share, asked = Ledger(limit), Share(limit), 0
    for _ in range(10_000):
        if not share.has(1.0, 30.0):
            share.receive(ledger.hand_out(share.want(1.0, 30.0), 30.0), 30.0, 30.0)
            asked += 1
        share.spend(1.0)
    assert asked < 80


def test_whoever_asks_seldom_takes_no_more_than_it_needs() -> None:
    limit = Limit("requests-per-day", REQUESTS, 10_000, 86_400)
    ledger, share = Ledger(limit), Share(limit)
    for minute in range(10):
        assert take(share, ledger, 1.0, 60.0 * minute, 60.0 * minute)
    assert ledger.handed_out[0] == 10


def test_what_is_not_spent_lapses_with_its_window() -> None:
    ledger, share = Ledger(MINUTE), Share(MINUTE)
    for _ in range(2):
        assert take(share, ledger, 1.0, 30.0, 30.0)
    assert share.tokens > 0
    assert not share.has(1.0, 60.0)
    assert take(share, ledger, 1.0, 60.0, 60.0)
    assert set(ledger.handed_out) == {0, 1}


def test_who_was_busy_has_some_of_the_next_window_before_it_begins() -> None:
    ledger, share = Ledger(MINUTE), Share(MINUTE)
    for _ in range(5):
        assert take(share, ledger, 1.0, 30.0, 30.0)
    assert not share.top_up(50.0)
    [want] = share.top_up(59.5)
    assert (want.ahead, want.wanted) == (1, 5.0)
    share.receive(ledger.hand_out(want, 59.5), 59.5, 59.6)
    assert not share.top_up(59.7)
    assert share.has(1.0, 60.0)
    assert share.has(5.0, 119.0)
    assert not share.has(1.0, 120.0)


def test_what_is_used_up_is_refused_without_asking_until_the_window_ends() -> None:
    ledger, share = Ledger(MINUTE), Share(MINUTE)
    assert sum(take(share, ledger, 1.0, 30.0, 30.0) for _ in range(61)) == 60
    assert not share.has(1.0, 59.0)
    assert share.hopeless(1.0)
    assert share.retry_after(59.0) == 1.0
    assert not share.has(1.0, 60.0)
    assert not share.hopeless(1.0)


def test_alone_a_replica_grants_itself_its_part_once_a_window_and_at_least_one_request() -> None:
    share = Share(MINUTE)
    for _ in range(3):
        share.grant_alone(0.25, 100.0)
    assert share.remaining() == 15
    share.spend(15.0)
    share.grant_alone(0.25, 159.0)
    assert not share.has(1.0, 159.0)
    share.grant_alone(0.25, 160.0)
    assert share.has(15.0, 160.0)
    small = Share(Limit("requests-per-second", REQUESTS, 2, 1))
    small.grant_alone(0.25, 0.0)
    assert (small.has(1.0, 0.0), small.has(2.0, 0.0)) == (True, False)


def test_when_the_ledger_is_back_its_windows_count_again() -> None:
    ledger, share = Ledger(MINUTE), Share(MINUTE)
    share.grant_alone(0.25, 10.0)
    share.spend(15.0)
    assert take(share, ledger, 1.0, 20.0, 20.0)
    assert share.retry_after(20.0) == 40.0
    assert share.remaining() == 59
