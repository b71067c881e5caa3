"""The tables of this room; `records/migrations` makes them.

A key of the picture store is named here before anything is put under it (`key`, or `next_key` while a part is written
anew). What no row names may therefore be deleted at any time, by anybody, and a crash leaves nothing that stays.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKey, Index, Integer, String, Table

from bowerbird.gateway.records.tables import metadata

files = Table(
    "files",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("purpose", String(16), nullable=False),
    Column("state", String(8), nullable=False, comment="open: still written, seen by nobody"),
    Column("filename", String(255), nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("lines", BigInteger, nullable=False, comment="that are not blank"),
    Column("parts", Integer, nullable=False, comment="that were named"),
    Column("created_ms", BigInteger, nullable=False, comment="of an output: when it was ready"),
    Column("expires_ms", BigInteger, comment="removed then, unless a batch still reads it"),
    CheckConstraint("state IN ('open', 'ready')", name="state_is_known"),
    Index("ix_files_tenant_created_ms_id", "tenant", "created_ms", "id"),
    Index("ix_files_expires_ms", "expires_ms"),
)

file_parts = Table(
    "file_parts",
    metadata,
    Column("file_id", ForeignKey("files.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, comment="from 0; some are missing where a writer died"),
    Column("key", String(200), nullable=False, unique=True, comment="in the picture store"),
    Column("bytes", BigInteger, nullable=False, comment="0 until it was put"),
    Column("next_key", String(200), unique=True, comment="under which it is being written anew"),
)
