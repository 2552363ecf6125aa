"""The ledger over a database: groups what wants to be reserved, batches what is to be booked.

One task writes. Whoever reserves waits for the transaction his claim is part of; what is settled
waits in a queue that blocks new requests when it is full, and is written in its order. While the
database is away, claims fail at once and the queue stays. The statements are `reserving`'s and
`booking`'s.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import islice

import anyio

from app.access.ledger import Claim, Reservation, Settlement, reservation_of
from app.access.money import to_usd
from app.errors import BudgetReached, InternalError, MoaError, StoreUnavailable
from app.store.booking import Entry, Void
from app.store.clerk import Clerk
from app.store.database import AWAY, Database
from app.store.leases import Leases, Process
from app.store.reserving import Granted, NoRoom
from app.store.transactions import Conflict, Refused, StoreDown, Writer
from app.store.writers import writer_of

_log = logging.getLogger("moa.store")


@dataclass(frozen=True, slots=True)
class Pace:
    """How the ledger works; times in seconds.

    `spacing` lies between two starts of writing, so that under load several requests share one
    transaction, which costs more than they do; `linger` is how long a settlement waits for others,
    `deadline` how long a transaction may take, `probe` how often a database that is away is asked
    again, `drain` what shutdown waits at most.
    """

    group: int = 64
    batch: int = 64
    spacing: float = 0.001
    linger: float = 0.05
    queue: int = 10_000
    deadline: float = 2.0
    probe: float = 0.5
    drain: float = 10.0


USUAL_PACE = Pace()
_RECOVERY = 60.0
"""Seconds a start may take to book what lost processes left behind."""


@dataclass(slots=True, eq=False)
class _Wish:
    """A claim somebody waits for; `answer` is set before `done`."""

    claim: Claim
    asked: float
    done: anyio.Event = field(default_factory=anyio.Event)
    answer: Granted | MoaError | None = None
    is_abandoned: bool = False


@asynccontextmanager
async def open_ledger(
    database: Database,
    *,
    pace: Pace = USUAL_PACE,
    process: Process | None = None,
    writing: Callable[[Database], Writer] = writer_of,
) -> AsyncIterator[StoredLedger]:
    """A ledger whose tasks live as long as the context; on leaving it, what waits is written.

    First books what this host's lost processes left behind. Raises StoreUnavailable.
    """
    writer, aside = writing(database), writing(database)
    process = process or Process()
    leases = Leases(aside, process)
    ledger = StoredLedger(Clerk(writer, process.id, pace.deadline), pace)
    try:
        await _start(leases, pace.deadline)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ledger.write)
            tasks.start_soon(leases.keep)
            try:
                yield ledger
            finally:
                with anyio.CancelScope(shield=True):
                    await ledger.drain()
                ledger.stop()
                tasks.cancel_scope.cancel()
    finally:
        for last in (partial(_end, leases), writer.close, aside.close):
            with anyio.move_on_after(pace.deadline, shield=True):
                await last()


async def _start(leases: Leases, deadline: float) -> None:
    try:
        with anyio.fail_after(deadline):
            await leases.show()
        with anyio.fail_after(_RECOVERY):
            await leases.watch()
    except (StoreDown, Conflict, Refused, TimeoutError) as problem:
        raise StoreUnavailable(AWAY, detail=str(problem)) from problem


async def _end(leases: Leases) -> None:
    try:
        await leases.leave()
    except (StoreDown, Conflict, Refused):
        _log.warning("could not tell the database that this process has ended")


class StoredLedger:
    """A `Ledger`. All mutable state: the claims waited for, the queue, whether the store is up."""

    def __init__(self, clerk: Clerk, pace: Pace) -> None:
        self._clerk, self._pace = clerk, pace
        self._wishes: deque[_Wish] = deque()
        self._queue: deque[Entry] = deque()
        self._is_waiting = self._is_ripe = False
        self._began = 0.0
        self._wake = anyio.Event()
        self._written = anyio.Event()
        self._is_writing = self._is_draining = self._is_stopped = False
        self._is_up = True

    @property
    def is_up(self) -> bool:
        """Whether the database answered last time."""
        return self._is_up

    @property
    def waiting(self) -> int:
        """How much is still to be written."""
        return len(self._queue)

    async def reserve(self, claim: Claim) -> Reservation:
        """As in `Ledger`; whoever gives up waiting leaves nothing set aside."""
        if not self._is_up:
            raise StoreUnavailable(AWAY)
        wish = _Wish(claim, anyio.current_time())
        self._wishes.append(wish)
        self._wake.set()
        try:
            await wish.done.wait()
        except BaseException:
            self._abandon(wish)
            raise
        return _answer(wish)

    def settle(self, settlement: Settlement) -> None:
        """As in `Ledger`."""
        self._put(settlement)

    @property
    def has_room(self) -> bool:
        """As in `Ledger`."""
        return len(self._queue) < self._pace.queue

    async def room(self) -> None:
        """As in `Ledger`."""
        while not self.has_room:
            await self._written.wait()

    async def drain(self) -> None:
        """As in `Ledger`; after `Pace.drain` the rest is left to be found by the next start."""
        self._is_draining = True
        self._wake.set()
        with anyio.move_on_after(self._pace.drain):
            while self._queue or self._wishes or self._is_writing:
                await self._written.wait()
        self._is_draining = False
        if self._queue:
            _log.error(
                "%d requests were not booked; if reserved, they become estimates", len(self._queue)
            )

    async def write(self) -> None:
        """Write until `stop`; the one task of `open_ledger`, which no other's end may cut off."""
        with anyio.CancelScope(shield=True):
            while not self._is_stopped:
                if self._is_up:
                    await self._work()
                else:
                    await anyio.sleep(self._pace.probe)
                    await self._probe()

    def stop(self) -> None:
        """Have `write` end after what it is writing."""
        self._is_stopped = True
        self._wake.set()

    async def _work(self) -> None:
        await self._until_due()
        self._is_writing = True
        if self._wishes:
            await self._grant()
        if self._is_due():
            await self._book()
        self._is_writing = False
        self._written.set()
        self._written = anyio.Event()

    # -- what is waited for -----------------------------------------------------------------------

    def _put(self, entry: Entry) -> None:
        self._queue.append(entry)
        if not self._is_waiting:
            self._wait_for_more()
        if len(self._queue) == self._pace.batch:
            self._ripen()

    def _wait_for_more(self) -> None:
        self._is_waiting, self._is_ripe = True, False
        asyncio.get_running_loop().call_later(self._pace.linger, self._ripen)

    def _ripen(self) -> None:
        self._is_ripe = True
        self._wake.set()

    def _abandon(self, wish: _Wish) -> None:
        wish.is_abandoned = True
        if wish in self._wishes:
            self._wishes.remove(wish)
        elif isinstance(wish.answer, Reservation):
            self._put(Void(wish.answer))

    def _is_due(self) -> bool:
        return bool(self._queue) and self._is_up and (self._is_ripe or self._is_draining)

    async def _until_due(self) -> None:
        while not (self._wishes or self._is_due() or self._is_stopped):
            self._wake = anyio.Event()
            await self._wake.wait()
        early = self._began + self._pace.spacing - anyio.current_time()
        if early > 0 and not self._is_draining:
            await anyio.sleep(early)
        self._began = anyio.current_time()

    # -- what is written --------------------------------------------------------------------------

    async def _grant(self) -> None:
        group = [self._wishes.popleft() for _ in range(min(len(self._wishes), self._pace.group))]
        until = group[0].asked + self._pace.deadline
        try:
            answers = await self._clerk.grant([wish.claim for wish in group], until)
        except StoreDown as problem:
            self._went_away(problem)
            for wish in group:
                self._put(Void(reservation_of(wish.claim)))
                self._tell(wish, StoreUnavailable(AWAY))
        else:
            for wish, answer in zip(group, answers, strict=True):
                self._tell(wish, answer)

    async def _book(self) -> None:
        entries = list(islice(self._queue, self._pace.batch))
        try:
            await self._clerk.book(entries)
        except StoreDown as problem:
            self._went_away(problem)
            return
        for _ in entries:
            self._queue.popleft()
        self._is_waiting = False
        if self._queue:
            self._wait_for_more()

    async def _probe(self) -> None:
        try:
            await self._clerk.probe()
        except StoreDown:
            return
        self._is_up = True
        _log.warning("the database answers again; %d entries wait", len(self._queue))

    def _went_away(self, problem: StoreDown) -> None:
        self._is_up = False
        _log.error("the database does not answer: %s", problem)
        while self._wishes:
            self._tell(self._wishes.popleft(), StoreUnavailable(AWAY))

    def _tell(self, wish: _Wish, answer: Granted | MoaError) -> None:
        wish.answer = answer
        if wish.is_abandoned and isinstance(answer, Reservation):
            self._put(Void(answer))
        wish.done.set()


def _answer(wish: _Wish) -> Reservation:
    answer = wish.answer
    if isinstance(answer, Reservation):
        return answer
    if isinstance(answer, NoRoom):
        owner = answer.scope.partition(":")[0]
        most = f"{to_usd(wish.claim.amount):f}"
        raise BudgetReached(
            f"The budget of this {owner} has no room for this request, which may cost up to {most} "
            "USD; a smaller max_tokens makes that less."
        )
    raise answer or InternalError(InternalError.TOLD)
