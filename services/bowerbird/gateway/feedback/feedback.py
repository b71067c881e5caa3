"""Rows of feedback: each says who thought what of which picture, and which variant drew it.

A row's key is what it is about, so that saying the same twice is saying it once, and saying something else replaces it.
The request must be this tenant's: it is known by its usage entry for as many days as `records.usage` keeps those.
"""

from __future__ import annotations

import json
import secrets as random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Row, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from bowerbird.errors import RequestUnknown
from bowerbird.gateway.feedback.rewards import Kind
from bowerbird.gateway.feedback.tables import feedback
from bowerbird.gateway.records.cursor import read_cursor, write_cursor
from bowerbird.gateway.records.database import Database, upsert
from bowerbird.gateway.records.usage import Usage, UsageEntry
from bowerbird.gateway.records.writer import Writer

WHOLE_ANSWER = -1
_KEY = ("tenant", "request_id", "image", "kind", "rater")
_FIXED = (*_KEY, "id", "created_ms")


@dataclass(frozen=True, slots=True)
class Said:
    """What somebody said."""

    request_id: str
    image: int
    """From 0; WHOLE_ANSWER."""
    kind: Kind
    rater: str
    stars: int | None
    tags: tuple[str, ...]
    text: str | None
    """As it may be kept."""
    person: str | None = None
    """The keyed name of `rater` (`records.people`)."""


@dataclass(frozen=True, slots=True)
class Reward:
    """What it is worth, by which file."""

    reward: float | None
    rewards_version: int
    rewards_digest: str


@dataclass(frozen=True, slots=True)
class Written:
    """A row, as its tenant sees it."""

    id: str
    request_id: str
    image: int
    kind: Kind
    rater: str
    stars: int | None
    tags: tuple[str, ...]
    text: str | None
    model_digest: str
    variant: str
    pictures: int
    reward: float | None
    rewards_version: int
    rewards_digest: str
    created_ms: int
    updated_ms: int


@dataclass(frozen=True, slots=True)
class _New:
    about: UsageEntry
    said: Said
    reward: Reward


class Feedback:
    """All feedback of one database."""

    def __init__(self, database: Database, writer: Writer, usage: Usage, cursor_secret: bytes) -> None:
        self._database = database
        self._writer = writer
        self._usage = usage
        self._cursor_secret = cursor_secret

    async def about(self, tenant: str, request_id: str) -> UsageEntry:
        """The request or job that feedback is about; raises RequestUnknown."""
        entry = await self._usage.find(tenant, request_id)
        if entry is None:
            raise RequestUnknown("There is no request or job of this id that brought pictures.", param="request_id")
        return entry

    async def write(self, about: UsageEntry, said: Said, reward: Reward) -> Written:
        """Keeps what was said, in place of what the same rater said before of the same picture in the same way."""
        return await self._writer.submit(self._write, _New(about, said, reward))

    async def page(
        self, tenant: str, limit: int, cursor: str | None = None, request_id: str | None = None
    ) -> tuple[list[Written], str | None]:
        """Up to `limit` rows, newest first, with the next page's cursor; raises RequestInvalid for a foreign cursor."""
        table = feedback.c
        asking = select(feedback).where(table.tenant == tenant)
        if request_id is not None:
            asking = asking.where(table.request_id == request_id)
        if cursor is not None:
            last = read_cursor(self._cursor_secret, tenant, cursor)
            asking = asking.where(tuple_(table.created_ms, table.id) < last)
        asking = asking.order_by(table.created_ms.desc(), table.id.desc()).limit(limit + 1)
        async with self._database.reading() as connection:
            found = [_written(row) for row in (await connection.execute(asking)).all()]
        shown = found[:limit]
        if len(found) <= limit:
            return shown, None
        return shown, write_cursor(self._cursor_secret, tenant, shown[-1].created_ms, shown[-1].id)

    async def _write(self, connection: AsyncConnection, new: Sequence[_New]) -> list[Written]:
        """One statement each: of two about the same in one group, the later one counts."""
        now = self._database.now()
        written = []
        for each in new:
            draft = upsert(connection, feedback).values(**_row(each), created_ms=now, updated_ms=now)
            fresh = {column.name: draft.excluded[column.name] for column in feedback.c if column.name not in _FIXED}
            saying = draft.on_conflict_do_update(index_elements=list(_KEY), set_=fresh).returning(feedback)
            written.append(_written((await connection.execute(saying)).one()))
        return written


def _row(new: _New) -> dict[str, Any]:
    return {
        **asdict(new.said),
        "tags": json.dumps(new.said.tags),
        "tenant": new.about.tenant,
        "id": f"fb_{random.token_hex(12)}",
        "model_digest": new.about.model_digest,
        "variant": new.about.variant,
        "pictures": new.about.pictures,
        **asdict(new.reward),
    }


def _written(row: Row[Any]) -> Written:
    facts = {name: value for name, value in row._mapping.items() if name not in ("tenant", "person")}
    return Written(**facts | {"kind": Kind(facts["kind"]), "tags": tuple(json.loads(facts["tags"]))})
