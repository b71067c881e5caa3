"""A name that one process holds at a time."""

from __future__ import annotations

import asyncio

from .conftest import Records

NAME = "queue_owner"


async def test_one_of_many_holds_a_lease(records: Records, other: Records) -> None:
    asked = [([records, other][number % 2], f"owner-{number}") for number in range(10)]
    leases = await asyncio.gather(*(replica.leases.acquire(NAME, owner, 10) for replica, owner in asked))
    held = [lease for lease in leases if lease is not None]
    assert len(held) == 1
    assert await records.leases.holder(NAME) == held[0]


async def test_every_change_of_hands_makes_the_epoch_grow_and_voids_the_former_holder(
    records: Records, other: Records
) -> None:
    first = await records.leases.acquire(NAME, "a", 10)
    assert first is not None
    assert await other.leases.acquire(NAME, "b", 10) is None
    records.clock.advance(10)
    second = await other.leases.acquire(NAME, "b", 10)
    assert second is not None
    assert second.epoch == first.epoch + 1
    assert not await records.leases.renew(first, 10)
    await records.leases.release(first)
    assert await records.leases.holder(NAME) == second
    records.clock.advance(10)
    assert await records.leases.holder(NAME) is None
    back = await records.leases.acquire(NAME, "a", 10)
    assert back is not None
    assert back.epoch == second.epoch + 1


async def test_a_holder_keeps_its_epoch_while_it_renews(records: Records, other: Records) -> None:
    lease = await records.leases.acquire(NAME, "a", 10)
    assert lease is not None
    for _ in range(3):
        records.clock.advance(9)
        assert await records.leases.renew(lease, 10)
        assert await other.leases.acquire(NAME, "b", 10) is None
    assert await records.leases.acquire(NAME, "a", 10) == lease


async def test_a_released_lease_is_free_at_once(records: Records, other: Records) -> None:
    lease = await records.leases.acquire(NAME, "a", 10)
    assert lease is not None
    await records.leases.release(lease)
    assert await records.leases.holder(NAME) is None
    taken = await other.leases.acquire(NAME, "b", 10)
    assert taken is not None
    assert taken.epoch == lease.epoch + 1
    assert not await records.leases.renew(lease, 10)


async def test_a_lease_that_ran_out_is_taken_with_a_new_epoch_even_by_who_held_it(
    records: Records, other: Records
) -> None:
    first = await records.leases.take(NAME, "a", "http://a", 10)
    assert first is not None
    assert await records.leases.take(NAME, "a", "http://a", 10) is None
    assert await other.leases.take(NAME, "b", "http://b", 10) is None
    assert await other.leases.holder(NAME) == first
    assert first.address == "http://a"
    records.clock.advance(10)
    again = await records.leases.take(NAME, "a", "http://a", 10)
    assert again is not None
    assert again.epoch == first.epoch + 1
    assert not await records.leases.renew(first, 10)


async def test_one_of_many_takes_a_lease(records: Records, other: Records) -> None:
    asked = [([records, other][number % 2], f"owner-{number}") for number in range(10)]
    leases = await asyncio.gather(*(replica.leases.take(NAME, owner, "", 10) for replica, owner in asked))
    assert len([lease for lease in leases if lease is not None]) == 1


async def test_a_lease_that_ran_out_is_renewed_where_nobody_took_it(records: Records, other: Records) -> None:
    lease = await records.leases.take(NAME, "a", "http://a", 10)
    assert lease is not None
    records.clock.advance(20)
    assert await records.leases.renew(lease, 10)
    assert await other.leases.take(NAME, "b", "http://b", 10) is None


async def test_leases_of_different_names_do_not_touch_each_other(records: Records) -> None:
    assert await records.leases.acquire("one", "a", 10) is not None
    assert await records.leases.acquire("two", "b", 10) is not None
