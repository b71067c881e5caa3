"""A result store on both databases, with a clock that tests set."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import URL, func, select

from bowerbird.gateway.pictures.folder import FolderPictures
from bowerbird.gateway.records.database import Database, open_database
from bowerbird.gateway.results.key import Names
from bowerbird.gateway.results.metrics import ResultMetrics
from bowerbird.gateway.results.store import Keeping, ResultStore
from bowerbird.gateway.results.table import ledger, results

from ..records.conftest import Clock

TTL_SECONDS = 30 * 86_400.0


@dataclass
class Shop:
    """Rows, files and a store over both."""

    database: Database
    pictures: FolderPictures
    clock: Clock
    registry: CollectorRegistry
    metrics: ResultMetrics
    store: ResultStore

    def another(self, max_bytes: int, pictures: FolderPictures | None = None) -> ResultStore:
        """A store of another replica, or with another bound."""
        keeping = Keeping(max_bytes, TTL_SECONDS)
        return ResultStore(self.database, pictures or self.pictures, keeping, ResultMetrics(CollectorRegistry()))

    async def files(self) -> set[str]:
        return {key async for key in self.pictures.keys("results/")}

    async def rows(self) -> dict[str, int]:
        """How many rows are in which state."""
        async with self.database.reading() as connection:
            counted = await connection.execute(select(results.c.state, func.count()).group_by(results.c.state))
            return {state: count for state, count in counted}

    async def check_books(self, max_bytes: int) -> None:
        """What holds at every moment: no file without a row, no byte beside the ledger, none above the bound."""
        async with self.database.reading() as connection:
            taken = (await connection.execute(select(ledger.c.bytes))).scalar_one()
            rows = list(await connection.execute(select(results.c.id, results.c.bytes, results.c.pictures)))
        assert taken == sum(row.bytes for row in rows)
        assert taken <= max_bytes
        files = await self.files()
        assert files <= {f"results/{row.id}-{number}" for row in rows for number in range(row.pictures)}
        assert sum([len(await self.pictures.get(file)) for file in files]) <= taken


def names(key: str, likeness: str = "robin") -> Names:
    return Names(key, likeness)


@pytest.fixture
async def shop(url: URL, tmp_path: Path) -> AsyncIterator[Shop]:
    clock, registry = Clock(), CollectorRegistry()
    async with open_database(url, clock.now) as database:
        pictures = FolderPictures(tmp_path / "pictures")
        metrics = ResultMetrics(registry)
        store = ResultStore(database, pictures, Keeping(1_000, TTL_SECONDS), metrics)
        yield Shop(database, pictures, clock, registry, metrics, store)
