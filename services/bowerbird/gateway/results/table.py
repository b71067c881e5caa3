"""The rows of stored results; `store` reads and writes them, `records/migrations` makes them.

A row names its files from before the first of them is written until after the last of them is deleted, so that a
process may die at any moment and leave no file that no row knows:

    arriving   its files are being written; found by nobody; when it expires, its writer has died
    ready      answers requests until it expires or has to make room
    leaving    found by nobody any more; its files are being deleted, then the row goes

`bytes` in the ledger is that of all rows, whatever their state, kept in the transactions that add and remove rows.
"""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import BigInteger, CheckConstraint, Column, Float, Index, Integer, SmallInteger, String, Table, Text

from bowerbird.gateway.records.tables import metadata


class State(StrEnum):
    """Of a stored result."""

    ARRIVING = "arriving"
    READY = "ready"
    LEAVING = "leaving"


results = Table(
    "results",
    metadata,
    Column("id", String(32), primary_key=True, comment="random; its files are results/<id>-0, -1, …"),
    Column("key", String(64), nullable=False, comment="HMAC of the recipe and the seed"),
    Column("likeness", String(64), nullable=False, comment="HMAC of the recipe, whatever the seed"),
    Column("state", String(8), nullable=False),
    Column("pictures", SmallInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False, comment="of all its files"),
    Column("digest", String(64), nullable=False, comment="SHA-256 over the SHA-256 of each file, in order"),
    Column("facts", Text, nullable=False, comment="JSON: result.Facts"),
    Column("cost", Float, nullable=False, comment="compute units to draw it again"),
    Column("uses", Integer, nullable=False, comment="1 when it was drawn, and one more for each answer from it"),
    Column("credit", Float, nullable=False, comment="worth.credit when it was last used; the least leaves first"),
    Column("expires_ms", BigInteger, nullable=False),
    Column("flow", String(16), nullable=False, server_default="", comment="of the tenant"),
    Column("person", String(64), comment="people.People: whom it was drawn for"),
    CheckConstraint("state IN ('arriving', 'ready', 'leaving')", name="state_is_known"),
    Index("ix_results_key", "key"),
    Index("ix_results_likeness_credit", "likeness", "credit"),
    Index("ix_results_state_credit", "state", "credit"),
    Index("ix_results_expires_ms", "expires_ms"),
    Index("ix_results_flow_person", "flow", "person"),
)

ledger = Table(
    "results_ledger",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False, comment="1: there is one row"),
    Column("bytes", BigInteger, nullable=False),
    Column("inflation", Float, nullable=False, comment="worth.py: the credit of the last result that had to leave"),
    CheckConstraint("id = 1", name="one_row"),
)

drawings = Table(
    "result_drawings",
    metadata,
    Column("name", String(80), primary_key=True, comment="class of work, and key or likeness"),
    Column("owner", String(64), nullable=False, comment="the process that draws it"),
    Column("until_ms", BigInteger, nullable=False, comment="not renewed by then: its owner is dead"),
)
"""What is being drawn by which replica (`claims`)."""
