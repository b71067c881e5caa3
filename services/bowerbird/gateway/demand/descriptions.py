"""What stages said of themselves, kept in the database: a gateway that starts beside a sleeping model knows its prices.

Written when text-to-image says something new, read once at the start. What a stage says itself goes before.
"""

from __future__ import annotations

import asyncio
import logging

from pydantic import ValidationError
from sqlalchemy import select

from bowerbird.contracts import ModelDescription
from bowerbird.errors import RecordsUnavailable
from bowerbird.gateway.demand.tables import stage_descriptions
from bowerbird.gateway.records.database import Database, upsert
from bowerbird.gateway.upstream import Stage

logger = logging.getLogger(__name__)


class KeptDescriptions:
    """Of one database; writes in the background, since who says something does not wait for that."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._writing: set[asyncio.Task[None]] = set()

    async def model(self) -> ModelDescription | None:
        """What text-to-image said last, to any gateway; None where that is not known, or is of another release."""
        kept = stage_descriptions.c
        asking = select(kept.description).where(kept.stage == Stage.TEXT_TO_IMAGE.value)
        rows = await self._database.rows(asking)
        try:
            return ModelDescription.model_validate_json(rows[0].description) if rows else None
        except ValidationError:
            return None

    def keep(self, model: ModelDescription) -> None:
        """Text-to-image draws with this one from now on."""
        task = asyncio.create_task(self._write(model))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def _write(self, model: ModelDescription) -> None:
        values = {"description": model.model_dump_json(), "seen_ms": self._database.now()}
        try:
            async with self._database.writing(lasting=False) as connection:
                draft = upsert(connection, stage_descriptions).values(stage=Stage.TEXT_TO_IMAGE.value, **values)
                await connection.execute(draft.on_conflict_do_update(index_elements=["stage"], set_=values))
        except RecordsUnavailable:
            logger.warning("what text-to-image draws with could not be kept")
