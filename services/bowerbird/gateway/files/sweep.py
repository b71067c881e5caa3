"""What is removed when: files whose time is over, uploads that nobody finishes, objects that no row names.

Safe at any time, in any replica, also in two at once. Rows go first and objects after them; what a crash leaves between
the two is named by no row, and that is what `remove_orphans` looks for.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, and_, delete, exists, or_, select

from bowerbird.gateway.batches.tables import batches
from bowerbird.gateway.files.files import OPEN, READ_BY_BATCHES, READY
from bowerbird.gateway.files.parts import FILES
from bowerbird.gateway.files.tables import file_parts, files
from bowerbird.gateway.pictures import PictureStore
from bowerbird.gateway.records.database import Database

UPLOAD_MS = 6 * 3_600_000
"""An upload that is still open then was left behind: the slowest that is allowed ends sooner."""
BATCH = 100
KEYS = 500


class FileSweep:
    """Removes what is over."""

    def __init__(self, database: Database, pictures: PictureStore) -> None:
        self._database = database
        self._pictures = pictures

    async def sweep(self) -> int:
        """How many files were removed; raises RecordsUnavailable, and may be called again."""
        removed = 0
        while ids := await self._remove_some():
            removed += len(ids)
        return removed

    async def remove_orphans(self) -> int:
        """Deletes the objects that no row names; how many. It looks at every one there is."""
        removed = 0
        page: list[str] = []
        async for key in self._pictures.keys(FILES):
            page.append(key)
            if len(page) == KEYS:
                removed += await self._remove_unnamed(page)
                page = []
        return removed + await self._remove_unnamed(page)

    async def _remove_some(self) -> list[str]:
        over = select(files.c.id).where(self._over()).limit(BATCH)
        async with self._database.writing() as connection:
            ids = list((await connection.execute(over)).scalars())
            naming = select(file_parts.c.key, file_parts.c.next_key).where(file_parts.c.file_id.in_(ids))
            rows = (await connection.execute(naming)).all() if ids else []
            await connection.execute(delete(files).where(files.c.id.in_(ids)))
        await self._pictures.delete([key for row in rows for key in row if key is not None])
        return ids

    def _over(self) -> ColumnElement[bool]:
        now = self._database.now()
        read = exists().where(batches.c.input_file_id == files.c.id, batches.c.state.in_(READ_BY_BATCHES))
        written = exists().where(
            or_(batches.c.output_file_id == files.c.id, batches.c.error_file_id == files.c.id),
            batches.c.state.in_(READ_BY_BATCHES),
        )
        expired = and_(files.c.state == READY, files.c.expires_ms <= now, ~read)
        left_behind = and_(files.c.state == OPEN, files.c.created_ms <= now - UPLOAD_MS, ~written)
        return or_(expired, left_behind)

    async def _remove_unnamed(self, keys: Sequence[str]) -> int:
        naming = select(file_parts.c.key, file_parts.c.next_key).where(
            or_(file_parts.c.key.in_(keys), file_parts.c.next_key.in_(keys))
        )
        async with self._database.reading() as connection:
            named = {key for row in (await connection.execute(naming)).all() for key in row}
        unnamed = [key for key in keys if key not in named]
        await self._pictures.delete(unnamed)
        return len(unnamed)
