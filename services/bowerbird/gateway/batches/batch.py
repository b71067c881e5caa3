"""What a batch is: its states, and the values in which the other files of this room speak of it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from bowerbird.gateway.files.parts import Erasure
from bowerbird.gateway.records.usage import UsageEntry

MAX_LINES = 50_000
"""Of a batch, as OpenAI bounds it."""
WINDOW_SECONDS = 86_400
"""`24h`, the completion window."""


class BatchState(StrEnum):
    """Where a batch is in its life; OpenAI's `finalizing` takes no time: nothing is put together at the end."""

    VALIDATING = "validating"
    IN_PROGRESS = "in_progress"
    CANCELLING = "cancelling"
    COMPLETED = "completed"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """True when nothing will change any more."""
        return self.value not in UNFINISHED


UNFINISHED = ("validating", "in_progress", "cancelling")


@dataclass(frozen=True, slots=True)
class NewBatch:
    """A batch before it is in the database."""

    id: str
    tenant: str
    endpoint: str
    input_file_id: str
    metadata: str | None
    """JSON."""
    output_expires_seconds: int | None
    locale: str


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch as its tenant may see it."""

    id: str
    tenant: str
    state: BatchState
    endpoint: str
    input_file_id: str
    output_file_id: str | None
    error_file_id: str | None
    metadata: str | None
    model: str | None
    total: int
    completed: int
    failed: int
    input_tokens: int
    output_tokens: int
    errors: str | None
    created_ms: int
    expires_ms: int
    begun_ms: int | None
    cancelling_ms: int | None
    finished_ms: int | None


@dataclass(frozen=True, slots=True)
class BatchClaim:
    """The right to run a batch, while its lease lasts and until a later claim has been made."""

    batch_id: str
    tenant: str
    epoch: int
    state: BatchState
    """When it was claimed."""
    endpoint: str
    input_file_id: str
    output_file_id: str | None
    error_file_id: str | None
    locale: str
    expires_at: float
    """When it expires, on this process' monotonic clock."""

    @property
    def remaining_seconds(self) -> float:
        """Until it expires; not positive when that is over."""
        return self.expires_at - time.monotonic()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a line; nothing of it is kept before it is recorded."""

    line: int
    succeeded: bool
    text: bytes
    """The line of the output or error file, with its end."""
    usage: UsageEntry | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    erasure: Erasure | None = None
    """What must go from the input file with it."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """How many outcomes are recorded together, and what they add up to."""

    lines: Mapping[int, bool]
    """Number -> whether it succeeded."""
    usage: Sequence[UsageEntry] = field(default=())
    input_tokens: int = 0
    output_tokens: int = 0
