"""Tenants, their keys, the audit log that only grows, and what is handed out of limits."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """All of it, empty."""
    _tenants()
    _access_keys()
    _audit_log()
    _limits()


def _tenants() -> None:
    op.create_table(
        "tenants",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("tier", sa.String(length=32), nullable=False, comment="a name in tiers.toml"),
        sa.Column("weight", sa.Float(), nullable=False, comment="share of the model, beside others'"),
        sa.Column("cache", sa.String(length=8), nullable=False, comment="of requests that do not say"),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("disabled_ms", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("weight > 0", name=op.f("ck_tenants_weight_is_positive")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tenants")),
    )


def _access_keys() -> None:
    op.create_table(
        "access_keys",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column(
            "prefix", sa.String(length=16), nullable=False, comment="the key's first characters, to tell keys apart"
        ),
        sa.Column(
            "digest", sa.LargeBinary(length=32), nullable=False, comment="SHA-256 of the key; the key is not kept"
        ),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=True, comment="JSON list; NULL is all that the role may"),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=True),
        sa.Column("revoked_ms", sa.BigInteger(), nullable=True),
        sa.Column("last_used_ms", sa.BigInteger(), nullable=True, comment="within a minute"),
        sa.Column("replaced_by", sa.String(length=40), nullable=True, comment="the key that it was rotated to"),
        sa.CheckConstraint(
            "role IN ('tenant', 'reviewer', 'operator', 'admin')", name=op.f("ck_access_keys_role_is_known")
        ),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name=op.f("fk_access_keys_tenant_tenants")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_access_keys")),
        sa.UniqueConstraint("digest", name=op.f("uq_access_keys_digest")),
    )
    op.create_index("ix_access_keys_tenant", "access_keys", ["tenant"], unique=False)


def _audit_log() -> None:
    op.create_table(
        "audit_log",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False, comment="from 1, without gaps"),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.String(length=400), nullable=False),
        sa.Column("action", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.String(length=200), nullable=False),
        sa.Column("before", sa.Text(), nullable=True, comment="JSON; never a key"),
        sa.Column("after", sa.Text(), nullable=True, comment="JSON; never a key"),
        sa.Column("request_id", sa.String(length=64), nullable=False),
        sa.Column("previous_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column(
            "hash", sa.LargeBinary(length=32), nullable=False, comment="SHA-256 over the row and the hash before it"
        ),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_audit_log")),
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE FUNCTION audit_log_only_grows() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'the audit log only grows'; END $$"
        )
        op.execute(
            "CREATE TRIGGER audit_log_only_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log "
            "FOR EACH STATEMENT EXECUTE FUNCTION audit_log_only_grows()"
        )
        return
    for action in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER audit_log_no_{action.lower()} BEFORE {action} ON audit_log "
            "BEGIN SELECT RAISE(ABORT, 'the audit log only grows'); END"
        )


def _limits() -> None:
    op.create_table(
        "limit_windows",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=40), nullable=False, comment="of the limit"),
        sa.Column(
            "number",
            sa.BigInteger(),
            autoincrement=False,
            nullable=False,
            comment="the window: milliseconds since 1970 by its length",
        ),
        sa.Column("quota", sa.Float(), nullable=False),
        sa.Column("handed_out", sa.Float(), nullable=False, comment="to replicas, in all; never above the quota"),
        sa.Column("wanted", sa.Float(), nullable=False, comment="by the last replica that asked"),
        sa.Column("needed", sa.Float(), nullable=False, comment="by it: less would have been of no use"),
        sa.Column("granted", sa.Float(), nullable=False, comment="to it"),
        sa.Column("ends_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "name", "number", name=op.f("pk_limit_windows")),
    )
    op.create_index("ix_limit_windows_ends_ms", "limit_windows", ["ends_ms"], unique=False)
    op.create_table(
        "limit_slots",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("owner", sa.String(length=64), nullable=False, comment="the replica"),
        sa.Column("slots", sa.Integer(), nullable=False, comment="requests that it may answer at a time"),
        sa.Column("until_ms", sa.BigInteger(), nullable=False, comment="a replica that dies gives them back then"),
        sa.CheckConstraint("slots >= 0", name=op.f("ck_limit_slots_slots_are_not_negative")),
        sa.PrimaryKeyConstraint("tenant", "owner", name=op.f("pk_limit_slots")),
    )
