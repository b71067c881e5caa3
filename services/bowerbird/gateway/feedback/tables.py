"""The table of this room; `records/migrations` makes it."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, Float, Index, SmallInteger, String, Table, Text

from bowerbird.gateway.records.tables import metadata

feedback = Table(
    "feedback",
    metadata,
    Column("tenant", String(64), primary_key=True),
    Column("request_id", String(40), primary_key=True, comment="or the job's"),
    Column("image", SmallInteger, primary_key=True, autoincrement=False, comment="from 0; -1 is the whole answer"),
    Column("kind", String(16), primary_key=True),
    Column("rater", String(256), primary_key=True, comment="safety_identifier of who said it, or empty"),
    Column("id", String(40), nullable=False, unique=True),
    Column("model_digest", String(71), nullable=False),
    Column("variant", String(100), nullable=False),
    Column("pictures", SmallInteger, nullable=False, comment="that the request brought"),
    Column("stars", SmallInteger),
    Column("tags", Text, nullable=False, comment="JSON list"),
    Column("text", Text, comment="redacted"),
    Column("reward", Float),
    Column("rewards_version", SmallInteger, nullable=False),
    Column("rewards_digest", String(71), nullable=False),
    Column("created_ms", BigInteger, nullable=False, comment="of the first word; a later one replaces it"),
    Column("updated_ms", BigInteger, nullable=False),
    Column("person", String(64), comment="people.People: of `rater`"),
    CheckConstraint("(kind = 'stars') = (stars IS NOT NULL)", name="stars_have_a_number"),
    Index("ix_feedback_tenant_created_ms_id", "tenant", "created_ms", "id"),
    Index("ix_feedback_tenant_person", "tenant", "person"),
)
