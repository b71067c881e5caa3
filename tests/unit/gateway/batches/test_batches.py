"""Batches as tenants and replicas see them: accepted once, claimed in turns, removed when they are old."""

from __future__ import annotations

import asyncio
import secrets

import pytest

from bowerbird.errors import (
    BatchFinished,
    BatchUnknown,
    FileInUse,
    FileUnknown,
    IdempotencyKeyReused,
    StorageFull,
    TooManyBatches,
)
from bowerbird.gateway.batches import carrying, segments
from bowerbird.gateway.batches.batch import BatchState, NewBatch
from bowerbird.gateway.batches.claims import OF_A_TENANT, ClaimVoid
from bowerbird.gateway.records.idempotency import KeyedRequest

from .conftest import ENDPOINT, LEASE_SECONDS, Replica
from .rows import lines, trade
from .test_running import Gate, until


def new(file_id: str, tenant: str = "birds") -> NewBatch:
    return NewBatch(f"batch_{secrets.token_hex(12)}", tenant, ENDPOINT, file_id, None, None, "en")


async def test_a_batch_is_another_tenants_as_if_it_were_not_there(replica: Replica) -> None:
    batch_id = await replica.create(lines(1))
    for asking in (replica.batches.get, replica.batches.cancel):
        with pytest.raises(BatchUnknown):
            await asking("cats", batch_id)
    assert await replica.batches.page("cats", 9) == []
    file_id = (await replica.get(batch_id)).input_file_id
    with pytest.raises(FileUnknown):
        await replica.batches.create(new(file_id, "cats"))


async def test_only_an_upload_is_the_input_of_a_batch(replica: Replica) -> None:
    batch_id = await replica.create(lines(1))
    await replica.run(await replica.claim()).run()
    output = (await replica.get(batch_id)).output_file_id
    for file_id in (output or "", "file-nothing"):
        with pytest.raises(FileUnknown):
            await replica.batches.create(new(file_id))


async def test_one_key_is_one_batch(replica: Replica, other: Replica) -> None:
    file_id = await replica.upload(lines(1))
    key = KeyedRequest("birds", "key", b"d" * 32)
    made = await asyncio.gather(*(each.batches.create(new(file_id), key) for each in (replica, other, replica)))
    assert len({batch.id for batch in made}) == 1
    assert len(await replica.batches.page("birds", 9)) == 1
    with pytest.raises(IdempotencyKeyReused):
        await replica.batches.create(new(file_id), KeyedRequest("birds", "key", b"e" * 32))


async def test_a_tenant_has_no_more_batches_under_way_than_it_may(replica: Replica) -> None:
    file_id = await replica.upload(lines(1))
    for _ in range(10):
        await replica.batches.create(new(file_id))
    with pytest.raises(TooManyBatches) as raised:
        await replica.batches.create(new(file_id))
    assert raised.value.retry_after_seconds
    await replica.batches.cancel("birds", (await replica.batches.page("birds", 1))[0].id)
    await replica.batches.create(new(file_id))


async def test_a_tenant_whose_files_are_as_large_as_they_may_be_begins_no_batch(replica: Replica) -> None:
    file_id = await replica.upload(lines(1))
    replica.files._quota_bytes = len(lines(1))
    with pytest.raises(StorageFull):
        await replica.batches.create(new(file_id))


async def test_a_file_that_a_batch_reads_is_not_deleted(replica: Replica) -> None:
    batch_id = await replica.create(lines(1))
    file_id = (await replica.get(batch_id)).input_file_id
    with pytest.raises(FileInUse) as raised:
        await replica.files.delete("birds", file_id)
    assert raised.value.details == {"batch": batch_id}
    await replica.run(await replica.claim()).run()
    await replica.files.delete("birds", file_id)
    with pytest.raises(BatchFinished) as ended:
        await replica.batches.cancel("birds", batch_id)
    assert ended.value.details == {"state": BatchState.COMPLETED}


async def test_tenants_take_turns_and_none_holds_all_hands(replica: Replica, other: Replica) -> None:
    for _ in range(8):
        await replica.create(lines(1))
        replica.clock.advance(1)
    theirs = await replica.create(lines(1), tenant="cats")
    first = await replica.claims.claim(2, 10**6)
    assert {claim.tenant for claim in first} == {"birds", "cats"}
    assert theirs in {claim.batch_id for claim in first}
    assert len(await other.claims.claim(32, 10**6)) == OF_A_TENANT - 1
    assert await other.claims.claim(32, 10**6) == []


async def test_two_replicas_never_claim_the_same_batch(replica: Replica, other: Replica) -> None:
    made = {await replica.create(lines(1), tenant=f"tenant-{number}") for number in range(10)}
    claimed: list[str] = []
    while len(claimed) < 10:
        for found in await asyncio.gather(*(each.claims.claim(3, LEASE_SECONDS) for each in (replica, other))):
            claimed += [claim.batch_id for claim in found]
    assert sorted(claimed) == sorted(made)


async def test_a_carrier_runs_what_is_created_and_hears_of_cancels_in_other_replicas(
    replica: Replica, other: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(carrying, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(carrying, "RENEW_SECONDS", 0.02)
    gate = Gate()
    quick, slow = await replica.create(lines(2)), await replica.create(lines(5))
    async with replica.carrier(trade(gate.answer)).running():

        async def quick_is_done() -> bool:
            return (await other.get(quick)).state is BatchState.COMPLETED and gate.held > 0

        await until(quick_is_done)
        await other.batches.cancel("birds", slow)

        async def slow_is_cancelled() -> bool:
            return (await other.get(slow)).state is BatchState.CANCELLED

        await until(slow_is_cancelled)


async def test_a_batch_that_nobody_took_goes_on_although_its_lease_ran_out(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(carrying, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(carrying, "RENEW_SECONDS", 0.2)
    gate = Gate()
    batch_id = await replica.create(lines(6))
    async with replica.carrier(trade(gate.answer)).running():

        async def held() -> bool:
            return gate.held == 4

        await until(held)
        replica.clock.advance(100 * LEASE_SECONDS)
        await asyncio.sleep(0.1)  # long enough for several looks at what may be claimed
        gate.open.set()

        async def completed() -> bool:
            return (await replica.get(batch_id)).state is BatchState.COMPLETED

        await until(completed)
    assert sorted(gate.answered) == list(range(1, 7))
    answers, _ = await replica.outcomes(await replica.get(batch_id))
    assert {each["epoch"] for each in answers} == {1}


async def test_a_gateway_that_stops_records_what_is_finished_and_gives_its_batches_back(
    replica: Replica, other: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(carrying, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(segments, "GATHER_SECONDS", 60.0)
    gate = Gate()
    batch_id = await replica.create(lines(6))
    async with replica.carrier(trade(gate.answer)).running():

        async def held() -> bool:
            return gate.held == 4 and len(gate.answered) == 2

        await until(held)
    assert (await other.get(batch_id)).completed == 2
    assert [claim.batch_id for claim in await other.claims.claim(1, LEASE_SECONDS)] == [batch_id]


async def test_batches_are_paged_newest_first_and_removed_when_they_are_old(replica: Replica) -> None:
    made = []
    for _ in range(3):
        made.append(await replica.create(lines(1)))
        replica.clock.advance(1)
    assert [each.id for each in await replica.batches.page("birds", 2)] == [made[2], made[1]]
    assert [each.id for each in await replica.batches.page("birds", 9, made[1])] == [made[0]]
    with pytest.raises(BatchUnknown):
        await replica.batches.page("cats", 9, made[1])
    await replica.run(await replica.claim()).run()
    replica.clock.advance(31 * 86_400)
    assert await replica.retention.sweep() == 1
    assert len(await replica.batches.page("birds", 9)) == 2


async def test_all_batches_of_a_tenant_go_and_whoever_runs_one_writes_nothing(replica: Replica) -> None:
    await replica.create(lines(3))
    theirs = await replica.create(lines(1), tenant="cats")
    running = replica.run(await replica.claim())
    assert await replica.batches.remove_tenant("birds") == 1
    with pytest.raises(ClaimVoid):
        await running.run()
    await replica.files.remove_tenant("birds")
    assert [each.id for each in await replica.batches.page("cats", 9)] == [theirs]
    assert await replica.counted() == []
