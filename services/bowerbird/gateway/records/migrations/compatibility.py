"""Which releases may run on which revision: release N-1 runs on the tables of release N.

A rollback starts the former release on a database that the newer one has migrated, and while an upgrade rolls, both run
on it. So revisions expand first (new tables, columns that may be null or have a default) and contract one release
later, when no release that needs the old shape is started any more. The older release cannot know the newer revision,
therefore the revision itself says in the database who may go on: each one states in its `upgrade()` the oldest revision
whose release runs on its tables, and a release that finds a revision which it does not know looks that up.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Connection

FIRST_STATED = "0009"
"""Before it nothing was stated: no release that is older than the table could have read it."""

_revisions = sa.table("revisions", sa.column("revision", sa.String), sa.column("runs_from", sa.String))


def state_compatibility(revision: str, runs_from: str) -> None:
    """Called last in a revision's `upgrade()`: releases whose newest revision is `runs_from` or later run on it."""
    from alembic import op

    op.execute(sa.insert(_revisions).values(revision=revision, runs_from=runs_from))


def require_compatible(connection: Connection, present: str, newest: str) -> None:
    """Raises SystemExit with a sentence where `present`, a revision that this release does not know, is not for it."""
    asking = sa.select(_revisions.c.runs_from).where(_revisions.c.revision == present)
    runs_from = connection.scalar(asking) if sa.inspect(connection).has_table("revisions") else None
    if runs_from is None or runs_from > newest:
        oldest = "unknown" if runs_from is None else runs_from
        raise SystemExit(
            f"The database is at revision {present}, and this release knows revisions up to {newest}; the oldest that "
            f"runs on it is {oldest}. Start that release or a later one, or restore the backup from before the upgrade."
        )
