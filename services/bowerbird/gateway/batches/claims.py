"""Running batches: claim, renew, begin, record, end. The fence: only the claim with a batch's present epoch changes it.

What is recorded together is one transaction: the lines' rows, the counts, the usage, the parts that hold the outcomes
and the input's parts without what had to go; or none of it. A line that has a row is in one of the two files, and
nothing else can put it there a second time.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from bowerbird.contracts import WorkClass
from bowerbird.gateway.batches.batch import MAX_LINES, UNFINISHED, BatchClaim, BatchState, Recorded
from bowerbird.gateway.batches.tables import batch_lines, batches
from bowerbird.gateway.files.file import USUAL_SECONDS, Purpose
from bowerbird.gateway.files.files import Files, NewFile
from bowerbird.gateway.files.parts import NamedPart, Rewritten
from bowerbird.gateway.files.tables import file_parts, files
from bowerbird.gateway.records.database import Database
from bowerbird.gateway.records.turns import WaitingFlow, take_turns
from bowerbird.gateway.records.usage import Usage
from bowerbird.gateway.webhooks import outbox
from bowerbird.gateway.webhooks.events import EventType

OF_A_TENANT = 4
"""Batches of one tenant that are run at a time, by whichever replicas: more would be no faster, and others wait."""

ANNOUNCED: Mapping[BatchState, EventType] = {
    BatchState.COMPLETED: EventType.BATCH_COMPLETED,
    BatchState.FAILED: EventType.BATCH_FAILED,
    BatchState.EXPIRED: EventType.BATCH_EXPIRED,
    BatchState.CANCELLED: EventType.BATCH_CANCELLED,
}

Filled = tuple[NamedPart, int, int]
"""A part that was put, its bytes and its lines."""


class ClaimVoid(Exception):
    """Somebody else runs the batch by now, or it is gone: nothing was written."""


class BatchClaims:
    """One replica's claims; `owner` is a name that no other process, and no earlier life of this one, has."""

    def __init__(self, database: Database, stored: Files, usage: Usage, owner: str) -> None:
        self._database = database
        self._files = stored
        self._usage = usage
        self._owner = owner

    async def claim(self, limit: int, lease_seconds: float, in_hand: Collection[str] = ()) -> list[BatchClaim]:
        """Up to `limit` batches that nobody runs, leased to this owner; tenants take turns.

        What this owner has in hand is not among them, also when its lease ran out: while nobody has taken it, it goes
        on, and the next renewal prolongs it.
        """
        chosen = await self._chosen(limit, in_hand)
        if not chosen:
            return []
        now = self._database.now()
        free = select(batches.c.id).where(batches.c.id.in_(chosen), self._claimable())
        claiming = (
            update(batches)
            .where(batches.c.id.in_(free.with_for_update(skip_locked=True)))
            .values(
                lease_owner=self._owner,
                lease_epoch=batches.c.lease_epoch + 1,
                lease_until_ms=now + round(lease_seconds * 1000),
            )
            .returning(batches, (batches.c.expires_ms - now).label("remaining_ms"))
        )
        async with self._database.writing(lasting=False) as connection:
            return [_claim(row) for row in (await connection.execute(claiming)).all()]

    async def renew(self, claims: Iterable[BatchClaim], lease_seconds: float) -> dict[str, BatchState]:
        """Prolongs the leases; id -> state of the batches that are still claimed so. The others' work is in vain."""
        epochs = {claim.batch_id: claim.epoch for claim in claims}
        renewing = (
            update(batches)
            .where(batches.c.id.in_(sorted(epochs)), batches.c.lease_owner == self._owner, self._unfinished())
            .values(lease_until_ms=self._database.now() + round(lease_seconds * 1000))
            .returning(batches.c.id, batches.c.lease_epoch, batches.c.state)
        )
        async with self._database.writing(lasting=False) as connection:
            rows = (await connection.execute(renewing)).all()
        return {row.id: BatchState(row.state) for row in rows if row.lease_epoch == epochs[row.id]}

    async def release(self, claim: BatchClaim, rest_seconds: float = 0.0) -> None:
        """Gives the batch back; nobody takes it before it has rested."""
        until = self._database.now() + round(rest_seconds * 1000)
        giving = update(batches).where(*_mine(claim)).values(lease_until_ms=until)
        async with self._database.writing(lasting=False) as connection:
            await connection.execute(giving)

    async def begin(self, claim: BatchClaim, model: str | None) -> BatchClaim | None:
        """The claim with the files that its outcomes go to; None when the batch has failed as a whole.

        Raises ClaimVoid.
        """
        if claim.state is not BatchState.VALIDATING:
            return claim
        async with self._database.writing() as connection:
            await self._hold(connection, claim)
            lines = await connection.scalar(select(files.c.lines).where(files.c.id == claim.input_file_id))
            if fault := _fault(lines):
                await self._end(connection, claim, BatchState.FAILED, errors=json.dumps([fault]))
                return None
            ids = {
                f"{kind}_file_id": await self._files.insert(
                    connection, NewFile(claim.tenant, Purpose.BATCH_OUTPUT, f"{claim.batch_id}_{kind}.jsonl")
                )
                for kind in ("output", "error")
            }
            begun: dict[str, Any] = {"begun_ms": self._database.now(), "total": lines, "model": model}
            changing = update(batches).where(batches.c.id == claim.batch_id)
            await connection.execute(changing.values(state=BatchState.IN_PROGRESS.value, **begun, **ids))
        return _with_files(claim, ids)

    async def done(self, claim: BatchClaim) -> set[int]:
        """The numbers of the lines that have an outcome."""
        asking = select(batch_lines.c.line).where(batch_lines.c.batch_id == claim.batch_id)
        async with self._database.reading() as connection:
            return set((await connection.execute(asking)).scalars())

    async def name_parts(self, claim: BatchClaim, file_ids: Sequence[str]) -> list[NamedPart]:
        """A part of each of these files, to be put; raises ClaimVoid."""
        async with self._database.writing() as connection:
            await self._hold(connection, claim)
            return [await self._files.parts.name(connection, each) for each in file_ids]

    async def failed(self, claim: BatchClaim, line: int) -> int:
        """The line failed by its own fault once more; how often by now, whoever ran it. Raises ClaimVoid."""
        async with self._database.writing() as connection:
            await self._hold(connection, claim)
            counted = await _own_failures(connection, claim)
            counted[str(line)] = counted.get(str(line), 0) + 1
            await _write_own_failures(connection, claim, counted)
        return counted[str(line)]

    async def record(
        self, claim: BatchClaim, recorded: Recorded, filled: Sequence[Filled], rewritten: Sequence[Rewritten]
    ) -> None:
        """The outcomes are there from now on, all of them; raises ClaimVoid or PartOvertaken, and then none is.

        Asked a second time after a commit whose answer was lost, it writes nothing.
        """
        async with self._database.writing() as connection:
            await self._hold(connection, claim)
            first = select(batch_lines.c.line).where(
                batch_lines.c.batch_id == claim.batch_id, batch_lines.c.line == min(recorded.lines)
            )
            if await connection.scalar(first) is not None:
                return
            rows = [
                {"batch_id": claim.batch_id, "line": line, "succeeded": succeeded}
                for line, succeeded in recorded.lines.items()
            ]
            await connection.execute(insert(batch_lines), rows)
            if counted := await _own_failures(connection, claim):
                left = {line: count for line, count in counted.items() if int(line) not in recorded.lines}
                await _write_own_failures(connection, claim, left)
            completed = sum(recorded.lines.values())
            counting = update(batches).where(batches.c.id == claim.batch_id)
            await connection.execute(
                counting.values(
                    completed=batches.c.completed + completed,
                    failed=batches.c.failed + len(rows) - completed,
                    input_tokens=batches.c.input_tokens + recorded.input_tokens,
                    output_tokens=batches.c.output_tokens + recorded.output_tokens,
                )
            )
            if recorded.usage:
                await self._usage.insert(connection, recorded.usage)
            for part, length, lines in filled:
                await self._files.parts.fill(connection, part, length, lines)
            await self._files.parts.swap(connection, rewritten)

    async def end(self, claim: BatchClaim, state: BatchState, errors: str | None = None) -> None:
        """The batch has ended so, its files are there, and its tenant's webhooks will tell it; raises ClaimVoid."""
        async with self._database.writing() as connection:
            await self._hold(connection, claim)
            await self._end(connection, claim, state, errors)

    async def _end(
        self, connection: AsyncConnection, claim: BatchClaim, state: BatchState, errors: str | None = None
    ) -> None:
        now = self._database.now()
        seconds = await connection.scalar(
            select(batches.c.output_expires_seconds).where(batches.c.id == claim.batch_id)
        )
        ids = {}
        for name, file_id in (("output_file_id", claim.output_file_id), ("error_file_id", claim.error_file_id)):
            if file_id is not None:
                ids[name] = await self._ready(connection, file_id, seconds or USUAL_SECONDS)
        ending = (
            update(batches)
            .where(batches.c.id == claim.batch_id)
            .values(state=state.value, finished_ms=now, lease_until_ms=0, errors=errors, **ids)
        )
        await connection.execute(ending)
        told = outbox.Announcement(claim.tenant, ANNOUNCED[state], claim.batch_id)
        await outbox.write(connection, now, [told])

    async def _ready(self, connection: AsyncConnection, file_id: str, seconds: int) -> str | None:
        """The file's id when there is anything in it; an empty one goes. Parts that nobody filled go with their row."""
        unfilled = delete(file_parts).where(file_parts.c.file_id == file_id, file_parts.c.bytes == 0)
        await connection.execute(unfilled)
        empty = delete(files).where(files.c.id == file_id, files.c.bytes == 0).returning(files.c.id)
        if await connection.scalar(empty) is not None:
            return None
        await self._files.ready(connection, file_id, seconds)
        return file_id

    async def _hold(self, connection: AsyncConnection, claim: BatchClaim) -> None:
        """The row, locked until the transaction ends; raises ClaimVoid when it is not this claim's any more."""
        holding = select(batches.c.id).where(*_mine(claim)).with_for_update()
        if await connection.scalar(holding) is None:
            raise ClaimVoid

    async def _chosen(self, limit: int, in_hand: Collection[str]) -> list[str]:
        """The batches to claim: each tenant's oldest, in turns."""
        now = self._database.now()
        asking = (
            select(batches.c.id, batches.c.tenant, batches.c.created_ms, (batches.c.lease_until_ms > now).label("held"))
            .where(self._unfinished())
            .order_by(batches.c.created_ms, batches.c.id)
        )
        async with self._database.reading() as connection:
            rows = (await connection.execute(asking)).all()
        held = {row.id for row in rows if row.held}.union(in_hand)
        waiting: dict[str, list[Any]] = {}
        for row in rows:
            if row.id not in held:
                waiting.setdefault(row.tenant, []).append(row)
        flows = []
        for tenant, free in waiting.items():
            running = sum(row.id in held for row in rows if row.tenant == tenant)
            room = max(0, min(len(free), OF_A_TENANT - running))
            flows.append(WaitingFlow(tenant, WorkClass.BATCH, room, running, free[0].created_ms))
        turns = take_turns(flows, limit)
        return [row.id for flow, count in turns.items() for row in waiting[flow.tenant][:count]]

    def _unfinished(self) -> ColumnElement[bool]:
        return batches.c.state.in_(UNFINISHED)

    def _claimable(self) -> ColumnElement[bool]:
        return and_(self._unfinished(), batches.c.lease_until_ms <= self._database.now())


def _mine(claim: BatchClaim) -> tuple[ColumnElement[bool], ...]:
    return (
        batches.c.id == claim.batch_id,
        batches.c.lease_epoch == claim.epoch,
        batches.c.state.in_(UNFINISHED),
    )


async def _own_failures(connection: AsyncConnection, claim: BatchClaim) -> dict[str, int]:
    """Line -> failures; the batch's row is held."""
    asking = select(batches.c.own_failures).where(batches.c.id == claim.batch_id)
    counted: dict[str, int] = json.loads(await connection.scalar(asking) or "{}")
    return counted


async def _write_own_failures(connection: AsyncConnection, claim: BatchClaim, counted: Mapping[str, int]) -> None:
    text = json.dumps(counted) if counted else None
    await connection.execute(update(batches).where(batches.c.id == claim.batch_id).values(own_failures=text))


def _fault(lines: int | None) -> dict[str, Any] | None:
    """Why a file of so many lines is no batch, as OpenAI's `BatchError` says it."""
    if lines is None:
        return {"code": "file_not_found", "message": "The input file is gone.", "param": "input_file_id", "line": None}
    if lines == 0:
        return {"code": "empty_file", "message": "The input file has no line.", "param": "input_file_id", "line": None}
    if lines > MAX_LINES:
        fact = f"The input file has {lines} lines. Accepted: up to {MAX_LINES}."
        return {"code": "too_many_lines", "message": fact, "param": "input_file_id", "line": MAX_LINES + 1}
    return None


def _claim(row: Any) -> BatchClaim:
    return BatchClaim(
        batch_id=row.id,
        tenant=row.tenant,
        epoch=row.lease_epoch,
        state=BatchState(row.state),
        endpoint=row.endpoint,
        input_file_id=row.input_file_id,
        output_file_id=row.output_file_id,
        error_file_id=row.error_file_id,
        locale=row.locale,
        expires_at=time.monotonic() + row.remaining_ms / 1000,
    )


def _with_files(claim: BatchClaim, ids: Mapping[str, str]) -> BatchClaim:
    output, error = ids["output_file_id"], ids["error_file_id"]
    return replace(claim, state=BatchState.IN_PROGRESS, output_file_id=output, error_file_id=error)
