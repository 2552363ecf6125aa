"""Runs the ledger's transactions on PostgreSQL, over a connection of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from itertools import count
from typing import Any, TypeVar

import anyio
import asyncpg

from app.store.transactions import (
    POSTGRES_WORDS,
    Ask,
    Conflict,
    Dialect,
    Refused,
    Steps,
    StoreDown,
)

T = TypeVar("T")

_SETTINGS = {"application_name": "moa", "idle_in_transaction_session_timeout": "5000"}
"""A transaction whose process is gone lets go of its locks after five seconds."""

_SQLALCHEMYS = {"prepared_statement_cache_size", "prepared_statement_name_func"}
"""Options of an address that are no business of the driver's."""

_BROKEN = (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
"""The connection is of no use any more, or there is none."""

_AGAIN = ("40", "23505")
"""SQLSTATE: rolled back by the server (deadlock, serialisation), and a row that is there twice."""


class PostgresWriter:
    """One connection, broken off wherever there is doubt about it."""

    dialect = POSTGRES_WORDS

    def __init__(self, options: Mapping[str, Any]) -> None:
        given = {name: value for name, value in options.items() if name not in _SQLALCHEMYS}
        self._options = {**given, "server_settings": _SETTINGS}
        self._connection: Any = None  # asyncpg ships no types

    async def run(self, begin: Callable[[Dialect], Steps[T]]) -> T:
        """As in `Writer`."""
        try:
            return await self._transact(begin(self.dialect))
        except asyncpg.PostgresError as problem:
            raise _kind_of(problem)(str(problem)) from problem
        except _BROKEN as problem:
            kind = Refused if isinstance(problem, ValueError) else StoreDown
            raise kind(str(problem)) from problem
        except (ValueError, TypeError, OverflowError) as problem:
            raise Refused(str(problem)) from problem

    async def close(self) -> None:
        """As in `Writer`."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            with anyio.move_on_after(1):
                await connection.close()
        finally:
            connection.terminate()

    async def _transact(self, steps: Steps[T]) -> T:
        try:
            if self._connection is None or self._connection.is_closed():
                self._connection = await asyncpg.connect(**self._options)
            async with self._connection.transaction():
                return await self._drive(steps)
        except BaseException as problem:
            if not isinstance(problem, asyncpg.PostgresError) or _kind_of(problem) is StoreDown:
                self._break_off()
            raise

    def _break_off(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def _drive(self, steps: Steps[T]) -> T:
        try:
            step = next(steps)
            while True:
                if isinstance(step, Ask):
                    rows = await self._connection.fetch(_numbered(step.sql), *step.params)
                    step = steps.send(rows)
                else:
                    await self._connection.executemany(_numbered(step.sql), step.rows)
                    step = next(steps)
        except StopIteration as end:
            result: T = end.value
            return result


def _kind_of(problem: asyncpg.PostgresError) -> type[Exception]:
    state = str(getattr(problem, "sqlstate", "") or "")
    if state.startswith(_AGAIN):
        return Conflict
    return Refused if state.startswith(("22", "23")) else StoreDown


@lru_cache(maxsize=64)
def _numbered(sql: str) -> str:
    """The statement with PostgreSQL's `$1` for each `?`."""
    numbers = count(1)
    return "".join(f"${next(numbers)}" if char == "?" else char for char in sql)
