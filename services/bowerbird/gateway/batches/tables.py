"""The tables of this room; `records/migrations` makes them.

A line has a row here when its outcome is in the output or the error file, and not before: the primary key is why no
line is completed twice, whoever tries.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, ForeignKey, Index, Integer, String, Table, Text

from bowerbird.gateway.records.tables import metadata

batches = Table(
    "batches",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("endpoint", String(64), nullable=False),
    Column("input_file_id", String(40), nullable=False, comment="it may be gone when the batch has ended"),
    Column("output_file_id", String(40)),
    Column("error_file_id", String(40)),
    Column("output_expires_seconds", Integer, comment="of both files, from when they are ready"),
    Column("metadata", Text, comment="JSON, the tenant's own"),
    Column("locale", String(35), nullable=False, comment="of help texts"),
    Column("model", String(200)),
    Column("total", Integer, nullable=False),
    Column("completed", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("errors", Text, comment="JSON: why it failed as a whole"),
    Column("own_failures", Text, comment="JSON: line without an outcome -> how often it failed by its own fault"),
    Column("created_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False, comment="lines that were not run by then never will be"),
    Column("begun_ms", BigInteger),
    Column("cancelling_ms", BigInteger),
    Column("finished_ms", BigInteger),
    Column("lease_owner", String(64)),
    Column("lease_epoch", BigInteger, nullable=False, comment="grows with every claim: the fence"),
    Column("lease_until_ms", BigInteger, nullable=False, comment="nobody else takes it in hand before"),
    CheckConstraint(
        "state IN ('validating', 'in_progress', 'cancelling', 'completed', 'failed', 'expired', 'cancelled')",
        name="state_is_known",
    ),
    CheckConstraint(
        "(state IN ('validating', 'in_progress', 'cancelling')) = (finished_ms IS NULL)", name="final_is_finished"
    ),
    CheckConstraint("completed + failed <= total", name="no_line_counts_twice"),
    Index("ix_batches_tenant_created_ms_id", "tenant", "created_ms", "id"),
    Index("ix_batches_state", "state"),
    Index("ix_batches_finished_ms", "finished_ms"),
    Index("ix_batches_input_file_id", "input_file_id"),
)

batch_lines = Table(
    "batch_lines",
    metadata,
    Column("batch_id", ForeignKey("batches.id", ondelete="CASCADE"), primary_key=True),
    Column("line", Integer, primary_key=True, autoincrement=False, comment="of the input file, from 1"),
    Column("succeeded", Boolean, nullable=False),
)
