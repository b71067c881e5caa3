"""The tables of this room; `records/migrations` makes them.

A subject is a tenant, or one of its end users by the keyed name (`records.people`). No identifier stands here: an
erasure is kept for longer than what it erased.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, Index, String, Table, Text

from bowerbird.gateway.records.tables import metadata

_PERSON = "people.People; NULL is everything of the tenant"

erasures = Table(
    "erasures",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("flow", String(16), nullable=False, comment="of the tenant"),
    Column("person", String(64), comment=_PERSON),
    Column("state", String(16), nullable=False),
    Column("step", String(16), comment="where its carrier is"),
    Column("erased", Text, nullable=False, comment="JSON: kind -> how many are gone"),
    Column("rewritten", Boolean, comment="whether the database's files were written anew at the end"),
    Column("actor", String(400), nullable=False, comment="who asked for it"),
    Column("request_id", String(64), nullable=False, comment="in which request"),
    Column("requested_ms", BigInteger, nullable=False),
    Column("due_ms", BigInteger, nullable=False),
    Column("finished_ms", BigInteger),
    Column("lease_owner", String(64)),
    Column("lease_epoch", BigInteger, nullable=False, server_default="0", comment="grows with every claim: the fence"),
    Column("lease_until_ms", BigInteger),
    CheckConstraint("state IN ('requested', 'running', 'finished')", name="state_is_known"),
    CheckConstraint("(state = 'finished') = (finished_ms IS NOT NULL)", name="final_is_finished"),
    Index("ix_erasures_tenant_requested_ms_id", "tenant", "requested_ms", "id"),
    Index("ix_erasures_flow_requested_ms", "flow", "requested_ms"),
    Index("ix_erasures_state", "state"),
)

exports = Table(
    "exports",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("flow", String(16), nullable=False, comment="of the tenant"),
    Column("person", String(64), comment=_PERSON),
    Column("actor", String(400), nullable=False, comment="who asked for it"),
    Column("created_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False, comment="no archive is given after that"),
    Index("ix_exports_tenant_created_ms_id", "tenant", "created_ms", "id"),
    Index("ix_exports_expires_ms", "expires_ms"),
)
