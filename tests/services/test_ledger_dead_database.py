"""The ledger while its real PostgreSQL hangs, dies and comes back: no cent twice, none lost."""

import time
from collections.abc import AsyncIterator, Callable

import anyio
import pytest

from app.access.ledger import Reservation
from app.errors import BudgetReached, StoreUnavailable
from app.store.database import Database, open_database
from app.store.ledger import Pace, StoredLedger, open_ledger
from app.store.migrate import upgrade
from app.store.tables import metadata
from tests.services.servers import PostgresProcess
from tests.store.books import claim, settlement, sums, until_written

pytestmark = pytest.mark.services

DEADLINE = 2.0
PACE = Pace(deadline=DEADLINE, probe=0.1, drain=30)
LIMIT = 10**9


@pytest.fixture
async def database(postgres_server: PostgresProcess) -> AsyncIterator[Database]:
    async with open_database(postgres_server.url) as opened:
        await upgrade(opened)
        async with opened.writing() as connection:
            for name in ("reservations", "requests", "budgets", "spend", "processes"):
                await connection.execute(metadata.tables[name].delete())
        yield opened


class Crowd:
    """Callers that reserve, spend 3 and come again; counts what each was told."""

    def __init__(self, ledger: StoredLedger) -> None:
        self.ledger = ledger
        self.settled, self.refused, self.slowest = 0, 0, 0.0

    async def come_again(self, key: str) -> None:
        while True:
            asked = time.monotonic()
            try:
                reservation = await self.ledger.reserve(claim(10, key=key, limit=LIMIT))
            except StoreUnavailable:
                self.refused += 1
                self.slowest = max(self.slowest, time.monotonic() - asked)
            else:
                self.ledger.settle(settlement(reservation, 3))
                self.settled += 1
            await anyio.sleep(0.005)


def killed(server: PostgresProcess) -> None:
    server.kill()


def stopped(server: PostgresProcess) -> None:
    server.stop()


def paused(server: PostgresProcess) -> None:
    server.pause()


@pytest.mark.parametrize(
    ("end", "begin"),
    [
        (killed, PostgresProcess.start),
        (stopped, PostgresProcess.start),
        (paused, PostgresProcess.resume),
    ],
)
async def test_the_books_are_exact_after_the_database_was_away_under_load(
    postgres_server: PostgresProcess,
    database: Database,
    end: Callable[[PostgresProcess], None],
    begin: Callable[[PostgresProcess], None],
) -> None:
    async with open_ledger(database, pace=PACE) as ledger:
        crowd = Crowd(ledger)
        async with anyio.create_task_group() as tasks:
            for place in range(16):
                tasks.start_soon(crowd.come_again, f"k{place % 4}")
            await until(lambda: crowd.settled > 100)
            await anyio.to_thread.run_sync(end, postgres_server)
            await until(lambda: crowd.refused > 100)
            before = crowd.settled
            await anyio.to_thread.run_sync(begin, postgres_server)
            await until(lambda: crowd.settled > before + 100)
            tasks.cancel_scope.cancel()
        await until_written(ledger)
        found = await sums(database)
    assert crowd.slowest < DEADLINE + 0.5
    assert found.open == 0
    assert sum(found.requests.values()) == 3 * crowd.settled
    assert found.requests == found.spend == found.calls
    assert found.keys == {key: (cost, 0) for key, cost in found.requests.items()}


async def test_two_writers_on_a_crowd_of_keys_and_teams_never_deadlock(
    database: Database,
) -> None:
    granted: list[Reservation] = []

    async def ask(ledger: StoredLedger, place: int) -> None:
        asked = claim(7, key=f"k{place % 11}", limit=200)
        try:
            granted.append(await ledger.reserve(asked))
        except BudgetReached:
            return
        ledger.settle(settlement(granted[-1], 7, model=f"m{place % 5}"))

    async with (
        open_ledger(database, pace=PACE) as one,
        open_ledger(database, pace=PACE) as two,
        anyio.create_task_group() as tasks,
    ):
        for place in range(1200):
            tasks.start_soon(ask, (one, two)[place % 2], place)
    found = await sums(database)
    assert len(granted) == 11 * (200 // 7)
    assert found.keys == {f"k{place}": (196, 0) for place in range(11)}
    async with database.reading() as connection:
        query = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        deadlocks = (await connection.exec_driver_sql(query)).scalar_one()
    assert deadlocks == 0


async def until(is_true: Callable[[], bool]) -> None:
    with anyio.fail_after(30):
        while not is_true():  # noqa: ASYNC110 (counters tell nobody)
            await anyio.sleep(0.01)
