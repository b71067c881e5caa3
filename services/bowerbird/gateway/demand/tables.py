"""The tables of this room; `records/migrations` makes them. Rows of `demand` are of the present: they expire."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, String, Table, Text

from bowerbird.gateway.records.tables import metadata

demand = Table(
    "demand",
    metadata,
    Column("source", String(80), primary_key=True, comment="a replica, or what somebody asked for"),
    Column("variant", String(63), primary_key=True, comment="its Deployment's name"),
    Column("queued", Integer, nullable=False),
    Column("running", Integer, nullable=False, comment="on pods that stay"),
    Column("draining", Integer, nullable=False, comment="on pods that are about to end"),
    Column("pods", Integer, nullable=False, comment="wanted whatever the work: a floor"),
    Column("expires_ms", BigInteger, nullable=False),
)

stage_descriptions = Table(
    "stage_descriptions",
    metadata,
    Column("stage", String(32), primary_key=True),
    Column("description", Text, nullable=False, comment="JSON, as the stage gave it last"),
    Column("seen_ms", BigInteger, nullable=False),
)
