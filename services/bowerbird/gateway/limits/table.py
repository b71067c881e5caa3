"""The tables of this room; `records/migrations` makes them. Rows are of the present: the sweep removes what is past."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, Float, Index, Integer, String, Table

from bowerbird.gateway.records.tables import metadata

limit_windows = Table(
    "limit_windows",
    metadata,
    Column("tenant", String(64), primary_key=True),
    Column("name", String(40), primary_key=True, comment="of the limit"),
    Column("number", BigInteger, primary_key=True, comment="the window: milliseconds since 1970 by its length"),
    Column("quota", Float, nullable=False),
    Column("handed_out", Float, nullable=False, comment="to replicas, in all; never above the quota"),
    Column("wanted", Float, nullable=False, comment="by the last replica that asked"),
    Column("needed", Float, nullable=False, comment="by it: less would have been of no use"),
    Column("granted", Float, nullable=False, comment="to it"),
    Column("ends_ms", BigInteger, nullable=False),
    Index("ix_limit_windows_ends_ms", "ends_ms"),
)

limit_slots = Table(
    "limit_slots",
    metadata,
    Column("tenant", String(64), primary_key=True),
    Column("owner", String(64), primary_key=True, comment="the replica"),
    Column("slots", Integer, nullable=False, comment="requests that it may answer at a time"),
    Column("until_ms", BigInteger, nullable=False, comment="a replica that dies gives them back then"),
    CheckConstraint("slots >= 0", name="slots_are_not_negative"),
)
