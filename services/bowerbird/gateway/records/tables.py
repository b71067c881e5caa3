"""The tables, as SQLAlchemy Core knows them; `migrations/` makes them, and a test compares the two.

Times are whole milliseconds since 1970 (UTC) by the database's clock (`database.Database.now`): replicas' own clocks
differ. JSON is kept as text, written and read by the pydantic model that it belongs to, and never searched. A prompt
in a row is the redacted one: rows are written after safety's verdict, never before.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
)

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)
"""Every table of the gateway; other rooms (`results/`) add theirs to it and a revision to `migrations/`."""

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("work_class", String(16), nullable=False),
    Column("request", Text, nullable=False, comment="JSON: what is to be drawn, with the redacted prompt"),
    Column("cost", Float, nullable=False, comment="compute units, as predicted when it was accepted"),
    Column("traceparent", String(64), comment="W3C: the span that accepted it"),
    Column("created_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False, comment="not finished by then: expired"),
    Column("not_before_ms", BigInteger, nullable=False, comment="a failed job rests until then"),
    Column("attempts", Integer, nullable=False, server_default="0", comment="claims, for whatever reason they ended"),
    Column("own_failures", Integer, nullable=False, server_default="0", comment="attempts that the job itself broke"),
    Column("lease_owner", String(64)),
    Column("lease_epoch", BigInteger, nullable=False, server_default="0", comment="grows with every claim: the fence"),
    Column("lease_until_ms", BigInteger),
    Column("events", Integer, nullable=False, server_default="0", comment="number of the last job_events row"),
    Column("finished_ms", BigInteger),
    Column("result", Text, comment="JSON: the answer's facts, without its pictures"),
    Column("error", Text, comment="JSON: the error as the API states it"),
    Column("person", String(64), comment="people.People: the end user that it was drawn for"),
    CheckConstraint(
        "state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled', 'expired')", name="state_is_known"
    ),
    CheckConstraint("(state = 'running') = (lease_until_ms IS NOT NULL)", name="running_is_leased"),
    CheckConstraint("(state IN ('queued', 'running')) = (finished_ms IS NULL)", name="final_is_finished"),
    Index("ix_jobs_tenant_created_ms_id", "tenant", "created_ms", "id"),
    Index(  # has all that a claim looks at, so that it does not read the rows of thousands of jobs that wait
        "ix_jobs_claim",
        *("state", "tenant", "work_class", "created_ms", "id", "not_before_ms", "lease_until_ms", "expires_ms"),
    ),
    Index("ix_jobs_finished_ms", "finished_ms"),
    Index("ix_jobs_tenant_person", "tenant", "person"),
)

job_events = Table(
    "job_events",
    metadata,
    Column("job_id", ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, comment="from 1, without gaps: the SSE id"),
    Column("kind", String(32), nullable=False),
    Column("data", Text, nullable=False, comment="JSON"),
    Column("created_ms", BigInteger, nullable=False),
)

job_pictures = Table(
    "job_pictures",
    metadata,
    Column("job_id", ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("number", SmallInteger, primary_key=True, comment="from 0, in the order of the answer"),
    Column("key", String(200), nullable=False, unique=True, comment="in the picture store"),
    Column("bytes", BigInteger, nullable=False),
    Column("digest", String(71), nullable=False, comment="sha256:…, of the bytes"),
)

job_uploads = Table(
    "job_uploads",
    metadata,
    Column("job_id", String(40), primary_key=True, comment="named before the job is accepted"),
    Column("tenant", String(64), nullable=False),
    Column("person", String(64), comment="people.People: the end user whose job it is"),
    Column("bytes", BigInteger, nullable=False),
    Column("digest", String(71), nullable=False, comment="sha256:…, of the bytes"),
    Column("created_ms", BigInteger, nullable=False),
    Index("ix_job_uploads_tenant_person", "tenant", "person"),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("tenant", String(64), primary_key=True),
    Column("key", String(255), primary_key=True),
    Column("request_digest", LargeBinary(32), nullable=False, comment="HMAC-SHA256: nobody searches prompts by it"),
    Column("job_id", ForeignKey("jobs.id", ondelete="CASCADE", deferrable=True, initially="DEFERRED"), index=True),
    Column("answer", LargeBinary, comment="of what is answered without a job: status, headers and body"),
    Column("expires_ms", BigInteger, nullable=False, index=True),
    Column("person", String(64), comment="people.People: whom the answer is about; a job's key is its job's"),
    CheckConstraint("(job_id IS NULL) <> (answer IS NULL)", name="job_or_answer"),
)

usage_entries = Table(
    "usage_entries",
    metadata,
    Column("work_id", String(40), primary_key=True, comment="job or request id: nothing is counted twice"),
    Column("tenant", String(64), nullable=False),
    Column("model_digest", String(71), nullable=False),
    Column("variant", String(100), nullable=False),
    Column("day", Integer, nullable=False, comment="days since 1970, UTC"),
    Column("compute_units", Float, nullable=False),
    Column("pixels", BigInteger, nullable=False, comment="of every frame that was drawn"),
    Column("pictures", Integer, nullable=False, comment="that were delivered"),
    Index("ix_usage_entries_tenant_day", "tenant", "day"),
    Index("ix_usage_entries_day", "day"),
)

usage_days = Table(
    "usage_days",
    metadata,
    Column("tenant", String(64), primary_key=True),
    Column("day", Integer, primary_key=True),
    Column("model_digest", String(71), primary_key=True),
    Column("variant", String(100), primary_key=True),
    Column("requests", BigInteger, nullable=False),
    Column("compute_units", Float, nullable=False),
    Column("pixels", BigInteger, nullable=False),
    Column("pictures", BigInteger, nullable=False),
)

leases = Table(
    "leases",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("owner", String(64), nullable=False),
    Column("epoch", BigInteger, nullable=False, comment="grows with every change of hands: the fence"),
    Column("until_ms", BigInteger, nullable=False),
    Column("address", String(255), comment="where other replicas reach the holder; none need to"),
)

secrets = Table(
    "secrets",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", LargeBinary, nullable=False, comment="random, made once, shared by all replicas"),
)

revisions = Table(
    "revisions",
    metadata,
    Column("revision", String(8), primary_key=True),
    Column(
        "runs_from",
        String(8),
        nullable=False,
        comment="releases whose newest revision is this one or later run on these tables",
    ),
)
