"""What is wanted of each variant, what stages said of themselves, and which releases run on which revision."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from bowerbird.gateway.records.migrations.compatibility import state_compatibility

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """New tables; what was there is left alone."""
    op.create_table(
        "revisions",
        sa.Column("revision", sa.String(length=8), nullable=False),
        sa.Column(
            "runs_from",
            sa.String(length=8),
            nullable=False,
            comment="releases whose newest revision is this one or later run on these tables",
        ),
        sa.PrimaryKeyConstraint("revision", name=op.f("pk_revisions")),
    )
    op.create_table(
        "demand",
        sa.Column("source", sa.String(length=80), nullable=False, comment="a replica, or what somebody asked for"),
        sa.Column("variant", sa.String(length=63), nullable=False, comment="its Deployment's name"),
        sa.Column("queued", sa.Integer(), nullable=False),
        sa.Column("running", sa.Integer(), nullable=False, comment="on pods that stay"),
        sa.Column("draining", sa.Integer(), nullable=False, comment="on pods that are about to end"),
        sa.Column("pods", sa.Integer(), nullable=False, comment="wanted whatever the work: a floor"),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("source", "variant", name=op.f("pk_demand")),
    )
    op.create_table(
        "stage_descriptions",
        sa.Column("stage", sa.String(length=32), nullable=False),
        sa.Column("description", sa.Text(), nullable=False, comment="JSON, as the stage gave it last"),
        sa.Column("seen_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("stage", name=op.f("pk_stage_descriptions")),
    )
    state_compatibility(revision, runs_from="0008")
