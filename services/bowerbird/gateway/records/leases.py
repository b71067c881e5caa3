"""A name that one process holds at a time, with the epoch by which a former holder is told apart.

A lease is held for some seconds of the database's clock and renewed before they are over. Each change of hands makes
the epoch grow; whoever acts by right of a lease states its epoch, and what states an older one is refused. A holder
that was paused and wakes up after its time is therefore harmless even before it notices.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select, update

from bowerbird.gateway.records.database import Database, upsert
from bowerbird.gateway.records.tables import leases


@dataclass(frozen=True, slots=True)
class Lease:
    """What a holder knows of its lease."""

    name: str
    owner: str
    epoch: int
    address: str | None = None
    """Where the others reach the holder, if it said so."""


class Leases:
    """All named leases of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def acquire(self, name: str, owner: str, seconds: float) -> Lease | None:
        """The lease when it is free, run out, or already this owner's (then with its epoch, renewed); else None."""
        until = self._database.now() + round(seconds * 1000)
        async with self._database.writing() as connection:
            draft = upsert(connection, leases).values(name=name, owner=owner, epoch=1, until_ms=until)
            await connection.execute(draft.on_conflict_do_nothing())
            taking = (
                update(leases)
                .where(leases.c.name == name, leases.c.owner != owner, leases.c.until_ms <= self._database.now())
                .values(owner=owner, epoch=leases.c.epoch + 1, until_ms=until)
            )
            await connection.execute(taking)
            keeping = (
                update(leases)
                .where(leases.c.name == name, leases.c.owner == owner)
                .values(until_ms=until)
                .returning(leases.c.epoch)
            )
            epoch = await connection.scalar(keeping)
        return None if epoch is None else Lease(name, owner, epoch)

    async def take(self, name: str, owner: str, address: str, seconds: float) -> Lease | None:
        """The lease when it is free or has run out, whoever held it, with a new epoch; else None.

        For a holder whose lease ran out `acquire` goes on with the old epoch, as if it had never been without; this is
        for who gave up what it did by right of it.
        """
        async with self._database.writing() as connection:
            draft = upsert(connection, leases).values(name=name, owner="", epoch=0, until_ms=0)
            await connection.execute(draft.on_conflict_do_nothing())
            taking = (
                update(leases)
                .where(leases.c.name == name, leases.c.until_ms <= self._database.now())
                .values(
                    owner=owner,
                    epoch=leases.c.epoch + 1,
                    until_ms=self._database.now() + round(seconds * 1000),
                    address=address,
                )
                .returning(leases.c.epoch)
            )
            epoch = await connection.scalar(taking)
        return None if epoch is None else Lease(name, owner, epoch, address)

    async def renew(self, lease: Lease, seconds: float) -> bool:
        """Prolongs the lease from now; False when it has another holder, or had one since."""
        async with self._database.writing() as connection:
            keeping = (
                update(leases)
                .where(leases.c.name == lease.name, leases.c.owner == lease.owner, leases.c.epoch == lease.epoch)
                .values(until_ms=self._database.now() + round(seconds * 1000))
                .returning(leases.c.name)
            )
            return await connection.scalar(keeping) is not None

    async def release(self, lease: Lease) -> None:
        """Gives the lease back early; another holder's is left alone."""
        async with self._database.writing() as connection:
            giving = (
                update(leases)
                .where(leases.c.name == lease.name, leases.c.owner == lease.owner, leases.c.epoch == lease.epoch)
                .values(until_ms=0, owner="")
            )
            await connection.execute(giving)

    async def holder(self, name: str) -> Lease | None:
        """Who holds the lease now, as any replica sees it; None when nobody does."""
        asking = select(leases.c.owner, leases.c.epoch, leases.c.address).where(
            leases.c.name == name, leases.c.until_ms > self._database.now()
        )
        async with self._database.reading() as connection:
            row = (await connection.execute(asking)).first()
        return None if row is None else Lease(name, row.owner, row.epoch, row.address)
