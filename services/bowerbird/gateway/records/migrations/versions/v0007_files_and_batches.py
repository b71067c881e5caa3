"""Files of tenants, in parts; batches, and which of their lines have an outcome."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """All of it, empty."""
    _files()
    _batches()


def _files() -> None:
    op.create_table(
        "files",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("purpose", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False, comment="open: still written, seen by nobody"),
        sa.Column("filename", sa.String(length=255), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("lines", sa.BigInteger(), nullable=False, comment="that are not blank"),
        sa.Column("parts", sa.Integer(), nullable=False, comment="that were named"),
        sa.Column("created_ms", sa.BigInteger(), nullable=False, comment="of an output: when it was ready"),
        sa.Column("expires_ms", sa.BigInteger(), nullable=True, comment="removed then, unless a batch still reads it"),
        sa.CheckConstraint("state IN ('open', 'ready')", name=op.f("ck_files_state_is_known")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_files")),
    )
    op.create_index("ix_files_tenant_created_ms_id", "files", ["tenant", "created_ms", "id"])
    op.create_index("ix_files_expires_ms", "files", ["expires_ms"])
    op.create_table(
        "file_parts",
        sa.Column("file_id", sa.String(length=40), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False, comment="from 0; some are missing where a writer died"),
        sa.Column("key", sa.String(length=200), nullable=False, comment="in the picture store"),
        sa.Column("bytes", sa.BigInteger(), nullable=False, comment="0 until it was put"),
        sa.Column("next_key", sa.String(length=200), nullable=True, comment="under which it is being written anew"),
        sa.ForeignKeyConstraint(
            ["file_id"], ["files.id"], name=op.f("fk_file_parts_file_id_files"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("file_id", "number", name=op.f("pk_file_parts")),
        sa.UniqueConstraint("key", name=op.f("uq_file_parts_key")),
        sa.UniqueConstraint("next_key", name=op.f("uq_file_parts_next_key")),
    )


def _batches() -> None:
    op.create_table(
        "batches",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("endpoint", sa.String(length=64), nullable=False),
        sa.Column(
            "input_file_id", sa.String(length=40), nullable=False, comment="it may be gone when the batch has ended"
        ),
        sa.Column("output_file_id", sa.String(length=40), nullable=True),
        sa.Column("error_file_id", sa.String(length=40), nullable=True),
        sa.Column(
            "output_expires_seconds", sa.Integer(), nullable=True, comment="of both files, from when they are ready"
        ),
        sa.Column("metadata", sa.Text(), nullable=True, comment="JSON, the tenant's own"),
        sa.Column("locale", sa.String(length=35), nullable=False, comment="of help texts"),
        sa.Column("model", sa.String(length=200), nullable=True),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("completed", sa.Integer(), nullable=False),
        sa.Column("failed", sa.Integer(), nullable=False),
        sa.Column("input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("output_tokens", sa.BigInteger(), nullable=False),
        sa.Column("errors", sa.Text(), nullable=True, comment="JSON: why it failed as a whole"),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column(
            "expires_ms", sa.BigInteger(), nullable=False, comment="lines that were not run by then never will be"
        ),
        sa.Column("begun_ms", sa.BigInteger(), nullable=True),
        sa.Column("cancelling_ms", sa.BigInteger(), nullable=True),
        sa.Column("finished_ms", sa.BigInteger(), nullable=True),
        sa.Column("lease_owner", sa.String(length=64), nullable=True),
        sa.Column("lease_epoch", sa.BigInteger(), nullable=False, comment="grows with every claim: the fence"),
        sa.Column("lease_until_ms", sa.BigInteger(), nullable=False, comment="nobody else takes it in hand before"),
        sa.CheckConstraint(
            "state IN ('validating', 'in_progress', 'cancelling', 'completed', 'failed', 'expired', 'cancelled')",
            name=op.f("ck_batches_state_is_known"),
        ),
        sa.CheckConstraint(
            "(state IN ('validating', 'in_progress', 'cancelling')) = (finished_ms IS NULL)",
            name=op.f("ck_batches_final_is_finished"),
        ),
        sa.CheckConstraint("completed + failed <= total", name=op.f("ck_batches_no_line_counts_twice")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_batches")),
    )
    op.create_index("ix_batches_tenant_created_ms_id", "batches", ["tenant", "created_ms", "id"])
    for column in ("state", "finished_ms", "input_file_id"):
        op.create_index(f"ix_batches_{column}", "batches", [column])
    op.create_table(
        "batch_lines",
        sa.Column("batch_id", sa.String(length=40), nullable=False),
        sa.Column("line", sa.Integer(), autoincrement=False, nullable=False, comment="of the input file, from 1"),
        sa.Column("succeeded", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["batch_id"], ["batches.id"], name=op.f("fk_batch_lines_batch_id_batches"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("batch_id", "line", name=op.f("pk_batch_lines")),
    )
