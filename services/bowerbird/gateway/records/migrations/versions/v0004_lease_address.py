"""Where the holder of a lease is reached: the owner of the queue's order says so to the other replicas."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """A column; leases that are held name no address."""
    op.add_column(
        "leases",
        sa.Column("address", sa.String(length=255), comment="where other replicas reach the holder; none need to"),
    )
