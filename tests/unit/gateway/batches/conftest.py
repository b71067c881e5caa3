"""Batches on both databases, run by hands that tests open and close."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import URL, select

from bowerbird.gateway.batches import running, segments
from bowerbird.gateway.batches.batch import Batch, BatchClaim, NewBatch
from bowerbird.gateway.batches.batches import Batches
from bowerbird.gateway.batches.carrying import BatchCarrier
from bowerbird.gateway.batches.claims import BatchClaims
from bowerbird.gateway.batches.metrics import BatchMetrics
from bowerbird.gateway.batches.retention import BatchRetention
from bowerbird.gateway.batches.running import BytesInHand, RunningBatch, Trade
from bowerbird.gateway.files.file import Purpose
from bowerbird.gateway.files.files import Files, NewFile
from bowerbird.gateway.files.jsonl import LineReader
from bowerbird.gateway.files.parts import FileParts
from bowerbird.gateway.files.sweep import FileSweep
from bowerbird.gateway.pictures.folder import FolderPictures
from bowerbird.gateway.records.database import Database, open_database
from bowerbird.gateway.records.idempotency import IdempotencyKeys
from bowerbird.gateway.records.tables import usage_entries
from bowerbird.gateway.records.usage import Usage
from bowerbird.gateway.records.writer import Writer

from ..records.conftest import Clock, written
from ..two_tenants import _module_gateway, client, client_of, home, shared  # noqa: F401 - fixtures
from .rows import trade

LEASE_SECONDS = 10.0
ENDPOINT = "/v1/images/generations"


@dataclass
class Replica:
    """Every part of the two rooms, for one process."""

    database: Database
    writer: Writer
    clock: Clock
    pictures: FolderPictures
    owner: str = field(default_factory=lambda: secrets.token_hex(4))

    def __post_init__(self) -> None:
        keys = IdempotencyKeys(self.database, self.writer)
        self.parts = FileParts(self.database, self.pictures)
        self.files = Files(self.database, self.pictures, keys, self.parts, 10**9)
        self.batches = Batches(self.database, keys, self.files, bound=10)
        self.claims = BatchClaims(self.database, self.files, Usage(self.database, self.writer), self.owner)
        self.sweep = FileSweep(self.database, self.pictures)
        self.retention = BatchRetention(self.database)

    async def upload(self, *pieces: bytes, tenant: str = "birds") -> str:
        file_id = await self.files.begin(NewFile(tenant, Purpose.BATCH, "lines.jsonl"))
        reader = LineReader(0)
        for number, piece in enumerate(pieces, 1):
            ended = [*reader.feed(piece), *(reader.end() if number == len(pieces) else ())]
            await self.files.append(tenant, file_id, piece, len(ended))
        await self.files.finish(file_id, 3600, "lines.jsonl")
        return file_id

    async def create(self, *pieces: bytes, tenant: str = "birds", **changes: Any) -> str:
        """The id of a new batch over a file of these parts."""
        file_id = await self.upload(*pieces, tenant=tenant)
        facts = {"metadata": None, "output_expires_seconds": None, "locale": "en"} | changes
        new = NewBatch(f"batch_{secrets.token_hex(12)}", tenant, ENDPOINT, file_id, **facts)
        return (await self.batches.create(new)).id

    async def claim(self) -> BatchClaim:
        [claim] = await self.claims.claim(1, LEASE_SECONDS)
        return claim

    def run(self, claim: BatchClaim, how: Trade | None = None) -> RunningBatch:
        return RunningBatch(claim, self.claims, self.parts, how or trade(), BytesInHand())

    def carrier(self, how: Trade | None = None) -> BatchCarrier:
        return BatchCarrier(self.claims, self.parts, how or trade(), BatchMetrics(CollectorRegistry()))

    async def get(self, batch_id: str, tenant: str = "birds") -> Batch:
        return await self.batches.get(tenant, batch_id)

    async def content(self, file_id: str | None) -> bytes:
        return b"".join([piece async for piece in self.parts.read(file_id or "")])

    async def outcomes(self, batch: Batch) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """The lines of the output and of the error file."""
        both = [await self.content(each) for each in (batch.output_file_id, batch.error_file_id)]
        answers, errors = ([json.loads(line) for line in each.splitlines()] for each in both)
        return answers, errors

    async def counted(self) -> list[str]:
        """Whose usage was written down."""
        async with self.database.reading() as connection:
            return list((await connection.execute(select(usage_entries.c.work_id))).scalars())


@pytest.fixture(autouse=True)
def _recorded_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "GATHER_SECONDS", 0.02)
    monkeypatch.setattr(segments, "AGAIN_SECONDS", 0.02)
    monkeypatch.setattr(running, "LINES_IN_HAND", 4)


@pytest.fixture
async def replica(url: URL, tmp_path: Path) -> AsyncIterator[Replica]:
    """One process."""
    clock = Clock()
    async with open_database(url, clock.now) as database, written(database) as writer:
        yield Replica(database, writer, clock, FolderPictures(tmp_path / "pictures"))


@pytest.fixture
async def other(replica: Replica, url: URL) -> AsyncIterator[Replica]:
    """A second process on the same database and store."""
    async with open_database(url, replica.clock.now) as database, written(database) as writer:
        yield Replica(database, writer, replica.clock, replica.pictures)
