"""What was spent: sums of the books by key, team, graph and model. Reads only."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import ColumnElement, func, select

from app.access.register import GroupBy, Period, Spent, Standing
from app.store.database import Database
from app.store.reserving import budget_id
from app.store.tables import budgets, keys, spend, teams

_COLUMNS: Mapping[GroupBy, ColumnElement[str]] = {
    "key": spend.c.key_id,
    "team": spend.c.team_id,
    "graph": spend.c.graph,
    "model": spend.c.model,
}
_SUMS = [func.sum(spend.c[name]) for name in ("calls", "tokens_in", "tokens_out", "tokens_cached")]
_COST = func.sum(spend.c.cost)
_NAMES = select(keys.c.id, keys.c.name).union_all(select(teams.c.id, teams.c.name))


class StoredBooks:
    """The `Books` of a database. A request counts for the day, in UTC, on which it began."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def spent(
        self, period: Period, by: GroupBy, *, key_id: str | None = None, team_id: str | None = None
    ) -> list[Spent]:
        """As in `Books`; the costs of all lines add up to what was spent."""
        group = _COLUMNS[by]
        query = select(group, *_SUMS, _COST).group_by(group).order_by(_COST.desc(), group)
        query = query.where(spend.c.day.between(str(period.first), str(period.last)))
        if key_id is not None:
            query = query.where(spend.c.key_id == key_id)
        if team_id is not None:
            query = query.where(spend.c.team_id == team_id)
        async with self._database.reading() as connection:
            rows = (await connection.execute(query)).all()
            names: dict[str, str] = {}
            if by in {"key", "team"}:
                names = {row.id: row.name for row in await connection.execute(_NAMES)}
        return [Spent(name, names.get(name, name), *map(int, sums)) for name, *sums in rows]

    async def standing(self, scope: str, window: int) -> Standing:
        """As in `Books`."""
        query = select(budgets.c.spent, budgets.c.reserved)
        query = query.where(budgets.c.id == budget_id(scope, window))
        async with self._database.reading() as connection:
            row = (await connection.execute(query)).first()
        return Standing() if row is None else Standing(*row)
