"""What webhooks tell: that something of the tenant's has ended, which, and how. The rest is asked for with a key.

The shape is OpenAI's (`id`, `object`, `created_at`, `type`, `data.id`), and so are the types of batches. A job that
draws pictures has no type there; ours are named as those of fine-tuning jobs are, after the job's final state.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from enum import StrEnum


class EventType(StrEnum):
    """What can be told."""

    IMAGE_JOB_SUCCEEDED = "image.job.succeeded"
    IMAGE_JOB_FAILED = "image.job.failed"
    IMAGE_JOB_CANCELLED = "image.job.cancelled"
    IMAGE_JOB_EXPIRED = "image.job.expired"
    BATCH_COMPLETED = "batch.completed"
    BATCH_FAILED = "batch.failed"
    BATCH_CANCELLED = "batch.cancelled"
    BATCH_EXPIRED = "batch.expired"


@dataclass(frozen=True, slots=True)
class Event:
    """One fact, as every receiver of it is told."""

    id: str
    """The same in every attempt: by it a receiver knows what it has heard before (`webhook-id`)."""
    type: str
    """An EventType; in a database that a later version wrote to, perhaps one that is not known here."""
    subject: str
    """The id of the job or batch."""
    created_ms: int

    @property
    def body(self) -> bytes:
        """The JSON, byte for byte the same whoever composes it and whenever."""
        facts = {
            "id": self.id,
            "object": "event",
            "created_at": self.created_ms // 1000,
            "type": str(self.type),
            "data": {"id": self.subject},
        }
        return json.dumps(facts, separators=(",", ":")).encode()


def new_event_id() -> str:
    """`evt_` and 32 hexadecimal digits."""
    return f"evt_{secrets.token_hex(16)}"


def sample_event(kind: EventType, created_ms: int) -> Event:
    """An event about nothing, for a receiver to be tried with: its subject is unknown to the API."""
    subject = "batch_000000000000000000000000" if kind.startswith("batch.") else "job_000000000000000000000000"
    return Event(new_event_id(), kind, subject, created_ms)
