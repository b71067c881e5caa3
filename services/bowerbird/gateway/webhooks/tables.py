"""The tables of this room; `records/migrations` makes them.

A delivery is one event for one endpoint. While it waits, `next_ms` is when somebody may take it in hand: who takes it
puts that time off by as long as an attempt may last, so that what a dead process had in hand is taken by another.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    String,
    Table,
    Text,
)

from bowerbird.gateway.records.tables import metadata

webhook_endpoints = Table(
    "webhook_endpoints",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("name", String(200), nullable=False),
    Column("url", Text, nullable=False),
    Column("secret", LargeBinary, nullable=False, comment="sealed: unreadable without the gateway's key"),
    Column("secret_hint", String(16), nullable=False, comment="its last characters"),
    Column("previous_secret", LargeBinary, comment="sealed; signs beside the present one until its time is over"),
    Column("previous_until_ms", BigInteger),
    Column("created_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    Column("failing_since_ms", BigInteger, comment="of the first attempt that failed since one did not"),
    Column("disabled_ms", BigInteger, comment="nothing is told to it since"),
    Column("disabled_reason", String(32)),
    CheckConstraint("(previous_secret IS NULL) = (previous_until_ms IS NULL)", name="previous_secret_ends"),
    CheckConstraint("(disabled_ms IS NULL) = (disabled_reason IS NULL)", name="disabled_for_a_reason"),
    Index("ix_webhook_endpoints_tenant_created_ms_id", "tenant", "created_ms", "id"),
)

webhook_subscriptions = Table(
    "webhook_subscriptions",
    metadata,
    Column("endpoint_id", ForeignKey("webhook_endpoints.id", ondelete="CASCADE"), primary_key=True),
    Column("event_type", String(64), primary_key=True),
)

webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("endpoint_id", ForeignKey("webhook_endpoints.id", ondelete="CASCADE"), primary_key=True),
    Column("event_id", String(40), primary_key=True),
    Column("event_type", String(64), nullable=False),
    Column("subject", String(40), nullable=False, comment="the job or batch"),
    Column("created_ms", BigInteger, nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False, comment="begun"),
    Column("next_ms", BigInteger, nullable=False, comment="not taken in hand before"),
    Column("epoch", BigInteger, nullable=False, comment="grows each time that it is taken in hand: the fence"),
    Column("finished_ms", BigInteger),
    CheckConstraint("state IN ('waiting', 'delivered', 'failed')", name="state_is_known"),
    CheckConstraint("(state = 'waiting') = (finished_ms IS NULL)", name="final_is_finished"),
    Index("ix_webhook_deliveries_endpoint_id_state_next_ms", "endpoint_id", "state", "next_ms"),
    Index("ix_webhook_deliveries_endpoint_id_created_ms_event_id", "endpoint_id", "created_ms", "event_id"),
    Index("ix_webhook_deliveries_created_ms", "created_ms"),
)

webhook_attempts = Table(
    "webhook_attempts",
    metadata,
    Column("endpoint_id", String(40), primary_key=True),
    Column("event_id", String(40), primary_key=True),
    Column("number", Integer, primary_key=True, comment="from 1"),
    Column("at_ms", BigInteger, nullable=False, comment="when it had ended"),
    Column("outcome", String(32), nullable=False),
    Column("status", SmallInteger, comment="of the answer, if there was one"),
    Column("latency_ms", Integer, nullable=False),
    ForeignKeyConstraint(
        ["endpoint_id", "event_id"],
        ["webhook_deliveries.endpoint_id", "webhook_deliveries.event_id"],
        ondelete="CASCADE",
    ),
)
