"""What only PostgreSQL does: a transaction that is still on its way when it is said again."""

from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from functools import partial
from typing import Any

import anyio
import pytest

from app.access.ledger import Reservation
from app.store.booking import Void, book, recover
from app.store.clerk import Clerk
from app.store.database import Database
from app.store.postgres_writer import PostgresWriter
from app.store.reserving import begin_windows, reserve
from app.store.transactions import Ask, Conflict, Dialect, Do, Refused, Steps, StoreDown
from app.store.writers import writer_of
from tests.store.books import claim, settlement, sums

pytestmark = [
    pytest.mark.services,
    pytest.mark.parametrize("address", ["postgres"], indirect=True),
]


class Slow(PostgresWriter):
    """Has done all but the commit when `reached` is set, and commits at `go_on`."""

    def hold(self) -> None:
        self.reached, self.go_on = anyio.Event(), anyio.Event()

    async def _drive(self, steps: Steps[Any]) -> Any:
        result = await super()._drive(steps)
        self.reached.set()
        await self.go_on.wait()
        return result


@pytest.fixture
async def writer(database: Database) -> AsyncIterator[PostgresWriter]:
    made = writer_of(database)
    assert isinstance(made, PostgresWriter)
    await made.run(partial(begin_windows, [("key:k", 0)]))
    yield made
    await made.close()


@pytest.fixture
async def slow(database: Database) -> AsyncIterator[Slow]:
    _, options = database.engine.dialect.create_connect_args(database.url)
    made = Slow(options)
    made.hold()
    yield made
    await made.close()


def reserving(amount: int) -> tuple[Reservation, Callable[[Dialect], Steps[Any]]]:
    asked = claim(amount)
    made = Reservation(
        "req", "k", None, "graph", "c", asked.created, amount, 0, None, asked.booking_id
    )
    return made, partial(reserve, [asked], "process")


async def test_a_void_waits_for_its_reservation_that_is_still_on_its_way(
    database: Database, writer: PostgresWriter, slow: Slow
) -> None:
    reservation, begin = reserving(10)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(slow.run, begin)
        await slow.reached.wait()
        tasks.start_soon(writer.run, partial(book, [Void(reservation)]))
        await until_somebody_waits(database)
        slow.go_on.set()
    found = await sums(database)
    assert (found.keys, found.open) == ({"k": (0, 0)}, 0)


@pytest.mark.parametrize("is_reserved", [True, False])
async def test_a_settlement_that_is_still_on_its_way_is_not_booked_again(
    database: Database, writer: PostgresWriter, slow: Slow, *, is_reserved: bool
) -> None:
    reservation, begin = reserving(10)
    if is_reserved:
        await writer.run(begin)
    again = partial(book, [settlement(reservation, 4)])
    clerk = Clerk(writer, "process", 5)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(slow.run, again)
        await slow.reached.wait()
        tasks.start_soon(clerk.book, [settlement(reservation, 4)])
        await until_somebody_waits(database)
        slow.go_on.set()
    found = await sums(database)
    assert (found.keys, found.spend, found.open) == ({"k": (4, 0)}, {"k": 4}, 0)


async def test_a_correction_that_is_still_on_its_way_is_not_made_again(
    database: Database, writer: PostgresWriter, slow: Slow
) -> None:
    reservation, begin = reserving(10)
    await writer.run(begin)
    assert await writer.run(partial(recover, "process", 1.0)) == 1
    told = [settlement(reservation, 4)]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(slow.run, partial(book, told))
        await slow.reached.wait()
        tasks.start_soon(writer.run, partial(book, told))
        await until_somebody_waits(database)
        slow.go_on.set()
    found = await sums(database)
    assert (found.keys, found.spend, found.requests) == ({"k": (4, 0)}, {"k": 4}, {"k": 4})


async def test_of_two_that_recover_one_process_each_request_is_booked_by_one(
    database: Database, writer: PostgresWriter, slow: Slow
) -> None:
    await writer.run(reserving(10)[1])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(slow.run, partial(recover, "process", 1.0))
        await slow.reached.wait()
        assert await writer.run(partial(recover, "process", 1.0)) == 0
        slow.go_on.set()
    assert (await sums(database)).keys == {"k": (10, 0)}


async def test_a_connection_that_was_cut_is_made_anew(
    database: Database, writer: PostgresWriter
) -> None:
    pid = await writer.run(lambda _: answer("SELECT pg_backend_pid()"))
    async with database.reading() as connection:
        await connection.exec_driver_sql(f"SELECT pg_terminate_backend({pid})")
    with suppress(StoreDown):  # or it is known by now that the connection is closed
        await writer.run(lambda _: answer("SELECT 1"))
    assert await writer.run(lambda _: answer("SELECT 1")) == 1


async def test_a_cancelled_transaction_leaves_nothing(database: Database, slow: Slow) -> None:
    with anyio.move_on_after(0.3):
        await slow.run(lambda _: told(Do("UPDATE revision SET number = $1", [(7,)])))
    async with database.reading() as connection:
        found = await connection.exec_driver_sql("SELECT number FROM revision")
        assert found.scalar_one() == 0


@pytest.mark.parametrize("value", ["\0", object()])
async def test_what_no_database_takes_is_refused(writer: PostgresWriter, value: object) -> None:
    made = Do("INSERT INTO processes (id, host, pid, seen) VALUES (?, ?, 1, 1)", [("a", value)])
    with pytest.raises(Refused):
        await writer.run(lambda _: told(made))


async def test_a_row_that_is_there_already_is_a_conflict(writer: PostgresWriter) -> None:
    made = Do("INSERT INTO revision (id, number) VALUES (?, ?)", [(1, 1)])
    with pytest.raises(Conflict):
        await writer.run(lambda _: told(made))


async def until_somebody_waits(database: Database) -> None:
    query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    with anyio.fail_after(5):
        while True:
            async with database.reading() as connection:
                if (await connection.exec_driver_sql(query)).scalar_one():
                    return


def told(step: Do) -> Steps[None]:
    yield step


def answer(query: str) -> Steps[Any]:
    rows = yield Ask(query)
    return rows[0][0]
