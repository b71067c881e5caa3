"""Limits hold over replicas, are told, and stay limits when the database is away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import pytest

from bowerbird.errors import LimitReached, RecordsUnavailable, TierExceeded
from bowerbird.gateway.identity.principal import Principal
from bowerbird.gateway.identity.tiers import Tier
from bowerbird.gateway.limits.account import Account
from bowerbird.gateway.limits.ledger import Ledger
from bowerbird.gateway.limits.limits import ALONE_SECONDS, IDLE_SECONDS, Limits

from .conftest import Replicas, principal

MINUTELY = Tier(name="minutely", requests_per_minute=20)


async def entered(limits: Limits, who: Principal, times: int) -> int:
    """How many of so many requests, one after the other, came in."""
    count = 0
    for _ in range(times):
        try:
            limits.leave(await limits.enter(who))
            count += 1
        except LimitReached:
            pass
    return count


def told(limits: Limits, who: Principal) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in limits.headers(limits.account(who))}


async def test_a_window_is_one_over_all_replicas_and_the_next_one_is_new(replicas: Replicas) -> None:
    started = [await replicas.start() for _ in range(3)]
    who = principal(MINUTELY)
    assert sum([await entered(each.limits, who, 20) for each in started]) == 20
    replicas.clock.advance(60)
    counts = await asyncio.gather(*(entered(each.limits, who, 20) for each in started))
    assert sum(counts) == 20
    assert await entered(started[0].limits, principal(MINUTELY, "cats"), 20) == 20


async def test_a_refusal_says_which_limit_and_when_to_come_back(replicas: Replicas) -> None:
    one, who = await replicas.start(), principal(MINUTELY)
    replicas.clock.advance(12)
    await entered(one.limits, who, 20)
    with pytest.raises(LimitReached) as raised:
        await one.limits.enter(who)
    assert raised.value.retry_after_seconds == 48
    assert raised.value.details == {"limit": "requests-per-minute", "quota": 20}
    assert one.metric("bowerbird_limit_refusals_total", limit="requests-per-minute", tier="minutely") == 1


async def test_a_refusal_is_about_the_window_that_is_longest_in_the_way(replicas: Replicas) -> None:
    one = await replicas.start()
    who = principal(Tier(name="both", requests_per_second=2, requests_per_minute=2))
    replicas.clock.advance(5)
    await entered(one.limits, who, 2)
    with pytest.raises(LimitReached) as raised:
        await one.limits.enter(who)
    assert (raised.value.details["limit"], raised.value.retry_after_seconds) == ("requests-per-minute", 55)


async def test_who_is_refused_by_one_window_is_not_counted_in_the_others(replicas: Replicas) -> None:
    one = await replicas.start()
    who = principal(Tier(name="both", requests_per_second=2, requests_per_minute=5))
    assert await entered(one.limits, who, 50) == 2
    replicas.clock.advance(1)
    assert await entered(one.limits, who, 50) == 2
    replicas.clock.advance(1)
    assert await entered(one.limits, who, 50) == 1


async def test_requests_that_arrive_together_share_what_is_handed_out(replicas: Replicas) -> None:
    one, two = await replicas.start(), await replicas.start()
    who = principal(MINUTELY)
    results = await asyncio.gather(
        *(each.limits.enter(who) for each in (one, two) for _ in range(30)), return_exceptions=True
    )
    assert sum(not isinstance(each, BaseException) for each in results) == 20
    assert all(isinstance(each, LimitReached) for each in results if isinstance(each, BaseException))


async def test_requests_at_a_time_are_counted_over_all_replicas(replicas: Replicas) -> None:
    one, two = await replicas.start(), await replicas.start()
    who = principal(Tier(name="four", concurrent_requests=4))
    under_way = [await limits.enter(who) for limits in (one.limits, one.limits, two.limits, two.limits)]
    for limits in (one.limits, two.limits):
        with pytest.raises(LimitReached) as raised:
            await limits.enter(who)
        assert (raised.value.details["limit"], raised.value.retry_after_seconds) == ("concurrent-requests", 1)
    one.limits.leave(under_way[0])
    one.limits.leave(await one.limits.enter(who))


async def test_a_slot_that_is_not_used_goes_to_the_replica_that_needs_it(replicas: Replicas) -> None:
    one, two = await replicas.start(), await replicas.start()
    who = principal(Tier(name="four", concurrent_requests=4))
    for account in [await one.limits.enter(who) for _ in range(4)]:
        one.limits.leave(account)
    with pytest.raises(LimitReached):
        await two.limits.enter(who)
    await one.limits._renew()  # what was used lately is kept once more
    await one.limits._renew()
    assert [await two.limits.enter(who) for _ in range(4)]


async def test_who_is_refused_a_window_keeps_no_slot(replicas: Replicas) -> None:
    one = await replicas.start()
    who = principal(Tier(name="both", requests_per_minute=2, concurrent_requests=1))
    assert await entered(one.limits, who, 9) == 2
    replicas.clock.advance(60)
    assert await entered(one.limits, who, 9) == 2


async def test_compute_units_are_charged_before_anything_is_drawn(replicas: Replicas) -> None:
    one, two = await replicas.start(), await replicas.start()
    who = principal(Tier(name="units", compute_units_per_minute=100))
    await one.limits.charge(who, 60.0)
    await two.limits.charge(who, 30.5)
    for limits in (one.limits, two.limits):
        with pytest.raises(LimitReached) as raised:
            await limits.charge(who, 12.0)
        assert raised.value.details["limit"] == "compute-units-per-minute"
    with pytest.raises(TierExceeded):
        await one.limits.charge(who, 100.5)
    replicas.clock.advance(60)
    await two.limits.charge(who, 100.0)


async def test_without_limits_nothing_is_asked_or_told(replicas: Replicas, monkeypatch: pytest.MonkeyPatch) -> None:
    one = await replicas.start()
    away(monkeypatch)
    who = principal(Tier(name="unlimited"))
    assert await entered(one.limits, who, 100) == 100
    await one.limits.charge(who, 1e9)
    assert not who.tier.counts


async def test_headers_tell_every_policy_what_is_left_and_until_when(replicas: Replicas) -> None:
    one = await replicas.start()
    tier = Tier(name="t", requests_per_minute=20, compute_units_per_minute=500, concurrent_requests=3)
    who = principal(tier)
    replicas.clock.advance(15)
    await one.limits.enter(who)
    await one.limits.charge(who, 12.5)
    headers = told(one.limits, who)
    assert headers["ratelimit-policy"] == (
        '"requests-per-minute";q=20;w=60, "compute-units-per-minute";q=500;w=60;qu="compute-units", '
        '"concurrent-requests";q=3;qu="concurrent-requests"'
    )
    assert headers["ratelimit"] == (
        '"requests-per-minute";r=19;t=45, "compute-units-per-minute";r=487;t=45, "concurrent-requests";r=2'
    )
    assert "bowerbird-limits" not in headers


async def test_another_tier_holds_at_once_and_keeps_who_is_under_way(replicas: Replicas) -> None:
    one = await replicas.start()
    before, after = Tier(name="a", concurrent_requests=4), Tier(name="b", concurrent_requests=2)
    accounts = [await one.limits.enter(principal(before)) for _ in range(2)]
    with pytest.raises(LimitReached):
        await one.limits.enter(principal(after))
    one.limits.leave(accounts[0])
    await one.limits.enter(principal(after))


def away(monkeypatch: pytest.MonkeyPatch) -> None:
    """The database does not answer from here on."""

    async def refuse(*_: object) -> Sequence[object]:
        raise RecordsUnavailable("away")

    monkeypatch.setattr(Ledger, "hand_out", refuse)
    monkeypatch.setattr(Ledger, "lease_slots", refuse)


async def test_without_the_database_each_replica_grants_its_part_and_says_so(
    replicas: Replicas, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    started = [await replicas.start() for _ in range(4)]
    who = principal(MINUTELY)
    with monkeypatch.context() as patched, caplog.at_level(logging.WARNING, "bowerbird.gateway.limits.limits"):
        away(patched)
        assert sum([await entered(each.limits, who, 40) for each in started]) == 20
        assert told(started[0].limits, who)["bowerbird-limits"] == "alone"
        assert started[0].metric("bowerbird_limits_alone") == 1
        assert "the database does not answer" in caplog.text
        replicas.clock.advance(60)
        assert await entered(started[0].limits, who, 40) == 5
        await started[0].limits._renew()
        assert started[0].limits.alone
    await started[0].limits._renew()
    assert not started[0].limits.alone
    replicas.clock.advance(60)
    assert sum([await entered(each.limits, who, 40) for each in started]) == 20
    assert "bowerbird-limits" not in told(started[0].limits, who)
    assert started[0].metric("bowerbird_limits_alone") == 0


async def test_in_the_window_in_which_the_database_goes_a_part_is_added_and_no_more(
    replicas: Replicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, who = await replicas.start(), principal(MINUTELY)
    count = await entered(one.limits, who, 10)
    with monkeypatch.context() as patched:
        away(patched)
        count += await entered(one.limits, who, 40)
    assert 10 < count <= 20 * 1.25
    replicas.clock.advance(ALONE_SECONDS)
    count += await entered(one.limits, who, 40)
    assert count <= 20 * 1.25


async def test_alone_requests_at_a_time_and_units_have_bounds_too(
    replicas: Replicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await replicas.start()
    away(monkeypatch)
    who = principal(Tier(name="t", concurrent_requests=8, compute_units_per_minute=100))
    accounts = [await one.limits.enter(who) for _ in range(2)]
    with pytest.raises(LimitReached):
        await one.limits.enter(who)
    one.limits.leave(accounts[0])
    await one.limits.enter(who)
    await one.limits.charge(who, 25.0)
    with pytest.raises(LimitReached):
        await one.limits.charge(who, 1.0)


async def test_a_database_that_does_not_answer_is_not_waited_for_again_and_again(
    replicas: Replicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, asked = await replicas.start(), 0
    monkeypatch.setattr("bowerbird.gateway.limits.limits.ANSWER_SECONDS", 0.01)

    async def never(*_: object) -> None:
        nonlocal asked
        asked += 1
        await asyncio.sleep(3600)

    monkeypatch.setattr(Ledger, "hand_out", never)
    assert await entered(one.limits, principal(MINUTELY), 40) == 5
    assert asked == 1


async def test_the_background_asks_before_anybody_has_to_wait(
    replicas: Replicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, who = await replicas.start(), principal(Tier(name="t", requests_per_second=20))
    assert await entered(one.limits, who, 3) == 3
    replicas.clock.advance(0.6)
    await one.limits._top_up()
    replicas.clock.advance(0.4)
    with monkeypatch.context() as patched:
        away(patched)
        assert await entered(one.limits, who, 3) == 3
        assert not one.limits.alone


async def test_a_tenant_that_is_not_seen_for_long_is_forgotten(replicas: Replicas) -> None:
    one, who = await replicas.start(), principal(MINUTELY)
    await entered(one.limits, who, 1)
    replicas.clock.advance(IDLE_SECONDS + 61)
    await one.limits._renew()
    assert not one.limits._accounts


async def test_a_gateway_that_stops_gives_its_slots_back(replicas: Replicas) -> None:
    one, two = await replicas.start(), await replicas.start()
    who = principal(Tier(name="four", concurrent_requests=4))
    async with one.limits.kept_up():
        for account in [await one.limits.enter(who) for _ in range(4)]:
            one.limits.leave(account)
    assert [await two.limits.enter(who) for _ in range(4)]


async def test_who_comes_in_at_once_is_counted_as_anybody_and_nobody_else_is(replicas: Replicas) -> None:
    one, who = await replicas.start(), principal(Tier(name="few", requests_per_minute=20, concurrent_requests=2))
    assert one.limits.enter_at_once(who) is None  # nothing is at hand before the first has asked
    came_in = 0
    while account := one.limits.enter_at_once(who) or await entered_or_refused(one.limits, who):
        assert (account.slots is not None and account.slots.in_use) == 1
        one.limits.leave(account)
        came_in += 1
    assert came_in == 20
    assert one.limits.enter_at_once(who) is None


async def test_who_finds_no_slot_at_once_is_not_counted(replicas: Replicas) -> None:
    one, who = await replicas.start(), principal(Tier(name="one", requests_per_minute=20, concurrent_requests=1))
    first = await one.limits.enter(who)
    before = told(one.limits, who)
    assert one.limits.enter_at_once(who) is None
    assert told(one.limits, who) == before
    one.limits.leave(first)


async def entered_or_refused(limits: Limits, who: Principal) -> Account | None:
    try:
        return await limits.enter(who)
    except LimitReached:
        return None
