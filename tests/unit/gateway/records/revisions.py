"""Rows as each revision of the tables knew them: what an upgrade must keep. A new revision adds an entry here."""

from __future__ import annotations

from typing import Any

_JOB = {
    "id": "job_1",
    "tenant": "local",
    "state": "succeeded",
    "work_class": "interactive",
    "request": "{}",
    "cost": 2.5,
    "created_ms": 1_795_262_400_000,
    "expires_ms": 1_795_348_800_000,
    "not_before_ms": 1_795_262_400_000,
    "attempts": 1,
    "lease_epoch": 1,
    "events": 3,
    "finished_ms": 1_795_262_401_000,
    "result": "{}",
}

FIRST: list[tuple[str, dict[str, Any]]] = [
    ("jobs", _JOB),
    ("job_events", {"job_id": "job_1", "number": 2, "kind": "running", "data": "{}", "created_ms": 1_795_262_400_500}),
    ("job_pictures", {"job_id": "job_1", "number": 0, "key": "jobs/job_1/1-0", "bytes": 7, "digest": "sha256:d"}),
    (
        "idempotency_keys",
        {"tenant": "local", "key": "k", "request_digest": b"d" * 32, "job_id": "job_1", "expires_ms": 1},
    ),
    (
        "usage_entries",
        {
            "work_id": "job_1",
            "tenant": "local",
            "model_digest": "sha256:m",
            "variant": "fledgling",
            "day": 20_778,
            "compute_units": 2.5,
            "pixels": 65_536,
            "pictures": 1,
        },
    ),
    (
        "usage_days",
        {
            "tenant": "local",
            "day": 20_700,
            "model_digest": "sha256:m",
            "variant": "fledgling",
            "requests": 4,
            "compute_units": 10.0,
            "pixels": 262_144,
            "pictures": 4,
        },
    ),
    ("leases", {"name": "sweeper", "owner": "a", "epoch": 3, "until_ms": 1}),
    ("secrets", {"name": "cursor", "value": b"s" * 32}),
]

ROWS: dict[str, list[tuple[str, dict[str, Any]]]] = {"0001": FIRST, "0002": FIRST}
"""Revision -> (table, row) in the order of their foreign keys."""
