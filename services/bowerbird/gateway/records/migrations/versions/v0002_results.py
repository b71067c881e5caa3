"""Stored results and the ledger that sums them up."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Both tables, and the ledger's one row: nothing is stored yet."""
    _results()
    ledger = op.create_table(
        "results_ledger",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False, comment="1: there is one row"),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column(
            "inflation",
            sa.Float(),
            nullable=False,
            comment="worth.py: the credit of the last result that had to leave",
        ),
        sa.CheckConstraint("id = 1", name=op.f("ck_results_ledger_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_results_ledger")),
    )
    op.bulk_insert(ledger, [{"id": 1, "bytes": 0, "inflation": 0.0}])


def _results() -> None:
    op.create_table(
        "results",
        sa.Column("id", sa.String(length=32), nullable=False, comment="random; its files are results/<id>-0, -1, …"),
        sa.Column("key", sa.String(length=64), nullable=False, comment="HMAC of the recipe and the seed"),
        sa.Column("likeness", sa.String(length=64), nullable=False, comment="HMAC of the recipe, whatever the seed"),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("pictures", sa.SmallInteger(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False, comment="of all its files"),
        sa.Column(
            "digest", sa.String(length=64), nullable=False, comment="SHA-256 over the SHA-256 of each file, in order"
        ),
        sa.Column("facts", sa.Text(), nullable=False, comment="JSON: result.Facts"),
        sa.Column("cost", sa.Float(), nullable=False, comment="compute units to draw it again"),
        sa.Column(
            "uses",
            sa.Integer(),
            nullable=False,
            comment="1 when it was drawn, and one more for each answer from it",
        ),
        sa.Column(
            "credit",
            sa.Float(),
            nullable=False,
            comment="worth.credit when it was last used; the least leaves first",
        ),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("state IN ('arriving', 'ready', 'leaving')", name=op.f("ck_results_state_is_known")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_results")),
    )
    op.create_index("ix_results_key", "results", ["key"])
    op.create_index("ix_results_likeness_credit", "results", ["likeness", "credit"])
    op.create_index("ix_results_state_credit", "results", ["state", "credit"])
    op.create_index("ix_results_expires_ms", "results", ["expires_ms"])
