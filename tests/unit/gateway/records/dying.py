"""A process that dies after its n-th statement, for every n: `python dying.py <database url> <folder> <its clock>`.

For each n a fork submits a job under a key, claims it, stores a picture and finishes it, and is killed (SIGKILL) right
after its n-th statement, commits included; until some live to the end. The clock stands still at the given milliseconds
since 1970, a test's clock, which goes on from there. Prints how many died.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

from rows import keyed, new_job, success  # its neighbour: this file runs as a script
from sqlalchemy import BigInteger, event, literal, make_url

from bowerbird.gateway.pictures.folder import FolderPictures
from bowerbird.gateway.records.claims import Claims
from bowerbird.gateway.records.database import open_database
from bowerbird.gateway.records.idempotency import IdempotencyKeys
from bowerbird.gateway.records.job import PutBack
from bowerbird.gateway.records.jobs import Jobs
from bowerbird.gateway.records.writer import Writer

LEASE_SECONDS = 1_000.0
SURVIVORS = 3


async def live(url: str, folder: Path, now_ms: int, statements: int) -> None:
    """One job's life, cut off after so many statements."""
    async with open_database(make_url(url), lambda: literal(now_ms, BigInteger)) as database:
        engine = database._writer.sync_engine
        left = statements

        def count(*_: Any) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        event.listen(engine, "after_cursor_execute", count)
        event.listen(engine, "commit", count)
        writer = Writer(database)
        keys = IdempotencyKeys(database, writer)
        jobs, claims = Jobs(database, writer, keys, b""), Claims(database, writer, f"dying-{statements}")
        pictures = FolderPictures(folder)
        async with writer.running():
            await jobs.submit(new_job(id=f"job_{statements}"), keyed(f"key-{statements}"))
            for claim in await claims.claim(1, LEASE_SECONDS):
                ending = success(claim)
                for picture in ending.pictures:
                    await pictures.put(picture.key, b"abc")
                put_back = claim.attempts == 1 and int(claim.job_id.removeprefix("job_")) % 3 == 0
                await claims.finish(claim, PutBack("once") if put_back else ending)


def main() -> None:
    url, folder, now_ms = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    died = lived = 0
    while lived < SURVIVORS:
        child = os.fork()
        if child == 0:
            asyncio.run(live(url, folder, now_ms, died + lived + 1))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) in (0, -signal.SIGKILL)
        lived += os.WIFEXITED(status)
        died += os.WIFSIGNALED(status)
    print(died)


if __name__ == "__main__":
    main()
