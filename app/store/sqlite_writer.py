"""Runs the ledger's transactions on SQLite: here where they are short, else in a thread.

A transaction of the ledger takes some 30 µs and waits for nothing, since it is written into memory
that the system carries to the disk later; to send it to a thread and back costs more than twice as
much, and milliseconds where the loop is busy. Whatever may wait is sent there: opening, waiting for
another process's transaction, flushing the log, and everything for a while once one took long.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import ParamSpec, TypeVar

import anyio.lowlevel

from app.store.database import BUSY_MILLISECONDS, PRAGMAS
from app.store.transactions import (
    SQLITE_WORDS,
    Ask,
    Conflict,
    Dialect,
    Refused,
    Steps,
    StoreDown,
)

P = ParamSpec("P")
T = TypeVar("T")


_REFUSALS = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    ValueError,
    TypeError,
    OverflowError,
)
"""What a row was given that no database takes, as opposed to one that is not there."""


CHECKPOINT_EVERY = 200
"""Transactions after which the log is flushed into the file, by the thread."""
SLOW, PAUSE = 0.05, 10.0
"""Seconds a transaction may take here, and for how long none is run here if one took longer."""


class _Locked(Exception):
    """Another process is writing."""


class SqliteWriter:
    """One connection, used by the loop or by the one thread, never by both at a time.

    All mutable state: the connection, how many transactions were sent to the thread and how many
    it has done, how many ran since the log was flushed, and from when on they may run here.
    """

    dialect = SQLITE_WORDS

    def __init__(self, file: str) -> None:
        self._file = file
        self._connection: sqlite3.Connection | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        self._sent = self._done = self._unflushed = 0
        self._here_from = 0.0

    async def run(self, begin: Callable[[Dialect], Steps[T]]) -> T:
        """As in `Writer`; a cancelled transaction may go on in its thread, before any other."""
        await anyio.lowlevel.checkpoint()
        self._unflushed += 1
        if self._connection is not None and self._may_run_here():
            try:
                return self._run_here(self._connection, begin(self.dialect))
            except _Locked:
                pass
        return await self._in_thread(self._run_patiently, begin)

    async def close(self) -> None:
        """As in `Writer`."""
        try:
            await self._in_thread(self._disconnect)
        finally:
            self._thread.shutdown(wait=False)
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="ledger")

    def _may_run_here(self) -> bool:
        is_free = self._sent == self._done and self._unflushed < CHECKPOINT_EVERY
        return is_free and time.monotonic() >= self._here_from

    def _run_here(self, connection: sqlite3.Connection, steps: Steps[T]) -> T:
        began = time.monotonic()
        try:
            return self._transact(connection, steps)
        finally:
            ended = time.monotonic()
            if ended - began > SLOW:
                self._here_from = ended + PAUSE

    async def _in_thread(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        def counted() -> T:
            try:
                return work(*args, **kwargs)
            finally:
                self._done += 1

        self._sent += 1
        return await asyncio.get_running_loop().run_in_executor(self._thread, counted)

    def _run_patiently(self, begin: Callable[[Dialect], Steps[T]]) -> T:
        with _told():
            connection = self._connected()
            connection.execute(f"PRAGMA busy_timeout = {BUSY_MILLISECONDS}")
        try:
            result = self._transact(connection, begin(self.dialect))
            if self._unflushed >= CHECKPOINT_EVERY:
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
                self._unflushed = 0
        except _Locked as problem:
            raise StoreDown("another process is writing") from problem
        finally:
            if self._connection is not None:
                connection.execute("PRAGMA busy_timeout = 0")
        return result

    def _transact(self, connection: sqlite3.Connection, steps: Steps[T]) -> T:
        try:
            with _told():
                connection.execute("BEGIN IMMEDIATE")
                try:
                    result = _drive(connection, steps)
                    connection.execute("COMMIT")
                except BaseException:
                    connection.rollback()
                    raise
        except StoreDown:
            self._disconnect()
            raise
        return result

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            connection = sqlite3.connect(
                f"{Path(self._file).absolute().as_uri()}?mode=rw",
                uri=True,
                isolation_level=None,
                check_same_thread=False,
            )
            for pragma in PRAGMAS:
                connection.execute(pragma)
            connection.execute("PRAGMA wal_autocheckpoint = 0")
            self._connection = connection
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


_TWICE = {sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_UNIQUE}


@contextmanager
def _told() -> Iterator[None]:
    """Tell of SQLite's errors in the ledger's words."""
    try:
        yield
    except _REFUSALS as problem:
        is_twice = getattr(problem, "sqlite_errorcode", None) in _TWICE
        raise (Conflict if is_twice else Refused)(str(problem)) from problem
    except sqlite3.Error as problem:
        is_locked = getattr(problem, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY
        raise (_Locked if is_locked else StoreDown)(str(problem)) from problem


def _drive(connection: sqlite3.Connection, steps: Steps[T]) -> T:
    try:
        step = next(steps)
        while True:
            if isinstance(step, Ask):
                step = steps.send(connection.execute(step.sql, step.params).fetchall())
            else:
                connection.executemany(step.sql, step.rows)
                step = next(steps)
    except StopIteration as end:
        result: T = end.value
        return result
