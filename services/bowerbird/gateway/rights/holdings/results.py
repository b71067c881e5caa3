"""Pictures that are kept to answer again: those that were drawn for somebody go with them.

A result may have answered others of the same tenant since; they have their own copy, and who asks once more has it
drawn again. One that was drawn for somebody else and answered them is the other's, and stays.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from sqlalchemy import select

from bowerbird.gateway.pictures import PictureStore
from bowerbird.gateway.records.database import Database
from bowerbird.gateway.results import rows
from bowerbird.gateway.results.store import files_of, remove_leaving, remove_unnamed
from bowerbird.gateway.results.table import State, results
from bowerbird.gateway.rights.holding import PAGE, Count, Page
from bowerbird.gateway.rights.subject import Subject

_SHOWN = (results.c.id, results.c.pictures, results.c.bytes, results.c.facts, results.c.uses, results.c.expires_ms)


class ResultHolding:
    """All stored results of one database."""

    kind = "cached_results"
    tables: Sequence[str] = [results.name]

    def __init__(self, database: Database, pictures: PictureStore) -> None:
        self._database = database
        self._pictures = pictures

    async def stop(self, _: Subject) -> int:
        """Nothing: what is being drawn for them is not kept (`fence`)."""
        return 0

    async def remove(self, subject: Subject, count: Count) -> None:
        """Found by nobody from one moment on; then files, then rows."""
        async with self._database.writing() as connection:
            await rows.locked(connection)
            found, pictures = await rows.leave(connection, subject.flow, subject.person)
            if found:
                await count(connection, {self.kind: found, "cached_pictures": pictures})
        await remove_leaving(self._database, self._pictures)

    async def search(self) -> None:
        """Of results that are gone."""
        await remove_unnamed(self._database, self._pictures)

    async def pages(self, subject: Subject) -> AsyncIterator[Page]:
        """Each result with its facts, and the names of its pictures in the archive."""
        theirs = (results.c.flow == subject.flow) & (results.c.state == State.READY)
        if subject.person is not None:
            theirs &= results.c.person == subject.person
        last = ""
        while True:
            asking = select(*_SHOWN).where(theirs, results.c.id > last).order_by(results.c.id).limit(PAGE)
            async with self._database.reading() as connection:
                found = (await connection.execute(asking)).mappings().all()
            if not found:
                return
            shown: list[Mapping[str, Any]] = []
            files: dict[str, str] = {}
            for row in found:
                names = {f"cached/{row['id']}-{at}": key for at, key in enumerate(files_of(row["id"], row["pictures"]))}
                shown.append({**row, "facts": json.loads(row["facts"]), "pictures": list(names)})
                files |= names
            yield Page(shown, files)
            last = found[-1]["id"]
