"""The books under any sequence of reservations, settlements, faults and crashes.

A model counts beside the ledger: what was granted, what it came to. After each step the books, read
by SQL, must say the same: requests, sums, budgets, and no budget above its limit by more than what
requests cost beyond their reservations.
"""

from contextlib import ExitStack
from functools import partial
from typing import Any

import anyio
import pytest
from anyio.from_thread import start_blocking_portal
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from app.access.ledger import LOST, Budget, Claim, Reservation, Settlement
from app.errors import BudgetReached, StoreUnavailable
from app.store import tables
from app.store.database import Database, open_database
from app.store.leases import LOST_AFTER, Leases, Process
from app.store.ledger import StoredLedger
from app.store.migrate import upgrade
from app.store.reserving import NewWindows, begin_windows, reserve
from app.store.writers import writer_of
from tests.store.books import Hand, claim, failing_ledger, settlement, sums, until_up, until_written

KEY_LIMIT, TEAM_LIMIT = 100, 150
TEAM = {"a": "t", "b": "t", "c": None}
KEYS = st.sampled_from(sorted(TEAM))
AMOUNTS = st.integers(0, 45)
FAULTS = st.sampled_from(["before", "after"])
COSTS = st.lists(st.integers(0, 30), max_size=3)


def wanted(key: str, amount: int) -> Claim:
    return claim(
        amount,
        key=key,
        limit=KEY_LIMIT,
        team_id=TEAM[key],
        team_budget=Budget(TEAM_LIMIT, 0) if TEAM[key] else None,
    )


class Books(RuleBasedStateMachine):
    """`open` is what was granted and has not ended, `booked` what each request came to."""

    address = ""

    def __init__(self) -> None:
        super().__init__()
        self.open: dict[str, Reservation] = {}
        self.abandoned: list[tuple[Process, Reservation]] = []
        self.lost: list[Reservation] = []
        self.ended: list[Settlement] = []
        self.booked: dict[str, tuple[str, int]] = {}
        self.overrun = 0

    @initialize()
    def begin(self) -> None:
        self.stack = ExitStack()
        self.portal = self.stack.enter_context(start_blocking_portal())
        opened = self.portal.wrap_async_context_manager(open_database(self.address))
        self.database: Database = self.stack.enter_context(opened)
        self.portal.call(emptied, self.database)
        self.process = Process()
        ledger = self.portal.wrap_async_context_manager(
            failing_ledger(self.database, process=self.process)
        )
        self.ledger: StoredLedger
        self.ledger, self.writer = self.stack.enter_context(ledger)

    def teardown(self) -> None:
        if hasattr(self, "stack"):
            self.stack.close()

    # -- what happens -----------------------------------------------------------------------------

    @rule(key=KEYS, amount=AMOUNTS)
    def reserves(self, key: str, amount: int) -> None:
        asked = wanted(key, amount)
        fits = self.fits(asked)
        try:
            granted = self.portal.call(self.ledger.reserve, asked)
        except BudgetReached:
            assert not fits
        else:
            assert fits
            self.open[granted.booking_id] = granted

    @rule(asked=st.lists(st.tuples(KEYS, AMOUNTS), min_size=2, max_size=6))
    def reserves_at_once(self, asked: list[tuple[str, int]]) -> None:
        claims = [wanted(key, amount) for key, amount in asked]
        for one in self.portal.call(partial(reserved_at_once, self.ledger, claims)):
            assert self.fits(one)
            self.open[one.booking_id] = one
        refused = [one for one in claims if one.booking_id not in self.open]
        assert not any(self.fits(one) for one in refused)

    @rule(key=KEYS, amount=AMOUNTS, fault=FAULTS)
    def reserves_while_the_database_fails(self, key: str, amount: int, fault: Any) -> None:
        self.writer.plan.append(fault)
        with pytest.raises(StoreUnavailable):
            self.portal.call(self.ledger.reserve, wanted(key, amount))
        self.portal.call(until_up, self.ledger)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), costs=COSTS)
    def ends(self, data: st.DataObject, costs: list[int]) -> None:
        name = list(self.open)[data.draw(st.integers(0, len(self.open) - 1))]
        self.settle(settlement(self.open.pop(name), *costs))

    @precondition(lambda self: self.open)
    @rule(costs=COSTS, faults=st.lists(st.one_of(st.none(), FAULTS), min_size=1, max_size=4))
    def all_end_while_the_database_fails(self, costs: list[int], faults: list[Any]) -> None:
        self.portal.call(until_written, self.ledger)
        self.writer.plan.extend(faults)
        for name in list(self.open):
            self.settle(settlement(self.open.pop(name), *costs))
        self.portal.call(until_written, self.ledger)
        self.writer.plan.clear()
        self.portal.call(until_up, self.ledger)

    @precondition(lambda self: self.ended)
    @rule(data=st.data())
    def says_an_end_again(self, data: st.DataObject) -> None:
        again = self.ended[data.draw(st.integers(0, len(self.ended) - 1))]
        self.portal.call(self.ledger.settle, again)

    @rule(key=KEYS, amount=AMOUNTS)
    def reserves_in_a_process_that_is_killed(self, key: str, amount: int) -> None:
        asked, process = wanted(key, amount), Process(host="elsewhere")
        fits = self.fits(asked)
        granted = self.portal.call(reserved_elsewhere, self.database, asked, process)
        assert (granted is not None) == fits
        if granted is not None:
            self.abandoned.append((process, granted))

    @precondition(lambda self: self.abandoned)
    @rule()
    def lost_processes_are_noticed(self) -> None:
        living = {one.booking_id for one in self.open.values()}
        self.portal.call(noticed, self.database, self.process)
        for _, reservation in self.abandoned:
            self.book(Settlement(reservation, 0, LOST))
            self.lost.append(reservation)
        assert living == set(self.open)
        self.abandoned.clear()

    @precondition(lambda self: self.lost)
    @rule(data=st.data(), costs=COSTS)
    def a_process_that_seemed_lost_tells_what_it_spent(
        self, data: st.DataObject, costs: list[int]
    ) -> None:
        reservation = self.lost.pop(data.draw(st.integers(0, len(self.lost) - 1)))
        self.settle(settlement(reservation, *costs))

    # -- what must be true ------------------------------------------------------------------------

    @invariant()
    def the_books_balance(self) -> None:
        if not hasattr(self, "ledger"):
            return
        self.portal.call(until_written, self.ledger)
        found = self.portal.call(sums, self.database)
        spent = {key: cost for key, (cost, _) in found.keys.items()}
        for key in TEAM:
            assert spent.get(key, 0) == self.spent(key)
            assert found.keys.get(key, (0, 0))[1] == self.reserved(key)
            assert sum(found.keys.get(key, (0, 0))) <= KEY_LIMIT + self.overrun
            sum_of_key = found.requests.get(key, 0)
            assert sum_of_key == found.spend.get(key, 0) == found.calls.get(key, 0)
            assert sum_of_key == self.spent(key)
        members = [found.keys.get(key, (0, 0)) for key in TEAM if TEAM[key]]
        of_team = tuple(map(sum, zip(*members, strict=True)))
        assert found.teams.get("t", (0, 0)) == of_team
        assert sum(of_team) <= TEAM_LIMIT + self.overrun
        assert found.open == len(self.open) + len(self.abandoned)

    def settle(self, done: Settlement) -> None:
        self.portal.call(self.ledger.settle, done)
        self.ended.append(done)
        self.book(done)

    def book(self, done: Settlement) -> None:
        self.booked[done.reservation.booking_id] = (done.reservation.key_id, done.cost)
        self.overrun += max(0, done.cost - done.reservation.amount)

    def spent(self, key: str) -> int:
        return sum(cost for owner, cost in self.booked.values() if owner == key)

    def reserved(self, key: str) -> int:
        under_way = [*self.open.values(), *(one for _, one in self.abandoned)]
        return sum(one.amount for one in under_way if one.key_id == key)

    def used(self, keys: list[str]) -> int:
        return sum(self.spent(key) + self.reserved(key) for key in keys)

    def fits(self, asked: Any) -> bool:
        own = self.used([asked.key_id]) + asked.amount <= KEY_LIMIT
        mates = [key for key in TEAM if TEAM[key] == asked.team_id]
        return own and (asked.team_id is None or self.used(mates) + asked.amount <= TEAM_LIMIT)


async def reserved_at_once(ledger: StoredLedger, claims: list[Claim]) -> list[Reservation]:
    granted: list[Reservation] = []

    async def ask(one: Claim) -> None:
        try:
            granted.append(await ledger.reserve(one))
        except BudgetReached:
            return

    await until_written(ledger)
    async with anyio.create_task_group() as tasks:
        for one in claims:
            tasks.start_soon(ask, one)
    ids = [one.booking_id for one in claims]
    return sorted(granted, key=lambda one: ids.index(one.booking_id))


async def reserved_elsewhere(
    database: Database, asked: Claim, process: Process
) -> Reservation | None:
    writer = writer_of(database)
    try:
        await Leases(writer, process).show()
        one = partial(reserve, [asked], process.id)
        granted = await writer.run(one)
        if isinstance(granted, NewWindows):
            await writer.run(partial(begin_windows, granted.windows))
            granted = await writer.run(one)
    finally:
        await writer.close()
    assert isinstance(granted, list)
    return granted[0] if isinstance(granted[0], Reservation) else None


async def noticed(database: Database, ours: Process) -> None:
    """Look at all processes, and again after a while in which only ours has shown itself."""
    writer, clock = writer_of(database), Hand()
    watching = Leases(writer, Process(), clock)
    try:
        await watching.watch()
        await Leases(writer, ours).show()
        clock.now = LOST_AFTER
        await watching.watch()
    finally:
        await writer.close()


async def emptied(database: Database) -> None:
    await upgrade(database)
    async with database.writing() as connection:
        for table in (tables.processes, tables.budgets, tables.reservations):
            await connection.execute(table.delete())
        for table in (tables.requests, tables.spend):
            await connection.execute(table.delete())


async def test_the_books_balance_whatever_happens(address: str) -> None:
    class OnThisDatabase(Books):
        pass

    OnThisDatabase.address = address
    usual = settings(max_examples=40, stateful_step_count=25, deadline=None)
    await anyio.to_thread.run_sync(
        partial(run_state_machine_as_test, OnThisDatabase, settings=usual)
    )
