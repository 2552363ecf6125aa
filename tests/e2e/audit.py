"""The books of a gateway, read from its database, and the sums that always have to agree.

For budgets without a window: those count from the first request on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import orjson
from sqlalchemy import select

from app.access.ledger import LOST
from app.store import tables
from app.store.database import open_database

Rows: TypeAlias = list[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Books:
    """All rows of the ledger at one moment."""

    requests: Rows
    reservations: Rows
    budgets: Rows
    spend: Rows

    def check(self) -> None:
        """Calls add up to requests, requests to keys, keys to teams, and budgets say the same."""
        for row in self.requests:
            calls = sum(call["cost"] or 0 for call in orjson.loads(row["calls"]))
            assert row["cost"] == (row["reserved"] if row["outcome"] == LOST else calls), row
        for owner in ("key", "team"):
            spent = summed(self.requests, f"{owner}_id", "cost")
            rolled_up = summed(self.spend, f"{owner}_id", "cost")
            assert {k: v for k, v in rolled_up.items() if v} == {
                k: v for k, v in spent.items() if v
            }
            aside = summed(self._counted(owner), f"{owner}_id", "amount")
            for budget in self._budgets(owner):
                name = budget["scope"].partition(":")[2]
                assert budget["spent"] == spent.get(name, 0), budget
                assert budget["reserved"] == aside.get(name, 0), budget

    @property
    def cost(self) -> int:
        """Picodollars of all requests."""
        return sum(row["cost"] for row in self.requests)

    @property
    def lost(self) -> Rows:
        """Requests whose process ended before they did."""
        return [row for row in self.requests if row["outcome"] == LOST]

    def spent(self, scope: str) -> int:
        """What a budget says that was spent."""
        return sum(row["spent"] for row in self.budgets if row["scope"] == scope)

    def of_key(self, key_id: str) -> Rows:
        """The requests of a key."""
        return [row for row in self.requests if row["key_id"] == key_id]

    def _counted(self, owner: str) -> Rows:
        return [row for row in self.reservations if row[f"{owner}_window"] is not None]

    def _budgets(self, owner: str) -> Rows:
        return [row for row in self.budgets if row["scope"].startswith(f"{owner}:")]


def summed(rows: Iterable[Mapping[str, Any]], by: str, what: str) -> dict[str, int]:
    sums: dict[str, int] = defaultdict(int)
    for row in rows:
        sums[row[by] or ""] += row[what]
    return sums


async def books_at(address: str) -> Books:
    """The books in this database now."""
    wanted = (tables.requests, tables.reservations, tables.budgets, tables.spend)
    async with open_database(address) as database, database.writing() as connection:
        found = [list((await connection.execute(select(table))).mappings()) for table in wanted]
    return Books(*(list(map(dict, rows)) for rows in found))
