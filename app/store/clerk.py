"""Gets the ledger's transactions done: in time, again after a conflict, around what is refused.

What is to be written, and when, is the ledger's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import anyio

from app.access.ledger import Claim
from app.errors import InternalError
from app.store.booking import Entry, book
from app.store.reserving import Granted, NewWindows, begin_windows, reserve
from app.store.transactions import Ask, Conflict, Dialect, Refused, Steps, StoreDown, Writer

T = TypeVar("T")

TRIES = 5
LEAST_TIME = 1.0
"""Seconds a transaction gets however long its claims waited: that may be a busy loop's doing."""

_log = logging.getLogger("moa.store")


class Clerk:
    """Writes for one process; `deadline` is seconds for one piece of work."""

    def __init__(self, writer: Writer, process_id: str, deadline: float) -> None:
        self._writer, self._process_id, self._deadline = writer, process_id, deadline

    async def grant(self, claims: Sequence[Claim], until: float) -> list[Granted | InternalError]:
        """An answer for each claim, in a transaction or a few; `until` is a moment of anyio's.

        Raises StoreDown: which of them were set aside is unknown then.
        """
        try:
            with anyio.fail_after(max(LEAST_TIME, until - anyio.current_time())):
                return list(await self._reserve(claims))
        except TimeoutError as problem:
            raise StoreDown("no answer in time") from problem
        except (Conflict, Refused) as problem:
            if len(claims) == 1:
                _log.error("the database refuses a reservation: %s", problem)
                return [InternalError(InternalError.TOLD, detail=str(problem))]
        half = len(claims) // 2
        return [*await self.grant(claims[:half], until), *await self.grant(claims[half:], until)]

    async def book(self, entries: Sequence[Entry]) -> None:
        """Book them all; one that is refused is logged, and stays reserved until we end.

        Raises StoreDown: all may be said again.
        """
        try:
            return await self._in_time(partial(book, entries))
        except (Conflict, Refused) as problem:
            if len(entries) == 1:
                _log.error("the database refuses to book %r: %s", entries[0], problem)
                return None
        half = len(entries) // 2
        await self.book(entries[:half])
        return await self.book(entries[half:])

    async def probe(self) -> None:
        """Ask whether the database is there. Raises StoreDown."""
        await self._in_time(lambda _: _nothing())

    async def _reserve(self, claims: Sequence[Claim]) -> Sequence[Granted]:
        while True:
            granted = await self._run(partial(reserve, claims, self._process_id))
            if not isinstance(granted, NewWindows):
                return granted
            await self._run(partial(begin_windows, granted.windows))

    async def _in_time(self, begin: Callable[[Dialect], Steps[T]]) -> T:
        try:
            with anyio.fail_after(self._deadline):
                return await self._run(begin)
        except TimeoutError as problem:
            raise StoreDown("no answer in time") from problem

    async def _run(self, begin: Callable[[Dialect], Steps[T]]) -> T:
        for _ in range(TRIES - 1):
            try:
                return await self._once(begin)
            except Conflict:
                continue
        return await self._once(begin)

    async def _once(self, begin: Callable[[Dialect], Steps[T]]) -> T:
        try:
            return await self._writer.run(begin)
        except (StoreDown, Conflict, Refused):
            raise
        except Exception as bug:
            _log.exception("a transaction of the ledger failed")
            raise Refused(repr(bug)) from bug


def _nothing() -> Steps[None]:
    yield Ask("SELECT 1")
