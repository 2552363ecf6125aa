"""Runs the ledger's transactions on SQLite: in a thread of its own, one hop for a whole one.

The hop costs more than the transaction, and a driver that hops for every statement several times
as much.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from app.store.database import PRAGMAS
from app.store.transactions import (
    SQLITE_WORDS,
    Ask,
    Conflict,
    Dialect,
    Refused,
    Steps,
    StoreDown,
)

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


class SqliteWriter:
    """One thread, one connection; everything mutable is touched in the thread alone."""

    dialect = SQLITE_WORDS

    def __init__(self, file: str) -> None:
        self._file = file
        self._connection: sqlite3.Connection | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ledger")

    async def run(self, begin: Callable[[Dialect], Steps[T]]) -> T:
        """As in `Writer`; a cancelled transaction goes on in its thread, before any other."""
        return await self._in_thread(lambda: self._transact(begin(self.dialect)))

    async def close(self) -> None:
        """As in `Writer`."""
        try:
            await self._in_thread(self._disconnect)
        finally:
            self._thread.shutdown(wait=False)
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="ledger")

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _transact(self, steps: Steps[T]) -> T:
        try:
            connection = self._connected()
            connection.execute("BEGIN IMMEDIATE")
            try:
                result = _drive(connection, steps)
                connection.execute("COMMIT")
            except BaseException:
                connection.rollback()
                raise
        except _REFUSALS as problem:
            kind = Conflict if _is_duplicate(problem) else Refused
            raise kind(str(problem)) from problem
        except sqlite3.Error as problem:
            self._disconnect()
            raise StoreDown(str(problem)) from problem
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
            self._connection = connection
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _is_duplicate(problem: Exception) -> bool:
    code = getattr(problem, "sqlite_errorcode", None)
    return code in {sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_UNIQUE}


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
