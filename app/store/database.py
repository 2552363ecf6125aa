"""Which database, and how it is opened: addresses, pragmas, transactions. No tables here."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
from sqlalchemy import URL, Engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from app.errors import ConfigError, StoreUnavailable

SQLITE, POSTGRES = "sqlite+aiosqlite", "postgresql+asyncpg"
_DRIVERS = {"sqlite": SQLITE, "postgres": POSTGRES, "postgresql": POSTGRES}
_WANTED = "DATABASE_URL is none of sqlite+aiosqlite:////path/to/file, postgresql+asyncpg://…"

BUSY_MILLISECONDS = 1500
"""How long SQLite waits for another process's transaction; below the ledger's deadline."""

PRAGMAS = (
    f"PRAGMA busy_timeout = {BUSY_MILLISECONDS}",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = NORMAL",
    "PRAGMA foreign_keys = ON",
)
"""With WAL, NORMAL outlives a killed process; a power cut may take the last transactions along."""

AWAY = "The gateway's database does not answer; try again in a moment"

_WRITES = "moa_writes"
_NO_ANSWER = (
    SQLAlchemyError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
)


@dataclass(frozen=True, slots=True)
class Database:
    """An open database, for whatever is not on a request's way."""

    url: URL
    engine: AsyncEngine

    @property
    def is_sqlite(self) -> bool:
        """Whether it is a file of this machine."""
        return self.url.drivername == SQLITE

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that changes nothing. Raises StoreUnavailable."""
        with _answering():
            async with self.engine.begin() as connection:
                yield connection

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that may; on SQLite it has the one right to write from its start.

        Raises StoreUnavailable, and SQLAlchemy's IntegrityError.
        """
        with _answering():
            async with self.engine.connect() as connection:
                await connection.execution_options(**{_WRITES: True})
                async with connection.begin():
                    yield connection


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except IntegrityError:
        raise
    except _NO_ANSWER as problem:
        raise StoreUnavailable(AWAY, detail=str(problem)) from problem


def default_url(environ: Mapping[str, str]) -> str:
    """The file in the user's data folder (XDG Base Directory Specification)."""
    home = environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return f"{SQLITE}:///{Path(home) / 'moa' / 'moa.db'}"


def parse_url(address: str) -> URL:
    """The database of an address. Raises ConfigError, which never repeats it: it has a password."""
    try:
        url = make_url(address)
    except ArgumentError:
        raise ConfigError(_WANTED) from None
    url = url.set(drivername=_DRIVERS.get(url.drivername, url.drivername))
    if url.drivername not in {SQLITE, POSTGRES}:
        raise ConfigError(_WANTED)
    if url.drivername == SQLITE and (url.database or ":memory:").startswith((":memory:", "file:")):
        raise ConfigError("DATABASE_URL: SQLite needs a file, since money must outlive a restart")
    return url


@asynccontextmanager
async def open_database(address: str) -> AsyncIterator[Database]:
    """Open it, at its first use; a SQLite file is made, for its owner alone.

    Raises ConfigError.
    """
    url = parse_url(address)
    if url.drivername == SQLITE:
        _make_file(Path(url.database or ""))
        engine = create_async_engine(url)
        _behave(engine.sync_engine)
    else:
        engine = create_async_engine(url, pool_size=5, max_overflow=5, pool_pre_ping=True)
    try:
        yield Database(url, engine)
    finally:
        await engine.dispose()


def _make_file(file: Path) -> None:
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as problem:
        raise ConfigError(
            f"DATABASE_URL: cannot use the file: {problem.strerror}", file=str(file)
        ) from None


def _behave(engine: Engine) -> None:
    """Have transactions begin where we say, not where the driver guesses."""

    @event.listens_for(engine, "connect")
    def connected(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in PRAGMAS:
            cursor.execute(pragma)
        cursor.close()

    @event.listens_for(engine, "begin")
    def begun(connection: object) -> None:
        options = connection.get_execution_options()  # type: ignore[attr-defined] # untyped hook
        word = "IMMEDIATE" if options.get(_WRITES) else "DEFERRED"
        connection.exec_driver_sql(f"BEGIN {word}")  # type: ignore[attr-defined] # untyped hook
