"""Processes that end before their requests do."""

import os
import subprocess
import sys
from functools import partial

import pytest

from app.access.ledger import Reservation
from app.store.booking import RECOVERED_AT_ONCE
from app.store.database import Database
from app.store.leases import LOST_AFTER, Leases, Process
from app.store.ledger import open_ledger
from app.store.reserving import begin_windows, reserve
from app.store.writers import writer_of
from tests.store.books import FAST, Hand, claim, settlement, sums, until_written


def ended_pid() -> int:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


async def left_behind(database: Database, process: Process, amount: int = 30) -> Reservation:
    """What a process leaves that was killed while a request was under way."""
    writer = writer_of(database)
    await Leases(writer, process).show()
    await writer.run(partial(begin_windows, [("key:k", 0)]))
    granted = await writer.run(lambda words: reserve([claim(amount)], process.id, words))
    await writer.close()
    assert isinstance(granted, list)
    assert isinstance(granted[0], Reservation)
    return granted[0]


async def test_a_start_books_what_a_killed_process_of_this_host_had_reserved(
    database: Database,
) -> None:
    await left_behind(database, Process(pid=ended_pid()))
    async with open_ledger(database, pace=FAST):
        found = await sums(database)
        assert (found.keys["k"], found.requests, found.spend) == ((30, 0), {"k": 30}, {"k": 30})


async def test_a_process_id_that_was_given_again_to_us_is_of_an_ended_process(
    database: Database,
) -> None:
    ended = Process(pid=os.getpid())
    await left_behind(database, ended)
    writer = writer_of(database)
    await Leases(writer, ended).leave()
    await writer.close()
    async with open_ledger(database, pace=FAST):
        assert (await sums(database)).keys["k"] == (30, 0)


async def test_two_ledgers_in_one_process_leave_each_other_alone(database: Database) -> None:
    async with open_ledger(database, pace=FAST) as one:
        reservation = await one.reserve(claim(30))
        async with open_ledger(database, pace=FAST):
            assert (await sums(database)).keys["k"] == (0, 30)
        one.settle(settlement(reservation, 4))
    assert (await sums(database)).keys["k"] == (4, 0)


@pytest.mark.parametrize("host", ["elsewhere", None])
async def test_a_silent_process_is_lost_after_a_while_and_one_that_shows_itself_is_not(
    database: Database, host: str | None
) -> None:
    silent = Process(pid=os.getppid()) if host is None else Process(host=host)
    lively = Process(host="elsewhere", pid=1)
    await left_behind(database, silent)
    await left_behind(database, lively, 5)
    clock, writer = Hand(), writer_of(database)
    watching = Leases(writer, Process(), clock)
    assert await watching.watch() == 0
    clock.now = LOST_AFTER - 1
    assert await watching.watch() == 0
    await Leases(writer, lively).show()
    clock.now = LOST_AFTER
    assert await watching.watch() == 1
    assert await watching.watch() == 0
    await writer.close()
    assert (await sums(database)).keys["k"] == (30, 5)


async def test_a_reservation_whose_process_has_no_row_any_more_is_found_too(
    database: Database,
) -> None:
    forgotten = Process(host="elsewhere")
    await left_behind(database, forgotten)
    clock, writer = Hand(), writer_of(database)
    watching = Leases(writer, Process(), clock)
    await watching.watch()
    clock.now = LOST_AFTER
    assert await watching.watch() == 1
    await writer.close()


async def test_what_a_lost_process_books_after_all_takes_the_place_of_the_estimate(
    database: Database,
) -> None:
    reservation = await left_behind(database, Process(pid=ended_pid()))
    async with open_ledger(database, pace=FAST) as ledger:
        assert (await sums(database)).spend == {"k": 30}
        ledger.settle(settlement(reservation, 7, 4))
        await until_written(ledger)
        ledger.settle(settlement(reservation, 7, 4))
        await until_written(ledger)
        found = await sums(database)
    assert found.keys["k"] == (11, 0)
    assert found.requests == found.spend == found.calls == {"k": 11}


async def test_everything_is_recovered_however_much_it_is(database: Database) -> None:
    process = Process(pid=ended_pid())
    await left_behind(database, process, 0)
    writer = writer_of(database)
    many = [claim(1, limit=None) for _ in range(RECOVERED_AT_ONCE + 1)]
    await writer.run(lambda words: reserve(many, process.id, words))
    await writer.close()
    async with open_ledger(database, pace=FAST):
        found = await sums(database)
        assert (found.requests, found.open) == ({"k": RECOVERED_AT_ONCE + 1}, 0)
