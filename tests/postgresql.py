"""A real PostgreSQL for tests: a cluster of its own in a temporary folder, on loopback, gone at the end.

The server comes from Debian's package `postgresql` (any version from 15) or from PATH. It refuses to run as root, so
root starts it as the user `postgres`, or `nobody`. Where it is missing, tests that need it are skipped, and fail in CI.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import asyncpg
import psutil
import pytest

START_SECONDS = 30.0
STOP_SECONDS = 30.0
POLL_SECONDS = 0.05
PACKAGED = Path("/usr/lib/postgresql")
SUPERUSER = "bowerbird"


class RunningPostgreSQL:
    """A server that accepts connections; `kill`, `pause` and `start` are for tests of what its death does to others."""

    def __init__(self, programs: Path, data: Path, port: int) -> None:
        self._programs = programs
        self._data = data
        self._process: subprocess.Popen[bytes] | None = None
        self.port = port

    @property
    def data(self) -> Path:
        """The folder in which it keeps everything."""
        return self._data

    def url(self, database: str = "postgres") -> str:
        """What BOWERBIRD_DATABASE_URL would say."""
        return f"postgresql://{SUPERUSER}@127.0.0.1:{self.port}/{database}"

    def create(self, database: str, template: str = "template0") -> str:
        """Makes a database and gives its URL."""
        self.execute(f'CREATE DATABASE "{database}" TEMPLATE "{template}"')
        return self.url(database)

    def drop(self, database: str) -> None:
        """Removes a database, whoever is connected to it."""
        self.execute(f'DROP DATABASE "{database}" WITH (FORCE)')

    def execute(self, statement: str, database: str = "postgres") -> None:
        """Runs one statement."""

        async def execute() -> None:
            connection = await asyncpg.connect(self.url(database), timeout=5)
            try:
                await connection.execute(statement)
            finally:
                await connection.close()

        with asyncio.Runner() as runner:
            runner.run(execute())

    def ask_for_password(self, role: str) -> None:
        """Whoever connects as this role has to know its password; all others are let in as before."""
        rules = self._data / "pg_hba.conf"
        rules.write_text(f"host all {role} 127.0.0.1/32 scram-sha-256\n" + rules.read_text())
        self.execute("SELECT pg_reload_conf()")

    def scalar(self, query: str, database: str) -> object:
        """The first value of what a query finds; None where it finds nothing."""

        async def fetch() -> object:
            connection = await asyncpg.connect(self.url(database), timeout=5)
            try:
                return await connection.fetchval(query)
            finally:
                await connection.close()

        with asyncio.Runner() as runner:
            return runner.run(fetch())

    def start(self) -> None:
        """Starts the server and waits until it answers."""
        options = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "fsync": "off",  # what a power cut does is not tested here
            "shared_buffers": "16MB",
        }
        stated = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        command = [str(self._programs / "postgres"), "-D", str(self._data), *stated]
        with (self._data.parent / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*_not_as_root(), *command], cwd=self._data.parent, stdout=log, stderr=log, start_new_session=True
            )
        ends_at = time.monotonic() + START_SECONDS
        while not self._answers():
            assert self._process.poll() is None, (self._data.parent / "log").read_text()
            assert time.monotonic() < ends_at, "PostgreSQL does not answer"
            time.sleep(POLL_SECONDS)

    def kill(self) -> None:
        """SIGKILL to the server and all its workers, as when the machine's memory runs out."""
        self._signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait(STOP_SECONDS)

    def pause(self) -> None:
        """SIGSTOP: connections stay open and nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        """Ends it and waits."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)  # "fast": connections are closed
            self._process.wait(STOP_SECONDS)

    def _signal(self, number: signal.Signals) -> None:
        """To the server and every worker; each of those leads a process group of its own."""
        assert self._process is not None
        server = psutil.Process(self._process.pid)
        for process in (server, *server.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def _answers(self) -> bool:
        try:
            self.execute("SELECT 1")
        except (OSError, asyncpg.PostgresError):
            return False
        return True


@contextmanager
def running_postgresql() -> Iterator[RunningPostgreSQL]:
    """A server with an empty cluster; raises FileNotFoundError when none is installed."""
    programs = installed_programs()
    folder = Path(tempfile.mkdtemp(prefix="bowerbird-postgresql-"))
    try:
        data = folder / "data"
        _belong_to_its_user(folder)
        initialise = [str(programs / "initdb"), "-D", str(data), "-U", SUPERUSER, "-A", "trust", "-E", "UTF8", "-N"]
        done = subprocess.run(
            [*_not_as_root(), *initialise, "--locale=C.UTF-8"], cwd=folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        server = RunningPostgreSQL(programs, data, _free_port())
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[RunningPostgreSQL]:
    """One server for the whole session; tests make databases of their own in it."""
    try:
        with running_postgresql() as server:
            yield server
    except FileNotFoundError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))


def installed_programs() -> Path:
    """Where the server's programs are; raises FileNotFoundError when none is installed."""
    on_path = shutil.which("initdb")
    packaged = sorted(PACKAGED.glob("*/bin"), key=lambda folder: float(folder.parent.name), reverse=True)
    for folder in [*([Path(on_path).parent] if on_path else []), *packaged]:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    raise FileNotFoundError("PostgreSQL is not installed here (Debian: apt-get install postgresql)")


def _not_as_root() -> list[str]:
    if os.geteuid() != 0:
        return []
    user = _user()
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "--pdeathsig=INT", "--"]


def _belong_to_its_user(folder: Path) -> None:
    if os.geteuid() == 0:
        os.chown(folder, _user().pw_uid, _user().pw_gid)


def _user() -> pwd.struct_passwd:
    names = {entry.pw_name for entry in pwd.getpwall()}
    return pwd.getpwnam("postgres" if "postgres" in names else "nobody")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
