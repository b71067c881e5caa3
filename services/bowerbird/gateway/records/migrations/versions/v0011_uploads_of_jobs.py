"""Pictures that jobs begin with."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from bowerbird.gateway.records.migrations.compatibility import state_compatibility

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """A new table; what was there is left alone."""
    op.create_table(
        "job_uploads",
        sa.Column("job_id", sa.String(length=40), nullable=False, comment="named before the job is accepted"),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("person", sa.String(length=64), comment="people.People: the end user whose job it is"),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.String(length=71), nullable=False, comment="sha256:…, of the bytes"),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_job_uploads")),
    )
    op.create_index(op.f("ix_job_uploads_tenant_person"), "job_uploads", ["tenant", "person"])
    state_compatibility(revision, runs_from="0009")
