"""Files on both databases, with a clock that tests set."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import URL

from bowerbird.gateway.files.file import Purpose
from bowerbird.gateway.files.files import Files, NewFile
from bowerbird.gateway.files.parts import FileParts
from bowerbird.gateway.files.persons import PersonsLines
from bowerbird.gateway.files.sweep import FileSweep
from bowerbird.gateway.pictures.folder import FolderPictures
from bowerbird.gateway.records.database import Database, open_database
from bowerbird.gateway.records.idempotency import IdempotencyKeys

from ..records.conftest import Clock, written
from ..two_tenants import _module_gateway, client, client_of, home, shared  # noqa: F401 - fixtures

QUOTA_BYTES = 10_000


@dataclass
class Room:
    """Every part of the room."""

    database: Database
    clock: Clock
    pictures: FolderPictures
    files: Files
    persons: PersonsLines
    sweep: FileSweep

    async def keep(self, *pieces: bytes, tenant: str = "birds", seconds: int = 3600) -> str:
        """The id of a file that is made of these parts."""
        file_id = await self.files.begin(NewFile(tenant, Purpose.BATCH, "lines.jsonl"))
        for piece in pieces:
            await self.files.append(tenant, file_id, piece, piece.count(b"\n"))
        await self.files.finish(file_id, seconds, "lines.jsonl")
        return file_id

    async def content(self, file_id: str) -> bytes:
        return b"".join([piece async for piece in self.files.parts.read(file_id)])

    async def keys(self) -> set[str]:
        """Every object there is."""
        return {key async for key in self.pictures.keys("files/")}


@pytest.fixture
async def room(url: URL, tmp_path: Path) -> AsyncIterator[Room]:
    """A room whose tenants may store 10 000 bytes."""
    clock = Clock()
    async with open_database(url, clock.now) as database, written(database) as writer:
        pictures = FolderPictures(tmp_path / "pictures")
        parts = FileParts(database, pictures)
        files = Files(database, pictures, IdempotencyKeys(database, writer), parts, QUOTA_BYTES)
        yield Room(database, clock, pictures, files, PersonsLines(database, parts), FileSweep(database, pictures))
