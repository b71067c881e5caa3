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

THIRD = [*FIRST, ("result_drawings", {"name": "interactive 0", "owner": "a", "until_ms": 1})]

_LEASE = {"name": "queue_owner", "owner": "b", "epoch": 7, "until_ms": 1, "address": "http://b:8000"}
FOURTH = [*THIRD, ("leases", _LEASE)]

FIFTH = [
    *FOURTH,
    (
        "tenants",
        {"id": "birds", "name": "Birds", "tier": "standard", "weight": 1.5, "cache": "auto", "created_ms": 1},
    ),
    (
        "access_keys",
        {
            "id": "key_1",
            "tenant": "birds",
            "name": "web",
            "prefix": "bb_abcdef",
            "digest": b"d" * 32,
            "role": "tenant",
            "scopes": '["images:write"]',
            "created_ms": 1,
        },
    ),
    (
        "audit_log",
        {
            "number": 1,
            "at_ms": 1,
            "actor": "local",
            "action": "tenant.create",
            "subject": "birds",
            "after": "{}",
            "request_id": "req_1",
            "previous_hash": bytes(32),
            "hash": b"h" * 32,
        },
    ),
    (
        "limit_windows",
        {
            "tenant": "birds",
            "name": "requests-per-minute",
            "number": 29_000_000,
            "quota": 300.0,
            "handed_out": 38.0,
            "wanted": 38.0,
            "needed": 1.0,
            "granted": 38.0,
            "ends_ms": 1,
        },
    ),
    ("limit_slots", {"tenant": "birds", "owner": "a", "slots": 5, "until_ms": 1}),
]

SIXTH = [
    *FIFTH,
    (
        "webhook_endpoints",
        {
            "id": "we_1",
            "tenant": "birds",
            "name": "application",
            "url": "https://birds.example/hook",
            "secret": b"s" * 60,
            "secret_hint": "whsec_…abcd",
            "created_ms": 1,
            "updated_ms": 2,
        },
    ),
    ("webhook_subscriptions", {"endpoint_id": "we_1", "event_type": "image.job.succeeded"}),
    (
        "webhook_deliveries",
        {
            "endpoint_id": "we_1",
            "event_id": "evt_1",
            "event_type": "image.job.succeeded",
            "subject": "job_1",
            "created_ms": 1,
            "state": "waiting",
            "attempts": 1,
            "next_ms": 2,
            "epoch": 2,
        },
    ),
    (
        "webhook_attempts",
        {
            "endpoint_id": "we_1",
            "event_id": "evt_1",
            "number": 1,
            "at_ms": 2,
            "outcome": "error_status",
            "status": 500,
            "latency_ms": 12,
        },
    ),
    (
        "feedback",
        {
            "tenant": "birds",
            "request_id": "job_1",
            "image": -1,
            "kind": "stars",
            "rater": "",
            "id": "fb_1",
            "model_digest": "sha256:m",
            "variant": "fledgling",
            "pictures": 1,
            "stars": 4,
            "tags": "[]",
            "reward": 0.5,
            "rewards_version": 1,
            "rewards_digest": "sha256:r",
            "created_ms": 1,
            "updated_ms": 1,
        },
    ),
]

_NAMED = dict(_JOB, id="job_2", request='{"asked": {"prompt": "a jay", "user": "user-4711"}}')
_FILE = {
    "id": "file-1",
    "tenant": "birds",
    "purpose": "batch",
    "state": "ready",
    "filename": "robins.jsonl",
    "bytes": 120,
    "lines": 1,
    "parts": 1,
    "created_ms": 1,
    "expires_ms": 2,
}
_BATCH = {
    "id": "batch_1",
    "tenant": "birds",
    "state": "in_progress",
    "endpoint": "/v1/images/generations",
    "input_file_id": "file-1",
    "locale": "en",
    "total": 1,
    "completed": 1,
    "failed": 0,
    "input_tokens": 4,
    "output_tokens": 256,
    "created_ms": 1,
    "expires_ms": 2,
    "begun_ms": 1,
    "lease_epoch": 1,
    "lease_until_ms": 0,
}
SEVENTH = [
    *SIXTH,
    ("jobs", _NAMED),
    ("files", _FILE),
    ("file_parts", {"file_id": "file-1", "number": 0, "key": "files/file-1/0-a", "bytes": 120}),
    ("batches", _BATCH),
    ("batch_lines", {"batch_id": "batch_1", "line": 1, "succeeded": True}),
]

EIGHTH = [
    *SEVENTH,
    (
        "erasures",
        {
            "id": "era_1",
            "tenant": "birds",
            "flow": "f" * 16,
            "person": "a" * 64,
            "state": "finished",
            "erased": '{"jobs": 1}',
            "actor": "local",
            "request_id": "req_1",
            "requested_ms": 1,
            "due_ms": 2,
            "finished_ms": 2,
        },
    ),
    (
        "exports",
        {"id": "exp_1", "tenant": "birds", "flow": "f" * 16, "actor": "local", "created_ms": 1, "expires_ms": 2},
    ),
]

NINTH = [
    *EIGHTH,
    (
        "demand",
        {
            "source": "replica",
            "variant": "text-to-image",
            "queued": 1,
            "running": 2,
            "draining": 0,
            "pods": 0,
            "expires_ms": 1,
        },
    ),
    ("stage_descriptions", {"stage": "text-to-image", "description": "{}", "seen_ms": 1}),
]

TENTH = [*NINTH, ("batches", _BATCH | {"id": "batch_2", "own_failures": '{"1": 2}'})]

ELEVENTH = [
    *TENTH,
    ("job_uploads", {"job_id": "job_1", "tenant": "birds", "bytes": 7, "digest": "sha256:d", "created_ms": 1}),
]

ROWS: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "0001": FIRST,
    "0002": FIRST,
    "0003": THIRD,
    "0004": FOURTH,
    "0005": FIFTH,
    "0006": SIXTH,
    "0007": SEVENTH,
    "0008": EIGHTH,
    "0009": NINTH,
    "0010": TENTH,
    "0011": ELEVENTH,
}
"""Revision -> (table, row) in the order of their foreign keys."""
