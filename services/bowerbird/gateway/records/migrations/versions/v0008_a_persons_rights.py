"""Whose rows are, below the tenant; erasures and exports.

Rows that name an end user in their JSON get the keyed name (`records.people`, as it was when this was written). Stored
results do not say whose they are: they leave, and are drawn again when somebody wants them.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

PAGE = 500

PERSONAL = {
    "jobs": ("request", "result", "error", "person"),
    "job_events": ("data",),
    "idempotency_keys": ("key", "answer", "person"),
    "feedback": ("rater", "tags", "text", "person"),
}
"""Columns of which PostgreSQL's ANALYZE takes no samples: it would keep them where no erasure finds them."""


def upgrade() -> None:
    """Columns with what is known, and tables without rows."""
    for table in ("jobs", "idempotency_keys", "feedback", "results"):
        op.add_column(table, sa.Column("person", sa.String(length=64), nullable=True, comment=_COMMENTS[table]))
    flow = sa.Column("flow", sa.String(length=16), nullable=False, server_default="", comment="of the tenant")
    op.add_column("results", flow)
    _name_people()
    op.execute("UPDATE results SET state = 'leaving'")
    op.create_index("ix_jobs_tenant_person", "jobs", ["tenant", "person"])
    op.create_index("ix_feedback_tenant_person", "feedback", ["tenant", "person"])
    op.create_index("ix_results_flow_person", "results", ["flow", "person"])
    _erasures()
    _exports()
    if op.get_bind().dialect.name == "postgresql":
        for table, columns in PERSONAL.items():
            for column in columns:
                op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} SET STATISTICS 0")


_COMMENTS = {
    "jobs": "people.People: the end user that it was drawn for",
    "idempotency_keys": "people.People: whom the answer is about; a job's key is its job's",
    "feedback": "people.People: of `rater`",
    "results": "people.People: whom it was drawn for",
}


def _name_people() -> None:
    named = _namer()
    jobs = sa.table("jobs", *map(sa.column, ("id", "tenant", "request", "person")))
    feedback = sa.table("feedback", *map(sa.column, ("id", "tenant", "rater", "person")))
    for table, column, identifier in ((jobs, jobs.c.request, _asked_for), (feedback, feedback.c.rater, str)):
        for rows in _pages(table, column):
            found = [(row.id, named(row.tenant, identifier(row[2]))) for row in rows]
            values = [{"of": row_id, "name": name} for row_id, name in found if name]
            if values:
                naming = sa.update(table).where(table.c.id == sa.bindparam("of"))
                op.get_bind().execute(naming.values(person=sa.bindparam("name")), values)


def _pages(table: sa.TableClause, column: sa.ColumnClause[str]) -> Iterator[Sequence[Any]]:
    last = ""
    while True:
        asking = sa.select(table.c.id, table.c.tenant, column).where(table.c.id > last).order_by(table.c.id)
        rows = op.get_bind().execute(asking.limit(PAGE)).all()
        if not rows:
            return
        yield rows
        last = rows[-1].id


def _asked_for(request: str) -> str:
    asked = json.loads(request).get("asked", {})
    return str(asked.get("safety_identifier") or asked.get("user") or "")


def _namer() -> Callable[[str, str], str | None]:
    table = sa.table("secrets", sa.column("name", sa.String), sa.column("value", sa.LargeBinary))
    found = op.get_bind().execute(sa.select(table.c.value).where(table.c.name == "people")).scalar()
    secret = bytes(found) if found else secrets.token_bytes(32)
    if not found:
        op.get_bind().execute(sa.insert(table).values(name="people", value=secret))

    def named(tenant: str, identifier: str) -> str | None:
        if not identifier:
            return None
        flow = hashlib.sha256(tenant.encode()).hexdigest()[:16]
        return hmac.digest(secret, f"{flow}\0{identifier}".encode(), "sha256").hex()

    return named


def _erasures() -> None:
    op.create_table(
        "erasures",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("flow", sa.String(length=16), nullable=False, comment="of the tenant"),
        sa.Column(
            "person", sa.String(length=64), nullable=True, comment="people.People; NULL is everything of the tenant"
        ),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("step", sa.String(length=16), nullable=True, comment="where its carrier is"),
        sa.Column("erased", sa.Text(), nullable=False, comment="JSON: kind -> how many are gone"),
        sa.Column(
            "rewritten",
            sa.Boolean(),
            nullable=True,
            comment="whether the database's files were written anew at the end",
        ),
        sa.Column("actor", sa.String(length=400), nullable=False, comment="who asked for it"),
        sa.Column("request_id", sa.String(length=64), nullable=False, comment="in which request"),
        sa.Column("requested_ms", sa.BigInteger(), nullable=False),
        sa.Column("due_ms", sa.BigInteger(), nullable=False),
        sa.Column("finished_ms", sa.BigInteger(), nullable=True),
        sa.Column("lease_owner", sa.String(length=64), nullable=True),
        sa.Column(
            "lease_epoch",
            sa.BigInteger(),
            nullable=False,
            server_default="0",
            comment="grows with every claim: the fence",
        ),
        sa.Column("lease_until_ms", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("state IN ('requested', 'running', 'finished')", name=op.f("ck_erasures_state_is_known")),
        sa.CheckConstraint(
            "(state = 'finished') = (finished_ms IS NOT NULL)", name=op.f("ck_erasures_final_is_finished")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_erasures")),
    )
    op.create_index("ix_erasures_tenant_requested_ms_id", "erasures", ["tenant", "requested_ms", "id"])
    op.create_index("ix_erasures_flow_requested_ms", "erasures", ["flow", "requested_ms"])
    op.create_index("ix_erasures_state", "erasures", ["state"])


def _exports() -> None:
    op.create_table(
        "exports",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("flow", sa.String(length=16), nullable=False, comment="of the tenant"),
        sa.Column(
            "person", sa.String(length=64), nullable=True, comment="people.People; NULL is everything of the tenant"
        ),
        sa.Column("actor", sa.String(length=400), nullable=False, comment="who asked for it"),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False, comment="no archive is given after that"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_exports")),
    )
    op.create_index("ix_exports_tenant_created_ms_id", "exports", ["tenant", "created_ms", "id"])
    op.create_index("ix_exports_expires_ms", "exports", ["expires_ms"])
