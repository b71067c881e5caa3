"""The account book adds up, whatever is written twice, folded or read meanwhile."""

from __future__ import annotations

import asyncio

from bowerbird.gateway.records.usage import KEPT_DAYS, UsageDay

from .conftest import DAY_SECONDS, NOON_MS, Records
from .rows import MODEL_DIGEST, TENANT, entry, recorded

TODAY = NOON_MS // 86_400_000


def day(day: int, requests: int, variant: str = "fledgling") -> UsageDay:
    return UsageDay(day, MODEL_DIGEST, variant, requests, 2.5 * requests, 65_536 * requests, requests)


async def test_entries_are_summed_by_day_model_and_variant_of_one_tenant(records: Records) -> None:
    written = [entry(f"req_{number}") for number in range(3)]
    written += [entry("req_other", variant="worse"), entry("req_foreign", tenant="another")]
    await recorded(records, *written)
    records.clock.advance(DAY_SECONDS)
    await recorded(records, entry("req_tomorrow"))
    assert await records.usage.read(TENANT, 0, 100_000) == [day(TODAY, 3), day(TODAY, 1, "worse"), day(TODAY + 1, 1)]
    assert await records.usage.read(TENANT, TODAY + 1, TODAY + 1) == [day(TODAY + 1, 1)]
    assert await records.usage.read("nobody", 0, 100_000) == []


async def test_the_same_work_counts_once(records: Records, other: Records) -> None:
    await asyncio.gather(*(recorded(replica, entry("req_1")) for replica in (records, other) for _ in range(5)))
    assert await records.usage.read(TENANT, TODAY, TODAY) == [day(TODAY, 1)]


async def test_folding_changes_no_sum_and_folds_every_old_entry_once(records: Records, other: Records) -> None:
    for _ in range(4):
        await recorded(records, *(entry(f"req_{records.clock.ms}_{n}") for n in range(10)))
        records.clock.advance(DAY_SECONDS)
    records.clock.advance((KEPT_DAYS - 1) * DAY_SECONDS)
    expected = [day(TODAY + passed, 10) for passed in range(4)]
    assert await records.usage.read(TENANT, 0, 100_000) == expected
    moved = await asyncio.gather(records.usage.fold(), other.usage.fold(), records.usage.fold())
    assert sum(moved) == 30
    assert await records.usage.read(TENANT, 0, 100_000) == expected
    assert await records.usage.fold() == 0


async def test_a_second_fold_adds_to_the_first(records: Records) -> None:
    await recorded(records, entry("req_1"))
    records.clock.advance((KEPT_DAYS + 1) * DAY_SECONDS)
    assert await records.usage.fold() == 1
    records.clock.advance(-(KEPT_DAYS + 1) * DAY_SECONDS)  # a replica whose transaction took very long
    await recorded(records, entry("req_2"))
    records.clock.advance((KEPT_DAYS + 1) * DAY_SECONDS)
    assert await records.usage.fold() == 1
    assert await records.usage.read(TENANT, TODAY, TODAY) == [day(TODAY, 2)]
