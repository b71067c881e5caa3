"""Webhook endpoints, what is still to be told to them and how that went; feedback."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """All of it, empty."""
    _endpoints()
    _deliveries()
    _feedback()


def _endpoints() -> None:
    op.create_table(
        "webhook_endpoints",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False, comment="sealed: unreadable without the gateway's key"),
        sa.Column("secret_hint", sa.String(length=16), nullable=False, comment="its last characters"),
        sa.Column(
            "previous_secret",
            sa.LargeBinary(),
            nullable=True,
            comment="sealed; signs beside the present one until its time is over",
        ),
        sa.Column("previous_until_ms", sa.BigInteger(), nullable=True),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.Column(
            "failing_since_ms",
            sa.BigInteger(),
            nullable=True,
            comment="of the first attempt that failed since one did not",
        ),
        sa.Column("disabled_ms", sa.BigInteger(), nullable=True, comment="nothing is told to it since"),
        sa.Column("disabled_reason", sa.String(length=32), nullable=True),
        sa.CheckConstraint(
            "(previous_secret IS NULL) = (previous_until_ms IS NULL)",
            name=op.f("ck_webhook_endpoints_previous_secret_ends"),
        ),
        sa.CheckConstraint(
            "(disabled_ms IS NULL) = (disabled_reason IS NULL)", name=op.f("ck_webhook_endpoints_disabled_for_a_reason")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_endpoints")),
    )
    op.create_index("ix_webhook_endpoints_tenant_created_ms_id", "webhook_endpoints", ["tenant", "created_ms", "id"])
    op.create_table(
        "webhook_subscriptions",
        sa.Column("endpoint_id", sa.String(length=40), nullable=False),
        sa.Column("event_type", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["endpoint_id"],
            ["webhook_endpoints.id"],
            name=op.f("fk_webhook_subscriptions_endpoint_id_webhook_endpoints"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("endpoint_id", "event_type", name=op.f("pk_webhook_subscriptions")),
    )


def _deliveries() -> None:
    op.create_table(
        "webhook_deliveries",
        sa.Column("endpoint_id", sa.String(length=40), nullable=False),
        sa.Column("event_id", sa.String(length=40), nullable=False),
        sa.Column("event_type", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.String(length=40), nullable=False, comment="the job or batch"),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False, comment="begun"),
        sa.Column("next_ms", sa.BigInteger(), nullable=False, comment="not taken in hand before"),
        sa.Column(
            "epoch", sa.BigInteger(), nullable=False, comment="grows each time that it is taken in hand: the fence"
        ),
        sa.Column("finished_ms", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "state IN ('waiting', 'delivered', 'failed')", name=op.f("ck_webhook_deliveries_state_is_known")
        ),
        sa.CheckConstraint(
            "(state = 'waiting') = (finished_ms IS NULL)", name=op.f("ck_webhook_deliveries_final_is_finished")
        ),
        sa.ForeignKeyConstraint(
            ["endpoint_id"],
            ["webhook_endpoints.id"],
            name=op.f("fk_webhook_deliveries_endpoint_id_webhook_endpoints"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("endpoint_id", "event_id", name=op.f("pk_webhook_deliveries")),
    )
    for columns in (["endpoint_id", "state", "next_ms"], ["endpoint_id", "created_ms", "event_id"], ["created_ms"]):
        op.create_index(f"ix_webhook_deliveries_{'_'.join(columns)}", "webhook_deliveries", columns)
    op.create_table(
        "webhook_attempts",
        sa.Column("endpoint_id", sa.String(length=40), nullable=False),
        sa.Column("event_id", sa.String(length=40), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False, comment="from 1"),
        sa.Column("at_ms", sa.BigInteger(), nullable=False, comment="when it had ended"),
        sa.Column("outcome", sa.String(length=32), nullable=False),
        sa.Column("status", sa.SmallInteger(), nullable=True, comment="of the answer, if there was one"),
        sa.Column("latency_ms", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["endpoint_id", "event_id"],
            ["webhook_deliveries.endpoint_id", "webhook_deliveries.event_id"],
            name=op.f("fk_webhook_attempts_endpoint_id_webhook_deliveries"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("endpoint_id", "event_id", "number", name=op.f("pk_webhook_attempts")),
    )


def _feedback() -> None:
    op.create_table(
        "feedback",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("request_id", sa.String(length=40), nullable=False, comment="or the job's"),
        sa.Column(
            "image", sa.SmallInteger(), autoincrement=False, nullable=False, comment="from 0; -1 is the whole answer"
        ),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("rater", sa.String(length=256), nullable=False, comment="safety_identifier of who said it, or empty"),
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("model_digest", sa.String(length=71), nullable=False),
        sa.Column("variant", sa.String(length=100), nullable=False),
        sa.Column("pictures", sa.SmallInteger(), nullable=False, comment="that the request brought"),
        sa.Column("stars", sa.SmallInteger(), nullable=True),
        sa.Column("tags", sa.Text(), nullable=False, comment="JSON list"),
        sa.Column("text", sa.Text(), nullable=True, comment="redacted"),
        sa.Column("reward", sa.Float(), nullable=True),
        sa.Column("rewards_version", sa.SmallInteger(), nullable=False),
        sa.Column("rewards_digest", sa.String(length=71), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False, comment="of the first word; a later one replaces it"),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("(kind = 'stars') = (stars IS NOT NULL)", name=op.f("ck_feedback_stars_have_a_number")),
        sa.PrimaryKeyConstraint("tenant", "request_id", "image", "kind", "rater", name=op.f("pk_feedback")),
        sa.UniqueConstraint("id", name=op.f("uq_feedback_id")),
    )
    op.create_index("ix_feedback_tenant_created_ms_id", "feedback", ["tenant", "created_ms", "id"])
