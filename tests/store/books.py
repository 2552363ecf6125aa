"""What tests of the ledger share: claims and settlements, a writer that fails, the sums."""

from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal, TypeVar

import anyio
import orjson
from sqlalchemy import select

from app.access.ledger import Budget, CallLine, Claim, Reservation, Settlement
from app.store import tables
from app.store.database import Database
from app.store.leases import Process
from app.store.ledger import Pace, StoredLedger, open_ledger
from app.store.transactions import Dialect, Steps, StoreDown, Writer
from app.store.writers import writer_of

T = TypeVar("T")

NOON = 1_700_000_000.0
FAST = Pace(spacing=0, linger=0.001, probe=0.001, deadline=5)


class Hand:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def claim(amount: int = 10, *, key: str = "k", limit: int | None = 100, **more: object) -> Claim:
    budget = None if limit is None else Budget(limit, 0)
    usual = {"team_id": None, "model": "graph", "caller": "c", "created": NOON}
    return Claim("req", key, amount=amount, **{**usual, "key_budget": budget, **more})


def settlement(reservation: Reservation, *costs: int | None, model: str = "m") -> Settlement:
    lines = tuple(
        CallLine("graph", f"n{place}", model, "up", "ok", 10, 5, 1, cost)
        for place, cost in enumerate(costs)
    )
    return Settlement(reservation, NOON + 1, "ok", None, lines)


Fault = Literal["before", "after", "bug"]


@dataclass
class FailingWriter:
    """Fails as planned: before a transaction, or after it, so that nobody knows it was done.

    Whoever waits for a transaction hears of it when the gate opens.
    """

    inner: Writer
    plan: deque[Fault | None] = field(default_factory=deque)
    is_dead: bool = False
    gate: anyio.Event | None = None

    @property
    def dialect(self) -> Dialect:
        return self.inner.dialect

    async def run(self, begin: Callable[[Dialect], Steps[T]]) -> T:
        fault = self.plan.popleft() if self.plan else None
        if fault == "before" or self.is_dead:
            raise StoreDown("planned")
        if fault == "bug":
            raise ZeroDivisionError
        result = await self.inner.run(begin)
        if self.gate is not None:
            await self.gate.wait()
        if fault == "after":
            raise StoreDown("planned")
        return result

    async def close(self) -> None:
        await self.inner.close()


@asynccontextmanager
async def failing_ledger(
    database: Database, pace: Pace = FAST, process: Process | None = None
) -> AsyncIterator[tuple[StoredLedger, FailingWriter]]:
    """A ledger, and the writer that its reservations and settlements go through."""
    writers: list[FailingWriter] = []

    def writing(of: Database) -> Writer:
        writers.append(FailingWriter(writer_of(of)))
        return writers[-1]

    async with open_ledger(database, pace=pace, process=process, writing=writing) as ledger:
        yield ledger, writers[0]


async def until_up(ledger: StoredLedger) -> None:
    with anyio.fail_after(5):
        while not ledger.is_up:  # noqa: ASYNC110 (the ledger tells nobody)
            await anyio.sleep(0.001)


async def until_written(ledger: StoredLedger) -> None:
    with anyio.fail_after(5):
        await ledger.drain()
    assert ledger.waiting == 0


@dataclass(frozen=True)
class Sums:
    """What the books say, by key; `teams` of budgets by team."""

    keys: dict[str, tuple[int, int]]
    teams: dict[str, tuple[int, int]]
    requests: dict[str, int]
    spend: dict[str, int]
    calls: dict[str, int]
    open: int


async def sums(database: Database) -> Sums:
    async with database.reading() as connection:
        budgets = (await connection.execute(select(tables.budgets))).mappings().all()
        requests = (await connection.execute(select(tables.requests))).mappings().all()
        spend = (await connection.execute(select(tables.spend))).mappings().all()
        opened = len((await connection.execute(select(tables.reservations))).all())
    used = {row["scope"]: (row["spent"], row["reserved"]) for row in budgets}
    by_key: dict[str, int] = {}
    by_call: dict[str, int] = {}
    for row in requests:
        by_key[row["key_id"]] = by_key.get(row["key_id"], 0) + row["cost"]
        calls = sum(call["cost"] or 0 for call in orjson.loads(row["calls"]))
        cost = row["cost"] if row["outcome"] == "lost" else calls
        by_call[row["key_id"]] = by_call.get(row["key_id"], 0) + cost
    rolled: dict[str, int] = {}
    for row in spend:
        rolled[row["key_id"]] = rolled.get(row["key_id"], 0) + row["cost"]
    return Sums(
        {name[4:]: use for name, use in used.items() if name.startswith("key:")},
        {name[5:]: use for name, use in used.items() if name.startswith("team:")},
        by_key,
        rolled,
        by_call,
        opened,
    )
