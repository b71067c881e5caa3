"""The tables of this room; `records/migrations` makes them, with the triggers that keep the audit log as it is."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    LargeBinary,
    String,
    Table,
    Text,
)

from bowerbird.gateway.records.tables import metadata

tenants = Table(
    "tenants",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("tier", String(32), nullable=False, comment="a name in tiers.toml"),
    Column("weight", Float, nullable=False, comment="share of the model, beside others'"),
    Column("cache", String(8), nullable=False, comment="of requests that do not say"),
    Column("created_ms", BigInteger, nullable=False),
    Column("disabled_ms", BigInteger),
    CheckConstraint("weight > 0", name="weight_is_positive"),
)

access_keys = Table(
    "access_keys",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("tenant", ForeignKey("tenants.id"), nullable=False),
    Column("name", String(200), nullable=False),
    Column("prefix", String(16), nullable=False, comment="the key's first characters, to tell keys apart"),
    Column("digest", LargeBinary(32), nullable=False, unique=True, comment="SHA-256 of the key; the key is not kept"),
    Column("role", String(16), nullable=False),
    Column("scopes", Text, comment="JSON list; NULL is all that the role may"),
    Column("created_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger),
    Column("revoked_ms", BigInteger),
    Column("last_used_ms", BigInteger, comment="within a minute"),
    Column("replaced_by", String(40), comment="the key that it was rotated to"),
    CheckConstraint("role IN ('tenant', 'reviewer', 'operator', 'admin')", name="role_is_known"),
    Index("ix_access_keys_tenant", "tenant"),
)

audit_log = Table(
    "audit_log",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False, comment="from 1, without gaps"),
    Column("at_ms", BigInteger, nullable=False),
    Column("actor", String(400), nullable=False),
    Column("action", String(64), nullable=False),
    Column("subject", String(200), nullable=False),
    Column("before", Text, comment="JSON; never a key"),
    Column("after", Text, comment="JSON; never a key"),
    Column("request_id", String(64), nullable=False),
    Column("previous_hash", LargeBinary(32), nullable=False),
    Column("hash", LargeBinary(32), nullable=False, comment="SHA-256 over the row and the hash before it"),
)
