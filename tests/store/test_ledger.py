"""The ledger over a database, on SQLite and on PostgreSQL."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import anyio
import pytest
from anyio.abc import TaskStatus
from sqlalchemy import select

from app.access.ledger import Budget, Claim, Reservation, reservation_of
from app.errors import BudgetReached, InternalError, StoreUnavailable
from app.store import tables
from app.store.clerk import Clerk
from app.store.database import Database
from app.store.ledger import Pace, StoredLedger, open_ledger
from app.store.writers import writer_of
from tests.store.books import (
    FAST,
    NOON,
    claim,
    failing_ledger,
    settlement,
    sums,
    until_up,
    until_written,
)


async def test_a_budget_has_room_for_its_limit_and_not_for_one_more(database: Database) -> None:
    async with open_ledger(database, pace=FAST) as ledger:
        await ledger.reserve(claim(60))
        await ledger.reserve(claim(40))
        with pytest.raises(BudgetReached) as refused:
            await ledger.reserve(claim(1))
    assert refused.value.should_retry is False
    assert (await sums(database)).keys == {"k": (0, 100)}


async def test_a_claim_above_the_teams_budget_takes_nothing_from_the_keys(
    database: Database,
) -> None:
    async with open_ledger(database, pace=FAST) as ledger:
        with pytest.raises(BudgetReached) as refused:
            await ledger.reserve(claim(60, team_id="t", team_budget=Budget(50, 0)))
        await ledger.reserve(claim(50, team_id="t", team_budget=Budget(50, 0)))
    assert "team" in refused.value.message
    found = await sums(database)
    assert (found.keys, found.teams, found.open) == ({"k": (0, 50)}, {"t": (0, 50)}, 1)


async def test_claims_of_one_moment_are_granted_exactly_as_far_as_the_budget_goes(
    database: Database,
) -> None:
    granted, refused = 0, 0

    async def ask() -> None:
        nonlocal granted, refused
        try:
            await ledger.reserve(claim(7))
            granted += 1
        except BudgetReached:
            refused += 1

    async with open_ledger(database) as ledger, anyio.create_task_group() as tasks:
        for _ in range(40):
            tasks.start_soon(ask)
    assert (granted, refused) == (14, 26)


async def test_two_ledgers_on_one_database_never_grant_more_than_one_would(
    database: Database,
) -> None:
    granted: list[Reservation] = []

    async def ask(ledger: StoredLedger, key: str, team: str) -> None:
        try:
            budget = Budget(300, 0)
            granted.append(
                await ledger.reserve(claim(7, key=key, team_id=team, team_budget=budget))
            )
        except BudgetReached:
            return
        ledger.settle(settlement(granted[-1], 7))

    async with (
        open_ledger(database, pace=FAST) as one,
        open_ledger(database, pace=FAST) as two,
        anyio.create_task_group() as tasks,
    ):
        for place in range(200):
            tasks.start_soon(ask, (one, two)[place % 2], f"k{place % 7}", f"t{place % 2}")
    found = await sums(database)
    assert len(granted) == 2 * 42
    assert found.teams == {"t0": (294, 0), "t1": (294, 0)}
    assert found.requests == found.spend == {key: use[0] for key, use in found.keys.items()}


async def test_what_is_settled_is_spent_and_the_rest_of_the_reservation_is_free(
    database: Database,
) -> None:
    async with open_ledger(database, pace=FAST) as ledger:
        reservation = await ledger.reserve(claim(100))
        ledger.settle(settlement(reservation, 20, 11, None))
        await until_written(ledger)
        await ledger.reserve(claim(69))
        with pytest.raises(BudgetReached):
            await ledger.reserve(claim(1))
    async with database.reading() as connection:
        row = (await connection.execute(select(tables.requests))).mappings().one()
        models = (await connection.execute(select(tables.spend))).mappings().all()
    assert (row["cost"], row["reserved"], row["unpriced"]) == (31, 100, 1)
    assert (row["tokens_in"], row["tokens_out"], row["tokens_cached"]) == (30, 15, 3)
    assert [(line["day"], line["model"], line["calls"]) for line in models] == [
        ("2023-11-14", "m", 3)
    ]


async def test_until_a_settlement_is_written_its_reservation_counts(database: Database) -> None:
    slow = Pace(linger=60)
    async with open_ledger(database, pace=slow) as ledger:
        ledger.settle(settlement(await ledger.reserve(claim(100)), 1))
        with pytest.raises(BudgetReached):
            await ledger.reserve(claim(1))
        await until_written(ledger)
        await ledger.reserve(claim(99))


async def test_leaving_the_ledger_writes_what_waits(database: Database) -> None:
    async with open_ledger(database, pace=Pace(linger=60)) as ledger:
        ledger.settle(settlement(await ledger.reserve(claim(50)), 9))
    assert (await sums(database)).keys == {"k": (9, 0)}


async def test_a_cancelled_server_writes_what_waits_too(database: Database) -> None:
    async def serve(*, task_status: TaskStatus[StoredLedger]) -> None:
        async with open_ledger(database, pace=Pace(linger=60)) as ledger:
            ledger.settle(settlement(await ledger.reserve(claim(50)), 9))
            task_status.started(ledger)
            await anyio.sleep_forever()

    async with anyio.create_task_group() as tasks:
        await tasks.start(serve)
        tasks.cancel_scope.cancel()
    assert (await sums(database)).keys == {"k": (9, 0)}


async def test_a_settlement_said_twice_is_booked_once(database: Database) -> None:
    async with open_ledger(database, pace=FAST) as ledger:
        done = settlement(await ledger.reserve(claim(50)), 9)
        ledger.settle(done)
        ledger.settle(done)
        await until_written(ledger)
        ledger.settle(done)
    found = await sums(database)
    assert (found.keys, found.requests, found.spend) == ({"k": (9, 0)}, {"k": 9}, {"k": 9})


async def test_two_requests_with_one_request_id_are_both_booked(database: Database) -> None:
    async with open_ledger(database, pace=FAST) as ledger:
        for _ in range(2):
            ledger.settle(settlement(await ledger.reserve(claim(50)), 9))
            await until_written(ledger)
    assert (await sums(database)).requests == {"k": 18}


async def test_a_batch_whose_commit_nobody_heard_of_is_booked_once(database: Database) -> None:
    async with failing_ledger(database) as (ledger, writer):
        done = [settlement(await ledger.reserve(claim(10)), 3) for _ in range(5)]
        writer.plan.extend(["after", None, "after", None, "before"])
        for one in done:
            ledger.settle(one)
        await until_written(ledger)
        assert not writer.plan
    found = await sums(database)
    assert (found.keys, found.requests, found.spend) == ({"k": (15, 0)}, {"k": 15}, {"k": 15})


@pytest.mark.parametrize("fault", ["before", "after"])
async def test_a_reservation_nobody_heard_of_leaves_nothing_set_aside(
    database: Database, fault: str
) -> None:
    async with failing_ledger(database) as (ledger, writer):
        await ledger.reserve(claim(1))
        writer.plan.append(fault)  # type: ignore[arg-type]
        with pytest.raises(StoreUnavailable):
            await ledger.reserve(claim(50))
        await until_up(ledger)
        await until_written(ledger)
        found = await sums(database)
        assert (found.keys, found.open) == ({"k": (0, 1)}, 1)


async def test_without_a_database_claims_fail_at_once_and_settlements_wait(
    database: Database,
) -> None:
    async with failing_ledger(database) as (ledger, writer):
        reservations = [await ledger.reserve(claim(10)) for _ in range(3)]
        writer.is_dead = True
        with pytest.raises(StoreUnavailable) as away:
            await ledger.reserve(claim(10))
        for one in reservations:
            ledger.settle(settlement(one, 4))
        with anyio.fail_after(0.05), pytest.raises(StoreUnavailable):
            await ledger.reserve(claim(10))
        assert not ledger.is_up
        assert ledger.waiting >= 3
        writer.is_dead = False
        await until_up(ledger)
        await until_written(ledger)
        await ledger.reserve(claim(10))
    assert (away.value.status, away.value.code, away.value.retry_after) == (
        503,
        "store_unavailable",
        1,
    )
    assert (await sums(database)).keys == {"k": (12, 10)}


async def test_a_request_that_was_never_reserved_is_booked_all_the_same(
    database: Database,
) -> None:
    async with open_ledger(database, pace=FAST) as ledger:
        await ledger.reserve(claim(1))
        ledger.settle(settlement(reservation_of(claim(50)), 9))
    assert (await sums(database)).keys == {"k": (9, 1)}


async def test_settlements_are_written_in_their_order(database: Database) -> None:
    async with failing_ledger(database, Pace(batch=1, linger=0, probe=0.001)) as (ledger, writer):
        opened = [await ledger.reserve(claim(10)) for _ in range(3)]
        writer.is_dead = True
        with pytest.raises(StoreUnavailable):
            await ledger.reserve(claim(10))
        for cost, one in enumerate(opened):
            ledger.settle(settlement(one, cost))
        ledger.settle(settlement(opened[0], 9))
        writer.is_dead = False
        await until_up(ledger)
    assert (await sums(database)).requests == {"k": 0 + 1 + 2}


async def test_a_full_queue_keeps_requests_waiting_until_it_is_written(
    database: Database,
) -> None:
    pace = Pace(queue=2, probe=0.001, linger=0.001)
    async with failing_ledger(database, pace) as (ledger, writer):
        opened = [await ledger.reserve(claim(10)) for _ in range(2)]
        await ledger.room()
        writer.is_dead = True
        for one in opened:
            ledger.settle(settlement(one, 1))
        with anyio.move_on_after(0.05) as waited:
            await ledger.room()
        assert waited.cancelled_caught
        writer.is_dead = False
        with anyio.fail_after(5):
            await ledger.room()
    assert (await sums(database)).keys == {"k": (2, 0)}


async def test_whoever_stops_waiting_while_it_is_written_leaves_nothing_set_aside(
    database: Database,
) -> None:
    async with failing_ledger(database) as (ledger, writer):
        await ledger.reserve(claim(1))
        gate = writer.gate = anyio.Event()
        with anyio.move_on_after(0.02) as gone:
            await ledger.reserve(claim(10))
        assert gone.cancelled_caught
        gate.set()
        await until_written(ledger)
        found = await sums(database)
        assert (found.keys, found.open) == ({"k": (0, 1)}, 1)


async def test_whoever_is_cancelled_just_as_it_is_granted_leaves_nothing_set_aside(
    database: Database,
) -> None:
    class CancellingClerk(Clerk):
        async def grant(self, claims: Sequence[Claim], until: float) -> Any:
            return cancelling(await super().grant(claims, until))

    def cancelling(answers: list[object]) -> Iterator[object]:
        """What follows an answer comes before whoever waits for it hears it."""
        yield from answers
        asking.cancel()

    writer = writer_of(database)
    ledger = StoredLedger(CancellingClerk(writer, "process", 5), FAST)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ledger.write)
        asking = asyncio.create_task(ledger.reserve(claim(10)))  # anyio would let it hear first
        with pytest.raises(asyncio.CancelledError):
            await asking
        await until_written(ledger)
        ledger.stop()
    await writer.close()
    found = await sums(database)
    assert (found.keys, found.open) == ({"k": (0, 0)}, 0)


async def test_whoever_stops_waiting_before_it_is_written_asks_for_nothing(
    database: Database,
) -> None:
    async with failing_ledger(database) as (ledger, writer):
        await ledger.reserve(claim(1))
        gate = writer.gate = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ledger.reserve, claim(1))
            await anyio.sleep(0.01)
            with anyio.move_on_after(0.01):
                await ledger.reserve(claim(10))
            gate.set()
        await until_written(ledger)
        assert (await sums(database)).keys == {"k": (0, 2)}


async def test_one_claim_that_is_refused_does_not_take_others_with_it(database: Database) -> None:
    twice = claim(10)
    outcomes: list[str] = []

    async def ask(wanted: object) -> None:
        try:
            await ledger.reserve(wanted)  # type: ignore[arg-type]
            outcomes.append("granted")
        except InternalError:
            outcomes.append("refused")

    async with open_ledger(database, pace=Pace(spacing=0.01)) as ledger:
        await ledger.reserve(twice)
        async with anyio.create_task_group() as tasks:
            for wanted in (claim(10), twice, claim(10), claim(10)):
                tasks.start_soon(ask, wanted)
    assert sorted(outcomes) == ["granted", "granted", "granted", "refused"]
    assert (await sums(database)).keys == {"k": (0, 40)}


async def test_a_bug_in_a_transaction_costs_one_request_and_not_the_ledger(
    database: Database,
) -> None:
    async with failing_ledger(database) as (ledger, writer):
        await ledger.reserve(claim(1))
        writer.plan.append("bug")
        with pytest.raises(InternalError):
            await ledger.reserve(claim(10))
        done = settlement(await ledger.reserve(claim(10)), 3)
        writer.plan.append("bug")
        ledger.settle(done)
        await until_written(ledger)
        ledger.settle(settlement(await ledger.reserve(claim(10)), 4))
    assert (await sums(database)).keys == {"k": (4, 11)}


async def test_one_settlement_that_is_refused_does_not_take_others_with_it(
    database: Database,
) -> None:
    async with open_ledger(database, pace=FAST) as ledger:
        good, bad, other = [await ledger.reserve(claim(10)) for _ in range(3)]
        ledger.settle(settlement(good, 1))
        ledger.settle(settlement(bad, 2**70))
        ledger.settle(settlement(other, 3))
        await until_written(ledger)
        assert (await sums(database)).keys == {"k": (4, 10)}


async def test_a_budget_that_is_set_later_counts_what_was_spent_in_its_window(
    database: Database,
) -> None:
    async with open_ledger(database, pace=FAST) as ledger:
        ledger.settle(settlement(await ledger.reserve(claim(50, limit=None)), 30))
        await until_written(ledger)
        with pytest.raises(BudgetReached):
            await ledger.reserve(claim(71))
        midnight = int(NOON // 86400) * 86400
        today = Budget(100, midnight)
        tomorrow = Budget(100, midnight + 86400)
        with pytest.raises(BudgetReached):
            await ledger.reserve(claim(71, key_budget=today))
        await ledger.reserve(claim(71, key_budget=tomorrow))


async def test_a_budget_that_is_taken_away_and_set_again_knows_what_was_spent_meanwhile(
    database: Database,
) -> None:
    midnight = int(NOON // 86400) * 86400
    today = Budget(100, midnight)
    async with open_ledger(database, pace=FAST) as ledger:
        for budget in (today, None, Budget(10**6, 0)):
            one = await ledger.reserve(claim(10, key_budget=budget))
            ledger.settle(settlement(one, 40))
            await until_written(ledger)
        with pytest.raises(BudgetReached):
            await ledger.reserve(claim(1, key_budget=today))
        await ledger.reserve(claim(1, key_budget=Budget(121, 0)))
        with pytest.raises(BudgetReached):
            await ledger.reserve(claim(1, key_budget=Budget(121, 0)))


async def test_a_request_under_way_counts_in_a_budget_that_is_set_before_it_ends(
    database: Database,
) -> None:
    async with open_ledger(database, pace=FAST) as ledger:
        early = await ledger.reserve(claim(90, limit=None))
        await ledger.reserve(claim(10))
        ledger.settle(settlement(early, 90))
        await until_written(ledger)
        with pytest.raises(BudgetReached):
            await ledger.reserve(claim(1))


async def test_a_settlement_is_spent_in_the_window_it_was_reserved_in(database: Database) -> None:
    async with open_ledger(database, pace=FAST) as ledger:
        late = await ledger.reserve(claim(50, key_budget=Budget(50, 3600)))
        await ledger.reserve(claim(50, key_budget=Budget(50, 7200)))
        ledger.settle(settlement(late, 20))
        await until_written(ledger)
        await ledger.reserve(claim(30, key_budget=Budget(50, 3600)))
        with pytest.raises(BudgetReached):
            await ledger.reserve(claim(1, key_budget=Budget(50, 7200)))
