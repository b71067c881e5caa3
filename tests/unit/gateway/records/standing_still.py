"""A process that is stopped in the middle of a transaction: `python standing_still.py <database url> <what then>`.

It takes a lease, says so, and waits for a line; `what then` is `write` (another statement) or `commit`. It says how the
transaction ended, and then takes the lease in another one. A standstill may last a second.
"""

from __future__ import annotations

import asyncio
import sys

from sqlalchemy import make_url, update

from bowerbird.errors import RecordsUnavailable
from bowerbird.gateway.records import database as rooms
from bowerbird.gateway.records.tables import leases


async def main(url: str, then: str) -> None:
    rooms.STANDSTILL_SECONDS = 1.0
    async with rooms.open_database(make_url(url)) as database:
        try:
            async with database.writing() as connection:
                await connection.execute(update(leases).values(owner="stopped"))
                print("in the middle", flush=True)
                await asyncio.to_thread(sys.stdin.readline)
                if then == "write":
                    await connection.execute(update(leases).values(epoch=99))
            print("committed", flush=True)
        except RecordsUnavailable:
            print("unavailable", flush=True)
        async with database.writing() as connection:
            await connection.execute(update(leases).values(owner="awake"))
        print("written again", flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
