from datetime import UTC, date, datetime

import pytest

from app.access.caller import Team, VirtualKey
from app.access.register import Period, Spent, Standing
from app.store.database import Database
from app.store.ledger import open_ledger
from app.store.spend import StoredBooks
from app.store.teams import StoredRegister
from tests.store.books import FAST, NOON, claim, settlement

DAY = 86400.0
TODAY = datetime.fromtimestamp(NOON, UTC).date()
ALL = Period(date(2020, 1, 1), date(2030, 1, 1))


@pytest.fixture
async def books(database: Database) -> StoredBooks:
    register, now = StoredRegister(database), datetime.fromtimestamp(NOON, UTC)
    team = Team("t1", "red team", now)
    await register.add_team(team)
    await register.add_key(VirtualKey("k1", "ci", "moa-1", now, team=team), "d1")
    async with open_ledger(database, pace=FAST) as ledger:
        for key, team_id, created, costs in (
            ("k1", "t1", NOON, (5, 6)),
            ("k1", "t1", NOON + DAY, (7,)),
            ("k2", None, NOON, (100, None)),
            ("", None, NOON - DAY, (1,)),
        ):
            asked = claim(200, key=key, limit=1000, team_id=team_id, created=created)
            ledger.settle(settlement(await ledger.reserve(asked), *costs))
        await ledger.reserve(claim(9, key="k1", limit=1000))
    return StoredBooks(database)


async def test_keys_are_named_and_the_dearest_comes_first(books: StoredBooks) -> None:
    assert await books.spent(ALL, "key") == [
        Spent("k2", "k2", 2, 20, 10, 2, 100),
        Spent("k1", "ci", 3, 30, 15, 3, 18),
        Spent("", "", 1, 10, 5, 1, 1),
    ]


async def test_keys_of_a_team_add_up_to_it(books: StoredBooks) -> None:
    teams = {line.name: line.cost for line in await books.spent(ALL, "team")}
    assert teams == {"": 101, "red team": 18}
    assert sum(line.cost for line in await books.spent(ALL, "key", team_id="t1")) == 18


async def test_a_period_has_its_first_and_its_last_day(books: StoredBooks) -> None:
    async def total(first: date, last: date) -> int:
        return sum(line.cost for line in await books.spent(Period(first, last), "model"))

    tomorrow, yesterday = date.fromordinal(TODAY.toordinal() + 1), TODAY.toordinal() - 1
    assert await total(TODAY, TODAY) == 111
    assert await total(TODAY, tomorrow) == 118
    assert await total(date.fromordinal(yesterday), TODAY) == 112
    assert await total(tomorrow, TODAY) == 0


async def test_a_key_sees_its_own_graphs_and_models(books: StoredBooks) -> None:
    assert await books.spent(ALL, "graph", key_id="k1") == [
        Spent("graph", "graph", 3, 30, 15, 3, 18)
    ]
    assert [line.id for line in await books.spent(ALL, "model", key_id="k1")] == ["m"]


async def test_the_standing_of_a_budget_is_what_is_spent_and_reserved(books: StoredBooks) -> None:
    assert await books.standing("key:k1", 0) == Standing(18, 9)
    assert await books.standing("key:k1", 3600) == Standing()
