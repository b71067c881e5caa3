"""Alembic runs this file for every command; the connection comes from `migrations.alembic_config`."""

from __future__ import annotations

from alembic import context

from bowerbird.gateway.records.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite cannot alter a column: the table is copied
    transactional_ddl=True,  # on SQLite too, since our connections begin their transactions themselves
    compare_server_default=True,
)
with context.begin_transaction():
    context.run_migrations()
