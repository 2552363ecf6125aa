"""What only SQLite does: one file, one writer at a time, threads that cannot be cancelled."""

import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from app.errors import StoreUnavailable
from app.store.database import open_database
from app.store.ledger import Pace, open_ledger
from app.store.migrate import upgrade
from app.store.sqlite_writer import CHECKPOINT_EVERY, SLOW, SqliteWriter
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


@pytest.fixture
async def writer(tmp_path: Path) -> AsyncIterator[SqliteWriter]:
    async with open_database(f"sqlite:///{tmp_path / 'moa.db'}") as database:
        await upgrade(database)
    made = SqliteWriter(str(tmp_path / "moa.db"))
    await made.run(lambda _: one_question())
    yield made
    await made.close()


def who_runs(pause: float = 0) -> Callable[[Dialect], Steps[int]]:
    def steps(_words: Dialect) -> Steps[int]:
        yield Do("UPDATE revision SET number = number + ?", [(1,)])
        time.sleep(pause)
        return threading.get_ident()

    return steps


async def test_short_transactions_run_here_and_after_a_long_one_they_do_not(
    writer: SqliteWriter,
) -> None:
    here = threading.get_ident()
    assert await writer.run(who_runs()) == here
    assert await writer.run(who_runs(SLOW * 1.5)) == here
    assert await writer.run(who_runs()) != here


async def test_the_log_is_flushed_by_the_thread_now_and_then(
    tmp_path: Path, writer: SqliteWriter
) -> None:
    elsewhere = [await writer.run(who_runs()) for _ in range(2 * CHECKPOINT_EVERY)]
    assert len(elsewhere) - elsewhere.count(threading.get_ident()) == 2
    copy = tmp_path / "copy.db"
    copy.write_bytes((tmp_path / "moa.db").read_bytes())  # without its log
    with closing(sqlite3.connect(copy)) as connection:
        (flushed,) = connection.execute("SELECT number FROM revision").fetchone()
    assert flushed >= CHECKPOINT_EVERY


async def test_the_loop_runs_on_while_another_process_writes(
    tmp_path: Path, writer: SqliteWriter
) -> None:
    with closing(sqlite3.connect(tmp_path / "moa.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(writer.run, who_runs())
            for _ in range(20):
                await anyio.sleep(0.001)
            other.execute("ROLLBACK")  # never reached if the loop waited for it
    assert await writer.run(counted) == 1


async def test_transactions_that_are_asked_for_at_once_are_all_done(writer: SqliteWriter) -> None:
    async with anyio.create_task_group() as tasks:
        for pause in (0.0, SLOW * 1.5, 0.0, 0.0, 0.01) * 4:
            tasks.start_soon(writer.run, who_runs(pause))
    assert await writer.run(counted) == 20


def counted(_words: Dialect) -> Steps[int]:
    rows = yield Ask("SELECT number FROM revision")
    return int(rows[0][0])


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
