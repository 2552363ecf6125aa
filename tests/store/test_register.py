"""Keys and teams in a database, as `app.access.register` wants them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from sqlalchemy import select

from app.access.caller import Limits, Right, Team, VirtualKey
from app.access.keys import digest_of, new_secret
from app.access.register import Page
from app.errors import NameTaken, NotRegistered
from app.store.database import Database
from app.store.tables import metadata
from app.store.teams import StoredRegister

NOW = datetime(2024, 5, 1, tzinfo=UTC)
FULL = Limits(60, 10**10, 4, Decimal("12.345678901234"), "month")


@pytest.fixture
def register(database: Database) -> StoredRegister:
    return StoredRegister(database)


def a_team(name: str = "red", **more: object) -> Team:
    return replace(Team(f"team_{name}", name, NOW), **more)  # type: ignore[arg-type]


def a_key(name: str = "ci", **more: object) -> VirtualKey:
    return replace(VirtualKey(f"key_{name}", name, "moa-01234567", NOW), **more)  # type: ignore[arg-type]


async def test_what_is_entered_is_found_whole_by_digest_id_and_name(
    register: StoredRegister,
) -> None:
    team = a_team(limits=FULL, models=("a", "b"), vendors=("openai",))
    key = a_key(
        team=team,
        limits=FULL,
        models=("moa-3",),
        vendors=("x", "y"),
        rights=frozenset(Right),
        expires=NOW + timedelta(days=1),
        labels={"for": 'a "quoted" ☃'},
    )
    await register.add_team(team)
    await register.add_key(key, "digest")
    assert await register.find("digest") == key
    assert await register.key("ci") == key
    assert await register.key("key_ci") == key
    assert await register.team("red") == team
    assert await register.find("Digest") is None
    assert await register.key("unknown") is None


async def test_no_secret_is_anywhere_in_the_database(
    database: Database, register: StoredRegister
) -> None:
    secret, prefix = new_secret()
    await register.add_key(a_key(prefix=prefix), digest_of(secret.encode()))
    async with database.reading() as connection:
        rows = [
            str(tuple(row))
            for table in metadata.sorted_tables
            for row in (await connection.execute(select(table))).all()
        ]
    hidden = secret.removeprefix(prefix + "-")
    assert any(prefix in row for row in rows)
    assert not any(hidden in row for row in rows)


async def test_every_change_makes_the_revision_another_one(register: StoredRegister) -> None:
    key, team = a_key(), a_team()
    seen = {await register.revision()}
    for change in (
        register.add_team(team),
        register.add_key(key, "d1"),
        register.change_key(key),
        register.rotate_key(key.id, "d2", "moa-2", NOW),
        register.change_team(team),
        register.delete_team(team.id, NOW),
    ):
        await change
        seen.add(await register.revision())
    assert len(seen) == 7


async def test_a_key_that_was_ever_created_counts_after_it_is_revoked(
    register: StoredRegister,
) -> None:
    assert not await register.any_created()
    await register.add_key(a_key(), "digest")
    await register.change_key(a_key(revoked=NOW))
    assert await register.any_created()


async def test_a_rotation_keeps_the_key_and_ends_the_old_secret_in_time(
    register: StoredRegister,
) -> None:
    until = NOW + timedelta(hours=1)
    await register.add_key(a_key(limits=FULL), "old")
    await register.rotate_key("key_ci", "new", "moa-new", until)
    old, new = await register.find("old"), await register.find("new")
    assert old is not None
    assert new is not None
    assert old.works(until - timedelta(seconds=1))
    assert not old.works(until)
    assert new.works(until)
    assert (new.id, new.limits, new.prefix) == ("key_ci", FULL, "moa-new")


async def test_a_second_rotation_does_not_prolong_the_first(register: StoredRegister) -> None:
    await register.add_key(a_key(), "one")
    await register.rotate_key("key_ci", "two", "moa-2", NOW)
    await register.rotate_key("key_ci", "three", "moa-3", NOW + timedelta(hours=1))
    one, two = await register.find("one"), await register.find("two")
    assert one is not None
    assert two is not None
    assert not one.works(NOW)
    assert two.works(NOW)


async def test_a_name_is_free_again_once_its_key_is_revoked(register: StoredRegister) -> None:
    await register.add_key(a_key(), "one")
    with pytest.raises(NameTaken):
        await register.add_key(a_key(id="key_2"), "two")
    await register.change_key(a_key(revoked=NOW))
    assert await register.key("ci") is None
    await register.add_key(a_key(id="key_2"), "two")
    found = await register.key("ci")
    assert found is not None
    assert found.id == "key_2"
    assert (await register.key("key_ci")) == a_key(revoked=NOW)


async def test_a_revoked_key_stays_revoked_whatever_is_put_in_its_place(
    register: StoredRegister,
) -> None:
    await register.add_key(a_key(), "digest")
    await register.change_key(a_key(revoked=NOW))
    await register.change_key(a_key(limits=FULL))
    assert await register.find("digest") == a_key(limits=FULL, revoked=NOW)


async def test_a_change_shows_everywhere_and_cannot_take_anothers_name(
    register: StoredRegister,
) -> None:
    await register.add_key(a_key("a"), "a")
    await register.add_key(a_key("b"), "b")
    await register.add_team(a_team("t"))
    changed = replace(a_key("a"), name="c", limits=FULL, team=a_team("t"), labels={"x": "y"})
    await register.change_key(changed)
    assert await register.find("a") == changed
    with pytest.raises(NameTaken):
        await register.change_key(replace(changed, name="b"))
    await register.change_team(a_team("t", limits=FULL))
    found = await register.find("a")
    assert found is not None
    assert found.team == a_team("t", limits=FULL)


async def test_a_deleted_team_is_gone_with_its_keys_and_takes_no_new_ones(
    register: StoredRegister,
) -> None:
    team = a_team()
    await register.add_team(team)
    await register.add_key(a_key(team=team), "digest")
    await register.delete_team(team.id, NOW)
    assert await register.team("red") is None
    assert await register.teams(Page()) == []
    found = await register.find("digest")
    assert found is not None
    assert not found.works(NOW)
    with pytest.raises(NotRegistered):
        await register.add_key(a_key("late", team=team), "other")
    await register.add_team(a_team(id="team_2"))


async def test_pages_hold_every_key_once_the_newest_first(register: StoredRegister) -> None:
    await register.add_team(a_team())
    for place in range(7):
        moment = NOW + timedelta(seconds=place // 2)
        team = a_team() if place % 2 else None
        await register.add_key(a_key(str(place), created=moment, team=team), str(place))
    seen: list[str] = []
    page = Page(limit=3)
    while found := await register.keys(page):
        seen += [key.name for key in found]
        page = Page(limit=3, after=found[-1].id)
    assert seen == ["6", "5", "4", "3", "2", "1", "0"]
    assert [key.name for key in await register.keys(Page(), "team_red")] == ["5", "3", "1"]
    assert [team.name for team in await register.teams(Page(limit=1))] == ["red"]
