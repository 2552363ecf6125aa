"""Which processes are alive, and what is done with reservations of one that is not.

A process shows that it lives by changing its row; another takes it for lost after watching that
row stay the same for `LOST_AFTER`, so neither clocks that differ nor a database that was away make
a living process lost. On one host, a process id that is gone is lost at once.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import anyio

from app.store.booking import RECOVERED_AT_ONCE, recover
from app.store.transactions import Ask, Conflict, Do, Refused, Steps, StoreDown, Writer

SHOWN_EVERY = 5.0
WATCHED_EVERY = 10.0
LOST_AFTER = 20.0

_log = logging.getLogger("moa.store")


def _host() -> str:
    """The name of this host, and of what numbers its processes: two containers may share a name."""
    try:
        numbering = Path("/proc/self/ns/pid").readlink()
    except OSError:
        return socket.gethostname()
    return f"{socket.gethostname()} {numbering}"


_here: set[str] = set()
"""The ids that this very process has: one for each ledger that is open in it."""


@dataclass(frozen=True, slots=True)
class Process:
    """Who reserves; the id is new at every start."""

    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    host: str = field(default_factory=_host)
    pid: int = field(default_factory=os.getpid)

    def knows_gone(self, name: str, host: str, pid: int) -> bool:
        """Whether another process has certainly ended: it was here, and is no more."""
        if host != self.host or sys.platform == "win32":
            return False
        return name not in _here if pid == self.pid else not _runs(pid)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


_SHOW = (
    "INSERT INTO processes (id, host, pid, seen) VALUES (?, ?, ?, ?) "
    "ON CONFLICT (id) DO UPDATE SET seen = excluded.seen"
)
_ALL = (
    "SELECT id, host, pid, seen FROM processes UNION ALL "
    "SELECT DISTINCT process_id, '', 0, 0 FROM reservations "
    "WHERE process_id NOT IN (SELECT id FROM processes)"
)
_FORGET = (
    "DELETE FROM processes WHERE id = ? "
    "AND NOT EXISTS (SELECT 1 FROM reservations WHERE process_id = ?)"
)


class Leases:
    """A process's sign of life, and its watch over the others'; `clock` is never set back."""

    def __init__(
        self, writer: Writer, process: Process, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._writer, self._process, self._clock = writer, process, clock
        self._watched: dict[str, tuple[float, float]] = {}

    async def show(self) -> None:
        """Say that this process lives. Raises StoreDown."""
        me = self._process
        _here.add(me.id)
        row = (me.id, me.host, me.pid, time.time())
        await self._writer.run(lambda _: _told(Do(_SHOW, [row])))

    async def watch(self) -> int:
        """Book what lost processes left behind; says how many requests. Raises StoreDown."""
        rows = await self._writer.run(lambda _: _asked(Ask(_ALL)))
        others = [row for row in rows if row[0] != self._process.id]
        self._watched = {name: self._since(name, seen) for name, _, _, seen in others}
        recovered = 0
        for name, host, pid, _ in others:
            is_old = self._clock() - self._watched[name][1] >= LOST_AFTER
            if is_old or self._process.knows_gone(name, host, pid):
                recovered += await self._recover(name)
        return recovered

    async def leave(self) -> None:
        """Say that this process has ended; one that left reservations stays, to be found lost."""
        _here.discard(self._process.id)
        row = (self._process.id, self._process.id)
        await self._writer.run(lambda _: _told(Do(_FORGET, [row])))

    async def keep(self) -> None:
        """Show and watch for ever."""
        watched = self._clock()
        while True:
            await anyio.sleep(SHOWN_EVERY)
            try:
                with anyio.fail_after(SHOWN_EVERY):
                    await self.show()
                    if self._clock() - watched >= WATCHED_EVERY:
                        watched = self._clock()
                        await self.watch()
            except (StoreDown, Conflict, Refused, TimeoutError) as problem:
                self._watched.clear()
                _log.warning("cannot watch over the other processes: %s", problem)

    def _since(self, name: str, seen: float) -> tuple[float, float]:
        known = self._watched.get(name)
        return known if known is not None and known[0] == seen else (seen, self._clock())

    async def _recover(self, name: str) -> int:
        recovered = 0
        while found := await self._writer.run(partial(recover, name, time.time())):
            recovered += found
            if found < RECOVERED_AT_ONCE:
                break
        await self._writer.run(lambda _: _told(Do(_FORGET, [(name, name)])))
        if recovered:
            _log.warning("booked %d requests of a lost process at what they reserved", recovered)
        return recovered


def _told(step: Do) -> Steps[None]:
    yield step


def _asked(step: Ask) -> Steps[list[tuple[str, str, int, float]]]:
    rows = yield step
    return [(name, host, pid, seen) for name, host, pid, seen in rows]
