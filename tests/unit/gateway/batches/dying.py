"""A process that dies after its n-th statement, for every n: `python dying.py <database url> <folder> <its clock>`.

For each n a fork goes on with whatever batch is there: claims, runs and records it, and is killed (SIGKILL) right after
its n-th statement, commits included; until one of them finds nothing more to do. The clock stands still at the given
milliseconds since 1970, a test's clock, by which the batch was made. Prints how many died.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

from rows import trade  # its neighbour: this file runs as a script
from sqlalchemy import BigInteger, event, literal, make_url, select

from bowerbird.gateway.batches import segments
from bowerbird.gateway.batches.batch import UNFINISHED
from bowerbird.gateway.batches.claims import BatchClaims
from bowerbird.gateway.batches.running import BytesInHand, RunningBatch
from bowerbird.gateway.batches.tables import batches
from bowerbird.gateway.files.files import Files
from bowerbird.gateway.files.parts import FileParts
from bowerbird.gateway.pictures.folder import FolderPictures
from bowerbird.gateway.records.database import open_database
from bowerbird.gateway.records.idempotency import IdempotencyKeys
from bowerbird.gateway.records.usage import Usage
from bowerbird.gateway.records.writer import Writer

LEASE_SECONDS = -1.0
"""Over at once: whoever comes next need not wait for it."""
NOTHING_LEFT = 7
FIRST, LAST = 5, 60


async def live(url: str, folder: Path, now_ms: int, statements: int) -> int:
    """One process' life, cut off after so many statements; every third line is a segment of its own."""
    segments.MAX_LINES, segments.GATHER_SECONDS = 3, 0.001
    async with open_database(make_url(url), lambda: literal(now_ms, BigInteger)) as database:
        left = statements

        def count(*_: Any) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        writer = Writer(database)
        pictures = FolderPictures(folder)
        parts = FileParts(database, pictures)
        files = Files(database, pictures, IdempotencyKeys(database, writer), parts, 10**9)
        claims = BatchClaims(database, files, Usage(database, writer), f"dying-{statements}")
        engine = database._writer.sync_engine
        event.listen(engine, "after_cursor_execute", count)
        event.listen(engine, "commit", count)
        found = await claims.claim(1, LEASE_SECONDS)
        for claim in found:
            await RunningBatch(claim, claims, parts, trade(), BytesInHand()).run()
        async with database.reading() as connection:
            # What a killed process had locked stays locked until its server hears of the death; a claim passes it over.
            left_over = await connection.scalar(select(batches.c.id).where(batches.c.state.in_(UNFINISHED)).limit(1))
        return 0 if found or left_over else NOTHING_LEFT


def main() -> None:
    url, folder, now_ms = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    died = statements = 0
    while True:
        child = os.fork()
        if child == 0:
            os._exit(asyncio.run(live(url, folder, now_ms, FIRST + statements % (LAST - FIRST))))
        _, status = os.waitpid(child, 0)
        statements += 1
        if os.waitstatus_to_exitcode(status) == NOTHING_LEFT:
            break
        assert os.waitstatus_to_exitcode(status) in (0, -signal.SIGKILL)
        died += os.WIFSIGNALED(status)
    print(died)


if __name__ == "__main__":
    main()
