"""Jobs with their events and pictures, idempotency keys, usage, leases and secrets."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Every table of the first release."""
    _jobs()
    _indexes_of_jobs()
    _what_belongs_to_jobs()
    _usage()
    _leases_and_secrets()


def _jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("work_class", sa.String(length=16), nullable=False),
        sa.Column("request", sa.Text(), nullable=False, comment="JSON: what is to be drawn, with the redacted prompt"),
        sa.Column("cost", sa.Float(), nullable=False, comment="compute units, as predicted when it was accepted"),
        sa.Column("traceparent", sa.String(length=64), nullable=True, comment="W3C: the span that accepted it"),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False, comment="not finished by then: expired"),
        sa.Column("not_before_ms", sa.BigInteger(), nullable=False, comment="a failed job rests until then"),
        sa.Column(
            "attempts",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="claims, for whatever reason they ended",
        ),
        sa.Column(
            "own_failures",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="attempts that the job itself broke",
        ),
        sa.Column("lease_owner", sa.String(length=64), nullable=True),
        sa.Column(
            "lease_epoch",
            sa.BigInteger(),
            server_default="0",
            nullable=False,
            comment="grows with every claim: the fence",
        ),
        sa.Column("lease_until_ms", sa.BigInteger(), nullable=True),
        sa.Column(
            "events", sa.Integer(), server_default="0", nullable=False, comment="number of the last job_events row"
        ),
        sa.Column("finished_ms", sa.BigInteger(), nullable=True),
        sa.Column("result", sa.Text(), nullable=True, comment="JSON: the answer's facts, without its pictures"),
        sa.Column("error", sa.Text(), nullable=True, comment="JSON: the error as the API states it"),
        sa.CheckConstraint(
            "(state = 'running') = (lease_until_ms IS NOT NULL)", name=op.f("ck_jobs_running_is_leased")
        ),
        sa.CheckConstraint(
            "(state IN ('queued', 'running')) = (finished_ms IS NULL)", name=op.f("ck_jobs_final_is_finished")
        ),
        sa.CheckConstraint(
            "state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled', 'expired')",
            name=op.f("ck_jobs_state_is_known"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
    )


def _indexes_of_jobs() -> None:
    op.create_index("ix_jobs_finished_ms", "jobs", ["finished_ms"], unique=False)
    op.create_index(
        "ix_jobs_claim",
        "jobs",
        ["state", "tenant", "work_class", "created_ms", "id", "not_before_ms", "lease_until_ms", "expires_ms"],
        unique=False,
    )
    op.create_index("ix_jobs_tenant_created_ms_id", "jobs", ["tenant", "created_ms", "id"], unique=False)


def _what_belongs_to_jobs() -> None:
    op.create_table(
        "job_events",
        sa.Column("job_id", sa.String(length=40), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False, comment="from 1, without gaps: the SSE id"),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("data", sa.Text(), nullable=False, comment="JSON"),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_job_events_job_id_jobs"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "number", name=op.f("pk_job_events")),
    )
    op.create_table(
        "job_pictures",
        sa.Column("job_id", sa.String(length=40), nullable=False),
        sa.Column("number", sa.SmallInteger(), nullable=False, comment="from 0, in the order of the answer"),
        sa.Column("key", sa.String(length=200), nullable=False, comment="in the picture store"),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.String(length=71), nullable=False, comment="sha256:…, of the bytes"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_job_pictures_job_id_jobs"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "number", name=op.f("pk_job_pictures")),
        sa.UniqueConstraint("key", name=op.f("uq_job_pictures_key")),
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column(
            "request_digest",
            sa.LargeBinary(length=32),
            nullable=False,
            comment="HMAC-SHA256: nobody searches prompts by it",
        ),
        sa.Column("job_id", sa.String(length=40), nullable=True),
        sa.Column(
            "answer",
            sa.LargeBinary(),
            nullable=True,
            comment="of what is answered without a job: status, headers and body",
        ),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("(job_id IS NULL) <> (answer IS NULL)", name=op.f("ck_idempotency_keys_job_or_answer")),
        sa.ForeignKeyConstraint(
            ["job_id"],
            ["jobs.id"],
            name=op.f("fk_idempotency_keys_job_id_jobs"),
            ondelete="CASCADE",
            initially="DEFERRED",
            deferrable=True,
        ),
        sa.PrimaryKeyConstraint("tenant", "key", name=op.f("pk_idempotency_keys")),
    )
    op.create_index(op.f("ix_idempotency_keys_expires_ms"), "idempotency_keys", ["expires_ms"], unique=False)
    op.create_index(op.f("ix_idempotency_keys_job_id"), "idempotency_keys", ["job_id"], unique=False)


def _usage() -> None:
    op.create_table(
        "usage_entries",
        sa.Column(
            "work_id", sa.String(length=40), nullable=False, comment="job or request id: nothing is counted twice"
        ),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("model_digest", sa.String(length=71), nullable=False),
        sa.Column("variant", sa.String(length=100), nullable=False),
        sa.Column("day", sa.Integer(), nullable=False, comment="days since 1970, UTC"),
        sa.Column("compute_units", sa.Float(), nullable=False),
        sa.Column("pixels", sa.BigInteger(), nullable=False, comment="of every frame that was drawn"),
        sa.Column("pictures", sa.Integer(), nullable=False, comment="that were delivered"),
        sa.PrimaryKeyConstraint("work_id", name=op.f("pk_usage_entries")),
    )
    op.create_index("ix_usage_entries_day", "usage_entries", ["day"], unique=False)
    op.create_index("ix_usage_entries_tenant_day", "usage_entries", ["tenant", "day"], unique=False)
    op.create_table(
        "usage_days",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("day", sa.Integer(), nullable=False),
        sa.Column("model_digest", sa.String(length=71), nullable=False),
        sa.Column("variant", sa.String(length=100), nullable=False),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.Column("compute_units", sa.Float(), nullable=False),
        sa.Column("pixels", sa.BigInteger(), nullable=False),
        sa.Column("pictures", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "day", "model_digest", "variant", name=op.f("pk_usage_days")),
    )


def _leases_and_secrets() -> None:
    op.create_table(
        "leases",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False, comment="grows with every change of hands: the fence"),
        sa.Column("until_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_leases")),
    )
    op.create_table(
        "secrets",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False, comment="random, made once, shared by all replicas"),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_secrets")),
    )
