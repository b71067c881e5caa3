"""What is being drawn by which replica; in PostgreSQL a table that is not logged."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """An empty table: nothing is known to be drawn now."""
    on_postgresql = op.get_bind().dialect.name == "postgresql"
    op.create_table(
        "result_drawings",
        sa.Column("name", sa.String(length=80), nullable=False, comment="class of work, and key or likeness"),
        sa.Column("owner", sa.String(length=64), nullable=False, comment="the process that draws it"),
        sa.Column("until_ms", sa.BigInteger(), nullable=False, comment="not renewed by then: its owner is dead"),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_result_drawings")),
        prefixes=["UNLOGGED"] if on_postgresql else [],
    )
