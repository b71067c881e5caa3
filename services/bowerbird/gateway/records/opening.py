"""All of this room in one value, opened when the app starts."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from bowerbird.gateway.pictures import PictureStore, open_pictures
from bowerbird.gateway.records.claims import Claims
from bowerbird.gateway.records.database import Database, Login, open_database
from bowerbird.gateway.records.idempotency import IdempotencyKeys
from bowerbird.gateway.records.job_events import JobEvents
from bowerbird.gateway.records.jobs import Jobs
from bowerbird.gateway.records.leases import Leases
from bowerbird.gateway.records.login import login_of
from bowerbird.gateway.records.people import SECRET_NAME, People
from bowerbird.gateway.records.retention import Retention
from bowerbird.gateway.records.secret import shared_secret
from bowerbird.gateway.records.uploads import JobUploads
from bowerbird.gateway.records.usage import Usage
from bowerbird.gateway.records.writer import Writer
from bowerbird.settings import Settings


@dataclass(frozen=True, slots=True)
class Records:
    """Everything that outlives this process, as this process reaches it."""

    owner: str
    """This process' name in leases; no other has it, nor had this one's predecessor."""
    database: Database
    login: Login
    writer: Writer
    pictures: PictureStore
    jobs: Jobs
    uploads: JobUploads
    claims: Claims
    events: JobEvents
    keys: IdempotencyKeys
    usage: Usage
    leases: Leases
    retention: Retention
    request_secret: bytes
    """Keys the digests of requests (`idempotency`)."""
    people: People


@asynccontextmanager
async def open_records(settings: Settings, registry: CollectorRegistry | None = None) -> AsyncIterator[Records]:
    """The records at their newest revision, written until the context ends; `registry` gets their metrics."""
    owner = f"{socket.gethostname()[:32]}:{os.getpid()}:{secrets.token_hex(8)}"
    pictures = open_pictures(settings.pictures_url, settings.home, secrets=[settings.pictures_secrets])
    login = login_of(settings)
    async with open_database(login(), login=login) as database:
        writer = Writer(database)
        keys = IdempotencyKeys(database, writer)
        cursor_secret = await shared_secret(database, "cursor")
        request_secret = await shared_secret(database, "request")
        people = People(await shared_secret(database, SECRET_NAME))
        usage = Usage(database, writer, registry)
        async with writer.running(), usage.kept():
            yield Records(
                owner=owner,
                database=database,
                login=login,
                writer=writer,
                pictures=pictures,
                jobs=Jobs(database, writer, keys, cursor_secret),
                uploads=JobUploads(database, pictures),
                claims=Claims(database, writer, owner),
                events=JobEvents(database, writer),
                keys=keys,
                usage=usage,
                leases=Leases(database),
                retention=Retention(database, writer, pictures, settings.job_retention_seconds),
                request_secret=request_secret,
                people=people,
            )
