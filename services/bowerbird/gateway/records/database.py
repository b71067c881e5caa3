"""Where the rows live: one SQLite file in BOWERBIRD_HOME, or PostgreSQL; both through SQLAlchemy Core's async engine.

`open_database` is called once when the app starts and gives back a database whose tables are at the newest revision
(one replica migrates, the others wait for it). `reading()` and `writing()` are one transaction each. What the database
cannot do now (gone, full, not answering) is `RecordsUnavailable`; its own exceptions do not leave this room.

SQLite: WAL, so that readers never wait for the writer. A transaction that will write says so at its beginning (`BEGIN
IMMEDIATE`): one that reads first and writes later cannot wait for another writer, it fails. `synchronous=FULL`: a
commit that was answered survives a power cut (https://www.sqlite.org/wal.html#performance_considerations). What only
those who live now go by (a claim, a lease, progress) is written without waiting for the disk: a power cut may take it
back, and takes everybody who went by it as well. Never so in PostgreSQL, whose server may die alone.
`secure_delete`: what is deleted is overwritten with zeros (https://www.sqlite.org/pragma.html#pragma_secure_delete).
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import (
    URL,
    AdaptedConnection,
    BigInteger,
    ColumnElement,
    Connection,
    Engine,
    Row,
    Select,
    Table,
    create_engine,
    event,
    literal_column,
    make_url,
)
from sqlalchemy.exc import ArgumentError, DatabaseError, DBAPIError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from bowerbird.errors import RecordsUnavailable
from bowerbird.gateway.records.migrations import upgrade
from bowerbird.gateway.records.rewriting import rewrite_file, rewrite_tables
from bowerbird.gateway.records.sqlite_connection import SQLiteConnection, SQLiteWriter
from bowerbird.gateway.records.sqlite_reads import PointRead, SQLiteReads

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite

FILE_NAME = "records.sqlite"
BUSY_SECONDS = 10.0
"""How long a transaction waits for another process' transaction before it gives up."""
CONNECT_SECONDS = 5.0
OPEN_SECONDS = 30.0
"""How long a process that starts waits for its database; whoever supervises it has more patience than that."""
OPEN_AGAIN_SECONDS = 0.5
STANDSTILL_SECONDS = 4.0
"""How long PostgreSQL lets a transaction do nothing. A process that is stopped in the middle of one, or cut off, would
keep its locks for ever; when it goes on, this one transaction is RecordsUnavailable, and nothing of it has happened."""
RETRY_AFTER_SECONDS = 2
_LASTING, _SHORT = "lasting", "short"
_SYNCHRONOUS = {True: "FULL", False: "NORMAL"}
READERS = 4
READER_CACHE_KIB = 512
"""Of pages that a reading connection of SQLite keeps; the system keeps the file's. SQLite's own 2 MiB, eight times, are
what a gateway's memory grows by while its tables do."""
CONNECTIONS = 8
"""Of one replica to PostgreSQL, whose default is 100 in all."""

_NOW_MS = {
    "sqlite": "CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER)",
    "postgresql": "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)",
}

logger = logging.getLogger(__name__)

Clock = Callable[[], ColumnElement[int]]
Login = Callable[[], URL]
"""Gives a database's URL with the user and the password of now."""


class Database:
    """One process' connections; `now()` is the database's clock in whole milliseconds since 1970, as SQL."""

    def __init__(
        self, reader: AsyncEngine, writer: AsyncEngine, sqlite_reads: SQLiteReads | None, now: Clock | None
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._writers = {
            (lasting, short): writer.execution_options(**{_LASTING: lasting, _SHORT: short})
            for lasting in (True, False)
            for short in (True, False)
        }
        self._sqlite_reads = sqlite_reads
        self._point_reads: list[PointRead] = []
        self.commits = 0
        """Transactions of this process that may have written; who has been told of one finds that it has changed."""
        own = literal_column(_NOW_MS[writer.dialect.name], BigInteger)
        self.now: Clock = now or (lambda: own)
        self._open = True
        self._uses = 0
        self._unused = asyncio.Event()
        self._unused.set()

    @property
    def is_postgresql(self) -> bool:
        """True where several replicas may share it."""
        return self._writer.dialect.name == "postgresql"

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """Statements that only read; each sees what is committed when it begins, in either database."""
        with self._used():
            async with self._reader.connect() as connection:
                yield connection

    async def rows(self, statement: Select[Any], **given: Any) -> Sequence[Row[Any]]:
        """What one statement that only reads finds, with these parameters: the cheapest way to ask, for each request's
        questions."""
        with self._used():
            if self._sqlite_reads is not None:
                return await self._sqlite_reads.rows(statement, given)
            async with self._reader.connect() as connection:
                found: Sequence[Row[Any]] = (await connection.execute(statement, given)).all()
                return found

    def point_read(self, statement: Select[Any]) -> PointRead | None:
        """Reads one row by one text in the event loop's own thread; None where the database is elsewhere."""
        if self._sqlite_reads is None:
            return None
        read = PointRead(self._writer.url.database or "", statement)
        self._point_reads.append(read)
        return read

    @asynccontextmanager
    async def writing(self, *, lasting: bool = True, short: bool = False) -> AsyncIterator[AsyncConnection]:
        """A transaction, committed at the end unless an exception leaves it.

        One that need not be `lasting` does not wait for SQLite's disk; the next one that is takes it along. The
        statements of a `short` one find a few rows each by an index: in SQLite the event loop waits for them.
        """
        with self._used():
            try:
                async with self._writers[lasting, short].begin() as connection:
                    yield connection
            finally:
                self.commits += 1

    async def rewrite(self, tables: Sequence[str]) -> bool:
        """Leaves nothing in the files of what was deleted from these tables; False where that could not be had now.

        A PostgreSQL table that is too large or too busy for it is left to the server's own vacuum (`rewriting`).
        """
        with self._used():
            return await (rewrite_tables(self._writer, tables) if self.is_postgresql else rewrite_file(self._writer))

    @contextmanager
    def _used(self) -> Iterator[None]:
        if not self._open:
            raise RecordsUnavailable(
                "The records are closed: this gateway ends.", retry_after_seconds=RETRY_AFTER_SECONDS
            )
        self._uses += 1
        self._unused.clear()
        try:
            with _facts():
                yield
        finally:
            self._uses -= 1
            if not self._uses:
                self._unused.set()

    async def close(self) -> None:
        """Closes every connection, and first waits for who has one: SQLAlchemy closes none that comes back later."""
        self._open = False
        with suppress(TimeoutError):
            await asyncio.wait_for(self._unused.wait(), BUSY_SECONDS)
        for read in self._point_reads:
            read.close()
        if self._sqlite_reads is not None:
            await asyncio.to_thread(self._sqlite_reads.close)
        await self._reader.dispose()
        if self._writer is not self._reader:
            await self._writer.dispose()


def upsert(connection: AsyncConnection, table: Table) -> postgresql.Insert | sqlite.Insert:
    """An INSERT that may say `ON CONFLICT`, which SQLAlchemy keeps by dialect although both speak the same."""
    # Only the dialect that is spoken is imported: what the other needs is megabytes of a process that never asks it.
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table)
    from sqlalchemy.dialects import sqlite

    return sqlite.insert(table)


def database_url(configured: str | None, home: Path) -> URL:
    """`BOWERBIRD_DATABASE_URL` with the driver we use, or the file in `home`; raises SystemExit with a sentence."""
    if configured is None:
        return URL.create("sqlite+aiosqlite", database=str(home / FILE_NAME))
    try:
        url = make_url(configured)
    except (ArgumentError, ValueError):  # left out: they quote parts of it
        raise SystemExit("BOWERBIRD_DATABASE_URL is no URL: postgresql://user:password@host/name, say.") from None
    drivers = {"sqlite": "sqlite+aiosqlite", "postgres": "postgresql+asyncpg", "postgresql": "postgresql+asyncpg"}
    backend = url.drivername.partition("+")[0]
    if backend not in drivers:
        raise SystemExit(f"BOWERBIRD_DATABASE_URL names {backend!r}. Accepted: postgresql://… or sqlite:///….")
    return url.set(drivername=drivers[backend])


@asynccontextmanager
async def open_database(
    url: URL, now: Clock | None = None, patience_seconds: float = OPEN_SECONDS, login: Login | None = None
) -> AsyncIterator[Database]:
    """The database at its newest revision; `now` replaces its clock, for tests of what time does.

    `login` is asked at each new connection to PostgreSQL (`records.login`).
    """
    database = Database(*_engines(url, login), now)
    try:
        await _bring_up_to_date(database, patience_seconds)
        yield database
    finally:
        await asyncio.shield(database.close())


async def _bring_up_to_date(database: Database, patience_seconds: float) -> None:
    """Waits for a database that cannot be asked yet: it may be starting as well, or its disk be full."""
    ends_at = time.monotonic() + patience_seconds
    while True:
        try:
            async with database.writing() as connection:
                await connection.run_sync(upgrade)
        except RecordsUnavailable as error:
            if time.monotonic() > ends_at or not _may_pass(error.__cause__):
                raise
            logger.warning("the database cannot be asked yet")
            await asyncio.sleep(OPEN_AGAIN_SECONDS)
        else:
            return


def _may_pass(error: BaseException | None) -> bool:
    """Whether this is a matter of time; that a file is no database, or a statement is wrong, is none."""
    return isinstance(error, OperationalError) or not isinstance(error, DatabaseError)


def _engines(url: URL, login: Login | None = None) -> tuple[AsyncEngine, AsyncEngine, SQLiteReads | None]:
    """For reading and for writing, one and the same where the database orders writers itself; for reading in threads.

    Parameters are hidden from exceptions: among them are prompts.
    """
    if url.get_backend_name() == "postgresql":
        engine = create_async_engine(
            url,
            pool_size=CONNECTIONS,
            max_overflow=0,
            hide_parameters=True,
            pool_timeout=BUSY_SECONDS,
            pool_pre_ping=True,  # it may have been restarted since
            connect_args={
                "timeout": CONNECT_SECONDS,
                "command_timeout": BUSY_SECONDS,
                "server_settings": {"idle_in_transaction_session_timeout": f"{1000 * STANDSTILL_SECONDS:.0f}"},
            },
        )
        _log_in_as(engine.sync_engine, login or (lambda: url))
        return engine, engine, None
    Path(url.database or "").parent.mkdir(parents=True, exist_ok=True)
    limits: dict[str, Any] = {"max_overflow": 0, "pool_timeout": BUSY_SECONDS, "hide_parameters": True}
    # A statement that only reads needs no transaction: every BEGIN or ROLLBACK would be a way to the driver's thread.
    only_reads: dict[str, Any] = {
        "pool_size": READERS,
        "pool_reset_on_return": None,
        "isolation_level": "AUTOCOMMIT",
        "skip_autocommit_rollback": True,
    }
    connects: dict[str, Any] = {"connect_args": {"factory": SQLiteConnection}}
    reader = create_async_engine(url, **only_reads, **limits, **connects)
    writer = create_async_engine(url, pool_size=1, **limits, async_creator=partial(_open_writer, url))
    in_thread = create_engine(url.set(drivername="sqlite"), **only_reads, **limits)
    for each in (reader.sync_engine, in_thread):
        _prepare(each, None, "PRAGMA query_only = ON", f"PRAGMA cache_size = -{READER_CACHE_KIB}")
    _prepare_writer(writer.sync_engine)
    return reader, writer, SQLiteReads(in_thread, READERS, BUSY_SECONDS)


def _log_in_as(engine: Engine, login: Login) -> None:
    @event.listens_for(engine, "do_connect")
    def _connecting(_: object, __: object, ___: object, options: dict[str, Any]) -> None:
        now = login()
        options.update(user=now.username, password=now.password)


async def _open_writer(url: URL) -> SQLiteWriter:
    """A connection that may be used in two threads, never in both at once."""
    # Imported here: a process that speaks PostgreSQL never asks it.
    from sqlalchemy.dialects.sqlite.aiosqlite import dialect

    arguments, options = dialect().create_connect_args(url)
    own = {"factory": SQLiteConnection, "check_same_thread": False}
    writer = SQLiteWriter(partial(sqlite3.connect, *arguments, **{**options, **own}))
    await writer
    return writer


def patient_engine(url: URL, *, only_reads: bool) -> AsyncEngine:
    """For a transaction that reads or writes everything and takes as long as that does (`backups`).

    One that only reads sees the moment at which it began, whatever is committed meanwhile.
    """
    if url.get_backend_name() == "postgresql":
        connects: dict[str, Any] = {"connect_args": {"timeout": CONNECT_SECONDS}}
        level = "REPEATABLE READ" if only_reads else "READ COMMITTED"
        return create_async_engine(url, pool_size=1, hide_parameters=True, isolation_level=level, **connects)
    Path(url.database or "").parent.mkdir(parents=True, exist_ok=True)
    connects = {"connect_args": {"factory": SQLiteConnection}}
    engine = create_async_engine(url, pool_size=1, hide_parameters=True, **connects)
    if only_reads:
        _prepare(engine.sync_engine, "BEGIN", "PRAGMA query_only = ON")
    else:
        _prepare(engine.sync_engine, "BEGIN IMMEDIATE", "PRAGMA journal_mode = WAL")
    return engine


def _prepare(engine: Engine, begin: str | None, *pragmas: str) -> None:
    """Takes `BEGIN` away from the driver, which would put it off to the first write, and sets up each connection."""
    always = (
        f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000:.0f}",
        "PRAGMA foreign_keys = ON",
        f"PRAGMA synchronous = {_SYNCHRONOUS[True]}",
        "PRAGMA secure_delete = ON",
    )

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _: object) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in (*always, *pragmas):
            cursor.execute(pragma)
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        if begin is not None:
            connection.exec_driver_sql(begin)


def _prepare_writer(engine: Engine) -> None:
    """Sets up `SQLiteWriter` and begins its transactions, each as `writing` says."""
    _prepare(engine, None, "PRAGMA journal_mode = WAL")

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        options, statements = connection.get_execution_options(), ["BEGIN IMMEDIATE"]
        lasting = options.get(_LASTING, True)
        if connection.info.pop(_LASTING, None) is not lasting:  # cannot be changed within a transaction
            statements.insert(0, f"PRAGMA synchronous = {_SYNCHRONOUS[lasting]}")
        begin = partial(SQLiteWriter.begin, statements=statements, short=options.get(_SHORT, False))
        try:
            cast(AdaptedConnection, connection.connection.dbapi_connection).run_async(begin)
        except sqlite3.Error as error:
            raise DBAPIError.instance(statements[-1], None, error, sqlite3.Error) from error
        except BaseException as error:  # cancelled: nobody knows whether it has begun
            connection.invalidate(error)
            raise
        connection.info[_LASTING] = lasting  # only now: a statement that failed leaves open what holds


@contextmanager
def _facts() -> Iterator[None]:
    """Failures of the database as the fact that a caller can act on; a broken constraint is the caller's own bug.

    Who is cancelled ends as cancelled, whatever the driver makes of that: a loop that goes on while the records are
    away would go on for ever, and whoever waits for its end with it.
    """
    task = asyncio.current_task()
    cancels = task.cancelling() if task else 0
    try:
        yield
    except IntegrityError:
        raise
    except (DBAPIError, PoolTimeout, TimeoutError, OSError) as error:
        if task is not None and task.cancelling() > cancels:
            raise asyncio.CancelledError from error
        raise RecordsUnavailable(
            f"The records cannot be read or written now; try again in {RETRY_AFTER_SECONDS} s.",
            retry_after_seconds=RETRY_AFTER_SECONDS,
        ) from error
