"""`bowerbird backup …`: what the chart's CronJob and init container run, and a person who has lost a database."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from datetime import UTC, datetime
from time import monotonic
from typing import Annotated, Any, TypeVar

import typer
from sqlalchemy.exc import SQLAlchemyError

from bowerbird.environment import read_settings
from bowerbird.errors import BowerbirdError, DatabaseNotEmpty
from bowerbird.gateway.backups.keeping import forget_old
from bowerbird.gateway.backups.restoring import LATEST, backups_in, manifest_in, restore_backup
from bowerbird.gateway.backups.writing import write_backup
from bowerbird.gateway.pictures import PictureStore, open_pictures
from bowerbird.gateway.records.database import database_url
from bowerbird.settings import Settings

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Copies of rows and pictures, and back.",
)
CREDENTIALS = "BACKUP_AWS_"
Said = TypeVar("Said")


@app.command()
def write() -> None:
    """Back up rows and pictures to BOWERBIRD_BACKUP_URL; keep the newest BOWERBIRD_BACKUP_KEEP."""
    settings, began = read_settings(), monotonic()
    target = backups_of(settings)
    url, pictures = database_url(settings.database_url, settings.home), _pictures(settings)
    written = _or_exit(write_backup(url, pictures, target, datetime.now(UTC)))
    manifest = written.manifest
    typer.echo(
        f"{manifest.name}: {manifest.rows} rows of {len(manifest.tables)} tables, {manifest.pictures.count} pictures "
        f"({written.new_pictures} of them new), {monotonic() - began:.1f} s"
    )
    for name in _or_exit(forget_old(target, settings.backup_keep)):
        typer.echo(f"{name}: deleted, {settings.backup_keep} are kept")


@app.command("list")
def list_() -> None:
    """List the backups at BOWERBIRD_BACKUP_URL, oldest first."""
    source = backups_of(read_settings())

    async def show() -> None:
        for name in await backups_in(source):
            found = await manifest_in(source, name)
            typer.echo(f"{name}  release {found.release}  {found.rows} rows  {found.pictures.count} pictures")

    _or_exit(show())


@app.command()
def restore(
    name: Annotated[str, typer.Argument(help="As `backup list` shows it.")] = LATEST,
    if_empty: Annotated[bool, typer.Option(help="Leave a database that is not empty as it is.")] = False,
) -> None:
    """Put a backup into an empty database, and its pictures to the others."""
    settings, began = read_settings(), monotonic()
    source = backups_of(settings)
    url, pictures = database_url(settings.database_url, settings.home), _pictures(settings)
    try:
        found = _or_exit(restore_backup(url, pictures, source, name))
    except DatabaseNotEmpty as error:
        if not if_empty:
            raise SystemExit(error.message) from error
        typer.echo(f"Nothing is restored: {error.message}")
        return
    typer.echo(f"{found.name}: {found.rows} rows, {found.pictures.count} pictures, {monotonic() - began:.1f} s")


def backups_of(settings: Settings) -> PictureStore:
    """Where backups lie; raises SystemExit where nobody said."""
    if settings.backup_url is None:
        raise SystemExit("BOWERBIRD_BACKUP_URL is not set: s3://bucket/path or file:///path.")
    own = {
        name.removeprefix("BACKUP_").lower(): value
        for name, value in os.environ.items()
        if name.startswith(CREDENTIALS)
    }
    secrets = [settings.pictures_secrets, settings.backup_secrets]
    return open_pictures(settings.backup_url, settings.home, own, secrets=secrets)


def _pictures(settings: Settings) -> PictureStore:
    return open_pictures(settings.pictures_url, settings.home, secrets=[settings.pictures_secrets])


def _or_exit(work: Coroutine[Any, Any, Said]) -> Said:
    """What it gives; raises SystemExit with a sentence where it does not, and DatabaseNotEmpty as it is."""
    try:
        return asyncio.run(work)
    except DatabaseNotEmpty:
        raise
    except BowerbirdError as error:
        raise SystemExit(error.message) from error
    except (SQLAlchemyError, OSError) as error:  # parameters are hidden: no row is quoted
        raise SystemExit(f"The database cannot be read or written: {type(error).__name__}: {error}") from error
