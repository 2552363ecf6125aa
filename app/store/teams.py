"""Teams in the database: entered, changed, deleted; their books stay."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import case, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from app.access.caller import Team
from app.access.register import Page
from app.errors import NameTaken
from app.store.accounts import CHANGED, changed, owner_row, page_of, team_of
from app.store.database import Database
from app.store.keys import StoredKeys
from app.store.tables import keys, teams

_TAKEN = "Another team has this name"
_LIVE = teams.c.deleted.is_(None)


class StoredTeams:
    """The teams of a database: half of `app.access.register.Register`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add_team(self, team: Team) -> None:
        """As in `Register`."""
        row = {**owner_row(team), "id": team.id, "created": team.created.timestamp()}
        try:
            async with self._database.writing() as connection:
                await connection.execute(insert(teams).values(row))
                await connection.execute(CHANGED)
        except IntegrityError:
            raise NameTaken(_TAKEN) from None

    async def team(self, named: str) -> Team | None:
        """As in `Register`."""
        query = (
            select(teams)
            .where(_LIVE, or_(teams.c.id == named, teams.c.name == named))
            .order_by(case((teams.c.id == named, 0), else_=1))
        )
        async with self._database.reading() as connection:
            row = (await connection.execute(query)).mappings().first()
        return None if row is None else team_of(row)

    async def teams(self, page: Page) -> list[Team]:
        """As in `Register`."""
        query = page_of(select(teams).where(_LIVE), teams, page)
        async with self._database.reading() as connection:
            return [team_of(row) for row in (await connection.execute(query)).mappings()]

    async def change_team(self, team: Team, was: Team | None = None) -> None:
        """As in `Register`."""
        row = changed(owner_row(team), owner_row(was) if was else None)
        change = update(teams).where(_LIVE, teams.c.id == team.id).values(row)
        try:
            async with self._database.writing() as connection:
                if row:
                    await connection.execute(change)
                await connection.execute(CHANGED)
        except IntegrityError:
            raise NameTaken(_TAKEN) from None

    async def delete_team(self, team_id: str, now: datetime) -> None:
        """As in `Register`."""
        at = now.timestamp()
        members = keys.c.team_id == team_id
        async with self._database.writing() as connection:
            await connection.execute(
                update(teams).where(_LIVE, teams.c.id == team_id).values(deleted=at)
            )
            await connection.execute(
                update(keys).where(members, keys.c.revoked.is_(None)).values(revoked=at)
            )
            await connection.execute(CHANGED)


class StoredRegister(StoredKeys, StoredTeams):
    """A `Register` in a database."""
