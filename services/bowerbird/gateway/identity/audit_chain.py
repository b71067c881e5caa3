"""What an entry of the audit log is, and how each is chained to the one before it; needs no database to be checked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

FIRST_HASH = bytes(32)

State = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the log."""

    number: int
    at_ms: int
    actor: str
    action: str
    subject: str
    before: str | None
    """JSON, as `state_json` writes it; None where there was nothing."""
    after: str | None
    request_id: str
    previous_hash: bytes
    hash: bytes


def first_break(entries: Iterable[Entry], previous: bytes | None = FIRST_HASH) -> int | None:
    """The number of the first entry that is not what was appended, or has a gap before it; None when all are.

    `previous` is the hash of the entry before the first one given; None where that is not known.
    """
    expected = None
    for entry in entries:
        row = {name: value for name, value in asdict(entry).items() if name not in ("previous_hash", "hash")}
        unchained = previous is not None and entry.previous_hash != previous
        if unchained or entry.hash != entry_hash(row, entry.previous_hash) or expected not in (None, entry.number):
            return entry.number
        previous, expected = entry.hash, entry.number + 1
    return None


def state_json(state: State | None) -> str | None:
    """A state as it is kept: the same text for the same state."""
    return None if state is None else json.dumps(state, sort_keys=True, ensure_ascii=False)


def entry_hash(row: Mapping[str, Any], previous: bytes) -> bytes:
    """SHA-256 over the hash before and the entry's fields."""
    said = json.dumps(row, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(previous + said.encode()).digest()
