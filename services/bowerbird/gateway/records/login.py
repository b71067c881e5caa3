"""Who this process is to PostgreSQL: a user and a password, which may be replaced while it runs.

`BOWERBIRD_DATABASE_URL` is looked at whenever a connection is made, where it is a file of `BOWERBIRD_SECRETS`:
connections that are open go on, those that follow use what the file says then. Only user and password are taken over. A
gateway whose connections led to two databases would have two truths, so another host or name takes a restart.
"""

from __future__ import annotations

from sqlalchemy import URL

from bowerbird.gateway.records.database import Login, database_url
from bowerbird.mounted import CredentialsUnusable, Followed
from bowerbird.settings import FromEnvironment, Settings, secrets_folder


class _Said(FromEnvironment):
    """As `Settings` has it; what is wrong with other files is no reason not to connect."""

    database_url: str | None = None


def login_of(settings: Settings) -> Login:
    """For the database of these settings; raises SystemExit with a sentence for a URL that names none."""
    url, folder = database_url(settings.database_url, settings.home), secrets_folder()
    files = [each for each in folder.iterdir() if each.name.lower() == "bowerbird_database_url"] if folder else []
    if not files or url.get_backend_name() != "postgresql":
        return lambda: url

    def read() -> URL:
        try:
            found = database_url(_Said().database_url, settings.home)
        except SystemExit as error:
            raise CredentialsUnusable(str(error)) from error
        except ValueError as error:  # it quotes what it could not read
            raise CredentialsUnusable("BOWERBIRD_DATABASE_URL cannot be read.") from error
        if _place(found) != _place(url):
            raise CredentialsUnusable("BOWERBIRD_DATABASE_URL names another database: that takes a restart.")
        return found

    try:
        return Followed(read, *files).now
    except CredentialsUnusable as error:
        raise SystemExit(str(error)) from error


def _place(url: URL) -> tuple[object, ...]:
    """Which database it is, whoever asks."""
    return url.drivername, url.host, url.port, url.database, url.query
