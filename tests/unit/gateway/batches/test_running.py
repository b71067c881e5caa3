"""A batch from its claim to its end: every line once, whoever dies, whoever cancels, and not beyond its time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import select

from bowerbird.errors import RecordsUnavailable
from bowerbird.gateway.batches import batch as bounds
from bowerbird.gateway.batches import claims as claiming
from bowerbird.gateway.batches.batch import BatchClaim, BatchState, Outcome
from bowerbird.gateway.batches.claims import ClaimVoid
from bowerbird.gateway.batches.running import BytesInHand, Line
from bowerbird.gateway.batches.tables import batches
from bowerbird.gateway.files.parts import Erasure
from bowerbird.gateway.webhooks.tables import webhook_deliveries, webhook_endpoints, webhook_subscriptions

from .conftest import LEASE_SECONDS, Replica
from .rows import lines, outcome, trade

DAY = 86_400.0


class Gate:
    """Answers lines while it is open, and counts how many it holds."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.answered: list[int] = []
        self.held = self.most_held = 0

    async def answer(self, claim: BatchClaim, line: Line) -> Outcome:
        self.held += 1
        self.most_held = max(self.most_held, self.held)
        try:
            if line.raw.number > 2:
                await self.open.wait()
            self.answered.append(line.raw.number)
            return outcome(claim, line)
        finally:
            self.held -= 1


async def until(done: Callable[[], Awaitable[object]]) -> None:
    for _ in range(3000):
        if await done():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come to pass")


async def test_every_line_has_one_outcome_and_one_entry_of_usage(replica: Replica) -> None:
    data = lines(20)
    batch_id = await replica.create(data[:333], data[333:] + b"\n  \n\r\n")
    assert await replica.run(await replica.claim()).run() is BatchState.COMPLETED
    batch = await replica.get(batch_id)
    answers, errors = await replica.outcomes(batch)
    assert sorted(each["custom_id"] for each in answers) == sorted(f"line-{number}" for number in range(1, 21))
    assert (errors, batch.error_file_id) == ([], None)
    assert (batch.total, batch.completed, batch.failed) == (20, 20, 0)
    assert (batch.input_tokens, batch.output_tokens, batch.model) == (60, 100, "fledgling")
    assert sorted(await replica.counted()) == sorted(f"{batch_id}-{number}" for number in range(1, 21))
    output = await replica.files.get("birds", batch.output_file_id or "")
    assert (output.purpose, output.lines, output.filename) == ("batch_output", 20, f"{batch_id}_output.jsonl")
    assert output.expires_ms == replica.clock.ms + 30 * 86_400_000
    assert await replica.claims.claim(9, LEASE_SECONDS) == []


async def test_no_more_lines_are_in_hand_than_may_be(replica: Replica) -> None:
    gate = Gate()
    await replica.create(lines(30))
    run = asyncio.create_task(replica.run(await replica.claim(), trade(gate.answer)).run())

    async def full() -> bool:
        return gate.held == 4

    await until(full)
    gate.open.set()
    assert await run is BatchState.COMPLETED
    assert gate.most_held == 4


async def test_lines_that_do_not_fit_into_memory_together_wait_for_each_other() -> None:
    room = BytesInHand(limit=10)
    await room.take(6)
    waiting = asyncio.create_task(room.take(5))
    await asyncio.sleep(0)
    assert not waiting.done()
    room.give_back(6)
    await waiting
    room.give_back(5)
    await room.take(1000)  # larger than all of it, and alone


async def test_who_goes_on_with_a_batch_runs_what_has_no_outcome_and_nothing_else(
    replica: Replica, other: Replica
) -> None:
    gate = Gate()
    batch_id = await replica.create(lines(12))
    run = asyncio.create_task(replica.run(await replica.claim(), trade(gate.answer)).run())

    async def recorded() -> bool:
        return (await replica.get(batch_id)).completed == 2

    await until(recorded)
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
    assert await other.claims.claim(1, LEASE_SECONDS) == []
    replica.clock.advance(LEASE_SECONDS + 1)
    again = Gate()
    again.open.set()
    assert await other.run(await other.claim(), trade(again.answer)).run() is BatchState.COMPLETED
    assert sorted(again.answered) == list(range(3, 13))
    answers, _ = await replica.outcomes(await replica.get(batch_id))
    assert sorted(each["line"] for each in answers) == list(range(1, 13))
    assert len(await replica.counted()) == 12


async def test_a_replica_that_was_paused_records_nothing_when_another_goes_on(replica: Replica, other: Replica) -> None:
    gate = Gate()
    batch_id = await replica.create(lines(6))
    paused = asyncio.create_task(replica.run(await replica.claim(), trade(gate.answer)).run())

    async def recorded() -> bool:
        return (await replica.get(batch_id)).completed == 2

    await until(recorded)
    replica.clock.advance(LEASE_SECONDS + 1)
    assert await other.run(await other.claim()).run() is BatchState.COMPLETED
    gate.open.set()
    with pytest.raises(BaseExceptionGroup) as raised:
        await paused
    assert raised.value.subgroup(ClaimVoid)
    answers, _ = await replica.outcomes(await replica.get(batch_id))
    assert sorted(each["line"] for each in answers) == list(range(1, 7))
    assert {each["epoch"] for each in answers if each["line"] > 2} == {2}
    assert len(await replica.counted()) == 6


async def test_outcomes_that_were_recorded_by_a_commit_whose_answer_was_lost_are_recorded_once(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = replica.claims.record
    lost: list[object] = []

    async def unheard(*told: object) -> None:
        await record(*told)  # type: ignore[arg-type]
        if not lost:
            lost.append(told)
            raise RecordsUnavailable("the connection broke in the commit")

    monkeypatch.setattr(replica.claims, "record", unheard)
    batch_id = await replica.create(lines(3) + b'{"custom_id": "x", "prompt": "crisis"}\n')
    assert await replica.run(await replica.claim()).run() is BatchState.COMPLETED
    batch = await replica.get(batch_id)
    answers, errors = await replica.outcomes(batch)
    assert (len(lost), len(answers), len(errors), batch.completed, batch.failed) == (1, 3, 1, 3, 1)
    assert b"crisis" not in (await replica.content(batch.input_file_id)).replace(b"crisis_support", b"")


async def test_a_text_that_may_be_kept_nowhere_is_in_no_object_any_more_when_its_line_has_ended(
    replica: Replica,
) -> None:
    data = lines(3) + b'{"custom_id": "x", "prompt": "crisis, in these words"}\n' + lines(2, "a jay")
    batch_id = await replica.create(data[:130], data[130:140], data[140:])
    assert await replica.run(await replica.claim()).run() is BatchState.COMPLETED
    batch = await replica.get(batch_id)
    objects = [await replica.pictures.get(key) async for key in replica.pictures.keys("files/")]
    assert not any(b"in these words" in each for each in objects)
    left = (await replica.content(batch.input_file_id)).split(b"\n")
    assert json.loads(left[3]) == {"custom_id": "x", "erased": "crisis_support"}
    assert [left[0], left[4]] == [data.split(b"\n")[0], data.split(b"\n")[4]]
    assert sum(map(len, left)) + len(left) - 1 == len(data)


async def test_a_rewritten_part_that_somebody_overtook_is_rewritten_again(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = b'{"custom_id": "x", "prompt": "crisis, in these words"}\n{"custom_id": "y"}\n'
    batch_id = await replica.create(data)
    file_id = (await replica.get(batch_id)).input_file_id
    rewrite = replica.parts.rewrite
    overtaken: list[str] = []

    async def raced(stored: str, erasures: list[Erasure]) -> object:
        done = await rewrite(stored, erasures)
        if not overtaken:
            overtaken.append(stored)
            mine = await rewrite(stored, [Erasure(data.index(b'"y"'), b'"z"')])
            async with replica.database.writing() as connection:
                await replica.parts.swap(connection, mine)
        return done

    monkeypatch.setattr(replica.parts, "rewrite", raced)
    assert await replica.run(await replica.claim()).run() is BatchState.COMPLETED
    left = await replica.content(file_id)
    assert overtaken
    assert b"in these words" not in left
    assert b'{"custom_id": "z"}' in left


async def test_a_name_that_came_before_is_an_error_of_the_later_line_also_after_a_restart(replica: Replica) -> None:
    data = lines(2) + lines(3)
    gate = Gate()
    batch_id = await replica.create(data)
    run = asyncio.create_task(replica.run(await replica.claim(), trade(gate.answer)).run())

    async def recorded() -> bool:
        batch = await replica.get(batch_id)
        return batch.completed + batch.failed == 4

    await until(recorded)
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
    replica.clock.advance(LEASE_SECONDS + 1)
    assert await replica.run(await replica.claim()).run() is BatchState.COMPLETED
    answers, errors = await replica.outcomes(await replica.get(batch_id))
    assert sorted(each["line"] for each in answers) == [1, 2, 5]
    assert sorted((each["line"], each["code"]) for each in errors) == [(3, "invalid_line"), (4, "invalid_line")]


@pytest.mark.parametrize("data", [b"", b"\n \n\r\n"])
async def test_a_file_without_a_line_is_no_batch(replica: Replica, data: bytes) -> None:
    batch_id = await replica.create(*([data] if data else []))
    assert await replica.run(await replica.claim()).run() is BatchState.FAILED
    batch = await replica.get(batch_id)
    assert json.loads(batch.errors or "")[0]["code"] == "empty_file"
    assert (batch.output_file_id, batch.error_file_id) == (None, None)


async def test_a_file_of_too_many_lines_is_no_batch(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claiming, "MAX_LINES", 3)
    assert bounds.MAX_LINES == 50_000
    batch_id = await replica.create(lines(4))
    assert await replica.run(await replica.claim()).run() is BatchState.FAILED
    [fault] = json.loads((await replica.get(batch_id)).errors or "")
    assert (fault["code"], fault["line"]) == ("too_many_lines", 4)


async def test_a_lines_own_failures_are_counted_whoever_runs_it_until_it_has_an_outcome(
    replica: Replica, other: Replica
) -> None:
    batch_id = await replica.create(lines(3))
    claim = await replica.claims.begin(await replica.claim(), None)
    assert claim is not None
    assert [await replica.claims.failed(claim, line) for line in (2, 2, 3)] == [1, 2, 1]
    replica.clock.advance(LEASE_SECONDS + 1)
    later = await other.claim()
    assert await other.claims.failed(later, 2) == 3
    with pytest.raises(ClaimVoid):
        await replica.claims.failed(claim, 2)

    assert await other.run(later).run() is BatchState.COMPLETED
    async with replica.database.reading() as connection:
        assert await connection.scalar(select(batches.c.own_failures).where(batches.c.id == batch_id)) is None


async def test_a_file_that_is_lost_ends_its_batch_with_what_was_done(replica: Replica) -> None:
    data = lines(4)
    batch_id = await replica.create(data[: len(data) // 2], data[len(data) // 2 :])
    [last] = [key async for key in replica.pictures.keys("files/") if "/1-" in key]
    await replica.pictures.delete([last])
    assert await replica.run(await replica.claim()).run() is BatchState.FAILED
    batch = await replica.get(batch_id)
    assert json.loads(batch.errors or "")[0]["code"] == "file_lost"


async def test_a_batch_that_is_cancelled_keeps_what_is_finished_and_runs_no_further_line(replica: Replica) -> None:
    gate = Gate()
    batch_id = await replica.create(lines(12))
    running = replica.run(await replica.claim(), trade(gate.answer))
    run = asyncio.create_task(running.run())

    async def held() -> bool:
        return gate.held == 4

    await until(held)
    assert (await replica.batches.cancel("birds", batch_id)).state is BatchState.CANCELLING
    states = await replica.claims.renew([running.claim], LEASE_SECONDS)
    assert states == {batch_id: BatchState.CANCELLING}
    running.stop(cancelled=True)
    assert await run is BatchState.CANCELLED
    batch = await replica.get(batch_id)
    answers, _ = await replica.outcomes(batch)
    assert sorted(each["line"] for each in answers) == [1, 2]
    assert (batch.completed, gate.answered, batch.state) == (2, [1, 2], BatchState.CANCELLED)


async def test_a_cancelled_batch_whose_replica_died_is_brought_to_its_end_by_another(
    replica: Replica, other: Replica
) -> None:
    batch_id = await replica.create(lines(3))
    claim = await replica.claim()
    assert await replica.claims.begin(claim, None)
    await other.batches.cancel("birds", batch_id)
    replica.clock.advance(LEASE_SECONDS + 1)
    assert await other.run(await other.claim()).run() is BatchState.CANCELLED
    assert (await replica.get(batch_id)).completed == 0


async def test_a_batch_that_nobody_had_begun_is_cancelled_at_once(replica: Replica) -> None:
    batch_id = await replica.create(lines(3))
    claim = await replica.claim()
    assert (await replica.batches.cancel("birds", batch_id)).state is BatchState.CANCELLED
    with pytest.raises(ClaimVoid):
        await replica.run(claim).run()


async def test_what_was_not_run_within_the_window_is_told_so(replica: Replica) -> None:
    batch_id = await replica.create(lines(6))
    gate = Gate()
    run = asyncio.create_task(replica.run(await replica.claim(), trade(gate.answer)).run())

    async def recorded() -> bool:
        return (await replica.get(batch_id)).completed == 2

    await until(recorded)
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
    replica.clock.advance(DAY)
    assert await replica.run(await replica.claim()).run() is BatchState.EXPIRED
    batch = await replica.get(batch_id)
    answers, errors = await replica.outcomes(batch)
    assert (len(answers), batch.completed, batch.failed, batch.state) == (2, 2, 4, BatchState.EXPIRED)
    assert {(each["line"], each["code"]) for each in errors} == {(line, "batch_expired") for line in range(3, 7)}


async def test_a_batch_whose_time_ends_while_it_runs_expires_then(replica: Replica) -> None:
    gate = Gate()
    batch_id = await replica.create(lines(5))
    replica.clock.advance(DAY - 0.3)
    assert await replica.run(await replica.claim(), trade(gate.answer)).run() is BatchState.EXPIRED
    batch = await replica.get(batch_id)
    assert (batch.completed, batch.failed) == (2, 3)


async def test_the_end_of_a_batch_is_told_in_the_transaction_that_ends_it(replica: Replica) -> None:
    now = replica.database.now()
    endpoint = {"id": "we_1", "tenant": "birds", "name": "a", "url": "https://b.example", "secret": b"s"}
    async with replica.database.writing() as connection:
        times = {"created_ms": now, "updated_ms": now}
        await connection.execute(webhook_endpoints.insert().values(**endpoint, secret_hint="…", **times))
        for kind in ("batch.completed", "batch.cancelled", "batch.failed", "batch.expired"):
            await connection.execute(webhook_subscriptions.insert().values(endpoint_id="we_1", event_type=kind))
    completed, failed = await replica.create(lines(1)), await replica.create(b"\n")
    for _ in range(2):
        await replica.run(await replica.claim()).run()
    cancelled = await replica.create(lines(1))
    await replica.batches.cancel("birds", cancelled)
    late = await replica.create(lines(1))
    replica.clock.advance(DAY)
    await replica.run(await replica.claim()).run()
    asking = select(webhook_deliveries.c.event_type, webhook_deliveries.c.subject)
    async with replica.database.reading() as connection:
        told = {tuple(row) for row in (await connection.execute(asking)).all()}
    assert told == {
        ("batch.completed", completed),
        ("batch.failed", failed),
        ("batch.cancelled", cancelled),
        ("batch.expired", late),
    }
