"""A password that is replaced in PostgreSQL and in its file is the next connection's; those that are open go on."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from secrets import token_hex

import pytest
from sqlalchemy import text

from bowerbird.errors import RecordsUnavailable
from bowerbird.gateway.records.database import Database, Login, open_database
from bowerbird.gateway.records.listening import Listener
from bowerbird.gateway.records.login import login_of
from bowerbird.gateway.records.opening import open_records
from bowerbird.settings import Settings
from tests.mounted import MountedSecret
from tests.postgresql import RunningPostgreSQL

FILE = "bowerbird_database_url"
SECONDS = 20.0


class Role:
    """A role of PostgreSQL's that owns a database and is asked for a password, and the Secret that says which."""

    def __init__(self, server: RunningPostgreSQL, secret: MountedSecret) -> None:
        self._server = server
        self._secret = secret
        self.name = f"role{token_hex(4)}"
        server.ask_for_password(self.name)
        server.execute(f"CREATE ROLE {self.name} LOGIN")
        server.create(self.name)
        server.execute(f"ALTER DATABASE {self.name} OWNER TO {self.name}")
        server.execute(f"GRANT ALL ON SCHEMA public TO {self.name}", self.name)

    def url(self, password: str) -> str:
        return self._server.url(self.name).replace("bowerbird@", f"{self.name}:{password}@")

    def change_password(self) -> str:
        """In the database; the file still says the one before."""
        password = token_hex(8)
        self._server.execute(f"ALTER ROLE {self.name} PASSWORD '{password}'")
        return password

    async def changed_password(self) -> str:
        return await asyncio.to_thread(self.change_password)

    def say(self, password: str) -> None:
        """In the file; the database may not know it."""
        self._secret.write(**{FILE: self.url(password) + "\n"})

    async def hung_up(self) -> None:
        """Ends every connection of this role's."""
        ending = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = "
        await asyncio.to_thread(self._server.execute, f"{ending}'{self.name}'")

    def remove(self) -> None:
        self._server.drop(self.name)
        self._server.execute(f"DROP ROLE {self.name}")


@pytest.fixture
def secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MountedSecret:
    secret = MountedSecret(tmp_path / "secrets")
    monkeypatch.setenv("BOWERBIRD_SECRETS", str(secret.folder))
    return secret


@pytest.fixture
def role(postgresql: RunningPostgreSQL, secret: MountedSecret) -> Iterator[Role]:
    role = Role(postgresql, secret)
    role.say(role.change_password())
    yield role
    role.remove()


async def who(database: Database) -> str:
    """Whom a connection of its own is for."""
    async with database.reading() as connection:
        return str(await connection.scalar(text("SELECT session_user")))


def opened(login: Login, patience_seconds: float = 0.0) -> AbstractAsyncContextManager[Database]:
    return open_database(login(), patience_seconds=patience_seconds, login=login)


async def test_a_password_that_was_replaced_is_the_next_connections(role: Role) -> None:
    async with opened(login_of(Settings())) as database, AsyncExitStack() as held:
        before = await held.enter_async_context(database.reading())
        password = await role.changed_password()
        assert await before.scalar(text("SELECT 1")) == 1, "one that is open goes on"
        with pytest.raises(RecordsUnavailable) as refused:
            await who(database)
        assert "password authentication failed" in str(refused.value.__cause__)
        role.say(password)
        assert await who(database) == role.name
        assert await before.scalar(text("SELECT 1")) == 1


async def test_who_connects_again_does_so_with_the_password_of_then(role: Role) -> None:
    async with opened(login_of(Settings())) as database:
        role.say(await role.changed_password())
        await role.hung_up()
        assert await who(database) == role.name


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("", "is no URL|names another database"),
        ("postgresql://role:half-of-a-sec:ret", "is no URL"),
        ("mysql://role:secret@127.0.0.1/name", "names 'mysql'"),
        ("postgresql://role:secret@127.0.0.1:1/elsewhere", "names another database: that takes a restart"),
    ],
)
async def test_what_is_no_login_leaves_the_one_before(
    role: Role, secret: MountedSecret, said: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(login_of(Settings())) as database:
        secret.write(**{FILE: said})
        await role.hung_up()
        assert await who(database) == role.name
    (told,) = [each.__dict__["reason"] for each in caplog.records if "cannot be used" in each.message]
    assert re.search(reason, told)
    assert "sec" not in told


async def test_what_is_wrong_with_other_files_keeps_nobody_from_connecting(role: Role, secret: MountedSecret) -> None:
    async with opened(login_of(Settings())) as database:
        url = role.url(await role.changed_password())
        secret.write(**{FILE: url, "bowerbird_admin_keys": "not json"})
        await role.hung_up()
        assert await who(database) == role.name


async def test_who_listens_connects_again_with_the_password_of_then(
    role: Role, postgresql: RunningPostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bowerbird.gateway.records.listening.AGAIN_SECONDS", 0.05)
    heard = asyncio.Event()
    async with Listener(login_of(Settings())).listening("news", heard.set):
        async with asyncio.timeout(SECONDS):
            await heard.wait()
            password = await role.changed_password()
            await role.hung_up()
            heard.clear()
            await asyncio.sleep(0.3)
            assert not heard.is_set(), "its password is an old one"
            role.say(password)
            await heard.wait()
            heard.clear()
            await asyncio.to_thread(postgresql.execute, "NOTIFY news", role.name)
            await heard.wait()


async def test_a_gateways_records_follow_the_file(role: Role, tmp_path: Path) -> None:
    async with open_records(Settings(home=tmp_path)) as records:
        password = await role.changed_password()
        role.say(password)
        await role.hung_up()
        assert await who(records.database) == role.name
        assert records.login().password == password


@pytest.mark.parametrize("url", ["postgresql://u:p", "not a url", "postgresql://u:pass:word@host:port/x"])
def test_a_url_that_is_none_ends_the_start_without_quoting_it(
    url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BOWERBIRD_DATABASE_URL", url)
    with pytest.raises(SystemExit, match=r"^BOWERBIRD_DATABASE_URL is no URL: ") as raised:
        login_of(Settings(home=tmp_path))
    assert raised.value.__cause__ is None
