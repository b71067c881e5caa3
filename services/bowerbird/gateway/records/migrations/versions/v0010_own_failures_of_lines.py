"""How often lines of a batch failed by their own fault."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from bowerbird.gateway.records.migrations.compatibility import state_compatibility

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """A column that may be null: until now nothing was counted."""
    comment = "JSON: line without an outcome -> how often it failed by its own fault"
    op.add_column("batches", sa.Column("own_failures", sa.Text(), comment=comment))
    state_compatibility(revision, runs_from="0009")
