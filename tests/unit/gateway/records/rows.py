"""Values that tests of the records begin with."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Any

from bowerbird.contracts import WorkClass
from bowerbird.gateway.records.idempotency import KeyedRequest
from bowerbird.gateway.records.job import Claim, NewJob, StoredPicture, Success
from bowerbird.gateway.records.retention import picture_key
from bowerbird.gateway.records.usage import UsageEntry

if TYPE_CHECKING:
    from .conftest import Records

TENANT = "key-0123456789ab"
MODEL_DIGEST = "sha256:" + "a" * 64
LEASE_SECONDS = 10.0


def new_job(**changes: Any) -> NewJob:
    """A job that expires after a day."""
    facts: dict[str, Any] = {
        "id": f"job_{secrets.token_hex(12)}",
        "tenant": TENANT,
        "work_class": WorkClass.INTERACTIVE,
        "request": '{"prompt": "a robin"}',
        "cost": 2.5,
        "lifetime_seconds": 86_400.0,
    }
    return NewJob(**facts | changes)


def keyed(key: str = "key-1", body: bytes = b"body", tenant: str = TENANT) -> KeyedRequest:
    """A key with the digest of a request."""
    return KeyedRequest(tenant, key, body.ljust(32, b"."))


def success(claim: Claim, pictures: int = 1) -> Success:
    """How a claim ends well, with pictures under the claim's own names."""
    stored = [
        StoredPicture(picture_key(claim.job_id, claim.epoch, number), 3, "sha256:" + "d" * 64)
        for number in range(pictures)
    ]
    return Success(f'{{"epoch": {claim.epoch}}}', stored, entry(claim.job_id, claim.tenant, pictures=pictures))


def entry(work_id: str, tenant: str = TENANT, **changes: Any) -> UsageEntry:
    """A usage entry of one picture of 256 x 256."""
    facts: dict[str, Any] = {
        "work_id": work_id,
        "tenant": tenant,
        "model_digest": MODEL_DIGEST,
        "variant": "fledgling",
        "compute_units": 2.5,
        "pixels": 65_536,
        "pictures": 1,
    }
    return UsageEntry(**facts | changes)


async def recorded(records: Records, *entries: UsageEntry) -> None:
    """Has entries written, each by itself, and waits for it."""
    await asyncio.gather(*(records.writer.submit(records.usage.insert, each) for each in entries))
