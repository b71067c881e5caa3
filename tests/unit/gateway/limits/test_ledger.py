"""Handing out, on both databases: never more than there is, exactly what was asked for otherwise."""

from __future__ import annotations

import asyncio

from sqlalchemy import func, select

from bowerbird.gateway.identity.tiers import COMPUTE_UNITS, DAY, MINUTE, REQUESTS, Limit
from bowerbird.gateway.limits.ledger import Order, SlotOrder
from bowerbird.gateway.limits.share import HandOut, Want
from bowerbird.gateway.limits.slots import LEASE_SECONDS
from bowerbird.gateway.limits.table import limit_slots, limit_windows

from .conftest import Replica, Replicas

LIMIT = Limit("requests-per-minute", REQUESTS, 10, MINUTE)


async def handed(
    replica: Replica, wanted: float, needed: float = 1.0, ahead: int = 0, tenant: str = "birds"
) -> HandOut:
    [out] = await replica.ledger.hand_out(Order(tenant, (Want(LIMIT, wanted, needed, ahead),)))
    return out


async def test_what_is_wanted_is_handed_out_until_less_is_left_than_is_needed(replicas: Replicas) -> None:
    one, two = await replicas.start(), await replicas.start()
    asked = [(one, 4.0, 1.0), (two, 4.0, 1.0), (one, 4.0, 3.0), (two, 4.0, 1.0), (one, 1.0, 1.0)]
    outs = [await handed(*each) for each in asked]
    assert [(out.granted, out.left) for out in outs] == [(4, 6), (4, 2), (0, 2), (2, 0), (0, 0)]


async def test_a_window_is_the_databases_and_says_when_it_ends(replicas: Replicas) -> None:
    one = await replicas.start()
    replicas.clock.advance(59.5)
    out = await handed(one, 10.0)
    assert (out.number, out.seconds) == (replicas.clock.ms // 60_000, 0.5)
    ahead = await handed(one, 3.0, 0.0, ahead=1)
    assert (ahead.number, ahead.granted, ahead.left, ahead.seconds) == (out.number + 1, 3, 7, 60.5)
    replicas.clock.advance(0.5)
    assert (await handed(one, 10.0)).left == 0


async def test_tenants_and_limits_do_not_share(replicas: Replicas) -> None:
    one = await replicas.start()
    units = Limit("compute-units-per-minute", COMPUTE_UNITS, 100.5, MINUTE)
    wants = (Want(LIMIT, 10.0, 1.0), Want(units, 12.25, 2.5))
    outs = [await one.ledger.hand_out(Order(tenant, wants)) for tenant in ("birds", "cats")]
    assert outs[0] == outs[1]
    assert [(out.granted, out.left) for out in outs[0]] == [(10, 0), (12.25, 88.25)]


async def test_many_replicas_at_once_get_the_quota_and_not_one_more(replicas: Replicas) -> None:
    started = [await replicas.start() for _ in range(3)]
    outs = await asyncio.gather(*(handed(started[turn % 3], 1.0, tenant="t") for turn in range(36)))
    assert sum(out.granted for out in outs) == 10
    assert {out.granted for out in outs} == {0.0, 1.0}


async def test_orders_of_one_group_are_answered_each_with_its_own(replicas: Replicas) -> None:
    one = await replicas.start()
    tenants = [f"t{number}" for number in range(20)]
    outs = await asyncio.gather(*(handed(one, float(1 + n % 5), tenant=tenant) for n, tenant in enumerate(tenants)))
    assert [out.granted for out in outs] == [1 + n % 5 for n in range(20)]


async def test_a_quota_that_was_lowered_gives_nothing_more_and_takes_nothing_back(replicas: Replicas) -> None:
    one = await replicas.start()
    await handed(one, 8.0)
    lower = Limit(LIMIT.name, REQUESTS, 5, MINUTE)
    [out] = await one.ledger.hand_out(Order("birds", (Want(lower, 4.0, 1.0),)))
    assert (out.granted, out.left) == (0, 0)
    higher = Limit(LIMIT.name, REQUESTS, 20, MINUTE)
    [out] = await one.ledger.hand_out(Order("birds", (Want(higher, 40.0, 1.0),)))
    assert (out.granted, out.left) == (12, 0)


async def test_slots_of_all_replicas_together_are_at_most_the_quota(replicas: Replicas) -> None:
    one, two = await replicas.start(), await replicas.start()
    assert await one.ledger.lease_slots(SlotOrder("birds", 5, 8)) == 5
    assert await two.ledger.lease_slots(SlotOrder("birds", 5, 8)) == 3
    assert await one.ledger.lease_slots(SlotOrder("birds", 2, 8)) == 2
    assert await two.ledger.lease_slots(SlotOrder("birds", 9, 8)) == 6
    started = [await replicas.start() for _ in range(3)]
    held = await asyncio.gather(*(each.ledger.lease_slots(SlotOrder("cats", 4, 8)) for each in started))
    assert sum(held) == 8


async def test_a_dead_replicas_slots_are_free_when_its_lease_runs_out(replicas: Replicas) -> None:
    dead, alive = await replicas.start(), await replicas.start()
    await dead.ledger.lease_slots(SlotOrder("birds", 8, 8))
    assert await alive.ledger.lease_slots(SlotOrder("birds", 1, 8)) == 0
    replicas.clock.advance(LEASE_SECONDS)
    assert await alive.ledger.lease_slots(SlotOrder("birds", 1, 8)) == 1


async def test_the_sweep_leaves_the_present(replicas: Replicas) -> None:
    one = await replicas.start()
    day = Limit("requests-per-day", REQUESTS, 100, DAY)
    await one.ledger.hand_out(Order("birds", (Want(LIMIT, 1.0, 1.0), Want(day, 1.0, 1.0))))
    await one.ledger.lease_slots(SlotOrder("birds", 1, 8))
    replicas.clock.advance(3 * MINUTE)
    await one.ledger.sweep()
    async with one.database.reading() as connection:
        assert list((await connection.execute(select(limit_windows.c.name))).scalars()) == [day.name]
        assert await connection.scalar(select(func.count()).select_from(limit_slots)) == 0
