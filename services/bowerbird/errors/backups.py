"""Why a backup was not put back."""

from __future__ import annotations

from bowerbird.errors.error import BowerbirdError


class BackupInvalid(BowerbirdError):
    """There is no such backup, or it is altered, incomplete, or of a later release; the message says which."""

    code = "backup_invalid"


class DatabaseNotEmpty(BowerbirdError):
    """The database has rows of somebody, or a gateway runs on it: a backup is put into an empty one only."""

    code = "database_not_empty"
