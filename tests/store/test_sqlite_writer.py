"""What only SQLite does: one file, one writer at a time, threads that cannot be cancelled."""

import sqlite3
import time
from pathlib import Path

import anyio
import pytest

from app.errors import StoreUnavailable
from app.store.database import open_database
from app.store.ledger import Pace, open_ledger
from app.store.migrate import upgrade
from app.store.sqlite_writer import SqliteWriter
from app.store.transactions import Ask, Dialect, Do, Refused, Steps, StoreDown
from tests.store.books import claim, settlement, sums, until_up, until_written


async def test_while_another_process_writes_on_and_on_the_database_is_away(
    tmp_path: Path,
) -> None:
    file = tmp_path / "moa.db"
    pace = Pace(deadline=0.3, probe=0.02)
    async with open_database(f"sqlite:///{file}") as database:
        await upgrade(database)
        async with open_ledger(database, pace=pace) as ledger:
            reservation = await ledger.reserve(claim(10))
            other = sqlite3.connect(file, isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            asked = time.monotonic()
            with pytest.raises(StoreUnavailable):
                await ledger.reserve(claim(10))
            waited = time.monotonic() - asked
            ledger.settle(settlement(reservation, 3))
            with pytest.raises(StoreUnavailable):
                await ledger.reserve(claim(10))
            other.execute("ROLLBACK")
            other.close()
            await until_up(ledger)
            await until_written(ledger)
            found = await sums(database)
    assert waited < 2
    assert (found.keys, found.open) == ({"k": (3, 0)}, 0)


async def test_a_cancelled_transaction_is_over_before_the_next_one_begins(tmp_path: Path) -> None:
    async with open_database(f"sqlite:///{tmp_path / 'moa.db'}") as database:
        await upgrade(database)
    writer = SqliteWriter(str(tmp_path / "moa.db"))

    def slow(_words: Dialect) -> Steps[None]:
        yield Do("UPDATE revision SET number = ?", [(1,)])
        time.sleep(0.05)
        yield Do("UPDATE revision SET number = number + ?", [(1,)])

    def read(_words: Dialect) -> Steps[int]:
        rows = yield Ask("SELECT number FROM revision")
        return int(rows[0][0])

    with anyio.move_on_after(0.01):
        await writer.run(slow)
    assert await writer.run(read) == 2
    await writer.close()


async def test_a_file_that_is_gone_is_not_made_again(tmp_path: Path) -> None:
    writer = SqliteWriter(str(tmp_path / "none.db"))
    with pytest.raises(StoreDown):
        await writer.run(lambda _: one_question())
    await writer.close()
    assert not (tmp_path / "none.db").exists()


async def test_a_file_may_have_any_name(tmp_path: Path) -> None:
    file = tmp_path / "50% #1?" / "moa.db"
    file.parent.mkdir()
    sqlite3.connect(file).close()
    writer = SqliteWriter(str(file))
    await writer.run(lambda _: one_question())
    await writer.close()


@pytest.mark.parametrize("value", [object(), 2**70])
async def test_what_no_database_takes_is_refused_and_leaves_nothing(
    tmp_path: Path, value: object
) -> None:
    async with open_database(f"sqlite:///{tmp_path / 'moa.db'}") as database:
        await upgrade(database)
        writer = SqliteWriter(str(tmp_path / "moa.db"))

        def some(_words: Dialect) -> Steps[None]:
            yield Do("UPDATE revision SET number = ?", [(9,)])
            yield Do("UPDATE revision SET number = ?", [(value,)])

        with pytest.raises(Refused):
            await writer.run(some)
        await writer.close()
        async with database.reading() as connection:
            result = await connection.exec_driver_sql("SELECT number FROM revision")
            assert result.scalar_one() == 0


def one_question() -> Steps[None]:
    yield Ask("SELECT 1")
