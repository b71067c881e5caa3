"""Deliveries that wait: whose turn it is, who has one in hand, and how an attempt ends.

An attempt is taken in hand by putting the delivery's next time off by longer than an attempt may last, and by a new
epoch: the fence that lets only the present holder write how it ended. A process that dies in between leaves it to
whoever looks next. So an event reaches its receiver at least once, and more than once where an answer was lost.

Endpoints take turns, in an order that chance gives them, each with a few attempts at a time: who has a hundred thousand
events waiting before a receiver that hangs fills those few hands and no more.

Every failed attempt is made again for a day. An event that is given up after a day in which its endpoint took nothing
disables the endpoint, and so does status 410 (Gone), by which a receiver says so itself (Standard Webhooks).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, Select, and_, delete, exists, func, insert, select, tuple_, union_all, update
from sqlalchemy.ext.asyncio import AsyncConnection

from bowerbird.gateway.records.database import Database
from bowerbird.gateway.webhooks.endpoints import Receiver, receivers
from bowerbird.gateway.webhooks.events import Event
from bowerbird.gateway.webhooks.retrying import GIVE_UP_HOURS, rest_seconds
from bowerbird.gateway.webhooks.sending import ATTEMPT_SECONDS, Attempt, Outcome
from bowerbird.gateway.webhooks.tables import webhook_attempts, webhook_deliveries, webhook_endpoints

PER_ENDPOINT = 4
"""Attempts at one endpoint at a time, in one replica."""
IN_HAND_SECONDS = 2 * ATTEMPT_SECONDS + 10
"""After that, whoever had it in hand is dead."""
LOG_DAYS = 7
"""How long what has ended is kept."""
BATCH = 500
GONE = 410
GAVE_UP = "no_delivery_for_a_day"
GONE_REASON = "gone"

_GIVE_UP_MS = GIVE_UP_HOURS * 3_600_000
_LOG_MS = LOG_DAYS * 86_400_000

_waiting, _endpoints = webhook_deliveries.c, webhook_endpoints.c


@dataclass(frozen=True, slots=True)
class InHand:
    """The right to make one attempt, and to say how it ended."""

    event: Event
    receiver: Receiver
    epoch: int
    attempt: int
    """Which one this is, from 1."""
    age_ms: int
    """Of the event, when it was taken in hand."""


@dataclass(frozen=True, slots=True)
class Ended:
    """What became of an attempt that was written down."""

    state: str
    disabled: bool
    """The endpoint, by this."""


class Deliveries:
    """All deliveries of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take(self, limit: int, in_hand: Mapping[str, int]) -> list[InHand]:
        """Up to `limit` deliveries that are due; `in_hand` says how many this replica has of each endpoint already."""
        full = [endpoint_id for endpoint_id, count in in_hand.items() if count >= PER_ENDPOINT]
        turns = await self._turns(limit, full)
        if not turns:
            return []
        now = self._database.now()
        share = max(1, limit // len(turns))
        first = self._due_of({each: min(share, PER_ENDPOINT - in_hand.get(each, 0)) for each in turns})
        mine = (
            select(_waiting.endpoint_id, _waiting.event_id)
            .where(tuple_(_waiting.endpoint_id, _waiting.event_id).in_(first), self._due())
            .with_for_update(skip_locked=True)
        )
        taking = (
            update(webhook_deliveries)
            .where(tuple_(_waiting.endpoint_id, _waiting.event_id).in_(mine))
            .values(
                next_ms=now + round(IN_HAND_SECONDS * 1000),
                epoch=_waiting.epoch + 1,
                attempts=_waiting.attempts + 1,
            )
            .returning(webhook_deliveries, (now - _waiting.created_ms).label("age_ms"))
        )
        async with self._database.writing() as connection:
            rows = (await connection.execute(taking)).all()
            known = await receivers(connection, {row.endpoint_id for row in rows}, now)
        return [_in_hand(row, known[row.endpoint_id]) for row in rows if row.endpoint_id in known]

    async def finish(self, taken: InHand, attempt: Attempt) -> Ended | None:
        """Writes down how an attempt ended; None, and nothing written, where another has it in hand by now."""
        now = self._database.now()
        rest_ms = round(rest_seconds(taken.attempt, attempt.retry_after_seconds) * 1000)
        if attempt.outcome is Outcome.DELIVERED:
            values: dict[str, Any] = {"state": "delivered", "finished_ms": now}
        elif attempt.status == GONE or taken.age_ms + attempt.latency_ms + rest_ms > _GIVE_UP_MS:
            values = {"state": "failed", "finished_ms": now}
        else:
            values = {"state": "waiting", "next_ms": now + rest_ms}
        ending = (
            update(webhook_deliveries)
            .where(
                _waiting.endpoint_id == taken.receiver.endpoint_id,
                _waiting.event_id == taken.event.id,
                _waiting.state == "waiting",
                _waiting.epoch == taken.epoch,
            )
            .values(**values, epoch=_waiting.epoch + 1)  # so that it is not written down twice
            .returning(_waiting.event_id)
        )
        async with self._database.writing() as connection:
            if await connection.scalar(ending) is None:
                return None
            row = {
                "endpoint_id": taken.receiver.endpoint_id,
                "event_id": taken.event.id,
                "number": taken.attempt,
                "outcome": attempt.outcome.value,
                "status": attempt.status,
                "latency_ms": attempt.latency_ms,
            }
            await connection.execute(insert(webhook_attempts).values(**row, at_ms=now))
            disabled = await self._judge(connection, taken, attempt, gave_up=values["state"] == "failed")
        return Ended(values["state"], disabled)

    async def sweep(self) -> int:
        """Ends what nobody will try again, and removes what has ended long ago; how many rows were removed."""
        now, removed = self._database.now(), 0
        off = select(_endpoints.id).where(_endpoints.disabled_ms.is_not(None))
        overdue = and_(_waiting.state == "waiting", _waiting.created_ms <= now - _GIVE_UP_MS)
        ending = (
            update(webhook_deliveries)
            .where(overdue, _waiting.endpoint_id.in_(off))
            .values(state="failed", finished_ms=now)
        )
        async with self._database.writing() as connection:
            await connection.execute(ending)
        while count := await self._remove_some():
            removed += count
        return removed

    async def _turns(self, limit: int, full: Collection[str]) -> Sequence[str]:
        """Endpoints with something due, by chance when they are more than may be served."""
        something = exists().where(_waiting.endpoint_id == _endpoints.id, self._due())
        asking = select(_endpoints.id).where(_endpoints.disabled_ms.is_(None), something, _endpoints.id.not_in(full))
        async with self._database.reading() as connection:
            return (await connection.scalars(asking.order_by(func.random()).limit(limit))).all()

    def _due(self) -> Any:
        return and_(_waiting.state == "waiting", _waiting.next_ms <= self._database.now())

    def _due_of(self, shares: Mapping[str, int]) -> Select[Any]:
        """The keys of each endpoint's longest due deliveries, as many as its share."""
        each = [
            select(_waiting.endpoint_id, _waiting.event_id)
            .where(_waiting.endpoint_id == endpoint_id, self._due())
            .order_by(_waiting.next_ms, _waiting.event_id)
            .limit(share)
            .subquery()
            for endpoint_id, share in shares.items()
        ]
        together = union_all(*(select(one.c.endpoint_id, one.c.event_id) for one in each)).subquery()
        return select(together.c.endpoint_id, together.c.event_id)

    async def _judge(self, connection: AsyncConnection, taken: InHand, attempt: Attempt, *, gave_up: bool) -> bool:
        """Keeps count of an endpoint's failing; True when this attempt disables it."""
        now = self._database.now()
        of_it = update(webhook_endpoints).where(_endpoints.id == taken.receiver.endpoint_id)
        if attempt.outcome is Outcome.DELIVERED:
            await connection.execute(
                of_it.where(_endpoints.failing_since_ms.is_not(None)).values(failing_since_ms=None)
            )
            return False
        if attempt.outcome is Outcome.SECRET_UNREADABLE:
            return False  # that is no fault of the receiver
        await connection.execute(of_it.where(_endpoints.failing_since_ms.is_(None)).values(failing_since_ms=now))
        gone = attempt.status == GONE
        if not gone and not gave_up:
            return False
        first = (
            select(func.min(webhook_attempts.c.at_ms))
            .where(
                webhook_attempts.c.endpoint_id == taken.receiver.endpoint_id,
                webhook_attempts.c.event_id == taken.event.id,
            )
            .scalar_subquery()
        )
        reason = GONE_REASON if gone else GAVE_UP
        switching = of_it.where(_endpoints.disabled_ms.is_(None)).values(disabled_ms=now, disabled_reason=reason)
        if not gone:  # it has taken nothing since the first attempt at this event
            switching = switching.where(_endpoints.failing_since_ms <= first)
        return await connection.scalar(switching.returning(_endpoints.id)) is not None

    async def _remove_some(self) -> int:
        key = tuple_(_waiting.endpoint_id, _waiting.event_id)
        old = (
            select(_waiting.endpoint_id, _waiting.event_id)
            .where(_waiting.created_ms <= self._database.now() - _LOG_MS, _waiting.state != "waiting")
            .limit(BATCH)
        )
        async with self._database.writing() as connection:
            removing = delete(webhook_deliveries).where(key.in_(old)).returning(_waiting.event_id)
            return len((await connection.execute(removing)).all())


def _in_hand(row: Row[Any], receiver: Receiver) -> InHand:
    event = Event(row.event_id, row.event_type, row.subject, row.created_ms)
    return InHand(event, receiver, row.epoch, row.attempts, row.age_ms)
