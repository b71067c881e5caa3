"""What was told to an endpoint, and how each attempt went; nothing of what the receiver answered but its status."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select, tuple_

from bowerbird.errors import WebhookDeliveryUnknown
from bowerbird.gateway.records.database import Database
from bowerbird.gateway.webhooks.tables import webhook_attempts, webhook_deliveries


@dataclass(frozen=True, slots=True)
class LoggedAttempt:
    """One request to the receiver."""

    number: int
    at_ms: int
    """When it had ended."""
    outcome: str
    status: int | None
    latency_ms: int


@dataclass(frozen=True, slots=True)
class LoggedDelivery:
    """One event for one endpoint."""

    event_id: str
    event_type: str
    subject: str
    created_ms: int
    state: str
    next_ms: int
    finished_ms: int | None
    attempts: Sequence[LoggedAttempt]


class DeliveryLog:
    """The deliveries of the last days, by endpoint; whose that is, the caller knows."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, endpoint_id: str, limit: int, after: str | None = None) -> tuple[list[LoggedDelivery], bool]:
        """Up to `limit` deliveries, newest first, and whether there are more.

        `after` is the event of the last known one; raises WebhookDeliveryUnknown where it is none of this endpoint.
        """
        table = webhook_deliveries
        asking = select(table).where(table.c.endpoint_id == endpoint_id)
        async with self._database.reading() as connection:
            if after is not None:
                known = after.isascii() and after.isprintable()
                finding = select(table.c.created_ms, table.c.event_id).where(
                    table.c.endpoint_id == endpoint_id, table.c.event_id == after
                )
                last = (await connection.execute(finding)).first() if known else None
                if last is None:
                    raise WebhookDeliveryUnknown("There is no delivery of this id.", param="after")
                asking = asking.where(tuple_(table.c.created_ms, table.c.event_id) < tuple(last))
            ordered = asking.order_by(table.c.created_ms.desc(), table.c.event_id.desc()).limit(limit + 1)
            rows = (await connection.execute(ordered)).all()
            made = webhook_attempts
            trying = (
                select(made)
                .where(made.c.endpoint_id == endpoint_id, made.c.event_id.in_([row.event_id for row in rows[:limit]]))
                .order_by(made.c.number)
            )
            attempts: defaultdict[str, list[LoggedAttempt]] = defaultdict(list)
            for row in (await connection.execute(trying)).all():
                attempts[row.event_id].append(
                    LoggedAttempt(row.number, row.at_ms, row.outcome, row.status, row.latency_ms)
                )
        return [_logged(row, attempts[row.event_id]) for row in rows[:limit]], len(rows) > limit


def _logged(row: Any, attempts: Sequence[LoggedAttempt]) -> LoggedDelivery:
    return LoggedDelivery(
        event_id=row.event_id,
        event_type=row.event_type,
        subject=row.subject,
        created_ms=row.created_ms,
        state=row.state,
        next_ms=row.next_ms,
        finished_ms=row.finished_ms,
        attempts=attempts,
    )
